// Package notifications owns what customers are told: that their order is
// confirmed, and that it is on its way. It learns both by message. No mail leaves this shop: a
// notification is a row, one for each order and event, however often the message comes.
package notifications

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/faultline-lab/faultline/services/events"
	"github.com/faultline-lab/faultline/services/kit"
	"github.com/faultline-lab/faultline/services/kit/broker"
)

const name = "notifications"

// Service is the notifications service: a consumer, with HTTP to look at what it did.
func Service() kit.Service {
	return kit.Service{Name: name, Protocol: kit.HTTP, Build: build}
}

func build(ctx context.Context, rt *kit.Runtime) (*kit.Parts, error) {
	db, err := rt.Store(ctx, schema)
	if err != nil {
		return nil, fmt.Errorf("opening the store: %w", err)
	}
	client, err := rt.Broker(ctx)
	if err != nil {
		return nil, fmt.Errorf("reaching the broker: %w", err)
	}
	capacity, err := kit.ParseCapacity([]byte(rt.Env.Get("CAPACITY")))
	if err != nil {
		return nil, err
	}
	h := &handler{book: &book{db: db}, door: rt.Door.Do, log: rt.Log}
	return &kit.Parts{
		HTTP:  h.routes(),
		Admin: map[string]http.Handler{"GET /audit": http.HandlerFunc(h.audit)},
		Background: []func(context.Context) error{func(ctx context.Context) error {
			return events.Consume(ctx, client, consumer(capacity.Workers), h.handle)
		}},
	}, nil
}

// consumer says how events of orders are consumed: as many at once as there are workers.
func consumer(workers int) broker.Consumer {
	const unlimited = 8
	if workers <= 0 {
		workers = unlimited
	}
	return broker.Consumer{
		Stream: events.OrdersStream, Durable: name, Subject: events.OrdersAll, Concurrency: workers,
		MaxDeliver: 20, DeadLetter: events.DeadLetter(name, "orders"),
		Backoff: []time.Duration{200 * time.Millisecond, time.Second, 5 * time.Second},
	}
}
