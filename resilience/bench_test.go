package resilience

import (
	"context"
	"syscall"
	"testing"

	"github.com/goccy/go-yaml"
)

// Chains as they are written, for the benchmark. The typical one is that of an edge as a cautious service has it.
var idleChains = []struct{ name, chain string }{
	{"none", "[]"},
	{"timeout", "[{timeout: 1s}]"},
	{"retry", "[{retry: {budget: 10%}}]"},
	{"circuit_breaker", "[{circuit_breaker: null}]"},
	{"bulkhead", "[{bulkhead: 1000}]"},
	{"rate_limit", "[{rate_limit: 1000000/s}]"},
	{"deadline", "[{deadline: null}]"},
	{"hedge", "[{hedge: 1s}]"},
	{"fallback", "[{fallback: null}]"},
	{"adaptive_throttle", "[{adaptive_throttle: null}]"},
	{"adaptive_limit", "[{adaptive_limit: null}]"},
	{"outlier_ejection", "[{outlier_ejection: null}]"},
	{"balancing", "[{balancing: least_request}]"},
	{"typical", "[{timeout: 1s}, {retry: {budget: 10%}}, {circuit_breaker: null}, {bulkhead: 1000}, {deadline: null}, {outlier_ejection: null}]"},
	{"adaptive", "[{timeout: 1s}, {retry: {budget: 10%}}, {adaptive_throttle: null}, {adaptive_limit: null}, {deadline: null}, {balancing: least_request}, {outlier_ejection: null}]"},
}

// BenchmarkIdleChain measures what an armed chain costs a call that needs none of it. The goal is 10 us for the typical one.
func BenchmarkIdleChain(b *testing.B) {
	for _, c := range idleChains {
		b.Run(c.name, func(b *testing.B) {
			e := newTestEdge(b, chainOf(b, c.chain)...)
			ctx := context.Background()
			send := func(ctx context.Context) error { e.Pick(ctx, 3); return nil }
			b.ReportAllocs()
			began := processorTime(b)
			for b.Loop() {
				if err := e.Do(ctx, send); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(processorTime(b)-began)/float64(b.N), "cpu-ns/op")
		})
	}
}

// processorTime is what this process has used so far: on a busy machine it says more than the time that passed.
func processorTime(b *testing.B) int64 {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return usage.Utime.Nano() + usage.Stime.Nano()
}

// chainOf reads a chain as a scenario has it.
func chainOf(t testing.TB, text string) Chain {
	t.Helper()
	var raw []map[string]any
	if err := yaml.Unmarshal([]byte(text), &raw); err != nil {
		t.Fatal(err)
	}
	var chain Chain
	for _, entry := range raw {
		for kind, params := range entry {
			s, problems := Parse(kind, params)
			if len(problems) > 0 {
				t.Fatal(problems)
			}
			chain = append(chain, s)
		}
	}
	return chain
}
