package catalog

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

// loadWithin bounds a read of the store that callers wait for together.
const loadWithin = 5 * time.Second

// What became of a question to the cache, for names.CacheRequests.
const (
	hit       = "hit"
	miss      = "miss"
	coalesced = "coalesced" // a miss that joined another's read of the same key
)

// cache is a read-through cache with a time to live. Misses of one key at the
// same time make one read, so that an empty cache is no stampede, unless each is to
// read for itself. Errors are not kept.
type cache[V any] struct {
	ttl     time.Duration // 0 keeps nothing: every read goes to the store
	limit   int           // entries kept at most
	alone   bool          // each miss reads for itself, for as long as its caller waits
	now     func() time.Time
	counted func(outcome string)

	mu      sync.Mutex
	entries map[string]entry[V]
	flights singleflight.Group
}

type entry[V any] struct {
	value V
	until time.Time
}

func newCache[V any](ttl time.Duration, limit int, now func() time.Time, counted func(outcome string)) *cache[V] {
	return &cache[V]{ttl: ttl, limit: limit, now: now, counted: counted, entries: map[string]entry[V]{}}
}

// get returns the value of a key, from the cache or else by load. The read
// outlives a caller that gives up, for others may be waiting for it; the
// caller itself is let go when its ctx ends.
func (c *cache[V]) get(ctx context.Context, key string, load func(context.Context) (V, error)) (V, error) {
	if value, ok := c.peek(key); ok {
		c.counted(hit)
		return value, nil
	}
	if c.alone {
		c.counted(miss)
		return c.read(ctx, key, load)
	}
	outcome := coalesced
	flight := c.flights.DoChan(key, func() (any, error) {
		outcome = miss // only the flight that this call started runs this function
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), loadWithin)
		defer cancel()
		return c.read(ctx, key, load)
	})
	var zero V
	select {
	case <-ctx.Done():
		return zero, ctx.Err()
	case result := <-flight:
		c.counted(outcome)
		if result.Err != nil {
			return zero, result.Err
		}
		return result.Val.(V), nil
	}
}

// read asks the store and keeps what it says.
func (c *cache[V]) read(ctx context.Context, key string, load func(context.Context) (V, error)) (V, error) {
	value, err := load(ctx)
	if err == nil {
		c.keep(key, value)
	}
	return value, err
}

func (c *cache[V]) peek(key string) (V, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.entries[key]
	if !ok || !c.now().Before(e.until) {
		var zero V
		return zero, false
	}
	return e.value, true
}

func (c *cache[V]) keep(key string, value V) {
	if c.ttl <= 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, replaces := c.entries[key]; !replaces && len(c.entries) >= c.limit {
		c.makeRoom()
	}
	c.entries[key] = entry[V]{value: value, until: c.now().Add(c.ttl)}
}

// makeRoom drops what has expired, or else one entry, whichever comes first:
// keys are few and alike, so no order of use is kept.
func (c *cache[V]) makeRoom() {
	now := c.now()
	for key, e := range c.entries {
		if !now.Before(e.until) {
			delete(c.entries, key)
		}
	}
	for key := range c.entries {
		if len(c.entries) < c.limit {
			return
		}
		delete(c.entries, key)
	}
}

// flush empties the cache and says how many entries it had.
func (c *cache[V]) flush() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	had := len(c.entries)
	clear(c.entries)
	return had
}
