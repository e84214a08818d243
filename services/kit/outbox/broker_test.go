package outbox

import (
	"context"
	"fmt"
	"testing"

	"github.com/faultline-lab/faultline/services/events/eventstest"
	"github.com/faultline-lab/faultline/services/kit/broker"
)

// TestRealBroker publishes to a broker that comes late, goes, and comes back with what it had.
func TestRealBroker(t *testing.T) {
	nats := eventstest.NewBroker(t)
	client, err := broker.Connect(t.Context(), broker.Config{Addrs: []string{nats.Addr}, Name: "test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	o := newOutbox(t, Config{Publisher: client, Prepare: func(ctx context.Context) error {
		return client.EnsureStream(ctx, "THINGS", "things.>")
	}})
	start(t, o)
	for i := range 20 {
		add(t, o, fmt.Sprint("early-", i%4), i)
	}
	nats.Start(t)
	awaitEmpty(t, o)
	nats.Stop()
	for i := range 20 {
		add(t, o, fmt.Sprint("late-", i%4), i)
	}
	nats.Start(t)
	awaitEmpty(t, o)
	// What was published twice is kept once.
	if _, err := o.cfg.Store.ExecContext(t.Context(), `UPDATE test_outbox SET published_ns = 0 WHERE aggregate LIKE 'late-%'`); err != nil {
		t.Fatal(err)
	}
	awaitEmpty(t, o)
	if got := nats.Messages(t, "THINGS", "things.>"); got != 40 {
		t.Errorf("the broker keeps %d messages, want 40", got)
	}
}
