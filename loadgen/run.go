package loadgen

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"
)

// prepareWithin bounds how long asking the targets for their descriptors may
// take.
const prepareWithin = 10 * time.Second

// userPause is how long a user of a closed loop waits after a journey that got
// no answer at all. Without it refused connections would turn the loop into a busy one.
const userPause = 10 * time.Millisecond

// seqHeader is where vegeta notes the number of a hit.
const seqHeader = "X-Vegeta-Seq"

// Run sends the share's load and hands every result to sink, which is called
// by one goroutine at a time, the rows of a journey one after another. It returns when the
// schedule is over and every request has ended, or, when ctx ends, as soon as those under way
// have: both within Share.Drain. An error means that the load could not be sent at all; that
// requests fail is not an error.
func Run(ctx context.Context, share Share, sink func(Result)) error {
	g, err := prepare(ctx, share)
	if err != nil {
		return err
	}
	defer g.close()
	g.run(ctx, share.Start, sink)
	return nil
}

// generator is a share made ready to be sent.
type generator struct {
	share    Share
	journeys []*journeys
	inFlight atomic.Int64

	// life ends when the generator is to let go of everything at once.
	life    context.Context
	abandon context.CancelCauseFunc

	mu   sync.Mutex // guards calls of sink
	sink func(Result)
}

// prepare validates the share, compiles its steps and connects to what needs
// connecting. It returns within prepareWithin.
func prepare(ctx context.Context, share Share) (*generator, error) {
	if err := share.Validate(); err != nil {
		return nil, err
	}
	g := &generator{share: share}
	g.life, g.abandon = context.WithCancelCause(context.WithoutCancel(ctx))
	ctx, cancel := context.WithTimeoutCause(ctx, prepareWithin, fmt.Errorf("no answer within %s", prepareWithin))
	defer cancel()
	for _, load := range share.Loads {
		j, err := g.prepareLoad(ctx, load)
		if err != nil {
			g.close()
			if cause := context.Cause(ctx); cause != nil {
				err = fmt.Errorf("%w (%w)", cause, err)
			}
			return nil, fmt.Errorf("load %q: service %q: %w", load.Name, load.Service, err)
		}
		g.journeys = append(g.journeys, j)
	}
	return g, nil
}

func (g *generator) prepareLoad(ctx context.Context, load Load) (*journeys, error) {
	target := g.share.Targets[load.Service]
	steps, err := compileSteps(load.Steps, target.Protocol)
	if err != nil {
		return nil, err
	}
	j := &journeys{load: load, steps: steps}
	if j.baggage, err = baggagePrefix(load.Name, g.share.Baggage, load.Baggage); err != nil {
		return nil, fmt.Errorf("baggage: %w", err)
	}
	if load.Users == 0 {
		j.pacer = newOpenPacer(load, g.share.Worker, g.share.workers())
	}
	if target.Protocol == protocolGRPC {
		j.sender, err = newGRPCSender(ctx, target.Addrs, steps)
	} else {
		j.sender = newHTTPSender(g.life, target.Addrs)
	}
	return j, err
}

// close lets go of everything; requests still under way end at once.
func (g *generator) close() {
	g.abandon(errCutOff)
	for _, j := range g.journeys {
		j.sender.close()
	}
}

// run sends every load, time zero being start, or now when start is zero.
func (g *generator) run(ctx context.Context, start time.Time, sink func(Result)) {
	g.sink = sink
	now := time.Now()
	if start.IsZero() {
		start = now
	}
	start = now.Add(start.Round(0).Sub(now.Round(0))) // the same time, but safe from steps of the wall clock
	var running sync.WaitGroup
	for _, j := range g.journeys {
		s := g.newStream(j, start)
		running.Go(func() { s.run(ctx) })
	}
	running.Wait()
}

func (g *generator) emit(rows ...Result) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, row := range rows {
		g.sink(row)
	}
}

// stream is one load while it is sent. Vegeta sees it as the transport of
// its HTTP client: every hit is one whole journey, whatever its protocol.
type stream struct {
	*journeys
	g     *generator
	start time.Time

	life   context.Context // of the requests
	cutOff context.CancelCauseFunc
	drain  *time.Timer
	ending sync.Once
}

func (g *generator) newStream(j *journeys, start time.Time) *stream {
	s := &stream{journeys: j, g: g, start: start}
	s.life, s.cutOff = context.WithCancelCause(g.life)
	return s
}

// run returns when the last journey has ended.
func (s *stream) run(ctx context.Context) {
	defer s.cutOff(errCutOff)
	if !s.started(ctx) {
		return
	}
	options := []func(*vegeta.Attacker){vegeta.Client(&http.Client{Transport: s})}
	var pacer vegeta.Pacer = s.pacer
	var wake <-chan struct{}
	if s.pacer != nil {
		wake = s.pacer.wake
	} else {
		users := uint64(shareOf(s.load.Users, s.g.share.Worker, s.g.share.workers()))
		if users == 0 {
			return
		}
		options = append(options, vegeta.Workers(users), vegeta.MaxWorkers(users))
		pacer = closedPacer{length: s.load.Length()}
		// A loop whose users are all busy does not look at the clock by itself.
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, s.start.Add(s.load.Length()))
		defer cancel()
	}
	attacker := vegeta.NewAttacker(options...)
	defer context.AfterFunc(ctx, func() { s.end(); attacker.Stop() })()
	clock := &timekeeper{
		ctx: ctx, pacer: pacer, start: s.start, length: s.load.Length(),
		spin: s.g.share.Spin, nap: nap, ended: s.end, wake: wake,
	}
	for range attacker.Attack(aim, clock, 0, "") { // vegeta's own results are not wanted
	}
	s.drain.Stop()
}

// started waits for time zero; false when ctx ended first.
func (s *stream) started(ctx context.Context) bool {
	return sleep(ctx, time.Until(s.start)-coarse)
}

// end begins the time that requests under way still have.
func (s *stream) end() {
	s.ending.Do(func() {
		s.drain = time.AfterFunc(s.g.share.drain(), func() { s.cutOff(errCutOff) })
	})
}

// setRate changes the rate of a load from an offset on; of a load that has none, it does nothing.
func (g *generator) setRate(c rateChange) {
	for _, j := range g.journeys {
		if j.load.Name == c.Load && j.pacer != nil {
			j.pacer.setRate(c.At, c.To)
		}
	}
}

// aim is the vegeta.Targeter. What is sent where is the journey's business.
func aim(target *vegeta.Target) error {
	target.Method, target.URL = http.MethodGet, "http://journey/"
	return nil
}

// RoundTrip walks the journey that a hit of vegeta's stands for.
func (s *stream) RoundTrip(hit *http.Request) (*http.Response, error) {
	n, err := strconv.ParseUint(hit.Header.Get(seqHeader), 10, 64)
	if err != nil {
		return nil, fmt.Errorf("reading the number of the hit: %w", err)
	}
	due := time.Now()
	if s.pacer != nil {
		at, known := s.pacer.dueAt(n)
		if !known {
			return nil, errors.New("a hit beyond the schedule")
		}
		due = s.start.Add(at)
	}
	s.arrive(n, due)
	return &http.Response{
		StatusCode: http.StatusNoContent, Body: http.NoBody, Request: hit,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}, nil
}

// arrive makes the results of this worker's n-th hit.
func (s *stream) arrive(n uint64, due time.Time) {
	seq := n*uint64(s.g.share.workers()) + uint64(s.g.share.Worker)
	if s.g.inFlight.Add(1) > s.g.share.maxInFlight() {
		s.g.inFlight.Add(-1)
		s.g.emit(s.notSent(seq, due))
		return
	}
	rows := s.walk(s.life, seq, due)
	s.g.inFlight.Add(-1)
	s.g.emit(rows...)
	whole := rows[len(rows)-1]
	if s.pacer == nil && !whole.OK && whole.Status == 0 {
		sleep(s.life, userPause)
	}
}

// shareOf is the part of n things that falls to one of several workers.
func shareOf(n, worker, workers int) int { return (n + workers - 1 - worker) / workers }
