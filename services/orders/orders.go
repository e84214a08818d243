// Package orders owns orders and the saga that makes one: stock is reserved at
// inventory, money charged at payments, and the order confirmed; or all of it
// is undone.
//
//	          reserve ok         charge ok        local
//	pending -----------> reserved ------> charged -----> confirmed
//	   |                    |
//	   | no, or no answer   | no, or no answer
//	   +--------> compensating <------+
//	                   | refunded and released
//	                   v
//	               cancelled
//
// # What holds after a crash at any point
//
// A state is written down before the step that it allows is taken, so whoever
// finds a saga knows all that may have happened. Callees take each question
// any number of times, and a compensation that comes before its action makes
// the action be refused. Each write names the version that it read: of two drivers of one saga
// the slower one fails to write, and stops.
//
// # An unknown outcome is undone
//
// When a callee does not answer, the order is not driven on later but undone:
// its customer was told that it did not work and may have ordered elsewhere
// since. Only an order that was charged for sure when its driver died is
// confirmed. Undoing is left to the recovery worker, which is slow on purpose.
//
// # Who drives
//
// The request that made the order drives its saga. A process announces itself
// as a driver by a lease in the store; sagas of a driver whose lease ran out, or whose
// instance has begun a new life, are free for the recovery worker of any instance.
//
// A confirmed order is announced through the outbox (services/kit/outbox).
package orders

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"

	"github.com/faultline-lab/faultline/services/bug"
	"github.com/faultline-lab/faultline/services/events"
	"github.com/faultline-lab/faultline/services/kit"
	"github.com/faultline-lab/faultline/services/kit/outbox"
	inventoryv1 "github.com/faultline-lab/faultline/services/proto/shop/inventory/v1"
	ordersv1 "github.com/faultline-lab/faultline/services/proto/shop/orders/v1"
	paymentsv1 "github.com/faultline-lab/faultline/services/proto/shop/payments/v1"
)

// Service is the orders service: gRPC, with a store of its own, calling inventory, payments and the broker.
func Service() kit.Service {
	return kit.Service{Name: "orders", Protocol: kit.GRPC, Build: build}
}

func build(ctx context.Context, rt *kit.Runtime) (*kit.Parts, error) {
	db, err := rt.Store(ctx, schema, callsSchema, deadLetterSchema, outbox.Schema("orders"))
	if err != nil {
		return nil, fmt.Errorf("opening the store: %w", err)
	}
	stock, err := rt.GRPC("inventory")
	if err != nil {
		return nil, fmt.Errorf("reaching inventory: %w", err)
	}
	money, err := rt.GRPC("payments")
	if err != nil {
		return nil, fmt.Errorf("reaching payments: %w", err)
	}
	client, err := rt.Broker(ctx)
	if err != nil {
		return nil, fmt.Errorf("reaching the broker: %w", err)
	}
	wrong, err := bug.In(rt.Env, "orders", rt.Log)
	if err != nil {
		return nil, err
	}
	box := outbox.New(outbox.Config{
		Name: "orders", Store: db, Publisher: client, Log: rt.Log,
		Prepare:    func(ctx context.Context) error { return events.EnsureStreams(ctx, client) },
		Registerer: rt.Telemetry.Registry, Propagator: rt.Telemetry.Propagator,
	})
	s := &sagas{
		ledger: &ledger{db: db, outbox: box},
		stock:  inventoryv1.NewInventoryClient(stock), money: paymentsv1.NewPaymentsClient(money),
		live: newLive(), driver: uuid.NewString(), log: rt.Log,
		tracer: rt.Telemetry.Tracer(), propagator: rt.Telemetry.Propagator,
		metrics: newMetrics(rt.Telemetry.Registry), probe: noProbe{}, backoff: retryAfter,
		bug: wrong, publisher: client,
	}
	dead := &deadLetters{db: db, log: rt.Log}
	p, err := parts(ctx, s, rt.Instance, &auditor{
		ledger: s.ledger, dead: dead, stock: inventoryv1.NewInventoryClient(stock), money: paymentsv1.NewPaymentsClient(money),
		broker: client, log: rt.Log,
	})
	if err != nil {
		return nil, err
	}
	p.Background = append(p.Background, func(ctx context.Context) error { return events.Consume(ctx, client, dead.consumer(), dead.handle) })
	return p, nil
}

// parts puts the service together. From here on the process is a driver.
func parts(ctx context.Context, s *sagas, instance string, audit http.Handler) (*kit.Parts, error) {
	k := &keeper{ledger: s.ledger, driver: s.driver, instance: instance, pending: s.metrics.pending, log: s.log}
	if err := k.beat(ctx); err != nil {
		return nil, err
	}
	r := &recovery{sagas: s}
	return &kit.Parts{
		GRPC:       func(reg grpc.ServiceRegistrar) { ordersv1.RegisterOrdersServer(reg, &server{sagas: s}) },
		Admin:      map[string]http.Handler{"GET /audit": audit, "GET /sagas": &openSagas{ledger: s.ledger}},
		Background: []func(context.Context) error{k.run, r.run, s.ledger.outbox.Run},
		Close: func() error {
			ctx, cancel := context.WithTimeout(context.Background(), writeWithin)
			defer cancel()
			return s.ledger.withdraw(ctx, s.driver)
		},
	}, nil
}

// openSagas answers GET /sagas: those that have not ended, the longest waiting first.
type openSagas struct{ ledger *ledger }

func (h *openSagas) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	const most = 1000
	found, err := h.ledger.unended(r.Context(), most)
	if err != nil {
		writeJSON(w, http.StatusInternalServerError, map[string]string{"error": err.Error()})
		return
	}
	type saga struct {
		Order  string    `json:"order"`
		State  state     `json:"state"`
		Reason string    `json:"reason,omitempty"`
		Driver string    `json:"driver,omitempty"`
		Due    time.Time `json:"due"`
		Tries  int       `json:"tries"`
	}
	out := make([]saga, len(found))
	for i, o := range found {
		out[i] = saga{Order: o.id, State: o.state, Reason: o.reason, Driver: o.owner, Due: o.due, Tries: o.tries}
	}
	writeJSON(w, http.StatusOK, map[string]any{"sagas": out})
}
