package orders

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	inventoryv1 "github.com/faultline-lab/faultline/services/proto/shop/inventory/v1"
	ordersv1 "github.com/faultline-lab/faultline/services/proto/shop/orders/v1"
)

func TestConfirmed(t *testing.T) {
	w := newWorld()
	l := newLife(t, w)
	got := l.place(t.Context(), request("k-1", goodCard))
	if got.err != nil || got.order.GetState() != "confirmed" || got.order.GetTotalCents() != 100 || len(got.order.GetLines()) != 1 {
		t.Fatalf("got %v, %v", got.order, got.err)
	}
	l.publish(t)
	out := l.wantSound(t)
	if out.Checked["orders"] != 1 || out.Checked["charges"] != 1 || out.Checked["reservations"] != 1 || out.Checked["events"] != 1 {
		t.Errorf("checked %v", out.Checked)
	}
	if n := testutil.ToFloat64(l.sagas.metrics.total.WithLabelValues("confirmed")); n != 1 {
		t.Errorf("%v sagas counted", n)
	}
	if w.calls["refund"]+w.calls["release"] > 0 {
		t.Errorf("calls %v", w.calls)
	}
}

// TestFaultsAtEveryStep lets each call go wrong in each way, once and for some time, and wants the customer's answer to be
// right at once and the books to be right in the end.
func TestFaultsAtEveryStep(t *testing.T) {
	first := map[fault]codes.Code{
		neverArrived: codes.Unavailable, answerLost: codes.Unavailable, shedAtDoor: codes.Unavailable,
		neverSent: codes.Unavailable, sentOnce: codes.Unavailable,
		tooSlow: codes.DeadlineExceeded, arrivesLate: codes.DeadlineExceeded, refusedFalse: codes.FailedPrecondition,
	}
	for _, op := range []string{"reserve", "charge"} {
		for f, code := range first {
			for _, times := range []int{1, 5} {
				t.Run(fmt.Sprintf("%s %s %dx", op, f, times), func(t *testing.T) {
					testFaulty(t, goodCard, failing(op, f, times), code, "")
				})
			}
		}
	}
	for _, op := range []string{"refund", "release"} { // compensation made necessary by something else
		for f := range first {
			t.Run(fmt.Sprintf("declined, then %s %s", op, f), func(t *testing.T) {
				testFaulty(t, badCard, failing(op, f, 3), codes.FailedPrecondition, "card declined")
			})
			t.Run(fmt.Sprintf("charge unknown, then %s %s", op, f), func(t *testing.T) {
				compensation, charge := failing(op, f, 3), once("charge", answerLost)
				testFaulty(t, goodCard, func(at, order string) fault {
					if at == op {
						return compensation(at, order)
					}
					return charge(at, order)
				}, codes.Unavailable, "payments did not answer")
			})
		}
	}
}

// failing is a fault of the first calls of an operation.
func failing(op string, f fault, times int) func(string, string) fault {
	return func(at, _ string) fault {
		if at != op || times == 0 {
			return fine
		}
		times--
		return f
	}
}

// testFaulty places an order in a faulty world and wants an answer, and sound books once all is settled.
func testFaulty(t *testing.T, card string, faults func(string, string) fault, code codes.Code, text string) {
	t.Helper()
	w := newWorld()
	w.fault = faults
	l := newLife(t, w)
	got := l.place(t.Context(), request("k-1", card))
	wantCode(t, got.err, code, text)
	l.settle(t, w)
	l.wantSound(t)
	l.wantStates(t, map[state]int{cancelled: 1})
	w.fault = nil
	again := l.place(t.Context(), request("k-1", card))
	if code != codes.FailedPrecondition {
		code = codes.Aborted
	}
	wantCode(t, again.err, code, "is cancelled")
}

func TestRefusals(t *testing.T) {
	w := newWorld()
	l := newLife(t, w)
	got := l.place(t.Context(), request("k-1", badCard))
	wantCode(t, got.err, codes.FailedPrecondition, "is cancelled: card declined")
	w.stock = 0
	got = l.place(t.Context(), request("k-2", goodCard))
	wantCode(t, got.err, codes.FailedPrecondition, "is cancelled: not enough stock")
	// Both are undone before the customer is answered.
	l.wantStates(t, map[state]int{cancelled: 2})
	l.wantSound(t)
	if n := testutil.ToFloat64(l.sagas.metrics.total.WithLabelValues("cancelled")); n != 2 {
		t.Errorf("%v sagas counted", n)
	}
}

// TestUnknownIsLeftToRecovery wants no compensation by the request itself when a callee is in trouble.
func TestUnknownIsLeftToRecovery(t *testing.T) {
	w := newWorld()
	w.fault = func(op, _ string) fault {
		if op == "charge" {
			return answerLost
		}
		return fine
	}
	l := newLife(t, w)
	got := l.place(t.Context(), request("k-1", goodCard))
	wantCode(t, got.err, codes.Unavailable, "payments did not answer: connection reset")
	if w.calls["refund"]+w.calls["release"] > 0 {
		t.Errorf("calls %v", w.calls)
	}
	l.wantStates(t, map[state]int{compensating: 1})
	wantCode(t, l.place(t.Context(), request("k-1", goodCard)).err, codes.Aborted, "payments did not answer")
	if w.calls["charge"] != 1 {
		t.Error("a repeated request charged again")
	}
	l.settle(t, w)
	l.wantSound(t)
}

// TestUnsentIsNotUndone wants nothing undone of a step that a policy ended before it was sent, and the rest at once:
// no callee's answer is missing. One sent attempt makes it unknown again.
func TestUnsentIsNotUndone(t *testing.T) {
	tests := []struct {
		op               string
		fault            fault
		atOnce           state
		refunds, release int // calls in the end
	}{
		{"reserve", neverSent, cancelled, 0, 0},
		{"charge", neverSent, cancelled, 0, 1},
		{"reserve", sentOnce, compensating, 0, 1},
		{"charge", sentOnce, compensating, 1, 1},
	}
	for _, test := range tests {
		t.Run(test.op+" "+string(test.fault), func(t *testing.T) {
			w := newWorld()
			w.fault = failing(test.op, test.fault, 1)
			l := newLife(t, w)
			text := "was not asked: "
			if test.fault == sentOnce {
				text = "did not answer: "
			}
			wantCode(t, l.place(t.Context(), request("k-1", goodCard)).err, codes.Unavailable, text+"orders->"+test.op+": circuit_breaker open")
			l.wantStates(t, map[state]int{test.atOnce: 1})
			l.settle(t, w)
			l.wantSound(t)
			l.wantStates(t, map[state]int{cancelled: 1})
			if w.calls["refund"] != test.refunds || w.calls["release"] != test.release {
				t.Errorf("calls %v, want %d refunds and %d releases", w.calls, test.refunds, test.release)
			}
		})
	}
}

// TestUnsentCompensation has the undoing after an unsent charge fail too: it is left to recovery.
func TestUnsentCompensation(t *testing.T) {
	w := newWorld()
	charge, release := failing("charge", neverSent, 1), failing("release", neverSent, 2)
	w.fault = func(op, order string) fault {
		if op == "charge" {
			return charge(op, order)
		}
		return release(op, order)
	}
	l := newLife(t, w)
	wantCode(t, l.place(t.Context(), request("k-1", goodCard)).err, codes.Unavailable, "payments was not asked")
	l.wantStates(t, map[state]int{compensating: 1})
	l.settle(t, w)
	l.wantSound(t)
	if w.calls["refund"] != 0 {
		t.Errorf("calls %v", w.calls)
	}
}

func TestIdempotencyKey(t *testing.T) {
	w := newWorld()
	l := newLife(t, w)
	first := l.place(t.Context(), request("k-1", goodCard))
	if first.err != nil {
		t.Fatal(first.err)
	}
	if again := l.place(t.Context(), request("k-1", goodCard)); again.err != nil || again.order.GetId() != first.order.GetId() {
		t.Errorf("got %v, %v", again.order, again.err)
	}
	others := map[string]func(*ordersv1.PlaceOrderRequest){
		"card":     func(r *ordersv1.PlaceOrderRequest) { r.Card = badCard },
		"total":    func(r *ordersv1.PlaceOrderRequest) { r.TotalCents++ },
		"quantity": func(r *ordersv1.PlaceOrderRequest) { r.Lines[0].Quantity++ },
		"product":  func(r *ordersv1.PlaceOrderRequest) { r.Lines[0].ProductId = "p-2" },
		"lines":    func(r *ordersv1.PlaceOrderRequest) { r.Lines = append(r.Lines, r.Lines[0]) },
	}
	for name, change := range others {
		t.Run("other "+name, func(t *testing.T) {
			req := request("k-1", goodCard)
			change(req)
			wantCode(t, l.place(t.Context(), req).err, codes.InvalidArgument, "used for another order, "+first.order.GetId())
		})
	}
	elsewhere := request("k-1", goodCard)
	elsewhere.AccountId = "a-2"
	if other := l.place(t.Context(), elsewhere); other.err != nil || other.order.GetId() == first.order.GetId() {
		t.Errorf("another account's key: got %v, %v", other.order, other.err)
	}
	if w.calls["charge"] != 2 {
		t.Errorf("%d charges, want 2", w.calls["charge"])
	}
}

// TestConcurrentDuplicates places an order many times at once while its charge hangs: one saga, one answer.
func TestConcurrentDuplicates(t *testing.T) {
	w := newWorld()
	charging, free := make(chan struct{}), make(chan struct{})
	w.hold = func(op, _ string) {
		if op == "charge" {
			close(charging) // twice would panic
			<-free
		}
	}
	l := newLife(t, w)
	var wg sync.WaitGroup
	results := make([]placed, 20)
	for i := range results {
		wg.Go(func() { results[i] = l.place(t.Context(), request("k-1", goodCard)) })
	}
	<-charging
	impatient, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	wantCode(t, l.place(impatient, request("k-1", goodCard)).err, codes.DeadlineExceeded, "")
	if found, err := l.recovery.find(t.Context(), 10); err != nil || len(found) > 0 {
		t.Errorf("recovery wants a saga that is led: %v, %v", found, err)
	}
	close(free)
	wg.Wait()
	for _, r := range results {
		if r.err != nil || r.order.GetId() != results[0].order.GetId() || r.order.GetState() != "confirmed" {
			t.Errorf("got %v, %v", r.order, r.err)
		}
	}
	l.publish(t)
	l.wantSound(t)
	l.wantStates(t, map[state]int{confirmed: 1})
}

// TestCallerLeaves ends the request's context in the middle of a step: the order is undone in the end.
func TestCallerLeaves(t *testing.T) {
	for _, op := range []string{"reserve", "charge"} {
		t.Run(op, func(t *testing.T) {
			w := newWorld()
			ctx, leave := context.WithCancel(t.Context())
			w.hold = func(at, _ string) {
				if at == op {
					leave()
				}
			}
			l := newLife(t, w)
			wantCode(t, l.place(ctx, request("k-1", goodCard)).err, codes.Unavailable, "did not answer")
			w.hold = nil
			l.settle(t, w)
			l.wantStates(t, map[state]int{cancelled: 1})
			l.wantSound(t)
		})
	}
}

// TestLostSaga takes a saga away from a request that is too slow, as another instance does when the lease
// of the first has run out. The slow one must notice, change nothing, and answer as things are.
func TestLostSaga(t *testing.T) {
	for _, op := range []string{"reserve", "charge"} {
		t.Run(op, func(t *testing.T) {
			w := newWorld()
			path := t.TempDir() + "/orders.db"
			slow, other := begin(t, w, path, nil), begin(t, w, path, nil)
			other.keeper.instance = "orders-2"
			waiting, free := make(chan struct{}), make(chan struct{})
			var once sync.Once
			w.hold = func(at, _ string) {
				if at == op {
					once.Do(func() { close(waiting); <-free })
				}
			}
			result := make(chan placed, 1)
			go func() { result <- slow.place(t.Context(), request("k-1", goodCard)) }()
			<-waiting
			if err := slow.keeper.beat(t.Context()); err != nil {
				t.Fatal(err)
			}
			if found, _ := other.recovery.find(t.Context(), 10); len(found) > 0 {
				t.Error("a saga was taken from a driver that lives")
			}
			if err := other.keeper.ledger.announce(t.Context(), slow.sagas.driver, "orders-1", time.Now().Add(-time.Second)); err != nil {
				t.Fatal(err)
			}
			other.settle(t, w)
			close(free)
			wantCode(t, (<-result).err, codes.Aborted, "interrupted while")
			other.wantStates(t, map[state]int{cancelled: 1})
			other.wantSound(t)
		})
	}
}

// TestOwnLease lets a process find its own lease run out, as after a pause: it must not take the
// sagas of its own requests.
func TestOwnLease(t *testing.T) {
	w := newWorld()
	l := newLife(t, w)
	charging, free := make(chan struct{}), make(chan struct{})
	w.hold = func(op, _ string) {
		if op == "charge" {
			close(charging)
			<-free
		}
	}
	result := make(chan placed, 1)
	go func() { result <- l.place(t.Context(), request("k-1", goodCard)) }()
	<-charging
	if err := l.sagas.ledger.announce(t.Context(), l.sagas.driver, "orders-1", time.Now().Add(-time.Second)); err != nil {
		t.Fatal(err)
	}
	if found, err := l.recovery.find(t.Context(), 10); err != nil || len(found) > 0 {
		t.Errorf("found %v, %v", found, err)
	}
	close(free)
	if r := <-result; r.err != nil {
		t.Error(r.err)
	}
}

func TestBadRequests(t *testing.T) {
	tests := []struct {
		name   string
		change func(*ordersv1.PlaceOrderRequest)
		text   string
	}{
		{"no key", func(r *ordersv1.PlaceOrderRequest) { r.IdempotencyKey = "" }, "idempotency key must have 1 to 128 bytes, not 0"},
		{"long key", func(r *ordersv1.PlaceOrderRequest) { r.IdempotencyKey = string(make([]byte, 129)) }, "not 129"},
		{"no account", func(r *ordersv1.PlaceOrderRequest) { r.AccountId = "" }, "an account id is needed"},
		{"no total", func(r *ordersv1.PlaceOrderRequest) { r.TotalCents = 0 }, "total must be above 0 cents, not 0"},
		{"negative total", func(r *ordersv1.PlaceOrderRequest) { r.TotalCents = -5 }, "not -5"},
		{"no lines", func(r *ordersv1.PlaceOrderRequest) { r.Lines = nil }, "an order has 1 to 100 lines, not 0"},
		{"too many lines", func(r *ordersv1.PlaceOrderRequest) { r.Lines = make([]*inventoryv1.Line, 101) }, "not 101"},
		{"no product", func(r *ordersv1.PlaceOrderRequest) { r.Lines[0].ProductId = "" }, "line 1 names no product"},
		{"no quantity", func(r *ordersv1.PlaceOrderRequest) { r.Lines[0].Quantity = 0 }, "line 1: quantity must be 1 to 10000, not 0"},
		{"too much", func(r *ordersv1.PlaceOrderRequest) { r.Lines[0].Quantity = 10_001 }, "not 10001"},
	}
	l := newLife(t, newWorld())
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			req := request("k-1", goodCard)
			test.change(req)
			wantCode(t, l.place(t.Context(), req).err, codes.InvalidArgument, test.text)
		})
	}
	l.wantStates(t, map[state]int{})
}

func TestReading(t *testing.T) {
	l := newLife(t, newWorld())
	var last string
	for i := range 5 {
		got := l.place(t.Context(), request(fmt.Sprint("k-", i), goodCard))
		if got.err != nil {
			t.Fatal(got.err)
		}
		last = got.order.GetId()
	}
	got, err := l.GetOrder(t.Context(), &ordersv1.GetOrderRequest{Id: last, AccountId: "a-1"})
	if err != nil || got.GetId() != last || got.GetCreatedUnixMs() == 0 {
		t.Errorf("got %v, %v", got, err)
	}
	_, err = l.GetOrder(t.Context(), &ordersv1.GetOrderRequest{Id: last, AccountId: "a-2"})
	wantCode(t, err, codes.NotFound, "unknown order")
	_, err = l.GetOrder(t.Context(), &ordersv1.GetOrderRequest{Id: "o-none", AccountId: "a-1"})
	wantCode(t, err, codes.NotFound, `unknown order "o-none"`)
	for limit, want := range map[int32]int{0: 5, -1: 5, 2: 2, 1000: 5} {
		list, err := l.ListOrders(t.Context(), &ordersv1.ListOrdersRequest{AccountId: "a-1", Limit: limit})
		if err != nil || len(list.GetOrders()) != want {
			t.Errorf("limit %d: %d orders, %v", limit, len(list.GetOrders()), err)
		}
	}
	list, err := l.ListOrders(t.Context(), &ordersv1.ListOrdersRequest{AccountId: "a-2"})
	if err != nil || len(list.GetOrders()) != 0 {
		t.Errorf("another account has %v, %v", list, err)
	}
}

// TestStoreFails takes the store away at each point: the customer is told that it did not work, and what was begun
// is undone in the next life.
func TestStoreFails(t *testing.T) {
	for _, p := range []point{atReserveAnswered, atReserved, atChargeAnswered, atCharged} {
		t.Run(string(p), func(t *testing.T) {
			w := newWorld()
			path := t.TempDir() + "/orders.db"
			var l *life
			l = begin(t, w, path, probeFunc(func(at point) {
				if at == p {
					l.db.Close()
				}
			}))
			got := l.place(t.Context(), request("k-1", goodCard))
			if status.Code(got.err) != codes.Unavailable {
				t.Errorf("got %v", got.err)
			}
			next := begin(t, w, path, nil)
			next.settle(t, w)
			next.wantSound(t)
		})
	}
	t.Run("from the start", func(t *testing.T) {
		l := newLife(t, newWorld())
		l.db.Close()
		wantCode(t, l.place(t.Context(), request("k-1", goodCard)).err, codes.Internal, "writing the order down")
		_, err := l.ListOrders(t.Context(), &ordersv1.ListOrdersRequest{AccountId: "a-1"})
		wantCode(t, err, codes.Internal, "orders")
	})
}

type probeFunc func(point)

func (f probeFunc) reached(p point, _ string) { f(p) }
