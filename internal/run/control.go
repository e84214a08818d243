package run

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/faultline-lab/faultline/chaos"
	"github.com/faultline-lab/faultline/internal/plan"
	"github.com/faultline-lab/faultline/internal/record"
	"github.com/faultline-lab/faultline/internal/system"
	"github.com/faultline-lab/faultline/loadgen"
	"github.com/faultline-lab/faultline/observability/embedded"
	"github.com/faultline-lab/faultline/parameter"
)

// Console is a Watcher through which people act on a run while it goes on.
type Console interface {
	Watcher
	// Attach gives it the run once everything is up and the load begins. The Control refuses
	// everything once Detach was called.
	Attach(*Control)
	// Result gives it each result, from one goroutine.
	Result(loadgen.Result)
	// Detach says that the run is coming to its end.
	Detach()
}

// Control acts on a run while it goes on. Whatever is done through it is an event
// of the record, with who did it, and part of the plan that the record keeps. Its methods are safe
// for concurrent use.
type Control struct {
	r      *runner
	ctx    context.Context // of the run; a call that acts outlives the request that asked for it
	start  time.Time
	worker rateSetter
	acting sync.WaitGroup

	mu        sync.Mutex
	closed    bool
	ended     time.Duration      // when the run came to its end; 0 before
	hand      bool               // whether anything was done by hand
	done      *plan.Plan         // the plan as it is being carried out
	byHand    map[string]string  // who did it, by the fault's id
	before    map[string]float64 // the rate before a spike, by the fault's id
	recovered map[string]bool    // taken back by hand, by the fault's id
	count     map[string]int     // of faults by hand, by kind
}

// rateSetter is a load worker, as far as rates are concerned.
type rateSetter interface {
	SetRate(ctx context.Context, load string, at time.Duration, rate float64) error
}

// InvalidError is what is wrong with a fault that somebody asked for, parameter by parameter.
type InvalidError struct{ Problems []parameter.Problem }

// Error names the first problem, and how many more there are.
func (e *InvalidError) Error() string {
	first := e.Problems[0]
	text := first.Message
	if first.Name != "" {
		text = first.Name + ": " + text
	}
	if n := len(e.Problems) - 1; n > 0 {
		text += fmt.Sprintf(" (and %d more)", n)
	}
	return text
}

// errOver refuses what comes too late.
var errOver = errors.New("the run is over")

// byHandError ends a run because somebody wanted it. It counts as an abort.
type byHandError struct{ who string }

func (e byHandError) Error() string        { return "aborted by hand (" + e.who + ")" }
func (e byHandError) Is(target error) bool { return target == errAborted }

// attach lets the console act on the run until detach.
func (r *runner) attach(ctx context.Context, worker rateSetter, start time.Time) (detach func()) {
	if r.cfg.Console == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	c := &Control{
		r: r, ctx: ctx, start: start, worker: worker, done: r.cfg.Plan.Clone(),
		byHand: map[string]string{}, before: map[string]float64{}, recovered: map[string]bool{}, count: map[string]int{},
	}
	r.control.Store(c)
	r.cfg.Console.Attach(c)
	return sync.OnceFunc(func() {
		c.mu.Lock()
		c.closed, c.ended = true, c.now()
		c.mu.Unlock()
		cancel()
		c.acting.Wait()
		r.cfg.Console.Detach()
	})
}

// Plan returns the plan as it has been carried out so far: with what was done by
// hand, and cut off now where the run has no end of its own.
func (c *Control) Plan() *plan.Plan {
	now := c.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	out := c.done.Clone()
	if c.ended > 0 {
		now = c.ended
	}
	if c.r.cfg.Bench {
		out.End(max(now, time.Second)) // a plan of no length is none
	}
	return out
}

// System returns the system as this run has it.
func (c *Control) System() *system.System { return c.r.cfg.System }

// Start is when time zero of the plan was.
func (c *Control) Start() time.Time { return c.start }

// Dir is the directory of the run's record.
func (c *Control) Dir() string { return c.r.record.Dir() }

// ID is the run's name.
func (c *Control) ID() string { return c.r.meta.ID }

// Bench tells whether the run lasts for as long as somebody wants.
func (c *Control) Bench() bool { return c.r.cfg.Bench }

// Archive answers questions about the run's telemetry, until Detach.
func (c *Control) Archive() *embedded.Archive { return c.r.rig.backend.Archive() }

// Edges are the edges on which network faults can act.
func (c *Control) Edges() []chaos.Edge { return edgesOf(c.r) }

// Active returns the faults that act now, spikes of the load made by hand among them.
func (c *Control) Active() []plan.Window {
	standing := map[string]bool{}
	for _, f := range c.r.rig.controller.Active() {
		standing[f.ID] = true
	}
	now := c.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []plan.Window
	for _, w := range c.done.Faults {
		if standing[w.ID] || w.Load != "" && now >= w.Start && now < w.End && !c.recovered[w.ID] {
			out = append(out, w)
		}
	}
	return out
}

// Rates are the arrivals per second that each open-loop load has now.
func (c *Control) Rates() map[string]float64 {
	now := max(0, c.now())
	c.mu.Lock()
	defer c.mu.Unlock()
	out := map[string]float64{}
	for _, load := range c.done.Loads {
		if load.Users == 0 {
			out[load.Name] = load.Rate(now)
		}
	}
	return out
}

// now is the offset in the plan, in whole milliseconds, as a scenario would be written.
func (c *Control) now() time.Duration { return time.Since(c.start).Truncate(time.Millisecond) }

// begin refuses what comes too late; end has to follow when it does not.
func (c *Control) begin() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return errOver
	}
	c.hand = true
	c.acting.Add(1)
	return nil
}

// Inject brings a fault about: raw is what stands below the kind in a scenario. It
// returns once the fault stands; whether it is felt is an event. The error is an *InvalidError where
// the description is at fault.
func (c *Control) Inject(who, kind string, raw map[string]any) (chaos.Fault, error) {
	if err := c.begin(); err != nil {
		return chaos.Fault{}, err
	}
	defer c.acting.Done()
	target, params, problems := chaos.Check(kind, raw)
	if len(problems) == 0 {
		problems = c.exists(kind, target)
	}
	if len(problems) > 0 {
		return chaos.Fault{}, &InvalidError{problems}
	}
	f := chaos.Fault{ID: c.nextID(kind), Kind: kind, Edges: target.Edges, Services: target.Services, Replica: target.Replica, Params: params}
	if target.Groups != nil {
		f.Edges = chaos.Between(target.Groups, c.Edges())
	}
	if target.Load != "" {
		return f, c.spike(who, f, target.Load)
	}
	c.mu.Lock()
	c.byHand[f.ID] = who
	c.mu.Unlock()
	return f, c.r.rig.controller.Inject(c.ctx, f)
}

// exists checks that there is what a fault is to act on.
func (c *Control) exists(name string, target chaos.Target) []parameter.Problem {
	kind, _ := chaos.Find(name)
	var problems []parameter.Problem
	complain := func(name, format string, args ...any) {
		problems = append(problems, parameter.Problem{Name: name, Message: fmt.Sprintf(format, args...)})
	}
	replicas := func(service string) {
		if svc := c.r.cfg.System.Service(service); svc != nil && target.Replica > max(1, svc.Replicas) {
			complain("replica", "%s has %d of them", service, max(1, svc.Replicas))
		}
	}
	for _, edge := range target.Edges {
		if !slices.Contains(c.Edges(), edge) {
			complain("edge", "there is no edge %s", edge)
		} else if why := c.NoRequests(edge); kind.Family == chaos.FamilyRequest && why != "" {
			complain("edge", "%s cannot take it. %s", edge, why)
		}
		replicas(edge.Callee)
	}
	for _, service := range slices.Concat(append(target.Groups, target.Services)...) {
		if c.r.cfg.System.Service(service) == nil && (target.Groups == nil || service != system.LoadCaller) {
			complain("service", "there is no service %q", service)
		}
		replicas(service)
	}
	if target.Groups != nil && len(chaos.Between(target.Groups, c.Edges())) == 0 {
		complain("groups", "no edge goes from one group to another")
	}
	if _, open := c.Rates()[target.Load]; target.Load != "" && !open {
		complain("load", "there is no load %q with a rate", target.Load)
	}
	return problems
}

// nextID names a fault after its kind: latency-1, latency-2.
func (c *Control) nextID(kind string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	name := map[string]string{chaos.ResetPeer: "reset", chaos.SlowClose: "slow-close", chaos.LimitData: "limit-data"}[kind]
	if name == "" {
		name = kind
	}
	for {
		c.count[kind]++
		id := fmt.Sprintf("%s-%d", name, c.count[kind])
		_, isPhase := c.done.Phase(id)
		if !isPhase && !slices.ContainsFunc(c.done.Faults, func(w plan.Window) bool { return w.ID == id }) {
			return id
		}
	}
}

// spike raises or lowers a load until the fault is taken back.
func (c *Control) spike(who string, f chaos.Fault, load string) error {
	was := c.Rates()[load]
	rate := f.Params.Float("rate")
	if !f.Params.Has("rate") {
		rate = was * f.Params.Float("factor")
	}
	at, err := c.setRate(load, rate)
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.byHand[f.ID], c.before[f.ID] = who, was
	c.done.Faults = append(c.done.Faults, plan.Window{Fault: f, Load: load, Start: at, End: c.done.Length()})
	c.mu.Unlock()
	c.r.rig.controller.Show(f, load, true)
	c.r.event(record.Event{Kind: record.EventFault, Name: f.ID, Text: chaos.EventInjected, Data: describe(who, f, load)})
	return nil
}

// Recover takes a fault back, one of the plan as well, and returns once it is proven gone.
func (c *Control) Recover(who, id string) error {
	if err := c.begin(); err != nil {
		return err
	}
	defer c.acting.Done()
	now := c.now()
	c.mu.Lock()
	i := slices.IndexFunc(c.done.Faults, func(w plan.Window) bool { return w.ID == id && now >= w.Start && now < w.End && !c.recovered[id] })
	was, isSpike := c.before[id]
	if i < 0 || c.done.Faults[i].Load != "" && !isSpike {
		c.mu.Unlock()
		return fmt.Errorf("fault %s does not act now, or is part of the planned load", id)
	}
	w := c.done.Faults[i]
	c.byHand[id], c.recovered[id] = who, true
	c.done.Faults[i].End = max(now, w.Start+time.Millisecond) // a window of no length would be none, but it was there
	c.mu.Unlock()
	if !isSpike {
		return c.r.rig.controller.Recover(c.ctx, id)
	}
	if _, err := c.setRate(w.Load, was); err != nil {
		return err
	}
	c.r.rig.controller.Show(w.Fault, w.Load, false)
	c.r.event(record.Event{Kind: record.EventFault, Name: id, Text: chaos.EventRecovered, Data: map[string]any{record.Who: who}})
	return nil
}

// RecoverAll takes every fault back.
func (c *Control) RecoverAll(who string) error {
	active := c.Active()
	failures := make([]error, len(active))
	var recovering sync.WaitGroup
	for i, w := range active {
		recovering.Go(func() { failures[i] = c.Recover(who, w.ID) })
	}
	recovering.Wait()
	return errors.Join(failures...)
}

// SetRate gives a load another rate, from now to the end of the run.
func (c *Control) SetRate(who, load string, rate float64) error {
	if err := c.begin(); err != nil {
		return err
	}
	defer c.acting.Done()
	if _, open := c.Rates()[load]; !open {
		return &InvalidError{[]parameter.Problem{{Name: "load", Message: fmt.Sprintf("there is no load %q with a rate", load)}}}
	}
	at, err := c.setRate(load, rate)
	if err != nil {
		return &InvalidError{[]parameter.Problem{{Name: "rate", Message: err.Error()}}}
	}
	c.r.event(record.Event{Kind: record.EventLoad, Name: load, Text: "rate set",
		Data: map[string]any{record.Who: who, "rate": rate, "at_ms": at.Milliseconds()}})
	return nil
}

// rateLead is how long before it takes effect the worker learns of a rate.
const rateLead = 100 * time.Millisecond

func (c *Control) setRate(load string, rate float64) (time.Duration, error) {
	c.mu.Lock()
	defer c.mu.Unlock() // changes reach the worker in the order in which the plan has them
	at := max(0, c.now()+rateLead).Truncate(time.Millisecond)
	if err := c.worker.SetRate(c.ctx, load, at, rate); err != nil {
		return 0, err
	}
	for i := range c.done.Loads {
		if c.done.Loads[i].Name == load {
			c.done.Loads[i] = c.done.Loads[i].WithRate(at, rate)
		}
	}
	return at, nil
}

// Abort ends the run: faults are taken back, and everything goes down.
func (c *Control) Abort(who string) error {
	if err := c.begin(); err != nil {
		return err
	}
	defer c.acting.Done()
	c.r.event(record.Event{Kind: record.EventAbort, Name: "by hand", Data: map[string]any{record.Who: who}})
	c.r.abort(byHandError{who})
	return nil
}

// mark says in an event of a fault who is behind it, and keeps the window of a
// fault made by hand. It may be called on nil, while nobody can act.
func (c *Control) mark(event *record.Event, f chaos.Fault) {
	if c == nil {
		return
	}
	at := event.Time.Sub(c.start).Truncate(time.Millisecond)
	c.mu.Lock()
	defer c.mu.Unlock()
	who, byHand := c.byHand[f.ID]
	if !byHand {
		return
	}
	data := map[string]any{record.Who: who}
	known := slices.ContainsFunc(c.done.Faults, func(w plan.Window) bool { return w.ID == f.ID })
	if event.Text == chaos.EventInjected && !known {
		data = describe(who, f, "")
		c.done.Faults = append(c.done.Faults, plan.Window{Fault: f, Start: at, End: c.done.Length()})
	}
	maps.Copy(data, event.Data)
	event.Data = data
}

// describe is a fault made by hand as its event tells it.
func describe(who string, f chaos.Fault, load string) map[string]any {
	data := map[string]any{record.Who: who, "kind": f.Kind, "params": map[string]any(f.Params)}
	if load != "" {
		data["load"] = load
	} else {
		data["target"] = f.Target()
	}
	return data
}

// replan keeps the plan as it was carried out, where that is not the one that was made.
func (r *runner) replan() error {
	c := r.control.Load()
	if c == nil || !c.changed() {
		return nil
	}
	return r.record.Replan(c.Plan())
}

func (c *Control) changed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.hand || c.r.cfg.Bench
}

// both tells two watchers.
type both struct{ a, b Watcher }

func (w both) Event(e record.Event) { w.a.Event(e); w.b.Event(e) }
func (w both) Progress(p Progress)  { w.a.Progress(p); w.b.Progress(p) }

// watchers is who is told: the watcher, the console, both or neither.
func watchers(cfg Config) Watcher {
	switch {
	case cfg.Console == nil:
		return cfg.Watch
	case cfg.Watch == nil:
		return cfg.Console
	default:
		return both{cfg.Watch, cfg.Console}
	}
}
