package kit

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/baggage"
)

// stream sends requests of one priority through the door for a time, open loop, and returns the
// share that was served within 200 ms.
func (d testDoor) stream(priority string, rate float64, length time.Duration) float64 {
	bag, err := baggage.Parse("priority=" + priority)
	if err != nil {
		d.t.Error(err)
	}
	ctx := baggage.ContextWithBaggage(d.t.Context(), bag)
	var wait sync.WaitGroup
	var good atomic.Int64
	n := int(rate * length.Seconds())
	began := time.Now()
	for i := range n {
		<-time.After(time.Until(began.Add(length * time.Duration(i) / time.Duration(n))))
		wait.Go(func() {
			due := time.Now()
			if d.Do(ctx, func(context.Context) error { return nil }) == nil && time.Since(due) <= 200*time.Millisecond {
				good.Add(1)
			}
		})
	}
	wait.Wait()
	return float64(good.Load()) / float64(n)
}

// The shape that Netflix published in 2024: prefetching grows twelvefold over what the service can do. The users'
// own requests do not feel it, and prefetching gets what is left, a fifth.
func TestPriorityAtASpike(t *testing.T) {
	const capacity = `{"workers": 16, "queue": 64, "service_time": {"lognormal": {"median": "18ms", "p99": "45ms"}}}` // about 800/s
	for _, test := range []struct {
		name, policies string
		users          func(float64) bool
		prefetch       func(float64) bool
	}{
		{"without", "", func(g float64) bool { return g < 0.7 }, func(g float64) bool { return g < 0.7 }},
		{"with priorities", `{"s": [{"priority": null}]}`, func(g float64) bool { return g >= 0.99 }, func(g float64) bool { return g > 0.1 && g < 0.35 }},
		{"with priorities and lifo", `{"s": [{"priority": null}, {"queue": "lifo"}]}`, func(g float64) bool { return g >= 0.99 }, func(g float64) bool { return g > 0.1 && g < 0.35 }},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newTestDoor(t, capacity, test.policies)
				var wait sync.WaitGroup
				wait.Go(func() { d.stream("sheddable", 100, 10*time.Second) })
				if calm := d.stream("critical", 560, 10*time.Second); calm < 0.99 {
					t.Errorf("users before the spike: %.3f", calm)
				}
				wait.Wait()
				wait.Go(func() {
					if prefetch := d.stream("sheddable", 1200, 20*time.Second); !test.prefetch(prefetch) {
						t.Errorf("prefetching during the spike: %.3f", prefetch)
					}
				})
				if users := d.stream("critical", 560, 20*time.Second); !test.users(users) {
					t.Errorf("users during the spike: %.3f", users)
				}
				wait.Wait()
			})
		})
	}
}
