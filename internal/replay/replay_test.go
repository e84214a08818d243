package replay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/faultline-lab/faultline/internal/plan"
	"github.com/faultline-lab/faultline/internal/record"
	"github.com/faultline-lab/faultline/internal/system"
	"github.com/faultline-lab/faultline/observability"
	"github.com/faultline-lab/faultline/observability/embedded"
	"github.com/faultline-lab/faultline/observability/telemetry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// profileBody is a profile of this test.
func profileBody(t *testing.T) *bytes.Buffer {
	t.Helper()
	var out bytes.Buffer
	if err := pprof.Lookup("heap").WriteTo(&out, 0); err != nil {
		t.Fatal(err)
	}
	return &out
}

// recorded makes the record of a run: 20 spans, 10 log records, some metrics with an exemplar, one profile and a verdict.
func recorded(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	p := &plan.Plan{Scenario: "short", Variant: "naive", System: "one", Phases: []plan.Phase{{Name: "baseline", End: time.Second}}}
	w, err := record.Create(root, record.Meta{Scenario: "short", Variant: "naive", System: "one", Started: time.Now()}, p, &system.System{Name: "one"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	lab := prometheus.NewRegistry()
	wait := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "wait_seconds", Buckets: []float64{1}})
	lab.MustRegister(wait)
	wait.(prometheus.ExemplarObserver).ObserveWithExemplar(0.5, prometheus.Labels{"trace_id": "abc"})
	b, err := embedded.Start(t.Context(), embedded.Config{Dir: w.Dir(), Lab: lab, ScrapeInterval: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	service, err := observability.Setup(t.Context(), observability.Config{Service: "shop", Endpoint: b.Endpoints().OTLP})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		ctx, span := service.Tracer().Start(t.Context(), "work")
		if i%2 == 0 {
			service.Log.InfoContext(ctx, "did it")
		}
		span.End()
	}
	if err := service.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	ingest(t, b.Endpoints().Pyroscope)
	eventually(t, func() string {
		series, err := b.Archive().Query(t.Context(), `count_over_time(wait_seconds_count[1m])`, time.Now())
		if err != nil || len(series) == 0 || series[0].Points[0].Value < 3 {
			return fmt.Sprint("no three scrapes: ", series, err)
		}
		return ""
	})
	loss, err := b.Close(t.Context())
	if err != nil || loss.SpansReceived != 20 || loss.LogsReceived != 10 {
		t.Fatalf("%+v, %v", loss, err)
	}
	meta := w.Meta()
	meta.Load, meta.Ended, meta.Outcome = meta.Started, time.Now(), record.Completed
	if err := w.Close(meta); err != nil {
		t.Fatal(err)
	}
	verdict := `{"outcome": "fail", "findings": [{"that": "goodput(browse) >= 99%", "in": "fault", "outcome": "fail"}, {"that": "violations() == 0", "outcome": "pass"}]}`
	if err := os.WriteFile(filepath.Join(w.Dir(), record.VerdictFile), []byte(verdict), 0o644); err != nil {
		t.Fatal(err)
	}
	return w.Dir()
}

func ingest(t *testing.T, address string) {
	t.Helper()
	at := time.Now().Add(-time.Second)
	url := fmt.Sprintf("%s/ingest?name=shop{instance=shop-1}&from=%d&until=%d", address, at.Unix(), at.Unix()+1)
	resp, err := http.Post(url, "application/octet-stream", profileBody(t))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("a profile was refused: %s", resp.Status)
	}
}

func eventually(t *testing.T, check func() string) {
	t.Helper()
	deadline, tick := time.After(20*time.Second), time.NewTicker(5*time.Millisecond)
	defer tick.Stop()
	for problem := check(); problem != ""; problem = check() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal(problem)
		}
	}
}

// stack is a backend that takes everything, as the full stack does.
func stack(t *testing.T, cfg embedded.Config) (*embedded.Backend, Config) {
	t.Helper()
	cfg.Dir, cfg.RemoteWrite = t.TempDir(), true
	b, err := embedded.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := b.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	e := b.Endpoints()
	return b, Config{OTLP: e.OTLP, Prometheus: e.Prometheus, Pyroscope: e.Pyroscope}
}

func part(t *testing.T, r Report, what string) Part {
	t.Helper()
	for _, p := range r.Parts {
		if p.What == what {
			return p
		}
	}
	t.Fatalf("nothing was sent of %s: %+v", what, r.Parts)
	return Part{}
}

// What arrives is what was recorded, counted and asked for.
func TestReplay(t *testing.T) {
	dir := recorded(t)
	b, to := stack(t, embedded.Config{})
	told := 0
	to.Tell = func(Part) { told++ }
	report, err := Run(t.Context(), dir, to)
	if err := errors.Join(err, report.Err()); err != nil {
		t.Fatal(err)
	}
	if told < 5 {
		t.Errorf("told only %d times", told)
	}
	loss := b.Loss()
	for what, want := range map[string]int64{Spans: loss.SpansReceived, LogRecords: loss.LogsReceived, Profiles: 1, Verdict: 3 * (verdictFor + 1)} {
		if p := part(t, report, what); p.Sent != want || p.Refused != 0 || p.Sent == 0 {
			t.Errorf("%s: sent %d, refused %d; there are %d", what, p.Sent, p.Refused, want)
		}
	}
	if p := part(t, report, Samples); p.Extra != "1 exemplars, 0 native histograms" || p.Sent < 20 {
		t.Errorf("samples: %+v", p)
	}
	source, err := embedded.OpenArchive(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	same(t, source, b.Archive(), report.To)
	for expr, want := range map[string]float64{
		`faultline_run_verdict{scenario="short", variant="naive", service="faultline"}`: 2,
		`faultline_finding{that="goodput(browse) >= 99%", in="fault"}`:                  2,
		`faultline_finding{that="violations() == 0", in=""}`:                            1,
	} {
		got, err := b.Archive().Query(t.Context(), expr, report.To.Add(verdictAfter+time.Second))
		if err != nil || len(got) != 1 || got[0].Points[0].Value != want {
			t.Errorf("%s is %v, %v; want %v", expr, got, err, want)
		}
	}
}

// same asks both archives the same questions.
func same(t *testing.T, source, target *embedded.Archive, at time.Time) {
	t.Helper()
	for _, expr := range []string{`wait_seconds_bucket`, `count_over_time(up[1m])`} {
		want, err1 := source.Query(t.Context(), expr, at)
		got, err2 := target.Query(t.Context(), expr, at)
		if err := errors.Join(err1, err2); err != nil || len(want) == 0 || !reflect.DeepEqual(got, want) {
			t.Errorf("%s is %v, was %v (%v)", expr, got, want, err)
		}
	}
	eventually(t, func() string { // what was received is written a moment later
		want, err1 := source.Traces(t.Context(), telemetry.TraceQuery{Limit: 100})
		got, err2 := target.Traces(t.Context(), telemetry.TraceQuery{Limit: 100})
		if err := errors.Join(err1, err2); err != nil || len(want) != 20 || !reflect.DeepEqual(got, want) {
			return fmt.Sprintf("%d traces of %d arrived as they were (%v)", len(got), len(want), err)
		}
		logs, err := target.Logs(t.Context(), telemetry.LogQuery{})
		if err != nil || len(logs) != 10 || logs[0].TraceID == "" {
			return fmt.Sprintf("%d log records arrived (%v)", len(logs), err)
		}
		return ""
	})
	want, err1 := source.Profiles(t.Context(), embedded.ProfileQuery{})
	got, err2 := target.Profiles(t.Context(), embedded.ProfileQuery{})
	if err := errors.Join(err1, err2); err != nil || len(want) != 1 || len(got) != 1 {
		t.Fatalf("profiles %v, were %v (%v)", got, want, err)
	}
	got[0].File, want[0].File, got[0].Bytes, want[0].Bytes = "", "", 0, 0
	if !reflect.DeepEqual(got, want) {
		t.Errorf("the profile is %+v, was %+v", got[0], want[0])
	}
}

// A store that is full says so, and it is counted.
func TestRefused(t *testing.T) {
	dir := recorded(t)
	_, to := stack(t, embedded.Config{Limits: embedded.Limits{Spans: 1, MessageBytes: 100}})
	to.Prometheus, to.Pyroscope = "", ""
	report, err := Run(t.Context(), dir, to)
	if err != nil {
		t.Fatal(err)
	}
	if p := part(t, report, Spans); p.Sent != 0 || p.Refused != 20 || p.Why == "" {
		t.Errorf("%+v", p)
	}
	if err := report.Err(); err == nil || !strings.Contains(err.Error(), "refused 20 of 20") {
		t.Errorf("the error is %v", err)
	}
}

// answering is a program that says the same to everything.
func answering(t *testing.T, status int, text string) (string, *int) {
	t.Helper()
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			asked++
			w.WriteHeader(status)
			_, _ = w.Write([]byte(text))
		}
	}))
	t.Cleanup(server.Close)
	return server.URL, &asked
}

func TestErrorsSayWhatToDo(t *testing.T) {
	dir := recorded(t)
	for _, test := range []struct {
		name   string
		status int
		text   string
		to     func(url string) Config
		want   string
	}{
		{"receiver off", 404, "remote write receiver needs to be enabled with --web.enable-remote-write-receiver", prometheusAt, "--web.enable-remote-write-receiver"},
		{"no Prometheus", 404, "", prometheusAt, "is it a Prometheus?"},
		{"an older protocol", 415, "unknown", prometheusAt, "remote write 2.0"},
		{"too old", 400, "out of order sample", prometheusAt, "storage.tsdb.out_of_order_time_window"},
		{"too far behind", 400, "entry too far behind", func(url string) Config { return Config{Loki: url} }, "ingester.max_chunk_age"},
		{"no receiver of OTLP", 404, "", func(url string) Config { return Config{OTLP: url} }, "is it a receiver of OTLP over HTTP?"},
		{"no Pyroscope", 404, "", func(url string) Config { return Config{Pyroscope: url} }, "is it a Pyroscope?"},
		{"a Loki that refuses", 400, "entry too far behind", func(url string) Config { return Config{Loki: url} }, "400: entry too far behind"},
	} {
		t.Run(test.name, func(t *testing.T) {
			url, _ := answering(t, test.status, test.text)
			report, err := Run(t.Context(), dir, test.to(url))
			if err != nil {
				t.Fatal(err)
			}
			if err := report.Err(); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("the error is %v, and does not say %q", err, test.want)
			}
		})
	}
}

func prometheusAt(url string) Config { return Config{Prometheus: url} }

// A program that is busy is asked again, and given up in the end.
// Receivers of OTLP say in protobuf why they refuse, as Loki does.
func TestTextOfAStatus(t *testing.T) {
	status := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), 3)
	status = protowire.AppendBytes(protowire.AppendTag(status, 2, protowire.BytesType), []byte("entry too far behind"))
	for name, test := range map[string]struct {
		kind string
		body []byte
		want string
	}{
		"a status":       {"application/x-protobuf", status, "400: entry too far behind"},
		"as Loki has it": {"application/octet-stream", status, "400: entry too far behind"},
		"without text":   {"application/x-protobuf", status[:2], "400: Bad Request"},
		"not protobuf":   {"application/x-protobuf", []byte("\xff"), "400: Bad Request"},
		"nothing at all": {"application/x-protobuf", nil, "400: Bad Request"},
		"plain":          {"text/plain", []byte("entry too far behind"), "400: entry too far behind"},
	} {
		got := answer{http.StatusBadRequest, http.Header{"Content-Type": {test.kind}}, test.body}
		if got.text() != test.want {
			t.Errorf("%s: %q, not %q", name, got.text(), test.want)
		}
	}
}

func TestBusy(t *testing.T) {
	url, asked := answering(t, http.StatusServiceUnavailable, "later")
	waited := 0
	report, err := Run(t.Context(), recorded(t), Config{Pyroscope: url, pause: func(time.Duration) { waited++ }})
	if err != nil {
		t.Fatal(err)
	}
	if p := part(t, report, Profiles); p.Refused != 1 || *asked != attempts || waited != attempts-1 {
		t.Errorf("asked %d times, waited %d times, %+v", *asked, waited, p)
	}
}

func TestNobodyThere(t *testing.T) {
	dir := recorded(t)
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	for _, test := range []struct {
		name string
		to   Config
		want string
	}{
		{"nowhere", Config{}, ErrNowhere.Error()},
		{"nobody listens", Config{Prometheus: server.URL}, "--prometheus: nobody listens at " + server.URL + ": is the stack up? (make up)"},
		{"no address", Config{OTLP: "localhost:4318"}, `--otlp "localhost:4318": must be a base address`},
	} {
		if _, err := Run(t.Context(), dir, test.to); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: the error is %v", test.name, err)
		}
	}
	if _, err := Run(t.Context(), t.TempDir(), Config{OTLP: "http://127.0.0.1:1"}); err == nil || !strings.Contains(err.Error(), "not the directory of a run") {
		t.Errorf("no run: %v", err)
	}
}

// Ctrl-C ends it at the next message, and what was sent is told.
func TestInterrupted(t *testing.T) {
	dir := recorded(t)
	_, to := stack(t, embedded.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	to.Tell = func(Part) { cancel() }
	report, err := Run(ctx, dir, to)
	if !errors.Is(err, context.Canceled) || len(report.Parts) != 1 || report.Parts[0].Sent == 0 || report.Parts[0].Err != nil {
		t.Errorf("%v, %+v", err, report.Parts)
	}
}
