package run

import (
	"fmt"
	"testing"

	"github.com/faultline-lab/faultline/chaos"
	"github.com/faultline-lab/faultline/chaos/network"
)

func TestHopsStandOnlyWhereTheyAreNeeded(t *testing.T) {
	ab, bc := chaos.Edge{Caller: "a", Callee: "b"}, chaos.Edge{Caller: "b", Callee: "c"}
	proxies := []network.Spec{
		{Edge: ab, Replica: 1, Upstream: "b1", Probe: network.Probe{Protocol: "grpc"}},
		{Edge: ab, Replica: 2, Upstream: "b2", Probe: network.Probe{Protocol: "grpc"}},
		{Edge: bc, Replica: 1, Upstream: "c1", Probe: network.Probe{Protocol: "http"}},
	}
	tests := []struct {
		name   string
		faults []chaos.Fault
		want   string
	}{
		{"no fault", nil, "[]"},
		{"a fault of the network", []chaos.Fault{{Kind: chaos.Latency, Edges: []chaos.Edge{ab}}}, "[]"},
		{"one of requests", []chaos.Fault{{Kind: chaos.LoseAnswer, Edges: []chaos.Edge{ab}, Replica: 1}}, "[{a->b 1 grpc  b1} {a->b 2 grpc  b2}]"},
		{"two on one edge", []chaos.Fault{{Kind: chaos.LoseAnswer, Edges: []chaos.Edge{bc}}, {Kind: chaos.RequestDelay, Edges: []chaos.Edge{bc}}}, "[{b->c 1 http  c1}]"},
	}
	for _, test := range tests {
		if got := fmt.Sprint(hopSpecs(test.faults, proxies)); got != test.want {
			t.Errorf("%s: got %s, want %s", test.name, got, test.want)
		}
	}
}
