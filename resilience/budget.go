package resilience

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// budget is a token bucket for retries: each call puts share tokens in, time
// puts rate tokens a second in, each retry takes one out. Over n calls in t seconds there are
// at most share x n + rate x t + burst retries, so load never grows by more than that.
//
// failsafe-go has a budget too, of the calls under way at one moment; that is a
// bound on concurrency, and slow failures pass it (it allowed 1.13x for 10 %).
type budget struct {
	share, rate, burst float64
	left               prometheus.Gauge

	mu     sync.Mutex
	tokens float64
	filled time.Time
}

func newBudget(share, rate, burst float64, left prometheus.Gauge) *budget {
	left.Set(burst)
	return &budget{share: share, rate: rate, burst: burst, left: left, tokens: burst, filled: time.Now()}
}

// deposit counts a call. A nil budget knows no bounds.
func (b *budget) deposit() {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.add(b.share)
}

// add puts tokens in, those of the time since the last one too.
func (b *budget) add(tokens float64) {
	now := time.Now()
	tokens += now.Sub(b.filled).Seconds() * b.rate
	b.filled = now
	b.tokens = min(b.burst, b.tokens+tokens)
	b.left.Set(b.tokens)
}

// take takes the token of a retry, and tells whether there was one.
func (b *budget) take() bool {
	if b == nil {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.add(0)
	// A little less than one will do: ten tenths make less than one in binary.
	if b.tokens < 1-1e-9 {
		return false
	}
	b.tokens--
	b.left.Set(b.tokens)
	return true
}
