package resilience

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/faultline-lab/faultline/observability/names"
)

func TestHedge(t *testing.T) {
	tests := []struct {
		name      string
		params    any
		durations []time.Duration // of each attempt
		errs      []error
		took      time.Duration
		sent      int
		won       float64
		want      error
	}{
		{"in time", "100ms", []time.Duration{50}, []error{nil}, 50, 1, 0, nil},
		{"the hedge wins", "100ms", []time.Duration{1000, 10}, []error{nil, nil}, 110, 2, 1, nil},
		{"the first wins after all", "100ms", []time.Duration{150, 1000}, []error{nil, nil}, 150, 2, 0, nil},
		{"a failure of the hedge ends nothing", "100ms", []time.Duration{300, 10}, []error{nil, errDown}, 300, 2, 0, nil},
		{"a failure of the first leaves it to the hedge", "100ms", []time.Duration{110, 100}, []error{errDown, nil}, 200, 2, 1, nil},
		{"both fail", "100ms", []time.Duration{120, 50}, []error{errDown, errDown}, 150, 2, 0, errDown},
		{"two hedges", params{"delay": "100ms", "max": 2}, []time.Duration{1000, 1000, 20}, []error{nil, nil, nil}, 220, 3, 1, nil},
		{"an answer is an answer", "100ms", []time.Duration{1000, 10}, []error{nil, errNotFound}, 110, 2, 1, errNotFound},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			within(t, func(t *testing.T) {
				e := newTestEdge(t, spec(t, "hedge", test.params))
				c := &callee{answer: func(n int) (time.Duration, error) { return test.durations[n-1] * time.Millisecond, test.errs[n-1] }}
				began := time.Now()
				if err := e.Do(t.Context(), c.serve); !errors.Is(err, test.want) {
					t.Errorf("got %v", err)
				}
				if took := time.Since(began); took != test.took*time.Millisecond || len(c.at) != test.sent {
					t.Errorf("%d sent, took %s", len(c.at), took)
				}
				synctest.Wait() // for those that lost
				sent := e.reg.value(t, names.PolicyHedges, names.Outcome, "sent")
				won := e.reg.value(t, names.PolicyHedges, names.Outcome, "won")
				if int(sent) != test.sent-1 || won != test.won {
					t.Errorf("%v hedges sent, %v won", sent, won)
				}
				if test.won > 0 && test.sent == 2 && e.count(t, names.EdgeAttempts, "cancelled")+e.count(t, names.EdgeAttempts, "error") != 1 {
					t.Error("the one that lost is not counted")
				}
			})
		})
	}
}

// A hedge that is not due yet keeps nobody waiting: neither when the time of the call is over, nor when
// the only attempt has failed.
func TestHedgeThatIsNotDueYet(t *testing.T) {
	within(t, func(t *testing.T) {
		e, began := newTestEdge(t, spec(t, "timeout", "200ms"), spec(t, "hedge", "1s")), time.Now()
		if err := e.Do(t.Context(), answers(time.Hour, nil).serve); rejection(err) != "timeout timeout" || time.Since(began) != 200*time.Millisecond {
			t.Errorf("%v after %s", err, time.Since(began))
		}
		c := answers(50*time.Millisecond, errDown)
		began = time.Now()
		if err := e.Do(t.Context(), c.serve); !errors.Is(err, errDown) || time.Since(began) != 50*time.Millisecond || len(c.at) != 1 {
			t.Errorf("%v after %s and %d attempts", err, time.Since(began), len(c.at))
		}
	})
}

func TestQuantile(t *testing.T) {
	q := &quantile{of: 0.9, least: 10}
	for i := range 10 {
		if _, known := q.value(); known {
			t.Fatalf("known after %d", i)
		}
		q.add(time.Duration(i+1) * time.Second)
	}
	if at, known := q.value(); !known || at != 10*time.Second {
		t.Errorf("of ten: %s, %t", at, known)
	}
	for i := range 1000 { // 1 to 1000 ms, of which it remembers the last half
		q.add(time.Duration(i+1) * time.Millisecond)
	}
	if at, _ := q.value(); at < 940*time.Millisecond || at > 960*time.Millisecond {
		t.Errorf("of many: %s", at)
	}
}

func TestHedgeByQuantile(t *testing.T) {
	within(t, func(t *testing.T) {
		e := newTestEdge(t, spec(t, "hedge", params{"quantile": 0.95, "min_calls": 50}))
		slow := false
		c := &callee{answer: func(n int) (time.Duration, error) {
			if slow {
				slow = false
				return time.Minute, nil
			}
			return time.Duration(10+n%10) * time.Millisecond, nil
		}}
		for range 200 {
			_ = e.Do(t.Context(), c.serve)
		}
		slow = true
		began := time.Now()
		_ = e.Do(t.Context(), c.serve)
		if took := time.Since(began); took < 20*time.Millisecond || took > 60*time.Millisecond {
			t.Errorf("the slow one took %s", took)
		}
		synctest.Wait()
	})
}

func TestHedgeEndsWithTheCaller(t *testing.T) {
	within(t, func(t *testing.T) {
		e := newTestEdge(t, spec(t, "timeout", "300ms"), spec(t, "hedge", "100ms"))
		if err := e.Do(t.Context(), answers(time.Hour, nil).serve); rejection(err) != "timeout timeout" {
			t.Errorf("got %v", err)
		}
		synctest.Wait()
		if e.count(t, names.EdgeAttempts, "timeout") != 2 || e.count(t, names.EdgeCalls, "timeout") != 1 {
			t.Error("not counted as it was")
		}
	})
}

// Both attempts of a hedge write a reply at once; the caller gets one of them whole.
func TestHedgedGRPCReplies(t *testing.T) {
	callee := &grpcCallee{answer: func(context.Context, int) error { return nil }}
	client, _, _ := grpcEdge(t, callee, spec(t, "hedge", "1us"))
	for range 50 {
		if reply, err := client.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{}); err != nil || reply.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
			t.Fatalf("got %v, %v", reply, err)
		}
	}
}

func TestRateLimit(t *testing.T) {
	within(t, func(t *testing.T) {
		time.Sleep(time.Second) // the stretches count from a round time
		e, c := newTestEdge(t, spec(t, "rate_limit", params{"rate": "10/s", "burst": 5})), answers(0, nil)
		for range 30 { // 3 s of 10/s in bursts of 10 each second
			for range 10 {
				if err := e.Do(t.Context(), c.serve); err != nil && (rejection(err) != "rate_limit exceeded" || status.Code(err) != codes.ResourceExhausted) {
					t.Errorf("got %v", err)
				}
			}
			time.Sleep(100 * time.Millisecond)
		}
		if ok := e.count(t, names.EdgeCalls, "ok"); ok < 28 || ok > 35 {
			t.Errorf("%d of 300 came through in 3 s at 10/s", ok)
		}
		if n := e.reg.value(t, names.PolicyRejections, names.Policy, "rate_limit", names.Cause, "exceeded"); int(n) != 300-e.count(t, names.EdgeCalls, "ok") {
			t.Errorf("%v rejections", n)
		}
	})
}

func TestRateLimitWaits(t *testing.T) {
	within(t, func(t *testing.T) {
		e, c, began := newTestEdge(t, spec(t, "rate_limit", params{"rate": "10/s", "burst": 1, "wait": "1s"})), answers(0, nil), time.Now()
		var wait sync.WaitGroup
		for range 10 {
			wait.Go(func() { _ = e.Do(t.Context(), c.serve) })
		}
		wait.Wait()
		if took := time.Since(began); took < 800*time.Millisecond || took > time.Second || len(c.at) != 10 {
			t.Errorf("%d came through in %s", len(c.at), took)
		}
	})
}

// However long the callee is down, retries add no more than the budget.
func TestRetryBudget(t *testing.T) {
	within(t, func(t *testing.T) {
		e, c := newTestEdge(t, spec(t, "retry", params{"attempts": 3, "backoff": "0s", "budget": "10%", "budget_burst": 5})), answers(0, errDown)
		for range 1000 {
			if err := e.Do(t.Context(), c.serve); !errors.Is(err, errDown) {
				t.Fatalf("got %v", err)
			}
		}
		if n := len(c.at); n < 1100 || n > 1105 {
			t.Errorf("%d attempts for 1000 calls", n)
		}
		retries := e.reg.value(t, names.PolicyRetries)
		if int(retries) != len(c.at)-1000 {
			t.Errorf("%v retries counted", retries)
		}
		// Each call ended for want of a token, save those few that had all their attempts.
		if n := e.reg.value(t, names.PolicyRejections, names.Policy, "retry", names.Cause, "budget"); n < 900 || n > 1000 {
			t.Errorf("%v refused by the budget", n)
		}
		if left := e.reg.value(t, names.PolicyState, names.Policy, "retry"); left >= 1 {
			t.Errorf("%v tokens left", left)
		}
	})
}

func TestRetryBudgetByTime(t *testing.T) {
	within(t, func(t *testing.T) {
		e, c := newTestEdge(t, spec(t, "retry", params{"attempts": 2, "backoff": "0s", "budget": 0, "budget_rate": "2/s", "budget_burst": 1})), answers(0, errDown)
		for range 10 {
			_ = e.Do(t.Context(), c.serve)
			time.Sleep(time.Second)
		}
		if len(c.at) != 20 { // one token is kept, so one retry each second
			t.Errorf("%d attempts", len(c.at))
		}
	})
}

// A breaker for retries stops them above its share of failures, lets every first attempt through, and lets retries through again
// when the callee is well.
func TestRetryBreaker(t *testing.T) {
	for _, c := range []struct {
		name         string
		every        int // so manieth call fails
		retried, max float64
	}{
		{"below its share", 20, 1, 1},
		{"above its share", 2, 0, 0.06}, // but for the first ten attempts
	} {
		t.Run(c.name, func(t *testing.T) {
			within(t, func(t *testing.T) {
				e := newTestEdge(t, spec(t, "retry", params{"attempts": 2, "backoff": "0s", "break_above": "10%", "break_window": "5s"}))
				for n := range 200 {
					first := true
					_ = e.Do(t.Context(), func(context.Context) error {
						if fails := first && n%c.every == 0; fails {
							first = false
							return errDown
						}
						return nil
					})
					time.Sleep(20 * time.Millisecond)
				}
				failed := float64(200 / c.every)
				retried := e.reg.value(t, names.PolicyRetries) / failed
				if retried < c.retried || retried > c.max {
					t.Errorf("%v of the failures were sent again, want %v to %v", retried, c.retried, c.max)
				}
				if refused := e.reg.value(t, names.PolicyRejections, names.Policy, "retry", names.Cause, "broken"); refused != failed*(1-retried) {
					t.Errorf("%v refused of %v failures, of which %v were sent again", refused, failed, retried)
				}
				time.Sleep(6 * time.Second) // all is forgotten
				before := e.reg.value(t, names.PolicyRetries)
				c := &callee{answer: func(n int) (time.Duration, error) {
					if n == 1 {
						return 0, errDown
					}
					return 0, nil
				}}
				if err := e.Do(t.Context(), c.serve); err != nil || e.reg.value(t, names.PolicyRetries) != before+1 {
					t.Errorf("after the window: %v", err)
				}
			})
		})
	}
}

// A budget of 10 % in flight, and what it allows when every call fails three times over: little more
// where failures are slow, nearly everything where they are quick. The token bucket keeps to its 10 %.
func TestRetryBudgetInFlight(t *testing.T) {
	tests := []struct {
		backoff     string
		took        time.Duration
		least, most float64 // attempts for each call
	}{
		{"0s", 200 * time.Millisecond, 1.08, 1.17},
		{"25ms", 200 * time.Millisecond, 1.10, 1.20},
		{"25ms", 20 * time.Millisecond, 1.20, 1.35},
		{"25ms", time.Millisecond, 2.7, 3},
	}
	for _, test := range tests {
		t.Run(fmt.Sprint(test.backoff, test.took), func(t *testing.T) {
			within(t, func(t *testing.T) {
				amplification := func(budget string) float64 {
					e := newTestEdge(t, spec(t, "retry", params{"attempts": 3, "backoff": test.backoff, budget: "10%", "budget_min": 0}))
					offer(1000, 10*time.Second, func(int) {
						if err := e.Do(t.Context(), answers(test.took, errDown).serve); !errors.Is(err, errDown) {
							t.Errorf("got %v", err)
						}
					})
					sent, refused := e.sent(t), e.reg.value(t, names.PolicyRejections, names.Policy, "retry", names.Cause, "budget")
					if retries := e.reg.value(t, names.PolicyRetries); int(retries) != sent-10000 || refused == 0 || e.count(t, names.EdgeCalls, "error") != 10000 {
						t.Errorf("%v retries of %d attempts, %v refused", retries, sent, refused)
					}
					return float64(sent) / 10000
				}
				if a := amplification("budget_in_flight"); a < test.least || a > test.most {
					t.Errorf("in flight: %.3f attempts a call", a)
				}
				if a := amplification("budget"); a > 1.101 {
					t.Errorf("token bucket: %.3f attempts a call", a)
				}
			})
		})
	}
}

// So few may be sent again at once whatever the share is.
func TestRetryBudgetInFlightHasALeast(t *testing.T) {
	within(t, func(t *testing.T) {
		e := newTestEdge(t, spec(t, "retry", params{"attempts": 2, "backoff": "0s", "budget_in_flight": 0, "budget_min": 2}))
		var wait sync.WaitGroup
		for range 10 {
			wait.Go(func() { _ = e.Do(t.Context(), answers(time.Second, errDown).serve) })
		}
		wait.Wait()
		if n := e.sent(t); n != 12 {
			t.Errorf("%d attempts", n)
		}
	})
}

// A call that may not be sent again ends at once, not after the pause.
func TestRetryBudgetDoesNotPause(t *testing.T) {
	within(t, func(t *testing.T) {
		e := newTestEdge(t, spec(t, "retry", params{"attempts": 5, "backoff": "1s", "jitter": 0, "budget": 0, "budget_burst": 1}))
		_ = e.Do(t.Context(), answers(0, errDown).serve)
		began := time.Now()
		_ = e.Do(t.Context(), answers(0, errDown).serve)
		if took := time.Since(began); took != 0 {
			t.Errorf("took %s", took)
		}
	})
}

func TestFallbackStaleHTTP(t *testing.T) {
	down := false
	url, _ := server(t, func(w http.ResponseWriter, r *http.Request) {
		if down {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("X-From", "callee")
		_, _ = io.WriteString(w, r.URL.Path+" for "+r.Header.Get("Authorization"))
	})
	client, e, _ := httpEdge(t, spec(t, "fallback", params{"size": 2}))
	ask := func(method, path, token string) string {
		req, err := http.NewRequestWithContext(t.Context(), method, url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", token)
		resp, err := client.Do(req)
		if err != nil {
			return err.Error()
		}
		defer func() { _ = resp.Body.Close() }()
		body, _ := io.ReadAll(resp.Body)
		resp.Header.Set("X-From", "whoever got it") // must not reach the one that is kept
		return fmt.Sprint(resp.StatusCode, " ", string(body))
	}
	for _, path := range []string{"/a", "/b", "/c"} { // /a is the oldest of more than are kept
		ask("GET", path, "me")
	}
	ask("POST", "/p", "me")
	down = true
	tests := []struct{ method, path, token, want string }{
		{"GET", "/c", "me", "200 /c for me"},
		{"GET", "/c", "me", "200 /c for me"}, // its body can be read a second time
		{"GET", "/b", "me", "200 /b for me"},
		{"GET", "/a", "me", "503 "},
		{"GET", "/c", "you", "503 "},
		{"POST", "/p", "me", "503 "},
	}
	for _, test := range tests {
		if got := ask(test.method, test.path, test.token); got != test.want {
			t.Errorf("%s %s for %s: got %q, want %q", test.method, test.path, test.token, got, test.want)
		}
	}
	if served, missed := e.reg.value(t, names.PolicyFallbacks, names.Outcome, "served"), e.reg.value(t, names.PolicyFallbacks, names.Outcome, "missed"); served != 3 || missed != 3 {
		t.Errorf("%v served, %v missed", served, missed)
	}
	if e.count(t, names.EdgeCalls, "ok") != 7 || e.count(t, names.EdgeAttempts, "error") != 6 {
		t.Error("not counted as it was")
	}
}

func TestFallbackStaleGRPC(t *testing.T) {
	var answer error
	callee := &grpcCallee{answer: func(context.Context, int) error { return answer }}
	client, _, _ := grpcEdge(t, callee, spec(t, "fallback", nil), spec(t, "circuit_breaker", params{"min_calls": 1, "open_for": "1m"}))
	ask := func(service string) string {
		reply, err := client.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: service})
		return fmt.Sprint(reply.GetStatus(), " ", status.Code(err))
	}
	if got := ask("a"); got != "SERVING OK" {
		t.Fatal(got)
	}
	answer = errNotFound
	ask("nothing")
	answer = errDown
	for _, want := range []string{"SERVING OK", "SERVING OK"} { // the callee failed, then the breaker is open
		if got := ask("a"); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if got := ask("b"); got != "UNKNOWN Unavailable" {
		t.Errorf("never asked before: %s", got)
	}
	if got := ask("nothing"); got != "UNKNOWN Unavailable" {
		t.Errorf("an error was kept: %s", got)
	}
}

func TestFallbackStaleGrowsOld(t *testing.T) {
	within(t, func(t *testing.T) {
		a := newFallback(spec(t, "fallback", params{"max_age": "10s"}).Params, &host{metrics: newTestEdge(t).policyMetrics(t)}).kept
		a.put("k", result{reply: "x"})
		time.Sleep(10 * time.Second)
		if _, ok := a.get("k"); !ok {
			t.Error("gone too early")
		}
		time.Sleep(time.Nanosecond)
		if _, ok := a.get("k"); ok {
			t.Error("too old, and yet given")
		}
	})
}

func (testEdge) policyMetrics(t *testing.T) *policyMetrics {
	t.Helper()
	m, err := newPolicyMetrics(&registry{})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestFallbackStatic(t *testing.T) {
	url, _ := server(t, answer(500, "no"))
	client, _, _ := httpEdge(t, spec(t, "fallback", params{"from": "static", "status": 203, "body": `{"products": []}`}))
	resp, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if body, _ := io.ReadAll(resp.Body); resp.StatusCode != 203 || string(body) != `{"products": []}` || resp.Header.Get("Content-Type") != "application/json" {
		t.Errorf("got %s %s", resp.Status, body)
	}
	callee := &grpcCallee{answer: func(context.Context, int) error { return errDown }}
	grpcClient, _, _ := grpcEdge(t, callee, spec(t, "fallback", params{"from": "static", "body": `{"status": "NOT_SERVING"}`}))
	if reply, err := grpcClient.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{}); err != nil || reply.GetStatus() != grpc_health_v1.HealthCheckResponse_NOT_SERVING {
		t.Errorf("got %v, %v", reply, err)
	}
	grpcClient, e, _ := grpcEdge(t, callee, spec(t, "fallback", params{"from": "static", "body": `{"stat": 1}`}))
	if _, err := grpcClient.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{}); status.Code(err) != codes.Unavailable {
		t.Errorf("a body of the wrong type: %v", err)
	}
	if e.reg.value(t, names.PolicyFallbacks, names.Outcome, "missed") != 1 {
		t.Error("the miss is not counted")
	}
}

func TestFallbackLeavesCallersWhoGoAlone(t *testing.T) {
	within(t, func(t *testing.T) {
		e := newTestEdge(t, spec(t, "fallback", nil))
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		if err := e.Do(ctx, answers(time.Hour, nil).serve); status.Code(err) != codes.Canceled {
			t.Errorf("got %v", err)
		}
		if err := e.Do(t.Context(), answers(0, errDown).serve); !errors.Is(err, errDown) {
			t.Errorf("got %v", err)
		}
		if served, missed := e.reg.value(t, names.PolicyFallbacks, names.Outcome, "served"), e.reg.value(t, names.PolicyFallbacks, names.Outcome, "missed"); served != 0 || missed != 1 {
			t.Errorf("%v served, %v missed", served, missed)
		}
	})
}
