package run

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/faultline-lab/faultline/chaos"
	"github.com/faultline-lab/faultline/internal/plan"
	"github.com/faultline-lab/faultline/internal/record"
	"github.com/faultline-lab/faultline/internal/system"
	"github.com/faultline-lab/faultline/loadgen"
	"github.com/faultline-lab/faultline/observability/names"
)

// quickInjector brings faults about at once; what it is asked not to do, fails.
type quickInjector struct {
	mu     sync.Mutex
	active map[string]bool
	broken bool
}

func (q *quickInjector) Inject(_ context.Context, f chaos.Fault) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.broken {
		return errors.New("it is broken")
	}
	q.active[f.ID] = true
	return nil
}

func (q *quickInjector) Active(_ context.Context, f chaos.Fault) (chaos.Effect, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return chaos.Effect{Felt: q.active[f.ID], Measure: "whether it stands"}, nil
}

func (q *quickInjector) Recover(_ context.Context, f chaos.Fault) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.active, f.ID)
	return nil
}

// ratesSeen is a load worker that takes note.
type ratesSeen []string

func (r *ratesSeen) SetRate(_ context.Context, load string, at time.Duration, rate float64) error {
	if rate < 0 {
		return errors.New("a negative rate")
	}
	*r = append(*r, fmt.Sprintf("%s %g", load, rate))
	return nil
}

// nobody is a console that does nothing.
type nobody struct{ detached int }

func (*nobody) Event(record.Event)    {}
func (*nobody) Progress(Progress)     {}
func (*nobody) Attach(*Control)       {}
func (*nobody) Result(loadgen.Result) {}
func (n *nobody) Detach()             { n.detached++ }

// hand is a run on which somebody acts.
type hand struct {
	*Control
	runner   *runner
	console  *nobody
	injector *quickInjector
	rates    *ratesSeen
	detach   func()
	aborted  context.Context
	gauge    prometheus.Collector // of active faults
}

// soFar is how long the run has lasted when somebody acts.
const soFar = 10 * time.Second

func newHand(t *testing.T, bench bool) *hand {
	t.Helper()
	sys := &system.System{Name: "two", Entry: "front", Services: []*system.Service{
		{Name: "front", Protocol: "http", Replicas: 1, Calls: []string{"back"}}, {Name: "back", Protocol: "http", Replicas: 2},
	}}
	p := &plan.Plan{
		Scenario: "hand", System: "two", Phases: []plan.Phase{{Name: "bench", End: time.Hour}},
		Loads: []loadgen.Load{
			{Name: "browse", Service: "front", Stages: []loadgen.Stage{{For: time.Hour, From: 10, To: 10}}},
			{Name: "people", Service: "front", Users: 3, Stages: []loadgen.Stage{{For: time.Hour}}},
		},
		Faults: []plan.Window{{Fault: chaos.Fault{ID: "latency-1", Kind: chaos.Latency}, Start: 50 * time.Minute, End: time.Hour}},
	}
	w, err := record.Create(t.TempDir(), record.Meta{Scenario: "hand", Started: time.Now()}, p, sys, nil)
	if err != nil {
		t.Fatal(err)
	}
	h := &hand{injector: &quickInjector{active: map[string]bool{}}, rates: &ratesSeen{}, console: &nobody{}}
	h.runner = &runner{cfg: Config{Plan: p, System: sys, Console: h.console, Bench: bench}, record: w, meta: w.Meta()}
	h.runner.rig = newRig(h.runner)
	h.runner.rig.controller = chaos.NewController(chaos.Config{
		Injectors: map[string]chaos.Injector{chaos.FamilyNetwork: h.injector, chaos.FamilyProcess: h.injector},
		OnEvent:   h.runner.onFault, Poll: time.Millisecond, RecoverWithin: time.Second, Registerer: h,
	})
	ctx, abort := context.WithCancelCause(t.Context())
	h.runner.abort, h.aborted = abort, ctx
	h.detach = h.runner.attach(ctx, h.rates, time.Now().Add(-soFar))
	h.Control = h.runner.control.Load()
	t.Cleanup(func() {
		h.detach()
		abort(nil)
		if err := h.runner.rig.controller.RecoverAll(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return h
}

// Register keeps the gauge of active faults: a hand is the controller's registerer.
func (h *hand) Register(c prometheus.Collector) error { h.gauge = c; return nil }

// MustRegister is not used.
func (h *hand) MustRegister(...prometheus.Collector) {}

// Unregister is not used.
func (h *hand) Unregister(prometheus.Collector) bool { return false }

// shown is what the gauge of active faults has: fault, target and value.
func (h *hand) shown(t *testing.T) string {
	t.Helper()
	metrics := make(chan prometheus.Metric, 10)
	h.gauge.Collect(metrics)
	close(metrics)
	var all []string
	for metric := range metrics {
		var m dto.Metric
		if err := metric.Write(&m); err != nil {
			t.Fatal(err)
		}
		labels := map[string]string{}
		for _, label := range m.GetLabel() {
			labels[label.GetName()] = label.GetValue()
		}
		all = append(all, fmt.Sprintf("%s %s %v", labels[names.Fault], labels[names.Target], m.GetGauge().GetValue()))
	}
	return strings.Join(all, ", ")
}

// recorded ends the run and reads its record.
func (h *hand) recorded(t *testing.T) *record.Run {
	t.Helper()
	h.detach()
	if err := h.runner.replan(); err != nil {
		t.Fatal(err)
	}
	if err := h.runner.record.Close(h.runner.meta); err != nil {
		t.Fatal(err)
	}
	run, err := record.Open(h.Dir())
	if err != nil {
		t.Fatal(err)
	}
	return run
}

func TestWhatIsDoneByHandIsRecorded(t *testing.T) {
	h := newHand(t, true)
	f, err := h.Inject("page", chaos.Latency, map[string]any{"edge": "front->back", "delay": "2s"})
	if err != nil {
		t.Fatal(err)
	}
	if f.ID != "latency-2" { // latency-1 is planned
		t.Errorf("it is called %s", f.ID)
	}
	if active := h.Active(); len(active) != 1 || active[0].ID != f.ID {
		t.Errorf("active: %+v", active)
	}
	if err := h.SetRate("page", "browse", 25); err != nil {
		t.Fatal(err)
	}
	if err := h.Recover("page", f.ID); err != nil {
		t.Fatal(err)
	}
	run := h.recorded(t)
	var seen []string
	for _, e := range run.Events {
		if e.Data[record.Who] != "page" {
			t.Errorf("nobody did %+v", e)
		}
		if e.Text != chaos.EventFelt && e.Text != chaos.EventNotFelt { // whichever, it comes in between
			seen = append(seen, e.Kind+" "+e.Name+" "+e.Text)
		}
	}
	if want := []string{"fault latency-2 injected", "load browse rate set", "fault latency-2 recovered"}; !slices.Equal(seen, want) {
		t.Errorf("got events %q, want %q", seen, want)
	}
	if target := run.Events[0].Data["target"]; target != "front->back" {
		t.Errorf("it acted on %v", target)
	}
	if n := len(run.Plan.Faults); n != 1 || run.Plan.Faults[0].End > run.Plan.Length() || run.Plan.Length() < soFar || run.Plan.Length() > time.Minute {
		t.Errorf("the plan kept is %+v", run.Plan)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if stages := h.done.Loads[0].Stages; len(stages) != 2 || stages[0].For < soFar || stages[1].To != 25 {
		t.Errorf("the load kept is %+v", stages)
	}
}

func TestARunWithAnEndKeepsItsLength(t *testing.T) {
	h := newHand(t, false)
	if _, err := h.Inject("page", chaos.Kill, map[string]any{"service": "back", "replica": 2}); err != nil {
		t.Fatal(err)
	}
	if p := h.recorded(t).Plan; p.Length() != time.Hour || len(p.Faults) != 2 || p.Faults[1].Target() != "back#2" {
		t.Errorf("the plan kept is %+v", p)
	}
}

func TestNothingByHandLeavesThePlan(t *testing.T) {
	h := newHand(t, false)
	before := h.runner.cfg.Plan
	if p := h.recorded(t).Plan; len(p.Faults) != len(before.Faults) || p.Length() != before.Length() {
		t.Errorf("the plan kept is %+v", p)
	}
}

func TestASpikeByHandIsTakenBack(t *testing.T) {
	h := newHand(t, true)
	f, err := h.Inject("page", chaos.Spike, map[string]any{"load": "browse", "factor": 3})
	if err != nil {
		t.Fatal(err)
	}
	// It begins when the load has its new rate; until then there is nothing to take back.
	h.mu.Lock()
	h.start = h.start.Add(-rateLead)
	h.mu.Unlock()
	if active := h.Active(); len(active) != 1 || h.Rates()["browse"] != 30 {
		t.Errorf("active %v, rates %v", active, h.Rates())
	}
	if now := h.runner.ratesAt(0); now["browse"] != 30 || len(now) != 1 {
		t.Errorf("the metric of the planned rates has %v", now)
	}
	if got := h.shown(t); got != "spike-1 browse 1" {
		t.Errorf("the gauge of active faults has %q", got)
	}
	if err := h.RecoverAll("page"); err != nil {
		t.Fatal(err)
	}
	if got := h.shown(t); got != "spike-1 browse 0" {
		t.Errorf("once it is taken back, the gauge of active faults has %q", got)
	}
	if want := []string{"browse 30", "browse 10"}; !slices.Equal(*h.rates, want) {
		t.Errorf("got %v, want %v", *h.rates, want)
	}
	if err := h.Recover("page", f.ID); err == nil {
		t.Error("it was taken back twice")
	}
}

func TestInvalidFaultsAreRefused(t *testing.T) {
	h := newHand(t, true)
	for _, tt := range []struct {
		kind string
		raw  map[string]any
		want string
	}{
		{"latencyy", nil, `did you mean "latency"`},
		{chaos.Latency, map[string]any{"edge": "front->back"}, "delay: required"},
		{chaos.Latency, map[string]any{"edge": "front->nobody", "delay": "1s"}, "edge: there is no edge front->nobody"},
		{chaos.Latency, map[string]any{"edge": "front->back", "delay": "1s", "replica": 3}, "replica: back has 2 of them"},
		{chaos.Kill, map[string]any{"service": "nobody"}, `service: there is no service "nobody"`},
		{chaos.Partition, map[string]any{"groups": []any{[]any{"back"}, []any{"nobody"}}}, `there is no service "nobody"`},
		{chaos.Partition, map[string]any{"groups": []any{[]any{"front"}, []any{"load"}}}, ""},
		{chaos.Spike, map[string]any{"load": "people", "factor": 2}, `load: there is no load "people" with a rate`},
	} {
		_, err := h.Inject("page", tt.kind, tt.raw)
		var invalid *InvalidError
		if tt.want == "" {
			if err != nil {
				t.Errorf("%s %v: %v", tt.kind, tt.raw, err)
			}
			continue
		}
		if !errors.As(err, &invalid) || !strings.Contains(fmt.Sprint(err, invalid.Problems), tt.want) {
			t.Errorf("%s %v: got %v, want %s", tt.kind, tt.raw, err, tt.want)
		}
	}
	if err := h.SetRate("page", "people", 3); err == nil {
		t.Error("users got a rate")
	}
	if err := h.SetRate("page", "browse", -1); err == nil {
		t.Error("a load got a negative rate")
	}
	if err := h.Recover("page", "latency-1"); err == nil {
		t.Error("a fault that has not begun was taken back")
	}
}

// TestAFailedInjectionIsNoFault keeps what never stood out of the plan.
func TestAFailedInjectionIsNoFault(t *testing.T) {
	h := newHand(t, true)
	h.injector.broken = true
	if _, err := h.Inject("page", chaos.Down, map[string]any{"edge": "front->back"}); err == nil || len(h.Active()) != 0 {
		t.Errorf("got %v, active %v", err, h.Active())
	}
	run := h.recorded(t)
	if len(run.Plan.Faults) != 0 || len(run.Events) != 1 || run.Events[0].Kind != record.EventNote || run.Events[0].Data[record.Who] != "page" {
		t.Errorf("faults %+v, events %+v", run.Plan.Faults, run.Events)
	}
}

func TestAbortByHand(t *testing.T) {
	h := newHand(t, false)
	if err := h.Abort("page"); err != nil {
		t.Fatal(err)
	}
	cause := context.Cause(h.aborted)
	if got, reason := outcome(cause, nil); got != record.Aborted || reason != "aborted by hand (page)" {
		t.Errorf("the run is %s: %s", got, reason)
	}
	h.detach()
	h.detach()
	if h.console.detached != 1 {
		t.Errorf("told %d times that it is over", h.console.detached)
	}
	_, err := h.Inject("page", chaos.Down, map[string]any{"edge": "front->back"})
	for _, err := range []error{err, h.Abort("page"), h.Recover("page", "x"), h.SetRate("page", "browse", 1)} {
		if !errors.Is(err, errOver) {
			t.Errorf("after the end: got %v", err)
		}
	}
}
