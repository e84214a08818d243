package kit

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"google.golang.org/grpc"

	"github.com/faultline-lab/faultline/observability"
	"github.com/faultline-lab/faultline/observability/names"
	"github.com/faultline-lab/faultline/resilience"
	"github.com/faultline-lab/faultline/services/kit/broker"
	"github.com/faultline-lab/faultline/services/kit/store"
)

// clients is the part of a Runtime that reaches others and remembers what to close.
type clients struct {
	mu      sync.Mutex
	edges   map[string]*resilience.Edge
	grpc    map[string]*grpc.ClientConn
	http    map[string]*http.Client
	closers []func() error
	admin   map[string]http.Handler // routes of the admin port that came with what was opened

	settings settings
}

func newRuntime(svc Service, env Env, s settings, telemetry *observability.Telemetry) (*Runtime, error) {
	instance := observability.ConfigFromEnv(env.Get).Instance
	if instance == "" {
		instance = svc.Name
	}
	door, err := NewDoor(DoorConfig{
		Service:    svc.Name,
		Capacity:   s.capacity,
		Policies:   s.policies[svc.Name],
		Registerer: telemetry.Registry,
		Seed:       s.seed + uint64(s.replica),
	})
	if err != nil {
		return nil, err
	}
	return &Runtime{
		Name: svc.Name, Instance: instance, Env: env, Log: telemetry.Log, Telemetry: telemetry, Door: door,
		clients: clients{
			edges: map[string]*resilience.Edge{}, grpc: map[string]*grpc.ClientConn{}, http: map[string]*http.Client{}, admin: map[string]http.Handler{},
			settings: s,
		},
	}, nil
}

// Rand returns randomness for the service's own use, repeatable by SEED and
// different for each service and replica. It is safe for concurrent use.
func (rt *Runtime) Rand() *rand.Rand {
	return resilience.Seeded(rt.settings.seed+uint64(rt.settings.replica), "service "+rt.Name)
}

// Edge returns the caller's side of the edge to a callee, for protocols of the service's own.
func (rt *Runtime) Edge(callee string) (*resilience.Edge, error) {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	return rt.edge(callee)
}

func (rt *Runtime) edge(callee string) (*resilience.Edge, error) {
	if edge, ok := rt.edges[callee]; ok {
		return edge, nil
	}
	name := rt.Name + "->" + callee
	registerer := prometheus.Registerer(rt.Telemetry.Registry)
	if slices.Contains(rt.settings.elsewhere, name) {
		registerer = nil // or whoever measures it, and this, would count each call twice
	}
	edge, err := resilience.NewEdge(resilience.EdgeConfig{
		Caller: rt.Name, Callee: callee,
		Chain:          rt.settings.policies[name],
		Registerer:     registerer,
		TracerProvider: rt.Telemetry.TracerProvider,
		Propagator:     rt.Telemetry.Propagator,
		Seed:           rt.settings.seed + uint64(rt.settings.replica),
		Log:            rt.Log,
	})
	if err != nil {
		return nil, err
	}
	rt.edges[callee] = edge
	return edge, nil
}

// edgeFor is the edge, of which every policy must be able to act on the protocol.
func (rt *Runtime) edgeFor(callee string, protocol Protocol) (*resilience.Edge, error) {
	name := rt.Name + "->" + callee
	for _, problem := range rt.settings.policies[name].Check(resilience.OnEdge, string(protocol)) {
		return nil, fmt.Errorf("policies of %s: %w", name, problem)
	}
	return rt.edge(callee)
}

// GRPC returns the connection to a callee, the same at each call: over
// the replicas of <CALLEE>_ADDR, in turn unless the edge balances otherwise, with the policies, metrics and spans of the edge. It does not wait for the callee.
func (rt *Runtime) GRPC(callee string) (*grpc.ClientConn, error) {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	if conn, ok := rt.grpc[callee]; ok {
		return conn, nil
	}
	addrs, err := rt.Env.Addrs(callee)
	if err != nil {
		return nil, err
	}
	edge, err := rt.edgeFor(callee, GRPC)
	if err != nil {
		return nil, err
	}
	there, err := rt.discover(callee, len(addrs))
	if err != nil {
		return nil, err
	}
	conn, err := dialGRPC(callee, addrs, there, edge)
	if err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", callee, err)
	}
	rt.grpc[callee] = conn
	rt.closers = append(rt.closers, conn.Close)
	return conn, nil
}

// HTTP returns the client for a callee, for URLs http://<callee>/path: over the
// replicas of <CALLEE>_ADDR, in turn unless the edge balances otherwise, with the policies, metrics and spans of the edge. It has no
// timeout of its own and follows no redirect.
func (rt *Runtime) HTTP(callee string) (*http.Client, error) {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	return rt.httpClient(callee)
}

// httpClient is HTTP, with mu held.
func (rt *Runtime) httpClient(callee string) (*http.Client, error) {
	if client, ok := rt.http[callee]; ok {
		return client, nil
	}
	addrs, err := rt.Env.Addrs(callee)
	if err != nil {
		return nil, err
	}
	edge, err := rt.edgeFor(callee, HTTP)
	if err != nil {
		return nil, err
	}
	there, err := rt.discover(callee, len(addrs))
	if err != nil {
		return nil, err
	}
	transport := newTransport()
	client := &http.Client{
		Transport:     edge.RoundTripper(&replicas{addrs: addrs, there: there, edge: edge, base: transport}),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	rt.http[callee] = client
	rt.closers = append(rt.closers, func() error { transport.CloseIdleConnections(); return nil })
	return client, nil
}

func (rt *Runtime) openStore(ctx context.Context, schema []string) (*store.DB, error) {
	cfg := store.Config{URL: rt.Env["DATABASE_URL"], Schema: schema, Delay: rt.settings.storeDelay, Readers: rt.settings.storeReaders, Registerer: rt.Telemetry.Registry}
	switch dir := rt.Env["DATA_DIR"]; dir {
	case "", ":memory:":
		cfg.Path = ":memory:"
	default:
		cfg.Path = filepath.Join(dir, rt.Name+".db")
	}
	db, err := store.Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	rt.onClose(db.Close)
	rt.mu.Lock()
	defer rt.mu.Unlock()
	rt.admin["PUT /store"] = http.HandlerFunc(db.ServeDelay)
	return db, nil
}

func (rt *Runtime) openBroker(ctx context.Context) (*broker.Client, error) {
	addrs, err := rt.Env.Addrs("broker")
	if err != nil {
		return nil, err
	}
	edge, err := rt.Edge("broker")
	if err != nil {
		return nil, err
	}
	client, err := broker.Connect(ctx, broker.Config{
		Addrs: addrs, Name: rt.Instance, Log: rt.Log,
		Registerer:     rt.Telemetry.Registry,
		TracerProvider: rt.Telemetry.TracerProvider,
		Propagator:     rt.Telemetry.Propagator,
		Around:         edge.Do,
		Attributes:     []attribute.KeyValue{attribute.String(names.AttrEdge, edge.Name())},
	})
	if err != nil {
		return nil, err
	}
	rt.onClose(client.Close)
	return client, nil
}

func (rt *Runtime) onClose(closer func() error) {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	rt.closers = append(rt.closers, closer)
}

// close closes everything that was opened, last opened first.
func (rt *Runtime) close() error {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	var errs []error
	for i := len(rt.closers) - 1; i >= 0; i-- {
		errs = append(errs, rt.closers[i]())
	}
	rt.closers = nil
	return errors.Join(errs...)
}
