package embedded

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	otelcodes "go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	collogspb "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	colmetricspb "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	coltracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	grpcgzip "google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/faultline-lab/faultline/observability/telemetry"
)

// The whole way: a real SDK over gRPC, and everything a span can carry.
func TestSDKOverGRPC(t *testing.T) {
	b := startBackend(t, Config{})
	tel := setup(t, b, "orders")
	ctx, parent := tel.Tracer().Start(t.Context(), "place order", trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(
		attribute.String("text", `quo"te ✓`), attribute.Int("whole", 7), attribute.Float64("half", 0.5), attribute.Float64("round", 2),
		attribute.Bool("yes", true), attribute.StringSlice("list", []string{"a", "b"})))
	other := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}})
	_, child := tel.Tracer().Start(ctx, "charge", trace.WithSpanKind(trace.SpanKindClient), trace.WithLinks(trace.Link{SpanContext: other}))
	child.AddEvent("retrying", trace.WithAttributes(attribute.Int("attempt", 2)))
	child.SetStatus(otelcodes.Error, "bank is closed")
	child.End()
	tel.Log.LogAttrs(ctx, slog.LevelWarn, "order failed", slog.Int("order", 9))
	tel.Log.Info("belongs to no span")
	parent.End()
	if err := tel.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}

	id := parent.SpanContext().TraceID().String()
	var got telemetry.Trace
	eventually(t, func() string {
		var err error
		if got, err = b.Archive().Trace(t.Context(), id); err != nil || len(got.Spans) != 2 {
			return "the trace does not arrive"
		}
		return ""
	})
	root, leaf := got.Spans[0], got.Spans[1]
	if root.Service != "orders" || root.Instance != "orders-1" || root.Kind != "server" || root.ParentID != "" || root.Error || root.Name != "place order" {
		t.Errorf("root = %+v", root)
	}
	want := map[string]any{"text": `quo"te ✓`, "whole": int64(7), "half": 0.5, "round": 2.0, "yes": true, "list": []any{"a", "b"}}
	if !reflect.DeepEqual(root.Attributes, want) {
		t.Errorf("attributes = %#v, want %#v", root.Attributes, want)
	}
	if leaf.ParentID != root.SpanID || leaf.Kind != "client" || !leaf.Error || leaf.Message != "bank is closed" || leaf.Duration() < 0 {
		t.Errorf("leaf = %+v", leaf)
	}
	if len(leaf.Events) != 1 || leaf.Events[0].Name != "retrying" || leaf.Events[0].Attributes["attempt"] != int64(2) ||
		time.Since(leaf.Events[0].Time) > time.Minute {
		t.Errorf("events = %+v", leaf.Events)
	}
	if want := []telemetry.SpanLink{{TraceID: other.TraceID().String(), SpanID: other.SpanID().String()}}; !reflect.DeepEqual(leaf.Links, want) {
		t.Errorf("links = %+v", leaf.Links)
	}

	eventually(t, func() string {
		if logs, err := b.Archive().Logs(t.Context(), telemetry.LogQuery{}); err != nil || len(logs) != 2 {
			return "the log records do not arrive"
		}
		return ""
	})
	logs, err := b.Archive().Logs(t.Context(), telemetry.LogQuery{TraceID: id})
	if err != nil || len(logs) != 1 {
		t.Fatalf("logs = %v, %v", logs, err)
	}
	if l := logs[0]; l.Body != "order failed" || l.Severity != "WARN" || l.SpanID != root.SpanID || l.Service != "orders" ||
		l.Instance != "orders-1" || l.Attributes["order"] != int64(9) {
		t.Errorf("log = %+v", l)
	}
	loss := closeBackend(t, b)
	if loss != (telemetry.Loss{SpansReceived: 2, LogsReceived: 2}) {
		t.Errorf("loss = %+v", loss)
	}
}

var (
	traceID = bytes.Repeat([]byte{0xab}, 16)
	spanID  = bytes.Repeat([]byte{0xcd}, 8)
)

// oneSpan is a request with the given spans, each with a name.
func traceRequest(spans ...*tracepb.Span) *coltracepb.ExportTraceServiceRequest {
	return &coltracepb.ExportTraceServiceRequest{ResourceSpans: []*tracepb.ResourceSpans{{
		Resource:   &resourcepb.Resource{Attributes: []*commonpb.KeyValue{textAttribute("service.name", "bank")}},
		ScopeSpans: []*tracepb.ScopeSpans{{Spans: spans}},
	}}}
}

func textAttribute(key, value string) *commonpb.KeyValue {
	return &commonpb.KeyValue{Key: key, Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: value}}}
}

func marshal(t testing.TB, m proto.Message) []byte {
	t.Helper()
	body, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func gzipped(t testing.TB, body []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(body); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func testdata(t testing.TB, name string) []byte {
	t.Helper()
	body, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// post sends a body and returns the answer's status, type and body.
func post(t testing.TB, url, contentType, encoding string, body []byte) (int, string, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", contentType)
	if encoding != "" {
		req.Header.Set("Content-Encoding", encoding)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	http.DefaultClient.CloseIdleConnections()
	return resp.StatusCode, resp.Header.Get("Content-Type"), answer
}

func TestOTLPOverHTTP(t *testing.T) {
	span := &tracepb.Span{TraceId: traceID, SpanId: spanID, Name: "charge", Kind: tracepb.Span_SPAN_KIND_SERVER,
		StartTimeUnixNano: 1_700_000_000_123_456_789, EndTimeUnixNano: 1_700_000_001_000_000_000}
	body := marshal(t, traceRequest(span))
	tests := []struct {
		name, kind, encoding string
		body                 []byte
	}{
		{"protobuf", protobufType, "", body},
		{"protobuf, gzipped", protobufType, "gzip", gzipped(t, body)},
		{"JSON", jsonType + "; charset=utf-8", "", testdata(t, "span.json")},
		{"JSON, gzipped", jsonType, "gzip", gzipped(t, testdata(t, "span.json"))},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := startBackend(t, Config{})
			code, kind, answer := post(t, b.Endpoints().OTLP+"/v1/traces", test.kind, test.encoding, test.body)
			wantKind, _, _ := strings.Cut(test.kind, ";")
			if code != http.StatusOK || kind != wantKind || (wantKind == jsonType && string(answer) != "{}") {
				t.Fatalf("answer %d %s %s", code, kind, answer)
			}
			closeBackend(t, b)
			a, err := OpenArchive(b.cfg.Dir)
			if err != nil {
				t.Fatal(err)
			}
			defer a.Close()
			got, err := a.Trace(t.Context(), "ABABABABABABABABABABABABABABABAB")
			if err != nil {
				t.Fatal(err)
			}
			s := got.Spans[0]
			if s.SpanID != "cdcdcdcdcdcdcdcd" || s.Service != "bank" || s.Kind != "server" || s.Start.UnixNano() != 1_700_000_000_123_456_789 ||
				s.End.UnixNano() != 1_700_000_001_000_000_000 {
				t.Errorf("span = %+v", s)
			}
		})
	}
}

func TestLogsOverHTTP(t *testing.T) {
	b := startBackend(t, Config{})
	code, _, answer := post(t, b.Endpoints().OTLP+"/v1/logs", jsonType, "", testdata(t, "logs.json"))
	if code != http.StatusOK {
		t.Fatalf("answer %d %s", code, answer)
	}
	eventually(t, func() string {
		if logs, err := b.Archive().Logs(t.Context(), telemetry.LogQuery{}); err != nil || len(logs) != 3 {
			return "the records do not arrive"
		}
		return ""
	})
	logs, err := b.Archive().Logs(t.Context(), telemetry.LogQuery{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, l := range logs {
		got = append(got, l.Severity+" "+l.Body+" "+l.TraceID+" "+l.SpanID)
	}
	want := []string{
		"ERROR plain abababababababababababababababab cdcdcdcdcdcdcdcd",
		`WARN {"code":5,"why":["a",1.5,null]}  `,
		"INFO undated  ",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("logs:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestHTTPRefuses(t *testing.T) {
	b := startBackend(t, Config{Limits: Limits{MessageBytes: 64 << 10}})
	bomb := gzipped(t, make([]byte, 1<<20))
	tests := []struct {
		name, path, kind, encoding string
		body                       []byte
		code                       int
		says                       string
	}{
		{"another content type", "/v1/traces", "text/plain", "", nil, 415, `content type "text/plain": must be application/x-protobuf or application/json`},
		{"broken protobuf", "/v1/traces", protobufType, "", []byte{0xff}, 400, "malformed message"},
		{"broken JSON", "/v1/logs", jsonType, "", []byte("{"), 400, "unexpected EOF"},
		{"JSON that is something else", "/v1/logs", jsonType, "", []byte(`{"resourceLogs": 7}`), 400, "malformed message"},
		{"an id that is not hex", "/v1/traces", jsonType, "", []byte(`{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"xyz"}]}]}]}`), 400, "must be hexadecimal"},
		{"too large", "/v1/traces", protobufType, "", make([]byte, 65<<10), 413, "message too large"},
		{"too large once unpacked", "/v1/traces", protobufType, "gzip", bomb, 413, "message too large"},
		{"gzip that is not", "/v1/traces", protobufType, "gzip", []byte("hello"), 400, "gzip"},
		{"an unknown encoding", "/v1/traces", protobufType, "br", nil, 400, `content encoding "br" is not known`},
		{"broken metrics", "/v1/metrics", protobufType, "", []byte{0xff}, 400, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			code, _, answer := post(t, b.Endpoints().OTLP+test.path, test.kind, test.encoding, test.body)
			if code != test.code || !strings.Contains(string(answer), test.says) {
				t.Errorf("answer %d %q, want %d %q", code, answer, test.code, test.says)
			}
		})
	}
	resp, err := http.Get(b.Endpoints().OTLP + "/v1/traces")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("GET answers %d", resp.StatusCode)
	}
	http.DefaultClient.CloseIdleConnections()
	if loss := b.Loss(); loss.SpansDropped != 1 || loss.LogsDropped != 0 {
		t.Errorf("loss = %+v, want the one message that nobody can read", loss)
	}
}

// dial connects a plain gRPC client.
func dial(t testing.TB, b *Backend) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(strings.TrimPrefix(b.Endpoints().OTLP, "http://"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func TestPartialSuccess(t *testing.T) {
	b := startBackend(t, Config{})
	good := &tracepb.Span{TraceId: traceID, SpanId: spanID, StartTimeUnixNano: 5, EndTimeUnixNano: 4}
	request := traceRequest(good,
		&tracepb.Span{TraceId: traceID[:15], SpanId: spanID, StartTimeUnixNano: 1},
		&tracepb.Span{TraceId: make([]byte, 16), SpanId: spanID, StartTimeUnixNano: 1},
		&tracepb.Span{TraceId: traceID, StartTimeUnixNano: 1},
		&tracepb.Span{TraceId: traceID, SpanId: spanID},
		&tracepb.Span{TraceId: traceID, SpanId: spanID, StartTimeUnixNano: 1 << 63},
	)
	answer, err := coltracepb.NewTraceServiceClient(dial(t, b)).Export(t.Context(), request, grpc.UseCompressor(grpcgzip.Name))
	if err != nil {
		t.Fatal(err)
	}
	if p := answer.GetPartialSuccess(); p.GetRejectedSpans() != 5 || p.GetErrorMessage() != "spans without valid ids or times" {
		t.Errorf("partial success = %v", p)
	}
	code, _, text := post(t, b.Endpoints().OTLP+"/v1/traces", protobufType, "", marshal(t, request))
	var again coltracepb.ExportTraceServiceResponse
	if err := proto.Unmarshal(text, &again); err != nil || code != http.StatusOK || again.GetPartialSuccess().GetRejectedSpans() != 5 {
		t.Errorf("over HTTP: %d %v %v", code, &again, err)
	}
	loss := closeBackend(t, b)
	if loss.SpansReceived != 12 || loss.SpansDropped != 10 {
		t.Errorf("loss = %+v", loss)
	}
}

func TestGRPCRefuses(t *testing.T) {
	b := startBackend(t, Config{Limits: Limits{MessageBytes: 1 << 10}})
	conn := dial(t, b)
	big := traceRequest(&tracepb.Span{Name: strings.Repeat("x", 2<<10)})
	if _, err := coltracepb.NewTraceServiceClient(conn).Export(t.Context(), big); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("too large: %v", err)
	}
	garbage := []byte{0xff}
	err := conn.Invoke(t.Context(), "/opentelemetry.proto.collector.logs.v1.LogsService/Export", &garbage, &collogspb.ExportLogsServiceResponse{},
		grpc.ForceCodecV2(garbageCodec{}))
	if status.Code(err) != codes.InvalidArgument {
		t.Errorf("garbage: %v", err)
	}
	if loss := b.Loss(); loss.LogsDropped != 1 {
		t.Errorf("loss = %+v", loss)
	}
}

// garbageCodec sends bytes as they are.
type garbageCodec struct{ rawCodec }

func (garbageCodec) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(*v.(*[]byte))}, nil
}

// A program that pushes its metrics has them in the same place as one that is scraped.
func TestMetricsOverOTLP(t *testing.T) {
	b := startBackend(t, Config{})
	now := uint64(time.Now().UnixNano())
	request := &colmetricspb.ExportMetricsServiceRequest{ResourceMetrics: []*metricspb.ResourceMetrics{{
		Resource: &resourcepb.Resource{Attributes: []*commonpb.KeyValue{textAttribute("service.name", "legacy"), textAttribute("service.instance.id", "legacy-1")}},
		ScopeMetrics: []*metricspb.ScopeMetrics{{Metrics: []*metricspb.Metric{{
			Name: "jobs.done", Unit: "1",
			Data: &metricspb.Metric_Sum{Sum: &metricspb.Sum{
				IsMonotonic: true, AggregationTemporality: metricspb.AggregationTemporality_AGGREGATION_TEMPORALITY_CUMULATIVE,
				DataPoints: []*metricspb.NumberDataPoint{{TimeUnixNano: now, StartTimeUnixNano: now - 1e9, Value: &metricspb.NumberDataPoint_AsInt{AsInt: 42}}},
			}},
		}}}},
	}}}
	if _, err := colmetricspb.NewMetricsServiceClient(dial(t, b)).Export(t.Context(), request); err != nil {
		t.Fatal(err)
	}
	wantValue(t, b.Archive(), `jobs_done_total{job="legacy",instance="legacy-1"}`, 42)
	if code, _, answer := post(t, b.Endpoints().OTLP+"/v1/metrics", protobufType, "", marshal(t, request)); code/100 != 2 {
		t.Errorf("over HTTP: %d %s", code, answer)
	}
}

// The messages come back as they were sent.
func TestMessagesForReplay(t *testing.T) {
	b := startBackend(t, Config{})
	client := coltracepb.NewTraceServiceClient(dial(t, b))
	var sent [][]byte
	for i := range 3 {
		request := traceRequest(&tracepb.Span{TraceId: traceID, SpanId: append(spanID[:7:7], byte(i)), StartTimeUnixNano: 1})
		sent = append(sent, marshal(t, request))
		if _, err := client.Export(t.Context(), request); err != nil {
			t.Fatal(err)
		}
	}
	closeBackend(t, b)
	a, err := OpenArchive(b.cfg.Dir)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	var got [][]byte
	if err := a.Messages(t.Context(), func(m Message) error {
		if m.Signal != signalTraces || time.Since(m.Received) > time.Minute {
			t.Errorf("message %+v", m)
		}
		got = append(got, m.Body)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, sent) {
		t.Errorf("got %d messages that differ", len(got))
	}
	stop := errors.New("stop")
	if err := a.Messages(t.Context(), func(Message) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("error = %v", err)
	}
}

func FuzzFromJSON(f *testing.F) {
	f.Add(testdata(f, "span.json"))
	f.Add(testdata(f, "logs.json"))
	f.Add([]byte(`{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":7,"attributes":[{"key":"a","value":{"kvlistValue":{"values":[{"key":"b"}]}}}]}]}]}]}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, text []byte) {
		if message, err := fromJSON(text, &coltracepb.ExportTraceServiceRequest{}); err == nil {
			checkRows(t, message)
		}
		if message, err := fromJSON(text, &collogspb.ExportLogsServiceRequest{}); err == nil {
			checkRows(t, message)
		}
	})
}

func FuzzProtobuf(f *testing.F) {
	f.Add(marshal(f, traceRequest(&tracepb.Span{TraceId: traceID, SpanId: spanID, StartTimeUnixNano: 1, Events: []*tracepb.Span_Event{{Name: "e"}}})))
	f.Fuzz(func(t *testing.T, message []byte) { checkRows(t, message) })
}

// checkRows reads a message both ways: whatever it holds, the rows are sound.
func checkRows(t *testing.T, message []byte) {
	t.Helper()
	var traces coltracepb.ExportTraceServiceRequest
	if proto.Unmarshal(message, &traces) == nil {
		rows, _ := spanRows(traces.GetResourceSpans())
		for _, row := range rows {
			if len(row.traceID) != 16 || len(row.spanID) != 8 || row.end < row.start {
				t.Errorf("row %+v", row)
			}
			checkJSON(t, row.attributes, row.events, row.links, row.resource.attributes)
			if _, err := decodeEvents(row.events); err != nil {
				t.Errorf("events %s: %v", row.events, err)
			}
		}
	}
	var logs collogspb.ExportLogsServiceRequest
	if proto.Unmarshal(message, &logs) == nil {
		for _, row := range logRows(logs.GetResourceLogs(), 1) {
			if row.time <= 0 || row.severity <= 0 {
				t.Errorf("row %+v", row)
			}
			checkJSON(t, row.attributes)
		}
	}
}

func checkJSON(t *testing.T, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if text != "" && !json.Valid([]byte(text)) {
			t.Errorf("not JSON: %q", text)
		}
	}
}
