package local

import (
	"bufio"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
)

// Guard is the body of the guard process. It reads "+PID" and "-PID" lines,
// and when its input ends, which it does however the lab ends, it kills the
// process groups that it was told of and not told to forget.
func Guard(in io.Reader) {
	watched := map[int]bool{}
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		text := lines.Text()
		if len(text) < 2 {
			continue
		}
		pid, err := strconv.Atoi(text[1:])
		if err != nil || pid <= 1 {
			continue
		}
		if text[0] == '+' {
			watched[pid] = true
		} else {
			delete(watched, pid)
		}
	}
	for pid := range watched {
		_ = syscall.Kill(-pid, syscall.SIGKILL) // it may be gone already
	}
}

// guard is the lab's end of the guard process. A nil guard watches nothing.
type guard struct {
	cmd    *exec.Cmd
	exited chan struct{}
	exit   error // once exited is closed

	mu      sync.Mutex // guards the fields below
	in      io.WriteCloser
	closing bool
}

// startGuard starts the guard process. gone is told how it ended, if it does so before close.
func startGuard(argv []string, gone func(how error)) (*guard, error) {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for the lab, not for its guard
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	g := &guard{cmd: cmd, in: in, exited: make(chan struct{})}
	go g.wait(gone)
	return g, nil
}

func (g *guard) wait(gone func(how error)) {
	g.exit = g.cmd.Wait()
	g.mu.Lock()
	closing := g.closing
	g.mu.Unlock()
	if !closing {
		gone(g.exit)
	}
	close(g.exited)
}

func (g *guard) watch(pid int)  { g.tell('+', pid) }
func (g *guard) forget(pid int) { g.tell('-', pid) }

func (g *guard) tell(sign byte, pid int) {
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	_, _ = fmt.Fprintf(g.in, "%c%d\n", sign, pid) // without its guard the lab still stops what it started
}

// close ends the process. One that ended before was reported then.
func (g *guard) close() error {
	g.mu.Lock()
	select {
	case <-g.exited:
	default:
		g.closing = true
	}
	closing := g.closing
	_ = g.in.Close() // closed already when the process has ended
	g.mu.Unlock()
	<-g.exited
	if closing && g.exit != nil {
		return fmt.Errorf("ending the guard process: %w", g.exit)
	}
	return nil
}
