package run

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/faultline-lab/faultline/chaos"
	"github.com/faultline-lab/faultline/chaos/network"
	"github.com/faultline-lab/faultline/internal/plan"
	"github.com/faultline-lab/faultline/internal/record"
	"github.com/faultline-lab/faultline/internal/system"
	"github.com/faultline-lab/faultline/internal/system/local"
	"github.com/faultline-lab/faultline/loadgen"
	"github.com/faultline-lab/faultline/observability"
	"github.com/faultline-lab/faultline/observability/names"
)

// allotted is a rig whose system has its ports, and nothing else.
func allotted(t *testing.T, sys *system.System, loads ...loadgen.Load) *rig {
	t.Helper()
	p := &plan.Plan{Scenario: "rig", System: sys.Name, Loads: loads}
	w, err := record.Create(t.TempDir(), record.Meta{Scenario: "rig", Started: time.Now()}, p, sys, nil)
	if err != nil {
		t.Fatal(err)
	}
	r := &runner{cfg: Config{Plan: p, System: sys}, record: w, meta: w.Meta(), abort: func(err error) { t.Errorf("aborted: %v", err) }}
	r.rig = newRig(r)
	r.rig.launcher = local.New(local.Config{System: sys, Dir: w.Dir()})
	if err := r.rig.launcher.Allot(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(r.rig.launcher.Stop(t.Context()), w.Close(w.Meta())); err != nil {
			t.Error(err)
		}
	})
	return r.rig
}

func threeServices() *system.System {
	health := system.Health{Check: "http", Port: "main", Path: "/ok"}
	return &system.System{Name: "three", Entry: "front", Services: []*system.Service{
		{Name: "front", Protocol: "http", Replicas: 1, Calls: []string{"bank", "queue"}, Health: health, Metrics: system.Endpoint{Port: "main", Path: "/m"}},
		{Name: "bank", Protocol: "http", Replicas: 2, Health: system.Health{Check: "http", Port: "admin", Path: "/readyz"}, Metrics: system.Endpoint{Port: "admin", Path: "/metrics"}},
		{Name: "queue", Protocol: "tcp", Replicas: 1, Health: system.Health{Check: "tcp"}},
	}}
}

func TestEveryEdgeAndReplicaHasAProxy(t *testing.T) {
	g := allotted(t, threeServices(), loadgen.Load{Service: "front"}, loadgen.Load{Service: "bank"}, loadgen.Load{Service: "bank"})
	var got []string
	for _, spec := range g.proxySpecs() {
		inst := slices.IndexFunc(g.launcher.Instances(), func(i local.Instance) bool { return i.Addr == spec.Upstream })
		if inst < 0 {
			t.Fatalf("%+v leads nowhere", spec)
		}
		got = append(got, fmt.Sprintf("%s#%d to %s, %s %s", spec.Edge, spec.Replica, g.launcher.Instances()[inst].Name, spec.Probe.Protocol, spec.Probe.Path))
	}
	want := []string{
		"load->front#1 to front, http /ok",
		"front->bank#1 to bank-1, http ", "front->bank#2 to bank-2, http ",
		"front->queue#1 to queue, tcp ",
		"load->bank#1 to bank-1, http ", "load->bank#2 to bank-2, http ",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestProbeOf(t *testing.T) {
	for _, test := range []struct {
		service system.Service
		want    network.Probe
	}{
		{system.Service{Protocol: "http", Health: system.Health{Check: "http", Port: "main", Path: "/ok"}}, network.Probe{Protocol: "http", Path: "/ok"}},
		{system.Service{Protocol: "http", Health: system.Health{Check: "http", Port: "admin", Path: "/ok"}}, network.Probe{Protocol: "http"}},
		{system.Service{Protocol: "http", Health: system.Health{Check: "tcp", Port: "main"}}, network.Probe{Protocol: "http"}},
		{system.Service{Protocol: "grpc", Health: system.Health{Check: "http", Port: "main", Path: "/ok"}}, network.Probe{Protocol: "grpc"}},
	} {
		if got := probeOf(&test.service); got != test.want {
			t.Errorf("%+v: got %+v", test.service, got)
		}
	}
}

func TestTouched(t *testing.T) {
	edge := func(caller, callee string) chaos.Edge { return chaos.Edge{Caller: caller, Callee: callee} }
	for want, f := range map[string]chaos.Fault{
		"bank":             {Services: []string{"bank"}},
		"bank front":       {Edges: []chaos.Edge{edge("front", "bank")}},
		"front":            {Edges: []chaos.Edge{edge("load", "front")}},
		"bank front queue": {Edges: []chaos.Edge{edge("front", "bank"), edge("front", "queue"), edge("bank", "queue")}},
		"":                 {Kind: chaos.Spike},
	} {
		if got := strings.Join(touched(f), " "); got != want {
			t.Errorf("%+v: got %q, want %q", f, got, want)
		}
	}
}

// A fault on what is unwell already would prove nothing.
func TestGate(t *testing.T) {
	sys := threeServices()
	sys.Services = sys.Services[:1]
	sys.Services[0].Calls = nil
	g := allotted(t, sys)
	f := chaos.Fault{ID: "slow", Edges: []chaos.Edge{{Caller: "load", Callee: "front"}}}
	// The launcher only holds the port, and accepts nothing.
	err := g.gate(t.Context(), f)
	if err == nil || !strings.HasPrefix(err.Error(), "front is not healthy: ") {
		t.Errorf("got %v", err)
	}
	if err := g.gate(t.Context(), chaos.Fault{ID: "rush", Kind: chaos.Spike}); err != nil {
		t.Errorf("a fault that touches no service: %v", err)
	}
	well := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	addr := g.launcher.Instances()[0].Addr
	if err := g.launcher.Stop(t.Context()); err != nil { // gives the port back
		t.Fatal(err)
	}
	_ = well.Listener.Close()
	if well.Listener, err = net.Listen("tcp", addr); err != nil {
		t.Fatal(err)
	}
	well.Start()
	defer well.Close()
	if err := g.gate(t.Context(), f); err != nil {
		t.Errorf("of a healthy service: %v", err)
	}
}

func TestLabMetrics(t *testing.T) {
	telemetry, err := observability.Setup(t.Context(), observability.Config{Service: "faultline"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = telemetry.Shutdown(t.Context()) }()
	p := shortPlan()
	p.Loads[0].SLO = 100 * time.Millisecond
	p.Expect = []plan.Expectation{{That: "goodput(browse) >= 99%", In: "baseline"}}
	m := newLabMetrics(telemetry.Registry, p, "run-1")
	began := time.Unix(1700000000, 0)
	row := func(ok bool, took time.Duration, trace string) loadgen.Result {
		return loadgen.Result{Load: "browse", Due: began, Sent: began.Add(time.Millisecond), Done: began.Add(took), OK: ok, TraceID: trace}
	}
	m.result(row(true, 50*time.Millisecond, "4bf92f3577b34da6a3ce929d0e0e4736"))
	m.result(row(true, 100*time.Millisecond, ""))
	m.result(row(true, 101*time.Millisecond, ""))
	m.result(row(false, 50*time.Millisecond, ""))
	m.result(loadgen.Result{Load: "browse", Step: "login", OK: true}) // a step is no journey
	m.rates(map[string]float64{"browse": 40})
	m.usage([]local.Usage{{Process: "front", PID: os.Getpid(), CPUSeconds: 1.5, ResidentBytes: 7}}, true)

	recorder := httptest.NewRecorder()
	telemetry.MetricsHandler().ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	text := recorder.Body.String()
	want := []string{
		names.LoadDone + `{load="browse",outcome="good"} 2`, names.LoadDone + `{load="browse",outcome="slow"} 1`, names.LoadDone + `{load="browse",outcome="failed"} 1`,
		names.LoadOffered + `{load="browse"} 4`, names.PhaseActive + `{phase="baseline"} 0`,
		names.ProcessCPU + `{process="front"} 1.5`, names.ProcessResident + `{process="front"} 7`,
		names.LoadPlanned + `{load="browse"} 40`, names.LoadSLO + `{load="browse"} 0.1`,
		names.RunVerdict + `{run="run-1",scenario="short",variant="default"} 0`,
		names.Finding + `{in="baseline",run="run-1",scenario="short",that="goodput(browse) >= 99%",variant="default"} 0`,
		names.RunInfo + `{run="run-1",scenario="short",system="one",variant="default"} 1`,
	}
	if runtime.GOOS == "linux" {
		want = append(want, names.ProcessProportional+`{process="front"} `)
	}
	for _, line := range want {
		if !strings.Contains(text, line) {
			t.Errorf("there is no %s in\n%s", line, text)
		}
	}
}

// A proxy that dies while the system starts is no interruption by the user.
func TestProxyDiesWhileTheSystemStarts(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("finds the process as only Linux shows it")
	}
	sys := oneService()
	sys.Services[0].Run = []string{"/bin/sleep", "60"} // is never ready
	seen := &observer{on: func(e record.Event) {
		if e.Kind != record.EventProcess || e.Text != "started" {
			return
		}
		for pid, command := range children(t) {
			if strings.HasSuffix(strings.TrimSpace(command), " proxy") {
				if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
					t.Error(err)
				}
			}
		}
	}}
	run, err := carryOut(t, t.Context(), Config{Plan: shortPlan(), System: sys, Watch: seen})
	const want = "the proxy process ended by itself (signal: killed); what it printed: "
	if err == nil || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %v\nwant %s", err, want)
	}
	if run.Meta.Outcome != record.Broken {
		t.Errorf("the record says %s: %s", run.Meta.Outcome, run.Meta.Reason)
	}
}
