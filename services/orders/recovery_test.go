package orders

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/faultline-lab/faultline/services/events/eventstest"
)

func TestPace(t *testing.T) {
	type round struct{ ended, failed int }
	tests := []struct {
		name   string
		rounds []round
		limit  int
		pause  time.Duration // the longest that the last one may be; at least half of it
	}{
		{"at first", nil, 1, 0},
		{"all goes well", []round{{1, 0}, {2, 0}}, 4, 0},
		{"never more than eight", []round{{1, 0}, {2, 0}, {4, 0}, {8, 0}, {8, 0}}, 8, 0},
		{"one of many fails", []round{{1, 0}, {2, 0}, {4, 0}, {7, 1}}, 4, 200 * time.Millisecond},
		{"none succeeds", []round{{1, 0}, {2, 0}, {4, 0}, {0, 8}}, 1, 200 * time.Millisecond},
		{"none succeeds again", []round{{0, 1}, {0, 1}, {0, 1}}, 1, 800 * time.Millisecond},
		{"none succeeds for long", slices.Repeat([]round{{0, 1}}, 50), 1, 2 * time.Second},
		{"a success resets the pause", []round{{0, 1}, {0, 1}, {0, 1}, {1, 1}, {0, 1}}, 1, 200 * time.Millisecond},
		{"somebody else was faster", []round{{0, 0}}, 2, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var p pace
			var pause time.Duration
			for _, r := range test.rounds {
				pause = p.after(r.ended, r.failed)
			}
			if p.limit() != test.limit || pause < test.pause/2 || pause > test.pause {
				t.Errorf("limit %d, pause %v; want %d, up to %v", p.limit(), pause, test.limit, test.pause)
			}
		})
	}
}

func TestRetryAfter(t *testing.T) {
	for tries, want := range map[int]time.Duration{0: time.Second, 1: 2 * time.Second, 3: 8 * time.Second, 4: 10 * time.Second, 1000: 10 * time.Second} {
		for range 50 {
			if got := retryAfter(tries); got < want/2 || got > want {
				t.Fatalf("after %d tries %v, want %v to %v", tries, got, want/2, want)
			}
		}
	}
}

// abandon writes sagas down as a dead process leaves them.
func abandon(t *testing.T, l *life, n int, st state) {
	t.Helper()
	for i := range n {
		o := l.sagas.newOrder(t.Context(), request(fmt.Sprint("dead-", i), goodCard))
		o.owner, o.state = "dead", st
		if _, _, err := l.sagas.ledger.create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
}

// TestGentleInAnOutage counts what recovery asks of callees that are down: a hundred sagas wait, and one
// at a time is tried, with growing pauses.
func TestGentleInAnOutage(t *testing.T) {
	w := newWorld()
	down := true
	w.fault = func(string, string) fault {
		if down {
			return neverArrived
		}
		return fine
	}
	l := newLife(t, w)
	l.sagas.backoff = retryAfter
	abandon(t, l, 100, pending)
	var paused time.Duration
	for range 12 {
		paused += l.recovery.round(t.Context())
	}
	if w.calls["release"] != 12 || paused < 9*time.Second {
		t.Errorf("%d calls in %v", w.calls["release"], paused)
	}
	down = false
	l.sagas.backoff = func(int) time.Duration { return 0 }
	if _, err := l.db.ExecContext(t.Context(), `UPDATE orders SET due_ms = 0`); err != nil {
		t.Fatal(err)
	}
	rounds := 0
	for n := 100; n > 0; rounds++ {
		l.recovery.round(t.Context())
		n, _ = l.sagas.ledger.pending(t.Context())
	}
	if rounds > 20 {
		t.Errorf("%d rounds for 100 sagas when all is well", rounds)
	}
	l.wantSound(t)
}

// TestOneBadSaga wants the others to be recovered when one cannot be.
func TestOneBadSaga(t *testing.T) {
	w := newWorld()
	l := newLife(t, w)
	abandon(t, l, 20, pending)
	all, err := l.sagas.ledger.all(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	bad := all[7].id
	w.hold = func(op, order string) {
		if order == bad {
			panic("a bug that only this order finds")
		}
	}
	for range 60 {
		l.recovery.round(t.Context())
	}
	l.wantStates(t, map[state]int{cancelled: 19, compensating: 1})
}

// TestDue wants a saga to be left alone until it is due.
func TestDue(t *testing.T) {
	w := newWorld()
	w.fault = once("charge", neverArrived)
	l := newLife(t, w)
	l.sagas.backoff = func(int) time.Duration { return time.Hour }
	l.place(t.Context(), request("k-1", goodCard))
	if found, err := l.recovery.find(t.Context(), 10); err != nil || len(found) > 0 {
		t.Errorf("found %v, %v", found, err)
	}
	later, err := l.sagas.ledger.waiting(t.Context(), l.sagas.driver, time.Now().Add(2*time.Hour), 10)
	if err != nil || len(later) != 1 || later[0].tries != 1 || later[0].owner != "" {
		t.Errorf("found %v, %v", later, err)
	}
}

// TestLimit wants no more sagas at once than the pace allows, wherever they come from.
func TestLimit(t *testing.T) {
	l := newLife(t, newWorld())
	abandon(t, l, 20, pending)
	for _, share := range []int{0, 2, 10} { // of those, held by this process
		if _, err := l.db.ExecContext(t.Context(), `UPDATE orders SET owner = ?
			WHERE id IN (SELECT id FROM orders ORDER BY id LIMIT ?)`, l.sagas.driver, share); err != nil {
			t.Fatal(err)
		}
		if found, err := l.recovery.find(t.Context(), 3); err != nil || len(found) != 3 {
			t.Errorf("%d held: found %d, %v; want 3", share, len(found), err)
		}
	}
}

// TestTwoWorkers lets two instances recover the same sagas: each is ended once.
func TestTwoWorkers(t *testing.T) {
	w := newWorld()
	path := t.TempDir() + "/orders.db"
	one, two := begin(t, w, path, nil), begin(t, w, path, nil)
	two.keeper.instance = "orders-2"
	abandon(t, one, 30, pending)
	var wg sync.WaitGroup
	for _, l := range []*life{one, two} {
		wg.Go(func() {
			for range 20 {
				l.recovery.round(t.Context())
			}
		})
	}
	wg.Wait()
	one.settle(t, w)
	one.wantStates(t, map[state]int{cancelled: 30})
	one.wantSound(t)
	ended := testutil.ToFloat64(one.sagas.metrics.total.WithLabelValues("cancelled")) + testutil.ToFloat64(two.sagas.metrics.total.WithLabelValues("cancelled"))
	if ended != 30 {
		t.Errorf("%v sagas ended, want each of 30 once", ended)
	}
}

func TestDrivers(t *testing.T) {
	l := newLife(t, newWorld())
	abandon(t, l, 1, reserved)
	held := func(now time.Time) int {
		found, err := l.sagas.ledger.waiting(t.Context(), l.sagas.driver, now, 10)
		if err != nil {
			t.Fatal(err)
		}
		return len(found)
	}
	now := time.Now().Add(time.Second)
	announce := func(driver, instance string, until time.Time) {
		if err := l.sagas.ledger.announce(t.Context(), driver, instance, until); err != nil {
			t.Fatal(err)
		}
	}
	if held(now) != 1 {
		t.Error("an unknown driver holds a saga")
	}
	announce("dead", "orders-2", now.Add(time.Minute))
	if held(now) != 0 {
		t.Error("a driver that lives lost its saga")
	}
	if held(now.Add(2*time.Minute)) != 1 {
		t.Error("a lease that ran out holds a saga")
	}
	announce("reborn", "orders-2", now.Add(time.Minute))
	if held(now) != 1 {
		t.Error("the former life of an instance holds a saga")
	}
	announce("dead", "orders-3", now.Add(time.Minute))
	if err := l.sagas.ledger.withdraw(t.Context(), "dead"); err != nil || held(now) != 1 {
		t.Errorf("a driver that has withdrawn holds a saga: %v", err)
	}
}

func TestKeeper(t *testing.T) {
	l := newLife(t, newWorld())
	abandon(t, l, 3, pending)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = l.keeper.run(ctx) })
	eventstest.Eventually(t, "3 sagas pending", func() bool { return testutil.ToFloat64(l.sagas.metrics.pending) == 3 })
	cancel()
	wg.Wait()
	l.db.Close()
	if err := l.keeper.beat(t.Context()); err == nil {
		t.Error("a beat without a store succeeded")
	}
	if got := l.recovery.round(t.Context()); got < longPause/2 {
		t.Errorf("without a store recovery looks again after %v", got)
	}
}

func TestRecoveryEnds(t *testing.T) {
	l := newLife(t, newWorld())
	abandon(t, l, 5, pending)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.recovery.run(ctx) }()
	eventstest.Eventually(t, "all sagas ended", func() bool {
		n, err := l.sagas.ledger.pending(t.Context())
		return err == nil && n == 0
	})
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		wait(t.Context(), time.Minute)
		if time.Since(began) != time.Minute {
			t.Errorf("waited %v", time.Since(began))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		wait(ctx, time.Hour)
		if time.Since(began) != time.Minute+time.Second {
			t.Errorf("waited %v", time.Since(began))
		}
	})
}

func TestOpenSagas(t *testing.T) {
	l := newLife(t, newWorld())
	abandon(t, l, 2, reserved)
	rec := httptest.NewRecorder()
	(&openSagas{ledger: l.sagas.ledger}).ServeHTTP(rec, httptest.NewRequest("GET", "/sagas", nil))
	var got struct {
		Sagas []struct{ Order, State, Driver string }
	}
	if err := json.Unmarshal(rec.Body.Bytes(), &got); err != nil || len(got.Sagas) != 2 || got.Sagas[0].State != "reserved" || got.Sagas[0].Driver != "dead" {
		t.Errorf("got %s, %v", rec.Body, err)
	}
	l.db.Close()
	rec = httptest.NewRecorder()
	(&openSagas{ledger: l.sagas.ledger}).ServeHTTP(rec, httptest.NewRequest("GET", "/sagas", nil))
	if rec.Code != 500 {
		t.Errorf("without a store: %d", rec.Code)
	}
}
