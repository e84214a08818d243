package resilience

import (
	"context"
	"testing"
)

// BenchmarkIdleChain measures what an armed chain costs a call that needs none of it.
func BenchmarkIdleChain(b *testing.B) {
	all := Chain{}
	add := func(kind string, raw any) Chain {
		s, problems := Parse(kind, raw)
		if len(problems) > 0 {
			b.Fatal(problems)
		}
		all = append(all, s)
		return Chain{s}
	}
	chains := []struct {
		name  string
		chain Chain
	}{
		{"none", nil},
		{"timeout", add("timeout", "1s")},
		{"retry", add("retry", 3)},
		{"circuit_breaker", add("circuit_breaker", nil)},
		{"bulkhead", add("bulkhead", 1000)},
		{"deadline", add("deadline", nil)},
		{"all", all},
	}
	for _, c := range chains {
		b.Run(c.name, func(b *testing.B) {
			e := newTestEdge(b, c.chain...)
			ctx, send := context.Background(), func(context.Context) error { return nil }
			b.ReportAllocs()
			for b.Loop() {
				if err := e.Do(ctx, send); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
