package run

import (
	"context"
	"slices"

	"github.com/faultline-lab/faultline/chaos"
	"github.com/faultline-lab/faultline/chaos/network"
	"github.com/faultline-lab/faultline/chaos/proxy/hop"
	"github.com/faultline-lab/faultline/internal/plan"
)

// hopSpecs lists the layer-7 hops that a run needs behind its proxies: where its plan has a fault of requests.
// They cost processor time, so no other edge has one; but a bench, where anything may be broken by hand and nothing
// is judged, has them wherever one can stand.
func hopSpecs(faults []chaos.Fault, proxies []network.Spec, bench bool) []hop.Spec {
	var specs []hop.Spec
	for _, p := range proxies {
		if takesRequests(faults, p.Edge) || bench && speaksRequests(p.Probe.Protocol) {
			specs = append(specs, hop.Spec{Edge: p.Edge, Replica: p.Replica, Protocol: p.Probe.Protocol, Upstream: p.Upstream})
		}
	}
	return specs
}

// takesRequests tells whether one of the faults hits requests of an edge.
func takesRequests(faults []chaos.Fault, edge chaos.Edge) bool {
	return slices.ContainsFunc(faults, func(f chaos.Fault) bool {
		kind, _ := chaos.Find(f.Kind)
		return kind.Family == chaos.FamilyRequest && slices.Contains(f.Edges, edge)
	})
}

// speaksRequests tells whether a protocol is one that hops understand.
func speaksRequests(protocol string) bool { return protocol == "http" || protocol == "grpc" }

// NoRequests says why faults of single requests cannot act on an edge, "" where they can.
func (c *Control) NoRequests(edge chaos.Edge) string {
	svc := c.r.cfg.System.Service(edge.Callee)
	switch {
	case svc == nil || !speaksRequests(svc.Protocol):
		return "Faults of requests need HTTP or gRPC."
	case c.r.cfg.Bench || takesRequests(plannedFaults(c.r.cfg.Plan), edge):
		return ""
	default:
		return "In this run no layer-7 hop stands there: a scenario has one only where it plans a fault of requests. With faultline up every HTTP and gRPC edge has one."
	}
}

func plannedFaults(p *plan.Plan) []chaos.Fault {
	var faults []chaos.Fault
	for _, w := range p.Faults {
		faults = append(faults, w.Fault)
	}
	return faults
}

// connect puts a proxy on every edge, and hops behind those that need one:
//
//	caller -> [hop (policies, measuring)] -> proxy (the wire) -> [hop (requests)] -> callee
//
// The hops' spans go to the given endpoint.
func (p *proxies) connect(ctx context.Context, r *runner, otlp string) error {
	specs := r.rig.proxySpecs()
	needed := hopSpecs(plannedFaults(r.cfg.Plan), specs, r.cfg.Bench)
	guards := guarded(r.cfg.Plan)
	if len(needed)+len(guards)+len(r.cfg.Plan.Observed) > 0 {
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
	if _, err := p.injector.CreateProxies(ctx, specs); err != nil {
		return err
	}
	if err := p.guard(ctx, r, guards); err != nil {
		return err
	}
	return p.observe(ctx, r)
}

// observe puts a hop that measures in front of each proxy of the edges that are to be measured: the caller chooses
// among replicas as ever.
func (p *proxies) observe(ctx context.Context, r *runner) error {
	for _, edge := range r.cfg.Plan.Observed {
		var specs []hop.Spec
		for i, addr := range p.injector.Addrs(edge.Caller, edge.Callee) {
			specs = append(specs, hop.Spec{Edge: edge, Replica: i + 1, Protocol: r.cfg.System.Service(edge.Callee).Protocol, Upstream: addr, Observe: true})
		}
		hops, err := p.requests.CreateHops(ctx, specs)
		if err != nil {
			return err
		}
		for _, h := range hops {
			p.fronts[edge] = append(p.fronts[edge], h.Addr)
		}
		p.hops += len(hops)
	}
	return nil
}

// guard puts a hop that enforces policies in front of the proxies of each edge.
func (p *proxies) guard(ctx context.Context, r *runner, edges []string) error {
	p.fronts = map[chaos.Edge][]string{}
	for _, name := range edges {
		edge, err := chaos.ParseEdge(name)
		if err != nil {
			return err
		}
		hops, err := p.requests.CreateHops(ctx, []hop.Spec{{
			Edge: edge, Protocol: r.cfg.System.Service(edge.Callee).Protocol,
			Upstreams: p.injector.Addrs(edge.Caller, edge.Callee), Policies: r.cfg.Plan.Policies[name], Seed: r.cfg.Plan.Seed,
		}})
		if err != nil {
			return err
		}
		p.fronts[edge] = []string{hops[0].Addr}
		p.hops++
	}
	return nil
}

// addrs is where a caller is to reach a callee: each replica's proxy, or the hops before them.
func (p *proxies) addrs(caller, callee string) []string {
	if fronts := p.fronts[chaos.Edge{Caller: caller, Callee: callee}]; len(fronts) > 0 {
		return fronts
	}
	return p.injector.Addrs(caller, callee)
}
