// Package recommendations owns what goes with what: scores of products that were
// bought together, dealt out to shards that are asked in parallel and merged.
//
// It knows no names or prices; before it proposes a product it asks the
// catalog whether there still is one.
//
// Environment, beside what every service gets: SHARDS (how many, 8 by default).
package recommendations

import (
	"context"
	"fmt"
	"strconv"

	"google.golang.org/grpc"

	"github.com/faultline-lab/faultline/services/kit"
	catalogv1 "github.com/faultline-lab/faultline/services/proto/shop/catalog/v1"
	recommendationsv1 "github.com/faultline-lab/faultline/services/proto/shop/recommendations/v1"
)

const (
	defaultShards = 8
	maxShards     = 1000
)

// Service describes recommendations to the kit.
func Service() kit.Service {
	return kit.Service{Name: "recommendations", Protocol: kit.GRPC, Build: build}
}

func build(_ context.Context, rt *kit.Runtime) (*kit.Parts, error) {
	shards, err := shardCount(rt.Env["SHARDS"])
	if err != nil {
		return nil, err
	}
	conn, err := rt.GRPC("catalog")
	if err != nil {
		return nil, err
	}
	srv := newServer(shards, catalogv1.NewCatalogClient(conn))
	return &kit.Parts{GRPC: func(r grpc.ServiceRegistrar) { recommendationsv1.RegisterRecommendationsServer(r, srv) }}, nil
}

func shardCount(text string) (int, error) {
	if text == "" {
		return defaultShards, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > maxShards {
		return 0, fmt.Errorf("reading SHARDS: %q is not a number from 1 to %d", text, maxShards)
	}
	return n, nil
}
