package store

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

func TestADelayIsFelt(t *testing.T) {
	const delay = 30 * time.Millisecond
	forEach(t, func(t *testing.T, db *DB) {
		if err := db.SetDelay(delay); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		err := db.InTx(t.Context(), func(ctx context.Context, tx *Tx) error {
			_, err := tx.ExecContext(ctx, `INSERT INTO store_test_counters (name, n) VALUES (?, ?)`, "slow", 7)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took < 2*delay { // the statement and the commit
			t.Errorf("a transaction of one statement took %s, want at least %s", took, 2*delay)
		}
		began = time.Now()
		if n := read(t, db, "slow"); n != 7 {
			t.Errorf("read %d", n)
		}
		if took := time.Since(began); took < delay {
			t.Errorf("reading took %s, want at least %s", took, delay)
		}
	})
}

func TestADelayEndsWithItsContext(t *testing.T) {
	forEach(t, func(t *testing.T, db *DB) {
		if err := db.SetDelay(mostDelay); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		if _, err := db.ExecContext(ctx, `DELETE FROM store_test_counters`); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		if err := db.SetDelay(0); err != nil {
			t.Fatal(err)
		}
		if _, err := db.ExecContext(t.Context(), `DELETE FROM store_test_counters`); err != nil {
			t.Errorf("after the delay: %v", err)
		}
	})
}

func TestACommitEndsAlsoWhenNobodyWaitsForIt(t *testing.T) {
	const delay = 40 * time.Millisecond
	forEach(t, func(t *testing.T, db *DB) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		_ = db.InTx(ctx, func(ctx context.Context, tx *Tx) error { // whether it is committed is not the question
			defer time.AfterFunc(delay/2, cancel)
			_, err := tx.ExecContext(ctx, `INSERT INTO store_test_counters (name, n) VALUES (?, ?)`, "left", 1)
			return errors.Join(err, db.SetDelay(delay))
		})
		if err := db.SetDelay(0); err != nil {
			t.Fatal(err)
		}
		if _, err := db.ExecContext(t.Context(), `DELETE FROM store_test_counters`); err != nil {
			t.Errorf("the next transaction: %v", err)
		}
	})
}

func TestServeDelay(t *testing.T) {
	db := databases(t)["memory"]
	for query, want := range map[string]int{"?delay=50ms": 200, "?delay=0s": 200, "": 400, "?delay=soon": 400, "?delay=-1s": 400, "?delay=1h": 400} {
		answer := httptest.NewRecorder()
		db.ServeDelay(answer, httptest.NewRequest(http.MethodPut, "/store"+query, nil))
		if answer.Code != want {
			t.Errorf("%q: %d, want %d: %s", query, answer.Code, want, answer.Body)
		}
	}
}

func TestAConnectionThatIsHeldUpIsWaitedFor(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	db, err := Open(t.Context(), Config{Path: ":memory:", Schema: []string{counters}, Delay: 10 * time.Millisecond, Registerer: registry})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	done := make(chan error)
	for range 5 {
		go func() {
			_, err := db.ExecContext(t.Context(), `DELETE FROM store_test_counters`)
			done <- err
		}()
	}
	for range 5 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]float64{}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			name := family.GetName()
			for _, label := range m.GetLabel() {
				name += " " + label.GetValue()
			}
			seen[name] = m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	for name, least := range map[string]float64{
		"store_connections write": 1, "store_connections read": 4, "store_waits_total write": 1,
		"store_wait_seconds_total write": 0.005, "store_statement_seconds": 5,
	} {
		if seen[name] < least {
			t.Errorf("%s is %v, want at least %v", name, seen[name], least)
		}
	}
	if _, there := seen["store_busy_connections write"]; !there {
		t.Errorf("no busy connections in %v", seen)
	}
}

func TestTheStoresTimeIsShared(t *testing.T) {
	const delay, readers = 20 * time.Millisecond, 4
	db := databases(t)["file"]
	if err := db.SetDelay(delay); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	done := make(chan error)
	for range readers {
		go func() {
			_, err := db.ExecContext(t.Context(), `DELETE FROM store_test_counters`)
			if err == nil {
				var n int
				err = db.QueryRowContext(t.Context(), `SELECT count(*) FROM store_test_counters`).Scan(&n)
			}
			done <- err
		}()
	}
	for range readers {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if took, want := time.Since(began), 2*readers*delay; took < want*6/10 { // each looks how many there are once a slice
		t.Errorf("%d statements at once took %s, want about %s", 2*readers, took, want)
	}
}
