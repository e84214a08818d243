package loadgen

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"sync"
	"time"
)

// flushEvery is how long a result may wait in the worker before its parent
// sees it.
const flushEvery = 100 * time.Millisecond

// command is what a parent tells a worker after the share, one JSON object a
// line.
type command struct {
	Start time.Time   `json:"start,omitzero"` // time zero, for a share that does not say
	Stop  bool        `json:"stop,omitempty"` // send no more, let what is under way end
	Rate  *rateChange `json:"rate,omitempty"`
}

// rateChange gives a load another rate from an offset on.
type rateChange struct {
	Load string        `json:"load"`
	At   time.Duration `json:"at"` // from time zero
	To   float64       `json:"to"` // arrivals per second
}

// Main is the worker process of Start: it reads a Share and then commands
// from stdin, and writes what becomes of the requests to stdout, in a format
// that Start reads. It returns when stdin is closed; a load still running is
// then dropped. The error has been reported to the parent as well, so the
// program need not print it.
//
// It settles the garbage collector and the number of threads of the whole
// process, so it has to have the process to itself.
func Main(ctx context.Context, stdin io.Reader, stdout io.Writer) error {
	// The worker's own data are small and short-lived: a heap of few MB is enough for it.
	debug.SetGCPercent(50)
	// A thread that naps until an arrival holds a place among those that run Go code.
	runtime.GOMAXPROCS(runtime.NumCPU() + 1)
	return work(ctx, stdin, stdout)
}

// work is Main without what concerns the whole process.
func work(ctx context.Context, stdin io.Reader, stdout io.Writer) error {
	out := &reporter{encoder: newEncoder(stdout)}
	commands := json.NewDecoder(stdin)
	var share Share
	if err := commands.Decode(&share); err != nil {
		return out.fail(fmt.Errorf("reading the share: %w", err))
	}
	running, stop := context.WithCancel(ctx)
	gone, parentGone := context.WithCancel(context.WithoutCancel(ctx))
	defer parentGone()
	starts := make(chan time.Time, 1)
	var helpers sync.WaitGroup
	rates := make(chan rateChange)
	helpers.Go(func() { obey(running, commands, starts, rates, stop); parentGone() })
	defer func() { stop(); helpers.Wait() }()
	err := send(running, gone, share, orders{starts, rates}, out)
	if err == nil && ctx.Err() != nil {
		err = errors.New("interrupted")
	}
	if err != nil {
		return out.fail(err)
	}
	return out.do((*encoder).done)
}

// orders are the commands for a load that is being sent.
type orders struct {
	starts <-chan time.Time
	rates  <-chan rateChange
}

// send prepares the share, says so, and runs its load until ctx ends or, at
// once, until gone does.
func send(ctx, gone context.Context, share Share, from orders, out *reporter) error {
	g, err := prepare(ctx, share)
	if err != nil {
		return err
	}
	defer g.close()
	defer context.AfterFunc(gone, func() { g.abandon(errCutOff) })()
	if err := out.do((*encoder).ready); err != nil {
		return fmt.Errorf("reporting: %w", err)
	}
	g.work(ctx, from, out)
	return nil
}

// work runs the load from when its time zero is known.
func (g *generator) work(ctx context.Context, from orders, out *reporter) {
	start := g.share.Start
	if start.IsZero() {
		select {
		case start = <-from.starts:
		case <-ctx.Done():
			return
		}
	}
	flushing, stop := context.WithCancel(context.WithoutCancel(ctx))
	var beside sync.WaitGroup
	beside.Go(func() { out.flushRegularly(flushing) })
	beside.Go(func() { g.changeRates(flushing, from.rates) })
	defer beside.Wait()
	defer stop()
	g.run(ctx, start, out.result)
}

func (g *generator) changeRates(ctx context.Context, rates <-chan rateChange) {
	for {
		select {
		case c := <-rates:
			g.setRate(c)
		case <-ctx.Done():
			return
		}
	}
}

// obey carries out commands until stdin closes; then nobody wants the load
// any more.
func obey(ctx context.Context, commands *json.Decoder, starts chan<- time.Time, rates chan<- rateChange, stop func()) {
	for {
		var c command
		if err := commands.Decode(&c); err != nil {
			stop()
			return
		}
		if c.Stop {
			stop()
		}
		if c.Rate != nil {
			select {
			case rates <- *c.Rate:
			case <-ctx.Done(): // the load has ended
			}
		}
		if !c.Start.IsZero() {
			select {
			case starts <- c.Start:
			default: // it has begun
			}
		}
	}
}

// reporter is the encoder for use by several goroutines. After an error it
// writes no more: the parent has gone, and closing stdin tells the rest.
type reporter struct {
	mu      sync.Mutex
	encoder *encoder
	err     error
}

// do writes one frame and flushes.
func (r *reporter) do(write func(*encoder) error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil {
		r.err = errors.Join(write(r.encoder), r.encoder.flush())
	}
	return r.err
}

func (r *reporter) result(row Result) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil {
		r.err = r.encoder.result(row)
	}
}

// fail reports err and returns it.
func (r *reporter) fail(err error) error {
	return errors.Join(err, r.do(func(e *encoder) error { return e.failed(err.Error()) }))
}

func (r *reporter) flushRegularly(ctx context.Context) {
	for sleep(ctx, flushEvery) {
		_ = r.do(func(*encoder) error { return nil }) // kept in r.err
	}
}
