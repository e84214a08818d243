package local_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/faultline-lab/faultline/internal/system"
	"github.com/faultline-lab/faultline/internal/system/local"
)

// The test binary plays the services, the guard and a lab of its own: ROLE says which.
func TestMain(m *testing.M) {
	switch role := os.Getenv("ROLE"); role {
	case "":
		goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("internal/poll.runtime_pollWait"), goleak.IgnoreTopFunction("net/http.(*persistConn).writeLoop"))
	case "guard":
		local.Guard(os.Stdin)
	case "lab":
		playLab()
	default:
		playService(role)
	}
}

func playService(role string) {
	fmt.Println("role", role, "asks", os.Getenv("BACK_ADDR"), os.Getenv("GREETING"))
	switch role {
	case "dies":
		fmt.Fprintln(os.Stderr, "cannot open the store: no such luck")
		os.Exit(3)
	case "stubborn":
		signal.Ignore(syscall.SIGTERM)
	case "parent": // leaves a child behind in its group
		child := exec.Command("sleep", "300")
		if err := child.Start(); err != nil {
			panic(err)
		}
		_ = os.WriteFile(filepath.Join(os.Getenv("DATA_DIR"), "..", "..", "child.pid"), []byte(strconv.Itoa(child.Process.Pid)), 0o644)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) {
		if role == "never-ready" {
			http.Error(w, "not yet", http.StatusServiceUnavailable)
		}
	})
	if err := http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), mux); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func service(name, role string, calls ...string) *system.Service {
	return &system.Service{
		Name: name, Run: []string{os.Args[0]}, Env: map[string]string{"ROLE": role}, Protocol: "http", Replicas: 1, Calls: calls,
		Health: system.Health{Check: "http", Port: "main", Path: "/healthz", Within: 10 * time.Second},
	}
}

func launcher(t *testing.T, events func(process, text string), services ...*system.Service) (*local.Launcher, string) {
	t.Helper()
	dir := t.TempDir()
	l := local.New(local.Config{
		System: &system.System{Name: "test", Services: services}, Dir: dir, OnEvent: events,
		Guard: []string{"/usr/bin/env", "ROLE=guard", os.Args[0]}, StopWithin: 300 * time.Millisecond,
	})
	if err := l.Allot(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Stop(context.Background()); err != nil {
			t.Errorf("stopping: %v", err)
		}
	})
	return l, dir
}

func straight(l *local.Launcher) func(caller, callee string) []string {
	return func(_, callee string) []string {
		var addrs []string
		for _, inst := range l.Instances() {
			if inst.Service == callee {
				addrs = append(addrs, inst.Addr)
			}
		}
		return addrs
	}
}

func TestStartGivesEachServiceItsSurroundings(t *testing.T) {
	front, back := service("front", "serve", "back"), service("back", "serve")
	back.Replicas = 2
	front.Env["GREETING"] = `port={{port}} back={{addr "back"}} replica={{replica}}`
	l, dir := launcher(t, nil, front, back)
	if err := l.Start(t.Context(), straight(l), nil); err != nil {
		t.Fatal(err)
	}
	instances := l.Instances()
	if len(instances) != 3 || instances[2].Name != "back-2" {
		t.Fatalf("instances = %+v", instances)
	}
	out, err := os.ReadFile(filepath.Join(dir, "output", "front.log"))
	if err != nil {
		t.Fatal(err)
	}
	backs := instances[1].Addr + "," + instances[2].Addr
	_, port, _ := net.SplitHostPort(instances[0].Addr)
	want := fmt.Sprintf("role serve asks %s port=%s back=%s replica=1\n", backs, port, backs)
	if string(out) != want {
		t.Errorf("front printed %q, want %q", out, want)
	}
	for _, usage := range l.Usage() {
		if usage.ResidentBytes == 0 {
			t.Errorf("%s has no resident memory", usage.Process)
		}
	}
}

func TestStartNamesTheServiceThatFails(t *testing.T) {
	impatient := service("slow", "never-ready")
	impatient.Health.Within = 200 * time.Millisecond
	missing := service("gone", "")
	missing.Run = []string{"no-such-program-anywhere"}
	for name, tc := range map[string]struct {
		service *system.Service
		want    []string
	}{
		"ends at once":     {service("store", "dies"), []string{"service store ended before it was ready", "exit status 3", "cannot open the store: no such luck", "store.log"}},
		"is never ready":   {impatient, []string{"service slow was not ready within 200ms", "503"}},
		"is not a program": {missing, []string{"starting gone", "no-such-program-anywhere", "is it built"}},
	} {
		t.Run(name, func(t *testing.T) {
			l, _ := launcher(t, nil, tc.service)
			err := l.Start(t.Context(), straight(l), nil)
			if err == nil {
				t.Fatal("it started")
			}
			for _, want := range tc.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error lacks %q:\n%v", want, err)
				}
			}
		})
	}
}

func TestKillPauseRestart(t *testing.T) {
	var mu sync.Mutex
	var seen []string
	l, _ := launcher(t, func(process, text string) { mu.Lock(); seen = append(seen, process+" "+text); mu.Unlock() }, service("svc", "stubborn"))
	if err := l.Start(t.Context(), straight(l), nil); err != nil {
		t.Fatal(err)
	}
	before := l.Instances()[0]
	if err := l.Pause(t.Context(), "svc", 0); err != nil {
		t.Fatal(err)
	}
	if err := l.Ready(t.Context(), "svc", 1); err == nil {
		t.Error("a paused service answers")
	}
	if err := l.Resume(t.Context(), "svc", 0); err != nil {
		t.Fatal(err)
	}
	if err := l.Ready(t.Context(), "svc", 1); err != nil {
		t.Errorf("after resuming: %v", err)
	}
	if err := l.Kill(t.Context(), "svc", 0); err != nil {
		t.Fatal(err)
	}
	if l.Running("svc", 0) {
		t.Error("a killed service runs")
	}
	if err := l.Restart(t.Context(), "svc", 1); err != nil {
		t.Fatal(err)
	}
	after := l.Instances()[0]
	if after.PID == before.PID || after.Addr != before.Addr {
		t.Errorf("before %+v, after %+v: want another process at the same address", before, after)
	}
	mu.Lock()
	defer mu.Unlock()
	want := "svc started,svc ready,svc paused,svc resumed,svc killed,svc started,svc ready,svc restarted"
	if got := strings.Join(seen, ","); got != want {
		t.Errorf("events %s\nwant   %s", got, want)
	}
}

func TestAProcessThatEndsByItselfIsReported(t *testing.T) {
	events := make(chan string, 10)
	l, _ := launcher(t, func(process, text string) { events <- process + " " + text }, service("svc", "serve"))
	if err := l.Start(t.Context(), straight(l), nil); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(l.Instances()[0].PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-events // started
	<-events // ready
	if got := <-events; got != "svc exited: signal: killed" {
		t.Errorf("event %q", got)
	}
}

// Services outlive their guard, but whoever watches is told that nobody ends them with the lab.
func TestAGuardThatIsKilledIsReported(t *testing.T) {
	events := make(chan string, 10)
	l, _ := launcher(t, func(process, text string) { events <- process + " " + text }, service("svc", "serve"))
	if err := l.Start(t.Context(), straight(l), nil); err != nil {
		t.Fatal(err)
	}
	<-events // started
	<-events // ready
	if err := syscall.Kill(l.GuardPID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if got := <-events; got != "guard exited: signal: killed" {
		t.Errorf("event %q", got)
	}
	if err := errors.Join(l.Ready(t.Context(), "svc", 0), l.Stop(t.Context())); err != nil {
		t.Errorf("without a guard: %v", err)
	}
}

// A connection to a service that is down must not take its port.
func TestPortsAreOutOfTheWayOfConnections(t *testing.T) {
	svc := service("svc", "serve")
	svc.Replicas = 20
	l, _ := launcher(t, nil, svc)
	seen := map[string]bool{}
	for _, inst := range l.Instances() {
		for _, addr := range []string{inst.Addr, inst.AdminAddr} {
			_, text, _ := net.SplitHostPort(addr)
			if port, err := strconv.Atoi(text); err != nil || port < 10000 || port >= 20000 || seen[addr] {
				t.Errorf("%s got %s", inst.Name, addr)
			}
			seen[addr] = true
		}
	}
}

func TestUnknownService(t *testing.T) {
	l, _ := launcher(t, nil, service("svc", "serve"))
	if err := l.Kill(t.Context(), "svd", 0); err == nil || !strings.Contains(err.Error(), `"svd"`) {
		t.Errorf("err = %v", err)
	}
}

func TestStopLeavesNothing(t *testing.T) {
	l, dir := launcher(t, nil, service("mother", "parent"), service("hard", "stubborn"))
	if err := l.Start(t.Context(), straight(l), nil); err != nil {
		t.Fatal(err)
	}
	pids := []int{childPID(t, dir)}
	for _, inst := range l.Instances() {
		pids = append(pids, inst.PID)
	}
	if err := l.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	awaitGone(t, pids)
	if _, err := os.Stat(filepath.Join(dir, "data")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("stores are left: %v", err)
	}
}

// playLab is a lab that starts a service and is then killed by the test.
func playLab() {
	l := local.New(local.Config{
		System: &system.System{Services: []*system.Service{service("mother", "parent")}}, Dir: os.Getenv("DIR"),
		Guard: []string{"/usr/bin/env", "ROLE=guard", os.Args[0]},
	})
	if err := l.Allot(); err != nil {
		panic(err)
	}
	if err := l.Start(context.Background(), straight(l), nil); err != nil {
		panic(err)
	}
	fmt.Println(l.Instances()[0].PID)
	_, _ = io.Copy(io.Discard, os.Stdin)
}

func TestAKilledLabLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	lab := exec.Command(os.Args[0])
	lab.Env = append(os.Environ(), "ROLE=lab", "DIR="+dir)
	in, err := lab.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := lab.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := lab.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	pids := []int{pid, childPID(t, dir)}
	if err := lab.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = lab.Wait()
	awaitGone(t, pids)
}

func childPID(t *testing.T, dir string) int {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "child.pid"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(string(data))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// awaitGone waits until no process of pids is alive; zombies of an init that does not reap count as gone.
func awaitGone(t *testing.T, pids []int) {
	t.Helper()
	deadline := time.NewTimer(10 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		alive := 0
		for _, pid := range pids {
			if usage, ok := local.ProcessUsage("", pid); ok && usage.ResidentBytes > 0 {
				alive++
			}
		}
		if alive == 0 {
			return
		}
		select {
		case <-deadline.C:
			t.Fatalf("%d of %v are still alive", alive, pids)
		case <-tick.C:
		}
	}
}
