package run

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/faultline-lab/faultline/chaos"
	"github.com/faultline-lab/faultline/internal/plan"
)

// diary notes what is done, and when on the clock of the bubble.
type diary struct {
	mu      sync.Mutex
	start   time.Time
	entries []string
}

func (d *diary) note(what string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.entries = append(d.entries, time.Since(d.start).String()+" "+what)
}

func (d *diary) expect(t *testing.T, want ...string) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	if !slices.Equal(d.entries, want) {
		t.Errorf("got  %q\nwant %q", d.entries, want)
	}
}

// takes notes the begin and the end of something that takes a while, or is cut short.
func (d *diary) takes(what string, long time.Duration) func(context.Context) {
	return func(ctx context.Context) {
		d.note(what)
		select {
		case <-time.After(long):
			d.note(what + " done")
		case <-ctx.Done():
			d.note(what + " cut short")
		}
	}
}

func TestFollowKeepsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &diary{start: time.Now()}
		note := func(what string) func(context.Context) { return func(context.Context) { d.note(what) } }
		err := follow(t.Context(), d.start.Add(50*time.Millisecond), []action{
			{at: 0, do: note("first")},
			{at: time.Second, do: d.takes("slow", 3*time.Second), apart: true},
			{at: time.Second, do: note("beside it")},
			{at: 2 * time.Second, do: note("on time")},
			{at: 2 * time.Second, do: d.takes("in the way", time.Second)},
			{at: 2500 * time.Millisecond, do: note("late")},
		})
		if err != nil {
			t.Error(err)
		}
		synctest.Wait()
		d.mu.Lock()
		slices.Sort(d.entries[1:3]) // begun at the same time
		d.mu.Unlock()
		d.expect(t, "50ms first", "1.05s beside it", "1.05s slow", "2.05s on time", "2.05s in the way", "3.05s in the way done", "3.05s late", "4.05s slow done")
		if took := time.Since(d.start); took != 4050*time.Millisecond {
			t.Errorf("it returned after %v, want it to wait for what is apart", took)
		}
	})
}

func TestFollowEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &diary{start: time.Now()}
		ctx, cancel := context.WithCancelCause(t.Context())
		why := errors.New("enough")
		time.AfterFunc(1500*time.Millisecond, func() { cancel(why) })
		err := follow(ctx, d.start, []action{
			{at: time.Second, do: d.takes("slow", time.Hour), apart: true},
			{at: 2 * time.Second, do: func(context.Context) { d.note("never") }},
		})
		if !errors.Is(err, why) {
			t.Errorf("got %v, want the cause", err)
		}
		d.expect(t, "1s slow", "1.5s slow cut short")
	})
}

func TestFollowCatchesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &diary{start: time.Now()}
		err := follow(t.Context(), d.start.Add(-time.Hour), []action{{at: 0, do: d.takes("long due", 0)}})
		if err != nil {
			t.Error(err)
		}
		d.expect(t, "0s long due", "0s long due done")
	})
}

// handPlan has two phases that touch, and faults that end and begin where they do.
func handPlan() *plan.Plan {
	return &plan.Plan{
		Phases: []plan.Phase{{Name: "baseline", End: 2 * time.Second}, {Name: "fault", Start: 2 * time.Second, End: 5 * time.Second}},
		Faults: []plan.Window{
			{Fault: chaos.Fault{ID: "early", Kind: chaos.Kill, Services: []string{"bank"}, Replica: 2}, Start: time.Second, End: 2 * time.Second},
			{Fault: chaos.Fault{ID: "late", Kind: chaos.Latency, Edges: []chaos.Edge{{Caller: "front", Callee: "bank"}}}, Start: 2 * time.Second, End: 5 * time.Second},
			{Fault: chaos.Fault{ID: "rush", Kind: chaos.Spike}, Load: "browse", Start: 4 * time.Second, End: 5 * time.Second},
		},
	}
}

func TestEndingsComeBeforeBeginnings(t *testing.T) {
	r := &runner{cfg: Config{Plan: handPlan()}}
	type moment struct {
		at    time.Duration
		order int
	}
	var got []moment
	for _, a := range r.actions() {
		got = append(got, moment{a.at, a.order})
	}
	want := []moment{
		{0, orderPhaseStart}, {time.Second, orderInject},
		{2 * time.Second, orderRecover}, {2 * time.Second, orderPhaseEnd}, {2 * time.Second, orderPhaseStart}, {2 * time.Second, orderInject},
		{4 * time.Second, orderInject},
		{5 * time.Second, orderRecover}, {5 * time.Second, orderRecover}, {5 * time.Second, orderPhaseEnd},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

func TestPhaseAt(t *testing.T) {
	for _, test := range []struct {
		at, left time.Duration
		phase    string
	}{
		{-time.Millisecond, 0, ""}, {0, 2 * time.Second, "baseline"}, {2*time.Second - 1, 1, "baseline"},
		{2 * time.Second, 3 * time.Second, "fault"}, {5 * time.Second, 0, ""}, {time.Hour, 0, ""},
	} {
		if phase, left := phaseAt(handPlan(), test.at); phase != test.phase || left != test.left {
			t.Errorf("at %v: got %q, %v; want %q, %v", test.at, phase, left, test.phase, test.left)
		}
	}
}

func TestActiveAt(t *testing.T) {
	for at, want := range map[time.Duration][]string{
		0:                       nil,
		time.Second:             {"early (kill bank#2)"},
		2 * time.Second:         {"late (latency front->bank)"},
		4500 * time.Millisecond: {"late (latency front->bank)", "rush (spike browse)"},
		5 * time.Second:         nil,
	} {
		if got := activeAt(handPlan(), at); !slices.Equal(got, want) {
			t.Errorf("at %v: got %q, want %q", at, got, want)
		}
	}
}
