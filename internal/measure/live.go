package measure

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/faultline-lab/faultline/loadgen"

	"github.com/faultline-lab/faultline/internal/figure"
	"github.com/faultline-lab/faultline/internal/measure/grammar"
)

// LiveWindow is the time over which Live looks back: long enough to be steady
// at 20 requests a second, short enough to show a fault at once.
const LiveWindow = 3 * time.Second

// Live gives those measures that results decide while a run goes on, over the
// journeys that ended in the last LiveWindow. It goes by the end of a journey,
// for what is still under way has no outcome; a verdict goes by when journeys
// were due. It is safe for concurrent use.
type Live struct {
	mu    sync.Mutex
	loads []loadgen.Load
	ended []loadgen.Result // those of the last window, and at times some older ones
}

// NewLive returns a Live of these loads.
func NewLive(loads []loadgen.Load) *Live { return &Live{loads: loads} }

// Add takes in a result. Single steps of journeys count for nothing.
func (l *Live) Add(r loadgen.Result) {
	if r.Step != "" {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = append(l.ended, r)
}

// Measure gives a measure of a load, or lag, at a moment. What needs the record
// or its metrics is unknown.
func (l *Live) Measure(c *grammar.Comparison, now time.Time) Value {
	recent := l.recent(now)
	if c.Measure.Name == "lag" {
		return lagOf(recent)
	}
	if c.Measure.Of != grammar.Load || !c.Measure.Live {
		return unknown(c.WantedUnit, "%s is not known while the run goes on", c.Measure.Name)
	}
	name, share, shared := strings.Cut(c.Argument, "/")
	for _, load := range l.loads {
		if load.Name == name {
			journeys := of(recent, name)
			if shared {
				journeys = ofShare(journeys, share)
			}
			return ofJourneys(c.Measure, journeys, load.SLO, LiveWindow)
		}
	}
	return unknown(figure.Plain, "the plan has no load %q", c.Argument)
}

// MetricsWindow is the time over which At looks back in metrics, which are
// scraped once a second.
const MetricsWindow = 5 * time.Second

// At returns what answers abort conditions at a moment of the run: from results
// as Measure does, from metrics over the last MetricsWindow. The set is one of the run as
// far as it is known: its plan, its system, when the load began, and the
// backend's metrics; nil where there are none.
func (l *Live) At(ctx context.Context, now time.Time, running *Set) func(*grammar.Comparison) Value {
	return func(c *grammar.Comparison) Value {
		if c.Measure.Data != grammar.FromMetrics || running == nil {
			return l.Measure(c, now)
		}
		at := now.Sub(running.run.Meta.Load)
		if at <= 0 {
			return unknown(c.WantedUnit, "the load has not begun")
		}
		v, err := running.Measure(ctx, c, Window{Kind: Whole, Start: max(0, at-MetricsWindow), End: min(at, running.end)})
		if err != nil {
			return unknown(c.WantedUnit, "%v", err)
		}
		return v
	}
}

// recent forgets what is too old and returns a copy of the rest.
func (l *Live) recent(now time.Time) []loadgen.Result {
	l.mu.Lock()
	defer l.mu.Unlock()
	kept := l.ended[:0]
	for _, r := range l.ended {
		if end(r).After(now.Add(-LiveWindow)) {
			kept = append(kept, r)
		}
	}
	l.ended = kept
	return append([]loadgen.Result(nil), kept...)
}

// end is when a journey ended; one that was never sent ended when it was due.
func end(r loadgen.Result) time.Time {
	if r.Done.IsZero() {
		return r.Due
	}
	return r.Done
}

func of(results []loadgen.Result, load string) []loadgen.Result {
	var out []loadgen.Result
	for _, r := range results {
		if r.Load == load {
			out = append(out, r)
		}
	}
	return out
}
