package run

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/faultline-lab/faultline/chaos"
	"github.com/faultline-lab/faultline/chaos/network"
	"github.com/faultline-lab/faultline/chaos/proxy"
	"github.com/faultline-lab/faultline/chaos/request"
	"github.com/faultline-lab/faultline/internal/record"
	"github.com/faultline-lab/faultline/internal/system"
)

// leaseTTL is how long faults outlive a lab that is gone.
const leaseTTL = 5 * time.Second

// errProxyGone is why a run ends when its proxy process does.
var errProxyGone = errors.New("the proxy process ended by itself")

// proxies is the proxy process of a run and the proxies in it, one for each
// edge and replica, with layer-7 hops where the run needs them.
type proxies struct {
	process  *proxy.Process // nil where it is others'
	injector *network.Injector
	requests *request.Injector
	hops     int                     // how many there are
	fronts   map[chaos.Edge][]string // addresses of the hops that stand in front of an edge's proxies
	stopping chan struct{}
	leased   chan struct{} // closed when the lease is no longer renewed
	endLease context.CancelFunc
}

// startProxies starts the proxy process, without proxies: see connect.
// gone is called when the process ends although nobody stopped it, or its lease cannot be kept.
func startProxies(ctx context.Context, r *runner, gone func(error)) (*proxies, error) {
	log, err := r.rig.outputFile("proxy")
	if err != nil {
		return nil, err
	}
	defer log.Close() // the process has its own handle
	process, err := proxy.Start(ctx, []string{r.cfg.Self, "proxy"}, log, func(n proxy.Notice) {
		r.event(record.Event{Kind: record.EventNote, Name: "proxy", Text: n.Event, Data: map[string]any{"toxics": n.Toxics, "faults": n.Faults, "connections": n.Connections}})
	})
	if err != nil {
		return nil, err
	}
	leaseCtx, endLease := context.WithCancel(context.WithoutCancel(ctx))
	p := &proxies{process: process, injector: network.New(network.Config{API: process.API}), requests: request.New(request.Config{API: process.API, Seed: r.cfg.Plan.Seed}), stopping: make(chan struct{}), leased: make(chan struct{}), endLease: endLease}
	go func() {
		defer close(p.leased)
		if err := p.injector.KeepLease(leaseCtx, leaseTTL); err != nil && leaseCtx.Err() == nil {
			gone(fmt.Errorf("keeping the lease on faults: %w", err))
		}
	}()
	go func() {
		select {
		case <-process.Exited():
			gone(p.whyGone(ctx, log.Name()))
		case <-p.stopping:
		}
	}()
	return p, nil
}

// proxySpecs lists every edge of the system and every service that a load
// calls, replica by replica.
func (g *rig) proxySpecs() []network.Spec {
	if g.containers != nil {
		return g.stackSpecs()
	}
	var specs []network.Spec
	for _, edge := range edgesOf(g.r) {
		svc := g.r.cfg.System.Service(edge.Callee)
		for _, inst := range g.launcher.Instances() {
			if inst.Service == edge.Callee {
				specs = append(specs, network.Spec{Edge: edge, Replica: inst.Replica, Upstream: inst.Addr, Probe: probeOf(svc)})
			}
		}
	}
	return specs
}

func edgesOf(r *runner) []chaos.Edge {
	edges := r.cfg.System.Edges()
	have := map[chaos.Edge]bool{}
	for _, edge := range edges {
		have[edge] = true
	}
	for _, load := range r.cfg.Plan.Loads {
		edge := chaos.Edge{Caller: system.LoadCaller, Callee: load.Service}
		if !have[edge] {
			edges, have[edge] = append(edges, edge), true
		}
	}
	return edges
}

// probeOf says how to ask a service whether it is there, through a proxy that
// stands before its main port.
func probeOf(svc *system.Service) network.Probe {
	probe := network.Probe{Protocol: svc.Protocol}
	if svc.Protocol == "http" && svc.Health.Check == "http" && svc.Health.Port == "main" {
		probe.Path = svc.Health.Path
	}
	return probe
}

// gone tells whether the process has ended.
func (p *proxies) gone() bool {
	if p.process == nil {
		return false
	}
	select {
	case <-p.process.Exited():
		return true
	default:
		return false
	}
}

// whyGone words the end of a process that nobody stopped.
func (p *proxies) whyGone(ctx context.Context, output string) error {
	if err := p.process.Stop(ctx); err != nil { // it has ended: this is how
		return fmt.Errorf("%w (%w); what it printed: %s", errProxyGone, err, output)
	}
	return fmt.Errorf("%w; what it printed: %s", errProxyGone, output)
}

// stop ends the process. One that has ended by itself was reported then.
func (p *proxies) stop(ctx context.Context) error {
	endedBefore := p.gone()
	close(p.stopping)
	p.endLease()
	<-p.leased
	p.injector.Close()
	p.requests.Close()
	if p.process == nil {
		return nil
	}
	if err := p.process.Stop(ctx); err != nil && !endedBefore {
		return fmt.Errorf("stopping the proxy process: %w", err)
	}
	return nil
}
