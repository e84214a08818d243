package resilience

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc/status"
)

// offer is an open-loop load: it makes rate calls a second for a time, evenly spaced, whatever
// becomes of them, and waits for all of them.
func offer(rate float64, length time.Duration, call func(n int)) {
	var wait sync.WaitGroup
	gap := time.Duration(float64(time.Second) / rate)
	began := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for n := 0; time.Duration(n)*gap < length; n++ {
		timer.Reset(time.Until(began.Add(time.Duration(n) * gap)))
		<-timer.C
		wait.Go(func() { call(n) })
	}
	wait.Wait()
}

// pass lets time go by.
func pass(d time.Duration) { <-time.After(d) }

// station is a callee with so many workers, and a queue without bounds. Work that
// has begun is finished, whether its caller still waits or not.
type station struct {
	places chan struct{}
	took   func() time.Duration
}

func newStation(workers int, took time.Duration) *station {
	return &station{places: make(chan struct{}, workers), took: func() time.Duration { return took }}
}

func (s *station) serve(ctx context.Context) error {
	select {
	case s.places <- struct{}{}:
	case <-ctx.Done():
		return status.FromContextError(ctx.Err()).Err()
	}
	defer func() { <-s.places }()
	pass(s.took())
	return nil
}

// quota is a callee that answers rate calls a second, at most a second's worth of them at once, and refuses the others.
type quota struct {
	mu     sync.Mutex
	rate   float64
	tokens float64
	filled time.Time
}

func (q *quota) serve(context.Context) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	q.tokens = min(q.rate, q.tokens+q.rate*now.Sub(q.filled).Seconds())
	if q.filled = now; q.tokens < 1 {
		return errDown
	}
	q.tokens--
	return nil
}
