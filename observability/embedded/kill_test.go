package embedded

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/faultline-lab/faultline/observability"
	"github.com/faultline-lab/faultline/observability/telemetry"
)

// victimDir is set in a process that runs a backend until it is killed.
const victimDir = "FAULTLINE_TEST_VICTIM_DIR"

// beKilled runs a backend under dir, says so once its stores hold something,
// and goes on until the process is killed.
func beKilled(dir string) {
	ctx := context.Background()
	lab := prometheus.NewRegistry()
	gauge := prometheus.NewGauge(prometheus.GaugeOpts{Name: "faultline_phase_active"})
	hist := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "wait_seconds", Buckets: []float64{1}})
	lab.MustRegister(gauge, hist)
	gauge.Set(7)
	hist.(prometheus.ExemplarObserver).ObserveWithExemplar(0.5, prometheus.Labels{"trace_id": "abc"})
	b, err := Start(ctx, Config{Dir: dir, Lab: lab, ScrapeInterval: 20 * time.Millisecond})
	if err != nil {
		panic(err)
	}
	tel, err := observability.Setup(ctx, observability.Config{Service: "victim", Endpoint: b.Endpoints().OTLP})
	if err != nil {
		panic(err)
	}
	said := false
	for range time.Tick(time.Millisecond) {
		spanCtx, span := tel.Tracer().Start(ctx, "work")
		tel.Log.InfoContext(spanCtx, "working")
		span.End()
		if said {
			continue
		}
		traces, _ := b.Archive().Traces(ctx, telemetry.TraceQuery{})
		logs, _ := b.Archive().Logs(ctx, telemetry.LogQuery{})
		series, _ := b.Archive().Query(ctx, "faultline_phase_active", time.Now())
		if len(traces) > 0 && len(logs) > 0 && len(series) > 0 {
			fmt.Println("ready")
			said = true
		}
	}
}

// A lab that is killed leaves an archive that opens, and opening it changes
// nothing in it.
func TestArchiveOfAKilledLab(t *testing.T) {
	dir := t.TempDir()
	victim := exec.Command(os.Args[0])
	victim.Env = append(os.Environ(), victimDir+"="+dir)
	victim.Stderr = os.Stderr
	stdout, err := victim.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil || line != "ready\n" {
		t.Errorf("the victim says %q, %v", line, err)
	}
	if err := victim.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = victim.Wait() // it was killed
	if _, err := os.Stat(filepath.Join(dir, telemetryFile+"-wal")); err != nil {
		t.Errorf("there is nothing to recover from: %v", err)
	}
	tearLog(t, dir)

	before := hashes(t, dir)
	t.Setenv("TMPDIR", t.TempDir())
	for range 2 {
		a, err := OpenArchive(dir)
		if err != nil {
			t.Fatal(err)
		}
		wantRecorded(t, a)
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	}
	if after := hashes(t, dir); !reflect.DeepEqual(before, after) {
		t.Errorf("opening changed the files:\n%v\n%v", before, after)
	}
	if left, _ := filepath.Glob(filepath.Join(os.TempDir(), "faultline-archive-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// tearLog leaves half a record at the end of the metrics' log, as a machine
// that stops in the middle of writing does.
func tearLog(t *testing.T, dir string) {
	t.Helper()
	segments, err := filepath.Glob(filepath.Join(dir, metricsDir, "wal", "0*"))
	if err != nil || len(segments) == 0 {
		t.Fatalf("segments %v, %v", segments, err)
	}
	last := segments[len(segments)-1]
	body, err := os.ReadFile(last)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(last, body[:len(body)-3], 0o600); err != nil {
		t.Fatal(err)
	}
}

func wantRecorded(t *testing.T, a *Archive) {
	t.Helper()
	if traces, err := a.Traces(t.Context(), telemetry.TraceQuery{Service: "victim"}); err != nil || len(traces) == 0 {
		t.Errorf("traces: %v, %v", traces, err)
	}
	if logs, err := a.Logs(t.Context(), telemetry.LogQuery{Contains: "working"}); err != nil || len(logs) == 0 {
		t.Errorf("logs: %v, %v", logs, err)
	}
	if got, ok := value(t, a, "faultline_phase_active"); !ok || got != 7 {
		t.Errorf("the gauge is %v", got)
	}
	now := time.Now()
	if exemplars, err := a.Exemplars(t.Context(), "wait_seconds_bucket", now.Add(-time.Minute), now); err != nil || len(exemplars) != 1 {
		t.Errorf("exemplars: %v, %v", exemplars, err)
	}
}

// hashes gives every file under dir with its content's hash.
func hashes(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := make(map[string]string)
	if err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			out[path] = "directory"
			return err
		}
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		defer file.Close()
		sum := sha256.New()
		if _, err := io.Copy(sum, file); err != nil {
			return err
		}
		out[path] = fmt.Sprintf("%x", sum.Sum(nil))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

// A whole archive is read where it lies, and not changed either.
func TestArchiveIsNotChanged(t *testing.T) {
	b := startBackend(t, Config{Lab: prometheus.NewRegistry()})
	wantValue(t, b.Archive(), "up", 1)
	closeBackend(t, b)
	before := hashes(t, b.cfg.Dir)
	for path := range before {
		if strings.HasSuffix(path, "-wal") || strings.HasSuffix(path, "-shm") {
			t.Errorf("%s is left after a clean close", path)
		}
	}
	a, err := OpenArchive(b.cfg.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if got, ok := value(t, a, "up"); !ok || got != 1 {
		t.Errorf("up = %v", got)
	}
	if _, err := a.Traces(t.Context(), telemetry.TraceQuery{}); err != nil {
		t.Error(err)
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	if after := hashes(t, b.cfg.Dir); !reflect.DeepEqual(before, after) {
		t.Errorf("opening changed the files:\n%v\n%v", before, after)
	}
}

func TestOpenArchiveRefuses(t *testing.T) {
	b := startBackend(t, Config{})
	closeBackend(t, b)
	whole := b.cfg.Dir
	change := func(change func(dir string) error) string {
		dir := t.TempDir()
		if err := errors.Join(copyTree(whole, dir), change(dir)); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	tests := []struct {
		name, dir, want string
	}{
		{"no such directory", filepath.Join(t.TempDir(), "no"), "no such file or directory"},
		{"an empty one", t.TempDir(), "telemetry.db: no such file or directory"},
		{"no metrics", change(func(dir string) error { return os.RemoveAll(filepath.Join(dir, metricsDir)) }), "metrics: no such file or directory"},
		{"not a database", change(func(dir string) error {
			return os.WriteFile(filepath.Join(dir, telemetryFile), []byte("no database at all, but longer than a header of one hundred bytes would be, so that it is read"), 0o600)
		}), "file is not a database"},
		{"another program's database", change(func(dir string) error { return os.WriteFile(filepath.Join(dir, telemetryFile), nil, 0o600) }), "has format 0, this program reads 1"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			a, err := OpenArchive(test.dir)
			if err == nil {
				a.Close()
				t.Fatal("want an error")
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("error = %v, want %q in it", err, test.want)
			}
		})
	}
}
