package resilience

import (
	"context"
	"fmt"
	"math"
	"sync/atomic"
	"testing"
	"time"

	"github.com/faultline-lab/faultline/observability/names"
)

func TestThrottleProbability(t *testing.T) {
	tests := []struct{ k, most, requests, accepts, want float64 }{
		{2, 1, 0, 0, 0},
		{2, 1, 100, 100, 0},
		{2, 1, 100, 50, 0}, // exactly where it begins
		{2, 1, 100, 40, 20. / 101},
		{2, 1, 100, 0, 100. / 101},
		{2, 0.9, 100, 0, 0.9},
		{1.1, 1, 100, 50, 45. / 101},
		{2, 1, -2, 0, 0},
	}
	for _, test := range tests {
		p := throttle{k: test.k, most: test.most}
		if got := p.probability(tally{calls: test.requests, good: test.accepts}); math.Abs(got-test.want) > 1e-12 {
			t.Errorf("%+v: got %v", test, got)
		}
	}
}

// Under lasting overload the fixed point of the formula is: with a callee that accepts c
// a second, k x c a second are sent, and of the load r the share 1 - k x c / r is rejected.
func TestThrottleClosedForm(t *testing.T) {
	for _, test := range []struct{ k, rate, accepts float64 }{{2, 100, 10}, {2, 100, 40}, {1.5, 100, 20}, {4, 200, 10}} {
		t.Run(fmt.Sprint(test), func(t *testing.T) {
			within(t, func(t *testing.T) {
				e := newTestEdge(t, spec(t, "adaptive_throttle", params{"k": test.k, "max_rejection": 1}))
				callee := &quota{rate: test.accepts}
				call := func(int) { _ = e.Do(t.Context(), callee.serve) }
				offer(test.rate, 60*time.Second, call) // until it is settled
				sent, good := e.sent(t), e.count(t, names.EdgeCalls, "ok")
				offer(test.rate, 120*time.Second, call)
				perSecond := float64(e.sent(t)-sent) / 120
				if want := test.k * test.accepts; math.Abs(perSecond-want) > 0.1*want {
					t.Errorf("%.1f sent a second, want %.1f", perSecond, want)
				}
				if accepted := float64(e.count(t, names.EdgeCalls, "ok")-good) / 120; accepted < 0.8*test.accepts {
					t.Errorf("%.1f accepted a second of %.1f", accepted, test.accepts)
				}
				state := e.reg.value(t, names.PolicyState, names.On, "a->b", names.Policy, "adaptive_throttle")
				if want := 1 - test.k*test.accepts/test.rate; math.Abs(state-want) > 0.06 {
					t.Errorf("state %.2f, want %.2f", state, want)
				}
				rejected := e.reg.value(t, names.PolicyRejections, names.On, "a->b", names.Policy, "adaptive_throttle", names.Cause, "throttled")
				if int(rejected) != e.count(t, names.EdgeCalls, "rejected") {
					t.Errorf("%v rejections of %d", rejected, e.count(t, names.EdgeCalls, "rejected"))
				}
			})
		})
	}
}

// sent is how many attempts there were.
func (e testEdge) sent(t *testing.T) int {
	t.Helper()
	n := 0
	for _, outcome := range []string{"ok", "error", "timeout", "cancelled"} {
		n += e.count(t, names.EdgeAttempts, outcome)
	}
	return n
}

// A callee that fails less than 1 - 1/k of its calls is let be.
func TestThrottleLeavesFewFailuresAlone(t *testing.T) {
	within(t, func(t *testing.T) {
		e := newTestEdge(t, spec(t, "adaptive_throttle", nil))
		var n atomic.Int64
		offer(100, 30*time.Second, func(int) {
			_ = e.Do(t.Context(), func(context.Context) error {
				if n.Add(1)%3 == 0 {
					return errDown
				}
				return nil
			})
		})
		if rejected := e.count(t, names.EdgeCalls, "rejected"); rejected > 0 {
			t.Errorf("%d rejected", rejected)
		}
	})
}

// What says nothing of the callee is not counted: callers who go, and what policies further in reject.
func TestThrottleCountsOnlyTheCallee(t *testing.T) {
	within(t, func(t *testing.T) {
		e := newTestEdge(t, spec(t, "adaptive_throttle", nil), spec(t, "bulkhead", 1))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for range 100 {
			_ = e.Do(ctx, answers(time.Second, nil).serve)
			_ = e.Do(t.Context(), answers(0, errNotFound).serve) // an answer
		}
		held, holding := make(chan struct{}), make(chan struct{})
		go func() {
			_ = e.Do(t.Context(), func(context.Context) error { close(holding); <-held; return nil })
		}()
		<-holding
		for range 100 {
			if err := e.Do(t.Context(), answers(0, nil).serve); rejection(err) != "bulkhead full" {
				t.Fatalf("got %v", err)
			}
		}
		close(held)
	})
}

// How soon a callee that is back is found out: max_rejection decides.
func TestThrottleRecovers(t *testing.T) {
	for _, test := range []struct {
		most   float64
		within time.Duration
	}{{0.9, 35 * time.Second}, {0.5, 11 * time.Second}} {
		t.Run(fmt.Sprint(test.most), func(t *testing.T) {
			within(t, func(t *testing.T) {
				e := newTestEdge(t, spec(t, "adaptive_throttle", params{"max_rejection": test.most}))
				offer(100, 20*time.Second, func(int) { _ = e.Do(t.Context(), answers(0, errDown).serve) })
				if share := float64(e.sent(t)) / 2000; share > 1.5*(1-test.most)+0.01 {
					t.Errorf("%.2f of the load sent to a callee that is down", share)
				}
				offer(100, test.within, func(int) { _ = e.Do(t.Context(), answers(0, nil).serve) })
				before := e.count(t, names.EdgeCalls, "rejected")
				offer(100, 10*time.Second, func(int) { _ = e.Do(t.Context(), answers(0, nil).serve) })
				if late := e.count(t, names.EdgeCalls, "rejected") - before; late > 0 {
					t.Errorf("%d rejected long after the callee was back", late)
				}
			})
		})
	}
}

func TestThrottleSurvivesPanic(t *testing.T) {
	within(t, func(t *testing.T) {
		e := newTestEdge(t, spec(t, "adaptive_throttle", params{"k": 1, "max_rejection": 1}))
		for range 1000 {
			func() {
				defer func() { _ = recover() }()
				_ = e.Do(t.Context(), func(context.Context) error { panic("bug") })
			}()
		}
		if e.count(t, names.EdgeCalls, "rejected") < 900 {
			t.Error("panics were not counted as failures")
		}
	})
}
