package run

import (
	"fmt"
	"strings"
	"testing"

	"github.com/faultline-lab/faultline/chaos"
	"github.com/faultline-lab/faultline/chaos/network"
	"github.com/faultline-lab/faultline/internal/plan"
	"github.com/faultline-lab/faultline/internal/system"
	"github.com/faultline-lab/faultline/resilience"
)

func TestHopsStandOnlyWhereTheyAreNeeded(t *testing.T) {
	ab, bc := chaos.Edge{Caller: "a", Callee: "b"}, chaos.Edge{Caller: "b", Callee: "c"}
	proxies := []network.Spec{
		{Edge: ab, Replica: 1, Upstream: "b1", Probe: network.Probe{Protocol: "grpc"}},
		{Edge: ab, Replica: 2, Upstream: "b2", Probe: network.Probe{Protocol: "grpc"}},
		{Edge: bc, Replica: 1, Upstream: "c1", Probe: network.Probe{Protocol: "http"}},
		{Edge: chaos.Edge{Caller: "c", Callee: "broker"}, Replica: 1, Upstream: "n1", Probe: network.Probe{Protocol: "tcp"}},
	}
	tests := []struct {
		name   string
		faults []chaos.Fault
		bench  bool
		want   string
	}{
		{"no fault", nil, false, "[]"},
		{"a fault of the network", []chaos.Fault{{Kind: chaos.Latency, Edges: []chaos.Edge{ab}}}, false, "[]"},
		{"one of requests", []chaos.Fault{{Kind: chaos.LoseAnswer, Edges: []chaos.Edge{ab}, Replica: 1}}, false, "[{a->b 1 grpc b1} {a->b 2 grpc b2}]"},
		{"two on one edge", []chaos.Fault{{Kind: chaos.LoseAnswer, Edges: []chaos.Edge{bc}}, {Kind: chaos.RequestDelay, Edges: []chaos.Edge{bc}}}, false, "[{b->c 1 http c1}]"},
		{"a bench, where anything may come", nil, true, "[{a->b 1 grpc b1} {a->b 2 grpc b2} {b->c 1 http c1}]"},
	}
	for _, test := range tests {
		got := []string{}
		for _, spec := range hopSpecs(test.faults, proxies, test.bench) {
			got = append(got, fmt.Sprintf("{%s %d %s %s}", spec.Edge, spec.Replica, spec.Protocol, spec.Upstream))
		}
		if fmt.Sprint(got) != test.want {
			t.Errorf("%s: got %s, want %s", test.name, got, test.want)
		}
	}
}

// Of an edge that cannot take faults of requests, people are told why.
func TestWhyNoRequests(t *testing.T) {
	ab, bc, queue := chaos.Edge{Caller: "a", Callee: "b"}, chaos.Edge{Caller: "b", Callee: "c"}, chaos.Edge{Caller: "b", Callee: "queue"}
	sys := &system.System{Services: []*system.Service{{Name: "b", Protocol: "grpc"}, {Name: "c", Protocol: "http"}, {Name: "queue", Protocol: "tcp"}}}
	planned := &plan.Plan{Faults: []plan.Window{{Fault: chaos.Fault{Kind: chaos.LoseAnswer, Edges: []chaos.Edge{bc}}}}}
	for _, tt := range []struct {
		bench bool
		edge  chaos.Edge
		want  string
	}{
		{true, ab, ""}, {true, bc, ""}, {true, queue, "need HTTP or gRPC"},
		{false, ab, "no layer-7 hop stands there"}, {false, bc, ""}, {false, queue, "need HTTP or gRPC"},
	} {
		c := &Control{r: &runner{cfg: Config{Plan: planned, System: sys, Bench: tt.bench}}}
		if got := c.NoRequests(tt.edge); (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
			t.Errorf("bench %v, %s: got %q, want %q", tt.bench, tt.edge, got, tt.want)
		}
	}
}

// What a hop enforces, no service does; and each call is counted by one of them.
func TestPoliciesInTheProxy(t *testing.T) {
	p := &plan.Plan{Enforce: plan.Proxy, Observed: []chaos.Edge{{Caller: "front", Callee: "shelf"}}, Policies: policies(t, "front->bank", "back->bank", "front")}
	env, err := environment(p, "front", "front", "", "")
	if err != nil {
		t.Fatal(err)
	}
	left, err := resilience.ParsePolicies([]byte(env["RESILIENCE_POLICIES"]))
	if err != nil || len(left) != 1 || len(left["front"]) != 1 {
		t.Errorf("the service gets %v, %v", left, err)
	}
	if got := env["EDGES_MEASURED_ELSEWHERE"]; got != "back->bank,front->bank,front->shelf" {
		t.Errorf("it leaves %q to others", got)
	}
	if len(p.Policies) != 3 {
		t.Error("the plan was changed")
	}
}
