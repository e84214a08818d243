// Package payments owns charges: money captured once for an order, and given
// back at most once. The money itself is at the bank, an outside provider that
// payments asks over HTTP; the bank may be slow, gone, or may do what it was
// asked and never say so. Payments therefore writes down what it is about to
// ask before it asks, names each question by the order, and asks again with the
// same name.
//
//	          201              Refund            bank refunded
//	pending ------> captured ---------> refunding -------------> refunded
//	   |                                   ^                        ^
//	   | 402                Refund         |   Refund of an unknown |
//	   +------> declined   (from pending) -+   order: a tombstone   |
//	                                           (none) --------------+
//
// A charge whose outcome is unknown stays pending: a repeated Charge asks the
// bank again, a Refund makes the bank give back whatever it booked and refuse
// what is still on its way. Nothing asks on its own: orders drives each of its
// sagas to an end, and a second driver here would capture money for orders
// that are being undone. Card numbers are passed on, and stored only as digests.
package payments

import (
	"context"
	"fmt"

	"google.golang.org/grpc"

	"github.com/faultline-lab/faultline/services/bug"
	"github.com/faultline-lab/faultline/services/kit"
	paymentsv1 "github.com/faultline-lab/faultline/services/proto/shop/payments/v1"
)

// Service is the payments service: gRPC, with a store of its own, calling the bank over HTTP.
func Service() kit.Service {
	return kit.Service{Name: "payments", Protocol: kit.GRPC, Build: build}
}

func build(ctx context.Context, rt *kit.Runtime) (*kit.Parts, error) {
	db, err := rt.Store(ctx, schema)
	if err != nil {
		return nil, fmt.Errorf("opening the store: %w", err)
	}
	client, err := rt.HTTP("bank")
	if err != nil {
		return nil, fmt.Errorf("reaching the bank: %w", err)
	}
	wrong, err := bug.In(rt.Env, "payments", rt.Log)
	if err != nil {
		return nil, err
	}
	srv := newServer(&charges{db: db}, &httpBank{client: client, base: "http://bank", bug: wrong}, rt.Log)
	return &kit.Parts{
		GRPC: func(r grpc.ServiceRegistrar) { paymentsv1.RegisterPaymentsServer(r, srv) },
	}, nil
}
