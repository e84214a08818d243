// Package kit owns what every service of the shop shares: starting and
// draining, the servers and their door, the clients and their edges, the admin
// port, reading the environment. A service brings its handlers and says nothing of all that.
//
//	            admin port: /metrics /healthz /readyz /debug/pprof
//	                                                        policies of the edge
//	caller --> server span, metrics --> door --> handler --> edge ------------> callee
//	                                    policies, queue, workers
//
// What the kit reads from the environment; a service may read more:
//
//	PORT, ADMIN_PORT         the ports; 0 or nothing takes any free one
//	HOST, ADMIN_HOST         the addresses to listen on, 127.0.0.1 unless set
//	<CALLEE>_ADDR            host:port of each replica of a callee, comma-separated; BROKER_ADDR too
//	DISCOVER                 callees, comma-separated, of which the registry at REGISTRY_ADDR names the replicas to use
//	DISCOVER_EVERY           how often it is asked; 500ms unless set
//	DISCOVER_EMPTY           what an answer means that names nobody: keep (the last good one, unless set) or believe
//	CAPACITY                 the door, as JSON, see Capacity; no limits unless set
//	RESILIENCE_POLICIES      policies of its edges and its door, as JSON, see package resilience
//	DATA_DIR                 the folder of its SQLite file; in memory when it is :memory: or not set
//	DATABASE_URL             PostgreSQL in place of SQLite
//	STORE_DELAY              how much of the store's time each statement takes beside its own; 0s unless set, see package store
//	STORE_READERS            connections that may read at once; 4 unless set, 16 in all with PostgreSQL
//	SEED, REPLICA            what all randomness comes from; 1 unless set
//	DRAIN_TIMEOUT            how long requests under way may take when it stops; 5s unless set
//	OTEL_*, PYROSCOPE_URL    telemetry, see package observability
//
// On its admin port a service takes PUT /door?workers=2, which changes how many requests it works on at once, and
// one with a store PUT /store?delay=50ms, which makes the store slow.
//
// It knows nothing of the shop's business and nothing of the lab. Several services run in
// one process: there are no globals, and the environment comes as an argument.
package kit

import (
	"context"
	"log/slog"
	"net/http"

	"google.golang.org/grpc"

	"github.com/faultline-lab/faultline/observability"
	"github.com/faultline-lab/faultline/services/kit/broker"
	"github.com/faultline-lab/faultline/services/kit/store"
)

// Protocol is what a service speaks on its main port.
type Protocol string

// The protocols.
const (
	HTTP Protocol = "http"
	GRPC Protocol = "grpc"
)

// Service is a service that can be run.
type Service struct {
	Name     string
	Protocol Protocol
	// Build makes the service's parts. It is called once, before the ports
	// open; what it got from the Runtime is closed after Parts.Close.
	Build func(ctx context.Context, rt *Runtime) (*Parts, error)
}

// Parts is what a service consists of. Every field may be left out.
type Parts struct {
	// HTTP serves the main port of an HTTP service, each request through the door.
	HTTP http.Handler
	// GRPC registers the handlers of a gRPC service. Unary calls go through the
	// door; health and reflection are there already.
	GRPC func(grpc.ServiceRegistrar)
	// Admin has further routes of the admin port, by pattern as in http.ServeMux.
	Admin map[string]http.Handler
	// Background runs beside the servers until its context ends, which is after
	// the last request has been answered. An error ends the service.
	Background []func(context.Context) error
	// Ready tells whether requests make sense now; nil means always.
	Ready func(context.Context) error
	// Close is called last.
	Close func() error
}

// Runtime is what a service gets to build itself with.
type Runtime struct {
	Name      string // of the service
	Instance  string // of this replica, such as catalog-2
	Env       Env
	Log       *slog.Logger
	Telemetry *observability.Telemetry
	// Door guards HTTP requests and gRPC calls by itself; consumers of messages call it.
	Door *Door

	clients
}

// Store opens the service's database: DATABASE_URL, or a file in DATA_DIR. It
// is closed with the service.
func (rt *Runtime) Store(ctx context.Context, schema ...string) (*store.DB, error) {
	return rt.openStore(ctx, schema)
}

// Broker connects to the broker at BROKER_ADDR. It does not wait for it. The
// policies of the edge to it apply to publishing.
func (rt *Runtime) Broker(ctx context.Context) (*broker.Client, error) {
	return rt.openBroker(ctx)
}
