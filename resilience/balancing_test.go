package resilience

import (
	"context"
	"slices"
	"testing"
	"time"
)

func TestBalancing(t *testing.T) {
	const ms = time.Millisecond
	tests := []struct {
		name  string
		chain []Spec
		good  func(asked []int) bool // of 1000 calls to replicas that take 10, 10 and 200 ms
	}{
		{"by default", nil, func(n []int) bool { return slices.Min(n) >= 333 }},
		{"round robin", []Spec{spec(t, "balancing", nil)}, func(n []int) bool { return slices.Min(n) >= 333 }},
		{"least request", []Spec{spec(t, "balancing", "least_request")}, func(n []int) bool { return n[2] < 120 && n[2] > 20 && min(n[0], n[1]) > 400 }},
		{"least request and ejection", []Spec{spec(t, "balancing", "least_request"), spec(t, "outlier_ejection", nil)}, func(n []int) bool { return n[2] < 60 }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			within(t, func(t *testing.T) {
				c := newCluster(newTestEdge(t, test.chain...), takes(10*ms), takes(10*ms), takes(200*ms))
				if asked := c.load(t, 200, 5*time.Second); !test.good(asked) {
					t.Errorf("asked %v", asked)
				}
				for _, under := range c.edge.balancer.under {
					if under != 0 {
						t.Errorf("still under way: %v", c.edge.balancer.under)
					}
				}
			})
		})
	}
}

// Where nobody said that an attempt is under way, a replica is picked but not counted.
func TestPickOutsideOfAnAttempt(t *testing.T) {
	e := newTestEdge(t, spec(t, "balancing", "least_request"))
	if i := e.Pick(t.Context(), 1); i != 0 || e.balancer.under[0] != 0 {
		t.Errorf("picked %d, under way %v", i, e.balancer.under)
	}
}

// Attempts of one call go to different replicas while there are such, whatever other calls do between them.
func TestAttemptsOfACallGoToOtherReplicas(t *testing.T) {
	for _, by := range []string{RoundRobin, LeastRequest} {
		t.Run(by, func(t *testing.T) {
			within(t, func(t *testing.T) {
				const replicas = 3
				e := newTestEdge(t, spec(t, "balancing", by), spec(t, "retry", params{"attempts": 5, "backoff": "0s"}))
				for range 20 {
					var went []int
					_ = e.Do(t.Context(), func(ctx context.Context) error {
						went = append(went, e.Pick(ctx, replicas))
						for range replicas - 1 { // those of others, after which it would be this one's turn again
							e.Pick(t.Context(), replicas)
						}
						return errDown
					})
					if first := slices.Sorted(slices.Values(went[:replicas])); len(went) != 5 || !slices.Equal(first, []int{0, 1, 2}) {
						t.Fatalf("the attempts went to %v", went)
					}
				}
			})
		})
	}
}

func TestPoliciesThatStandOnce(t *testing.T) {
	for _, kind := range []string{"balancing", "outlier_ejection"} {
		_, err := NewEdge(EdgeConfig{Caller: "a", Callee: "b", Chain: Chain{spec(t, kind, nil), spec(t, kind, nil)}})
		if err == nil || err.Error() != "making edge: a->b: policy 2: "+kind+" stands in the chain twice" {
			t.Errorf("got %v", err)
		}
	}
}
