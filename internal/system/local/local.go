// Package local starts a system as processes of this machine: it allots
// ports, starts every replica in a process group of its own, waits until each is
// ready, kills, pauses and restarts them on demand, and stops them all. A guard
// process makes sure that nothing outlives the lab, however the lab ends.
//
// It knows the system file only: not faults, load or telemetry.
package local

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/faultline-lab/faultline/internal/system"
)

// Config says what to start and where.
type Config struct {
	System *system.System
	// Dir gets output/ (what the processes print) and data/ (their stores). It must exist.
	Dir string
	// Bin lists folders that are searched for programs before PATH.
	Bin []string
	// Guard is the argv of the guard process, which runs Guard. Empty means none: then a lab that is killed
	// leaves its services running.
	Guard []string
	// OnEvent is told what becomes of each process: started, ready, exited, killed,
	// paused, resumed, restarted. It is called from several goroutines. Nil means nobody asks.
	OnEvent func(process, text string)
	// Log gets what is nobody's event; nil discards.
	Log *slog.Logger
	// StopWithin is how long a process may take to end after SIGTERM. 0 means 2s.
	StopWithin time.Duration
}

// Launcher runs one system once.
type Launcher struct {
	cfg       Config
	guard     *guard
	instances []*instance

	mu    sync.Mutex // guards the fields below
	addrs func(caller, callee string) []string
	env   func(service string, replica int) map[string]string
}

// Instance is one replica of a service.
type Instance = system.Instance

// New returns a launcher that has not started anything.
func New(cfg Config) *Launcher {
	if cfg.OnEvent == nil {
		cfg.OnEvent = func(string, string) {}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.StopWithin == 0 {
		cfg.StopWithin = 2 * time.Second
	}
	return &Launcher{cfg: cfg}
}

// Allot reserves a main and an admin port for every instance and makes the
// folders. Ports stay taken until the instance starts, so that no two programs
// get the same.
func (l *Launcher) Allot() error {
	for _, folder := range []string{"output", "data"} {
		if err := os.MkdirAll(filepath.Join(l.cfg.Dir, folder), 0o755); err != nil {
			return fmt.Errorf("making folders: %w", err)
		}
	}
	for _, svc := range l.cfg.System.Services {
		for replica := 1; replica <= max(1, svc.Replicas); replica++ {
			inst, err := l.newInstance(svc, replica)
			if err != nil {
				l.release()
				return err
			}
			l.instances = append(l.instances, inst)
		}
	}
	return nil
}

func (l *Launcher) newInstance(svc *system.Service, replica int) (*instance, error) {
	inst := &instance{launcher: l, svc: svc, replica: replica, name: system.InstanceName(svc, replica)}
	var err error
	if inst.main, err = takePort(); err != nil {
		return nil, fmt.Errorf("allotting a port for %s: %w", inst.name, err)
	}
	inst.addr = inst.main.Addr().String()
	if inst.admin, err = takePort(); err != nil {
		return nil, errors.Join(fmt.Errorf("allotting a port for %s: %w", inst.name, err), inst.main.Close())
	}
	inst.adminAddr = inst.admin.Addr().String()
	inst.output = filepath.Join(l.cfg.Dir, "output", inst.name+".log")
	if inst.data, err = filepath.Abs(filepath.Join(l.cfg.Dir, "data", inst.name)); err != nil {
		return nil, fmt.Errorf("finding the data folder of %s: %w", inst.name, err)
	}
	return inst, os.MkdirAll(inst.data, 0o755)
}

// Services' ports are below the ranges from which Linux and macOS serve outgoing
// connections, and below those of the lab's proxies: while a service is killed its port is free,
// and a connection that took it, perhaps one that was meant for the service and got connected to
// itself, would keep it from starting again.
const (
	firstPort = 10000
	lastPort  = 20000
)

// takePort listens on a free port of 127.0.0.1.
func takePort() (net.Listener, error) {
	var err error
	for range 500 {
		var listener net.Listener
		listener, err = net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(firstPort+rand.IntN(lastPort-firstPort)))
		if err == nil {
			return listener, nil
		}
	}
	return nil, fmt.Errorf("no free port from %d to %d: %w", firstPort, lastPort, err)
}

func (l *Launcher) release() {
	for _, inst := range l.instances {
		inst.releasePorts()
	}
}

// Instances returns every instance, in the order of the system file.
func (l *Launcher) Instances() []system.Instance {
	out := make([]system.Instance, 0, len(l.instances))
	for _, inst := range l.instances {
		out = append(out, inst.describe())
	}
	return out
}

// Start starts every instance, callees before callers, and waits until all are
// ready. addrs gives the addresses under which a caller reaches a callee; env gives
// variables on top of those that each instance gets anyway. On failure the error
// names the instance and ends with what it printed last.
func (l *Launcher) Start(ctx context.Context, addrs func(caller, callee string) []string, env func(service string, replica int) map[string]string) error {
	l.mu.Lock()
	l.addrs, l.env = addrs, env
	l.mu.Unlock()
	if len(l.cfg.Guard) > 0 {
		g, err := startGuard(l.cfg.Guard, func(how error) { l.cfg.OnEvent("guard", exitText(how)) })
		if err != nil {
			return fmt.Errorf("starting the guard process: %w", err)
		}
		l.guard = g
	}
	for _, inst := range l.calleesFirst() {
		if err := inst.start(); err != nil {
			return err
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, inst := range l.instances {
		group.Go(func() error { return inst.awaitReady(ctx) })
	}
	return group.Wait()
}

// calleesFirst orders the instances so that, where calls form no cycle, whoever
// is called starts before its callers.
func (l *Launcher) calleesFirst() []*instance {
	var order []*instance
	visited := map[string]bool{}
	var visit func(name string)
	visit = func(name string) {
		svc := l.cfg.System.Service(name)
		if svc == nil || visited[name] {
			return
		}
		visited[name] = true
		for _, callee := range svc.Calls {
			visit(callee)
		}
		for _, inst := range l.instances {
			if inst.svc == svc {
				order = append(order, inst)
			}
		}
	}
	for _, svc := range l.cfg.System.Services {
		visit(svc.Name)
	}
	return order
}

// Stop ends every process: SIGTERM first, SIGKILL to the group of whoever is
// still there after Config.StopWithin. Stores are removed, outputs stay. Stopping twice is no error.
func (l *Launcher) Stop(ctx context.Context) error {
	var wg sync.WaitGroup
	for _, inst := range l.instances {
		wg.Go(func() { inst.stop(ctx, l.cfg.StopWithin) })
	}
	wg.Wait()
	l.release()
	var err error
	if l.guard != nil {
		err = l.guard.close()
		l.guard = nil
	}
	if removeErr := os.RemoveAll(filepath.Join(l.cfg.Dir, "data")); removeErr != nil {
		err = errors.Join(err, fmt.Errorf("removing the stores: %w", removeErr))
	}
	return err
}

// Kill ends the service's processes at once, as kill -9 does. Replica 0 means all.
func (l *Launcher) Kill(ctx context.Context, service string, replica int) error {
	return l.each(service, replica, func(inst *instance) error { return inst.kill(ctx) })
}

// Pause stops the service's processes from running (SIGSTOP), and returns when they stand still; connections stay open.
func (l *Launcher) Pause(_ context.Context, service string, replica int) error {
	return l.each(service, replica, (*instance).pause)
}

// Resume lets paused processes run on.
func (l *Launcher) Resume(_ context.Context, service string, replica int) error {
	return l.each(service, replica, (*instance).resume)
}

// Restart kills what still runs, starts the instances again with the same ports and
// stores, and waits until they are ready.
func (l *Launcher) Restart(ctx context.Context, service string, replica int) error {
	return l.each(service, replica, func(inst *instance) error { return inst.restart(ctx) })
}

// Running tells whether every selected instance has a running process.
func (l *Launcher) Running(service string, replica int) bool {
	return l.each(service, replica, func(inst *instance) error {
		if inst.describe().PID == 0 {
			return errors.New("not running")
		}
		return nil
	}) == nil
}

// Ready asks the selected instances once whether they are healthy.
func (l *Launcher) Ready(ctx context.Context, service string, replica int) error {
	return l.each(service, replica, func(inst *instance) error { return inst.check(ctx) })
}

func (l *Launcher) each(service string, replica int, do func(*instance) error) error {
	var group errgroup.Group
	found := false
	for _, inst := range l.instances {
		if inst.svc.Name == service && (replica == 0 || replica == inst.replica) {
			found = true
			group.Go(func() error { return do(inst) })
		}
	}
	if !found {
		return fmt.Errorf("no instance %d of service %q", replica, service)
	}
	return group.Wait()
}

// portOf returns the port of host:port.
func portOf(addr string) string { return addr[strings.LastIndexByte(addr, ':')+1:] }
