package run

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/faultline-lab/faultline/chaos"
	"github.com/faultline-lab/faultline/chaos/proxy"
	"github.com/faultline-lab/faultline/internal/plan"
	"github.com/faultline-lab/faultline/internal/record"
	"github.com/faultline-lab/faultline/internal/system"
	"github.com/faultline-lab/faultline/internal/system/local"
	"github.com/faultline-lab/faultline/loadgen"
	"github.com/faultline-lab/faultline/parameter"
)

// breaks names the process of the lab that ends at once, with a word to its stderr.
const breaks = "RUN_TEST_BREAKS"

// hangs is set for a load worker that sends and, once the load has begun, neither tells nor ends.
const hangs = "RUN_TEST_HANGS"

// stuck lets through the first thing that a worker says, that it is ready, and nothing more: whoever writes to it waits for ever.
type stuck struct {
	io.Writer
	said atomic.Bool
}

// Write is part of io.Writer.
func (s *stuck) Write(data []byte) (int, error) {
	if s.said.Swap(true) {
		select {}
	}
	return s.Writer.Write(data)
}

// scrapeRace is a goroutine that Prometheus' scrape manager leaves behind when it is stopped in
// the moment in which it takes up new targets, as a run does that fails right after its start. It is idle and
// ends with the process.
var scrapeRace = goleak.IgnoreAnyFunction("github.com/prometheus/prometheus/scrape.(*scrapeLoop).run")

// The test binary plays the lab's own processes, by its argument, and the services.
func TestMain(m *testing.M) {
	role := ""
	if len(os.Args) == 2 && !strings.HasPrefix(os.Args[1], "-") {
		role = os.Args[1]
	}
	if role != "" && role == os.Getenv(breaks) {
		fmt.Fprintln(os.Stderr, role+": no such luck")
		os.Exit(9)
	}
	var err error
	switch role {
	case "":
		goleak.VerifyTestMain(m, scrapeRace)
	case "proxy":
		err = proxy.Main(context.Background(), os.Stdin, os.Stdout, proxy.Config{})
	case "load":
		var out io.Writer = os.Stdout
		if os.Getenv(hangs) != "" {
			out = &stuck{Writer: out}
		}
		err = loadgen.Main(context.Background(), os.Stdin, out)
	case "guard":
		local.Guard(os.Stdin)
	case "service":
		err = serve()
	default:
		err = fmt.Errorf("unknown role %q", role)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// serve is a service: it answers everything, and slowly so with SLOW in its environment.
func serve() error {
	slow, _ := time.ParseDuration(os.Getenv("SLOW"))
	go func() {
		_ = http.ListenAndServe("127.0.0.1:"+os.Getenv("ADMIN_PORT"), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"violations":[],"settled":true}`))
		}))
	}()
	return http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(slow):
		case <-r.Context().Done():
		}
	}))
}

func oneService() *system.System {
	return &system.System{
		Name: "one", Entry: "front", Probes: system.Probes{Invariants: &system.Probe{Service: "front", Get: "/audit"}},
		Services: []*system.Service{{
			Name: "front", Protocol: "http", Run: []string{os.Args[0], "service"}, Replicas: 1,
			Health: system.Health{Check: "http", Port: "main", Path: "/healthz", Within: 20 * time.Second},
		}},
	}
}

// shortPlan has a quarter of a second of load, and then nothing for a phase.
func shortPlan() *plan.Plan {
	return &plan.Plan{
		Scenario: "short", Variant: "default", System: "one", Seed: 1,
		Phases: []plan.Phase{{Name: "baseline", End: 250 * time.Millisecond}},
		Loads: []loadgen.Load{{
			Name: "browse", Service: "front", Seed: 1, Arrivals: loadgen.Constant, Timeout: 5 * time.Second, SLO: 2 * time.Second,
			Steps: []loadgen.Step{{Path: "/"}}, Stages: []loadgen.Stage{{For: 250 * time.Millisecond, From: 40, To: 40}},
		}},
		Faults: []plan.Window{}, Expect: []plan.Expectation{},
	}
}

// observer keeps what a run tells, and notices when it is told two things at once.
type observer struct {
	events   []string
	progress []Progress
	inside   atomic.Int32
	clashed  atomic.Bool
	on       func(record.Event)
}

func (o *observer) enter() func() {
	if o.inside.Add(1) > 1 {
		o.clashed.Store(true)
	}
	return func() { o.inside.Add(-1) }
}

// Event keeps an event.
func (o *observer) Event(e record.Event) {
	defer o.enter()()
	o.events = append(o.events, strings.TrimSpace(e.Kind+" "+e.Name+" "+e.Text))
	if o.on != nil {
		o.on(e)
	}
}

// Progress keeps a state.
func (o *observer) Progress(p Progress) {
	defer o.enter()()
	o.progress = append(o.progress, p)
}

// carryOut runs a plan and returns its record, and checks that no process is left.
func carryOut(t *testing.T, ctx context.Context, cfg Config) (*record.Run, error) {
	t.Helper()
	if cfg.System == nil {
		cfg.System = oneService()
	}
	if cfg.Self == "" {
		cfg.Self = os.Args[0]
	}
	cfg.Root = t.TempDir()
	before := children(t)
	dir, runErr := Run(ctx, cfg)
	for pid, command := range children(t) {
		if _, old := before[pid]; !old {
			t.Errorf("process %d is left: %s", pid, command)
		}
	}
	if dir == "" {
		t.Fatalf("no record: %v", runErr)
	}
	run, err := record.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return run, runErr
}

// children lists the processes that this one started, on Linux.
func children(t *testing.T) map[int]string {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Log("NOT CHECKED: that no process is left; only Linux shows whose child a process is")
		return nil
	}
	tasks, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil {
		t.Fatal(err)
	}
	out := map[int]string{}
	for _, task := range tasks {
		text, _ := os.ReadFile(task) // a thread that has ended has none
		for _, field := range strings.Fields(string(text)) {
			pid, err := strconv.Atoi(field)
			if err != nil {
				t.Fatal(err)
			}
			command, _ := os.ReadFile("/proc/" + field + "/cmdline")
			out[pid] = string(bytes.ReplaceAll(command, []byte{0}, []byte(" ")))
		}
	}
	return out
}

func TestRun(t *testing.T) {
	p := shortPlan()
	p.Phases = append(p.Phases, plan.Phase{Name: "after", Start: 250 * time.Millisecond, End: 1200 * time.Millisecond})
	seen := &observer{}
	sys := oneService()
	sys.Services[0].Metrics = system.Endpoint{Port: "admin", Path: "/audit"} // no metrics, so scraping fails
	run, err := carryOut(t, t.Context(), Config{Plan: p, System: sys, Scenario: []byte("name: short\n"), Version: "v1", Watch: seen})
	if err != nil {
		t.Fatal(err)
	}
	if run.Meta.Loss.ScrapesFailed == 0 {
		t.Error("the record does not say what the backend lost")
	}
	m := run.Meta
	if m.Outcome != record.Completed || m.Reason != "" || m.Scenario != "short" || m.Variant != "default" || m.System != "one" || m.Seed != 1 || m.Version != "v1" {
		t.Errorf("the record says %+v", m)
	}
	if !m.Started.Before(m.Load) || m.Ended.Before(m.Load.Add(p.Length())) {
		t.Errorf("started %v, load %v, ended %v", m.Started, m.Load, m.Ended)
	}
	if n := len(run.Results); n != 10 || !run.Results[0].OK || run.Results[0].Due.Before(m.Load) {
		t.Errorf("%d results, the first %+v", n, run.Results[0])
	}
	want := []string{
		"process front started", "process front ready", "phase baseline started",
		"phase baseline ended", "phase after started", "phase after ended", "audit invariants settled",
	}
	if !slices.Equal(seen.events, want) || len(run.Events) != len(want) {
		t.Errorf("told %q, recorded %d of %q", seen.events, len(run.Events), want)
	}
	if seen.clashed.Load() {
		t.Error("the watcher was told two things at once")
	}
	if len(seen.progress) != 1 || seen.progress[0].Phase != "after" || seen.progress[0].Loads[0].Name != "browse" || seen.progress[0].Length != p.Length() {
		t.Errorf("progress %+v", seen.progress)
	}
}

func TestRunAppliesThePlansChanges(t *testing.T) {
	p := shortPlan()
	p.Services = map[string]plan.Change{"front": {Replicas: 2, Env: map[string]string{"SLOW": "1ms"}}}
	sys := oneService()
	run, err := carryOut(t, t.Context(), Config{Plan: p, System: sys})
	if err != nil {
		t.Fatal(err)
	}
	if front := run.System.Service("front"); front.Replicas != 2 || front.Env["SLOW"] != "1ms" {
		t.Errorf("the record has %+v", front)
	}
	if sys.Services[0].Replicas != 1 {
		t.Error("the caller's system was changed")
	}
}

// longPlan goes on for a minute, with a fault from 100 ms on.
func longPlan() *plan.Plan {
	p := shortPlan()
	p.Phases[0].End, p.Loads[0].Stages[0].For = time.Minute, time.Minute
	p.Faults = append(p.Faults, plan.Window{
		Fault: chaos.Fault{
			ID: "slow", Kind: chaos.Latency, Edges: []chaos.Edge{{Caller: system.LoadCaller, Callee: "front"}},
			Params: parameter.Values{"delay": 100 * time.Millisecond},
		},
		Start: 100 * time.Millisecond, End: time.Minute,
	})
	return p
}

func TestRunIsInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	seen := &observer{on: func(e record.Event) {
		if e.Kind == record.EventFault && e.Text == chaos.EventFelt {
			cancel()
		}
	}}
	run, err := carryOut(t, ctx, Config{Plan: longPlan(), Watch: seen})
	if err != nil || run.Meta.Outcome != record.Interrupted || run.Meta.Reason != "it was told to stop" {
		t.Errorf("got %v; %s, %s", err, run.Meta.Outcome, run.Meta.Reason)
	}
	if !slices.Contains(seen.events, "fault slow recovered") {
		t.Errorf("the fault was not taken back: %q", seen.events)
	}
	if len(run.Results) > 60*40/2 {
		t.Errorf("%d results: the load went on", len(run.Results))
	}
	if slices.ContainsFunc(seen.events, func(e string) bool { return strings.HasPrefix(e, "audit") }) {
		t.Errorf("somebody waited for an audit: %q", seen.events)
	}
}

func TestRunIsInterruptedWhileItStarts(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	seen := &observer{on: func(e record.Event) {
		if e.Kind == record.EventProcess {
			cancel()
		}
	}}
	run, err := carryOut(t, ctx, Config{Plan: longPlan(), Watch: seen})
	if err != nil || run.Meta.Outcome != record.Interrupted || !run.Meta.Load.IsZero() {
		t.Errorf("got %v; %s, %s, load %v", err, run.Meta.Outcome, run.Meta.Reason, run.Meta.Load)
	}
}

func TestRunIsAbortedByItsScenario(t *testing.T) {
	p := longPlan()
	p.Abort = []plan.Abort{{That: "rate(browse) > 1/s"}}
	seen := &observer{}
	run, err := carryOut(t, t.Context(), Config{Plan: p, Watch: seen})
	if err != nil || run.Meta.Outcome != record.Aborted || !strings.HasPrefix(run.Meta.Reason, "an abort condition held: rate(browse) > 1/s held for 0s: it is ") {
		t.Errorf("got %v; %s, %s", err, run.Meta.Outcome, run.Meta.Reason)
	}
	for _, prefix := range []string{"abort rate(browse) > 1/s held", "fault slow recovered", "audit invariants settled"} {
		if !slices.ContainsFunc(seen.events, func(e string) bool { return strings.HasPrefix(e, prefix) }) {
			t.Errorf("no %q in %q", prefix, seen.events)
		}
	}
	if len(run.Results) == 0 || len(run.Results) > 60*40/2 {
		t.Errorf("%d results", len(run.Results))
	}
}

// Whatever stage fails, everything that stood before is taken down, and the
// record says why.
func TestRunThatCannotStart(t *testing.T) {
	for _, test := range []struct {
		name   string
		breaks string
		change func(*Config)
		want   string
	}{
		{"the rules", "", func(c *Config) { c.System.Alerts = []byte("groups: 7\n") }, "starting the backend: "},
		{"no proxy process", "", func(c *Config) { c.Self = "/no/such/program" }, "starting the proxy process: "},
		{"the proxy process", "proxy", nil, "starting the proxy process: it ended before it was ready: exit status 9"},
		{"a fault that cannot be", "", func(c *Config) { c.Plan.Faults[0].Edges[0].Callee = "bank" }, "fault slow: there is no proxy of load->bank"},
		{"the service", "service", nil, "starting the system: service front ended before it was ready (exit status 9)"},
		{"no such service", "", func(c *Config) { c.System.Services[0].Run[0] = "no-such-program" }, "starting the system: starting front: "},
		{"the load generator", "load", nil, "starting the load: load worker: it ended before its load did: exit status 9"},
		{"a load that cannot be", "", func(c *Config) { c.Plan.Loads[0].Steps = nil }, "starting the load: "},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Setenv(breaks, test.breaks)
			cfg := Config{Plan: longPlan(), System: oneService()}
			if test.change != nil {
				test.change(&cfg)
			}
			run, err := carryOut(t, t.Context(), cfg)
			if err == nil || !strings.HasPrefix(err.Error(), test.want) {
				t.Errorf("got %v\nwant %s", err, test.want)
			}
			if run.Meta.Outcome != record.Broken || !strings.HasPrefix(run.Meta.Reason, test.want) {
				t.Errorf("the record says %s: %s", run.Meta.Outcome, run.Meta.Reason)
			}
			goleak.VerifyNone(t, scrapeRace)
		})
	}
}

// A load worker that hangs after the last phase is killed, the run ends, and everything is taken down.
func TestRunWhoseLoadHangs(t *testing.T) {
	t.Setenv(hangs, "1")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // it would hang for ever; then it is an interruption, and no loss of the load
	defer cancel()
	p := shortPlan()
	p.Loads[0].Timeout, p.Loads[0].SLO = time.Second, time.Second
	seen := &observer{}
	run, err := carryOut(t, ctx, Config{Plan: p, Watch: seen, loadLate: time.Millisecond})
	const want = "the load generator failed: load worker: it did not stop within "
	if err == nil || !strings.HasPrefix(err.Error(), want) || !strings.HasSuffix(err.Error(), " and was killed") {
		t.Errorf("got %v\nwant %s", err, want)
	}
	if run.Meta.Outcome != record.Broken || !strings.HasPrefix(run.Meta.Reason, want) {
		t.Errorf("the record says %s: %s", run.Meta.Outcome, run.Meta.Reason)
	}
	if !slices.Contains(seen.events, "phase baseline ended") {
		t.Errorf("told %q", seen.events)
	}
}

func TestRunWithoutAGuard(t *testing.T) {
	t.Setenv(breaks, "guard")
	seen := &observer{}
	run, err := carryOut(t, t.Context(), Config{Plan: shortPlan(), Watch: seen})
	if err != nil || run.Meta.Outcome != record.Completed || !slices.Contains(seen.events, "process guard exited: exit status 9") {
		t.Errorf("got %v; %s, %s; %q", err, run.Meta.Outcome, run.Meta.Reason, seen.events)
	}
}

func TestRunWhoseRecordCannotBeMade(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	dir, err := Run(t.Context(), Config{Plan: shortPlan(), System: oneService(), Root: filepath.Join(file, "runs")})
	if dir != "" || err == nil || !strings.HasPrefix(err.Error(), "making the run's directory: ") {
		t.Errorf("got %q, %v", dir, err)
	}
}

// A watcher that panics must not leave services behind.
func TestRunPanics(t *testing.T) {
	var log bytes.Buffer
	seen := &observer{on: func(e record.Event) {
		if e.Kind == record.EventPhase {
			panic("out of paper")
		}
	}}
	run, err := carryOut(t, t.Context(), Config{Plan: longPlan(), Watch: seen, Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err == nil || err.Error() != "panic in the lab: out of paper" || run.Meta.Outcome != record.Broken {
		t.Errorf("got %v; %s, %s", err, run.Meta.Outcome, run.Meta.Reason)
	}
	if !strings.Contains(log.String(), "TestRunPanics") {
		t.Errorf("the log shows no stack: %s", log.String())
	}
}

func TestOutcome(t *testing.T) {
	failed := errors.New("the proxy hangs")
	for _, test := range []struct {
		why, failed     error
		outcome, reason string
	}{
		{nil, nil, record.Completed, ""},
		{fmt.Errorf("%w: too slow", errAborted), failed, record.Aborted, "an abort condition held: too slow"},
		{errInterrupted, failed, record.Interrupted, "it was told to stop"},
		{nil, failed, record.Broken, "the proxy hangs"},
		{errProxyGone, failed, record.Broken, "the proxy process ended by itself\nthe proxy hangs"},
	} {
		if outcome, reason := outcome(test.why, test.failed); outcome != test.outcome || reason != test.reason {
			t.Errorf("%v, %v: got %s, %q", test.why, test.failed, outcome, reason)
		}
	}
}
