// Package shipping owns shipments: what orders confirms, it sends off, once.
// It learns of orders by message, tells inventory that the goods have left, and
// tells the world by a message of its own.
//
//	orders.confirmed --> shipment pending --> inventory.Ship --> shipped --> orders.shipped
//	                            |
//	                            +--> refused, and the message goes to the dead letters
//
// A message may come any number of times: the order id decides whether there is
// something left to do. What inventory does not answer is tried again, with the broker keeping
// the message; what it refuses, or what cannot be read, is a dead letter. The shipment and
// its event are written in one transaction (services/kit/outbox).
package shipping

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/faultline-lab/faultline/services/bug"
	"github.com/faultline-lab/faultline/services/events"
	"github.com/faultline-lab/faultline/services/kit"
	"github.com/faultline-lab/faultline/services/kit/broker"
	"github.com/faultline-lab/faultline/services/kit/outbox"
	inventoryv1 "github.com/faultline-lab/faultline/services/proto/shop/inventory/v1"
)

const name = "shipping"

// Service is the shipping service: a consumer, with HTTP to look at what it did.
func Service() kit.Service {
	return kit.Service{Name: name, Protocol: kit.HTTP, Build: build}
}

func build(ctx context.Context, rt *kit.Runtime) (*kit.Parts, error) {
	db, err := rt.Store(ctx, schema, outbox.Schema(name))
	if err != nil {
		return nil, fmt.Errorf("opening the store: %w", err)
	}
	goods, err := rt.GRPC("inventory")
	if err != nil {
		return nil, fmt.Errorf("reaching inventory: %w", err)
	}
	client, err := rt.Broker(ctx)
	if err != nil {
		return nil, fmt.Errorf("reaching the broker: %w", err)
	}
	capacity, err := kit.ParseCapacity([]byte(rt.Env.Get("CAPACITY")))
	if err != nil {
		return nil, err
	}
	box := outbox.New(outbox.Config{
		Name: name, Store: db, Publisher: client, Log: rt.Log,
		Prepare:    func(ctx context.Context) error { return events.EnsureStreams(ctx, client) },
		Registerer: rt.Telemetry.Registry, Propagator: rt.Telemetry.Propagator,
	})
	wrong, err := bug.In(rt.Env, name, rt.Log)
	if err != nil {
		return nil, err
	}
	h := &handler{shipments: &shipments{db: db, outbox: box}, goods: inventoryv1.NewInventoryClient(goods), door: rt.Door.Do, log: rt.Log}
	handle := h.handle
	if wrong == bug.AckBeforeEffect {
		handle = h.handleLater
	}
	return &kit.Parts{
		HTTP:  h.routes(),
		Admin: map[string]http.Handler{"GET /audit": http.HandlerFunc(h.audit)},
		Background: []func(context.Context) error{
			box.Run,
			func(ctx context.Context) error {
				return events.Consume(ctx, client, consumer(capacity.Workers), handle)
			},
		},
	}, nil
}

// consumer says how confirmed orders are consumed: as many at once as there are workers, and long enough
// to outlast an outage of inventory of several minutes.
func consumer(workers int) broker.Consumer {
	const unlimited = 8
	if workers <= 0 {
		workers = unlimited
	}
	return broker.Consumer{
		Stream: events.OrdersStream, Durable: name, Subject: events.OrdersConfirmed, Concurrency: workers,
		MaxDeliver: 40, DeadLetter: events.DeadLetter(name, events.OrdersConfirmed),
		Backoff: []time.Duration{200 * time.Millisecond, 500 * time.Millisecond, time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second},
	}
}
