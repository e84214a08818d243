package compose

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/faultline-lab/faultline/internal/system"
)

// engine puts a docker command on PATH that answers as a script says and notes its arguments.
func engine(t *testing.T, script string) (calls func() string) {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("needs a shell")
	}
	folder := t.TempDir()
	log := filepath.Join(folder, "calls")
	text := "#!/bin/sh\necho \"$@\" >> '" + log + "'\n" + script + "\n"
	if err := os.WriteFile(filepath.Join(folder, "docker"), []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", folder+":"+os.Getenv("PATH"))
	return func() string {
		got, err := os.ReadFile(log)
		if err != nil {
			t.Fatal(err)
		}
		return string(got)
	}
}

const inspectAnswer = `[
 {"Id": "2", "Name": "/faultline-proxy-1", "State": {"Status": "running", "Health": {"Status": "healthy"}},
  "Config": {"Labels": {"com.docker.compose.service": "proxy", "faultline.system": "shop",
   "com.docker.compose.project.working_dir": "/repo", "com.docker.compose.project.config_files": "/repo/compose.yaml,/repo/runs/1/compose.run.json",
   "com.docker.compose.project.environment_file": "/repo/deploy/docker/core.env"}},
  "NetworkSettings": {"Ports": {"8474/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8474"}], "20000/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8080"}], "20001/tcp": null}}},
 {"Id": "1", "Name": "/faultline-bank-1", "State": {"Status": "exited", "ExitCode": 137}, "Config": {"Labels": {"com.docker.compose.service": "bank"}}}
]`

func TestGrafana(t *testing.T) {
	stack := &Stack{}
	l := New(Config{System: &system.System{}, Stack: stack})
	if got := l.Grafana(); got != "" {
		t.Errorf("a stack without one has it at %s", got)
	}
	stack.Containers = []Container{{Service: "grafana", Ports: map[int]string{3000: "127.0.0.1:3001"}}}
	if got := l.Grafana(); got != "http://127.0.0.1:3001" {
		t.Errorf("got %s", got)
	}
}

func TestFind(t *testing.T) {
	engine(t, "case $1 in ps) echo 1; echo 2;; inspect) cat <<'X'\n"+inspectAnswer+"\nX\n;; esac")
	stack, err := Find(t.Context(), "faultline")
	if err != nil {
		t.Fatal(err)
	}
	if len(stack.Containers) != 2 || stack.Containers[0].Service != "bank" || stack.Containers[0].Exit != 137 || stack.Containers[0].Running() {
		t.Errorf("got %+v", stack.Containers)
	}
	proxy, found := stack.Container("proxy")
	if !found || !proxy.Running() || proxy.Ports[8474] != "127.0.0.1:8474" || proxy.Ports[20000] != "127.0.0.1:8080" || proxy.Ports[20001] != "" {
		t.Errorf("got %+v", proxy)
	}
	if stack.Folder != "/repo" || !slices.Equal(stack.Files, []string{"/repo/compose.yaml"}) || !slices.Equal(stack.EnvFiles, []string{"/repo/deploy/docker/core.env"}) {
		t.Errorf("how it was brought up: %q %q %q", stack.Folder, stack.Files, stack.EnvFiles)
	}
}

func TestFindNothing(t *testing.T) {
	engine(t, "true")
	stack, err := Find(t.Context(), "faultline")
	if err != nil || len(stack.Containers) != 0 {
		t.Errorf("got %+v, %v", stack, err)
	}
}

// What the engine complains of becomes what its user can do about it.
func TestExplain(t *testing.T) {
	for name, test := range map[string]struct{ complaint, want string }{
		"no engine":     {"Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?", "no container engine answers: start Docker"},
		"not allowed":   {"permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock", "this user may not use the container engine"},
		"no plugin":     {"docker: unknown command: docker compose\n\nRun 'docker --help' for more information", "docker compose is missing"},
		"no plugin, 2":  {"unknown flag: --project-name\n\nUsage:  docker [OPTIONS]", "docker compose is missing"},
		"a port":        {"Error response from daemon: driver failed programming external connectivity on endpoint faultline-proxy-1 (1f): Bind for 127.0.0.1:8474 failed: port is already allocated", "another program holds 127.0.0.1:8474"},
		"a port, 2":     {"Error starting userland proxy: listen tcp4 127.0.0.1:8080: bind: address already in use", "another program holds 127.0.0.1:8080"},
		"anything else": {"one\ntwo\nthree\nfour\nfive", "docker: two; three; four; five"},
		"nothing":       {"", "exit status 1"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := explain(test.complaint, errors.New("exit status 1")).Error(); !strings.HasPrefix(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestNoDockerCommand(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if _, err := Find(t.Context(), "faultline"); err == nil || !strings.Contains(err.Error(), "there is no docker command on this machine") {
		t.Errorf("got %v", err)
	}
}

// whole is a stack on which everything of the shop runs.
func whole(t *testing.T) (*system.System, *Stack) {
	t.Helper()
	sys, stack := shop(t), &Stack{Project: "p", Folder: "/repo", Files: []string{"/repo/compose.yaml"}, EnvFiles: []string{"/repo/core.env"}}
	add := func(name string, labels map[string]string, ports map[int]string) {
		stack.Containers = append(stack.Containers, Container{Name: "p-" + name + "-1", Service: name, State: "running", Health: "healthy", Labels: labels, Ports: ports})
	}
	for _, c := range Containers(sys) {
		add(c.Name, map[string]string{ServiceLabel: c.Service}, nil)
	}
	add(ProxyHost, map[string]string{SystemLabel: "shop"}, map[int]string{ProxyAPIPort: "127.0.0.1:1", FirstEdgePort: "127.0.0.1:2"})
	add(postgresHost, nil, nil)
	add(LabHost, nil, map[int]string{LabPort: "127.0.0.1:3"})
	return sys, stack
}

func TestCheck(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*Stack)
		want   string
	}{
		{"whole", func(*Stack) {}, ""},
		{"nothing", func(s *Stack) { s.Containers = nil }, "the stack is not up: make up brings it up"},
		{"one is missing", func(s *Stack) { s.Containers[0].Service = "other" }, "the stack is half up: gateway is not there; make up"},
		{"one has exited", func(s *Stack) { s.Containers[1].State, s.Containers[1].Exit = "exited", 137 }, "the stack is half up: accounts has exited with 137;"},
		{"one is unhealthy", func(s *Stack) { s.Containers[1].Health = "unhealthy" }, "the stack is half up: accounts is running unhealthy;"},
		{"one is paused", func(s *Stack) { s.Containers[1].State = "paused" }, "the stack is half up: accounts is paused healthy;"},
		{"many are", func(s *Stack) {
			for i := range 7 {
				s.Containers[i].Service = "other"
			}
		}, "the stack is half up: gateway is not there, accounts is not there, catalog-1 is not there, catalog-2 is not there and 3 more;"},
		{"no ports", func(s *Stack) { s.Containers[len(s.Containers)-3].Ports = nil }, "the stack's proxy does not publish its ports"},
	} {
		t.Run(test.name, func(t *testing.T) {
			sys, stack := whole(t)
			test.change(stack)
			err := New(Config{System: sys, Stack: stack}).Check()
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.HasPrefix(err.Error(), test.want)) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func TestMayBreak(t *testing.T) {
	sys, stack := whole(t)
	l := New(Config{System: sys, Stack: stack})
	if l.MayBreak("catalog") {
		t.Error("it may break what nobody gave leave for")
	}
	for i := range stack.Containers[:4] {
		stack.Containers[i].Labels[ChaosLabel] = ChaosAllowed
	}
	if l.MayBreak("catalog") {
		t.Error("one of three replicas may not be broken")
	}
	stack.Containers[4].Labels[ChaosLabel] = ChaosAllowed
	if !l.MayBreak("catalog") {
		t.Error("it may not break what there is leave for")
	}
}

// A run starts the system anew with what its variant changes, tells of ends that nobody wished, and
// puts everything back.
func TestStartKillStop(t *testing.T) {
	die := `{"Actor":{"Attributes":{"com.docker.compose.service":"%s","exitCode":"137"}}}`
	calls := engine(t, "case $1 in events) echo '"+strings.Replace(die, "%s", "orders", 1)+"'; exec sleep 60;; esac")
	sys, stack := whole(t)
	dir := t.TempDir()
	var mu sync.Mutex
	var told []string
	l := New(Config{System: sys, Stack: stack, Dir: dir, OnEvent: func(container, text string) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, container+" "+text)
	}})
	err := l.Start(t.Context(), func(service string, replica int) map[string]string {
		return map[string]string{"RESILIENCE_POLICIES": `{"$x": 1}`}
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Kill(t.Context(), "catalog", 2); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for len(snapshot(&mu, &told)) < 2 && ctx.Err() == nil {
		<-tick.C
	}
	l.died([]byte(strings.Replace(die, "%s", "catalog-2", 1))) // the one that was killed
	if err := l.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := snapshot(&mu, &told)
	slices.Sort(got)
	if !slices.Equal(got, []string{"catalog-2 killed", "orders exited: exit status 137"}) {
		t.Errorf("told %q", got)
	}
	text, err := os.ReadFile(filepath.Join(dir, overrideFile))
	if err != nil || !strings.Contains(string(text), `{\"$$x\": 1}`) || strings.Contains(string(text), `"broker": {`) {
		t.Errorf("what the run changes: %s, %v", text, err)
	}
	all := strings.Split(strings.TrimSpace(calls()), "\n")
	start, stop := all[0], all[len(all)-1]
	for _, want := range []string{"--project-name p", "--file /repo/compose.yaml --file " + dir, "--env-file /repo/core.env", "--force-recreate", "proxy postgres lab gateway"} {
		if !strings.Contains(start, want) {
			t.Errorf("it was started by %q, without %q", start, want)
		}
	}
	if strings.Contains(stop, dir) || strings.Contains(stop, "--force-recreate") || !strings.Contains(stop, " up ") {
		t.Errorf("it was put back by %q", stop)
	}
	if !strings.Contains(calls(), "kill --signal KILL p-catalog-2-1") {
		t.Errorf("calls:\n%s", calls())
	}
}

func snapshot(mu *sync.Mutex, of *[]string) []string {
	mu.Lock()
	defer mu.Unlock()
	return slices.Clone(*of)
}

func TestTelemetry(t *testing.T) {
	sys, stack := whole(t)
	l := New(Config{System: sys, Stack: stack})
	if cfg, err := l.Telemetry(); err != nil || cfg.Lab != "http://127.0.0.1:3" || cfg.Prometheus != cfg.Lab || l.OTLP() != "http://lab:4317" {
		t.Errorf("core: %+v, %v, %s", cfg, err, l.OTLP())
	}
	stack.Containers = stack.Containers[:len(stack.Containers)-1]
	if _, err := l.Telemetry(); err == nil || !strings.Contains(err.Error(), "prometheus, tempo, loki not there") {
		t.Errorf("nothing to ask: %v", err)
	}
	for name, port := range map[string]int{"prometheus": 9090, "tempo": 3200, "loki": 3100, "otelcol": 4317} {
		stack.Containers = append(stack.Containers, Container{Service: name, Ports: map[int]string{port: "127.0.0.1:9"}})
	}
	if cfg, err := l.Telemetry(); err != nil || cfg.Tempo != "http://127.0.0.1:9" || cfg.Lab != "" || l.OTLP() != "http://otelcol:4317" {
		t.Errorf("full: %+v, %v, %s", cfg, err, l.OTLP())
	}
}
