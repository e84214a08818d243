package loadgen

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// killAfter is what a worker gets beyond Share.Drain to end when it is told to.
const killAfter = 5 * time.Second

// Worker is a load generator in a process of its own.
type Worker struct {
	cmd       *exec.Cmd
	killAfter time.Duration
	stdin     io.Closer
	commands  chan any
	ready     chan struct{}
	stopping  chan struct{}
	stop      sync.Once
	ended     chan struct{}
	err       error // valid once ended is closed
	stderr    *lastLines
}

// Start starts argv, a program that calls Main, and gives it the share.
// It returns when the worker is ready to send, or with the reason why it cannot.
// Results go to sink, from one goroutine, until Wait returns. The worker's stderr goes to this
// process's. When ctx ends the worker is told to stop, and killed when it does
// not; it also ends when this process does.
func Start(ctx context.Context, argv []string, share Share, sink func(Result)) (*Worker, error) {
	return start(ctx, argv, share, sink, killAfter)
}

func start(ctx context.Context, argv []string, share Share, sink func(Result), killAfter time.Duration) (*Worker, error) {
	if len(argv) == 0 {
		return nil, errors.New("starting the load worker: no command")
	}
	if err := share.Validate(); err != nil {
		return nil, err
	}
	w := &Worker{
		cmd:       exec.Command(argv[0], argv[1:]...),
		killAfter: killAfter,
		commands:  make(chan any, 4),
		ready:     make(chan struct{}),
		stopping:  make(chan struct{}),
		ended:     make(chan struct{}),
		stderr:    &lastLines{},
	}
	w.cmd.Stderr = io.MultiWriter(os.Stderr, w.stderr)
	w.cmd.WaitDelay = time.Second
	ownGroup(w.cmd)
	stdin, stdout, err := w.pipes()
	if err != nil {
		return nil, err
	}
	if err := w.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the load worker: %w", err)
	}
	w.commands <- share
	w.stdin = stdin
	go w.run(ctx, stdin, stdout, share.drain(), sink)
	select {
	case <-w.ready:
		return w, nil
	case <-w.ended:
	}
	if ctx.Err() != nil { // then how it ended tells nothing
		return nil, fmt.Errorf("starting the load worker: %w", context.Cause(ctx))
	}
	return nil, w.err
}

// Begin tells a worker whose share has no Start when time zero is.
func (w *Worker) Begin(at time.Time) { w.tell(command{Start: at}) }

// SetRate gives an open-loop load another rate from an offset from time zero
// on, as Load.WithRate does; an offset that has passed counts, but arrivals
// already let go stay. The worker has to have begun.
func (w *Worker) SetRate(ctx context.Context, load string, at time.Duration, rate float64) error {
	if math.IsNaN(rate) || rate < 0 || rate > maxRate {
		return fmt.Errorf("a rate of %v/s: permitted: 0 to %d", rate, maxRate)
	}
	select {
	case w.commands <- command{Rate: &rateChange{Load: load, At: at, To: rate}}:
		return nil
	case <-w.ended:
		return errors.New("the load has ended")
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// maxRate bounds the rate that a load may be set to, in arrivals a second.
const maxRate = 100_000

// Stop tells the worker to send no more. Requests under way still have
// Share.Drain to end.
func (w *Worker) Stop() {
	w.stop.Do(func() { close(w.stopping) })
}

// Abandon is Stop for whoever cannot wait: requests under way are let go of at
// once, and recorded as failed with ErrorCutOff.
func (w *Worker) Abandon() {
	w.Stop()
	_ = w.stdin.Close() // it is closed already when the load has ended
}

// Wait returns when the worker has ended and sink has got its last result. It
// is nil when the load went to its end or was stopped.
func (w *Worker) Wait() error {
	<-w.ended
	return w.err
}

// PID is the id of the worker's process.
func (w *Worker) PID() int { return w.cmd.Process.Pid }

// tell queues a command. There are never more than the queue holds, unless
// Begin is called again and again; then it is ignored, as the worker does.
func (w *Worker) tell(c command) {
	select {
	case w.commands <- c:
	default:
	}
}

func (w *Worker) pipes() (io.WriteCloser, io.ReadCloser, error) {
	stdin, err := w.cmd.StdinPipe()
	if err != nil {
		return nil, nil, fmt.Errorf("starting the load worker: %w", err)
	}
	stdout, err := w.cmd.StdoutPipe()
	if err != nil {
		return nil, nil, fmt.Errorf("starting the load worker: %w", err)
	}
	return stdin, stdout, nil
}

// run looks after the process from its start to its end.
func (w *Worker) run(ctx context.Context, stdin io.WriteCloser, stdout io.Reader, drain time.Duration, sink func(Result)) {
	over := make(chan struct{}) // no more results will come
	var helpers sync.WaitGroup
	helpers.Go(func() { w.instruct(stdin, over) })
	var killed error
	helpers.Go(func() { killed = w.watch(ctx, over, drain+w.killAfter) })
	said := w.read(stdout, sink)
	close(over)
	// The pipe is closed here and not by instruct, which may be blocked writing to it. The
	// worker ends when it sees that.
	_ = stdin.Close()
	helpers.Wait()
	overdue := time.AfterFunc(w.killAfter, w.kill)
	exit := w.cmd.Wait()
	overdue.Stop()
	w.err = w.reason(said, killed, exit)
	close(w.ended)
}

// instruct writes commands, and the stop when it comes.
func (w *Worker) instruct(stdin io.Writer, over <-chan struct{}) {
	encoder := json.NewEncoder(stdin)
	for stopping := w.stopping; ; {
		var c any
		select {
		case c = <-w.commands:
		case <-stopping:
			c, stopping = command{Stop: true}, nil
		case <-over:
			return
		}
		if err := encoder.Encode(c); err != nil {
			return // it has gone; its end says why
		}
	}
}

// watch stops the worker when ctx ends, and kills it when it takes too long to
// get ready or, told to stop, longer than patience.
func (w *Worker) watch(ctx context.Context, over <-chan struct{}, patience time.Duration) error {
	if done, err := w.watchReady(ctx, over); done {
		return err
	}
	select {
	case <-over:
		return nil
	case <-ctx.Done():
		w.Stop()
	case <-w.stopping:
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-over:
		return nil
	case <-timer.C:
		w.kill()
		return fmt.Errorf("it did not stop within %s and was killed", patience)
	}
}

// watchReady returns once the worker is ready, or is to stop, or, with true, has ended.
func (w *Worker) watchReady(ctx context.Context, over <-chan struct{}) (done bool, err error) {
	patience := prepareWithin + w.killAfter
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-w.ready:
	case <-w.stopping:
	case <-ctx.Done():
	case <-over:
		return true, nil
	case <-timer.C:
		w.kill()
		return true, fmt.Errorf("it was not ready within %s and was killed", patience)
	}
	return false, nil
}

// kill ends the process; that fails only when it has ended.
func (w *Worker) kill() { _ = w.cmd.Process.Kill() }

// errNoDone says that a worker's stream ended too early.
var errNoDone = errors.New("it ended before its load did")

// read takes in what the worker says until it has no more to say.
func (w *Worker) read(stdout io.Reader, sink func(Result)) error {
	frames := newDecoder(stdout)
	ready := sync.OnceFunc(func() { close(w.ready) })
	var count uint64
	for {
		m, err := frames.next()
		if err != nil {
			_, _ = io.Copy(io.Discard, stdout) // so that it is not blocked
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				return errNoDone
			}
			return fmt.Errorf("reading its results: %w", err)
		}
		switch m.kind {
		case kindReady:
			ready()
		case kindResult:
			count++
			sink(m.result)
		case kindFailed:
			return errors.New(m.text)
		case kindDone:
			if m.count != count {
				return fmt.Errorf("it sent %d results, %d arrived", m.count, count)
			}
			return nil
		}
	}
}

// reason makes one error of what the worker said, whether it had to be
// killed, and how it exited.
func (w *Worker) reason(said, killed, exit error) error {
	switch {
	case killed != nil:
		return fmt.Errorf("load worker: %w", killed)
	case said != nil && !errors.Is(said, errNoDone):
		return fmt.Errorf("load worker: %w", said)
	case said == nil && exit == nil:
		return nil
	}
	if exit == nil {
		exit = errors.New("exit status 0")
	}
	err := fmt.Errorf("load worker: %w: %w", errNoDone, exit)
	if lines := w.stderr.String(); lines != "" {
		err = fmt.Errorf("%w; its last lines were:\n%s", err, lines)
	}
	return err
}

// lastLines keeps the end of what is written to it.
type lastLines struct {
	mu   sync.Mutex
	text []byte
}

const (
	keepLines = 10
	keepBytes = 8 << 10
)

// Write keeps the last of p and never fails.
func (l *lastLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, p...)
	if over := len(l.text) - keepBytes; over > 0 {
		l.text = append(l.text[:0], l.text[over:]...)
	}
	return len(p), nil
}

// String is the last lines, without the final newline.
func (l *lastLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	lines := strings.Split(strings.TrimRight(string(l.text), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-keepLines):], "\n")
}
