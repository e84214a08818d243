// Package inventory owns how much there is of each product, and takes stock
// aside for orders. At all times
//
//	initial = available + reserved + shipped
//
// for each product, and nothing is negative. It does not know what a product
// is called or costs (catalog), nor why an order exists (orders).
//
//	          Reserve              Ship
//	(none) ------------> reserved ------> shipped
//	   |                    |
//	   | Release            | Release
//	   +----> released <----+        a Reserve that comes after it is refused
package inventory

import (
	"context"
	"fmt"

	"google.golang.org/grpc"

	"github.com/faultline-lab/faultline/services/bug"
	"github.com/faultline-lab/faultline/services/kit"
	inventoryv1 "github.com/faultline-lab/faultline/services/proto/shop/inventory/v1"
)

// Service is the inventory service: gRPC, with a store of its own.
func Service() kit.Service {
	return kit.Service{Name: "inventory", Protocol: kit.GRPC, Build: build}
}

func build(ctx context.Context, rt *kit.Runtime) (*kit.Parts, error) {
	wrong, err := bug.In(rt.Env, "inventory", rt.Log)
	if err != nil {
		return nil, err
	}
	db, err := rt.Store(ctx, schemaWith(wrong))
	if err != nil {
		return nil, fmt.Errorf("opening the store: %w", err)
	}
	s := &stock{db: db, bug: wrong}
	if err := s.seed(ctx, seedStock()); err != nil {
		return nil, fmt.Errorf("seeding stock: %w", err)
	}
	srv := &server{stock: s, log: rt.Log}
	return &kit.Parts{
		GRPC: func(r grpc.ServiceRegistrar) { inventoryv1.RegisterInventoryServer(r, srv) },
	}, nil
}
