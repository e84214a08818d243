package kit

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
)

// observe records seconds, with the trace as the exemplar when it is sampled.
func observe(ctx context.Context, histogram prometheus.Observer, seconds float64) {
	span := trace.SpanContextFromContext(ctx)
	if exemplary, ok := histogram.(prometheus.ExemplarObserver); ok && span.IsSampled() {
		exemplary.ObserveWithExemplar(seconds, prometheus.Labels{"trace_id": span.TraceID().String()})
		return
	}
	histogram.Observe(seconds)
}
