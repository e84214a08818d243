package process

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/faultline-lab/faultline/chaos"
)

// TestMain lets the test binary be a service too.
func TestMain(m *testing.M) {
	if addr := os.Getenv("PROCESS_TEST_LISTEN"); addr != "" {
		fmt.Println(http.ListenAndServe(addr, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})))
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

// machine runs real processes, one replica of each service.
type machine struct {
	t      *testing.T
	client *http.Client

	mu    sync.Mutex
	addrs map[string]string
	cmds  map[string]*exec.Cmd
}

func newMachine(t *testing.T, services ...string) *machine {
	m := &machine{t: t, client: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}, addrs: map[string]string{}, cmds: map[string]*exec.Cmd{}}
	for _, service := range services {
		m.addrs[service] = freeAddr(t)
		if err := m.Restart(t.Context(), service, 0); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = m.Kill(context.Background(), service, 0) })
	}
	return m
}

// freeAddr is an address that nobody listens on, and below the ports that systems hand out: a port
// asked of the system could be another test's before the service has it.
func freeAddr(t *testing.T) string {
	for range 100 {
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 12_000+rand.IntN(18_000)))
		if err != nil {
			continue // taken
		}
		defer listener.Close()
		return listener.Addr().String()
	}
	t.Fatal("no port is free")
	return ""
}

func (m *machine) signal(service string, signal syscall.Signal) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	cmd := m.cmds[service]
	if cmd == nil {
		return nil
	}
	return cmd.Process.Signal(signal)
}

func (m *machine) Kill(_ context.Context, service string, _ int) error {
	if err := m.signal(service, syscall.SIGKILL); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.cmds[service] != nil {
		_ = m.cmds[service].Wait() // killed, as asked
		delete(m.cmds, service)
	}
	return nil
}

func (m *machine) Restart(ctx context.Context, service string, replica int) error {
	if err := m.Kill(ctx, service, replica); err != nil {
		return err
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "PROCESS_TEST_LISTEN="+m.addrs[service])
	if err := cmd.Start(); err != nil {
		return err
	}
	m.mu.Lock()
	m.cmds[service] = cmd
	m.mu.Unlock()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for m.Ready(ctx, service, replica) != nil {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
	return nil
}

func (m *machine) Ready(ctx context.Context, service string, _ int) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+m.addrs[service], nil)
	if err != nil {
		return err
	}
	answer, err := m.client.Do(request)
	if err != nil {
		return err
	}
	return answer.Body.Close()
}

func (m *machine) Pause(_ context.Context, service string, _ int) error {
	return m.signal(service, syscall.SIGSTOP)
}

func (m *machine) Resume(_ context.Context, service string, _ int) error {
	return m.signal(service, syscall.SIGCONT)
}

func (m *machine) pid(service string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.cmds[service] == nil {
		return 0
	}
	return m.cmds[service].Process.Pid
}

// events collects what a controller says.
type events struct {
	mu  sync.Mutex
	all []chaos.Event
}

func (e *events) hear(event chaos.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, event)
}

func (e *events) texts() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	var texts []string
	for _, event := range e.all {
		texts = append(texts, event.Text)
	}
	return texts
}

func (e *events) effect(text string) chaos.Effect {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, event := range e.all {
		if event.Text == text && event.Effect != nil {
			return *event.Effect
		}
	}
	return chaos.Effect{}
}

func (e *events) await(t *testing.T, text string) {
	t.Helper()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	timeout := time.After(20 * time.Second)
	for !slices.Contains(e.texts(), text) {
		select {
		case <-ticker.C:
		case <-timeout:
			t.Fatalf("%s was never said; heard %v", text, e.texts())
		}
	}
}

func TestRealProcesses(t *testing.T) {
	tests := []struct {
		kind    string
		newPIDs bool
	}{{chaos.Kill, true}, {chaos.Pause, false}, {chaos.Restart, true}}
	for _, test := range tests {
		t.Run(test.kind, func(t *testing.T) {
			m := newMachine(t, "orders", "payments")
			before := []int{m.pid("orders"), m.pid("payments")}
			heard := &events{}
			c := chaos.NewController(chaos.Config{
				Injectors: map[string]chaos.Injector{chaos.FamilyProcess: New(m)},
				OnEvent:   heard.hear, Poll: 10 * time.Millisecond,
			})
			f := chaos.Fault{ID: "f", Kind: test.kind, Services: []string{"orders", "payments"}}
			if err := c.Inject(t.Context(), f); err != nil {
				t.Fatal(err)
			}
			heard.await(t, chaos.EventFelt)
			if test.kind == chaos.Kill && m.pid("orders") != 0 {
				t.Error("the process is not dead")
			}
			if err := c.Recover(t.Context(), "f"); err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(heard.texts(), ", "); got != "injected, felt, recovered" {
				t.Errorf("heard %s", got)
			}
			felt, recovered := heard.effect(chaos.EventFelt), heard.effect(chaos.EventRecovered)
			if felt.During <= felt.Before || recovered.During != 0 || felt.Measure == "" {
				t.Errorf("felt %+v, recovered %+v", felt, recovered)
			}
			after := []int{m.pid("orders"), m.pid("payments")}
			if slices.Equal(before, after) == test.newPIDs {
				t.Errorf("pids %v, then %v", before, after)
			}
			if m.Ready(t.Context(), "orders", 0) != nil || m.Ready(t.Context(), "payments", 0) != nil {
				t.Error("they are not healthy afterwards")
			}
		})
	}
}

// fake is a Processes that does what a test says, and cannot pause.
type fake struct {
	mu                 sync.Mutex
	ready              func() error
	restart            func(ctx context.Context) error
	kills, restartings int
}

func (p *fake) Kill(context.Context, string, int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.kills++
	return nil
}

func (p *fake) Restart(ctx context.Context, _ string, _ int) error {
	p.mu.Lock()
	p.restartings++
	p.mu.Unlock()
	return p.restart(ctx)
}

func (p *fake) Ready(context.Context, string, int) error { return p.ready() }

func TestWhatCannotBeDoneIsRefused(t *testing.T) {
	i := New(&fake{ready: func() error { return nil }})
	for _, test := range []struct {
		fault chaos.Fault
		want  string
	}{
		{chaos.Fault{Kind: chaos.Pause, Services: []string{"a"}}, "cannot pause"},
		{chaos.Fault{Kind: chaos.Kill}, "names no service"},
		{chaos.Fault{Kind: chaos.Latency, Services: []string{"a"}}, "latency is not a fault of processes"},
		{chaos.Fault{Kind: "x", Services: []string{"a"}}, "x is not a fault of processes"},
		{chaos.Fault{Kind: chaos.Kill, Services: []string{"a"}}, ""},
	} {
		err := i.Check(test.fault)
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%+v: got %v, want %q", test.fault, err, test.want)
		}
		if test.want != "" && i.Inject(t.Context(), test.fault) == nil {
			t.Errorf("%+v was injected", test.fault)
		}
	}
	if _, err := i.Active(t.Context(), chaos.Fault{ID: "f", Kind: chaos.Kill}); err == nil {
		t.Error("a fault that was not injected has no effect")
	}
}

func TestAServiceThatWasIllBeforeProvesNothing(t *testing.T) {
	i := New(&fake{ready: func() error { return errors.New("ill") }})
	f := chaos.Fault{ID: "f", Kind: chaos.Kill, Services: []string{"a"}}
	if err := i.Inject(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	effect, err := i.Active(t.Context(), f)
	if err != nil || effect.Felt || !strings.Contains(effect.Detail, "not healthy before the fault") {
		t.Errorf("got %+v, %v", effect, err)
	}
}

func TestRecoverLeavesAHealthyServiceAlone(t *testing.T) {
	p := &fake{ready: func() error { return nil }, restart: func(context.Context) error { return nil }}
	if err := New(p).Recover(t.Context(), chaos.Fault{ID: "f", Kind: chaos.Kill, Services: []string{"a"}}); err != nil || p.restartings != 0 {
		t.Errorf("%v, %d restarts", err, p.restartings)
	}
}

func TestARestartThatFailsIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		healthy := true
		p := &fake{}
		p.ready = func() error {
			p.mu.Lock()
			defer p.mu.Unlock()
			if healthy {
				return nil
			}
			return errors.New("no connection")
		}
		p.restart = func(context.Context) error {
			p.mu.Lock()
			defer p.mu.Unlock()
			healthy = p.restartings > 1
			if !healthy {
				return errors.New("the port is in use")
			}
			return nil
		}
		i := New(p)
		f := chaos.Fault{ID: "f", Kind: chaos.Restart, Services: []string{"a"}}
		if err := i.Inject(t.Context(), f); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if effect, err := i.Active(t.Context(), f); err != nil || !strings.Contains(effect.Detail, "the port is in use") {
			t.Errorf("got %+v, %v", effect, err)
		}
		if err := i.Recover(t.Context(), f); err != nil {
			t.Fatal(err)
		}
		if effect, err := i.Active(t.Context(), f); err != nil || effect.Felt || p.restartings != 2 {
			t.Errorf("got %+v, %v after %d restarts", effect, err, p.restartings)
		}
		i.Release(f)
	})
}

func TestTheOutageOfARestartIsTimed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &fake{}
		var down bool
		set := func(to bool) {
			p.mu.Lock()
			defer p.mu.Unlock()
			down = to
		}
		p.ready = func() error {
			p.mu.Lock()
			defer p.mu.Unlock()
			if down {
				return errors.New("no connection")
			}
			return nil
		}
		p.restart = func(context.Context) error {
			set(true)
			time.Sleep(700 * time.Millisecond) // takes no time in here
			set(false)
			return nil
		}
		i := New(p)
		f := chaos.Fault{ID: "f", Kind: chaos.Restart, Services: []string{"a"}}
		if err := i.Inject(t.Context(), f); err != nil {
			t.Fatal(err)
		}
		if err := i.Recover(t.Context(), f); err != nil { // waits for the restart
			t.Fatal(err)
		}
		i.injection(f).recovered = false
		effect, err := i.Active(t.Context(), f)
		if err != nil || !effect.Felt || effect.During < 680 || effect.During > 720 {
			t.Errorf("got %+v, %v", effect, err)
		}
		i.Release(f)
	})
}

func TestReleaseEndsARestartThatHangs(t *testing.T) {
	p := &fake{ready: func() error { return nil }, restart: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }}
	i := New(p)
	f := chaos.Fault{ID: "f", Kind: chaos.Restart, Services: []string{"a"}}
	if err := i.Inject(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := i.Recover(ctx, f); err == nil || !strings.Contains(err.Error(), "waiting for f") {
		t.Errorf("recovering gave %v", err)
	}
	i.Release(f)
}
