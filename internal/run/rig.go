package run

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/faultline-lab/faultline/chaos"
	"github.com/faultline-lab/faultline/chaos/admin"
	"github.com/faultline-lab/faultline/chaos/process"
	"github.com/faultline-lab/faultline/internal/record"
	"github.com/faultline-lab/faultline/internal/system"
	"github.com/faultline-lab/faultline/internal/system/compose"
	"github.com/faultline-lab/faultline/internal/system/local"
	"github.com/faultline-lab/faultline/loadgen"
	"github.com/faultline-lab/faultline/observability"
	"github.com/faultline-lab/faultline/observability/embedded"
)

// rig is everything that runs during a run: backend, proxy, system, load. It
// comes up in order and goes down in the opposite one, from wherever it got to.
type rig struct {
	r          *runner
	telemetry  *observability.Telemetry
	metrics    *labMetrics
	backend    *embedded.Backend
	proxies    *proxies
	launcher   *local.Launcher   // nil where the services are containers
	containers *compose.Launcher // nil where they are processes of this machine
	feed       *feed             // nil where the services' telemetry comes to the backend by itself
	controller *chaos.Controller
	worker     *loadgen.Worker
	samples    int // of what processes use
	recovering sync.Once
}

func newRig(r *runner) *rig { return &rig{r: r} }

// up starts the backend and, beside it, the proxy; then the system.
func (g *rig) up(ctx context.Context) error {
	var err error
	if g.telemetry, err = observability.Setup(ctx, observability.Config{Service: "faultline"}); err != nil {
		return err
	}
	g.metrics = newLabMetrics(g.telemetry.Registry, g.r.cfg.Plan, g.r.meta.ID)
	if g.r.cfg.Stack != nil {
		return g.upStack(ctx)
	}
	g.launcher = local.New(local.Config{
		System: g.r.cfg.System, Dir: g.r.record.Dir(), Bin: g.r.cfg.Bin, Guard: []string{g.r.cfg.Self, "guard"}, Log: g.r.cfg.Log,
		OnEvent: func(process, text string) {
			g.r.event(record.Event{Kind: record.EventProcess, Name: process, Text: text})
		},
	})
	if err := g.launcher.Allot(); err != nil {
		return err
	}
	var group errgroup.Group
	group.Go(func() error { return g.startBackend(ctx) })
	group.Go(func() (err error) {
		g.proxies, err = startProxies(ctx, g.r, func(err error) { g.r.abort(err) })
		return err
	})
	if err := group.Wait(); err != nil {
		return err
	}
	if err := g.proxies.connect(ctx, g.r, g.backend.Endpoints().OTLP); err != nil {
		return fmt.Errorf("putting proxies on the edges: %w", err)
	}
	if err := g.startController(); err != nil {
		return err
	}
	return g.startSystem(ctx)
}

func (g *rig) startBackend(ctx context.Context) error {
	backend, err := embedded.Start(ctx, embedded.Config{
		Dir: g.r.record.Dir(), Rules: g.r.cfg.System.Alerts, Lab: g.telemetry.Registry, Log: g.r.cfg.Log,
		RemoteWrite: g.r.cfg.Stack != nil,
		OnAlert: func(a embedded.Alert) {
			g.r.event(record.Event{Time: a.Since, Kind: record.EventAlert, Name: a.Name, Text: a.State, Data: labels(a.Labels)})
		},
	})
	if err != nil {
		return fmt.Errorf("starting the backend: %w", err)
	}
	g.backend = backend
	return nil
}

func labels(from map[string]string) map[string]any {
	out := make(map[string]any, len(from))
	for name, value := range from {
		out[name] = value
	}
	return out
}

// startSystem starts the services, each edge through its proxies, and tells the
// backend whom to scrape.
func (g *rig) startSystem(ctx context.Context) error {
	endpoints := g.backend.Endpoints()
	environments := map[string]map[string]string{}
	for _, inst := range g.services().Instances() {
		env, err := environment(g.r.cfg.Plan, inst.Service, inst.Name, endpoints.OTLP, endpoints.Pyroscope)
		if err != nil {
			return err
		}
		environments[inst.Service+"/"+fmt.Sprint(inst.Replica)] = env
	}
	err := g.launcher.Start(ctx, g.proxies.addrs, func(service string, replica int) map[string]string {
		return environments[service+"/"+fmt.Sprint(replica)]
	})
	if err != nil {
		return fmt.Errorf("starting the system: %w", err)
	}
	return g.backend.SetTargets(g.targets())
}

// targets are the instances that have metrics, and the proxy.
func (g *rig) targets() []embedded.Target {
	targets := []embedded.Target{{Service: "proxy", Instance: "proxy", URL: g.proxies.process.API + "/metrics"}}
	if g.proxies.hops > 0 {
		targets = append(targets, embedded.Target{Service: "proxy", Instance: "hops", URL: g.proxies.process.API + "/faultline/metrics"})
	}
	for _, inst := range g.services().Instances() {
		metrics := g.r.cfg.System.Service(inst.Service).Metrics
		addr := inst.Addr
		switch metrics.Port {
		case "":
			continue
		case "admin":
			addr = inst.AdminAddr
		}
		targets = append(targets, embedded.Target{Service: inst.Service, Instance: inst.Name, URL: "http://" + addr + metrics.Path})
	}
	return targets
}

// startLoad starts the load worker, which sends once it is told to begin;
// results are delivered from one goroutine.
func (g *rig) startLoad(ctx context.Context, sink func(loadgen.Result)) (*loadgen.Worker, error) {
	share := loadgen.Share{Loads: g.r.cfg.Plan.Loads, Targets: map[string]loadgen.Target{}}
	for _, load := range g.r.cfg.Plan.Loads {
		svc := g.r.cfg.System.Service(load.Service)
		share.Targets[load.Service] = loadgen.Target{Protocol: svc.Protocol, Addrs: g.loadAddrs(load.Service)}
	}
	worker, err := loadgen.Start(context.WithoutCancel(ctx), []string{g.r.cfg.Self, "load"}, share, sink)
	if err != nil {
		return nil, err
	}
	g.worker = worker
	return worker, nil
}

// proportionalEvery is how many samples go by between two of the proportional size.
const proportionalEvery = 5

// sample records what every process uses.
func (g *rig) sample() {
	own := map[string]int{"faultline": os.Getpid(), "load": g.worker.PID()}
	var usage []local.Usage
	if g.launcher != nil {
		usage, own["proxy"] = g.launcher.Usage(), g.proxies.process.PID
	}
	for name, pid := range own {
		if u, ok := local.ProcessUsage(name, pid); ok {
			usage = append(usage, u)
		}
	}
	g.metrics.usage(usage, g.samples%proportionalEvery == 0)
	g.samples++
}

// gate refuses a fault while what it acts on is not well: its effect could not be told from what was wrong before.
func (g *rig) gate(ctx context.Context, f chaos.Fault) error {
	for _, service := range touched(f) {
		if err := g.services().Ready(ctx, service, 0); err != nil {
			g.r.event(record.Event{Kind: record.EventHealth, Name: service, Text: "unhealthy", Data: map[string]any{"error": err.Error()}})
			return fmt.Errorf("%s is not healthy: %w", service, err)
		}
	}
	return nil
}

// touched lists the services that a fault acts on or between, each once.
func touched(f chaos.Fault) []string {
	services := slices.Clone(f.Services)
	for _, edge := range f.Edges {
		services = append(services, edge.Callee)
		if edge.Caller != system.LoadCaller {
			services = append(services, edge.Caller)
		}
	}
	slices.Sort(services)
	return slices.Compact(services)
}

// startController makes the controller, and refuses a plan with a fault that it cannot bring about.
func (g *rig) startController() error {
	g.controller = chaos.NewController(chaos.Config{
		Injectors: map[string]chaos.Injector{
			chaos.FamilyNetwork: g.proxies.injector,
			chaos.FamilyRequest: g.proxies.requests,
			chaos.FamilyProcess: process.New(g.services()),
			chaos.FamilyAdmin:   admin.New(g.adminAddrs, g.dial()),
		},
		OnEvent: g.r.onFault, Gate: g.gate, Registerer: g.telemetry.Registry,
	})
	for _, w := range g.r.cfg.Plan.Faults {
		if err := g.controller.Supports(w.Fault); err != nil {
			return err
		}
	}
	for _, w := range g.r.cfg.Plan.Faults { // a series that begins with its fault has no beginning that a dashboard could draw
		g.controller.Show(w.Fault, cmp.Or(w.Load, w.Target()), false)
	}
	return nil
}

// recoverAll takes back, once, every fault that still stands. What cannot be
// taken back is a note: it makes the verdict inconclusive, and goes down with the system.
func (g *rig) recoverAll(ctx context.Context) {
	g.recovering.Do(func() {
		if g.controller == nil || g.proxies.gone() { // its faults went with it
			return
		}
		if err := g.controller.RecoverAll(ctx); err != nil {
			g.r.event(record.Event{Kind: record.EventNote, Name: "faults", Text: err.Error()})
		}
	})
}

// adminAddrs lists the admin ports of a service's replicas; replica 0 means all.
func (g *rig) adminAddrs(service string, replica int) []string {
	var addrs []string
	for _, inst := range g.services().Instances() {
		if inst.Service == service && (replica == 0 || replica == inst.Replica) {
			addrs = append(addrs, inst.AdminAddr)
		}
	}
	return addrs
}

func (g *rig) adminAddr(service string) string {
	for _, inst := range g.services().Instances() {
		if inst.Service == service {
			return inst.AdminAddr
		}
	}
	return ""
}

// down takes everything down, in the opposite order of up, and goes on past errors.
func (g *rig) down(ctx context.Context) error {
	g.recoverAll(ctx)
	if g.worker != nil {
		g.worker.Abandon()
		_ = g.worker.Wait() // its error was seen when it mattered
	}
	var err error
	if g.feed != nil {
		g.feed.stop()
	}
	if g.backend != nil {
		g.backend.StopScraping() // or it would count the stopped services as failed scrapes
	}
	if g.launcher != nil {
		err = errors.Join(err, g.launcher.Stop(ctx))
	}
	if g.proxies != nil {
		err = errors.Join(err, g.proxies.stop(ctx))
	}
	if g.containers != nil {
		err = errors.Join(err, g.containers.Stop(ctx))
	}
	if g.backend != nil {
		loss, closeErr := g.backend.Close(ctx)
		if g.feed != nil {
			loss = g.feed.add(loss)
		}
		g.r.meta.Loss = loss
		err = errors.Join(err, closeErr)
	}
	if g.telemetry != nil {
		err = errors.Join(err, g.telemetry.Shutdown(ctx))
	}
	return err
}

// outputFile opens the file that takes what one of the lab's own processes prints.
func (g *rig) outputFile(process string) (*os.File, error) {
	folder := filepath.Join(g.r.record.Dir(), record.LogsDir)
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return nil, err
	}
	return os.Create(filepath.Join(folder, process+".log"))
}
