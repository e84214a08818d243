package compose

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/faultline-lab/faultline/chaos/proxy"
	"github.com/faultline-lab/faultline/internal/system"
	"github.com/faultline-lab/faultline/internal/system/local"
	"github.com/faultline-lab/faultline/observability/remote"
)

// overrideFile is what a run changes about the stack, as a compose file in the run's directory.
const overrideFile = "compose.run.json"

// Containers of the stack beside the system's own that a run starts anew, if they are there.
const (
	postgresHost = "postgres"
	// LabHost is the container of the lab's own backend, LabPort its port.
	LabHost = "lab"
	LabPort = 4317
)

// Config says which stack to use and how.
type Config struct {
	System *system.System
	Stack  *Stack
	// Dir is the run's directory; what is changed for the run is written there.
	Dir string
	// OnEvent is told what becomes of each container: killed, paused, resumed, restarted, exited. It
	// is called from several goroutines. Nil means nobody asks.
	OnEvent func(container, text string)
}

// Launcher runs one system once, as the containers of a stack that is up.
type Launcher struct {
	cfg       Config
	instances []system.Instance
	dial      local.Dial

	mu       sync.Mutex
	expected map[string]bool // containers whose end somebody asked for, by service of the compose file
	watching context.CancelFunc
	watched  chan struct{} // closed when watching has ended
}

// New returns a launcher. Check says whether it can work.
func New(cfg Config) *Launcher {
	if cfg.OnEvent == nil {
		cfg.OnEvent = func(string, string) {}
	}
	l := &Launcher{cfg: cfg, instances: Containers(cfg.System), expected: map[string]bool{}}
	l.dial = proxy.Dialer(l.ProxyAPI())
	return l
}

// ProxyAPI is where this machine reaches the proxy's API, host:port.
func (l *Launcher) ProxyAPI() string {
	c, _ := l.cfg.Stack.Container(ProxyHost)
	return c.Ports[ProxyAPIPort]
}

// EntryAddr is where this machine reaches the edge from the load to the system's entry.
func (l *Launcher) EntryAddr() string {
	c, _ := l.cfg.Stack.Container(ProxyHost)
	return c.Ports[Edges(l.cfg.System)[0].Port]
}

// Dial connects to an address within the stack, through the proxy.
func (l *Launcher) Dial() local.Dial { return l.dial }

// The parts of the full stack that a run asks for telemetry, and their ports.
const (
	prometheusHost, prometheusPort = "prometheus", 9090
	tempoHost, tempoPort           = "tempo", 3200
	lokiHost, lokiPort             = "loki", 3100
	collectorHost                  = "otelcol"
	grafanaHost, grafanaPort       = "grafana", 3000
)

// Grafana is where this machine reaches the stack's Grafana, which shows what the stack has received; "" where there is none.
func (l *Launcher) Grafana() string {
	if c, _ := l.cfg.Stack.Container(grafanaHost); c.Ports[grafanaPort] != "" {
		return "http://" + c.Ports[grafanaPort]
	}
	return ""
}

// OTLP is where containers of the stack send traces and logs.
func (l *Launcher) OTLP() string {
	if _, found := l.cfg.Stack.Container(collectorHost); found {
		return "http://" + at(collectorHost, 4317)
	}
	return "http://" + at(LabHost, LabPort)
}

// Telemetry is where this machine reaches what the stack has received: the lab's own backend, else
// Prometheus, Tempo and Loki.
func (l *Launcher) Telemetry() (remote.Config, error) {
	var missing []string
	published := func(host string, port int) string {
		c, _ := l.cfg.Stack.Container(host)
		if c.Ports[port] == "" {
			missing = append(missing, host)
			return ""
		}
		return "http://" + c.Ports[port]
	}
	if _, found := l.cfg.Stack.Container(LabHost); found {
		base := published(LabHost, LabPort)
		return remote.Config{Prometheus: base, Lab: base}, nil
	}
	cfg := remote.Config{Prometheus: published(prometheusHost, prometheusPort), Tempo: published(tempoHost, tempoPort), Loki: published(lokiHost, lokiPort)}
	if len(missing) > 0 {
		return remote.Config{}, fmt.Errorf("the stack's telemetry cannot be read: %s not there; make up brings up what is missing", list(missing))
	}
	return cfg, nil
}

// Check says why the stack cannot run the system, and what to do about it.
func (l *Launcher) Check() error {
	if len(l.cfg.Stack.Containers) == 0 {
		return errors.New("the stack is not up: make up brings it up")
	}
	var missing []string
	for _, name := range l.names() {
		c, found := l.cfg.Stack.Container(name)
		switch {
		case !found:
			missing = append(missing, name+" is not there")
		case c.State == "exited":
			missing = append(missing, fmt.Sprintf("%s has exited with %d", name, c.Exit))
		case !c.Running():
			missing = append(missing, fmt.Sprintf("%s is %s", name, strings.TrimSpace(c.State+" "+c.Health)))
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("the stack is half up: %s; make up brings up what is missing", list(missing))
	}
	if l.ProxyAPI() == "" || l.EntryAddr() == "" {
		return errors.New("the stack's proxy does not publish its ports: is this compose.yaml an older one? make down up")
	}
	return nil
}

// list joins a few, and counts the rest.
func list(texts []string) string {
	const shown = 4
	if len(texts) > shown {
		return fmt.Sprintf("%s and %d more", strings.Join(texts[:shown], ", "), len(texts)-shown)
	}
	return strings.Join(texts, ", ")
}

// MayBreak tells whether the stack was brought up with leave to kill, pause and restart a service's containers.
func (l *Launcher) MayBreak(service string) bool {
	for _, inst := range l.instances {
		if inst.Service != service {
			continue
		}
		if c, _ := l.cfg.Stack.Container(inst.Name); c.Labels[ChaosLabel] != ChaosAllowed {
			return false
		}
	}
	return true
}

// names are the containers that a run starts anew: the system, its proxy, its database, and the lab's backend where it is.
func (l *Launcher) names() []string {
	names := []string{ProxyHost, postgresHost}
	if _, found := l.cfg.Stack.Container(LabHost); found {
		names = append(names, LabHost)
	}
	for _, inst := range l.instances {
		names = append(names, inst.Name)
	}
	return names
}

// Instances returns every instance, in the order of the system file.
func (l *Launcher) Instances() []system.Instance { return slices.Clone(l.instances) }

// Start starts every container of the system anew, with empty stores and the given
// variables on top of those of the compose file, and waits until all are ready.
func (l *Launcher) Start(ctx context.Context, env func(service string, replica int) map[string]string) error {
	type override struct {
		Environment map[string]string `json:"environment"`
	}
	services := map[string]override{}
	for _, inst := range l.instances {
		if foreign(l.cfg.System.Service(inst.Service)) {
			continue
		}
		values := Environment(l.cfg.System, inst)
		maps.Copy(values, env(inst.Service, inst.Replica))
		for key, value := range values {
			values[key] = strings.ReplaceAll(value, "$", "$$") // no variables here
		}
		services[inst.Name] = override{values}
	}
	text, err := json.MarshalIndent(map[string]any{"services": services}, "", "  ")
	if err != nil {
		return fmt.Errorf("writing what the run changes: %w", err)
	}
	file, err := filepath.Abs(filepath.Join(l.cfg.Dir, overrideFile))
	if err != nil {
		return fmt.Errorf("writing what the run changes: %w", err)
	}
	if err := os.WriteFile(file, text, 0o644); err != nil {
		return fmt.Errorf("writing what the run changes: %w", err)
	}
	if err := l.cfg.Stack.compose(ctx, []string{file}, l.up("--force-recreate")...); err != nil {
		return fmt.Errorf("starting the containers anew: %w", err)
	}
	return l.watch(ctx)
}

// upWithin bounds starting the containers, in seconds.
const upWithin = "90"

func (l *Launcher) up(more ...string) []string {
	args := append([]string{"up", "--detach", "--no-deps", "--no-build", "--wait", "--wait-timeout", upWithin, "--quiet-pull"}, more...)
	return append(args, l.names()...)
}

// Stop brings the stack back to what its compose files say: what was killed runs again, what
// was paused goes on, and what a variant changed is as before. The stack stays up.
func (l *Launcher) Stop(ctx context.Context) error {
	l.unwatch()
	for _, inst := range l.instances {
		if l.MayBreak(inst.Service) {
			_ = l.Resume(ctx, inst.Service, inst.Replica) // one that is not paused says so
		}
	}
	if err := l.cfg.Stack.compose(ctx, nil, l.up()...); err != nil {
		return fmt.Errorf("bringing the stack back to what it was: %w", err)
	}
	return nil
}

// Ready asks the selected instances once whether they are healthy, past the proxies of the edges.
func (l *Launcher) Ready(ctx context.Context, service string, replica int) error {
	return l.each(service, replica, func(inst system.Instance) error {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		health := l.cfg.System.Service(service).Health
		addr, path := inst.Addr, health.Path
		if health.Port == system.AdminPort {
			addr = inst.AdminAddr
		}
		if c, _ := l.cfg.Stack.Container(inst.Name); c.Labels[ReadyLabel] != "" {
			path = c.Labels[ReadyLabel]
		}
		return local.CheckHealth(ctx, l.dial, health.Check, addr, path)
	})
}

// Kill ends the service's containers at once, as kill -9 does. Replica 0 means all.
func (l *Launcher) Kill(ctx context.Context, service string, replica int) error {
	return l.each(service, replica, func(inst system.Instance) error {
		l.expect(inst.Name)
		if _, err := docker(ctx, "kill", "--signal", "KILL", l.container(inst.Name)); err != nil && !strings.Contains(err.Error(), "is not running") {
			return fmt.Errorf("killing %s: %w", inst.Name, err)
		}
		l.cfg.OnEvent(inst.Name, "killed")
		return nil
	})
}

// Pause freezes the service's containers; connections stay open.
func (l *Launcher) Pause(ctx context.Context, service string, replica int) error {
	return l.each(service, replica, func(inst system.Instance) error {
		if _, err := docker(ctx, "pause", l.container(inst.Name)); err != nil {
			return fmt.Errorf("pausing %s: %w", inst.Name, err)
		}
		l.cfg.OnEvent(inst.Name, "paused")
		return nil
	})
}

// Resume lets paused containers run on. One that is not paused is no error.
func (l *Launcher) Resume(ctx context.Context, service string, replica int) error {
	return l.each(service, replica, func(inst system.Instance) error {
		_, err := docker(ctx, "unpause", l.container(inst.Name))
		switch {
		case err == nil:
			l.cfg.OnEvent(inst.Name, "resumed")
		case strings.Contains(err.Error(), "is not paused"):
		default:
			return fmt.Errorf("resuming %s: %w", inst.Name, err)
		}
		return nil
	})
}

// Restart kills what still runs, starts the containers again and waits until they are ready.
func (l *Launcher) Restart(ctx context.Context, service string, replica int) error {
	return l.each(service, replica, func(inst system.Instance) error {
		l.expect(inst.Name)
		if _, err := docker(ctx, "restart", "--time", "0", l.container(inst.Name)); err != nil {
			return fmt.Errorf("restarting %s: %w", inst.Name, err)
		}
		if err := l.await(ctx, inst); err != nil {
			return err
		}
		l.cfg.OnEvent(inst.Name, "restarted")
		return nil
	})
}

// await asks for health until the answer is yes, or the service's time to start is up.
func (l *Launcher) await(ctx context.Context, inst system.Instance) error {
	within := l.cfg.System.Service(inst.Service).Health.Within
	if within == 0 {
		within = 15 * time.Second
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := l.Ready(ctx, inst.Service, inst.Replica)
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%s was not ready within %s: %w", inst.Name, within, err)
		}
	}
}

// container is the engine's name of a service's container. A container that was started anew has
// another id than the stack knew, but the same name.
func (l *Launcher) container(service string) string {
	c, _ := l.cfg.Stack.Container(service)
	return c.Name
}

func (l *Launcher) each(service string, replica int, do func(system.Instance) error) error {
	var group errgroup.Group
	found := false
	for _, inst := range l.instances {
		if inst.Service == service && (replica == 0 || replica == inst.Replica) {
			found = true
			group.Go(func() error { return do(inst) })
		}
	}
	if !found {
		return fmt.Errorf("no instance %d of service %q", replica, service)
	}
	return group.Wait()
}

// expect notes that the next end of a container is somebody's wish.
func (l *Launcher) expect(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.expected[name] = true
}

// watch listens to the engine until Stop: what ends by itself, or by another's hand, is told.
func (l *Launcher) watch(ctx context.Context) error {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	cmd := exec.CommandContext(ctx, "docker", "events", "--format", "{{json .}}", "--filter", "type=container", "--filter", "event=die",
		"--filter", "label=com.docker.compose.project="+l.cfg.Stack.Project)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		cancel()
		return fmt.Errorf("watching the containers: %w", err)
	}
	l.watching, l.watched = cancel, make(chan struct{})
	go func() {
		defer close(l.watched)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			l.died(lines.Bytes())
		}
		_ = cmd.Wait() // it was killed
	}()
	return nil
}

// died tells of a container that has ended, as the engine's event says.
func (l *Launcher) died(line []byte) {
	var event struct {
		Actor struct{ Attributes map[string]string }
	}
	if json.Unmarshal(line, &event) != nil {
		return // not ours
	}
	name := event.Actor.Attributes["com.docker.compose.service"]
	l.mu.Lock()
	expected := l.expected[name]
	delete(l.expected, name)
	l.mu.Unlock()
	if !expected && name != "" {
		l.cfg.OnEvent(name, "exited: exit status "+event.Actor.Attributes["exitCode"])
	}
}

func (l *Launcher) unwatch() {
	if l.watching != nil {
		l.watching()
		<-l.watched
		l.watching = nil
	}
}
