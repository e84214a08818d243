package orders

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace/noop"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/faultline-lab/faultline/resilience"
	"github.com/faultline-lab/faultline/services/events/eventstest"
	"github.com/faultline-lab/faultline/services/kit/outbox"
	"github.com/faultline-lab/faultline/services/kit/store"
	"github.com/faultline-lab/faultline/services/kit/store/storetest"
	inventoryv1 "github.com/faultline-lab/faultline/services/proto/shop/inventory/v1"
	ordersv1 "github.com/faultline-lab/faultline/services/proto/shop/orders/v1"
	paymentsv1 "github.com/faultline-lab/faultline/services/proto/shop/payments/v1"
)

// fault is how a call goes wrong.
type fault string

const (
	fine         fault = "fine"
	neverArrived fault = "never arrived" // UNAVAILABLE, without the effect
	answerLost   fault = "answer lost"   // the effect, and UNAVAILABLE
	tooSlow      fault = "too slow"      // the effect, and DEADLINE_EXCEEDED
	arrivesLate  fault = "arrives late"  // DEADLINE_EXCEEDED now, the effect when the world is flushed
	shedAtDoor   fault = "shed"          // RESOURCE_EXHAUSTED, without the effect
	neverSent    fault = "never sent"    // an open breaker of the edge, before the first attempt
	sentOnce     fault = "sent once"     // an open breaker of the edge, after an attempt that had the effect
	refusedFalse fault = "lies"          // the effect, and FAILED_PRECONDITION, as a fault of layer 7 can have it
)

// world is what is outside of orders: inventory, payments with its bank, and the broker with shipping behind it. It
// outlives crashes of orders. Its services keep the promises of their .proto files, unless they are broken on purpose.
type world struct {
	mu           sync.Mutex
	reservations map[string]string // state by order
	stock        int64             // of everything
	charges      map[string]*paymentsv1.Charge
	published    map[string]bool
	fault        func(op, order string) fault // nil means fine; called under mu
	hold         func(op, order string)       // called before each call, without mu
	late         []func()
	calls        map[string]int    // by op
	traces       map[string]string // the traceparent of the last call, by op
	brokerDown   bool
	chargeTwice  bool // a deliberate break: captures again at each Charge
}

func newWorld() *world {
	return &world{reservations: map[string]string{}, stock: 1_000_000, charges: map[string]*paymentsv1.Charge{},
		published: map[string]bool{}, calls: map[string]int{}, traces: map[string]string{}}
}

// call runs the effect of a call as the world's faults have it.
func (w *world) call(ctx context.Context, op, order string, effect func() error) error {
	if w.hold != nil {
		w.hold(op, order)
	}
	if err := ctx.Err(); err != nil {
		return status.FromContextError(err).Err()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls[op]++
	if md, ok := metadata.FromIncomingContext(ctx); ok {
		w.traces[op] = strings.Join(md.Get("traceparent"), ",")
	}
	f := fine
	if w.fault != nil {
		f = w.fault(op, order)
	}
	switch f {
	case neverArrived:
		return status.Error(codes.Unavailable, "connection refused")
	case shedAtDoor:
		return status.Error(codes.ResourceExhausted, "all workers are busy")
	case neverSent:
		return &resilience.Rejection{On: "orders->" + op, Policy: "circuit_breaker", Cause: "open", Class: resilience.Rejected, Code: codes.Unavailable}
	case sentOnce:
		_ = effect()
		return &resilience.Rejection{On: "orders->" + op, Policy: "circuit_breaker", Cause: "open", Class: resilience.Rejected, Code: codes.Unavailable, Attempts: 1}
	case answerLost:
		_ = effect()
		return status.Error(codes.Unavailable, "connection reset")
	case tooSlow:
		_ = effect()
		return status.Error(codes.DeadlineExceeded, "too slow")
	case arrivesLate:
		w.late = append(w.late, func() { _ = effect() })
		return status.Error(codes.DeadlineExceeded, "too slow")
	case refusedFalse:
		_ = effect()
		return status.Error(codes.FailedPrecondition, "so it says")
	}
	return effect()
}

func (w *world) setFault(f func(op, order string) fault) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fault = f
}

func (w *world) shipped(order string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.reservations[order] = "shipped"
}

func (w *world) traceOf(op string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.traces[op]
}

// flush lets all arrive that is still on its way.
func (w *world) flush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, effect := range w.late {
		effect()
	}
	w.late = nil
}

func (w *world) Reserve(ctx context.Context, req *inventoryv1.ReserveRequest, _ ...grpc.CallOption) (*inventoryv1.ReserveResponse, error) {
	order := req.GetOrderId()
	return &inventoryv1.ReserveResponse{}, w.call(ctx, "reserve", order, func() error {
		switch w.reservations[order] {
		case "released":
			return status.Error(codes.Aborted, "released")
		case "":
			if w.stock == 0 {
				return status.Error(codes.FailedPrecondition, "not enough stock of p-1: wanted 1, available 0")
			}
			w.stock--
			w.reservations[order] = "reserved"
		}
		return nil
	})
}

func (w *world) Release(ctx context.Context, req *inventoryv1.ReleaseRequest, _ ...grpc.CallOption) (*inventoryv1.ReleaseResponse, error) {
	order := req.GetOrderId()
	return &inventoryv1.ReleaseResponse{}, w.call(ctx, "release", order, func() error {
		switch w.reservations[order] {
		case "shipped":
			return status.Error(codes.FailedPrecondition, "shipped")
		case "reserved":
			w.stock++
		}
		w.reservations[order] = "released"
		return nil
	})
}

func (w *world) Charge(ctx context.Context, req *paymentsv1.ChargeRequest, _ ...grpc.CallOption) (*paymentsv1.ChargeResponse, error) {
	order := req.GetOrderId()
	return &paymentsv1.ChargeResponse{ChargeId: "c"}, w.call(ctx, "charge", order, func() error {
		c := w.charges[order]
		if c == nil {
			c = &paymentsv1.Charge{OrderId: order, AmountCents: req.GetAmountCents(), State: "declined"}
			w.charges[order] = c
			if !strings.HasPrefix(req.GetCard(), "4000") {
				w.capture(c)
			}
		} else if c.State == "captured" && w.chargeTwice {
			w.capture(c)
		}
		switch c.State {
		case "declined":
			return status.Error(codes.FailedPrecondition, "card declined")
		case "refunded":
			return status.Error(codes.Aborted, "refunded")
		}
		return nil
	})
}

func (w *world) capture(c *paymentsv1.Charge) {
	c.State, c.BankCaptures, c.BankBalanceCents = "captured", c.BankCaptures+1, c.BankBalanceCents+c.AmountCents
}

func (w *world) Refund(ctx context.Context, req *paymentsv1.RefundRequest, _ ...grpc.CallOption) (*paymentsv1.RefundResponse, error) {
	order := req.GetOrderId()
	return &paymentsv1.RefundResponse{}, w.call(ctx, "refund", order, func() error {
		c := w.charges[order]
		switch {
		case c == nil:
			w.charges[order] = &paymentsv1.Charge{OrderId: order, State: "refunded"}
		case c.State == "captured":
			c.State, c.BankRefunds, c.BankBalanceCents = "refunded", c.BankRefunds+1, 0
		}
		return nil
	})
}

// stockBooks and chargeBooks give the world's side of an audit.
type stockBooks struct{ *world }

func (w stockBooks) Audit(context.Context, *inventoryv1.AuditRequest, ...grpc.CallOption) (*inventoryv1.AuditResponse, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := &inventoryv1.AuditResponse{}
	for order, state := range w.reservations {
		out.Reservations = append(out.Reservations, &inventoryv1.Reservation{OrderId: order, State: state})
	}
	return out, nil
}

type chargeBooks struct{ *world }

func (w chargeBooks) Audit(context.Context, *paymentsv1.AuditRequest, ...grpc.CallOption) (*paymentsv1.AuditResponse, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := &paymentsv1.AuditResponse{}
	for _, c := range w.charges {
		out.Charges = append(out.Charges, &paymentsv1.Charge{OrderId: c.OrderId, AmountCents: c.AmountCents, State: c.State,
			BankCaptures: c.BankCaptures, BankRefunds: c.BankRefunds, BankBalanceCents: c.BankBalanceCents})
	}
	return out, nil
}

// Publish is the broker with shipping behind it: what is announced is shipped at once.
func (w *world) Publish(_ context.Context, _, id string, _ []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.brokerDown {
		return fmt.Errorf("no broker")
	}
	w.published[id] = true
	if order := strings.Split(id, "/")[1]; w.reservations[order] == "reserved" {
		w.reservations[order] = "shipped"
	}
	return nil
}

// life is one life of the orders process, from its start to its crash.
type life struct {
	*server
	sagas    *sagas
	recovery *recovery
	keeper   *keeper
	audit    *auditor
	db       *store.DB
	outbox   *outbox.Outbox
}

// crashAt stops the goroutine that reaches a point for the nth time, as a crash would, without running on.
type crashAt struct {
	mu    sync.Mutex
	point point
	nth   int
	hit   bool
}

func (c *crashAt) reached(p point, _ string) {
	c.mu.Lock()
	crash := false
	if p == c.point {
		c.nth--
		crash = c.nth == 0
	}
	c.hit = c.hit || crash
	c.mu.Unlock()
	if crash {
		runtime.Goexit()
	}
}

// begin starts a life on a store that may have seen lives before.
func begin(t *testing.T, w *world, path string, p probe) *life {
	t.Helper()
	db, err := store.Open(t.Context(), storetest.Config(t, path, schema, callsSchema, deadLetterSchema, outbox.Schema("orders")))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	log := slog.New(slog.DiscardHandler)
	box := outbox.New(outbox.Config{Name: "orders", Store: db, Publisher: w, Log: log,
		Poll: 5 * time.Millisecond, Backoff: time.Millisecond, BackoffMax: 5 * time.Millisecond})
	if p == nil {
		p = noProbe{}
	}
	s := &sagas{
		ledger: &ledger{db: db, outbox: box}, stock: w, money: w, live: newLive(), driver: uuid.NewString(), log: log,
		tracer: noop.NewTracerProvider().Tracer(""), propagator: propagation.TraceContext{}, metrics: newMetrics(nil), probe: p,
		backoff: func(int) time.Duration { return 0 },
	}
	k := &keeper{ledger: s.ledger, driver: s.driver, instance: "orders-1", pending: s.metrics.pending, log: log}
	if err := k.beat(t.Context()); err != nil {
		t.Fatal(err)
	}
	return &life{server: &server{sagas: s}, sagas: s, recovery: &recovery{sagas: s}, keeper: k, db: db, outbox: box,
		audit: &auditor{ledger: s.ledger, dead: &deadLetters{db: db, log: log}, stock: stockBooks{w}, money: chargeBooks{w}, log: log}}
}

func newLife(t *testing.T, w *world) *life {
	t.Helper()
	return begin(t, w, t.TempDir()+"/orders.db", nil)
}

const goodCard, badCard = "4242-0000-0000-0001", "4000-0000-0000-0001"

// request is an order of one thing.
func request(key, card string) *ordersv1.PlaceOrderRequest {
	return &ordersv1.PlaceOrderRequest{IdempotencyKey: key, AccountId: "a-1", Card: card, TotalCents: 100,
		Lines: []*inventoryv1.Line{{ProductId: "p-1", Quantity: 1}}}
}

// placed is what a customer learns.
type placed struct {
	order   *ordersv1.Order
	err     error
	crashed bool // nothing: the process crashed
}

// place places an order in a goroutine of its own, which may crash.
func (l *life) place(ctx context.Context, req *ordersv1.PlaceOrderRequest) placed {
	out := make(chan placed, 1)
	go func() {
		result := placed{crashed: true}
		defer func() { out <- result }()
		o, err := l.PlaceOrder(ctx, req)
		result = placed{order: o, err: err}
	}()
	return <-out
}

// publish runs the publisher until nothing is pending.
func (l *life) publish(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = l.outbox.Run(ctx) })
	defer wg.Wait()
	defer cancel()
	eventstest.Eventually(t, "all events published", func() bool {
		n, err := l.outbox.Pending(ctx)
		return err != nil || n == 0
	})
}

// settle recovers and publishes until nothing is open.
func (l *life) settle(t *testing.T, w *world) {
	t.Helper()
	for range 1000 {
		n, err := l.sagas.ledger.pending(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			w.flush()
			l.publish(t)
			return
		}
		l.recovery.round(t.Context())
	}
	t.Fatal("sagas do not end")
}

// wantSound audits and wants no violation.
func (l *life) wantSound(t *testing.T) report {
	t.Helper()
	f, err := l.audit.gather(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	out := judge(f)
	for _, v := range out.Violations {
		t.Errorf("%s: %s %v", v.Invariant, v.Detail, v.Keys)
	}
	if !out.Settled {
		t.Errorf("not settled: %v", out.Waiting)
	}
	return out
}

// wantStates checks how many orders are in which state.
func (l *life) wantStates(t *testing.T, want map[state]int) {
	t.Helper()
	all, err := l.sagas.ledger.all(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := map[state]int{}
	for _, o := range all {
		got[o.state]++
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("states %v, want %v", got, want)
	}
}

func wantCode(t *testing.T, err error, want codes.Code, text string) {
	t.Helper()
	if status.Code(err) != want || !strings.Contains(status.Convert(err).Message(), text) {
		t.Errorf("got %v, want %v: %q", err, want, text)
	}
}
