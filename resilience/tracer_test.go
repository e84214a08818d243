package resilience

import (
	"context"
	"sync"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/embedded"
	"go.opentelemetry.io/otel/trace/noop"
)

// tracer keeps the spans that are made with it.
type tracer struct {
	embedded.TracerProvider
	mu    sync.Mutex
	spans []*span
}

func (t *tracer) Tracer(string, ...trace.TracerOption) trace.Tracer { return starter{tracer: t} }

type starter struct {
	embedded.Tracer
	*tracer
}

func (t *tracer) Start(ctx context.Context, name string, opts ...trace.SpanStartOption) (context.Context, trace.Span) {
	t.mu.Lock()
	defer t.mu.Unlock()
	id := byte(len(t.spans) + 1)
	config := trace.NewSpanStartConfig(opts...)
	s := &span{name: name, kind: config.SpanKind(), parent: trace.SpanContextFromContext(ctx).SpanID(), attributes: map[string]string{}}
	s.context = trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{id}, TraceFlags: trace.FlagsSampled})
	s.SetAttributes(config.Attributes()...)
	t.spans = append(t.spans, s)
	return trace.ContextWithSpan(ctx, s), s
}

type span struct {
	noop.Span
	mu         sync.Mutex
	name       string
	kind       trace.SpanKind
	context    trace.SpanContext
	parent     trace.SpanID
	attributes map[string]string
	status     codes.Code
	events     []string
	ended      bool
}

func (s *span) SpanContext() trace.SpanContext { return s.context }
func (s *span) IsRecording() bool              { return true }
func (s *span) SetAttributes(kv ...attribute.KeyValue) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range kv {
		s.attributes[string(a.Key)] = a.Value.String()
	}
}
func (s *span) SetStatus(code codes.Code, _ string) { s.status = code }
func (s *span) AddEvent(name string, opts ...trace.EventOption) {
	config := trace.NewEventConfig(opts...)
	for _, a := range config.Attributes() {
		name += " " + string(a.Key) + "=" + a.Value.String()
	}
	s.events = append(s.events, name)
}
func (s *span) End(...trace.SpanEndOption) { s.ended = true }
