package kit

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/faultline-lab/faultline/observability/names"
	"github.com/faultline-lab/faultline/resilience"
)

// ErrShed is the error of a request that found every worker busy and the queue full. As a
// gRPC status it is RESOURCE_EXHAUSTED.
var ErrShed error = shedError{}

type shedError struct{}

func (shedError) Error() string { return "all workers are busy and the queue is full" }
func (shedError) GRPCStatus() *status.Status {
	return status.New(codes.ResourceExhausted, shedError{}.Error())
}

// Outcomes of requests at a door, values of names.Outcome.
const (
	served    = "served"    // worked on, and the caller was still there
	shed      = "shed"      // refused: the queue was full, or a policy of the door said no
	expired   = "expired"   // dropped from the queue, not begun (policy deadline only)
	abandoned = "abandoned" // worked on, but the caller had gone: the work is wasted
)

// Door is where requests enter a service and wait for a worker. A worker is
// held for the handler's real work and a drawn service time before it, so
// that saturation is the model's and not the machine's. It is safe for concurrent use.
//
// Without the policy deadline a request, once taken, is worked on to its end:
// its context knows neither the caller's deadline nor that the caller has gone.
// That is what servers do whose code does not look, and the time so wasted is counted.
type Door struct {
	capacity Capacity
	policies *resilience.Door
	rand     *rand.Rand
	metrics  *doorMetrics
	owed     atomic.Int64 // nanoseconds that pauses took too long, see pause

	mu      sync.Mutex
	busy    int
	depth   int // how many wait
	waiting resilience.Queue
}

// DoorConfig says how a door is. All of it may be left out.
type DoorConfig struct {
	Service    string
	Capacity   Capacity
	Policies   resilience.Chain
	Registerer prometheus.Registerer // nil means no metrics
	Seed       uint64
}

// NewDoor makes a door. A service has one already, Runtime.Door.
func NewDoor(cfg DoorConfig) (*Door, error) {
	policies, err := resilience.NewDoor(resilience.DoorConfig{Service: cfg.Service, Chain: cfg.Policies, Registerer: cfg.Registerer, Seed: cfg.Seed})
	if err != nil {
		return nil, err
	}
	metrics, err := newDoorMetrics(cfg.Registerer, cfg.Capacity)
	if err != nil {
		return nil, err
	}
	return &Door{capacity: cfg.Capacity, policies: policies, waiting: policies.NewQueue(cfg.Capacity.Queue), metrics: metrics, rand: resilience.Seeded(cfg.Seed, "door of "+cfg.Service)}, nil
}

// visit is one request's way through the door.
type visit struct {
	caller  context.Context // as it came: ends when the caller goes
	outcome string
	waited  time.Duration
	held    time.Duration
}

// Do takes work in: it waits for a worker and runs it. Its errors are work's own, ErrShed, and
// those of the door's policies (*resilience.Rejection).
func (d *Door) Do(ctx context.Context, work func(ctx context.Context) error) error {
	v := &visit{caller: ctx, outcome: shed}
	inside, cancel := d.inside(ctx)
	defer cancel()
	defer func() { // also when work panics
		d.metrics.requests[v.outcome].Inc()
		trace.SpanFromContext(ctx).SetAttributes(
			attribute.String(names.AttrOutcome, v.outcome),
			attribute.Float64(names.AttrQueued, milliseconds(v.waited)),
			attribute.Float64(names.AttrHeld, milliseconds(v.held)))
	}()
	return d.policies.Do(inside, func(ctx context.Context) error { return d.visit(ctx, v, work) })
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// inside makes the context that the work gets.
func (d *Door) inside(ctx context.Context) (context.Context, context.CancelFunc) {
	if !d.policies.KeepsDeadline() {
		return context.WithoutCancel(ctx), func() {}
	}
	if within := d.policies.DefaultDeadline(); within > 0 {
		if _, has := ctx.Deadline(); !has {
			return context.WithTimeout(ctx, within)
		}
	}
	return ctx, func() {}
}

// visit waits, works and settles up.
func (d *Door) visit(ctx context.Context, v *visit, work func(context.Context) error) error {
	came := time.Now()
	began, err := d.acquire(ctx, came)
	if err == nil && ctx.Err() != nil { // it came too late, or expired just as it got its worker
		d.release()
		err = ctx.Err()
	}
	v.waited = time.Since(came)
	if err != nil {
		if errors.Is(err, ctx.Err()) && d.policies.KeepsDeadline() {
			v.outcome = expired
			return d.policies.Expired(err)
		}
		return err
	}
	v.waited = began.Sub(came)
	resilience.Observe(v.caller, d.metrics.wait, v.waited.Seconds())
	defer func() {
		d.release()
		v.held = time.Since(began)
		resilience.Observe(v.caller, d.metrics.serviceTime, v.held.Seconds())
		v.outcome = served
		if v.caller.Err() != nil {
			v.outcome = abandoned
			d.metrics.wasted.Add(v.held.Seconds())
		}
	}()
	if err := d.pause(ctx, began, d.capacity.ServiceTime.draw(d.rand)); err != nil {
		return err
	}
	return work(ctx)
}

// acquire waits for a worker, and tells since when the request has it. Its error is ErrShed, that of the request's priority, that of the
// queue's discipline, or that of ctx.
func (d *Door) acquire(ctx context.Context, came time.Time) (since time.Time, err error) {
	d.mu.Lock()
	now := resilience.Occupancy{Busy: d.busy, Workers: d.capacity.Workers, Waiting: d.depth, Queue: d.capacity.Queue}
	if err := d.policies.Shed(ctx, now); err != nil {
		d.mu.Unlock()
		return came, err
	}
	if d.capacity.Workers == 0 || d.busy < d.capacity.Workers {
		d.busy++
		d.metrics.busy.Set(float64(d.busy))
		d.mu.Unlock()
		return came, nil
	}
	w := &resilience.Waiting{Since: came, Admit: make(chan error, 1)}
	evicted := d.waiting.Push(w)
	if evicted != nil {
		evicted.Admit <- ErrShed
	} else {
		d.setDepth(d.depth + 1)
	}
	d.mu.Unlock()
	select {
	case err = <-w.Admit:
	case <-ctx.Done():
		if d.leave(w) {
			return came, ctx.Err()
		}
		err = <-w.Admit
	}
	return w.Admitted, err
}

// leave takes a request out of the queue. It tells false when the request has its answer already.
func (d *Door) leave(w *resilience.Waiting) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(w.Admit) > 0 {
		return false
	}
	d.waiting.Remove(w)
	d.setDepth(d.depth - 1)
	return true
}

// release gives the worker back, and lets in whoever may work now.
func (d *Door) release() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.busy--
	d.fill()
}

// fill hands free workers to the next in the queue. It is called with mu held.
func (d *Door) fill() {
	for d.capacity.Workers == 0 || d.busy < d.capacity.Workers {
		now := time.Now()
		w, refuse := d.waiting.Pop(now)
		if w == nil {
			break
		}
		d.setDepth(d.depth - 1)
		if refuse == nil {
			d.busy++
		}
		w.Admitted = now
		w.Admit <- refuse
	}
	d.metrics.busy.Set(float64(d.busy))
}

// SetWorkers changes how many requests are worked on at once, as a machine's quota may be changed under a service. Those
// under way go on. The error says that a door without a limit gets none, or that there would be no worker.
func (d *Door) SetWorkers(n int) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.capacity.Workers == 0 || n < 1 {
		return fmt.Errorf("%d workers in place of %d: a door with a limit keeps one, of at least 1", n, d.capacity.Workers)
	}
	d.capacity.Workers = n
	d.metrics.workers.Set(float64(n))
	d.fill()
	return nil
}

// ServeWorkers answers PUT /door?workers=2, with which whoever operates the service calls SetWorkers.
func (d *Door) ServeWorkers(w http.ResponseWriter, r *http.Request) {
	n, err := strconv.Atoi(r.URL.Query().Get("workers"))
	if err == nil {
		err = d.SetWorkers(n)
	}
	if err != nil {
		http.Error(w, "changing workers: "+err.Error(), http.StatusBadRequest)
		return
	}
	fmt.Fprintf(w, "%d workers\n", n)
}

func (d *Door) setDepth(n int) {
	d.depth = n
	d.metrics.depth.Set(float64(n))
}

// mostOwed is how much of one pause's overshoot counts: more is not the
// timer's imprecision but a process that was stopped.
const mostOwed = 5 * time.Millisecond

// pause holds the worker for its service time. Timers overshoot, by a
// millisecond and more on a busy machine, which would be overload that the
// model does not know: what one pause took too long the following ones
// are shortened by, so that on average the capacity is the one that is written.
// The time since the worker was handed over counts in the same way: a request that waited
// takes a while to wake up, and nobody else has its worker meanwhile.
func (d *Door) pause(ctx context.Context, since time.Time, drawn time.Duration) error {
	if drawn <= 0 {
		return nil
	}
	d.owed.Add(int64(min(time.Since(since), mostOwed)))
	owed := time.Duration(d.owed.Swap(0))
	paid := min(owed, drawn)
	d.owed.Add(int64(owed - paid))
	if drawn -= paid; drawn <= 0 {
		return nil
	}
	began := time.Now()
	timer := time.NewTimer(drawn)
	defer timer.Stop()
	select {
	case <-timer.C:
		d.owed.Add(int64(min(time.Since(began)-drawn, mostOwed)))
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

type doorMetrics struct {
	workers           prometheus.Gauge
	busy, depth       prometheus.Gauge
	requests          map[string]prometheus.Counter
	wait, serviceTime prometheus.Histogram
	wasted            prometheus.Counter
}

func newDoorMetrics(reg prometheus.Registerer, capacity Capacity) (*doorMetrics, error) {
	gauge := func(name, help string, value int) prometheus.Gauge {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
		g.Set(float64(value))
		return g
	}
	workers := gauge(names.DoorWorkers, "Requests that may be worked on at once; 0 means no limit.", capacity.Workers)
	limit := gauge(names.DoorQueueLimit, "Requests that may wait.", capacity.Queue)
	requests := prometheus.NewCounterVec(prometheus.CounterOpts{Name: names.DoorRequests, Help: "Requests, by what became of them at the door."}, []string{names.Outcome})
	m := &doorMetrics{
		workers:     workers,
		busy:        gauge(names.DoorBusy, "Workers at work.", 0),
		depth:       gauge(names.DoorQueueDepth, "Requests waiting for a worker.", 0),
		requests:    map[string]prometheus.Counter{},
		wait:        prometheus.NewHistogram(prometheus.HistogramOpts{Name: names.DoorWait, Help: "Time waited for a worker.", Buckets: resilience.Buckets()}),
		serviceTime: prometheus.NewHistogram(prometheus.HistogramOpts{Name: names.DoorServiceTime, Help: "Time a worker was really held.", Buckets: resilience.Buckets()}),
		wasted:      prometheus.NewCounter(prometheus.CounterOpts{Name: names.DoorWastedSeconds, Help: "Worker time spent for callers who had gone."}),
	}
	for _, outcome := range []string{served, shed, expired, abandoned} {
		m.requests[outcome] = requests.WithLabelValues(outcome)
	}
	if reg == nil {
		return m, nil
	}
	var errs []error
	for _, c := range []prometheus.Collector{workers, limit, requests, m.busy, m.depth, m.wait, m.serviceTime, m.wasted} {
		errs = append(errs, reg.Register(c))
	}
	return m, errors.Join(errs...)
}
