package orders

import "sync"

// live knows the sagas that requests of this process lead, so that a repeated request can wait for
// the first, and recovery keeps off.
type live struct {
	mu      sync.Mutex
	leading map[string]chan struct{}
}

func newLive() *live { return &live{leading: make(map[string]chan struct{})} }

// begin marks an order as led. The caller must call end once, after.
func (l *live) begin(order string) (end func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	done := make(chan struct{})
	l.leading[order] = done
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.leading, order)
		close(done)
	}
}

// done returns what is closed when the order is no longer led, nil when it is not led now.
func (l *live) done(order string) <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.leading[order]
}
