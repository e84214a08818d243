package outbox

import (
	"context"
	"encoding/json"

	"go.opentelemetry.io/otel/propagation"
)

// WriteTrace writes down the trace that ctx belongs to, so that work that a row stands for can
// carry it on later, in another life of the process.
func WriteTrace(ctx context.Context, p propagation.TextMapPropagator) string {
	carrier := propagation.MapCarrier{}
	p.Inject(ctx, carrier)
	data, err := json.Marshal(carrier)
	if err != nil { // a map of strings can always be written
		return "{}"
	}
	return string(data)
}

// ReadTrace returns ctx as part of the trace that was written down; ctx itself when that cannot be read.
func ReadTrace(ctx context.Context, p propagation.TextMapPropagator, trace string) context.Context {
	carrier := propagation.MapCarrier{}
	if err := json.Unmarshal([]byte(trace), &carrier); err != nil {
		return ctx
	}
	return p.Extract(ctx, carrier)
}
