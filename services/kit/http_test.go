package kit

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/embedded"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/faultline-lab/faultline/observability"
	"github.com/faultline-lab/faultline/resilience"
)

// spans keeps the names and attributes of the spans that are made with it.
type spans struct {
	embedded.TracerProvider
	mu  sync.Mutex
	all []*seenSpan
}

type spanMaker struct {
	embedded.Tracer
	*spans
}

type seenSpan struct {
	noop.Span
	mu         sync.Mutex
	name       string
	attributes map[string]string
}

func (s *spans) Tracer(string, ...trace.TracerOption) trace.Tracer { return spanMaker{spans: s} }

func (m spanMaker) Start(ctx context.Context, name string, opts ...trace.SpanStartOption) (context.Context, trace.Span) {
	span := &seenSpan{name: name, attributes: map[string]string{}}
	config := trace.NewSpanStartConfig(opts...)
	span.SetAttributes(config.Attributes()...)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.all = append(m.all, span)
	return trace.ContextWithSpan(ctx, span), span
}

func (s *seenSpan) SpanContext() trace.SpanContext {
	return trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{0xab}, SpanID: trace.SpanID{1}})
}

func (s *seenSpan) SetName(name string) { s.name = name }

func (s *seenSpan) SetAttributes(kv ...attribute.KeyValue) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range kv {
		s.attributes[string(a.Key)] = a.Value.String()
	}
}

// testServer is an HTTP server of its own around a handler, with what it traced.
func testServer(t *testing.T, capacity Capacity, policies resilience.Chain, handler http.Handler) (*httpServer, *spans) {
	t.Helper()
	traced, reg := &spans{}, prometheus.NewRegistry()
	door, err := NewDoor(DoorConfig{Service: "a", Capacity: capacity, Policies: policies, Registerer: reg})
	if err != nil {
		t.Fatal(err)
	}
	rt := &Runtime{Name: "a", Door: door, Log: slog.New(slog.DiscardHandler), Telemetry: &observability.Telemetry{
		Registry: reg, TracerProvider: traced, Propagator: propagation.TraceContext{}}}
	server, err := newHTTPServer(rt, handler)
	if err != nil {
		t.Fatal(err)
	}
	return server, traced
}

// TestWhatTheDoorRefuses wants an answer and a span of the right form from requests that never reached their handler.
func TestWhatTheDoorRefuses(t *testing.T) {
	limit, problems := resilience.Parse("rate_limit", map[string]any{"rate": "1/s", "burst": 1})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	tests := []struct {
		name          string
		capacity      Capacity
		policies      resilience.Chain
		method, path  string
		status        int
		detail, span  string
		route, verb   string
		originalNamed bool
	}{
		{"the queue is full", Capacity{Workers: 1}, nil, "GET", "/products/p-1", 503, ErrShed.Error(), "GET /products/{id}", "/products/{id}", "GET", false},
		{"a rate limit", Capacity{}, resilience.Chain{limit}, "GET", "/products/p-1", 429, "a: rate_limit exceeded", "GET /products/{id}", "/products/{id}", "GET", false},
		{"no such route", Capacity{Workers: 1}, nil, "GET", "/nowhere", 503, ErrShed.Error(), "GET", "", "GET", false},
		{"no such method", Capacity{Workers: 1}, nil, "BREW", "/pot", 503, ErrShed.Error(), "HTTP /pot", "/pot", "_OTHER", true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			inside, leave := make(chan struct{}), make(chan struct{})
			mux := http.NewServeMux()
			mux.HandleFunc("GET /products/{id}", func(http.ResponseWriter, *http.Request) { close(inside); <-leave })
			mux.HandleFunc("/pot", func(http.ResponseWriter, *http.Request) {})
			server, traced := testServer(t, test.capacity, test.policies, mux)
			var first sync.WaitGroup
			first.Go(func() { server.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/products/p-0", nil)) })
			<-inside
			w := httptest.NewRecorder()
			server.ServeHTTP(w, httptest.NewRequest(test.method, test.path, nil))
			close(leave)
			first.Wait()

			var got struct {
				Title, Detail string
				Status        int
				TraceID       string `json:"trace_id"`
			}
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Header().Get("Content-Type") != "application/problem+json" {
				t.Fatalf("%v: %s %s", err, w.Header(), w.Body)
			}
			if w.Code != test.status || got.Status != test.status || got.Title != http.StatusText(test.status) || got.Detail != test.detail || got.TraceID[:2] != "ab" {
				t.Errorf("%d %+v", w.Code, got)
			}
			if w.Header().Get("Retry-After") != "1" {
				t.Errorf("headers %v", w.Header())
			}
			span := traced.all[1]
			route, named := span.attributes["http.route"]
			_, original := span.attributes["http.request.method_original"]
			if span.name != test.span || route != test.route || named != (test.route != "") || span.attributes["http.request.method"] != test.verb || original != test.originalNamed {
				t.Errorf("span %q %v", span.name, span.attributes)
			}
		})
	}
}

// TestAPanicIsAProblemToo wants the same form, and no word of the panic, and the route of the handler that panicked.
func TestAPanicIsAProblemToo(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /products/{id}", func(http.ResponseWriter, *http.Request) { panic("secret") })
	server, traced := testServer(t, Capacity{}, nil, mux)
	w := httptest.NewRecorder()
	server.ServeHTTP(w, httptest.NewRequest("GET", "/products/p-1", nil))
	var got struct{ Title, Detail string }
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != 500 || got.Detail != "internal error" || w.Header().Get("Retry-After") != "" {
		t.Errorf("%v: %d %s %v", err, w.Code, w.Body, w.Header())
	}
	if name := traced.all[0].name; name != "GET /products/{id}" {
		t.Errorf("span %q", name)
	}
}
