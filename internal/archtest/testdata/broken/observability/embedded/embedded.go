package embedded

import (
	"github.com/prometheus/client_golang/prometheus"
	_ "github.com/prometheus/prometheus/tsdb"
	_ "go.opentelemetry.io/otel/sdk/trace"
)

var _ = prometheus.NewRegistry()
