package hop

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httputil"

	"go.opentelemetry.io/otel/propagation"

	"github.com/faultline-lab/faultline/resilience"
)

// guard is what a hop does that stands in front of an edge's proxies: it has
// the edge's policies, in place of the caller, and sends each attempt to a replica.
//
//	caller -> guard -> proxy of the replica (the wire) -> callee
//
// So what goes wrong on the wire happens between the policies and the callee, as it does when the
// caller has them itself.
type guard struct {
	edge  *resilience.Edge
	reads propagation.TextMapPropagator
}

func newGuard(spec Spec, shared Shared) (*guard, error) {
	for _, problem := range spec.Policies.CheckInProxy(spec.Protocol) {
		return nil, fmt.Errorf("policies of %s: %w", spec.Edge, problem)
	}
	edge, err := resilience.NewEdge(resilience.EdgeConfig{
		Caller: spec.Edge.Caller, Callee: spec.Edge.Callee, Chain: spec.Policies, Seed: spec.Seed,
		Registerer: shared.Registerer, TracerProvider: shared.TracerProvider,
	})
	if err != nil {
		return nil, err
	}
	return &guard{edge: edge, reads: propagation.TraceContext{}}, nil
}

// balanced sends each attempt to the replica that the edge picks.
type balanced struct {
	edge  *resilience.Edge
	addrs []string
	base  http.RoundTripper
}

// RoundTrip sends one attempt, whose request is its own.
func (b *balanced) RoundTrip(r *http.Request) (*http.Response, error) {
	r.URL.Host = b.addrs[b.edge.Pick(r.Context(), len(b.addrs))]
	return b.base.RoundTrip(r)
}

// guardHTTP puts the edge's policies around each request.
func (h *Hop) guardHTTP() http.Handler {
	forward := &httputil.ReverseProxy{
		Rewrite:    h.rewrite,
		Transport:  h.guard.edge.RoundTripper(&balanced{edge: h.guard.edge, addrs: h.spec.Upstreams, base: once{h.transport}}),
		BufferPool: &h.buffers,
		ErrorLog:   slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug),
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if r.Context().Err() != nil {
				panic(http.ErrAbortHandler) // the caller has gone
			}
			code := http.StatusBadGateway
			var rejection *resilience.Rejection
			if errors.As(err, &rejection) {
				code = rejection.HTTPStatus()
			}
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			w.WriteHeader(code)
			_, _ = io.WriteString(w, err.Error()) // the caller has gone if it fails
		},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := h.guard.reads.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
		forward.ServeHTTP(w, r.WithContext(ctx))
	})
}

// guardGRPC puts the edge's policies around each call.
func (h *Hop) guardGRPC() http.Handler {
	tripper := h.guard.edge.GRPCRoundTripper(&balanced{edge: h.guard.edge, addrs: h.spec.Upstreams, base: h.transport})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := h.guard.reads.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
		answer, err := tripper.RoundTrip(h.outgoing(r.WithContext(ctx)))
		var rejection *resilience.Rejection
		switch {
		case err == nil:
			h.pass(w, r, answer)
		case r.Context().Err() == nil && errors.As(err, &rejection):
			status(w, rejection.Code, rejection.Error())
		default:
			noAnswer(w, r, err)
		}
	})
}
