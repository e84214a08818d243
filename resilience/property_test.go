package resilience

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/faultline-lab/faultline/observability/names"
)

// Chains of any order are put together from these, and what holds for all of them is tested on many.
func anyPolicies(t testing.TB) []Chain {
	var out []Chain
	for _, text := range []string{
		"[{timeout: 300ms}]", "[{timeout: 50ms}]", "[{retry: {attempts: 3, backoff: 10ms}}]", "[{retry: {attempts: 2, backoff: 0s, budget: 10%}}]",
		"[{retry: {attempts: 3, budget_in_flight: 20%}}]", "[{circuit_breaker: {min_calls: 5, open_for: 200ms}}]", "[{bulkhead: {max: 5, wait: 20ms}}]", "[{bulkhead: 20}]",
		"[{deadline: 400ms}]", "[{hedge: 30ms}]", "[{hedge: {quantile: 0.9, max: 2}}]", "[{rate_limit: {rate: 50/s, wait: 30ms}}]", "[{adaptive_throttle: null}]",
		"[{adaptive_limit: {initial: 5, window: 100ms, min_calls: 5}}]", "[{outlier_ejection: 3}]", "[{balancing: least_request}]",
	} {
		out = append(out, chainOf(t, text))
	}
	return out
}

// anyChain draws a chain of up to six policies.
func anyChain(r *rand.Rand, from []Chain) Chain {
	var chain Chain
	for range 1 + r.IntN(6) {
		next := append(chain[:len(chain):len(chain)], from[r.IntN(len(from))]...)
		if len(next.Check(OnEdge, "")) == 0 {
			chain = next
		}
	}
	return chain
}

func written(chain Chain) string {
	out := ""
	for _, s := range chain {
		out += " " + s.Kind
	}
	return out
}

// forAnyChain runs the test on so many chains, each on its own virtual time.
func forAnyChain(t *testing.T, test func(t *testing.T, chain Chain, r *rand.Rand)) {
	t.Helper()
	from := anyPolicies(t)
	for seed := range uint64(150) {
		r := rand.New(rand.NewPCG(seed, 0))
		chain := anyChain(r, from)
		t.Run(fmt.Sprint(seed, written(chain)), func(t *testing.T) {
			within(t, func(t *testing.T) { test(t, chain, r) })
		})
	}
}

// moody is a callee of three replicas that answers as chance has it: quickly, slowly, with an error, or not at all.
func moody(e testEdge, r *rand.Rand, asked *atomic.Int64) func(context.Context) error {
	return func(ctx context.Context) error {
		asked.Add(1)
		replica := e.Pick(ctx, 3)
		took, err := time.Duration(5+r.IntN(30))*time.Millisecond, error(nil)
		switch r.IntN(10) {
		case 0:
			took = time.Second
		case 1, 2:
			err = errDown
		case 3:
			err = errNotFound
		case 4:
			took, err = 0, errDown
		}
		if replica == 2 {
			took *= 3
		}
		return answers(took, err).serve(ctx)
	}
}

// Whatever the chain: every call ends and is counted once, every attempt that the callee saw is counted once and no other,
// nothing stays behind, and a call that ended with no attempt never reached the callee.
func TestAnyChainKeepsAccount(t *testing.T) {
	forAnyChain(t, func(t *testing.T, chain Chain, r *rand.Rand) {
		e := newTestEdge(t, chain...)
		r = rand.New(&lockedSource{source: r}) // the callee's calls share it
		var asked, ended atomic.Int64
		serve := moody(e, r, &asked)
		offer(100, 2*time.Second, func(int) {
			var own atomic.Int64
			err := e.Do(t.Context(), func(ctx context.Context) error { own.Add(1); return serve(ctx) })
			ended.Add(1)
			var rejection *Rejection
			if errors.As(err, &rejection) && int64(rejection.Attempts) != own.Load() {
				t.Errorf("%v says %d attempts, the callee saw %d", err, rejection.Attempts, own.Load())
			}
		})
		calls := 0
		for _, outcome := range []string{"ok", "error", "timeout", "rejected", "cancelled"} {
			calls += e.count(t, names.EdgeCalls, outcome)
		}
		if calls != 200 || ended.Load() != 200 || e.sent(t) != int(asked.Load()) {
			t.Errorf("%d calls counted, %d ended, of 200; %d attempts counted of %d", calls, ended.Load(), e.sent(t), asked.Load())
		}
		if n := e.reg.value(t, names.EdgeInFlight); n != 0 {
			t.Errorf("%v still under way", n)
		}
		for replica, n := range e.balancer.under {
			if n != 0 {
				t.Errorf("%d attempts still at replica %d", n, replica+1)
			}
		}
	})
}

// A timeout in front bounds all that stands behind it, whatever that is.
func TestOutermostTimeoutBoundsAnyChain(t *testing.T) {
	forAnyChain(t, func(t *testing.T, chain Chain, r *rand.Rand) {
		const limit = 170 * time.Millisecond
		e := newTestEdge(t, append(Chain{spec(t, "timeout", limit.String())}, chain...)...)
		r = rand.New(&lockedSource{source: r})
		var asked atomic.Int64
		serve := moody(e, r, &asked)
		offer(100, time.Second, func(int) {
			began := time.Now()
			if err := e.Do(t.Context(), serve); time.Since(began) > limit {
				t.Errorf("took %s: %v", time.Since(began), err)
			}
		})
	})
}

// A call that is answered at once passes any chain that is not full: one attempt, the answer unchanged.
func TestAnyChainIsTransparentWhenIdle(t *testing.T) {
	forAnyChain(t, func(t *testing.T, chain Chain, _ *rand.Rand) {
		e := newTestEdge(t, chain...)
		for _, want := range []error{nil, errNotFound} {
			c := answers(time.Millisecond, want)
			if err := e.Do(t.Context(), c.serve); !errors.Is(err, want) || len(c.at) != 1 {
				t.Errorf("got %v after %d attempts", err, len(c.at))
			}
			pass(time.Second)
		}
	})
}

// Retries in layers multiply, whatever idle policies stand between them; and a timeout counts for each attempt inside of
// a retry, and once outside of it.
func TestOrderOfRetriesAndTimeouts(t *testing.T) {
	idle := []Chain{chainOf(t, "[{bulkhead: 1000}]"), chainOf(t, "[{deadline: null}]"), chainOf(t, "[{circuit_breaker: {min_calls: 1000}}]"), chainOf(t, "[{adaptive_limit: null}]")}
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 1))
		var chain Chain
		want := 1
		for range 1 + r.IntN(3) {
			attempts := 1 + r.IntN(3)
			want *= attempts
			chain = append(chain, spec(t, "retry", params{"attempts": attempts, "backoff": "0s"}))
			next := append(chain[:len(chain):len(chain)], idle[r.IntN(len(idle))]...)
			if len(next.Check(OnEdge, "")) == 0 {
				chain = next
			}
		}
		t.Run(fmt.Sprint(seed, written(chain)), func(t *testing.T) {
			within(t, func(t *testing.T) {
				c := answers(0, errDown)
				if err := newTestEdge(t, chain...).Do(t.Context(), c.serve); !errors.Is(err, errDown) || len(c.at) != want {
					t.Errorf("%d attempts, want %d: %v", len(c.at), want, err)
				}
				slow := spec(t, "timeout", "1s")
				for _, test := range []struct {
					chain Chain
					want  time.Duration
				}{{append(chain[:len(chain):len(chain)], slow), time.Duration(want) * time.Second}, {append(Chain{slow}, chain...), time.Second}} {
					began := time.Now()
					_ = newTestEdge(t, test.chain...).Do(t.Context(), answers(time.Hour, nil).serve)
					if took := time.Since(began); took != test.want {
						t.Errorf("%s: took %s, want %s", written(test.chain), took, test.want)
					}
				}
			})
		})
	}
}

// What an armed chain costs an idle call is in the benchmark; this holds the part of it that no busy machine changes.
func TestIdleChainAllocates(t *testing.T) {
	for _, c := range idleChains {
		e := newTestEdge(t, chainOf(t, c.chain)...)
		send := func(ctx context.Context) error { e.Pick(ctx, 3); return nil }
		most := 40.0
		if c.name == "typical" || c.name == "adaptive" {
			most = 75
		}
		if n := testing.AllocsPerRun(200, func() { _ = e.Do(t.Context(), send) }); n > most {
			t.Errorf("%s: %v allocations a call, at most %v", c.name, n, most)
		}
	}
}
