package kit

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/faultline-lab/faultline/observability/names"
	"github.com/faultline-lab/faultline/resilience"
)

// Limits of requests, so that none can take the memory of all.
const (
	maxBody       = 1 << 20
	maxHeader     = 64 << 10
	headerTimeout = 10 * time.Second
	idleTimeout   = 2 * time.Minute
)

// httpServer puts span, metrics and door around the service's handler.
type httpServer struct {
	rt       *Runtime
	handler  http.Handler
	duration *prometheus.HistogramVec
}

func newHTTPServer(rt *Runtime, handler http.Handler) (*httpServer, error) {
	s := &httpServer{rt: rt, handler: handler, duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: names.HTTPServerDuration, Help: "Duration of HTTP server requests, waiting at the door included.", Buckets: resilience.Buckets(),
	}, []string{"http_request_method", "http_route", "http_response_status_code"})}
	return s, rt.Telemetry.Registry.Register(s.duration)
}

// ServeHTTP serves one request.
func (s *httpServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	ctx := s.rt.Telemetry.Propagator.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
	ctx, span := s.rt.Telemetry.Tracer().Start(ctx, spanName(r.Method, ""), trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(
		semconv.HTTPRequestMethodKey.String(method(r.Method)), semconv.URLPath(r.URL.Path), semconv.ClientAddress(r.RemoteAddr)))
	defer span.End()
	span.SetAttributes(marks(ctx)...)
	ctx, cancel := s.deadline(ctx, r)
	defer cancel()

	recorder := &recorder{ResponseWriter: w}
	r = r.WithContext(ctx)
	r.Body = http.MaxBytesReader(recorder, r.Body, maxBody)
	route := s.serve(recorder, r)

	if recorder.status == 0 {
		recorder.status = http.StatusOK // what net/http sends when the handler wrote nothing
	}
	resilience.Observe(ctx, s.duration.WithLabelValues(method(r.Method), route, strconv.Itoa(recorder.status)), time.Since(began).Seconds())
	if route != "" {
		span.SetName(spanName(r.Method, route))
		span.SetAttributes(semconv.HTTPRoute(route))
	}
	if known := method(r.Method); known != r.Method {
		span.SetAttributes(semconv.HTTPRequestMethodOriginal(r.Method))
	}
	span.SetAttributes(semconv.HTTPResponseStatusCode(recorder.status))
	if recorder.status >= 500 {
		span.SetStatus(codes.Error, "")
		s.rt.Log.InfoContext(ctx, "request failed", "method", r.Method, "route", route, "status", recorder.status)
	}
}

// deadline takes over the deadline of the caller, where a policy of the door wants it.
func (s *httpServer) deadline(ctx context.Context, r *http.Request) (context.Context, context.CancelFunc) {
	if s.rt.Door.policies.KeepsDeadline() {
		if ms, err := strconv.ParseInt(r.Header.Get(resilience.DeadlineHeader), 10, 32); err == nil && ms > 0 {
			return context.WithTimeout(ctx, time.Duration(ms)*time.Millisecond)
		}
	}
	return ctx, func() {}
}

// serve passes the request through the door and returns its route.
func (s *httpServer) serve(w *recorder, r *http.Request) (route string) {
	ctx := r.Context()
	defer func() {
		if p := recover(); p != nil {
			s.rt.Log.ErrorContext(ctx, "handler panicked", "panic", p, "stack", string(debug.Stack()))
			w.refuse(ctx, http.StatusInternalServerError, "internal error")
		}
	}()
	err := s.rt.Door.Do(ctx, func(ctx context.Context) error {
		inner := r.WithContext(ctx)
		inner.Pattern = ""
		defer func() { route = pathOf(inner.Pattern) }() // set by http.ServeMux, also when a handler panics
		s.handler.ServeHTTP(w, inner)
		return nil
	})
	if err != nil {
		w.refuse(ctx, refusalStatus(err), err.Error())
	}
	if route == "" { // the handler was never asked
		route = s.routeOf(r)
	}
	return route
}

// routeOf is the route that the request would have taken, as far as the handler can tell.
func (s *httpServer) routeOf(r *http.Request) string {
	mux, ok := s.handler.(interface {
		Handler(*http.Request) (http.Handler, string)
	})
	if !ok {
		return ""
	}
	_, pattern := mux.Handler(r)
	return pathOf(pattern)
}

// spanName is what the semantic conventions call a request's span: "GET /products/{id}", or "GET" while no route is known.
func spanName(verb, route string) string {
	if verb = method(verb); verb == otherMethod {
		verb = "HTTP"
	}
	if route == "" {
		return verb
	}
	return verb + " " + route
}

// refusalStatus is the status of a request that the door did not let through to its end.
func refusalStatus(err error) int {
	var rejection *resilience.Rejection
	switch {
	case errors.As(err, &rejection):
		return rejection.HTTPStatus()
	case errors.Is(err, context.DeadlineExceeded):
		return http.StatusGatewayTimeout
	}
	return http.StatusServiceUnavailable
}

// pathOf cuts method and host off a pattern of http.ServeMux: "GET /products/{id}".
func pathOf(pattern string) string {
	if at := strings.IndexByte(pattern, '/'); at >= 0 {
		return pattern[at:]
	}
	return ""
}

// method bounds the values of the label, as the conventions ask.
func method(m string) string {
	switch m {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodConnect, http.MethodOptions, http.MethodTrace:
		return m
	}
	return otherMethod
}

// otherMethod stands for every method that HTTP does not know.
const otherMethod = "_OTHER"

// marks returns what the baggage says of the request, such as the load it belongs to, for its span.
func marks(ctx context.Context) []attribute.KeyValue {
	var out []attribute.KeyValue
	for _, member := range baggage.FromContext(ctx).Members() {
		if strings.HasPrefix(member.Key(), "faultline.") {
			out = append(out, attribute.String(member.Key(), member.Value()))
		}
	}
	return out
}

// recorder notes what was written.
type recorder struct {
	http.ResponseWriter
	status int
}

// WriteHeader notes the status.
func (r *recorder) WriteHeader(status int) {
	if r.status == 0 && status >= 200 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

// Write notes that the answer has begun.
func (r *recorder) Write(data []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	return r.ResponseWriter.Write(data)
}

// Unwrap lets http.ResponseController reach the connection.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// retryAfter is when, in seconds, a request that was refused for want of capacity may be worth sending again. Queues
// are emptied and limits renewed within a second.
const retryAfter = "1"

// refuse answers with a problem as RFC 9457 has it, unless an answer has begun.
func (r *recorder) refuse(ctx context.Context, status int, detail string) {
	if r.status != 0 {
		return
	}
	problem := struct {
		Title   string `json:"title"`
		Status  int    `json:"status"`
		Detail  string `json:"detail"`
		TraceID string `json:"trace_id,omitempty"`
	}{Title: http.StatusText(status), Status: status, Detail: detail}
	if span := trace.SpanContextFromContext(ctx); span.HasTraceID() {
		problem.TraceID = span.TraceID().String()
	}
	r.Header().Set("Content-Type", "application/problem+json")
	if status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests {
		r.Header().Set("Retry-After", retryAfter)
	}
	r.WriteHeader(status)
	_ = json.NewEncoder(r).Encode(problem) // a client who has gone is no error of ours
}
