package embedded

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/faultline-lab/faultline/observability/telemetry"
)

// program serves a registry as a service's admin port does.
func program(t *testing.T, reg *prometheus.Registry) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(promhttp.HandlerFor(reg, promhttp.HandlerOpts{EnableOpenMetrics: true}))
	t.Cleanup(server.Close)
	return server
}

func TestScraping(t *testing.T) {
	reg := prometheus.NewRegistry()
	calls := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "edge_calls_total"}, []string{"callee", "service"})
	dotted := prometheus.NewGauge(prometheus.GaugeOpts{Name: "queue.depth"})
	wait := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "wait_seconds", Buckets: []float64{0.1, 1}})
	reg.MustRegister(calls, dotted, wait)
	calls.WithLabelValues("bank", "own").Add(5)
	dotted.Set(3)
	wait.(prometheus.ExemplarObserver).ObserveWithExemplar(0.5, prometheus.Labels{"trace_id": "4BF92F3577B34DA6A3CE929D0E0E4736"})
	server := program(t, reg)

	b := startBackend(t, Config{})
	a := b.Archive()
	if err := b.SetTargets([]Target{{Service: "payments", Instance: "payments-2", URL: server.URL + "/metrics"}}); err != nil {
		t.Fatal(err)
	}
	wantValue(t, a, `up{service="payments",instance="payments-2",job="payments"}`, 1)
	// A label of the program's own gives way to the target's.
	wantValue(t, a, `edge_calls_total{service="payments",exported_service="own",callee="bank"}`, 5)
	wantValue(t, a, `{"queue.depth",service="payments"}`, 3)
	wantValue(t, a, `wait_seconds_bucket{le="1.0"}`, 1)

	exemplars, err := a.Exemplars(t.Context(), `rate(wait_seconds_bucket{service="payments"}[5s])`, time.Now().Add(-time.Minute), time.Now())
	if err != nil || len(exemplars) != 1 {
		t.Fatalf("exemplars = %v, %v", exemplars, err)
	}
	if e := exemplars[0]; e.TraceID != "4bf92f3577b34da6a3ce929d0e0e4736" || e.Value != 0.5 || e.Labels["le"] != "1.0" || time.Since(e.Time) > time.Minute {
		t.Errorf("exemplar = %+v", e)
	}
}

// The series of a target that dies end at once, its up is 0, and the failed
// scrapes are counted; a target that is stopped after StopScraping leaves no
// such trace.
func TestTargetThatDies(t *testing.T) {
	reg := prometheus.NewRegistry()
	busy := prometheus.NewGauge(prometheus.GaugeOpts{Name: "door_busy_workers"})
	reg.MustRegister(busy)
	busy.Set(4)
	dies, lives := program(t, reg), program(t, reg)
	b := startBackend(t, Config{})
	a := b.Archive()
	if err := b.SetTargets([]Target{{Service: "a", Instance: "a-1", URL: dies.URL}, {Service: "b", Instance: "b-1", URL: lives.URL}}); err != nil {
		t.Fatal(err)
	}
	wantValue(t, a, `sum(door_busy_workers)`, 8)
	if loss := b.Loss(); loss.ScrapesFailed != 0 {
		t.Errorf("failed scrapes = %d", loss.ScrapesFailed)
	}
	dies.CloseClientConnections()
	dies.Close()
	wantValue(t, a, `up{service="a"}`, 0)
	wantValue(t, a, `sum(door_busy_workers)`, 4) // not 8: no look back over the stale marker

	busy.Set(5)
	b.StopScraping() // takes the last value
	lives.CloseClientConnections()
	lives.Close()
	wantValue(t, a, `sum(door_busy_workers)`, 5)
	wantValue(t, a, `up{service="b"}`, 1)
	if loss := closeBackend(t, b); loss.ScrapesFailed < 1 {
		t.Errorf("failed scrapes = %d", loss.ScrapesFailed)
	}
}

func TestSetTargetsReplaces(t *testing.T) {
	var hits [2]atomic.Int64
	var targets []Target
	for i := range hits {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			hits[i].Add(1)
			fmt.Fprintf(w, "which %d\n", i)
			if r.URL.Path != "/admin/metrics" || r.URL.Query().Get("format") != "text" {
				t.Errorf("target %d was asked for %s", i, r.URL)
			}
		}))
		t.Cleanup(server.Close)
		targets = append(targets, Target{Service: "s", Instance: fmt.Sprint("s-", i), URL: server.URL + "/admin/metrics?format=text"})
	}
	b := startBackend(t, Config{})
	for i := range targets {
		if err := b.SetTargets(targets[i : i+1]); err != nil {
			t.Fatal(err)
		}
		wantValue(t, b.Archive(), fmt.Sprintf(`which{instance="s-%d"}`, i), float64(i))
	}
	// The first was scraped once more as it went, and then no more.
	last := hits[0].Load()
	before := hits[1].Load()
	eventually(t, func() string {
		if hits[1].Load() < before+3 {
			return "the second target is not scraped"
		}
		return ""
	})
	if hits[0].Load() != last {
		t.Error("the first target is still scraped")
	}
}

func TestSetTargetsRefuses(t *testing.T) {
	b := startBackend(t, Config{})
	err := b.SetTargets([]Target{
		{Service: "a", Instance: "a-1", URL: "ftp://x/metrics"},
		{Service: "b", Instance: "b-1", URL: "http://%zz"},
		{Service: "c", Instance: "c-1", URL: "http://127.0.0.1:1/metrics"},
	})
	if err == nil {
		t.Fatal("want an error")
	}
	for _, want := range []string{`target a-1: url "ftp://x/metrics": must be http://host:port/path`, "target b-1: "} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error = %v, want %q in it", err, want)
		}
	}
}

// A target that shows too much is refused as a whole, and counted.
func TestScrapeIsBounded(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for i := range 20 {
			fmt.Fprintf(w, "line{n=\"%d\"} 1\n", i)
		}
	}))
	t.Cleanup(server.Close)
	b := startBackend(t, Config{Limits: Limits{ScrapeSamples: 10}})
	if err := b.SetTargets([]Target{{Service: "wide", Instance: "wide-1", URL: server.URL}}); err != nil {
		t.Fatal(err)
	}
	wantValue(t, b.Archive(), `up{service="wide"}`, 0)
	if _, ok := value(t, b.Archive(), `count(line)`); ok {
		t.Error("some of it was stored")
	}
	eventually(t, func() string {
		if b.Loss().ScrapesFailed == 0 {
			return "the failed scrape is not counted"
		}
		return ""
	})
}

func TestLabIsScraped(t *testing.T) {
	lab := prometheus.NewRegistry()
	fault := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "faultline_fault_active"}, []string{"fault"})
	lab.MustRegister(fault)
	fault.WithLabelValues("slow-bank").Set(1)
	b := startBackend(t, Config{Lab: lab})
	wantValue(t, b.Archive(), `faultline_fault_active{service="faultline",instance="faultline",fault="slow-bank"}`, 1)
	fault.WithLabelValues("slow-bank").Set(0)
	closeBackend(t, b)
	a, err := OpenArchive(b.cfg.Dir)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if got, ok := value(t, a, `faultline_fault_active`); !ok || got != 0 {
		t.Errorf("at the end the fault is %v: the last scrape should have seen it gone", got)
	}
}

func TestQuery(t *testing.T) {
	lab := prometheus.NewRegistry()
	gauge := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "g"}, []string{"n"})
	lab.MustRegister(gauge)
	for i, n := range []string{"c", "a", "b"} {
		gauge.WithLabelValues(n).Set(float64(i))
	}
	b := startBackend(t, Config{Lab: lab})
	a := b.Archive()
	wantValue(t, a, `count(g)`, 3)

	values := func(expr string) (out []float64) {
		series, err := a.Query(t.Context(), expr, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range series {
			out = append(out, s.Points[len(s.Points)-1].Value)
		}
		return out
	}
	for expr, want := range map[string]string{
		"g":                   "[1 2 0]", // by label: a, b, c
		"sort_desc(g)":        "[2 1 0]",
		"topk(2, g)":          "[2 1]",
		"g{n=\"a\"}[1m]":      "[1]",
		"1 + 1":               "[2]",
		"absent(nothing)":     "[1]",
		"nothing":             "[]",
		"max by (service)(g)": "[2]",
	} {
		if got := fmt.Sprint(values(expr)); got != want {
			t.Errorf("%s = %s, want %s", expr, got, want)
		}
	}
	now := time.Now()
	line, err := a.QueryRange(t.Context(), `g{n="b"}`, now.Add(-time.Second), now, 100*time.Millisecond)
	if err != nil || len(line) != 1 || len(line[0].Points) == 0 || line[0].Labels["service"] != LabService {
		t.Errorf("range = %v, %v", line, err)
	}
	for _, bad := range []func() ([]telemetry.Series, error){
		func() ([]telemetry.Series, error) { return a.Query(t.Context(), `sum(`, now) },
		func() ([]telemetry.Series, error) { return a.Query(t.Context(), `"text"`, now) },
		func() ([]telemetry.Series, error) { return a.QueryRange(t.Context(), `sum(`, now, now, time.Second) },
		func() ([]telemetry.Series, error) { return a.QueryRange(t.Context(), `g`, now, now, 0) },
		func() ([]telemetry.Series, error) {
			return a.QueryRange(t.Context(), `g`, now, now.Add(-1), time.Second)
		},
	} {
		if got, err := bad(); err == nil {
			t.Errorf("got %v, want an error", got)
		}
	}
	if _, err := a.Exemplars(t.Context(), `sum(`, now, now); err == nil {
		t.Error("exemplars of nonsense: want an error")
	}
}
