package resilience

import (
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

func TestPoliciesThatStandOnce(t *testing.T) {
	for _, kind := range []string{"balancing", "outlier_ejection"} {
		_, err := NewEdge(EdgeConfig{Caller: "a", Callee: "b", Chain: Chain{spec(t, kind, nil), spec(t, kind, nil)}})
		if err == nil || err.Error() != "making edge: a->b: policy 2: "+kind+" stands in the chain twice" {
			t.Errorf("got %v", err)
		}
	}
}
