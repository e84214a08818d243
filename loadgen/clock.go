package loadgen

import (
	"context"
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"
)

// coarse is the stretch before an arrival that is left to nap: Go's own timers
// may be late by a millisecond and more.
const coarse = 2 * time.Millisecond

// timekeeper is the vegeta.Pacer that vegeta gets: it asks the pure pacer and
// does the waiting itself, because vegeta's can neither be interrupted nor is
// it exact. Every elapsed time counts from start, not from vegeta's own beginning.
type timekeeper struct {
	ctx    context.Context // ends the waiting; the Pacer interface has no place for it
	pacer  vegeta.Pacer
	start  time.Time
	length time.Duration
	spin   time.Duration
	nap    func(time.Duration)
	ended  func()          // called once no more arrivals will come
	wake   <-chan struct{} // holds a token when the pacer's answers have changed; nil when they never do
}

var _ vegeta.Pacer = (*timekeeper)(nil)

// Pace returns when the next arrival is due; it stops at the end of the
// load's length or when ctx ends, whichever is first.
func (k *timekeeper) Pace(_ time.Duration, hits uint64) (time.Duration, bool) {
	for {
		wait, stop := k.pacer.Pace(time.Since(k.start), hits)
		over := stop && time.Since(k.start) >= k.length
		if over || k.ctx.Err() != nil {
			k.ended()
			return 0, true
		}
		switch {
		case stop: // as things are: the rate may yet be raised
			k.waitUntil(k.start.Add(k.length))
		case wait > 0:
			k.waitUntil(time.Now().Add(wait))
		default:
			return 0, false
		}
	}
}

// Rate is the pacer's.
func (k *timekeeper) Rate(elapsed time.Duration) float64 { return k.pacer.Rate(elapsed) }

// waitUntil sleeps coarsely and interruptibly, then finely, then spins. It returns
// early when ctx ends or the pacer's answers have changed.
func (k *timekeeper) waitUntil(at time.Time) {
	if left := time.Until(at); left > coarse {
		timer := time.NewTimer(left - coarse)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-k.wake:
			return
		case <-k.ctx.Done():
			return
		}
	}
	for left := time.Until(at); left > k.spin; left = time.Until(at) {
		k.nap(left - k.spin)
	}
	for time.Until(at) > 0 { // the busy loop is the point
	}
}

// sleep returns after d, or at once with false when ctx ends.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
