// Package bank owns money: the outside provider that captures and refunds, over
// HTTP, with books of its own.
//
//	POST /captures {"reference", "card", "amount_cents"}  201; 402 declined (cards 4000-…); 409 key reused or reference refunded
//	POST /refunds  {"reference"}                          201; 409 key reused
//	GET  /ledger                                          all captures, refunds and tombstones, and the sums by reference
//
// An Idempotency-Key header (or idempotency_key in the body) makes a request
// safe to repeat: the answer is the first one, marked Idempotency-Replayed. A
// refund that comes before its capture is noted, and the capture refused.
//
// It knows nothing of orders; a reference is any text. GET /healthz is the kit's.
package bank

import (
	"context"
	"time"

	"github.com/faultline-lab/faultline/services/kit"
)

// Service describes the bank to the kit.
func Service() kit.Service {
	return kit.Service{Name: "bank", Protocol: kit.HTTP, Build: build}
}

func build(ctx context.Context, rt *kit.Runtime) (*kit.Parts, error) {
	db, err := rt.Store(ctx, schema)
	if err != nil {
		return nil, err
	}
	return &kit.Parts{HTTP: newHandler(&ledger{db: db, now: time.Now}, rt.Log)}, nil
}
