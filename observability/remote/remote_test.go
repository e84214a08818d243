package remote

import (
	"encoding/hex"
	"maps"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	coltracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/faultline-lab/faultline/observability/embedded"
	"github.com/faultline-lab/faultline/observability/telemetry"
)

func backend(t *testing.T) *embedded.Backend {
	t.Helper()
	b, err := embedded.Start(t.Context(), embedded.Config{Dir: t.TempDir(), RemoteWrite: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := b.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
	return b
}

const traceID = "0123456789abcdef0123456789abcdef"

func traceMessage(t *testing.T) []byte {
	t.Helper()
	id, err := hex.DecodeString(traceID)
	if err != nil {
		t.Fatal(err)
	}
	now := uint64(time.Now().UnixNano())
	body, err := proto.Marshal(&coltracepb.ExportTraceServiceRequest{ResourceSpans: []*tracepb.ResourceSpans{{
		Resource:   &resourcepb.Resource{Attributes: []*commonpb.KeyValue{text("service.name", "orders")}},
		ScopeSpans: []*tracepb.ScopeSpans{{Spans: []*tracepb.Span{{TraceId: id, SpanId: id[:8], Name: "place", StartTimeUnixNano: now, EndTimeUnixNano: now + 1}}}},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// What one backend has received, and what a Prometheus scraped, comes to another whole: with a real
// Prometheus API, OTLP receiver and remote write at both ends.
func TestFollowTheLabsBackend(t *testing.T) {
	from, to := backend(t), backend(t)
	base, own := from.Endpoints().Prometheus, to.Endpoints().Prometheus
	c := New(Config{Prometheus: base, Lab: base, Within: time.Minute})
	defer c.Close()
	now := time.Now()
	scraped := []telemetry.Series{{
		Labels: map[string]string{"__name__": "door_workers", "service": "orders", "instance": "orders"},
		Points: []telemetry.Point{{Time: now.Add(-2 * time.Second), Value: 1}, {Time: now.Add(-time.Second), Value: 2}},
	}, {
		Labels: map[string]string{"__name__": "faultline_phase_active", "service": "faultline"}, Points: []telemetry.Point{{Time: now, Value: 1}},
	}, {
		Labels: map[string]string{"__name__": "traces_spanmetrics_calls_total", "service": "orders"}, Points: []telemetry.Point{{Time: now, Value: 1}},
	}}
	if err := c.Push(t.Context(), base, scraped); err != nil {
		t.Fatal(err)
	}
	samples, err := c.Samples(t.Context(), now.Add(-10*time.Second), now)
	if err != nil || len(samples) != 1 || len(samples[0].Points) != 2 || samples[0].Points[1].Value != 2 {
		t.Fatalf("got %+v, %v", samples, err)
	}
	if err := c.Push(t.Context(), own, samples); err != nil {
		t.Fatal(err)
	}
	if got, err := to.Archive().Query(t.Context(), `door_workers{service="orders"}`, now); err != nil || len(got) != 1 || got[0].Points[0].Value != 2 {
		t.Errorf("got %+v, %v", got, err)
	}
	if err := c.Send(t.Context(), base, Message{Signal: "traces", Body: traceMessage(t)}); err != nil {
		t.Fatal(err)
	}
	var messages []Message
	eventually(t, func() bool {
		more, err := c.Messages(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		messages = append(messages, more...)
		return len(messages) > 0
	})
	if more, err := c.Messages(t.Context()); err != nil || len(more) != 0 {
		t.Errorf("again: %d messages, %v", len(more), err)
	}
	if err := c.Send(t.Context(), own, messages[0]); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool {
		trace, err := to.Archive().Trace(t.Context(), traceID)
		return err == nil && len(trace.Spans) == 1 && trace.Spans[0].Service == "orders"
	})
}

func eventually(t *testing.T, done func() bool) {
	t.Helper()
	deadline := time.NewTimer(30 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-deadline.C:
			t.Fatal("it did not come true within 30 s")
		case <-tick.C:
		}
	}
}

// The lab's own metrics go to the stack under its name, and end there.
func TestPushAndEndLab(t *testing.T) {
	b := backend(t)
	c := New(Config{Prometheus: b.Endpoints().Prometheus, Within: time.Minute})
	defer c.Close()
	registry := prometheus.NewRegistry()
	gauge := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "faultline_fault_active"}, []string{"fault"})
	histogram := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "faultline_load_latency_seconds", Buckets: []float64{1}})
	registry.MustRegister(gauge, histogram)
	gauge.WithLabelValues("slow").Set(1)
	histogram.Observe(0.5)
	now := time.Now()
	if err := c.PushLab(t.Context(), registry, now); err != nil {
		t.Fatal(err)
	}
	for expr, want := range map[string]float64{
		`faultline_fault_active{fault="slow",service="faultline",job="faultline"}`: 1,
		`faultline_load_latency_seconds_bucket{le="1"}`:                            1,
		`faultline_load_latency_seconds_sum`:                                       0.5,
	} {
		if got, err := b.Archive().Query(t.Context(), expr, now); err != nil || len(got) != 1 || got[0].Points[0].Value != want {
			t.Errorf("%s: got %+v, %v", expr, got, err)
		}
	}
	if err := c.EndLab(t.Context(), registry, now.Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	if got, err := b.Archive().Query(t.Context(), "faultline_fault_active", now.Add(2*time.Second)); err != nil || len(got) != 0 {
		t.Errorf("it goes on: %+v, %v", got, err)
	}
}

// Tempo's and Loki's answers, in the form that Tempo 3.0.3 and Loki 3.7.8 give.
func TestTempoAndLoki(t *testing.T) {
	at := time.Unix(1700000000, 5)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/api/v2/traces/"+traceID && r.Header.Get("Accept") == "application/protobuf":
			_, _ = w.Write(protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), traceMessage(t)))
		case strings.HasPrefix(r.URL.Path, "/api/v2/traces/"):
			http.Error(w, "trace not found", http.StatusNotFound)
		case r.URL.Path == "/loki/api/v1/query_range" && r.FormValue("direction") == "forward":
			_, _ = w.Write([]byte(`{"status":"success","data":{"resultType":"streams","result":[{"stream":{"service_name":"orders",` +
				`"service_instance_id":"orders-2","process_pid":"7","telemetry_sdk_name":"opentelemetry","scope_name":"lab","flags":"1",` +
				`"detected_level":"warn","observed_timestamp":"1700000000000000006","severity_text":"WARN","severity_number":"13",` +
				`"trace_id":"` + traceID + `","order":"o-1","exception_message":"no bank"},` +
				`"values":[["1700000000000000005","order failed"],["broken"]]}],"stats":{}}}`))
		default:
			http.Error(w, "no", http.StatusInternalServerError)
		}
	}))
	defer server.Close()
	b := backend(t)
	c := New(Config{Tempo: server.URL, Loki: server.URL, Within: time.Minute})
	defer c.Close()
	m, found, err := c.Trace(t.Context(), traceID)
	if err != nil || !found {
		t.Fatalf("%t, %v", found, err)
	}
	if err := c.Send(t.Context(), b.Endpoints().OTLP, m); err != nil {
		t.Fatal(err)
	}
	if _, found, err := c.Trace(t.Context(), "ffff"); found || err != nil {
		t.Errorf("a trace that is not there: %t, %v", found, err)
	}
	m, records, until, err := c.Logs(t.Context(), at.Add(-time.Second), at.Add(time.Second))
	if err != nil || records != 1 || !until.Equal(at.Add(time.Second)) {
		t.Fatalf("%d records until %s, %v", records, until, err)
	}
	if err := c.Send(t.Context(), b.Endpoints().OTLP, m); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool {
		trace, traceErr := b.Archive().Trace(t.Context(), traceID)
		logs, logErr := b.Archive().Logs(t.Context(), telemetry.LogQuery{TraceID: traceID})
		return traceErr == nil && len(trace.Spans) == 1 && logErr == nil && len(logs) == 1 && logs[0].Body == "order failed" &&
			logs[0].Severity == "WARN" && logs[0].Service == "orders" && logs[0].Instance == "orders-2" && logs[0].Time.Equal(at) &&
			maps.Equal(logs[0].Attributes, map[string]any{"order": "o-1", "exception.message": "no bank"})
	})
}

// A part that is away says so, and which it is.
func TestAway(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "out of memory", http.StatusInternalServerError)
	}))
	defer server.Close()
	c := New(Config{Prometheus: server.URL, Lab: server.URL, Tempo: server.URL, Loki: "http://127.0.0.1:1"})
	defer c.Close()
	_, prometheusErr := c.Samples(t.Context(), time.Now(), time.Now())
	_, labErr := c.Messages(t.Context())
	_, _, tempoErr := c.Trace(t.Context(), traceID)
	_, _, _, lokiErr := c.Logs(t.Context(), time.Now(), time.Now())
	for want, err := range map[string]error{
		"asking Prometheus: ": prometheusErr, "asking the lab's backend: ": labErr, "asking Tempo: ": tempoErr, "asking Loki: ": lokiErr,
	} {
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

// Overlapping answers give each sample once; silence ends a series, and shows as scrapes that failed.
func TestFollower(t *testing.T) {
	begin := time.Unix(1700000000, 0)
	at := func(seconds float64) time.Time { return begin.Add(time.Duration(seconds * float64(time.Second))) }
	up := map[string]string{"__name__": "up", "service": "bank"}
	depth := map[string]string{"__name__": "door_queue_depth", "service": "bank"}
	series := func(labels map[string]string, points ...float64) telemetry.Series {
		s := telemetry.Series{Labels: labels}
		for _, p := range points {
			s.Points = append(s.Points, telemetry.Point{Time: at(p), Value: 1})
		}
		return s
	}
	f := NewFollower()
	if got := f.Add([]telemetry.Series{series(up, 1, 2), series(depth, 1, 2)}, at(2)); len(got) != 2 || len(got[0].Points) != 2 {
		t.Fatalf("got %+v", got)
	}
	if got := f.Add([]telemetry.Series{series(up, 1, 2, 3), series(depth, 2)}, at(3)); len(got) != 1 || len(got[0].Points) != 1 || !got[0].Points[0].Time.Equal(at(3)) {
		t.Fatalf("got %+v", got)
	}
	// The target is scraped, and has no such series any more.
	got := f.Add([]telemetry.Series{series(up, 4, 5)}, at(5.5))
	if len(got) != 2 || !got[1].Points[0].Time.Equal(at(2.5)) || math.Float64bits(got[1].Points[0].Value) != 0x7ff0000000000002 {
		t.Fatalf("its end: %+v", got)
	}
	// Nobody scrapes.
	got = f.Add(nil, at(10))
	if len(got) != 1 || len(got[0].Points) != 3 || got[0].Points[0].Value != 0 || !got[0].Points[2].Time.Equal(at(8)) {
		t.Fatalf("a hole: %+v", got)
	}
	if got := f.Add([]telemetry.Series{series(up, 10, 11), series(depth, 11)}, at(11)); len(got) != 2 || len(got[0].Points) != 2 {
		t.Fatalf("it goes on: %+v", got)
	}
}
