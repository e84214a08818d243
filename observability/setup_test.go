package observability

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/trace"
	collogspb "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	coltracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"go.uber.org/goleak"
	"google.golang.org/grpc"

	"github.com/faultline-lab/faultline/observability/names"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// collector is an OTLP server that keeps what it is sent.
type collector struct {
	collogspb.UnimplementedLogsServiceServer
	coltracepb.UnimplementedTraceServiceServer
	address string
	reject  int64
	hold    chan struct{} // if set, exports wait for it or for the caller to give up

	mu   sync.Mutex
	span []*coltracepb.ExportTraceServiceRequest
	log  []*collogspb.ExportLogsServiceRequest
}

func startCollector(t *testing.T, c *collector) *collector {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c.address = "http://" + listener.Addr().String()
	server := grpc.NewServer()
	collogspb.RegisterLogsServiceServer(server, c)
	coltracepb.RegisterTraceServiceServer(server, traceServer{c})
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(listener) }()
	t.Cleanup(func() { server.Stop(); <-done })
	return c
}

type traceServer struct{ *collector }

func (s traceServer) Export(ctx context.Context, req *coltracepb.ExportTraceServiceRequest) (*coltracepb.ExportTraceServiceResponse, error) {
	if s.hold != nil {
		select {
		case <-s.hold:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.span = append(s.span, req)
	answer := &coltracepb.ExportTraceServiceResponse{}
	if s.reject > 0 {
		answer.PartialSuccess = &coltracepb.ExportTracePartialSuccess{RejectedSpans: s.reject, ErrorMessage: "full"}
	}
	return answer, nil
}

func (c *collector) Export(_ context.Context, req *collogspb.ExportLogsServiceRequest) (*collogspb.ExportLogsServiceResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.log = append(c.log, req)
	answer := &collogspb.ExportLogsServiceResponse{}
	if c.reject > 0 {
		answer.PartialSuccess = &collogspb.ExportLogsPartialSuccess{RejectedLogRecords: c.reject}
	}
	return answer, nil
}

// counted reads a counter by cause from the registry.
func counted(t *testing.T, reg *prometheus.Registry, name string) map[string]float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]float64)
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, m := range family.GetMetric() {
			got[label(m)] = m.GetCounter().GetValue()
		}
	}
	return got
}

func label(m *dto.Metric) string { return m.GetLabel()[0].GetValue() }

// noPrinting fails the test if anything reaches OpenTelemetry's global handler.
func noPrinting(t *testing.T) {
	t.Helper()
	before := otel.GetErrorHandler()
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { t.Errorf("reached the global error handler: %v", err) }))
	t.Cleanup(func() { otel.SetErrorHandler(before) })
}

func TestSpansAndLogsReachTheCollector(t *testing.T) {
	noPrinting(t)
	c := startCollector(t, &collector{})
	var stderr bytes.Buffer
	tel, err := setup(t.Context(), Config{
		Service: "orders", Instance: "orders-1", Endpoint: c.address, Attributes: map[string]string{"team": "blue"},
	}, &stderr)
	if err != nil {
		t.Fatal(err)
	}
	ctx, span := tel.Tracer().Start(t.Context(), "place order")
	tel.Log.InfoContext(ctx, "quietly", "order", 7)
	tel.Log.With("a", 1).WarnContext(ctx, "loudly", "error", errors.New("no stock"))
	span.End()
	if err := tel.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}

	if len(c.span) != 1 || len(c.log) != 1 {
		t.Fatalf("collector has %d batches of spans and %d of logs", len(c.span), len(c.log))
	}
	resource := map[string]string{}
	for _, kv := range c.span[0].ResourceSpans[0].Resource.Attributes {
		resource[kv.Key] = kv.Value.GetStringValue()
	}
	if resource["service.name"] != "orders" || resource["service.instance.id"] != "orders-1" || resource["team"] != "blue" {
		t.Errorf("resource = %v", resource)
	}
	records := c.log[0].ResourceLogs[0].ScopeLogs[0].LogRecords
	if len(records) != 2 || records[0].Body.GetStringValue() != "quietly" {
		t.Fatalf("records = %v", records)
	}
	for _, record := range records {
		if hex.EncodeToString(record.TraceId) != span.SpanContext().TraceID().String() ||
			hex.EncodeToString(record.SpanId) != span.SpanContext().SpanID().String() {
			t.Errorf("record %v is not tied to its span", record)
		}
	}
	var line map[string]any
	if err := json.Unmarshal(stderr.Bytes(), &line); err != nil {
		t.Fatalf("stderr is not one JSON line: %v\n%s", err, stderr.String())
	}
	for key, want := range map[string]any{
		"level": "WARN", "msg": "loudly", "service": "orders", "instance": "orders-1", "a": 1.0, "error": "no stock",
		"trace_id": span.SpanContext().TraceID().String(), "span_id": span.SpanContext().SpanID().String(),
	} {
		if line[key] != want {
			t.Errorf("stderr %s = %v, want %v", key, line[key], want)
		}
	}
	if spans, logs := tel.Dropped(); spans+logs != 0 {
		t.Errorf("dropped %d spans, %d logs", spans, logs)
	}
}

func TestRejectedIsCountedAndNotPrinted(t *testing.T) {
	noPrinting(t)
	c := startCollector(t, &collector{reject: 2})
	var stderr bytes.Buffer
	tel, err := setup(t.Context(), Config{Service: "x", Endpoint: c.address}, &stderr)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		_, span := tel.Tracer().Start(t.Context(), "s")
		span.End()
		tel.Log.Info("l")
	}
	if err := tel.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{names.SpansDropped, names.LogsDropped} {
		if got := counted(t, tel.Registry, name); got[causeRejected] != 2 || got[causeExport] != 0 || got[causeQueue] != 0 {
			t.Errorf("%s = %v", name, got)
		}
	}
	if stderr.Len() > 0 {
		t.Errorf("stderr: %s", stderr.String())
	}
}

// A collector that is not there costs the program nothing but a line, and
// every span and record is accounted for.
func TestMissingCollector(t *testing.T) {
	noPrinting(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := "http://" + listener.Addr().String()
	listener.Close()

	var stderr bytes.Buffer
	tel, err := setup(t.Context(), Config{Service: "x", Endpoint: nobody}, &stderr)
	if err != nil {
		t.Fatal(err)
	}
	const spans, logs = spanQueue + 3*exportBatch, logQueue + 3*exportBatch
	slowest := time.Duration(0)
	for range spans {
		begin := time.Now()
		_, span := tel.Tracer().Start(t.Context(), "s")
		span.End()
		slowest = max(slowest, time.Since(begin))
	}
	for range logs {
		tel.Log.Info("l")
	}
	if slowest > 20*time.Second {
		t.Errorf("a span took %v", slowest)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	begin := time.Now()
	_ = tel.Shutdown(ctx)
	if took := time.Since(begin); took > 20*time.Second {
		t.Errorf("shutdown took %v", took)
	}
	for name, want := range map[string]float64{names.SpansDropped: spans, names.LogsDropped: logs} {
		got := counted(t, tel.Registry, name)
		if got[causeQueue]+got[causeExport] != want {
			t.Errorf("%s = %v, want %v in all", name, got, want)
		}
	}
	if lines := strings.Count(stderr.String(), "\n"); lines != 1 {
		t.Errorf("stderr has %d lines:\n%s", lines, stderr.String())
	}
}

// A collector that accepts and never answers fills the queue; shutting down is
// bounded all the same.
func TestStuckCollector(t *testing.T) {
	noPrinting(t)
	c := startCollector(t, &collector{hold: make(chan struct{})})
	tel, err := setup(t.Context(), Config{Service: "x", Endpoint: c.address}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	const spans = 2 * (spanQueue + exportBatch)
	for range spans {
		_, span := tel.Tracer().Start(t.Context(), "s")
		span.End()
	}
	if got := counted(t, tel.Registry, names.SpansDropped); got[causeQueue] < spanQueue/2 {
		t.Errorf("the queue turned away %v", got)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_ = tel.Shutdown(ctx)
	if got, _ := tel.Dropped(); got != spans {
		t.Errorf("dropped %d spans, want all %d", got, spans)
	}
}

func TestCallersDecisionIsKept(t *testing.T) {
	c := startCollector(t, &collector{})
	tel, err := setup(t.Context(), Config{Service: "x", Endpoint: c.address}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	unsampled := trace.ContextWithRemoteSpanContext(t.Context(), trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID{1}, SpanID: trace.SpanID{1}, Remote: true,
	}))
	_, span := tel.Tracer().Start(unsampled, "s")
	span.End()
	if err := tel.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(c.span) != 0 {
		t.Errorf("an unsampled trace was sent: %v", c.span)
	}
}

func TestMetricsHandlerServesExemplars(t *testing.T) {
	tel, err := setup(t.Context(), Config{Service: "x"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	defer tel.Shutdown(t.Context())
	h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "wait_seconds", Buckets: []float64{1}})
	tel.Registry.MustRegister(h)
	h.(prometheus.ExemplarObserver).ObserveWithExemplar(0.5, prometheus.Labels{"trace_id": "abc"})

	req := httptest.NewRequest(http.MethodGet, "/metrics", nil)
	req.Header.Set("Accept", "application/openmetrics-text; version=1.0.0")
	answer := httptest.NewRecorder()
	tel.MetricsHandler().ServeHTTP(answer, req)
	for _, want := range []string{`wait_seconds_bucket{le="1.0"} 1 # {trace_id="abc"} 0.5`, "go_goroutines", `telemetry_spans_dropped_total{cause="queue_full"} 0`} {
		if !strings.Contains(answer.Body.String(), want) {
			t.Errorf("metrics lack %q", want)
		}
	}
}

func TestPropagation(t *testing.T) {
	tel, err := setup(t.Context(), Config{Service: "x"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	defer tel.Shutdown(t.Context())
	in := http.Header{"Traceparent": {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}, "Baggage": {"user=7"}}
	ctx := tel.Propagator.Extract(t.Context(), headerCarrier(in))
	ctx, span := tel.Tracer().Start(ctx, "s")
	defer span.End()
	out := http.Header{}
	tel.Propagator.Inject(ctx, headerCarrier(out))
	if got := out.Get("Traceparent"); !strings.HasPrefix(got, "00-0af7651916cd43dd8448eb211c80319c-"+span.SpanContext().SpanID().String()) {
		t.Errorf("traceparent = %q", got)
	}
	if out.Get("Baggage") != "user=7" {
		t.Errorf("baggage = %q", out.Get("Baggage"))
	}
}

type headerCarrier http.Header

func (c headerCarrier) Get(key string) string { return http.Header(c).Get(key) }
func (c headerCarrier) Set(key, value string) { http.Header(c).Set(key, value) }
func (c headerCarrier) Keys() []string        { return nil }

func TestLogHandlerGroups(t *testing.T) {
	var all, alarm bytes.Buffer
	h := newLogHandler(slog.NewJSONHandler(&all, nil), &alarm, Config{Service: "x", Instance: "x-1"})
	log := slog.New(h).WithGroup("").WithGroup("g").With("k", 1)
	log.Info("info")
	log.Error("error", "j", 2)
	if got := strings.Count(all.String(), "\n"); got != 2 {
		t.Errorf("the first handler has %d lines", got)
	}
	if got := alarm.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, `"g":{"k":1,"j":2}`) {
		t.Errorf("the second handler has %s", got)
	}
}
