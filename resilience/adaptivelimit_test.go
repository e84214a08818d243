package resilience

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/faultline-lab/faultline/observability/names"
)

func (e testEdge) state(t *testing.T, policy string) float64 {
	t.Helper()
	return e.reg.value(t, names.PolicyState, names.On, "a->b", names.Policy, policy)
}

// noisy makes a station of 10 workers that takes about 20 ms, so 500 a second.
func noisy() *station {
	r := Seeded(1, "service times")
	s := newStation(10, 0)
	s.took = func() time.Duration { return time.Duration((0.5 + 0.5*r.ExpFloat64()) * float64(20*time.Millisecond)) }
	return s
}

// load puts calls on an edge and counts those that were answered, and those answered late.
func (e testEdge) load(rate float64, length time.Duration, serve func(context.Context) error) (good, late float64) {
	var answered, slow atomic.Int64
	offer(rate, length, func(int) {
		began := time.Now()
		if e.Do(context.Background(), serve) != nil {
			return
		}
		if answered.Add(1); time.Since(began) > 200*time.Millisecond {
			slow.Add(1)
		}
	})
	return float64(answered.Load()) / length.Seconds(), float64(slow.Load()) / length.Seconds()
}

// Under twice the load that the callee can take, what is let in is answered in time, and is most of what can be.
func TestAdaptiveLimitUnderOverload(t *testing.T) {
	within(t, func(t *testing.T) {
		bare := newTestEdge(t)
		if good, late := bare.load(1000, 10*time.Second, noisy().serve); late < 0.9*good {
			t.Errorf("without a limit only %.0f of %.0f are late", late, good)
		}
		e := newTestEdge(t, spec(t, "adaptive_limit", nil))
		good, late := e.load(1000, 2*time.Minute, noisy().serve)
		if good < 0.85*500 || late > 0.01*good {
			t.Errorf("%.0f answered a second of 500 that could be, %.0f of them late", good, late)
		}
		// 10 workers are busy with 10 under way; beyond 50 everybody would wait 80 ms.
		if limit := e.state(t, "adaptive_limit"); limit < 2 || limit > 50 {
			t.Errorf("limit %v", limit)
		}
		rejected := e.reg.value(t, names.PolicyRejections, names.On, "a->b", names.Policy, "adaptive_limit", names.Cause, "full")
		if int(rejected) != e.count(t, names.EdgeCalls, "rejected") || rejected == 0 {
			t.Errorf("%v rejections of %d", rejected, e.count(t, names.EdgeCalls, "rejected"))
		}
	})
}

// A load that the callee can take is let be, and the limit keeps room above it.
func TestAdaptiveLimitWhenHealthy(t *testing.T) {
	within(t, func(t *testing.T) {
		e := newTestEdge(t, spec(t, "adaptive_limit", nil))
		if good, _ := e.load(350, time.Minute, noisy().serve); good < 349 {
			t.Errorf("%.1f a second of 350", good)
		}
		if limit := e.state(t, "adaptive_limit"); limit <= 20 || limit > 5*60 {
			t.Errorf("limit %v", limit)
		}
	})
}

// When the callee turns slow the limit falls, and when it is well again it grows back.
func TestAdaptiveLimitFollowsLatency(t *testing.T) {
	within(t, func(t *testing.T) {
		e := newTestEdge(t, spec(t, "adaptive_limit", params{"window": "200ms", "min_calls": 20, "max": 100, "min": 2, "memory": 100}))
		r := Seeded(1, "service times")
		var slow atomic.Bool
		s := newStation(10, 0)
		s.took = func() time.Duration {
			mean := 20 * time.Millisecond
			if slow.Load() {
				mean = 100 * time.Millisecond
			}
			return time.Duration((0.5 + 0.5*r.ExpFloat64()) * float64(mean))
		}
		e.load(400, 20*time.Second, s.serve)
		before := e.state(t, "adaptive_limit")
		slow.Store(true)
		e.load(400, 20*time.Second, s.serve)
		during := e.state(t, "adaptive_limit")
		slow.Store(false)
		e.load(400, 30*time.Second, s.serve)
		if after := e.state(t, "adaptive_limit"); during > 0.7*before || after < 1.5*during {
			t.Errorf("limit %v, then %v, then %v", before, during, after)
		}
	})
}

// What was not answered leaves the limit alone, and gives its place back.
func TestAdaptiveLimitIgnoresWhatWasNotAnswered(t *testing.T) {
	within(t, func(t *testing.T) {
		e := newTestEdge(t, spec(t, "adaptive_limit", params{"initial": 5, "window": "100ms", "min_calls": 1}))
		e.load(100, 10*time.Second, answers(0, errDown).serve)
		for range 20 {
			func() {
				defer func() { _ = recover() }()
				_ = e.Do(t.Context(), func(context.Context) error { panic("bug") })
			}()
		}
		if limit, rejected := e.state(t, "adaptive_limit"), e.count(t, names.EdgeCalls, "rejected"); limit != 5 || rejected > 0 {
			t.Errorf("limit %v, %d rejected", limit, rejected)
		}
	})
}

func TestAdaptiveLimitWaits(t *testing.T) {
	within(t, func(t *testing.T) {
		e := newTestEdge(t, spec(t, "adaptive_limit", params{"initial": 1, "min": 1, "max": 1, "wait": "1s"}))
		if good, _ := e.load(20, time.Second, answers(50*time.Millisecond, nil).serve); good != 20 {
			t.Errorf("%v answered of 20", good)
		}
		if good, _ := e.load(20, time.Second, answers(10*time.Second, nil).serve); good != 1 {
			t.Errorf("%v answered, want one", good)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		go func() { _ = e.Do(t.Context(), answers(time.Second, nil).serve) }()
		pass(time.Millisecond)
		if err := e.Do(ctx, answers(0, nil).serve); err == nil || rejection(err) == "adaptive_limit full" {
			t.Errorf("a caller who goes: %v", err)
		}
	})
}

func TestAdaptiveLimitAtADoor(t *testing.T) {
	within(t, func(t *testing.T) {
		d, reg := newTestDoor(t, spec(t, "adaptive_limit", params{"initial": 1, "max": 1}))
		go func() { _ = d.Do(t.Context(), answers(time.Second, nil).serve) }()
		pass(time.Millisecond)
		if err := d.Do(t.Context(), answers(0, nil).serve); rejection(err) != "adaptive_limit full" {
			t.Errorf("got %v", err)
		}
		if n := reg.value(t, names.PolicyRejections, names.Policy, "adaptive_limit", names.Cause, "full"); n != 1 {
			t.Errorf("%v rejections", n)
		}
	})
}
