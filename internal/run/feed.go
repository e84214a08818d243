package run

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/faultline-lab/faultline/loadgen"
	"github.com/faultline-lab/faultline/observability/remote"
	"github.com/faultline-lab/faultline/observability/telemetry"

	"github.com/faultline-lab/faultline/internal/record"
)

// feed brings the telemetry of a stack into the run's record while the run goes on, so that the
// record alone is what is judged, wherever the services ran. It pushes the lab's own metrics the other way.
type feed struct {
	g        *rig
	client   *remote.Client
	follower *remote.Follower
	since    time.Time // what was asked for last
	logs     time.Time // until when logs are known; with Loki only
	tempo    bool      // traces and logs are Tempo's and Loki's

	mu         sync.Mutex
	candidates []candidate // traces to ask Tempo for
	lost       telemetry.Loss
	told       map[string]bool // what was complained of already

	cancel context.CancelFunc
	ended  chan struct{}
}

// candidate is a request whose trace the record may hold.
type candidate struct {
	id     string
	failed bool
	took   time.Duration
}

const (
	feedEvery    = time.Second
	feedOverlap  = 3 * time.Second  // a scrape takes its time, and counts from its beginning
	logsWithin   = 10 * time.Second // from a program over the collector to Loki, which is asked for each stretch once
	feedSettle   = 2 * time.Second  // at the end, for what is still on its way
	tracesKept   = 1000             // from Tempo, in all
	tracesAtOnce = 4                // questions under way
	tracesWithin = time.Minute      // for all of them; the run is over, and somebody waits
	tracesSeen   = 50_000           // requests among which they are chosen
)

// startFeed makes sure that the stack answers, and follows it until stop.
func startFeed(ctx context.Context, g *rig) (*feed, error) {
	cfg, err := g.containers.Telemetry()
	if err != nil {
		return nil, err
	}
	now := time.Now()
	f := &feed{
		g: g, client: remote.New(cfg), follower: remote.NewFollower(), since: now, logs: now, tempo: cfg.Lab == "",
		told: map[string]bool{}, ended: make(chan struct{}),
	}
	if _, err := f.client.Samples(ctx, now.Add(-feedOverlap), now); err != nil {
		f.client.Close()
		return nil, fmt.Errorf("the stack's telemetry cannot be read: %w", err)
	}
	ctx, f.cancel = context.WithCancel(context.WithoutCancel(ctx))
	go f.follow(ctx)
	return f, nil
}

func (f *feed) follow(ctx context.Context) {
	defer close(f.ended)
	tick := time.NewTicker(feedEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			f.step(ctx, now, false)
		}
	}
}

// step asks for what is new. What fails is asked for again with the next step; after the last there is none, and what
// is missing stays so.
func (f *feed) step(ctx context.Context, now time.Time, last bool) {
	own := f.g.backend.Endpoints().OTLP
	f.complain("Prometheus", f.client.PushLab(ctx, f.g.telemetry.Registry, now))
	samples, err := f.client.Samples(ctx, f.since.Add(-feedOverlap), now)
	f.complain("Prometheus", err)
	if err == nil || last {
		f.since = now
		f.complain("the record", f.client.Push(ctx, own, f.follower.Add(samples, now)))
	}
	if f.tempo {
		f.complain("Loki", f.takeLogs(ctx, own, now.Add(-logsWithin)))
		return
	}
	messages, err := f.client.Messages(ctx)
	f.complain("the lab's backend", err)
	for _, m := range messages {
		f.complain("the record", f.client.Send(ctx, own, m))
	}
}

// takeLogs brings Loki's records until a time into the record.
func (f *feed) takeLogs(ctx context.Context, own string, to time.Time) error {
	for f.logs.Before(to) {
		m, records, until, err := f.client.Logs(ctx, f.logs, to)
		if err != nil {
			return err
		}
		if records > 0 {
			if err := f.client.Send(ctx, own, m); err != nil {
				return err
			}
		}
		f.logs = until
	}
	return nil
}

// takeTraces brings those of Tempo's traces into the record that a reader will ask for.
func (f *feed) takeTraces(ctx context.Context, own string) {
	f.mu.Lock()
	ids := traceIDs(f.candidates, tracesKept)
	f.mu.Unlock()
	var missing atomic.Int64 // at least one span of each trace
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(tracesAtOnce)
	for _, id := range ids {
		group.Go(func() error {
			m, found, err := f.client.Trace(ctx, id)
			if err != nil || !found {
				missing.Add(1)
				return err
			}
			f.complain("the record", f.client.Send(ctx, own, m))
			return nil
		})
	}
	f.complain("Tempo", group.Wait())
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lost.SpansDropped += missing.Load()
}

// result remembers a request whose trace may be wanted.
func (f *feed) result(r loadgen.Result) {
	if f == nil || !f.tempo || r.TraceID == "" {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.candidates) < tracesSeen {
		f.candidates = append(f.candidates, candidate{id: r.TraceID, failed: !r.OK, took: r.Latency()})
	}
}

// complain notes, once for each part of the stack, that it fails: what it does not tell is missing in the record,
// and makes what needs it unknown.
func (f *feed) complain(who string, err error) {
	if err == nil || errors.Is(err, context.Canceled) { // the step after asks again
		return
	}
	f.mu.Lock()
	told := f.told[who]
	f.told[who] = true
	f.mu.Unlock()
	if !told {
		f.g.r.event(record.Event{Kind: record.EventNote, Name: who, Text: "telemetry is missing: " + err.Error()})
	}
}

// stop takes in what is still on its way, and ends the lab's own series in the stack.
func (f *feed) stop() {
	f.cancel()
	<-f.ended
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	settle := time.NewTimer(feedSettle)
	defer settle.Stop()
	<-settle.C
	f.step(ctx, time.Now(), true)
	f.complain("Prometheus", f.client.EndLab(ctx, f.g.telemetry.Registry, time.Now()))
	if f.tempo {
		own := f.g.backend.Endpoints().OTLP
		f.complain("Loki", f.takeLogs(ctx, own, time.Now()))
		ctx, cancel := context.WithTimeout(context.Background(), tracesWithin)
		defer cancel()
		f.takeTraces(ctx, own)
	}
	f.client.Close()
}

// add adds what was lost on the way to what the record's own backend lost.
func (f *feed) add(loss telemetry.Loss) telemetry.Loss {
	f.mu.Lock()
	defer f.mu.Unlock()
	loss.SpansDropped += f.lost.SpansDropped
	return loss
}
