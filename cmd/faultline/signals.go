package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// endings are the signals that ask a program to end. Those that it was told to
// ignore (nohup) stay ignored.
func endings() []os.Signal {
	var out []os.Signal
	for _, sig := range []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP} {
		if !signal.Ignored(sig) {
			out = append(out, sig)
		}
	}
	return out
}

// interruptible ends the context on the first Ctrl-C or SIGTERM, so that
// everything is taken down in order, and the program on the second: then the
// guard process ends the services.
func interruptible(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	signals := make(chan os.Signal, 2)
	if listed := endings(); len(listed) > 0 { // none would mean all
		signal.Notify(signals, listed...)
	}
	done := make(chan struct{})
	go func() {
		select {
		case <-signals:
			cancel()
		case <-done:
			return
		}
		select {
		case <-signals:
			os.Exit(exitInconclusive)
		case <-done:
		}
	}()
	return ctx, func() { signal.Stop(signals); close(done); cancel() }
}

// endWithTheLab is for the lab's own processes: a signal to all of them (pkill
// faultline) is for the lab, which takes them down in order.
func endWithTheLab() {
	if listed := endings(); len(listed) > 0 { // none would mean all
		signal.Ignore(listed...)
	}
}

// whileRead returns a context that also ends when the reader of out has gone,
// as in 'faultline run x | head'. Without it, the next line that is written would
// kill the lab where it stands. Call the function when done.
func whileRead(ctx context.Context, out io.Writer) (context.Context, io.Writer, func()) {
	if isTerminal(out) {
		return ctx, out, func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGPIPE) // now writing is an error
	return ctx, &pipe{Writer: out, gone: cancel}, func() { signal.Stop(signals); cancel() }
}

// pipe is a writer whose reader may go.
type pipe struct {
	io.Writer
	gone func()
}

// Write writes and notes when nobody reads any more.
func (p *pipe) Write(b []byte) (int, error) {
	n, err := p.Writer.Write(b)
	if errors.Is(err, syscall.EPIPE) {
		p.gone()
	}
	return n, err
}

// sayWhenStopping tells the user what happens after Ctrl-C. Call the function when done.
func sayWhenStopping(ctx context.Context, errOut io.Writer) func() bool {
	return context.AfterFunc(ctx, func() {
		fmt.Fprintln(errOut, "\nfaultline: stopping; everything is taken down (once more: at once)")
	})
}

// aside is where errors and warnings go: standard error, or, while progress is
// drawn on the same terminal, whoever draws it.
type aside struct {
	mu  sync.Mutex
	out io.Writer
}

// Write writes to where the lines go now.
func (a *aside) Write(b []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.out.Write(b)
}

// through sends what is written to another writer until the function is called.
func (a *aside) through(out io.Writer) (back func()) {
	set := func(out io.Writer) io.Writer {
		a.mu.Lock()
		defer a.mu.Unlock()
		before := a.out
		a.out = out
		return before
	}
	before := set(out)
	return func() { set(before) }
}
