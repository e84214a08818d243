// Package catalog owns what is for sale: 500 products in a store of their own,
// read through a cache that joins misses of the same key into one read.
//
// It knows nothing of stock (inventory) or of what goes with what
// (recommendations).
//
// Environment, beside what every service gets: CACHE_TTL (how long an entry is
// good, "30s" by default, "0s" turns the cache off), CACHE_MISSES ("joined" by default; "alone": each
// miss reads the store for itself, as caches do that nobody thought this through for). The admin port takes
// POST /cache/flush, which empties the cache.
package catalog

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"github.com/faultline-lab/faultline/observability/names"
	"github.com/faultline-lab/faultline/services/kit"
	catalogv1 "github.com/faultline-lab/faultline/services/proto/shop/catalog/v1"
)

const (
	defaultTTL  = 30 * time.Second
	cacheLimit  = 4096 // entries of each cache
	productsTag = "products"
	pagesTag    = "pages"
)

// Service describes the catalog to the kit.
func Service() kit.Service {
	return kit.Service{Name: "catalog", Protocol: kit.GRPC, Build: build}
}

func build(ctx context.Context, rt *kit.Runtime) (*kit.Parts, error) {
	ttl, err := cacheTTL(rt.Env["CACHE_TTL"])
	if err != nil {
		return nil, err
	}
	alone, err := missesAlone(rt.Env["CACHE_MISSES"])
	if err != nil {
		return nil, err
	}
	db, err := rt.Store(ctx, schema)
	if err != nil {
		return nil, err
	}
	shelf := &shelf{db: db}
	if err := shelf.seed(ctx, seedProducts()); err != nil {
		return nil, err
	}
	counter, err := cacheCounter(rt.Telemetry.Registry)
	if err != nil {
		return nil, err
	}
	srv := &server{
		shelf:    shelf,
		products: newCache[product](ttl, cacheLimit, time.Now, counter(productsTag)),
		pages:    newCache[page](ttl, cacheLimit, time.Now, counter(pagesTag)),
	}
	srv.products.alone, srv.pages.alone = alone, alone
	return &kit.Parts{
		GRPC:  func(r grpc.ServiceRegistrar) { catalogv1.RegisterCatalogServer(r, srv) },
		Admin: map[string]http.Handler{"POST /cache/flush": http.HandlerFunc(srv.flush)},
	}, nil
}

func cacheTTL(text string) (time.Duration, error) {
	if text == "" {
		return defaultTTL, nil
	}
	ttl, err := time.ParseDuration(text)
	if err != nil || ttl < 0 {
		return 0, fmt.Errorf(`reading CACHE_TTL: %q is not a duration such as "30s", or "0s" for no cache`, text)
	}
	return ttl, nil
}

func missesAlone(text string) (bool, error) {
	switch text {
	case "", "joined":
		return false, nil
	case "alone":
		return true, nil
	}
	return false, fmt.Errorf("reading CACHE_MISSES: %q is neither joined nor alone", text)
}

// cacheCounter registers the caches' counter and returns what makes a cache's own part of it.
func cacheCounter(registry prometheus.Registerer) (func(cache string) func(outcome string), error) {
	requests := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: names.CacheRequests,
		Help: "Questions to a cache: hit, miss, or coalesced (joined another's read of the same key).",
	}, []string{"cache", names.Outcome})
	if err := registry.Register(requests); err != nil {
		return nil, fmt.Errorf("registering cache metrics: %w", err)
	}
	return func(cache string) func(string) {
		for _, outcome := range []string{hit, miss, coalesced} {
			requests.WithLabelValues(cache, outcome) // a rate needs the zero before the first event
		}
		return func(outcome string) { requests.WithLabelValues(cache, outcome).Inc() }
	}, nil
}

// flush empties both caches: the start of a cold-cache story.
func (s *server) flush(w http.ResponseWriter, _ *http.Request) {
	fmt.Fprintf(w, "dropped %d products and %d pages\n", s.products.flush(), s.pages.flush())
}
