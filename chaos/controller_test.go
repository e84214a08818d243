package chaos_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"go.uber.org/goleak"

	"github.com/faultline-lab/faultline/chaos"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// injector is a chaos.Injector that does what a test says. Zero: the fault is
// felt from its injection to its recovery.
type injector struct {
	inject, recover func(ctx context.Context, f chaos.Fault) error
	active          func(ctx context.Context, f chaos.Fault) (chaos.Effect, error)
	check           func(f chaos.Fault) error

	mu       sync.Mutex
	standing map[string]bool
	released []string
	notify   func(chaos.Fault, string)
}

func (i *injector) set(f chaos.Fault, stands bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.standing == nil {
		i.standing = map[string]bool{}
	}
	i.standing[f.ID] = stands
}

func (i *injector) stands(f chaos.Fault) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.standing[f.ID]
}

func (i *injector) Inject(ctx context.Context, f chaos.Fault) error {
	i.set(f, true)
	if i.inject != nil {
		return i.inject(ctx, f)
	}
	return nil
}

func (i *injector) Active(ctx context.Context, f chaos.Fault) (chaos.Effect, error) {
	if i.active != nil {
		return i.active(ctx, f)
	}
	return chaos.Effect{Felt: i.stands(f), Measure: "delay"}, nil
}

func (i *injector) Recover(ctx context.Context, f chaos.Fault) error {
	if i.recover != nil {
		if err := i.recover(ctx, f); err != nil {
			return err
		}
	}
	i.set(f, false)
	return nil
}

func (i *injector) Check(f chaos.Fault) error {
	if i.check != nil {
		return i.check(f)
	}
	return nil
}

func (i *injector) Release(f chaos.Fault) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.released = append(i.released, f.ID)
}

func (i *injector) Notify(notify func(chaos.Fault, string)) { i.notify = notify }

// log collects events, as text.
type log struct {
	mu    sync.Mutex
	lines []string
}

func (l *log) hear(e chaos.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	line := e.Fault.ID + " " + e.Text
	if e.Note != "" {
		line += " (" + e.Note + ")"
	}
	l.lines = append(l.lines, line)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.lines, "; ")
}

func controller(i *injector, change ...func(*chaos.Config)) (*chaos.Controller, *log) {
	heard := &log{}
	config := chaos.Config{Injectors: map[string]chaos.Injector{chaos.FamilyNetwork: i}, OnEvent: heard.hear}
	for _, c := range change {
		c(&config)
	}
	return chaos.NewController(config), heard
}

func down(id string) chaos.Fault {
	return chaos.Fault{ID: id, Kind: chaos.Down, Edges: []chaos.Edge{{Caller: id, Callee: "b"}}}
}

func TestTheLifeOfAFault(t *testing.T) {
	boom := errors.New("boom")
	never := func(context.Context, chaos.Fault) (chaos.Effect, error) { return chaos.Effect{}, nil }
	tests := []struct {
		name     string
		injector *injector
		gate     func(context.Context, chaos.Fault) error
		inject   string // part of the error of Inject; "" for none
		recover  string // of Recover
		heard    string
		left     int // faults that are still active in the end
	}{
		{name: "felt and recovered", injector: &injector{}, heard: "f injected; f felt; f recovered"},
		{name: "not felt", injector: &injector{active: never}, heard: "f injected; f not felt; f recovered"},
		{name: "the gate is closed", injector: &injector{}, gate: func(context.Context, chaos.Fault) error { return boom },
			inject: "not injecting f: the gate is closed: boom", recover: "f is not active", heard: "f note (not injecting f: the gate is closed: boom)"},
		{name: "the gate panics", injector: &injector{}, gate: func(context.Context, chaos.Fault) error { panic("oh") },
			inject: "panic: oh", recover: "f is not active", heard: "f note (not injecting f: the gate is closed: panic: oh)"},
		{name: "injecting fails", injector: &injector{inject: func(context.Context, chaos.Fault) error { return boom }},
			inject: "injecting f: boom", recover: "f is not active", heard: "f note (injecting f: boom)"},
		{name: "injecting panics", injector: &injector{inject: func(context.Context, chaos.Fault) error { panic("oh") }},
			inject: "injecting f: panic: oh", recover: "f is not active", heard: "f note (injecting f: panic: oh)"},
		{name: "injecting hangs", injector: &injector{inject: func(ctx context.Context, _ chaos.Fault) error { <-ctx.Done(); return ctx.Err() }},
			inject: "deadline exceeded", recover: "f is not active", heard: "f note (injecting f: context deadline exceeded)"},
		{name: "measuring fails", injector: &injector{active: func(_ context.Context, f chaos.Fault) (chaos.Effect, error) { return chaos.Effect{}, boom }},
			recover: "proving that f is gone: boom", heard: "f injected; f not felt (boom); f not recovered (proving that f is gone: boom)", left: 1},
		{name: "measuring panics", injector: &injector{active: func(context.Context, chaos.Fault) (chaos.Effect, error) { panic("oh") }},
			recover: "panic: oh", heard: "f injected; f not felt (panic: oh); f not recovered (proving that f is gone: panic: oh)", left: 1},
		{name: "recovering fails", injector: &injector{recover: func(context.Context, chaos.Fault) error { return boom }},
			recover: "recovering f: boom", heard: "f injected; f felt; f not recovered (recovering f: boom)", left: 1},
		{name: "recovering panics", injector: &injector{recover: func(context.Context, chaos.Fault) error { panic("oh") }},
			recover: "recovering f: panic: oh", heard: "f injected; f felt; f not recovered (recovering f: panic: oh)", left: 1},
		{name: "the effect stays", injector: &injector{active: func(context.Context, chaos.Fault) (chaos.Effect, error) { return chaos.Effect{Felt: true}, nil }},
			recover: "it is still felt", heard: "f injected; f felt; f not recovered (proving that f is gone: it is still felt)", left: 1},
		{name: "nothing can be taken back", injector: &injector{inject: func(context.Context, chaos.Fault) error { return boom }, recover: func(context.Context, chaos.Fault) error { return errors.New("bang") }},
			inject: "injecting f: boom\ntaking back what stands of f: bang", recover: "recovering f: bang",
			heard: "f note (injecting f: boom\ntaking back what stands of f: bang); f not recovered (recovering f: bang)", left: 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, heard := controller(test.injector, func(config *chaos.Config) { config.Gate = test.gate })
				start := time.Now()
				holds(t, "Inject", c.Inject(t.Context(), down("f")), test.inject)
				time.Sleep(3 * time.Second) // no time passes in here
				holds(t, "Recover", c.Recover(t.Context(), "f"), test.recover)
				if heard.String() != test.heard {
					t.Errorf("heard %s\nwant  %s", heard, test.heard)
				}
				if left := c.Active(); len(left) != test.left {
					t.Errorf("still active: %v", left)
				}
				if took := time.Since(start); took > time.Minute {
					t.Errorf("it took %s", took)
				}
			})
		})
	}
}

func holds(t *testing.T, what string, err error, want string) {
	t.Helper()
	if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
		t.Errorf("%s gave %v, want %q", what, err, want)
	}
}

func TestFeltOnlyLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		i := &injector{}
		i.active = func(_ context.Context, f chaos.Fault) (chaos.Effect, error) {
			return chaos.Effect{Felt: i.stands(f) && time.Since(start) > 5*time.Second}, nil
		}
		c, heard := controller(i)
		holds(t, "Inject", c.Inject(t.Context(), down("f")), "")
		time.Sleep(4 * time.Second)
		if heard.String() != "f injected" {
			t.Errorf("heard %s", heard)
		}
		time.Sleep(2 * time.Second)
		if heard.String() != "f injected; f felt" {
			t.Errorf("heard %s", heard)
		}
		holds(t, "Recover", c.Recover(t.Context(), "f"), "")
	})
}

func TestRecoveringIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		i := &injector{recover: func(context.Context, chaos.Fault) error {
			if tries++; tries < 4 {
				return errors.New("not yet")
			}
			return nil
		}}
		c, heard := controller(i)
		holds(t, "Inject", c.Inject(t.Context(), down("f")), "")
		synctest.Wait()
		holds(t, "Recover", c.Recover(t.Context(), "f"), "")
		if tries != 4 || heard.String() != "f injected; f felt; f recovered" || !slices.Equal(i.released, []string{"f"}) {
			t.Errorf("%d tries, heard %s, released %v", tries, heard, i.released)
		}
	})
}

func TestRecoverAllGoesOnPastWhatHangsAndPastItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		free := make(chan struct{})
		i := &injector{recover: func(_ context.Context, f chaos.Fault) error {
			if f.ID == "deaf" {
				<-free // whatever its context says
			}
			return nil
		}}
		c, heard := controller(i)
		ctx, cancel := context.WithCancel(t.Context())
		for _, id := range []string{"a", "deaf", "z"} {
			holds(t, "Inject", c.Inject(ctx, down(id)), "")
		}
		synctest.Wait()
		cancel()
		start := time.Now()
		holds(t, "RecoverAll", c.RecoverAll(ctx), "recovering deaf: no answer in time")
		if took := time.Since(start); took > 20*time.Second {
			t.Errorf("it took %s", took)
		}
		active := c.Active()
		if len(active) != 1 || active[0].ID != "deaf" || !strings.Contains(heard.String(), "a recovered") || !strings.Contains(heard.String(), "z recovered") {
			t.Errorf("heard %s; active %v", heard, active)
		}
		close(free)
		holds(t, "the second RecoverAll", c.RecoverAll(ctx), "")
		if len(c.Active()) != 0 {
			t.Errorf("active %v", c.Active())
		}
	})
}

func TestInjectingWithACancelledContextDoesNothing(t *testing.T) {
	i := &injector{}
	c, _ := controller(i)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	holds(t, "Inject", c.Inject(ctx, down("f")), "context canceled")
	if i.stands(down("f")) || len(c.Active()) != 0 {
		t.Error("the fault was injected")
	}
}

func TestSupports(t *testing.T) {
	i := &injector{check: func(f chaos.Fault) error {
		if f.ID == "odd" {
			return errors.New("there is no such edge")
		}
		return nil
	}}
	c, _ := controller(i)
	holds(t, "Inject", c.Inject(t.Context(), down("there")), "")
	again := down("other")
	again.Edges = down("there").Edges
	spike := chaos.Fault{ID: "s", Kind: chaos.Spike}
	for _, test := range []struct {
		fault chaos.Fault
		want  string
	}{
		{down("f"), ""},
		{spike, ""},
		{chaos.Fault{ID: "f", Kind: "dwon"}, `fault f: unknown kind of fault "dwon"`},
		{chaos.Fault{ID: "f", Kind: chaos.Kill}, "kill is a fault of the family process, which this target does not offer"},
		{down("odd"), "fault odd: there is no such edge"},
		{down(""), "a fault without id"},
		{down("there"), "fault there is active already"},
		{again, "there (down) and other (down) both act on there->b at the same time"},
	} {
		holds(t, fmt.Sprintf("Supports(%s %s)", test.fault.ID, test.fault.Kind), c.Supports(test.fault), test.want)
		if test.want != "" {
			holds(t, "Inject", c.Inject(t.Context(), test.fault), test.want)
		}
	}
	holds(t, "Inject", c.Inject(t.Context(), spike), "there is nothing to inject")
	holds(t, "Recover", c.Recover(t.Context(), "there"), "")
	holds(t, "Recover", c.Recover(t.Context(), "there"), "there is not active")
	holds(t, "Supports", c.Supports(again), "")
}

func TestNotesOfInjectorsAreEvents(t *testing.T) {
	i := &injector{}
	_, heard := controller(i)
	i.notify(down("f"), "3 connections were cut")
	if heard.String() != "f note (3 connections were cut)" {
		t.Errorf("heard %s", heard)
	}
}

func TestTheGaugeOfActiveFaults(t *testing.T) {
	registry := prometheus.NewRegistry()
	value := func() float64 {
		families, err := registry.Gather()
		if err != nil || len(families) != 1 || families[0].GetName() != "faultline_fault_active" {
			t.Fatalf("gathered %v, %v", families, err)
		}
		metric := families[0].GetMetric()[0]
		if got := labels(metric); got != "fault=f kind=down target=f->b" {
			t.Errorf("the labels are %s", got)
		}
		return metric.GetGauge().GetValue()
	}
	for range 2 { // a second run of the same process goes on with the same gauge
		c, _ := controller(&injector{}, func(config *chaos.Config) { config.Registerer = registry })
		holds(t, "Inject", c.Inject(t.Context(), down("f")), "")
		if value() != 1 {
			t.Errorf("during the fault the gauge is %v", value())
		}
		holds(t, "RecoverAll", c.RecoverAll(t.Context()), "")
		if value() != 0 {
			t.Errorf("after the fault the gauge is %v", value())
		}
		c.Show(down("f"), "f->b", true) // as of a fault that others bring about
		if value() != 1 {
			t.Errorf("of a fault that is shown the gauge is %v", value())
		}
		c.Show(down("f"), "f->b", false)
		if value() != 0 {
			t.Errorf("of a fault that is shown as over the gauge is %v", value())
		}
	}
}

func labels(metric *dto.Metric) string {
	var all []string
	for _, label := range metric.GetLabel() {
		all = append(all, label.GetName()+"="+label.GetValue())
	}
	return strings.Join(all, " ")
}

func TestManyFaultsAtOnce(t *testing.T) {
	c, heard := controller(&injector{}, func(config *chaos.Config) { config.Poll = time.Millisecond })
	var running sync.WaitGroup
	for n := range 20 {
		running.Go(func() {
			id := fmt.Sprint("f", n)
			holds(t, "Inject", c.Inject(t.Context(), down(id)), "")
			if n%2 == 0 {
				holds(t, "Recover", c.Recover(t.Context(), id), "")
			}
			c.Active()
		})
	}
	running.Wait()
	holds(t, "RecoverAll", c.RecoverAll(t.Context()), "")
	if got := strings.Count(heard.String(), " recovered"); got != 20 {
		t.Errorf("%d recovered", got)
	}
}
