// Package notifications owns what customers are told: that their order is
// confirmed, and that it is on its way. It learns both by message. No mail leaves this shop: a
// notification is a row, one for each order and event, however often the message comes.
//
// Environment, beside what every service gets: CONSUME ("parallel" by default: as many messages at once as there are
// workers; "ordered": one after the other, as from the partition of a log), DEAD_LETTERS ("on" by default; "off": what
// cannot be handled is tried for ever).
package notifications

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/faultline-lab/faultline/services/bug"
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
	consume, err := consumer(capacity.Workers, rt.Env)
	if err != nil {
		return nil, err
	}
	wrong, err := bug.In(rt.Env, name, rt.Log)
	if err != nil {
		return nil, err
	}
	h := &handler{book: &book{db: db}, broker: client, door: rt.Door.Do, log: rt.Log, bug: wrong}
	return &kit.Parts{
		HTTP:  h.routes(),
		Admin: map[string]http.Handler{"GET /audit": http.HandlerFunc(h.audit)},
		Background: []func(context.Context) error{func(ctx context.Context) error {
			return events.Consume(ctx, client, consume, h.handle)
		}},
	}, nil
}

// consumer says how events of orders are consumed: as many at once as there are workers, unless the environment says otherwise.
func consumer(workers int, env kit.Env) (broker.Consumer, error) {
	const unlimited = 8
	if workers <= 0 {
		workers = unlimited
	}
	c := broker.Consumer{
		Stream: events.OrdersStream, Durable: name, Subject: events.OrdersAll, Concurrency: workers,
		MaxDeliver: 20, DeadLetter: events.DeadLetter(name, "orders"),
		Backoff: []time.Duration{200 * time.Millisecond, time.Second, 5 * time.Second},
	}
	switch text := env["CONSUME"]; text {
	case "", "parallel":
	case "ordered":
		c.Ordered = true
	default:
		return c, fmt.Errorf("reading CONSUME: %q is neither parallel nor ordered", text)
	}
	switch text := env["DEAD_LETTERS"]; text {
	case "", "on":
	case "off":
		c.MaxDeliver = -1
	default:
		return c, fmt.Errorf("reading DEAD_LETTERS: %q is neither on nor off", text)
	}
	return c, nil
}
