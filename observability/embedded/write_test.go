package embedded

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	colmetricspb "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	"google.golang.org/protobuf/proto"

	"github.com/faultline-lab/faultline/observability/telemetry"
)

// write sends a message of remote write and returns what was said to it.
func write(t *testing.T, b *Backend, m WriteMessage) (code int, header http.Header, text string) {
	t.Helper()
	compressed, err := m.Body()
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, b.Endpoints().Prometheus+"/api/v1/write", bytes.NewReader(compressed))
	if err != nil {
		t.Fatal(err)
	}
	for key, value := range WriteMessageHeader() {
		req.Header.Set(key, value)
	}
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(body)
}

// pushHistogram sends an exponential histogram over OTLP: it becomes a native one.
func pushHistogram(t *testing.T, b *Backend) {
	t.Helper()
	now := uint64(time.Now().UnixNano())
	sum := 6.0
	message, err := proto.Marshal(&colmetricspb.ExportMetricsServiceRequest{ResourceMetrics: []*metricspb.ResourceMetrics{{ScopeMetrics: []*metricspb.ScopeMetrics{{Metrics: []*metricspb.Metric{{
		Name: "work", Data: &metricspb.Metric_ExponentialHistogram{ExponentialHistogram: &metricspb.ExponentialHistogram{
			AggregationTemporality: metricspb.AggregationTemporality_AGGREGATION_TEMPORALITY_CUMULATIVE,
			DataPoints: []*metricspb.ExponentialHistogramDataPoint{{
				StartTimeUnixNano: now - 1e9, TimeUnixNano: now, Count: 3, Sum: &sum, Scale: 1,
				Positive: &metricspb.ExponentialHistogramDataPoint_Buckets{Offset: 1, BucketCounts: []uint64{2, 1}},
			}},
		}},
	}}}}}}})
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Post(b.Endpoints().OTLP+"/v1/metrics", protobufType, bytes.NewReader(message))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("pushing a histogram: %s", resp.Status)
	}
}

// recordMetrics makes a recorded run and returns its directory.
func recordMetrics(t *testing.T) string {
	t.Helper()
	lab := prometheus.NewRegistry()
	calls := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "calls_total"}, []string{"callee"})
	wait := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "wait_seconds", Buckets: []float64{1}})
	lab.MustRegister(calls, wait)
	calls.WithLabelValues("bank").Add(5)
	wait.(prometheus.ExemplarObserver).ObserveWithExemplar(0.5, prometheus.Labels{"trace_id": "abc"})
	dir := t.TempDir()
	b := startBackend(t, Config{Dir: dir, Lab: lab, ScrapeInterval: 20 * time.Millisecond})
	pushHistogram(t, b)
	wantValue(t, b.Archive(), `histogram_count(work)`, 3)
	eventually(t, func() string {
		if n, _ := value(t, b.Archive(), `count_over_time(calls_total[1m])`); n < 3 {
			return fmt.Sprintf("%v scrapes", n)
		}
		return ""
	})
	closeBackend(t, b)
	return dir
}

func messages(t *testing.T, a *Archive) []WriteMessage {
	t.Helper()
	var all []WriteMessage
	if err := a.WriteMessages(t.Context(), func(m WriteMessage) error { all = append(all, m); return nil }); err != nil {
		t.Fatal(err)
	}
	return all
}

// What was recorded arrives in another Prometheus as it was: samples, native histograms, exemplars, and the end.
func TestWriteMessages(t *testing.T) {
	source, err := OpenArchive(recordMetrics(t))
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	b := startBackend(t, Config{RemoteWrite: true})
	all := messages(t, source)
	if len(all) != 1 || all[0].Histograms != 1 || all[0].Exemplars != 1 || all[0].Samples < 10 {
		t.Fatalf("messages %+v", all)
	}
	m := all[0]
	for range 2 { // what is there already is no error
		code, header, text := write(t, b, m)
		if code != http.StatusNoContent || header.Get("X-Prometheus-Remote-Write-Samples-Written") != fmt.Sprint(m.Samples) ||
			header.Get("X-Prometheus-Remote-Write-Histograms-Written") != "1" || header.Get("X-Prometheus-Remote-Write-Exemplars-Written") != "1" {
			t.Fatalf("answer %d %q, header %v, want all of %d samples", code, text, header, m.Samples)
		}
	}
	end := m.To.Add(-staleAfter)
	for _, expr := range []string{
		`calls_total`, `count_over_time(calls_total[1h])`, `wait_seconds_bucket`, `histogram_sum(work)`, `up`,
		`histogram_quantile(0.5, work)`,
	} {
		want, err1 := source.Query(t.Context(), expr, end)
		got, err2 := b.Archive().Query(t.Context(), expr, end)
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		if len(want) == 0 || !reflect.DeepEqual(got, want) {
			t.Errorf("%s is %v, was %v", expr, got, want)
		}
	}
	exemplars, err := b.Archive().Exemplars(t.Context(), `wait_seconds_bucket`, m.From.Add(-time.Minute), m.To)
	if err != nil || len(exemplars) != 1 || exemplars[0].TraceID != "abc" {
		t.Errorf("exemplars %v, %v", exemplars, err)
	}
	if after, err := b.Archive().Query(t.Context(), `{__name__!=""}`, m.To.Add(time.Second)); err != nil || len(after) != 0 {
		t.Errorf("a second after the run's end there is %v, %v", after, err)
	}
}

func TestNewWriteMessage(t *testing.T) {
	b := startBackend(t, Config{RemoteWrite: true})
	at := time.Now().Add(-30 * 24 * time.Hour).Truncate(time.Millisecond) // long ago, and nothing else there
	m, err := NewWriteMessage([]telemetry.Series{{Labels: map[string]string{"__name__": "faultline_run_verdict", "in": ""}, Points: []telemetry.Point{{Time: at, Value: 1}}}})
	if err != nil || m.Samples != 2 || !m.From.Equal(at) || !m.To.Equal(at.Add(staleAfter)) {
		t.Fatalf("message %+v, %v", m, err)
	}
	if code, _, text := write(t, b, m); code != http.StatusNoContent {
		t.Fatalf("answer %d %q", code, text)
	}
	got, err := b.Archive().Query(t.Context(), "faultline_run_verdict", at)
	if err != nil || len(got) != 1 || got[0].Points[0].Value != 1 || len(got[0].Labels) != 1 {
		t.Errorf("the verdict is %v, %v", got, err)
	}
	if none, err := NewWriteMessage(nil); err != nil || none.Plain != nil {
		t.Errorf("a message of nothing: %v, %v", none, err)
	}
}

// A backend that was not told to takes no metrics from outside.
func TestRemoteWriteIsOffByDefault(t *testing.T) {
	b := startBackend(t, Config{})
	code, _, text := write(t, b, WriteMessage{Plain: []byte("x")})
	if code != http.StatusNotFound || !strings.Contains(text, "remote write receiver needs to be enabled") {
		t.Errorf("answer %d %q", code, text)
	}
}

func TestWriteMessagesStopsAtAnError(t *testing.T) {
	source, err := OpenArchive(recordMetrics(t))
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	enough := errors.New("enough")
	if err := source.WriteMessages(t.Context(), func(WriteMessage) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("got %v", err)
	}
}
