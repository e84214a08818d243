package run

import (
	"time"

	"github.com/Shopify/toxiproxy/v2/toxics"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/tsdb"
	vegeta "github.com/tsenart/vegeta/v12/lib"
	"go.opentelemetry.io/otel/sdk/trace"
	sdklog "go.opentelemetry.io/otel/sdk/log"
)

var (
	_ = time.Now
	_ = toxics.Register
	_ = prometheus.NewRegistry()
	_ = prometheus.NewCounter
	_ = tsdb.Open
	_ = vegeta.Rate{}
	_ = trace.NewTracerProvider
	_ = sdklog.NewLoggerProvider
)
