package run

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/faultline-lab/faultline/chaos"
	"github.com/faultline-lab/faultline/chaos/network"
	"github.com/faultline-lab/faultline/chaos/process"
	"github.com/faultline-lab/faultline/chaos/request"
	"github.com/faultline-lab/faultline/internal/plan"
	"github.com/faultline-lab/faultline/internal/record"
	"github.com/faultline-lab/faultline/internal/system"
	"github.com/faultline-lab/faultline/internal/system/compose"
)

// services is whoever runs the services, as far as a run goes on about them.
type services interface {
	process.Processes
	Instances() []system.Instance
}

func (g *rig) services() services {
	if g.containers != nil {
		return g.containers
	}
	return g.launcher
}

// dial is how the lab connects to a service past its proxies; nil where it is a process of this machine.
func (g *rig) dial() func(ctx context.Context, network, addr string) (net.Conn, error) {
	if g.containers == nil {
		return nil
	}
	return g.containers.Dial()
}

// client asks services. It keeps no connection: one would outlive the service.
func (g *rig) client() *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: g.dial(), DisableKeepAlives: true}}
}

// loadAddrs is where the load generator, which is on this machine, reaches a service.
func (g *rig) loadAddrs(service string) []string {
	if g.containers != nil {
		return []string{g.containers.EntryAddr()}
	}
	return g.proxies.injector.Addrs(system.LoadCaller, service)
}

// CheckStack says why a plan cannot be carried out on a stack that is up, all reasons at once, and what to
// do about each. Nothing has been started or changed then.
func CheckStack(p *plan.Plan, sys *system.System, stack *compose.Stack) error {
	launcher := compose.New(compose.Config{System: sys, Stack: stack})
	if c, found := stack.Container(compose.ProxyHost); found && c.Labels[compose.SystemLabel] != sys.Name {
		return fmt.Errorf("the stack runs the system %s, and the scenario is about %s: leave --target out", c.Labels[compose.SystemLabel], sys.Name)
	}
	if err := launcher.Check(); err != nil {
		return err
	}
	var errs []error
	refuse := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	for _, load := range p.Loads {
		if load.Service != sys.Entry {
			refuse("the load %s calls %s: the stack lets loads in at %s only", load.Name, load.Service, sys.Entry)
		}
	}
	if p.Enforce == plan.Proxy || len(p.Observed) > 0 {
		refuse("variant %s has layer-7 hops before its edges: the containers' addresses are fixed, so that is for local processes only", p.Variant)
	}
	for name, change := range p.Services {
		if svc := sys.Service(name); svc != nil && change.Replicas > 0 && change.Replicas != max(1, svc.Replicas) {
			refuse("variant %s wants %d of %s: the stack has %d containers of it", p.Variant, change.Replicas, name, max(1, svc.Replicas))
		}
	}
	for _, w := range p.Faults {
		if kind, _ := chaos.Find(w.Kind); kind.Family != chaos.FamilyProcess {
			continue
		}
		for _, service := range w.Services {
			if !launcher.MayBreak(service) {
				refuse("the fault %s is a %s of %s, and the stack was brought up without leave to break its containers: make up CHAOS=1 gives it", w.ID, w.Kind, service)
			}
		}
	}
	return errors.Join(errs...)
}

// upStack starts the containers of a stack anew with what the plan changes, and joins their proxy.
func (g *rig) upStack(ctx context.Context) error {
	g.containers = compose.New(compose.Config{
		System: g.r.cfg.System, Stack: g.r.cfg.Stack, Dir: g.r.record.Dir(),
		OnEvent: func(container, text string) {
			g.r.event(record.Event{Kind: record.EventProcess, Name: container, Text: text})
		},
	})
	if err := g.startBackend(ctx); err != nil {
		return err
	}
	environments, err := g.stackEnvironments()
	if err != nil {
		return err
	}
	if err := g.containers.Start(ctx, func(service string, replica int) map[string]string {
		return environments[service+"/"+fmt.Sprint(replica)]
	}); err != nil {
		return err
	}
	g.proxies = joinProxies(ctx, g.r, g.containers)
	if err := g.proxies.connect(ctx, g.r, g.containers.OTLP()); err != nil {
		return fmt.Errorf("taking over the proxies on the edges: %w", err)
	}
	if err := g.startController(); err != nil {
		return err
	}
	for _, svc := range g.r.cfg.System.Services {
		if err := g.containers.Ready(ctx, svc.Name, 0); err != nil {
			return fmt.Errorf("%s is not ready: %w", svc.Name, err)
		}
	}
	g.feed, err = startFeed(ctx, g)
	return err
}

// stackEnvironments is what each instance gets on top of its compose file: where telemetry goes stays as it is there.
func (g *rig) stackEnvironments() (map[string]map[string]string, error) {
	out := map[string]map[string]string{}
	for _, inst := range g.containers.Instances() {
		env, err := environment(g.r.cfg.Plan, inst.Service, inst.Name, "", "")
		if err != nil {
			return nil, err
		}
		for _, name := range []string{"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_PROTOCOL", "PYROSCOPE_URL"} {
			delete(env, name)
		}
		out[inst.Service+"/"+fmt.Sprint(inst.Replica)] = env
	}
	return out, nil
}

// joinProxies takes part in a proxy process that others started, and keeps its lease.
func joinProxies(ctx context.Context, r *runner, containers *compose.Launcher) *proxies {
	api := "http://" + containers.ProxyAPI()
	leaseCtx, endLease := context.WithCancel(context.WithoutCancel(ctx))
	p := &proxies{
		injector: network.New(network.Config{API: api, Dial: containers.Dial()}), requests: request.New(request.Config{API: api, Seed: r.cfg.Plan.Seed}),
		stopping: make(chan struct{}), leased: make(chan struct{}), endLease: endLease,
	}
	go func() {
		defer close(p.leased)
		if err := p.injector.KeepLease(leaseCtx, leaseTTL); err != nil && leaseCtx.Err() == nil {
			r.abort(fmt.Errorf("keeping the lease on faults: %w", err))
		}
	}()
	return p
}

// stackSpecs lists the proxies that the proxy container has from its own file.
func (g *rig) stackSpecs() []network.Spec {
	var specs []network.Spec
	for _, e := range compose.Edges(g.r.cfg.System) {
		specs = append(specs, network.Spec{
			Edge: e.Edge, Replica: e.Replica, Upstream: e.Upstream, Addr: e.Addr(), Listen: fmt.Sprintf("0.0.0.0:%d", e.Port),
			Probe: probeOf(g.r.cfg.System.Service(e.Callee)),
		})
	}
	return specs
}

// traceIDs picks the traces that a record should hold where not all can be had: of every failure, and of the
// slowest that ended well.
func traceIDs(candidates []candidate, most int) []string {
	slices.SortStableFunc(candidates, func(a, b candidate) int {
		switch {
		case a.failed != b.failed && a.failed:
			return -1
		case a.failed != b.failed:
			return 1
		case a.took != b.took:
			return int(b.took - a.took)
		}
		return strings.Compare(a.id, b.id)
	})
	var out []string
	for _, c := range candidates[:min(most, len(candidates))] {
		out = append(out, c.id)
	}
	return out
}
