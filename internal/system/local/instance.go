package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/faultline-lab/faultline/internal/system"
)

// instance is one replica: its ports, and its process while it runs.
type instance struct {
	launcher  *Launcher
	svc       *system.Service
	replica   int
	name      string
	addr      string
	adminAddr string
	output    string
	data      string

	mu          sync.Mutex // guards the fields below
	main, admin net.Listener
	cmd         *exec.Cmd
	exited      chan struct{} // closed once the process is gone and waited for
	exit        error
	expected    bool // somebody asked for the process to end
}

func (i *instance) describe() system.Instance {
	i.mu.Lock()
	defer i.mu.Unlock()
	out := system.Instance{Service: i.svc.Name, Replica: i.replica, Name: i.name, Addr: i.addr, AdminAddr: i.adminAddr}
	if i.running() {
		out.PID = i.cmd.Process.Pid
	}
	return out
}

// running is called with mu held.
func (i *instance) running() bool {
	if i.cmd == nil {
		return false
	}
	select {
	case <-i.exited:
		return false
	default:
		return true
	}
}

func (i *instance) releasePorts() {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, listener := range []*net.Listener{&i.main, &i.admin} {
		if *listener != nil {
			_ = (*listener).Close() // only held to keep the port; nothing was accepted
			*listener = nil
		}
	}
}

func (i *instance) start() error {
	argv, env, err := i.launcher.command(i)
	if err != nil {
		return err
	}
	out, err := os.OpenFile(i.output, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("opening the output of %s: %w", i.name, err)
	}
	defer out.Close() // the process has its own handle
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = env, i.launcher.cfg.System.Dir, out, out
	if cmd.Dir == "" {
		cmd.Dir = i.data
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}

	i.releasePorts()
	i.mu.Lock()
	defer i.mu.Unlock()
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting %s: %w", i.name, explainStart(err, argv[0]))
	}
	i.launcher.guard.watch(cmd.Process.Pid)
	i.cmd, i.exited, i.exit, i.expected = cmd, make(chan struct{}), nil, false
	go i.wait(cmd, i.exited)
	i.launcher.cfg.OnEvent(i.name, "started")
	return nil
}

// explainStart tells a user what to do about a program that is not there.
func explainStart(err error, program string) error {
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%w (the system file runs %q; is it built, and on PATH or beside faultline?)", err, program)
	}
	return err
}

func (i *instance) wait(cmd *exec.Cmd, exited chan struct{}) {
	err := cmd.Wait()
	// What the process left behind in its group would otherwise live on, holding the port.
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	i.launcher.guard.forget(cmd.Process.Pid)
	i.mu.Lock()
	i.exit = err
	expected := i.expected
	close(exited)
	i.mu.Unlock()
	if !expected {
		i.launcher.cfg.OnEvent(i.name, exitText(err))
	}
}

// exitText is the event of a process that ended by itself.
func exitText(how error) string {
	if how != nil {
		return "exited: " + how.Error()
	}
	return "exited"
}

// awaitReady asks for health until the answer is yes, the process is gone, or its time is up.
func (i *instance) awaitReady(ctx context.Context) error {
	within := i.svc.Health.Within
	if within == 0 {
		within = 15 * time.Second
	}
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	tick := time.NewTicker(15 * time.Millisecond)
	defer tick.Stop()
	i.mu.Lock()
	exited := i.exited
	i.mu.Unlock()
	var last error
	for {
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", i.name, ctx.Err())
		case <-exited:
			return i.failure("ended before it was ready")
		case <-deadline.C:
			return i.failure(fmt.Sprintf("was not ready within %s: %v", within, last))
		case <-tick.C:
			if last = i.check(ctx); last == nil {
				i.launcher.cfg.OnEvent(i.name, "ready")
				return nil
			}
		}
	}
}

func (i *instance) failure(what string) error {
	i.mu.Lock()
	exit := i.exit
	i.mu.Unlock()
	text := fmt.Sprintf("service %s %s", i.name, what)
	if exit != nil {
		text += " (" + exit.Error() + ")"
	}
	if tail := lastLines(i.output, 8); tail != "" {
		text += "; it printed last:\n" + tail + "\n"
	} else {
		text += "; it printed nothing; "
	}
	return errors.New(text + "all of its output: " + i.output)
}

// lastLines returns the last n lines of a file, indented.
func lastLines(file string, n int) string {
	data, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	data = bytes.TrimSpace(data[max(0, len(data)-16<<10):])
	if len(data) == 0 {
		return ""
	}
	lines := strings.Split(string(data), "\n")
	return "    " + strings.Join(lines[max(0, len(lines)-n):], "\n    ")
}

// signal sends sig to the process group. A process that is gone already is no error.
func (i *instance) signal(sig syscall.Signal, expected bool) (sent bool, exited chan struct{}, err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if !i.running() {
		return false, nil, nil
	}
	i.expected = i.expected || expected
	if err := syscall.Kill(-i.cmd.Process.Pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		return false, nil, fmt.Errorf("sending %s to %s: %w", sig, i.name, err)
	}
	return true, i.exited, nil
}

func (i *instance) kill(ctx context.Context) error {
	sent, exited, err := i.signal(syscall.SIGKILL, true)
	if err != nil || !sent {
		return err
	}
	select {
	case <-exited:
		i.launcher.cfg.OnEvent(i.name, "killed")
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for %s to end: %w", i.name, ctx.Err())
	}
}

func (i *instance) pause() error {
	sent, _, err := i.signal(syscall.SIGSTOP, false)
	if err == nil && !sent {
		return fmt.Errorf("pausing %s: it does not run", i.name)
	}
	if err == nil {
		awaitStopped(i.describe().PID)
		i.launcher.cfg.OnEvent(i.name, "paused")
	}
	return err
}

func (i *instance) resume() error {
	sent, _, err := i.signal(syscall.SIGCONT, false)
	if err == nil && sent {
		i.launcher.cfg.OnEvent(i.name, "resumed")
	}
	return err
}

func (i *instance) restart(ctx context.Context) error {
	if err := i.kill(ctx); err != nil {
		return err
	}
	if err := i.start(); err != nil {
		return err
	}
	if err := i.awaitReady(ctx); err != nil {
		return err
	}
	i.launcher.cfg.OnEvent(i.name, "restarted")
	return nil
}

// stop ends the process, kindly at first. It always returns: SIGKILL cannot be refused.
func (i *instance) stop(ctx context.Context, within time.Duration) {
	_, _, _ = i.signal(syscall.SIGCONT, true) // a paused process cannot handle SIGTERM
	sent, exited, err := i.signal(syscall.SIGTERM, true)
	if err != nil || !sent {
		return
	}
	patience := time.NewTimer(within)
	defer patience.Stop()
	select {
	case <-exited:
		return
	case <-patience.C:
	case <-ctx.Done():
	}
	if _, _, err := i.signal(syscall.SIGKILL, true); err != nil {
		i.launcher.cfg.Log.Error("stopping a service", "service", i.name, "error", err)
		return
	}
	<-exited
}
