package kit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	dto "github.com/prometheus/client_model/go"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/faultline-lab/faultline/observability/names"
	"github.com/faultline-lab/faultline/resilience"
)

// testDoor is a door with what its metrics say.
type testDoor struct {
	*Door
	reg *registry
	t   *testing.T
}

func newTestDoor(t *testing.T, capacity string, policies string) testDoor {
	t.Helper()
	c, err := ParseCapacity([]byte(capacity))
	if err != nil {
		t.Fatal(err)
	}
	p, err := resilience.ParsePolicies([]byte(policies))
	if err != nil {
		t.Fatal(err)
	}
	reg := &registry{}
	d, err := NewDoor(DoorConfig{Service: "s", Capacity: c, Policies: p["s"], Registerer: reg, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	return testDoor{Door: d, reg: reg, t: t}
}

// outcomes reads the counter by outcome.
func (d testDoor) outcomes() string {
	out := ""
	for _, outcome := range []string{served, shed, expired, abandoned} {
		var m dto.Metric
		if err := d.metrics.requests[outcome].Write(&m); err != nil {
			d.t.Fatal(err)
		}
		if v := m.GetCounter().GetValue(); v != 0 {
			out += fmt.Sprintf("%s=%v ", outcome, v)
		}
	}
	return out
}

func nothing(context.Context) error { return nil }

func TestDoorWorkersAndQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newTestDoor(t, `{"workers": 2, "queue": 1, "service_time": {"constant": "100ms"}}`, "")
		var wait sync.WaitGroup
		var mu sync.Mutex
		var got []string
		began := time.Now()
		request := func(work time.Duration) {
			wait.Go(func() {
				err := d.Do(t.Context(), func(context.Context) error { time.Sleep(work); return nil })
				mu.Lock()
				defer mu.Unlock()
				got = append(got, fmt.Sprintf("%s %v", time.Since(began), err))
			})
			synctest.Wait()
		}
		request(0)                     // 100 ms of service time
		request(50 * time.Millisecond) // and real work on top of it
		request(0)                     // waits for the first one's worker
		if busy, depth := d.reg.value(t, names.DoorBusy), d.reg.value(t, names.DoorQueueDepth); busy != 2 || depth != 1 {
			t.Errorf("%v busy, %v waiting", busy, depth)
		}
		request(0) // finds the queue full
		wait.Wait()
		want := []string{"0s " + ErrShed.Error(), "100ms <nil>", "150ms <nil>", "200ms <nil>"}
		if !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		if d.outcomes() != "served=3 shed=1 " {
			t.Errorf("outcomes %s", d.outcomes())
		}
		for name, want := range map[string]float64{
			names.DoorWorkers: 2, names.DoorQueueLimit: 1, names.DoorBusy: 0, names.DoorQueueDepth: 0,
			names.DoorWait: 3, names.DoorServiceTime: 3, names.DoorWastedSeconds: 0,
		} {
			if got := d.reg.value(t, name); got != want {
				t.Errorf("%s is %v, want %v", name, got, want)
			}
		}
	})
}

func TestDoorWithoutLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, began := newTestDoor(t, "", ""), time.Now()
		var wait sync.WaitGroup
		for range 1000 {
			wait.Go(func() {
				if err := d.Do(t.Context(), func(context.Context) error { time.Sleep(time.Second); return nil }); err != nil {
					t.Error(err)
				}
			})
		}
		wait.Wait()
		if took := time.Since(began); took != time.Second {
			t.Errorf("took %s", took)
		}
	})
}

func TestDoorIsFairAndHandsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newTestDoor(t, `{"workers": 1, "queue": 10, "service_time": {"constant": "1ms"}}`, "")
		var wait sync.WaitGroup
		var order []int // guarded by the one worker
		for i := range 10 {
			wait.Go(func() { _ = d.Do(t.Context(), func(context.Context) error { order = append(order, i); return nil }) })
			synctest.Wait()
		}
		wait.Wait()
		if !slices.IsSorted(order) || len(order) != 10 {
			t.Errorf("served in the order %v", order)
		}
	})
}

// Without the policy the work goes on for a caller who has gone, and is counted as waste.
func TestDoorWorksForCallersWhoHaveGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newTestDoor(t, `{"workers": 1, "queue": 5, "service_time": {"constant": "1s"}}`, "")
		var wait sync.WaitGroup
		for range 3 {
			wait.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
				defer cancel()
				err := d.Do(ctx, func(ctx context.Context) error {
					if _, has := ctx.Deadline(); has {
						t.Error("the work knows the caller's deadline")
					}
					return ctx.Err()
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		wait.Wait()
		if d.outcomes() != "served=1 abandoned=2 " || d.reg.value(t, names.DoorWastedSeconds) != 2 {
			t.Errorf("outcomes %s, %v s wasted", d.outcomes(), d.reg.value(t, names.DoorWastedSeconds))
		}
	})
}

func TestDoorDropsExpiredWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newTestDoor(t, `{"workers": 1, "queue": 5, "service_time": {"constant": "1s"}}`, `{"s": [{"deadline": {}}]}`)
		var wait sync.WaitGroup
		ran := 0
		for _, patience := range []time.Duration{1500, 1500, 1200} {
			wait.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), patience*time.Millisecond)
				defer cancel()
				err := d.Do(ctx, func(context.Context) error { ran++; return nil })
				if err != nil && codeOf(err) != codes.DeadlineExceeded {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		began := time.Now()
		wait.Wait()
		// The first is served. The second is cut off in its service time, for nobody waits any more; the third never begins.
		if took := time.Since(began); ran != 1 || took != 1500*time.Millisecond {
			t.Errorf("%d ran, in %s", ran, took)
		}
		if d.outcomes() != "served=1 expired=1 abandoned=1 " || d.reg.value(t, names.DoorWastedSeconds) != 0.5 {
			t.Errorf("outcomes %s, %v s wasted", d.outcomes(), d.reg.value(t, names.DoorWastedSeconds))
		}
		if busy, depth := d.reg.value(t, names.DoorBusy), d.reg.value(t, names.DoorQueueDepth); busy != 0 || depth != 0 {
			t.Errorf("%v busy, %v waiting at the end", busy, depth)
		}
	})
}

func TestDoorGivesADeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, began := newTestDoor(t, "", `{"s": [{"deadline": "2s"}]}`), time.Now()
		err := d.Do(t.Context(), func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 2*time.Second {
			t.Errorf("%v after %s", err, time.Since(began))
		}
		began = time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_ = d.Do(ctx, func(ctx context.Context) error { <-ctx.Done(); return nil })
		if took := time.Since(began); took != 5*time.Second {
			t.Errorf("a deadline that came was replaced: %s", took)
		}
	})
}

func TestDoorPolicyRejectionsAreShed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newTestDoor(t, `{"workers": 4, "service_time": {"constant": "1s"}}`, `{"s": [{"bulkhead": 1}]}`)
		var wait sync.WaitGroup
		wait.Go(func() { _ = d.Do(t.Context(), nothing) })
		synctest.Wait()
		if err := d.Do(t.Context(), nothing); status.Code(err) != codes.ResourceExhausted {
			t.Errorf("got %v", err)
		}
		wait.Wait()
		if d.outcomes() != "served=1 shed=1 " {
			t.Errorf("outcomes %s", d.outcomes())
		}
	})
}

func TestDoorSurvivesPanic(t *testing.T) {
	d := newTestDoor(t, `{"workers": 1}`, "")
	func() {
		defer func() { _ = recover() }()
		_ = d.Do(t.Context(), func(context.Context) error { panic("here") })
	}()
	if err := d.Do(t.Context(), nothing); err != nil {
		t.Errorf("the worker was lost: %v", err)
	}
}

// Requests that leave and workers that come at the same moment must not lose a worker.
func TestDoorUnderChurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newTestDoor(t, `{"workers": 3, "queue": 50, "service_time": {"constant": "1ms"}}`, `{"s": [{"deadline": {}}]}`)
		var wait sync.WaitGroup
		for i := range 500 {
			wait.Go(func() {
				time.Sleep(time.Duration(i/10) * time.Millisecond)
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(1+i%7)*time.Millisecond)
				defer cancel()
				_ = d.Do(ctx, nothing)
			})
		}
		wait.Wait()
		if d.busy != 0 || d.depth != 0 {
			t.Errorf("%d busy, %d waiting at the end", d.busy, d.depth)
		}
	})
}

// The door reproduces the M/M/3 queue: at 100 requests a second and worker, and 280
// arrivals a second, the closed form says p50 39.0 ms and p99 235 ms.
func TestDoorIsAnMMcQueue(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	const requests = 120_000
	var took []time.Duration
	synctest.Test(t, func(t *testing.T) {
		d := newTestDoor(t, `{"workers": 3, "queue": 1000000, "service_time": {"exponential": "10ms"}}`, "")
		arrive(t.Context(), d, requests, 280, func(after time.Duration, _ error) { took = append(took, after) })
	})
	slices.Sort(took)
	for quantile, want := range map[float64]time.Duration{0.5: 39 * time.Millisecond, 0.99: 235 * time.Millisecond} {
		got := took[int(quantile*requests)]
		t.Logf("p%v is %s, the closed form says %s", 100*quantile, got, want)
		if ratio := float64(got) / float64(want); ratio < 0.85 || ratio > 1.15 {
			t.Errorf("p%v is %s, want %s", 100*quantile, got, want)
		}
	}
}

// arrive sends a door so many Poisson arrivals a second, in virtual time, and says of each after which time it ended, and how.
func arrive(ctx context.Context, d testDoor, requests int, perSecond float64, ended func(after time.Duration, err error)) {
	arrivals := resilience.Seeded(1, "arrivals")
	var wait sync.WaitGroup
	var mu sync.Mutex
	for range requests {
		time.Sleep(time.Duration(arrivals.ExpFloat64() / perSecond * float64(time.Second)))
		wait.Go(func() {
			due := time.Now()
			err := d.Do(ctx, nothing)
			mu.Lock()
			defer mu.Unlock()
			ended(time.Since(due), err)
		})
	}
	wait.Wait()
}

func TestPauseRepaysWhatItOverslept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newTestDoor(t, "", "")
		d.owed.Store(int64(3 * time.Millisecond))
		for i, want := range []time.Duration{0, 9 * time.Millisecond, 10 * time.Millisecond} {
			drawn := []time.Duration{2 * time.Millisecond, 10 * time.Millisecond, 10 * time.Millisecond}[i]
			began := time.Now()
			if err := d.pause(t.Context(), began, drawn); err != nil || time.Since(began) != want {
				t.Errorf("pause %d took %s, want %s (%v)", i, time.Since(began), want, err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := d.pause(ctx, time.Now(), time.Minute); !errors.Is(err, context.DeadlineExceeded) || d.owed.Load() != 0 {
			t.Errorf("a pause cut off: %v, %d owed", err, d.owed.Load())
		}
		handedOver := time.Now() // the request wakes up 4 ms later
		time.Sleep(4 * time.Millisecond)
		if err := d.pause(t.Context(), handedOver, 10*time.Millisecond); err != nil || time.Since(handedOver) != 10*time.Millisecond {
			t.Errorf("with 4 ms of waking up the worker was held for %s (%v)", time.Since(handedOver), err)
		}
	})
}

func TestDistributions(t *testing.T) {
	const n = 200_000
	draw := func(text string) []float64 {
		c, err := ParseCapacity([]byte(`{"service_time": ` + text + `}`))
		if err != nil {
			t.Fatal(err)
		}
		random := resilience.Seeded(1, text)
		out := make([]float64, n)
		for i := range out {
			out[i] = c.ServiceTime.draw(random).Seconds() * 1000
		}
		slices.Sort(out)
		return out
	}
	near := func(what string, got, want float64) {
		if math.Abs(got/want-1) > 0.03 {
			t.Errorf("%s is %.3f, want %.3f", what, got, want)
		}
	}
	lognormal := draw(`{"lognormal": {"median": "4ms", "p99": "20ms"}}`)
	near("lognormal median", lognormal[n/2], 4)
	near("lognormal p99", lognormal[n*99/100], 20)
	exponential := draw(`{"exponential": "10ms"}`)
	sum := 0.0
	for _, v := range exponential {
		sum += v
	}
	near("exponential mean", sum/n, 10)
	near("exponential p99", exponential[n*99/100], -10*math.Log(0.01))
	if constant := draw(`{"constant": "5ms"}`); constant[0] != 5 || constant[n-1] != 5 {
		t.Error("constant is not")
	}
	if again := draw(`{"exponential": "10ms"}`); !slices.Equal(again, exponential) {
		t.Error("the seed does not decide")
	}
	var none *Distribution
	if none.draw(resilience.Seeded(1, "")) != 0 {
		t.Error("no distribution takes time")
	}
}

func TestParseCapacity(t *testing.T) {
	c, err := ParseCapacity([]byte(`{"workers":16,"queue":64,"service_time":{"lognormal":{"median":"4ms","p99":"20ms"}}}`))
	if err != nil || c.Workers != 16 || c.Queue != 64 || c.ServiceTime.Lognormal.P99 != Duration(20*time.Millisecond) {
		t.Fatalf("got %+v, %v", c, err)
	}
	if data, err := json.Marshal(c.ServiceTime.Lognormal); err != nil || string(data) != `{"median":"4ms","p99":"20ms"}` {
		t.Errorf("written as %s, %v", data, err)
	}
	tests := []struct{ name, data, want string }{
		{"unknown field", `{"worker": 1}`, `reading capacity: json: unknown field "worker"`},
		{"negative", `{"workers": -1}`, `reading capacity: workers and queue must not be negative`},
		{"a number for a duration", `{"service_time": {"constant": 5}}`, `reading capacity: 5 is not a duration, such as "4ms"`},
		{"no duration", `{"service_time": {"constant": "-5ms"}}`, `reading capacity: "-5ms" is not a duration, such as "4ms"`},
		{"two distributions", `{"service_time": {"constant": "5ms", "exponential": "1ms"}}`, `reading capacity: service_time: want one of constant, exponential and lognormal, got 2`},
		{"quantiles the wrong way round", `{"service_time": {"lognormal": {"median": "4ms", "p99": "2ms"}}}`, `reading capacity: service_time: lognormal: want 0 < median <= p99`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if _, err := ParseCapacity([]byte(test.data)); err == nil || err.Error() != test.want {
				t.Errorf("got  %v\nwant %s", err, test.want)
			}
		})
	}
}

func FuzzParseCapacity(f *testing.F) {
	for _, seed := range []string{`{"workers":16,"queue":64,"service_time":{"lognormal":{"median":"4ms","p99":"20ms"}}}`, `{"service_time":{"exponential":"1h"}}`, `{"service_time":null}`, `{}`} {
		f.Add([]byte(seed))
	}
	random := resilience.Seeded(1, "fuzz")
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := ParseCapacity(data)
		if err == nil && c.ServiceTime.draw(random) < 0 {
			t.Errorf("%s draws a negative time", data)
		}
	})
}

// Under overload the disciplines come in the order that Fail at Scale (ACM
// Queue 2015) gives: fifo serves only callers who have gone, codel bounds the wait, and
// taking the last one first serves those who still wait. Callers who would put up with more than any
// queue of codel's leave nothing for the last first to win: all workers are at work in time either way.
func TestQueueDisciplinesUnderOverload(t *testing.T) {
	for name, test := range map[string]struct {
		patience time.Duration
		ordered  func(first, bounded, last float64) bool
	}{
		"hurried callers": {60 * time.Millisecond, func(first, bounded, last float64) bool {
			return first < 0.1 && bounded > 3*first && last > 1.1*bounded
		}},
		"patient callers": {500 * time.Millisecond, func(first, bounded, last float64) bool {
			const most = 200. / 300
			return first < 0.1 && bounded > 0.9*most && last > 0.9*most && bounded < 1.05*most && last < 1.05*most
		}},
	} {
		t.Run(name, func(t *testing.T) {
			first := overloaded(t, test.patience, "")
			bounded := overloaded(t, test.patience, `{"s": [{"queue": "codel"}]}`)
			last := overloaded(t, test.patience, `{"s": [{"queue": "codel_lifo"}]}`)
			t.Logf("goodput at 1.5 times the capacity: fifo %.3f, codel %.3f, codel_lifo %.3f", first, bounded, last)
			if !test.ordered(first, bounded, last) {
				t.Error("not in the order that was wanted")
			}
		})
	}
}

// overloaded sends a door 1.5 times what it is good for, and returns the share that is answered before patience ends.
func overloaded(t *testing.T, patience time.Duration, policies string) float64 {
	t.Helper()
	const requests = 5000
	good := 0
	synctest.Test(t, func(t *testing.T) {
		d := newTestDoor(t, `{"workers": 4, "queue": 200, "service_time": {"exponential": "20ms"}}`, policies) // 200/s
		arrive(t.Context(), d, requests, 300, func(after time.Duration, err error) {
			if err == nil && after <= patience {
				good++
			}
		})
	})
	return float64(good) / requests
}

func TestDoorDoesNotBeginWhatComesTooLate(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	d := newTestDoor(t, `{"workers": 1}`, `{"s": [{"deadline": {}}]}`)
	if err := d.Do(ctx, func(context.Context) error { t.Error("it began"); return nil }); codeOf(err) != codes.DeadlineExceeded {
		t.Errorf("got %v", err)
	}
	if d.outcomes() != "expired=1 " || d.busy != 0 {
		t.Errorf("outcomes %s, %d busy", d.outcomes(), d.busy)
	}
}
