package observability

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploggrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	collogspb "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	coltracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// How telemetry travels: often, so that whoever watches sees the present, and
// in small queues, for fifteen programs share a machine.
const (
	exportInterval = time.Second
	exportTimeout  = 5 * time.Second
	spanQueue      = 4096
	logQueue       = 2048
	exportBatch    = 512
)

// pipeline carries spans and log records to one collector over one connection.
type pipeline struct {
	conn  *grpc.ClientConn
	ctx   context.Context // ends when exporting must stop, whatever is left
	stop  context.CancelFunc
	spans *window
	logs  *window

	complaint *complaint
}

func newPipeline(endpoint string, spans, logs *drops, complain *complaint) (*pipeline, error) {
	address, secure, err := target(endpoint)
	if err != nil {
		return nil, err
	}
	creds := insecure.NewCredentials()
	if secure {
		creds = credentials.NewTLS(nil)
	}
	p := &pipeline{
		spans: &window{limit: spanQueue, drops: spans},
		logs:  &window{limit: logQueue, drops: logs},

		complaint: complain,
	}
	reconnect := backoff.DefaultConfig
	reconnect.BaseDelay, reconnect.MaxDelay = 200*time.Millisecond, 2*time.Second
	p.conn, err = grpc.NewClient(address,
		grpc.WithTransportCredentials(creds),
		grpc.WithNoProxy(),
		grpc.WithUnaryInterceptor(p.countRejected),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: reconnect, MinConnectTimeout: 2 * time.Second}),
		grpc.WithReadBufferSize(4<<10), // answers are tiny
		grpc.WithUserAgent("faultline-observability"))
	if err != nil {
		return nil, fmt.Errorf("otlp endpoint %q: %w", endpoint, err)
	}
	p.ctx, p.stop = context.WithCancel(context.Background())
	return p, nil
}

// countRejected takes partial success out of an answer and counts it: left
// in, the exporters would hand it to OpenTelemetry's global error handler.
func (p *pipeline) countRejected(ctx context.Context, method string, req, reply any, conn *grpc.ClientConn,
	invoke grpc.UnaryInvoker, opts ...grpc.CallOption,
) error {
	err := invoke(ctx, method, req, reply, conn, opts...)
	switch answer := reply.(type) {
	case *coltracepb.ExportTraceServiceResponse:
		p.spans.drops.add(p.spans.drops.rejected, int(answer.GetPartialSuccess().GetRejectedSpans()))
		answer.PartialSuccess = nil
	case *collogspb.ExportLogsServiceResponse:
		p.logs.drops.add(p.logs.drops.rejected, int(answer.GetPartialSuccess().GetRejectedLogRecords()))
		answer.PartialSuccess = nil
	}
	return err
}

// spanProcessor batches spans for the pipeline.
func (p *pipeline) spanProcessor(ctx context.Context) (sdktrace.SpanProcessor, error) {
	exporter, err := otlptracegrpc.New(ctx, otlptracegrpc.WithGRPCConn(p.conn), otlptracegrpc.WithTimeout(exportTimeout),
		otlptracegrpc.WithRetry(otlptracegrpc.RetryConfig{
			Enabled: true, InitialInterval: 200 * time.Millisecond, MaxInterval: time.Second, MaxElapsedTime: 3 * time.Second,
		}))
	if err != nil {
		return nil, fmt.Errorf("exporter of traces: %w", err)
	}
	batch := sdktrace.NewBatchSpanProcessor(&spanExporter{SpanExporter: exporter, pipeline: p},
		sdktrace.WithMaxQueueSize(spanQueue), sdktrace.WithMaxExportBatchSize(exportBatch),
		sdktrace.WithBatchTimeout(exportInterval), sdktrace.WithExportTimeout(exportTimeout))
	return &spanProcessor{SpanProcessor: batch, window: p.spans}, nil
}

// logProcessor batches log records for the pipeline.
func (p *pipeline) logProcessor(ctx context.Context) (sdklog.Processor, error) {
	exporter, err := otlploggrpc.New(ctx, otlploggrpc.WithGRPCConn(p.conn), otlploggrpc.WithTimeout(exportTimeout),
		otlploggrpc.WithRetry(otlploggrpc.RetryConfig{
			Enabled: true, InitialInterval: 200 * time.Millisecond, MaxInterval: time.Second, MaxElapsedTime: 3 * time.Second,
		}))
	if err != nil {
		return nil, fmt.Errorf("exporter of logs: %w", err)
	}
	batch := sdklog.NewBatchProcessor(&logExporter{Exporter: exporter, pipeline: p},
		sdklog.WithMaxQueueSize(logQueue), sdklog.WithExportMaxBatchSize(exportBatch),
		sdklog.WithExportInterval(exportInterval), sdklog.WithExportTimeout(exportTimeout))
	return &logProcessor{Processor: batch, window: p.logs}, nil
}

// close ends the connection. Exports under way must have ended.
func (p *pipeline) close() error {
	p.stop()
	if err := p.conn.Close(); err != nil {
		return fmt.Errorf("closing the connection to the collector: %w", err)
	}
	return nil
}

// report settles an export's outcome. The SDK is never shown an error: it
// would print it.
func (p *pipeline) report(signal string, drops *drops, n int, err error) {
	if err == nil {
		return
	}
	drops.add(drops.export, n)
	p.complaint.say(signal, n, err)
}

// until bounds an export by the pipeline's own end as well.
func (p *pipeline) until(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	unhook := context.AfterFunc(p.ctx, func() { cancel(errStopped) })
	return ctx, func() { unhook(); cancel(nil) }
}

var errStopped = errors.New("telemetry was shut down")

type spanProcessor struct {
	sdktrace.SpanProcessor
	window *window
}

func (s *spanProcessor) OnEnd(span sdktrace.ReadOnlySpan) {
	if span.SpanContext().IsSampled() && s.window.enter() {
		s.SpanProcessor.OnEnd(span)
	}
}

func (s *spanProcessor) Shutdown(ctx context.Context) error {
	s.window.closed.Store(true)
	return s.SpanProcessor.Shutdown(ctx)
}

type spanExporter struct {
	sdktrace.SpanExporter
	pipeline *pipeline
}

func (e *spanExporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	e.pipeline.spans.leave(len(spans))
	ctx, done := e.pipeline.until(ctx)
	defer done()
	e.pipeline.report("traces", e.pipeline.spans.drops, len(spans), e.SpanExporter.ExportSpans(ctx, spans))
	return nil
}

type logProcessor struct {
	sdklog.Processor
	window *window
}

func (l *logProcessor) OnEmit(ctx context.Context, record *sdklog.Record) error {
	if l.window.enter() {
		return l.Processor.OnEmit(ctx, record)
	}
	return nil
}

func (l *logProcessor) Shutdown(ctx context.Context) error {
	l.window.closed.Store(true)
	return l.Processor.Shutdown(ctx)
}

type logExporter struct {
	sdklog.Exporter
	pipeline *pipeline
}

func (e *logExporter) Export(ctx context.Context, records []sdklog.Record) error {
	e.pipeline.logs.leave(len(records))
	ctx, done := e.pipeline.until(ctx)
	defer done()
	e.pipeline.report("logs", e.pipeline.logs.drops, len(records), e.Exporter.Export(ctx, records))
	return nil
}
