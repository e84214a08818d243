package resilience

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/faultline-lab/faultline/observability/names"
	"github.com/faultline-lab/faultline/parameter"
)

var (
	errDown     = status.Error(codes.Unavailable, "down")
	errNotFound = status.Error(codes.NotFound, "no such thing")
)

// spec is one policy of a test's chain.
func spec(t *testing.T, kind string, raw any) Spec {
	t.Helper()
	s, problems := Parse(kind, raw)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return s
}

type params = map[string]any

// callee answers attempts in the tests: each takes a time and gives an error.
type callee struct {
	mu    sync.Mutex
	began time.Time
	at    []time.Duration // when the attempts came
	// answer is asked with the number of the attempt, from 1.
	answer func(n int) (time.Duration, error)
}

func answers(took time.Duration, err error) *callee {
	return &callee{answer: func(int) (time.Duration, error) { return took, err }}
}

func (c *callee) serve(ctx context.Context) error {
	c.mu.Lock()
	if c.began.IsZero() {
		c.began = time.Now()
	}
	c.at = append(c.at, time.Since(c.began))
	took, err := c.answer(len(c.at))
	c.mu.Unlock()
	timer := time.NewTimer(took)
	defer timer.Stop()
	select {
	case <-timer.C:
		return err
	case <-ctx.Done():
		return status.FromContextError(ctx.Err()).Err() // as grpc-go has it
	}
}

// edge is an edge under test with its metrics.
type testEdge struct {
	*Edge
	reg *registry
}

func newTestEdge(t testing.TB, chain ...Spec) testEdge {
	t.Helper()
	reg := &registry{}
	e, err := NewEdge(EdgeConfig{Caller: "a", Callee: "b", Chain: chain, Registerer: reg, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	return testEdge{e, reg}
}

func (e testEdge) count(t *testing.T, name, outcome string) int {
	t.Helper()
	return int(e.reg.value(t, name, names.Caller, "a", names.Callee, "b", names.Outcome, outcome))
}

// within runs the test on virtual time.
func within(t *testing.T, test func(t *testing.T)) { t.Helper(); synctest.Test(t, test) }

func rejection(err error) string {
	var r *Rejection
	if errors.As(err, &r) {
		return r.Policy + " " + r.Cause
	}
	return fmt.Sprint(err)
}

func TestNoPolicyWaitsForEver(t *testing.T) {
	within(t, func(t *testing.T) {
		e, began := newTestEdge(t), time.Now()
		if err := e.Do(t.Context(), answers(24*time.Hour, nil).serve); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took != 24*time.Hour {
			t.Errorf("took %s", took)
		}
		if e.count(t, names.EdgeCalls, "ok") != 1 || e.count(t, names.EdgeAttempts, "ok") != 1 {
			t.Error("not counted")
		}
	})
}

func TestTimeout(t *testing.T) {
	within(t, func(t *testing.T) {
		e, began := newTestEdge(t, spec(t, "timeout", "500ms")), time.Now()
		err := e.Do(t.Context(), answers(time.Minute, nil).serve)
		if took := time.Since(began); took != 500*time.Millisecond {
			t.Errorf("took %s", took)
		}
		if rejection(err) != "timeout timeout" || status.Code(err) != codes.DeadlineExceeded {
			t.Errorf("got %v", err)
		}
		if err := e.Do(t.Context(), answers(499*time.Millisecond, errNotFound).serve); !errors.Is(err, errNotFound) {
			t.Errorf("an answer in time: %v", err)
		}
		if n := e.reg.value(t, names.PolicyRejections, names.On, "a->b", names.Policy, "timeout", names.Cause, "timeout"); n != 1 {
			t.Errorf("%v rejections", n)
		}
		if e.count(t, names.EdgeCalls, "timeout") != 1 || e.count(t, names.EdgeAttempts, "timeout") != 1 || e.count(t, names.EdgeCalls, "ok") != 1 {
			t.Error("not counted as it was")
		}
	})
}

// The context of the caller ends a call too, and that is told apart from a timeout.
func TestCallerGivesUp(t *testing.T) {
	within(t, func(t *testing.T) {
		e := newTestEdge(t, spec(t, "timeout", "1m"), spec(t, "retry", 3))
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		if err := e.Do(ctx, answers(time.Hour, nil).serve); status.Code(err) != codes.Canceled {
			t.Errorf("cancelled: %v", err)
		}
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := e.Do(ctx, answers(time.Hour, nil).serve); status.Code(err) != codes.DeadlineExceeded {
			t.Errorf("deadline: %v", err)
		}
		if e.count(t, names.EdgeCalls, "cancelled") != 1 || e.count(t, names.EdgeCalls, "timeout") != 1 {
			t.Error("not counted as it was")
		}
		if n := e.count(t, names.EdgeAttempts, "cancelled") + e.count(t, names.EdgeAttempts, "timeout"); n != 2 {
			t.Errorf("%d attempts", n)
		}
	})
}

func TestRetryPauses(t *testing.T) {
	tests := []struct {
		name   string
		params params
		want   []time.Duration // between attempts
	}{
		{"doubling", params{"attempts": 4, "jitter": 0}, []time.Duration{25, 50, 100}},
		{"up to the cap", params{"attempts": 5, "backoff": "100ms", "max_backoff": "300ms", "factor": 2, "jitter": 0}, []time.Duration{100, 200, 300, 300}},
		{"always the same", params{"attempts": 3, "backoff": "10ms", "factor": 1, "jitter": 0}, []time.Duration{10, 10}},
		{"none", params{"attempts": 3, "backoff": "0s"}, []time.Duration{0, 0}},
		{"a single attempt", params{"attempts": 1}, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			within(t, func(t *testing.T) {
				e, c := newTestEdge(t, spec(t, "retry", test.params)), answers(0, errDown)
				if err := e.Do(t.Context(), c.serve); !errors.Is(err, errDown) {
					t.Errorf("got %v, want the last attempt's error", err)
				}
				var got []time.Duration
				for i := 1; i < len(c.at); i++ {
					got = append(got, (c.at[i]-c.at[i-1])/time.Millisecond)
				}
				if !slices.Equal(got, test.want) {
					t.Errorf("pauses %v ms, want %v", got, test.want)
				}
				if n := int(e.reg.value(t, names.PolicyRetries, names.On, "a->b")); n != len(test.want) {
					t.Errorf("%d retries counted", n)
				}
				if n := e.count(t, names.EdgeAttempts, "error"); n != len(test.want)+1 {
					t.Errorf("%d attempts counted", n)
				}
				if e.count(t, names.EdgeCalls, "error") != 1 {
					t.Error("the call was not counted once")
				}
			})
		})
	}
}

func TestBackoffJitter(t *testing.T) {
	draw := func(seed uint64, jitter float64) []time.Duration {
		b := backoff{first: 100 * time.Millisecond, most: time.Second, factor: 2, jitter: jitter, rand: Seeded(seed, "a")}
		var out []time.Duration
		for range 1000 {
			out = append(out, b.before(1))
		}
		return out
	}
	for _, jitter := range []float64{0.5, 1} {
		pauses := draw(1, jitter)
		low := time.Duration((1 - jitter) * float64(100*time.Millisecond))
		if m := slices.Min(pauses); m < low || m > low+5*time.Millisecond {
			t.Errorf("jitter %v: the shortest is %s", jitter, m)
		}
		if m := slices.Max(pauses); m > 100*time.Millisecond || m < 95*time.Millisecond {
			t.Errorf("jitter %v: the longest is %s", jitter, m)
		}
	}
	if !slices.Equal(draw(7, 1), draw(7, 1)) || slices.Equal(draw(7, 1), draw(8, 1)) {
		t.Error("the seed does not decide")
	}
	b := backoff{first: time.Second, most: time.Minute, factor: 10, rand: Seeded(1, "")}
	if d := b.before(400); d != time.Minute { // factor^n is infinite then
		t.Errorf("the 400th pause is %s", d)
	}
}

func TestWhatIsRetried(t *testing.T) {
	code := func(c codes.Code) error { return status.Error(c, "") }
	tests := []struct {
		name   string
		on     []any
		answer error
		want   int
	}{
		{"unavailable", nil, code(codes.Unavailable), 3},
		{"overloaded", nil, code(codes.ResourceExhausted), 3},
		{"internal", nil, code(codes.Internal), 3},
		{"an unforeseen error", nil, code(codes.Unknown), 3},
		{"too late", nil, code(codes.DeadlineExceeded), 3},
		{"no connection", nil, errors.New("connection refused"), 3},
		{"not found", nil, code(codes.NotFound), 1},
		{"failed precondition", nil, code(codes.FailedPrecondition), 1},
		{"aborted", nil, code(codes.Aborted), 1},
		{"success", nil, nil, 1},
		{"chosen", []any{"overloaded"}, code(codes.ResourceExhausted), 3},
		{"not chosen", []any{"overloaded", "timeout"}, code(codes.Unavailable), 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			within(t, func(t *testing.T) {
				p := params{"attempts": 3}
				if test.on != nil {
					p["on"] = test.on
				}
				e, c := newTestEdge(t, spec(t, "retry", p)), answers(0, test.answer)
				if err := e.Do(t.Context(), c.serve); !errors.Is(err, test.answer) {
					t.Errorf("got %v", err)
				}
				if len(c.at) != test.want {
					t.Errorf("%d attempts, want %d", len(c.at), test.want)
				}
			})
		})
	}
}

func TestRetryUntilItSucceeds(t *testing.T) {
	within(t, func(t *testing.T) {
		c := &callee{answer: func(n int) (time.Duration, error) {
			if n < 3 {
				return time.Millisecond, errDown
			}
			return time.Millisecond, nil
		}}
		e := newTestEdge(t, spec(t, "retry", 5))
		if err := e.Do(t.Context(), c.serve); err != nil || len(c.at) != 3 {
			t.Errorf("%d attempts, %v", len(c.at), err)
		}
		if e.count(t, names.EdgeCalls, "ok") != 1 || e.count(t, names.EdgeAttempts, "error") != 2 || e.count(t, names.EdgeAttempts, "ok") != 1 {
			t.Error("not counted as it was")
		}
	})
}

func TestRetryEndsInItsPause(t *testing.T) {
	within(t, func(t *testing.T) {
		e := newTestEdge(t, spec(t, "retry", params{"attempts": 9, "backoff": "1s", "jitter": 0}))
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		began, c := time.Now(), answers(0, errDown)
		if err := e.Do(ctx, c.serve); !errors.Is(err, errDown) || len(c.at) != 1 {
			t.Errorf("%d attempts, %v", len(c.at), err)
		}
		if took := time.Since(began); took != 500*time.Millisecond {
			t.Errorf("took %s", took)
		}
		if e.count(t, names.EdgeCalls, "timeout") != 1 {
			t.Error("not counted as it was")
		}
	})
}

// The order in the file decides: a timeout outside bounds all attempts, one inside each of them.
func TestOrderOfTheChain(t *testing.T) {
	retry := func(t *testing.T) Spec { return spec(t, "retry", params{"attempts": 3, "backoff": "0s"}) }
	within(t, func(t *testing.T) {
		e, c, began := newTestEdge(t, spec(t, "timeout", "250ms"), retry(t)), answers(100*time.Millisecond, errDown), time.Now()
		if err := e.Do(t.Context(), c.serve); rejection(err) != "timeout timeout" || len(c.at) != 3 || time.Since(began) != 250*time.Millisecond {
			t.Errorf("outside: %d attempts in %s, %v", len(c.at), time.Since(began), err)
		}
		e, c, began = newTestEdge(t, retry(t), spec(t, "timeout", "250ms")), answers(time.Minute, nil), time.Now()
		if err := e.Do(t.Context(), c.serve); rejection(err) != "timeout timeout" || len(c.at) != 3 || time.Since(began) != 750*time.Millisecond {
			t.Errorf("inside: %d attempts in %s, %v", len(c.at), time.Since(began), err)
		}
		if n := e.count(t, names.EdgeAttempts, "timeout"); n != 3 {
			t.Errorf("inside: %d attempts timed out", n)
		}
	})
}

func TestBreaker(t *testing.T) {
	within(t, func(t *testing.T) {
		e := newTestEdge(t, spec(t, "circuit_breaker", params{"failure_ratio": 0.5, "min_calls": 4, "window": "10s", "open_for": "3s", "half_open": 2}))
		var answer error
		var sent int
		call := func() string {
			err := e.Do(t.Context(), func(context.Context) error { sent++; return answer })
			return rejection(err)
		}
		state := func() float64 {
			return e.reg.value(t, names.PolicyState, names.On, "a->b", names.Policy, "circuit_breaker")
		}
		calls := func(n int) {
			for range n {
				call()
			}
		}

		answer = errNotFound // an answer: the callee is well
		calls(2)
		answer = errDown
		calls(1)
		if state() != 0 {
			t.Fatal("open before min_calls")
		}
		calls(1) // 2 of 4
		if state() != 2 {
			t.Fatal("not open at the ratio")
		}
		sent = 0
		time.Sleep(3*time.Second - 1)
		if got := call(); got != "circuit_breaker open" || sent != 0 {
			t.Fatalf("open: %s, %d sent", got, sent)
		}
		if state() != 2 {
			t.Fatalf("open: state %v", state())
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if state() != 1 {
			t.Fatalf("open_for has passed and nobody called: state %v, not half-open", state())
		}
		calls(1) // half-open, fails
		if sent != 1 || state() != 2 {
			t.Fatalf("a probe that failed: %d sent, state %v", sent, state())
		}
		time.Sleep(3 * time.Second)
		answer = nil
		calls(1)
		if state() != 1 {
			t.Fatalf("after one of two probes: state %v", state())
		}
		calls(1)
		if state() != 0 {
			t.Fatalf("after both probes: state %v", state())
		}
		transitions := func(to string) float64 {
			return e.reg.value(t, names.PolicyTransitions, names.On, "a->b", names.Policy, "circuit_breaker", names.To, to)
		}
		if transitions("open") != 2 || transitions("half_open") != 2 || transitions("closed") != 1 {
			t.Error("transitions not counted as they were")
		}
		if e.count(t, names.EdgeCalls, "rejected") != 1 || e.count(t, names.EdgeAttempts, "ok") != 4 {
			t.Error("calls not counted as they were")
		}
	})
}

func TestBreakerForgetsWhatIsOld(t *testing.T) {
	within(t, func(t *testing.T) {
		e := newTestEdge(t, spec(t, "circuit_breaker", params{"min_calls": 4, "window": "1s"}))
		for range 20 {
			_ = e.Do(t.Context(), answers(0, errDown).serve)
			time.Sleep(500 * time.Millisecond)
		}
		if e.count(t, names.EdgeCalls, "rejected") != 0 {
			t.Error("opened on failures that no window held together")
		}
	})
}

func TestHalfOpenLetsFewThrough(t *testing.T) {
	within(t, func(t *testing.T) {
		e := newTestEdge(t, spec(t, "circuit_breaker", params{"min_calls": 1, "open_for": "1s", "half_open": 3}))
		_ = e.Do(t.Context(), answers(0, errDown).serve)
		time.Sleep(time.Second)
		var wait sync.WaitGroup
		c := answers(time.Second, nil)
		for range 20 {
			wait.Go(func() { _ = e.Do(t.Context(), c.serve) })
		}
		wait.Wait()
		if len(c.at) != 3 || e.count(t, names.EdgeCalls, "rejected") != 17 {
			t.Errorf("%d let through", len(c.at))
		}
	})
}

// A timeout written outside of the breaker cuts the call off by cancelling it. The breaker must
// still see a failure of the callee, or it would never open for a slow one.
func TestBreakerSeesTimeoutsAroundIt(t *testing.T) {
	within(t, func(t *testing.T) {
		e := newTestEdge(t, spec(t, "timeout", "100ms"), spec(t, "circuit_breaker", params{"min_calls": 5, "open_for": "1m"}))
		c := answers(time.Hour, nil)
		for range 8 {
			_ = e.Do(t.Context(), c.serve)
		}
		if len(c.at) != 5 || e.count(t, names.EdgeCalls, "timeout") != 5 || e.count(t, names.EdgeCalls, "rejected") != 3 {
			t.Errorf("%d sent", len(c.at))
		}
	})
}

// Callers who go away say nothing about the callee.
func TestBreakerIgnoresCallersWhoGo(t *testing.T) {
	within(t, func(t *testing.T) {
		e := newTestEdge(t, spec(t, "circuit_breaker", params{"min_calls": 2, "open_for": "1s", "half_open": 1}))
		gone := func() {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Second, cancel)
			_ = e.Do(ctx, answers(time.Hour, nil).serve)
		}
		state := func() float64 { return e.reg.value(t, names.PolicyState, names.Policy, "circuit_breaker") }
		for range 5 {
			gone()
		}
		if state() != 0 {
			t.Fatal("opened by callers who went")
		}
		_ = e.Do(t.Context(), answers(0, errDown).serve)
		_ = e.Do(t.Context(), answers(0, errDown).serve)
		if state() != 2 { // those who went did not count as successes either
			t.Fatal("not open after two failures of two")
		}
		time.Sleep(time.Second)
		gone()
		if state() != 2 {
			t.Fatal("closed by a probe that proved nothing")
		}
	})
}

func TestBreakerSurvivesPanic(t *testing.T) {
	within(t, func(t *testing.T) {
		e := newTestEdge(t, spec(t, "circuit_breaker", params{"min_calls": 1}), spec(t, "bulkhead", 1))
		func() {
			defer func() { _ = recover() }()
			_ = e.Do(t.Context(), func(context.Context) error { panic("here") })
		}()
		if err := e.Do(t.Context(), answers(0, nil).serve); rejection(err) != "circuit_breaker open" {
			t.Errorf("got %v", err)
		}
		if n := e.reg.value(t, names.EdgeInFlight); n != 0 {
			t.Errorf("%v calls under way", n)
		}
	})
}

func TestRetryDoesNotRepeatRejections(t *testing.T) {
	within(t, func(t *testing.T) {
		e := newTestEdge(t, spec(t, "retry", params{"attempts": 5, "backoff": "10ms", "jitter": 0}), spec(t, "circuit_breaker", params{"min_calls": 2, "open_for": "1m"}))
		c, began := answers(0, errDown), time.Now()
		if err := e.Do(t.Context(), c.serve); rejection(err) != "circuit_breaker open" || len(c.at) != 2 {
			t.Errorf("%d sent, %v", len(c.at), err)
		}
		// Two attempts with their pauses, then the open breaker ends it.
		if took := time.Since(began); took != 30*time.Millisecond {
			t.Errorf("took %s", took)
		}
		e = newTestEdge(t, spec(t, "retry", 5), spec(t, "bulkhead", 1))
		var wait sync.WaitGroup
		wait.Go(func() { _ = e.Do(t.Context(), answers(time.Second, nil).serve) })
		synctest.Wait()
		if err := e.Do(t.Context(), answers(0, nil).serve); rejection(err) != "bulkhead full" || status.Code(err) != codes.ResourceExhausted {
			t.Errorf("got %v", err)
		}
		if n := e.reg.value(t, names.PolicyRejections, names.Policy, "bulkhead", names.Cause, "full"); n != 1 {
			t.Errorf("rejected %v times", n)
		}
		wait.Wait()
	})
}

func TestBulkhead(t *testing.T) {
	within(t, func(t *testing.T) {
		e := newTestEdge(t, spec(t, "bulkhead", params{"max": 2, "wait": "1s"}))
		var wait sync.WaitGroup
		var mu sync.Mutex
		ended := map[string][]time.Duration{}
		began := time.Now()
		call := func(took time.Duration) {
			wait.Go(func() {
				err := e.Do(t.Context(), answers(took, nil).serve)
				mu.Lock()
				defer mu.Unlock()
				ended[rejection(err)] = append(ended[rejection(err)], time.Since(began))
			})
			synctest.Wait()
		}
		call(500 * time.Millisecond)
		call(1500 * time.Millisecond)
		call(1500 * time.Millisecond) // has to wait 500 ms
		call(0)                       // would have to wait 1.5 s
		if n := e.reg.value(t, names.EdgeInFlight); n != 4 {
			t.Errorf("%v calls under way", n)
		}
		wait.Wait()
		want := "map[<nil>:[500ms 1.5s 2s] bulkhead full:[1s]]"
		if got := fmt.Sprint(ended); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	})
}

func TestBulkheadWaitEndsWithTheCaller(t *testing.T) {
	within(t, func(t *testing.T) {
		e := newTestEdge(t, spec(t, "bulkhead", params{"max": 1, "wait": "1h"}))
		var wait sync.WaitGroup
		wait.Go(func() { _ = e.Do(t.Context(), answers(time.Minute, nil).serve) })
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		began := time.Now()
		if err := e.Do(ctx, answers(0, nil).serve); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 100*time.Millisecond {
			t.Errorf("%v after %s", err, time.Since(began))
		}
		if e.count(t, names.EdgeCalls, "timeout") != 1 {
			t.Error("not counted as it was")
		}
		wait.Wait()
	})
}

func TestBuildErrors(t *testing.T) {
	_, err := NewEdge(EdgeConfig{Caller: "a", Callee: "b", Chain: Chain{{Kind: "luck"}, {Kind: "timeout", Params: parameter.Values{"after": "1s"}}, {Kind: "chance"}}})
	want := "making edge: a->b: policy 1: unknown policy \"luck\"; permitted: " + kinds() + "\na->b: policy 3: unknown policy \"chance\"; permitted: " + kinds()
	if err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
	if _, err := NewDoor(DoorConfig{Service: "b", Chain: Chain{{Kind: "retry"}}}); err == nil {
		t.Error("a door with retries was made")
	}
}

// Whether the callee may have done what it was asked decides what a caller must undo.
func TestRejectionSaysWhetherAnythingWasSent(t *testing.T) {
	within(t, func(t *testing.T) {
		sent := func(err error) int {
			var r *Rejection
			if !errors.As(err, &r) {
				t.Fatalf("got %v", err)
			}
			return r.Attempts
		}
		e := newTestEdge(t, spec(t, "retry", params{"attempts": 5, "backoff": "0s"}), spec(t, "circuit_breaker", params{"min_calls": 2}), spec(t, "timeout", "1s"))
		slow := answers(time.Hour, nil)
		first, second := e.Do(t.Context(), slow.serve), e.Do(t.Context(), slow.serve)
		if sent(first) != 2 || rejection(first) != "circuit_breaker open" { // two attempts timed out before it opened
			t.Errorf("first: %v after %d attempts", first, sent(first))
		}
		if sent(second) != 0 || second.Error() != "a->b: circuit_breaker open" {
			t.Errorf("second: %v after %d attempts", second, sent(second))
		}
		if err := newTestEdge(t, spec(t, "timeout", "1s")).Do(t.Context(), slow.serve); err.Error() != "a->b: timeout" || sent(err) != 1 {
			t.Errorf("timeout: %v after %d attempts", err, sent(err))
		}
	})
}
