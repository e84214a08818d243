package broker

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"
)

// TestAnOrderedConsumerIsHeldUp: a message that cannot be handled holds up those behind it until it is
// given up, and for ever where none is.
func TestAnOrderedConsumerIsHeldUp(t *testing.T) {
	for name, c := range map[string]struct {
		maxDeliver int
		want       []string // what is handled before "poison" has been tried three times and everything after it is through, or not
	}{
		"dead letters": {0, []string{"1", "poison", "2", "3"}},
		"for ever":     {-1, []string{"1", "poison", "poison", "poison"}},
	} {
		t.Run(name, func(t *testing.T) {
			addr, _ := startServer(t, 0, t.TempDir())
			ctx, client := testContext(t), connect(t, Config{Addrs: []string{addr}})
			for stream, subject := range map[string]string{"orders": "orders.>", "dead": "dead.>"} {
				if err := client.EnsureStream(ctx, stream, subject); err != nil {
					t.Fatal(err)
				}
			}
			for _, id := range []string{"1", "poison", "2", "3"} {
				if err := client.Publish(ctx, "orders.confirmed", id, []byte(id)); err != nil {
					t.Fatal(err)
				}
			}
			got := make(chan string, 100)
			stop := consume(t, client, Consumer{
				Stream: "orders", Durable: "reader", Subject: "orders.confirmed", Ordered: true, Concurrency: 8,
				MaxDeliver: c.maxDeliver, DeadLetter: "dead.reader", Backoff: []time.Duration{time.Millisecond},
			}, func(_ context.Context, m Message) error {
				got <- m.ID
				if m.ID == "poison" {
					return Permanent(errors.New("cannot be read"))
				}
				return nil
			})
			var handled []string
			for range c.want {
				handled = append(handled, receive(t, got))
			}
			stop()
			if !slices.Equal(handled, c.want) {
				t.Errorf("handled %q, want %q", handled, c.want)
			}
		})
	}
}
