package embedded

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	coltracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
)

func newStore(t testing.TB, limits Limits) *store {
	t.Helper()
	s, err := openStore(t.Context(), filepath.Join(t.TempDir(), telemetryFile), limits.withDefaults(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// numbered makes n spans with ids from first on.
func numbered(first, n int) *batch {
	b := &batch{signal: signalTraces, body: []byte("body")}
	for i := first; i < first+n; i++ {
		row := spanRow{resource: &resource{service: "s", instance: "s-1"}, name: "name", start: 1, end: 2,
			traceID: binary.BigEndian.AppendUint64(make([]byte, 8), uint64(i)), spanID: binary.BigEndian.AppendUint64(nil, uint64(i))}
		b.spans = append(b.spans, row)
	}
	return b
}

// count reads how many rows a table has, before the store is closed.
func count(t testing.TB, s *store, table string) (n int) {
	t.Helper()
	if err := s.db.QueryRow("SELECT count(*) FROM " + table).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestStoreKeepsToItsNumberOfSpans(t *testing.T) {
	s := newStore(t, Limits{Spans: 10, Logs: 1})
	for i, want := range []bool{true, true, false} {
		if got := s.offer(numbered(i*8, 8)); got != want {
			t.Errorf("batch %d: accepted %v", i, got)
		}
	}
	record := &batch{signal: signalLogs, body: []byte("body"), logs: []logRow{{resource: &resource{}, body: "b"}}}
	if !s.offer(record) || s.offer(record) {
		t.Error("of two log records, one has room")
	}
	eventually(t, func() string {
		if s.waiting.Load() > 0 {
			return "the queue does not drain"
		}
		return ""
	})
	if spans, logs := count(t, s, "span"), count(t, s, "log"); spans != 16 || logs != 1 {
		t.Errorf("%d spans and %d logs are stored", spans, logs)
	}
	if err := s.close(); err != nil {
		t.Error(err)
	}
}

func TestStoreKeepsToItsBytes(t *testing.T) {
	var said bytes.Buffer
	limits := Limits{DatabaseBytes: 256 << 10}
	s, err := openStore(t.Context(), filepath.Join(t.TempDir(), telemetryFile), limits.withDefaults(), slog.New(slog.NewTextHandler(&said, nil)))
	if err != nil {
		t.Fatal(err)
	}
	next := 0
	eventually(t, func() string {
		if s.offer(numbered(next, 500)) {
			next += 500
			return "it never becomes full"
		}
		return map[bool]string{true: "", false: "queue"}[s.full.Load()]
	})
	if err := s.close(); err != nil {
		t.Error(err)
	}
	if !strings.Contains(said.String(), "telemetry.db has reached its bound") {
		t.Errorf("it said %q", said.String())
	}
}

func TestStoreQueueIsBounded(t *testing.T) {
	one := numbered(0, 100)
	s := &store{limits: Limits{QueueBytes: 2*one.size() + 1}.withDefaults(), queue: make(chan *batch, 10)} // nobody writes
	for i, want := range []bool{true, true, false} {
		if got := s.offer(numbered(i, 100)); got != want {
			t.Errorf("batch %d: accepted %v", i, got)
		}
	}
	if got := s.waiting.Load(); got != 2*one.size() {
		t.Errorf("%d bytes are said to wait, %d do", got, 2*one.size())
	}
	full := &store{limits: Limits{}.withDefaults(), queue: make(chan *batch)}
	if full.offer(one) || full.waiting.Load() != 0 {
		t.Error("a full channel takes nothing")
	}
}

// A sender that got no answer sends a batch again.
func TestStoreIgnoresSpansItHas(t *testing.T) {
	s := newStore(t, Limits{})
	for range 2 {
		if !s.offer(numbered(0, 5)) {
			t.Fatal("no room")
		}
	}
	eventually(t, func() string {
		if s.waiting.Load() > 0 {
			return "the queue does not drain"
		}
		return ""
	})
	if n := count(t, s, "span"); n != 5 {
		t.Errorf("%d spans are stored", n)
	}
	if n := count(t, s, "resource"); n != 1 {
		t.Errorf("%d resources are stored", n)
	}
	if err := s.close(); err != nil {
		t.Error(err)
	}
}

// What a failed transaction loses is counted, and the next one works: the
// resources that it would have made are made again.
func TestStoreCountsWhatItCannotWrite(t *testing.T) {
	s := newStore(t, Limits{})
	bad := numbered(0, 3)
	bad.spans[2].name = "fails"
	if _, err := s.db.Exec(`CREATE TRIGGER fail BEFORE INSERT ON span WHEN new.name = 'fails' BEGIN SELECT raise(ABORT, 'disk is full'); END`); err != nil {
		t.Fatal(err)
	}
	s.commit([]*batch{bad})
	if got := s.spans.dropped.Load(); got != 3 {
		t.Errorf("dropped %d, want the batch of 3", got)
	}
	s.commit([]*batch{numbered(10, 2)})
	if n := count(t, s, "span JOIN resource ON resource.id = span.resource"); n != 2 {
		t.Errorf("%d spans are stored with their resource, want 2", n)
	}
	if err := s.close(); err != nil {
		t.Error(err)
	}
}

func TestResourceCacheIsBounded(t *testing.T) {
	s := newStore(t, Limits{})
	var spans []spanRow
	for i := range maxResources + 10 {
		row := numbered(i, 1).spans[0]
		row.resource = &resource{service: fmt.Sprint(i)}
		spans = append(spans, row)
	}
	again := numbered(maxResources+10, 1).spans[0]
	again.resource = spans[0].resource // its id has been forgotten
	s.commit([]*batch{{signal: signalTraces, body: []byte("body"), spans: append(spans, again)}})
	if len(s.resources) > maxResources {
		t.Errorf("%d resources are cached", len(s.resources))
	}
	if n := count(t, s, "resource"); n != len(spans) {
		t.Errorf("%d resources are stored, want %d", n, len(spans))
	}
	if err := s.close(); err != nil {
		t.Error(err)
	}
}

// BenchmarkSpanIngestion takes messages of 100 spans in and writes them, as
// fast as one sender can: decoding, compressing, queueing, inserting.
func BenchmarkSpanIngestion(b *testing.B) {
	const perMessage = 100
	s := newStore(b, Limits{Spans: 1 << 40, DatabaseBytes: 1 << 40})
	r := &receiver{store: s, limit: 8 << 20}
	attributes := []*commonpb.KeyValue{
		textAttribute("http.request.method", "GET"), textAttribute("http.route", "/products/{id}"), textAttribute("edge", "gateway->catalog"),
		{Key: "http.response.status_code", Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_IntValue{IntValue: 200}}},
		{Key: "door.wait_ms", Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_DoubleValue{DoubleValue: 1.25}}},
	}
	begin := uint64(time.Now().UnixNano())
	b.ReportAllocs()
	spans := 0
	for b.Loop() {
		request := traceRequest()
		for range perMessage {
			spans++
			id := binary.BigEndian.AppendUint64(nil, uint64(spans)*0x9e3779b97f4a7c15) // scattered, as real ids are
			request.ResourceSpans[0].ScopeSpans[0].Spans = append(request.ResourceSpans[0].ScopeSpans[0].Spans, &tracepb.Span{
				TraceId: append(id, id...), SpanId: id, ParentSpanId: spanID, Name: "GET /products/{id}", Kind: tracepb.Span_SPAN_KIND_SERVER,
				StartTimeUnixNano: begin + uint64(spans), EndTimeUnixNano: begin + uint64(spans) + 1e6, Attributes: attributes,
			})
		}
		message := marshal(b, request)
		for {
			response, err := r.traces(message)
			if err != nil {
				b.Fatal(err)
			}
			if accepted(response) {
				break
			}
			<-time.After(time.Millisecond) // the writer is behind: that is its rate
		}
	}
	if err := s.close(); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(spans)/b.Elapsed().Seconds(), "spans/s")
}

func accepted(response *coltracepb.ExportTraceServiceResponse) bool {
	return response.GetPartialSuccess().GetRejectedSpans() == 0
}
