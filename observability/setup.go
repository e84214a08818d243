package observability

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/contrib/bridges/otelslog"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/faultline-lab/faultline/observability/names"
)

// scope names this program's own code among instrumentation libraries.
const scope = "github.com/faultline-lab/faultline"

// shutdownLimit bounds Shutdown whatever its context allows: a program that
// is asked to stop must not wait for a collector.
const shutdownLimit = 2 * time.Second

// Telemetry is one program's telemetry. Its fields are never nil and are safe
// for concurrent use.
type Telemetry struct {
	Log            *slog.Logger                  // every record over OTLP; WARN and above also on stderr, as JSON
	Registry       *prometheus.Registry          // holds the Go and process collectors already
	TracerProvider trace.TracerProvider          // hand it to instrumentation libraries
	Propagator     propagation.TextMapPropagator // W3C tracecontext and baggage

	traces   *sdktrace.TracerProvider
	logs     *sdklog.LoggerProvider
	pipeline *pipeline // nil when nothing is exported
	profiler *profiler // nil when nothing is profiled
	spans    *drops
	records  *drops
	once     sync.Once
	result   error
}

// Setup makes telemetry for one program and starts exporting. It does not
// wait for the collector; an endpoint or a ratio that cannot be meant is an
// error. Call Shutdown when done.
func Setup(ctx context.Context, cfg Config) (*Telemetry, error) {
	return setup(ctx, cfg, os.Stderr)
}

func setup(ctx context.Context, cfg Config, stderr io.Writer) (*Telemetry, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("setting up telemetry: %w", err)
	}
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	t := &Telemetry{
		Registry:   reg,
		Propagator: propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{}),
		spans:      newDrops(reg, names.SpansDropped, "Spans that ended but did not reach the collector."),
		records:    newDrops(reg, names.LogsDropped, "Log records that did not reach the collector."),
	}
	quiet := newLogHandler(slog.DiscardHandler, stderr, cfg)
	if err := t.start(ctx, cfg, slog.New(quiet)); err != nil {
		return nil, fmt.Errorf("setting up telemetry: %w", errors.Join(err, t.Shutdown(ctx)))
	}
	bridge := otelslog.NewHandler(scope, otelslog.WithLoggerProvider(t.logs))
	t.Log = slog.New(newLogHandler(bridge, stderr, cfg))
	return t, nil
}

// start makes the providers. What it made before an error is Shutdown's to end.
func (t *Telemetry) start(ctx context.Context, cfg Config, log *slog.Logger) error {
	res := describe(cfg)
	traces := []sdktrace.TracerProviderOption{
		sdktrace.WithResource(res),
		sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(cfg.SampleRatio))),
	}
	logs := []sdklog.LoggerProviderOption{sdklog.WithResource(res)}
	if cfg.Endpoint != "" {
		p, err := newPipeline(cfg.Endpoint, t.spans, t.records, &complaint{log: log})
		if err != nil {
			return err
		}
		t.pipeline = p
		spans, err := p.spanProcessor(ctx)
		if err != nil {
			return err
		}
		traces = append(traces, sdktrace.WithSpanProcessor(spans))
		t.traces = sdktrace.NewTracerProvider(traces...)
		records, err := p.logProcessor(ctx)
		if err != nil {
			return err
		}
		logs = append(logs, sdklog.WithProcessor(records))
	} else {
		t.traces = sdktrace.NewTracerProvider(traces...)
	}
	t.TracerProvider = t.traces
	t.logs = sdklog.NewLoggerProvider(logs...)
	if cfg.PyroscopeURL == "" {
		return nil
	}
	var err error
	t.profiler, err = startProfiler(cfg, &complaint{log: log})
	return err
}

// describe gives the resource that spans and log records belong to.
func describe(cfg Config) *resource.Resource {
	attributes := make([]attribute.KeyValue, 0, len(cfg.Attributes)+6)
	for key, value := range cfg.Attributes {
		attributes = append(attributes, attribute.String(key, value))
	}
	return resource.NewSchemaless(append(attributes,
		attribute.String("service.name", cfg.Service),
		attribute.String("service.instance.id", cfg.Instance),
		attribute.Int("process.pid", os.Getpid()),
		attribute.String("telemetry.sdk.name", "opentelemetry"),
		attribute.String("telemetry.sdk.language", "go"),
		attribute.String("telemetry.sdk.version", sdk.Version()),
	)...)
}

// Tracer makes the program's own spans.
func (t *Telemetry) Tracer() trace.Tracer { return t.TracerProvider.Tracer(scope) }

// MetricsHandler serves the registry for scraping, as OpenMetrics with
// exemplars to those who accept it. What cannot be gathered is left out and
// the rest is served.
func (t *Telemetry) MetricsHandler() http.Handler {
	return promhttp.HandlerFor(t.Registry, promhttp.HandlerOpts{
		EnableOpenMetrics: true,
		ErrorHandling:     promhttp.ContinueOnError,
		ErrorLog:          slog.NewLogLogger(t.Log.Handler(), slog.LevelWarn),
	})
}

// Dropped says how many spans and log records were lost so far.
func (t *Telemetry) Dropped() (spans, logs int64) {
	return t.spans.total.Load(), t.records.total.Load()
}

// Shutdown sends what waits and ends all exporting. It takes at most two
// seconds, less if ctx ends before; what could not be sent by then is counted
// as dropped. What the program makes afterwards goes nowhere. Further calls
// return the first one's result.
func (t *Telemetry) Shutdown(ctx context.Context) error {
	t.once.Do(func() { t.result = t.shutdown(ctx) })
	return t.result
}

func (t *Telemetry) shutdown(ctx context.Context) error {
	limit, cancel := context.WithTimeout(ctx, shutdownLimit)
	defer cancel()
	var wait sync.WaitGroup
	errs := make([]error, 4)
	if t.profiler != nil {
		wait.Go(func() { errs[0] = t.profiler.stop(limit) })
	}
	// The SDK returns at its context's end and leaves exports running. Here the
	// limit ends the exports themselves, so that the SDK is done when it returns.
	if t.pipeline != nil {
		unhook := context.AfterFunc(limit, t.pipeline.stop)
		defer unhook()
	}
	unhurried := context.WithoutCancel(ctx)
	if t.traces != nil {
		wait.Go(func() { errs[1] = t.traces.Shutdown(unhurried) })
	}
	if t.logs != nil {
		wait.Go(func() { errs[2] = t.logs.Shutdown(unhurried) })
	}
	wait.Wait()
	if t.pipeline != nil {
		errs[3] = t.pipeline.close()
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("shutting telemetry down: %w", err)
	}
	return nil
}
