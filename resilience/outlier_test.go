package resilience

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/faultline-lab/faultline/observability/names"
)

// cluster is a callee of several replicas.
type cluster struct {
	edge     testEdge
	replicas []func(n int) (time.Duration, error) // what the n-th attempt at it, from 1, takes and gives

	mu    sync.Mutex
	asked []int
}

func newCluster(e testEdge, replicas ...func(int) (time.Duration, error)) *cluster {
	return &cluster{edge: e, replicas: replicas, asked: make([]int, len(replicas))}
}

func (c *cluster) call(ctx context.Context) error {
	return c.edge.Do(ctx, func(ctx context.Context) error {
		i := c.edge.Pick(ctx, len(c.replicas))
		c.mu.Lock()
		c.asked[i]++
		took, err := c.replicas[i](c.asked[i])
		c.mu.Unlock()
		select {
		case <-time.After(took):
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	})
}

// load calls at a rate for a time and returns how often each replica was asked.
func (c *cluster) load(t *testing.T, rate float64, length time.Duration) []int {
	t.Helper()
	before := slices.Clone(c.asked)
	offer(rate, length, func(int) { _ = c.call(t.Context()) })
	var out []int
	for i := range c.asked {
		out = append(out, c.asked[i]-before[i])
	}
	return out
}

func (c *cluster) ejected(t *testing.T) float64 { return c.edge.state(t, "outlier_ejection") }

func (c *cluster) transitions(t *testing.T, to string) float64 {
	t.Helper()
	return c.edge.reg.value(t, names.PolicyTransitions, names.On, "a->b", names.Policy, "outlier_ejection", names.To, to)
}

func takes(d time.Duration) func(int) (time.Duration, error) {
	return func(int) (time.Duration, error) { return d, nil }
}

func failsWith(d time.Duration) func(int) (time.Duration, error) {
	return func(int) (time.Duration, error) { return d, errDown }
}

// failsEvery fails one attempt in n.
func failsEvery(n int) func(int) (time.Duration, error) {
	return func(i int) (time.Duration, error) {
		if i%n == 0 {
			return 10 * time.Millisecond, errDown
		}
		return 10 * time.Millisecond, nil
	}
}

// Who is ejected, by what the replicas do.
func TestWhoIsEjected(t *testing.T) {
	const ms = time.Millisecond
	well := takes(10 * ms)
	type does = func(int) (time.Duration, error)
	tests := []struct {
		name     string
		params   any
		replicas []does
		out      []int // the replicas that are, from 1
	}{
		{"all are well", nil, []does{well, well, well}, nil},
		{"one is down", nil, []does{well, failsWith(ms), well}, []int{2}},
		{"one refuses at once, and of two", nil, []does{failsWith(0), takes(30 * ms)}, []int{1}},
		{"one fails half, never five in a row", nil, []does{well, well, failsEvery(2)}, []int{3}},
		{"one fails little more than the others", nil, []does{failsEvery(10), failsEvery(10), failsEvery(4)}, nil},
		{"all fail half: it is not the replicas", nil, []does{failsEvery(2), failsEvery(2), failsEvery(2)}, nil},
		{"one is slow", nil, []does{well, takes(50 * ms), well}, []int{2}},
		{"one is slow, of two", nil, []does{takes(50 * ms), well}, []int{1}},
		{"one is twice as slow", nil, []does{well, takes(20 * ms), well}, nil},
		{"all are slow", nil, []does{takes(500 * ms), takes(500 * ms), takes(500 * ms)}, nil},
		{"four times as slow, but by little", nil, []does{takes(ms), takes(4 * ms), takes(ms)}, nil},
		{"slow does not count", params{"slow_factor": 0}, []does{well, takes(50 * ms), well}, nil},
		{"failures in a row do not count, the share does", params{"consecutive": 0}, []does{well, failsWith(ms), well}, []int{2}},
		{"no failures count", params{"consecutive": 0, "failure_margin": 0}, []does{well, failsWith(ms), well}, nil},
		{"the only one", nil, []does{failsWith(ms)}, nil},
		{"all are down: no more than half", nil, []does{failsWith(ms), failsWith(ms), failsWith(ms), failsWith(ms)}, []int{1, 4}},
		{"both are down: not all", params{"max_ejected": 1}, []does{failsWith(ms), failsWith(ms)}, []int{1}},
		{"a tenth of three is one", params{"max_ejected": 0.1}, []does{failsWith(ms), failsWith(ms), well}, []int{1}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			within(t, func(t *testing.T) {
				c := newCluster(newTestEdge(t, spec(t, "outlier_ejection", test.params)), test.replicas...)
				c.load(t, 100, 8*time.Second) // shorter than an ejection
				var out []int
				for i, is := range c.edge.outliers.available(len(test.replicas)) {
					if !is {
						out = append(out, i+1)
					}
				}
				if !slices.Equal(out, test.out) || c.ejected(t) != float64(len(out)) || c.transitions(t, "ejected") != float64(len(out)) {
					t.Errorf("out are %v, the state says %v, want %v", out, c.ejected(t), test.out)
				}
				asked := c.load(t, 100, time.Second)
				for i, n := range asked {
					if even := 100 / (len(asked) - len(out)); slices.Contains(out, i+1) && n > 0 || !slices.Contains(out, i+1) && (n < even-2 || n > even+2) {
						t.Errorf("asked %v, without %v", asked, out)
					}
				}
			})
		})
	}
}

// An ejection lasts twice as long each time, and the first length again after the replica was well.
func TestEjectionsLastLonger(t *testing.T) {
	within(t, func(t *testing.T) {
		down := true
		replica := func(int) (time.Duration, error) {
			if down {
				return 0, errDown
			}
			return 0, nil
		}
		c := newCluster(newTestEdge(t, spec(t, "outlier_ejection", params{"base_ejection": "10s", "max_ejection": "30s"})), takes(0), replica)
		out := func() (lasted time.Duration) {
			t.Helper()
			for c.ejected(t) == 0 {
				pass(10 * time.Millisecond)
				_ = c.call(t.Context())
			}
			for began := time.Now(); c.ejected(t) == 1; lasted = time.Since(began) {
				pass(10 * time.Millisecond)
				_ = c.call(t.Context())
			}
			return lasted.Round(time.Second)
		}
		for i, want := range []time.Duration{10, 20, 30, 30} {
			if got := out(); got != want*time.Second {
				t.Errorf("ejection %d lasted %s", i+1, got)
			}
		}
		down = false
		c.load(t, 100, 31*time.Second)
		down = true
		if got := out(); got != 10*time.Second {
			t.Errorf("the first one after a while lasted %s", got)
		}
		if c.transitions(t, "ejected") != 5 || c.transitions(t, "returned") != 5 {
			t.Error("not counted")
		}
	})
}

// A slow replica whose attempts are all won by hedges is found out all the same.
func TestEjectionSeesWhatHedgesLeftBehind(t *testing.T) {
	within(t, func(t *testing.T) {
		e := newTestEdge(t, spec(t, "hedge", "50ms"), spec(t, "outlier_ejection", params{"window": "60s"}))
		c := newCluster(e, takes(10*time.Millisecond), takes(2*time.Second), takes(10*time.Millisecond))
		c.load(t, 50, 5*time.Second)
		if c.ejected(t) != 1 || e.outliers.available(3)[1] {
			t.Errorf("%v ejected", c.ejected(t))
		}
	})
}

// Callers who go at once make nobody an outlier.
func TestEjectionIgnoresCallersWhoGo(t *testing.T) {
	within(t, func(t *testing.T) {
		c := newCluster(newTestEdge(t, spec(t, "outlier_ejection", nil)), takes(10*time.Millisecond), takes(10*time.Millisecond))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for range 100 {
			_ = c.call(ctx)
			_ = c.call(t.Context())
		}
		if c.ejected(t) != 0 {
			t.Error("ejected")
		}
	})
}

// Who balances by a list is told, also of a return that no call brings about.
func TestWatch(t *testing.T) {
	within(t, func(t *testing.T) {
		c := newCluster(newTestEdge(t, spec(t, "outlier_ejection", params{"base_ejection": "7s"})), takes(0), failsWith(0))
		began := time.Now()
		var told []string
		stop := c.edge.Watch(2, func(available []bool) { told = append(told, fmt.Sprint(time.Since(began), available)) })
		for range 10 {
			_ = c.call(t.Context())
		}
		pass(time.Minute)
		synctest.Wait()
		want := []string{"0s [true false]", "7s [true true]"}
		if !slices.Equal(told, want) {
			t.Errorf("told %q, want %q", told, want)
		}
		for range 10 {
			_ = c.call(t.Context())
		}
		stop()
		pass(time.Minute)
		synctest.Wait()
		if len(told) != 3 {
			t.Errorf("told %q after the end", told)
		}
	})
}

func TestWithoutEjectionNobodyIsTold(t *testing.T) {
	newTestEdge(t).Watch(3, func([]bool) { t.Error("told") })()
}
