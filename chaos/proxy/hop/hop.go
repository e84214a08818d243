// Package hop owns the layer-7 hop: a reverse proxy for HTTP/1.1 and gRPC
// (HTTP/2 without TLS) that stands on an edge where a run needs to tell
// requests apart. Behind an edge's proxies it brings about the faults of the
// family request; in front of them it enforces resilience policies in place of the caller,
// or measures the edge in place of a caller that does not.
//
// Without policies it adds nothing by itself: streams pass as they come, cancelling passes
// through, nothing is sent twice, and where the callee gives no answer the caller sees
// what it would see without the hop: a connection that ends (HTTP), UNAVAILABLE (gRPC).
//
// It does not know when a fault begins and ends, nor anything of other proxies
// on the edge: the hop is told where it listens and whom it calls.
package hop

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/faultline-lab/faultline/chaos"
	"github.com/faultline-lab/faultline/observability/names"
	"github.com/faultline-lab/faultline/resilience"
)

// The protocols that a hop understands.
const (
	HTTP = "http"
	GRPC = "grpc"
)

// Spec says which hop to put up.
type Spec struct {
	Edge     chaos.Edge `json:"edge"`
	Replica  int        `json:"replica"`            // of the callee, 1-based; 0 in front of all of them
	Protocol string     `json:"protocol"`           // http | grpc
	Listen   string     `json:"listen"`             // host:port; "" means a free port of 127.0.0.1
	Upstream string     `json:"upstream,omitempty"` // host:port
	// Upstreams is set in place of Upstream for a hop that enforces policies: all replicas, in their order.
	Upstreams []string         `json:"upstreams,omitempty"`
	Policies  resilience.Chain `json:"policies,omitempty"`
	Seed      uint64           `json:"seed,omitempty"` // of the policies' randomness
	// Observe makes the hop measure the edge in place of the caller. It brings no faults about then: it stands before the wire.
	Observe bool `json:"observe,omitempty"`
}

// Shared is what the hops of a process have in common. Zero values are usable.
type Shared struct {
	Rules *Rules // nil means that there are no faults
	// TracerProvider makes a span for each request that a fault hits, and for each attempt that a policy makes; nil means no spans.
	TracerProvider trace.TracerProvider
	// Registerer gets the metrics; nil means none.
	Registerer prometheus.Registerer
}

// Hop is one hop, listening.
type Hop struct {
	spec      Spec
	rules     *Rules
	guard     *guard           // nil without policies to enforce
	watch     *resilience.Edge // nil when nothing is to be measured
	tracer    trace.Tracer
	reads     propagation.TextMapPropagator
	hits      *prometheus.CounterVec
	addr      string
	server    *http.Server
	transport *http.Transport
	buffers   bufferPool
	serving   sync.WaitGroup

	mu       sync.Mutex
	closed   bool
	handling sync.WaitGroup
}

// Start puts up a hop. Close it when done.
func Start(spec Spec, shared Shared) (*Hop, error) {
	if spec.Protocol != HTTP && spec.Protocol != GRPC {
		return nil, fmt.Errorf("putting a hop on %s: it speaks %q, and a hop understands %s and %s", spec.Edge, spec.Protocol, HTTP, GRPC)
	}
	h := &Hop{spec: spec, rules: shared.Rules, reads: propagation.TraceContext{}, transport: transport(spec.Protocol)}
	if h.rules == nil {
		h.rules = NewRules()
	}
	if shared.TracerProvider == nil {
		shared.TracerProvider = noop.NewTracerProvider()
	}
	h.tracer = shared.TracerProvider.Tracer("github.com/faultline-lab/faultline/chaos/proxy/hop")
	var err error
	if spec.Observe {
		h.rules = NewRules()
		h.watch, err = resilience.NewEdge(resilience.EdgeConfig{Caller: spec.Edge.Caller, Callee: spec.Edge.Callee, Registerer: shared.Registerer})
		if err != nil {
			return nil, fmt.Errorf("putting a hop on %s: %w", spec.Edge, err)
		}
	}
	if len(spec.Upstreams) > 0 {
		if h.guard, err = newGuard(spec, shared); err != nil {
			return nil, fmt.Errorf("putting a hop on %s: %w", spec.Edge, err)
		}
	}
	if h.hits, err = hitCounter(shared.Registerer); err != nil {
		return nil, err
	}
	address := spec.Listen
	if address == "" {
		address = "127.0.0.1:0"
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("putting a hop on %s: %w", spec.Edge, err)
	}
	h.addr = listener.Addr().String()
	h.server = server(spec.Protocol, h.counted(h.handler()))
	h.serving.Go(func() { _ = h.server.Serve(listener) }) // until Close
	return h, nil
}

// Addr is where the hop listens.
func (h *Hop) Addr() string { return h.addr }

// Spec is what the hop was put up with.
func (h *Hop) Spec() Spec { return h.spec }

// Close cuts every connection and waits until what was under way has ended.
func (h *Hop) Close() error {
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	err := h.server.Close()
	h.serving.Wait()
	h.handling.Wait()
	h.transport.CloseIdleConnections()
	if err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("closing the hop of %s: %w", h.spec.Edge, err)
	}
	return nil
}

// counted lets Close wait for what is under way.
func (h *Hop) counted(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !h.enter() {
			panic(http.ErrAbortHandler)
		}
		defer h.handling.Done()
		next.ServeHTTP(w, r)
	})
}

func (h *Hop) enter() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.closed {
		h.handling.Add(1)
	}
	return !h.closed
}

func (h *Hop) handler() http.Handler {
	if h.watch != nil {
		return h.observed(h.forwarding())
	}
	return h.forwarding()
}

func (h *Hop) forwarding() http.Handler {
	switch {
	case h.guard != nil && h.spec.Protocol == GRPC:
		return h.guardGRPC()
	case h.guard != nil:
		return h.guardHTTP()
	case h.spec.Protocol == GRPC:
		return http.HandlerFunc(h.serveGRPC)
	}
	return h.httpHandler()
}

// server has no limits of its own: those of caller and callee are what is looked at.
func server(protocol string, handler http.Handler) *http.Server {
	s := &http.Server{Handler: handler, Protocols: new(http.Protocols), ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)}
	if protocol == GRPC {
		s.Protocols.SetUnencryptedHTTP2(true)
		// net/http allows 250 streams a connection; gRPC servers, any number.
		s.HTTP2 = &http.HTTP2Config{MaxConcurrentStreams: math.MaxInt32 >> 4, MaxReadFrameSize: 1 << 20}
	} else {
		s.Protocols.SetHTTP1(true)
	}
	return s
}

// idleConnections bounds the connections to the callee that are kept although nobody uses them.
const idleConnections = 256

func transport(protocol string) *http.Transport {
	dialer := &net.Dialer{Timeout: 30 * time.Second}
	t := &http.Transport{
		DialContext:         dialer.DialContext,
		DisableCompression:  true,
		MaxIdleConnsPerHost: idleConnections,
		IdleConnTimeout:     90 * time.Second,
		Protocols:           new(http.Protocols),
	}
	if protocol == GRPC {
		t.Protocols.SetUnencryptedHTTP2(true)
	} else {
		t.Protocols.SetHTTP1(true)
	}
	return t
}

func hitCounter(registerer prometheus.Registerer) (*prometheus.CounterVec, error) {
	counter := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: names.RequestFaults, Help: "Requests that a fault hit.",
	}, []string{names.Fault, names.Caller, names.Callee})
	if registerer == nil {
		return counter, nil
	}
	err := registerer.Register(counter)
	var already prometheus.AlreadyRegisteredError
	if errors.As(err, &already) {
		if existing, ok := already.ExistingCollector.(*prometheus.CounterVec); ok {
			return existing, nil // of another hop
		}
	}
	if err != nil {
		return nil, fmt.Errorf("registering metrics: %w", err)
	}
	return counter, nil
}

// bufferPool keeps what bodies are copied through: a new one for each request would
// be most of what a hop allocates. It is an httputil.BufferPool.
type bufferPool struct{ kept sync.Pool }

// Get returns a buffer of 32 KB.
func (p *bufferPool) Get() []byte {
	if kept, ok := p.kept.Get().(*[32 << 10]byte); ok {
		return kept[:]
	}
	return new([32 << 10]byte)[:]
}

// Put takes back what Get returned.
func (p *bufferPool) Put(buffer []byte) { p.kept.Put((*[32 << 10]byte)(buffer)) }

// verdict is what the faults in force want of one request. It may pass when there is none.
type verdict struct {
	refused, lost *rule
	span          trace.Span // of the answer that is to be lost
}

// end ends what is known of the request only at its end.
func (v verdict) end() {
	if v.span != nil {
		v.span.End()
	}
}

// judge asks the faults in force about a request, in order, and holds it as long as delays say.
func (h *Hop) judge(ctx context.Context, in *request) verdict {
	for _, one := range *h.rules.list.Load() {
		if !one.matches(in) {
			continue
		}
		hit, held := one.strike()
		if !hit {
			continue
		}
		h.hits.WithLabelValues(one.fault.ID, in.edge.Caller, in.edge.Callee).Inc()
		span := h.span(ctx, one, in)
		switch one.fault.Kind {
		case chaos.RequestDelay:
			wait(ctx, held, one.gone)
			span.End()
		case chaos.RequestError:
			span.End()
			return verdict{refused: one}
		default:
			return verdict{lost: one, span: span}
		}
	}
	return verdict{}
}

// wait returns after d, or when the request or the fault has gone.
func wait(ctx context.Context, d time.Duration, gone <-chan struct{}) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-gone:
	case <-ctx.Done():
	}
}

// FaultHeader is set on answers that a fault gave, to its id.
const FaultHeader = "Faultline-Fault"

// httpHandler forwards HTTP.
func (h *Hop) httpHandler() http.Handler {
	forward := h.reverseProxy()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Or net/http would read the whole request before it sends the first byte of the answer.
		_ = http.NewResponseController(w).EnableFullDuplex()
		if len(*h.rules.list.Load()) == 0 { // most of the time
			forward.ServeHTTP(w, r)
			return
		}
		v := h.judge(r.Context(), h.asked(r))
		defer v.end()
		switch {
		case v.refused != nil:
			refuse(w, v.refused)
		case v.lost != nil:
			forward.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), lostKey{}, v.lost)))
		default:
			forward.ServeHTTP(w, r)
		}
	})
}

func refuse(w http.ResponseWriter, by *rule) {
	status := int(by.fault.Params.Int("status"))
	w.Header().Set(FaultHeader, by.fault.ID)
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(by.message())))
	w.WriteHeader(status)
	_, _ = io.WriteString(w, by.message()) // the caller has gone if it fails
}

// message is what an answer that a fault gave says.
func (r *rule) message() string { return "answered by the fault " + r.fault.ID }
