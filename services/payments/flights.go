package payments

import (
	"context"
	"sync"
)

// flights lets one caller at a time through for each key. Others wait for it, or for their ctx to end.
type flights struct {
	mu   sync.Mutex
	keys map[string]*flight
}

type flight struct {
	turn  chan struct{} // holds one token while the key is free
	users int           // who holds or waits; the last one out removes the key
}

func newFlights() *flights { return &flights{keys: make(map[string]*flight)} }

// board returns when the caller has the key for itself. It must call done after, once.
func (f *flights) board(ctx context.Context, key string) (done func(), err error) {
	f.mu.Lock()
	fl := f.keys[key]
	if fl == nil {
		fl = &flight{turn: make(chan struct{}, 1)}
		fl.turn <- struct{}{}
		f.keys[key] = fl
	}
	fl.users++
	f.mu.Unlock()

	select {
	case <-fl.turn:
		return func() { fl.turn <- struct{}{}; f.leave(key, fl) }, nil
	case <-ctx.Done():
		f.leave(key, fl)
		return nil, ctx.Err()
	}
}

func (f *flights) leave(key string, fl *flight) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if fl.users--; fl.users == 0 {
		delete(f.keys, key)
	}
}
