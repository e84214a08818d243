package observability

import (
	"context"
	"errors"
	"io"
	"log/slog"

	"go.opentelemetry.io/otel/trace"
)

// logHandler sends every record to one handler and what an operator should see
// to another.
type logHandler struct {
	all   slog.Handler // OTLP: it takes the trace and span from the context
	alarm slog.Handler // JSON for whoever reads the process's output
}

func newLogHandler(all slog.Handler, w io.Writer, cfg Config) *logHandler {
	alarm := slog.NewJSONHandler(w, &slog.HandlerOptions{Level: slog.LevelWarn})
	return &logHandler{all: all, alarm: alarm.WithAttrs([]slog.Attr{
		slog.String("service", cfg.Service), slog.String("instance", cfg.Instance),
	})}
}

func (h *logHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.all.Enabled(ctx, level) || h.alarm.Enabled(ctx, level)
}

func (h *logHandler) Handle(ctx context.Context, record slog.Record) error {
	var errs []error
	if h.all.Enabled(ctx, record.Level) {
		errs = append(errs, h.all.Handle(ctx, record))
	}
	if h.alarm.Enabled(ctx, record.Level) {
		record = record.Clone()
		if span := trace.SpanContextFromContext(ctx); span.IsValid() {
			record.AddAttrs(slog.String("trace_id", span.TraceID().String()), slog.String("span_id", span.SpanID().String()))
		}
		errs = append(errs, h.alarm.Handle(ctx, record))
	}
	return errors.Join(errs...)
}

func (h *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &logHandler{all: h.all.WithAttrs(attrs), alarm: h.alarm.WithAttrs(attrs)}
}

func (h *logHandler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	return &logHandler{all: h.all.WithGroup(name), alarm: h.alarm.WithGroup(name)}
}
