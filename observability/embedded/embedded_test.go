package embedded

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/faultline-lab/faultline/observability"
	"github.com/faultline-lab/faultline/observability/telemetry"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(victimDir); dir != "" {
		beKilled(dir)
	}
	if url := os.Getenv(sendersURL); url != "" {
		beSenders(url)
	}
	goleak.VerifyTestMain(m)
}

// startBackend starts a backend that scrapes fast, and closes it with the test.
func startBackend(t testing.TB, cfg Config) *Backend {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	if cfg.ScrapeInterval == 0 {
		cfg.ScrapeInterval = 100 * time.Millisecond
	}
	b, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeBackend(t, b) })
	return b
}

func closeBackend(t testing.TB, b *Backend) telemetry.Loss {
	t.Helper()
	loss, err := b.Close(context.Background())
	if err != nil {
		t.Errorf("close: %v", err)
	}
	return loss
}

// setup makes a real program's telemetry that goes to a backend.
func setup(t testing.TB, b *Backend, service string) *observability.Telemetry {
	t.Helper()
	tel, err := observability.Setup(t.Context(), observability.Config{
		Service: service, Instance: service + "-1", Endpoint: b.Endpoints().OTLP,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tel.Shutdown(context.Background()) })
	return tel
}

// eventually waits until check is content; the test fails with its last
// complaint after half a minute.
func eventually(t testing.TB, check func() string) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(30 * time.Second)
	for {
		complaint := check()
		if complaint == "" {
			return
		}
		select {
		case <-limit:
			t.Fatal(complaint)
		case <-tick.C:
		}
	}
}

// value is an instant query's only value.
func value(t testing.TB, a *Archive, expr string) (float64, bool) {
	t.Helper()
	series, err := a.Query(t.Context(), expr, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if len(series) != 1 {
		return 0, false
	}
	return series[0].Points[0].Value, true
}

// wantValue waits for an instant query to give a value.
func wantValue(t testing.TB, a *Archive, expr string, want float64) {
	t.Helper()
	eventually(t, func() string {
		if got, ok := value(t, a, expr); !ok || got != want {
			return expr + " does not become what it should"
		}
		return ""
	})
}

func TestStartRefuses(t *testing.T) {
	taken := t.TempDir()
	closeBackend(t, startBackend(t, Config{Dir: taken}))
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	other := startBackend(t, Config{})
	tests := []struct {
		name string
		cfg  Config
		want string
	}{
		{"a directory that holds a run", Config{Dir: taken}, "telemetry.db: already there; each run needs a directory of its own"},
		{"a file for a directory", Config{Dir: file}, "not a directory"},
		{"a port in use", Config{Dir: t.TempDir(), Listen: strings.TrimPrefix(other.Endpoints().OTLP, "http://")}, "address already in use"},
		{"an interval below what Prometheus can", Config{Dir: t.TempDir(), ScrapeInterval: time.Nanosecond}, "scrape interval 1ns: must be at least 10ms"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b, err := Start(t.Context(), test.cfg)
			if err == nil {
				closeBackend(t, b)
				t.Fatal("want an error")
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("error = %v, want %q in it", err, test.want)
			}
		})
	}
}

// A run's directory can be called anything.
func TestDirWithOddName(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a b?c#d%41&e=f")
	b := startBackend(t, Config{Dir: dir})
	closeBackend(t, b)
	if _, err := os.Stat(filepath.Join(dir, telemetryFile)); err != nil {
		t.Fatal(err)
	}
	a, err := OpenArchive(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Logs(t.Context(), telemetry.LogQuery{}); err != nil {
		t.Error(err)
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
}

func TestCloseTwiceGivesTheSame(t *testing.T) {
	b := startBackend(t, Config{})
	tel := setup(t, b, "x")
	_, span := tel.Tracer().Start(t.Context(), "s")
	span.End()
	if err := tel.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	first := closeBackend(t, b)
	if second := closeBackend(t, b); first != second || first.SpansReceived != 1 {
		t.Errorf("closed with %+v, then with %+v", first, second)
	}
}

// What senders say they dropped is lost as well, but what the backend itself
// refused is not counted twice.
func TestLossCountsWhatSendersDropped(t *testing.T) {
	lab := prometheus.NewRegistry()
	dropped := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "telemetry_spans_dropped_total"}, []string{"cause"})
	lab.MustRegister(dropped)
	b := startBackend(t, Config{Lab: lab})
	dropped.WithLabelValues("queue_full").Add(3)
	dropped.WithLabelValues("export_failed").Add(4)
	dropped.WithLabelValues("rejected").Add(100)
	wantValue(t, b.Archive(), `sum(telemetry_spans_dropped_total)`, 107)
	if loss := b.Loss(); loss.SpansDropped != 7 {
		t.Errorf("spans dropped = %d, want 7", loss.SpansDropped)
	}
	dropped.WithLabelValues("queue_full").Add(1)
	if loss := closeBackend(t, b); loss.SpansDropped != 8 {
		t.Errorf("spans dropped at the end = %d, want 8: the last scrape has it", loss.SpansDropped)
	}
}
