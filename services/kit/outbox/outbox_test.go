package outbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/faultline-lab/faultline/services/events/eventstest"
	"github.com/faultline-lab/faultline/services/kit/store"
	"github.com/faultline-lab/faultline/services/kit/store/storetest"
)

// memory is a broker that keeps messages in memory, and fails when it is told to.
type memory struct {
	mu      sync.Mutex
	ids     []string          // in the order of arrival, repetitions too
	data    map[string]string // by id
	traces  map[string]trace.TraceID
	fail    func(id string) error
	lose    func(id string) bool // keep the message and fail all the same
	arrived chan string
}

func newMemory() *memory {
	return &memory{data: map[string]string{}, traces: map[string]trace.TraceID{}, arrived: make(chan string, 10_000)}
}

func (m *memory) Publish(ctx context.Context, subject, id string, data []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		if err := m.fail(id); err != nil {
			return err
		}
	}
	m.ids = append(m.ids, id)
	m.data[id] = subject + " " + string(data)
	m.traces[id] = trace.SpanContextFromContext(ctx).TraceID()
	m.arrived <- id
	if m.lose != nil && m.lose(id) {
		return errors.New("answer lost")
	}
	return nil
}

func (m *memory) distinct() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := slices.Clone(m.ids)
	slices.Sort(out)
	return slices.Compact(out)
}

func openStore(t *testing.T) *store.DB {
	t.Helper()
	db, err := store.Open(t.Context(), storetest.Config(t, t.TempDir()+"/outbox.db", Schema("test"), `CREATE TABLE IF NOT EXISTS things (id TEXT PRIMARY KEY)`))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func newOutbox(t *testing.T, cfg Config) *Outbox {
	t.Helper()
	cfg.Name = "test"
	if cfg.Store == nil {
		cfg.Store = openStore(t)
	}
	cfg.Log = slog.New(slog.DiscardHandler)
	cfg.Backoff, cfg.BackoffMax, cfg.Poll = time.Millisecond, 4*time.Millisecond, 20*time.Millisecond
	return New(cfg)
}

// start runs the publisher until the test ends, or until stop is called.
func start(t *testing.T, o *Outbox) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := o.Run(ctx); err != nil {
			t.Errorf("publisher ended: %v", err)
		}
	}()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return stop
}

func add(t *testing.T, o *Outbox, aggregate string, data any) {
	t.Helper()
	err := o.cfg.Store.InTx(t.Context(), func(ctx context.Context, tx *store.Tx) error {
		return o.Add(ctx, tx, Event{Subject: "things.made", Aggregate: aggregate, Data: data})
	})
	if err != nil {
		t.Fatal(err)
	}
	o.Wake()
}

// await returns when n messages have arrived since the last call.
func await(t *testing.T, m *memory, n int) {
	t.Helper()
	for i := range n {
		select {
		case <-m.arrived:
		case <-time.After(20 * time.Second):
			t.Fatalf("only %d of %d messages arrived", i, n)
		}
	}
}

// awaitEmpty returns when nothing is pending.
func awaitEmpty(t *testing.T, o *Outbox) {
	t.Helper()
	eventstest.Eventually(t, "nothing pending", func() bool {
		n, err := o.Pending(t.Context())
		return err == nil && n == 0
	})
}

func TestPublishes(t *testing.T) {
	m := newMemory()
	o := newOutbox(t, Config{Publisher: m})
	o.pending.Set(7)
	start(t, o)
	add(t, o, "a", map[string]int{"n": 1})
	add(t, o, "a", map[string]int{"n": 2})
	add(t, o, "b", "text")
	await(t, m, 3)
	awaitEmpty(t, o)
	want := map[string]string{"test/a/1": `things.made {"n":1}`, "test/a/2": `things.made {"n":2}`, "test/b/1": `things.made "text"`}
	for id, data := range want {
		if m.data[id] != data {
			t.Errorf("%s: got %s, want %s", id, m.data[id], data)
		}
	}
	rows, err := o.Rows(t.Context())
	if err != nil || len(rows) != 3 || rows[0].ID != "test/a/1" || rows[1].Seq != 2 || rows[2].Published.IsZero() || rows[2].Created.IsZero() {
		t.Errorf("rows %+v, %v", rows, err)
	}
	eventstest.Eventually(t, "the gauge shows that nothing is pending", func() bool { return testutil.ToFloat64(o.pending) == 0 })
}

func TestRolledBackIsNotPublished(t *testing.T) {
	m := newMemory()
	o := newOutbox(t, Config{Publisher: m})
	failed := errors.New("no")
	err := o.cfg.Store.InTx(t.Context(), func(ctx context.Context, tx *store.Tx) error {
		if err := o.Add(ctx, tx, Event{Subject: "things.made", Aggregate: "a", Data: 1}); err != nil {
			return err
		}
		return failed
	})
	if !errors.Is(err, failed) {
		t.Fatal(err)
	}
	start(t, o)
	add(t, o, "b", 1)
	awaitEmpty(t, o)
	if got := m.distinct(); !slices.Equal(got, []string{"test/b/1"}) {
		t.Errorf("published %v", got)
	}
}

func TestBadData(t *testing.T) {
	o := newOutbox(t, Config{Publisher: newMemory()})
	err := o.cfg.Store.InTx(t.Context(), func(ctx context.Context, tx *store.Tx) error {
		return o.Add(ctx, tx, Event{Subject: "s", Aggregate: "a", Data: make(chan int)})
	})
	if err == nil || !strings.Contains(err.Error(), "adding to the outbox") {
		t.Errorf("got %v", err)
	}
}

// TestOutage takes the broker away, and answers of it, and checks that all arrives all the same, in order.
func TestOutage(t *testing.T) {
	m := newMemory()
	down, lost, tried := true, 0, make(chan struct{}, 1)
	m.fail = func(string) error {
		if !down {
			return nil
		}
		select {
		case tried <- struct{}{}:
		default:
		}
		return errors.New("no broker")
	}
	m.lose = func(string) bool { lost++; return lost%3 == 0 }
	o := newOutbox(t, Config{Publisher: m})
	stop := start(t, o)
	for i := range 30 {
		add(t, o, fmt.Sprintf("agg-%d", i%5), i)
	}
	<-tried
	stop() // a service that stops in the outage, and starts again
	if n, _ := o.Pending(t.Context()); n != 30 {
		t.Fatalf("%d pending, want 30", n)
	}
	down = false
	start(t, o)
	awaitEmpty(t, o)
	if got := m.distinct(); len(got) != 30 {
		t.Errorf("%d of 30 arrived", len(got))
	}
	if len(m.ids) == 30 {
		t.Error("an event whose answer was lost should have been published again")
	}
	wantOrdered(t, m)
}

// wantOrdered checks that the first arrivals of each aggregate's events are in order.
func wantOrdered(t *testing.T, m *memory) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	last, seen := map[string]int{}, map[string]bool{}
	for _, id := range m.ids {
		if seen[id] {
			continue
		}
		seen[id] = true
		parts := strings.Split(id, "/")
		var n int
		if _, err := fmt.Sscan(parts[2], &n); err != nil {
			t.Fatal(err)
		}
		if n != last[parts[1]]+1 {
			t.Errorf("%s arrived after %d", id, last[parts[1]])
		}
		last[parts[1]] = n
	}
}

// TestOneAggregateFails keeps its later events back, and publishes those of others.
func TestOneAggregateFails(t *testing.T) {
	m := newMemory()
	var healed bool
	m.fail = func(id string) error {
		if id == "test/bad/2" && !healed {
			return errors.New("refused")
		}
		return nil
	}
	o := newOutbox(t, Config{Publisher: m, Parallel: 2})
	for range 3 {
		add(t, o, "good", 1)
		add(t, o, "bad", 1)
	}
	start(t, o)
	await(t, m, 4)
	if got := m.distinct(); !slices.Equal(got, []string{"test/bad/1", "test/good/1", "test/good/2", "test/good/3"}) {
		t.Errorf("published %v", got)
	}
	m.mu.Lock()
	healed = true
	m.mu.Unlock()
	awaitEmpty(t, o)
	wantOrdered(t, m)
}

func TestPrepare(t *testing.T) {
	m := newMemory()
	prepared := 0
	o := newOutbox(t, Config{Publisher: m, Prepare: func(ctx context.Context) error {
		if _, limited := ctx.Deadline(); !limited {
			t.Error("preparing is not limited in time")
		}
		if prepared++; prepared < 3 {
			return errors.New("not yet")
		}
		return nil
	}})
	add(t, o, "a", 1)
	start(t, o)
	await(t, m, 1)
	awaitEmpty(t, o)
	if prepared != 3 {
		t.Errorf("prepared %d times, want 3", prepared)
	}
}

// TestPreparesAgain loses what was prepared, as a broker does whose disk is new.
func TestPreparesAgain(t *testing.T) {
	m := newMemory()
	stream := false
	m.fail = func(string) error {
		if !stream {
			return errors.New("no stream")
		}
		return nil
	}
	o := newOutbox(t, Config{Publisher: m, Prepare: func(context.Context) error {
		m.mu.Lock()
		defer m.mu.Unlock()
		stream = true
		return nil
	}})
	start(t, o)
	add(t, o, "a", 1)
	awaitEmpty(t, o)
	m.mu.Lock()
	stream = false
	m.mu.Unlock()
	add(t, o, "a", 2)
	awaitEmpty(t, o)
}

// TestClockStepsBack adds an event whose clock is behind that of the one before.
func TestClockStepsBack(t *testing.T) {
	o := newOutbox(t, Config{Publisher: newMemory()})
	add(t, o, "a", 1)
	future := time.Now().Add(time.Hour).UnixNano()
	if _, err := o.cfg.Store.ExecContext(t.Context(), `UPDATE test_outbox SET created_ns = ?`, future); err != nil {
		t.Fatal(err)
	}
	add(t, o, "a", 2)
	rows, err := o.oldest(t.Context(), 10)
	if err != nil || len(rows) != 2 || rows[0].Seq != 1 || rows[1].Created.UnixNano() != future+1 {
		t.Errorf("got %+v, %v", rows, err)
	}
}

func TestTraceGoesOn(t *testing.T) {
	m := newMemory()
	o := newOutbox(t, Config{Publisher: m, Propagator: propagation.TraceContext{}})
	id := trace.TraceID{1, 2, 3}
	ctx := trace.ContextWithSpanContext(t.Context(), trace.NewSpanContext(trace.SpanContextConfig{TraceID: id, SpanID: trace.SpanID{1}, TraceFlags: trace.FlagsSampled}))
	err := o.cfg.Store.InTx(ctx, func(ctx context.Context, tx *store.Tx) error {
		return o.Add(ctx, tx, Event{Subject: "s", Aggregate: "a", Data: 1})
	})
	if err != nil {
		t.Fatal(err)
	}
	start(t, o)
	await(t, m, 1)
	if m.traces["test/a/1"] != id {
		t.Errorf("trace %v, want %v", m.traces["test/a/1"], id)
	}
	if got := ReadTrace(t.Context(), propagation.TraceContext{}, "not JSON"); got != t.Context() {
		t.Error("a trace that cannot be read changed the context")
	}
}

func TestBackoff(t *testing.T) {
	o := New(Config{Name: "x"})
	for n, want := range map[int]time.Duration{1: 100 * time.Millisecond, 2: 200 * time.Millisecond, 4: 800 * time.Millisecond, 6: 3 * time.Second, 100: 3 * time.Second} {
		for range 50 {
			if got := o.backoff(n); got < want/2 || got > want {
				t.Fatalf("pause %d is %v, want %v to %v", n, got, want/2, want)
			}
		}
	}
}

func TestManyAggregates(t *testing.T) {
	m := newMemory()
	o := newOutbox(t, Config{Publisher: m, Parallel: 4})
	err := o.cfg.Store.InTx(t.Context(), func(ctx context.Context, tx *store.Tx) error {
		for i := range batch + 50 { // more than are read at once
			if err := o.Add(ctx, tx, Event{Subject: "s", Aggregate: fmt.Sprint("agg-", i%100), Data: i}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	start(t, o)
	await(t, m, batch+50)
	awaitEmpty(t, o)
	wantOrdered(t, m)
}
