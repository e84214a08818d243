package console

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/faultline-lab/faultline/chaos/proxy"
	"github.com/faultline-lab/faultline/internal/plan"
	"github.com/faultline-lab/faultline/internal/run"
	"github.com/faultline-lab/faultline/internal/scenario"
	"github.com/faultline-lab/faultline/internal/system"
	"github.com/faultline-lab/faultline/internal/system/local"
	"github.com/faultline-lab/faultline/loadgen"
	"github.com/faultline-lab/faultline/services/kit"
)

// hostile is text that would do something if a page took it for more than text.
const hostile = `<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>`

// The test binary plays the lab's processes and the services of the system under test.
func TestMain(m *testing.M) {
	if len(os.Args) < 2 {
		os.Exit(m.Run())
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	var err error
	switch os.Args[1] {
	case "proxy":
		err = proxy.Main(ctx, os.Stdin, os.Stdout, proxy.Config{Listen: "127.0.0.1:0"})
	case "load":
		err = loadgen.Main(ctx, os.Stdin, os.Stdout)
	case "guard":
		local.Guard(os.Stdin)
	case "front", "back":
		err = kit.Run(ctx, kit.Service{Name: os.Args[1], Protocol: kit.HTTP, Build: build}, kit.OSEnv())
	default:
		stop()
		os.Exit(m.Run())
	}
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// build makes a service that asks back, if there is one, or says hostile things.
func build(_ context.Context, rt *kit.Runtime) (*kit.Parts, error) {
	if rt.Name == "back" {
		return &kit.Parts{HTTP: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, span := rt.Telemetry.Tracer().Start(r.Context(), hostile)
			defer span.End()
			rt.Log.WarnContext(r.Context(), hostile, "key", hostile)
		})}, nil
	}
	back, err := rt.HTTP("back")
	if err != nil {
		return nil, err
	}
	return &kit.Parts{HTTP: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		request, err := http.NewRequestWithContext(r.Context(), http.MethodGet, "http://back/", nil)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		response, err := back.Do(request)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		_ = response.Body.Close()
	})}, nil
}

const worldSystem = `name: two
entry: front
defaults:
  health: {check: http, port: admin, path: /readyz}
  metrics: {port: admin, path: /metrics}
services:
  front: {run: [%[1]q, front], protocol: http, calls: [back], capacity: {workers: 16, queue: 16}}
  back: {run: [%[1]q, back], protocol: http, replicas: 2, capacity: {workers: 16, queue: 16}}
`

const worldScenario = `name: two-bench
system: two
load:
  work: {request: GET /, rate: 20/s, slo: 100ms, timeout: 2s}
phases: {bench: 1h}
policies:
  front->back: [{timeout: 500ms}]
`

// world is a system that runs with the page, until the test ends.
type world struct {
	page      *Server
	runs      string
	scenarios string
	system    *system.System
	ended     chan struct{}
	dir       string
	err       error
}

func newWorld(t *testing.T) *world {
	t.Helper()
	if testing.Short() {
		t.Skip("it starts a system")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	text := []byte(worldScenario)
	sys, err := system.Load("two.yaml", fmt.Appendf(nil, worldSystem, self), nil)
	if err != nil {
		t.Fatal(err)
	}
	sc, err := scenario.Load("bench.yaml", text)
	if err != nil {
		t.Fatal(err)
	}
	p, err := plan.Compile(sc, sys, scenario.DefaultVariant, plan.Options{})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{runs: t.TempDir(), scenarios: filepath.Join(t.TempDir(), "scenarios"), system: sys, ended: make(chan struct{})}
	w.page, err = Start(t.Context(), Config{Runs: w.runs, Scenarios: w.scenarios, System: "two", Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		defer close(w.ended)
		w.dir, w.err = run.Run(ctx, run.Config{Plan: p, System: sys, Scenario: text, Root: w.runs, Self: self, Console: w.page, Bench: true})
	}()
	t.Cleanup(func() {
		cancel()
		<-w.ended
		if err := w.page.Close(context.Background(), "the test has ended"); err != nil {
			t.Error(err)
		}
	})
	return w
}

// until waits for something to become true.
func until(t *testing.T, within time.Duration, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	timeout := time.After(within)
	for !is() {
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatalf("not within %s: %s", within, what)
		case <-t.Context().Done():
			t.Fatal(context.Cause(t.Context()))
		}
	}
}

// attached waits until the load is being sent.
func (w *world) attached(t *testing.T) {
	t.Helper()
	until(t, time.Minute, "the system is up", func() bool {
		select {
		case <-w.ended:
			t.Fatalf("the run ended: %v", w.err)
		default:
		}
		return w.page.current() != nil
	})
}

// post asks the page's server as its own page does.
func (w *world) post(t *testing.T, path, body string) *http.Response {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.page.URL()+path, bytes.NewBufferString(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set(tokenHeader, w.page.token)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = response.Body.Close() })
	return response
}
