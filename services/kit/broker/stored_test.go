package broker

import (
	"context"
	"fmt"
	"testing"
	"time"
)

func TestWhatTheBrokerKeeps(t *testing.T) {
	addr, _ := startServer(t, 0, t.TempDir())
	ctx, c := testContext(t), connect(t, Config{Addrs: []string{addr}})
	wantKept := func(want string) {
		t.Helper()
		kept, err := c.Stored(ctx, "orders")
		if got := fmt.Sprint(kept); err != nil || got != want {
			t.Errorf("kept are %s, %v; want %s", got, err, want)
		}
	}
	wantAcknowledged := func(want uint64) {
		t.Helper()
		for {
			got, err := c.Acknowledged(ctx, "orders", "shipping")
			if err != nil {
				t.Fatalf("at %d, %v; want %d", got, err, want)
			}
			if got == want {
				return
			}
			_ = pause(ctx, time.Millisecond)
		}
	}
	wantKept("[]")
	wantAcknowledged(0)
	if err := c.EnsureStream(ctx, "orders", "orders.>"); err != nil {
		t.Fatal(err)
	}
	wantKept("[]")
	for _, id := range []string{"1", "2", "2", "3"} {
		if err := c.Publish(ctx, "orders."+id, id, nil); err != nil {
			t.Fatal(err)
		}
	}
	wantKept("[{1 orders.1 1} {2 orders.2 2} {3 orders.3 3}]")
	held, begun := make(chan struct{}), make(chan struct{})
	consume(t, c, Consumer{Stream: "orders", Durable: "shipping", Subject: "orders.*"}, func(_ context.Context, m Message) error {
		if m.ID == "3" {
			close(begun)
			<-held
		}
		return nil
	})
	receive(t, begun)
	wantAcknowledged(2) // not what is only under way
	close(held)
	wantAcknowledged(3)
}
