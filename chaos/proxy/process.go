package proxy

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// Process is a proxy process that this one started.
type Process struct {
	API string // base URL
	PID int

	cmd      *exec.Cmd
	stdin    io.Closer
	patience time.Duration // how long Stop waits before it kills
	reading  sync.WaitGroup
	exited   chan struct{}
	err      error // of the process, once exited is closed
}

// Start starts a proxy process (argv: this program and its arguments) and waits
// until it is ready. It is in a process group of its own, so that a Ctrl-C at the terminal
// reaches only the lab, which takes the faults back first. stderr may be nil. onNotice hears
// of what the process prints later, such as a lapsed lease; nil means nobody does.
func Start(ctx context.Context, argv []string, stderr io.Writer, onNotice func(Notice)) (*Process, error) {
	if len(argv) == 0 {
		return nil, errors.New("starting the proxy process: no command")
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stderr = stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("starting the proxy process: %w", err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("starting the proxy process: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the proxy process: %w", err)
	}
	p := &Process{PID: cmd.Process.Pid, cmd: cmd, stdin: stdin, patience: 5 * time.Second, exited: make(chan struct{})}
	ready := make(chan Notice, 1)
	p.reading.Go(func() { readNotices(stdout, ready, onNotice) })
	go func() {
		p.reading.Wait()
		p.err = cmd.Wait()
		close(p.exited)
	}()
	select {
	case notice := <-ready:
		p.API = notice.API
		return p, nil
	case <-p.exited:
		return nil, fmt.Errorf("starting the proxy process: it ended before it was ready: %w", p.ended())
	case <-ctx.Done():
		return nil, errors.Join(fmt.Errorf("starting the proxy process: %w", context.Cause(ctx)), p.Stop(context.WithoutCancel(ctx)))
	}
}

func (p *Process) ended() error {
	if p.err == nil {
		return errors.New("exit status 0")
	}
	return p.err
}

func readNotices(stdout io.Reader, ready chan<- Notice, onNotice func(Notice)) {
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		var notice Notice
		switch err := json.Unmarshal(lines.Bytes(), &notice); {
		case err != nil: // not ours; keep reading, so that the process is never blocked
		case notice.Event == NoticeReady:
			select {
			case ready <- notice:
			default:
			}
		case onNotice != nil:
			onNotice(notice)
		}
	}
	_, _ = io.Copy(io.Discard, stdout) // after a line that is too long: the process must not block on printing
}

// Exited is closed when the process has ended, for whatever reason.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// Stop ends the process: it closes its input, and kills it when it has not
// ended 5 s later, or at the deadline of ctx. A cancelled ctx does not shorten an orderly end.
func (p *Process) Stop(ctx context.Context) error {
	_ = p.stdin.Close() // closed before, or the process has gone
	patience := p.patience
	if deadline, ok := ctx.Deadline(); ok {
		patience = min(patience, max(time.Until(deadline), 0))
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-p.exited:
		return p.err
	case <-timer.C:
	}
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("killing the proxy process: %w", err)
	}
	<-p.exited
	return fmt.Errorf("the proxy process did not end by itself within %s and was killed", patience)
}
