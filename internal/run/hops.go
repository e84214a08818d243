package run

import (
	"context"
	"slices"

	"github.com/faultline-lab/faultline/chaos"
	"github.com/faultline-lab/faultline/chaos/network"
	"github.com/faultline-lab/faultline/chaos/proxy/hop"
)

// hopSpecs lists the layer-7 hops that a run needs behind its proxies: where its plan
// has a fault of requests. They cost processor time, so no other edge has one.
func hopSpecs(faults []chaos.Fault, proxies []network.Spec) []hop.Spec {
	var specs []hop.Spec
	for _, p := range proxies {
		needed := slices.ContainsFunc(faults, func(f chaos.Fault) bool {
			kind, _ := chaos.Find(f.Kind)
			return kind.Family == chaos.FamilyRequest && slices.Contains(f.Edges, p.Edge)
		})
		if needed {
			specs = append(specs, hop.Spec{Edge: p.Edge, Replica: p.Replica, Protocol: p.Probe.Protocol, Upstream: p.Upstream})
		}
	}
	return specs
}

// connect puts a proxy on every edge, and hops behind those that need one:
//
//	caller -> proxy (the wire) -> hop (requests) -> callee
//
// The hops' spans go to the given endpoint.
func (p *proxies) connect(ctx context.Context, r *runner, otlp string) error {
	specs := r.rig.proxySpecs()
	var faults []chaos.Fault
	for _, w := range r.cfg.Plan.Faults {
		faults = append(faults, w.Fault)
	}
	needed := hopSpecs(faults, specs)
	if len(needed) > 0 {
		if err := p.requests.Export(ctx, otlp); err != nil {
			return err
		}
	}
	hops, err := p.requests.CreateHops(ctx, needed)
	if err != nil {
		return err
	}
	p.hops = len(hops)
	for _, h := range hops {
		at := slices.IndexFunc(specs, func(s network.Spec) bool { return s.Edge == h.Edge && s.Replica == h.Replica })
		specs[at].Upstream = h.Addr
	}
	_, err = p.injector.CreateProxies(ctx, specs)
	return err
}
