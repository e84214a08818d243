package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/faultline-lab/faultline/internal/plan"
	"github.com/faultline-lab/faultline/internal/record"
	"github.com/faultline-lab/faultline/internal/scenario"
	"github.com/faultline-lab/faultline/internal/system"
	"github.com/faultline-lab/faultline/loadgen"
	"github.com/faultline-lab/faultline/observability/embedded"
	"github.com/faultline-lab/faultline/observability/names"
	"github.com/faultline-lab/faultline/services"
)

// The test binary plays faultline: it makes a record in the folder it is given, and exits as EXIT says.
func TestMain(m *testing.M) {
	if len(os.Args) < 4 || os.Args[1] != "run" {
		os.Exit(m.Run())
	}
	code, err := strconv.Atoi(os.Getenv("EXIT"))
	if err == nil {
		_, err = record.Create(os.Args[3], record.Meta{Scenario: os.Args[4], Started: time.Now()}, &plan.Plan{}, &system.System{}, nil)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(70)
	}
	fmt.Println("running", os.Args[4:])
	os.Exit(code)
}

// Whatever the verdict, there are figures; without a run there are none.
func TestRun(t *testing.T) {
	for code, runs := range map[int]bool{0: true, 1: true, 3: true, 64: false, 70: false} {
		t.Setenv("EXIT", strconv.Itoa(code))
		var progress bytes.Buffer
		l := lab{program: os.Args[0], root: t.TempDir(), progress: &progress}
		before := time.Now()
		m, err := l.run(t.Context(), "x", "--variant", "y")
		if (err == nil) != runs {
			t.Errorf("exit code %d: %v", code, err)
		}
		if progress.String() != "running [x --variant y]\n" {
			t.Errorf("exit code %d: printed %q", code, progress.String())
		}
		if runs && (!strings.HasPrefix(m.dir, l.root) || !strings.HasSuffix(m.dir, "-x") || m.command.Before(before) || m.verdict.Before(m.command)) {
			t.Errorf("exit code %d: %+v", code, m)
		}
	}
	l := lab{program: "/no/such/program", root: t.TempDir(), progress: io.Discard}
	if err := measureAll(t.Context(), l, io.Discard); err == nil || !strings.HasPrefix(err.Error(), "running cascade-failure: ") {
		t.Errorf("without a program: %v", err)
	}
}

func TestLagScenario(t *testing.T) {
	sc, err := scenario.Load("lag.yaml", lagScenario)
	if err != nil {
		t.Fatal(err)
	}
	text, err := services.FS.ReadFile("shop.yaml")
	if err != nil {
		t.Fatal(err)
	}
	sys, err := system.Load("shop.yaml", text, services.FS.ReadFile)
	if err != nil {
		t.Fatal(err)
	}
	p, err := plan.Compile(sc, sys, sc.VariantNames()[0], plan.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if rate := p.Loads[0].Rate(time.Second); rate != 500 {
		t.Errorf("it sends %v/s", rate)
	}
}

// recorded is a run of a second at 100/s, whose two processes use 30 MB (20 MB as shares) and a core each.
func recorded(t *testing.T) measured {
	t.Helper()
	p := &plan.Plan{
		Scenario: "x", Phases: []plan.Phase{{Name: "baseline", End: time.Second}},
		Loads: []loadgen.Load{{Name: "browse", Stages: []loadgen.Stage{{For: time.Second, From: 100, To: 100}}}},
	}
	w, err := record.Create(t.TempDir(), record.Meta{Scenario: "x", Started: time.Now()}, p, &system.System{Name: "x"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	began := time.Now()
	for _, process := range []string{"front", "faultline"} {
		gauge := func(name string, value func() float64) {
			registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, ConstLabels: prometheus.Labels{names.Process: process}}, value))
		}
		gauge(names.ProcessResident, func() float64 { return 30 << 20 })
		gauge(names.ProcessProportional, func() float64 { return 20 << 20 })
		gauge(names.ProcessCPU, func() float64 { return time.Since(began).Seconds() })
	}
	backend, err := embedded.Start(t.Context(), embedded.Config{Dir: w.Dir(), Lab: registry, ScrapeInterval: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	meta := w.Meta()
	meta.Load = time.Now()
	end := meta.Load.Add(p.Length())
	for i := range 100 {
		due := meta.Load.Add(time.Duration(i) * 10 * time.Millisecond)
		if err := w.Result(loadgen.Result{Load: "browse", Due: due, Sent: due.Add(2 * time.Millisecond), Done: due.Add(3 * time.Millisecond), OK: true}); err != nil {
			t.Fatal(err)
		}
	}
	<-time.After(time.Until(end.Add(100 * time.Millisecond)))
	if _, err := backend.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	meta.Ended, meta.Outcome = time.Now(), record.Completed
	if err := w.Close(meta); err != nil {
		t.Fatal(err)
	}
	return measured{dir: w.Dir(), command: meta.Load.Add(-1500 * time.Millisecond), verdict: end.Add(250 * time.Millisecond)}
}

func TestFigures(t *testing.T) {
	m := recorded(t)
	rows, err := costs(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	own, err := lag(m)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range append(rows, own) {
		got = append(got, r.got)
	}
	var cores float64 // by a clock that the machine's load bends
	if _, err := fmt.Sscanf(got[4], "%f cores", &cores); err != nil || cores < 1.8 || cores > 2.2 {
		t.Errorf("the processors are %q", got[4])
	}
	got[4] = ""
	if want := []string{"1.5s", "250ms", "40 MB", "60 MB", "", "2ms"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if what := rows[2].what; what != "resident memory, all processes, at 100/s (each shared page once)" {
		t.Errorf("it is about %q", what)
	}
}

func TestFiguresOfNoRun(t *testing.T) {
	if _, err := costs(t.Context(), measured{dir: t.TempDir()}); err == nil {
		t.Error("costs of an empty folder")
	}
	if _, err := lag(measured{dir: t.TempDir()}); err == nil {
		t.Error("a lag of an empty folder")
	}
}

func TestTable(t *testing.T) {
	var out bytes.Buffer
	table(&out, []row{{"memory", "12 MB", "<= 700 MB"}, {"p99 of the lag", "1 ms", ""}})
	want := "" +
		"| number         | measured | to reach  |\n" +
		"|----------------|----------|-----------|\n" +
		"| memory         | 12 MB    | <= 700 MB |\n" +
		"| p99 of the lag | 1 ms     |           |\n"
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}
