package proxy

import (
	"context"
	"sync"
	"time"
)

// Lease is the state of the lease on faults. While somebody renews it, faults
// stay; when the renewing stops, they are lifted.
type Lease struct {
	Held   bool          `json:"held"`
	TTL    time.Duration `json:"-"`
	Left   time.Duration `json:"-"`
	Lapsed int           `json:"lapsed"` // how often it ran out so far
}

// lease runs out TTL after the last renewal. One that nobody ever took does not run out.
type lease struct {
	mu      sync.Mutex
	ttl     time.Duration
	until   time.Time // zero: not held
	lapsed  int
	renewed chan struct{} // wakes keep
}

func newLease() *lease { return &lease{renewed: make(chan struct{}, 1)} }

func (l *lease) renew(ttl time.Duration) Lease {
	l.mu.Lock()
	l.ttl, l.until = ttl, time.Now().Add(ttl)
	l.mu.Unlock()
	select {
	case l.renewed <- struct{}{}:
	default:
	}
	return l.state()
}

func (l *lease) state() Lease {
	l.mu.Lock()
	defer l.mu.Unlock()
	state := Lease{Held: !l.until.IsZero(), TTL: l.ttl, Lapsed: l.lapsed}
	if state.Held {
		state.Left = max(0, time.Until(l.until))
	}
	return state
}

// keep calls lift each time the lease runs out, until ctx ends.
func (l *lease) keep(ctx context.Context, lift func(context.Context)) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		if left, held := l.left(); held {
			timer.Reset(left)
		}
		select {
		case <-ctx.Done():
			return
		case <-l.renewed:
		case <-timer.C:
			if l.expire() {
				lift(ctx)
			}
		}
	}
}

func (l *lease) left() (time.Duration, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Until(l.until), !l.until.IsZero()
}

func (l *lease) expire() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.until.IsZero() || time.Until(l.until) > 0 {
		return false
	}
	l.until = time.Time{}
	l.lapsed++
	return true
}
