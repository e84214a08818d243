package catalog

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// counts is what a cache reported.
type counts struct {
	mu sync.Mutex
	by map[string]int
}

func (c *counts) add(outcome string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.by == nil {
		c.by = map[string]int{}
	}
	c.by[outcome]++
}

func (c *counts) want(t *testing.T, want map[string]int) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if !maps.Equal(c.by, want) {
		t.Errorf("counted %v, want %v", c.by, want)
	}
}

// reads counts the reads of the store behind a cache.
func reads(n *int) func(context.Context) (string, error) {
	return func(context.Context) (string, error) {
		*n++
		return fmt.Sprintf("value %d", *n), nil
	}
}

func TestCacheReadsOnceUntilTheTimeIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen counts
		c := newCache[string](time.Minute, 10, time.Now, seen.add)
		n := 0
		for i, want := range []string{"value 1", "value 1", "value 2"} {
			if got, err := c.get(t.Context(), "a", reads(&n)); err != nil || got != want {
				t.Errorf("question %d: %q, %v; want %q", i, got, err, want)
			}
			time.Sleep(30 * time.Second) // of the bubble's clock
		}
		seen.want(t, map[string]int{hit: 1, miss: 2})
	})
}

func TestCacheJoinsMissesOfOneKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen counts
		c := newCache[string](time.Minute, 10, time.Now, seen.add)
		release, n := make(chan struct{}), 0
		var callers sync.WaitGroup
		for range 20 {
			callers.Go(func() {
				got, err := c.get(t.Context(), "a", func(context.Context) (string, error) {
					n++ // one flight at a time, or the race detector speaks up
					<-release
					return "value", nil
				})
				if err != nil || got != "value" {
					t.Errorf("got %q, %v", got, err)
				}
			})
		}
		synctest.Wait()
		close(release)
		callers.Wait()
		if n != 1 {
			t.Errorf("%d reads, want 1", n)
		}
		seen.want(t, map[string]int{miss: 1, coalesced: 19})
	})
}

func TestCacheWhereEachMissReadsForItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen counts
		c := newCache[string](time.Minute, 10, time.Now, seen.add)
		c.alone = true
		read := func(ctx context.Context) (string, error) {
			select {
			case <-time.After(time.Second):
				return "value", nil
			case <-ctx.Done():
				return "", ctx.Err()
			}
		}
		impatient, leave := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer leave()
		var callers sync.WaitGroup
		for range 3 {
			callers.Go(func() {
				if _, err := c.get(impatient, "a", read); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("who did not wait got %v", err)
				}
			})
		}
		callers.Wait()
		if _, ok := c.peek("a"); ok {
			t.Error("a read that its caller ended has filled the cache")
		}
		if got, err := c.get(t.Context(), "a", read); err != nil || got != "value" {
			t.Errorf("who waited got %q, %v", got, err)
		}
		if _, err := c.get(t.Context(), "a", read); err != nil {
			t.Error(err)
		}
		seen.want(t, map[string]int{miss: 4, hit: 1})
	})
}

func TestCacheReadOutlivesTheCallerThatStartedIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache[string](time.Minute, 10, time.Now, new(counts).add)
		release := make(chan struct{})
		read := func(ctx context.Context) (string, error) {
			<-release
			return "value", ctx.Err()
		}
		impatient, leave := context.WithCancel(t.Context())
		var callers sync.WaitGroup
		callers.Go(func() {
			if _, err := c.get(impatient, "a", read); !errors.Is(err, context.Canceled) {
				t.Errorf("the caller who left got %v", err)
			}
		})
		synctest.Wait()
		callers.Go(func() {
			if got, err := c.get(t.Context(), "a", read); err != nil || got != "value" {
				t.Errorf("the caller who stayed got %q, %v", got, err)
			}
		})
		synctest.Wait()
		leave()
		synctest.Wait()
		close(release)
		callers.Wait()
	})
}

func TestCacheBoundsARead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache[string](time.Minute, 10, time.Now, new(counts).add)
		start := time.Now()
		_, err := c.get(t.Context(), "a", func(ctx context.Context) (string, error) {
			<-ctx.Done()
			return "", ctx.Err()
		})
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != loadWithin {
			t.Errorf("%v after %s, want a timeout after %s", err, time.Since(start), loadWithin)
		}
	})
}

func TestCacheKeepsNoErrors(t *testing.T) {
	var seen counts
	c := newCache[string](time.Minute, 10, time.Now, seen.add)
	broken := errors.New("broken")
	if _, err := c.get(t.Context(), "a", func(context.Context) (string, error) { return "", broken }); !errors.Is(err, broken) {
		t.Errorf("got %v, want the store's error", err)
	}
	n := 0
	if got, err := c.get(t.Context(), "a", reads(&n)); err != nil || got != "value 1" {
		t.Errorf("got %q, %v after the store came back", got, err)
	}
	seen.want(t, map[string]int{miss: 2})
}

func TestCacheIsBounded(t *testing.T) {
	now := time.Unix(0, 0)
	c := newCache[string](time.Minute, 3, func() time.Time { return now }, new(counts).add)
	for i := range 10 {
		c.keep(fmt.Sprint(i), "value")
	}
	if len(c.entries) != 3 {
		t.Errorf("%d entries, want 3", len(c.entries))
	}
	if _, ok := c.peek("9"); !ok {
		t.Error("the newest entry was dropped")
	}
	now = now.Add(2 * time.Minute)
	c.keep("new", "value")
	if _, ok := c.peek("new"); !ok || len(c.entries) != 1 {
		t.Errorf("%d entries after the old ones expired, want only the new one", len(c.entries))
	}
}

func TestCacheFlushAndOff(t *testing.T) {
	c := newCache[string](time.Minute, 3, time.Now, new(counts).add)
	c.keep("a", "value")
	if n := c.flush(); n != 1 {
		t.Errorf("flushed %d, want 1", n)
	}
	if _, ok := c.peek("a"); ok {
		t.Error("there is something in it after the flush")
	}
	off := newCache[string](0, 3, time.Now, new(counts).add)
	off.keep("a", "value")
	if _, ok := off.peek("a"); ok {
		t.Error("a cache without a time to live keeps entries")
	}
}
