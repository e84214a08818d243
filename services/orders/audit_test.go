package orders

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/faultline-lab/faultline/services/events"
	"github.com/faultline-lab/faultline/services/kit/outbox"
	inventoryv1 "github.com/faultline-lab/faultline/services/proto/shop/inventory/v1"
	paymentsv1 "github.com/faultline-lab/faultline/services/proto/shop/payments/v1"
)

// soundFacts are of a shop in which all is well: a confirmed order, one cancelled before and one after its charge,
// one declined and one that never got anywhere.
func soundFacts() facts {
	published := time.Unix(1000, 0)
	orders := []*order{
		{id: "confirmed", account: "a", key: "1", totalCents: 100, state: confirmed},
		{id: "refunded", account: "a", key: "2", totalCents: 100, state: cancelled},
		{id: "declined", account: "a", key: "3", totalCents: 100, state: cancelled},
		{id: "nothing", account: "b", key: "1", totalCents: 100, state: cancelled},
	}
	return facts{
		before: orders, after: orders,
		stock: &inventoryv1.AuditResponse{Reservations: []*inventoryv1.Reservation{
			{OrderId: "confirmed", State: "shipped"}, {OrderId: "refunded", State: "released"}, {OrderId: "declined", State: "released"},
		}},
		charges: []*paymentsv1.Charge{
			{OrderId: "confirmed", AmountCents: 100, State: "captured", BankCaptures: 1, BankBalanceCents: 100},
			{OrderId: "refunded", AmountCents: 100, State: "refunded", BankCaptures: 1, BankRefunds: 1},
			{OrderId: "declined", AmountCents: 100, State: "declined"},
		},
		broker: &messages{shipped: 3, asked: published.Add(time.Second), at: map[string]uint64{"orders/confirmed/1": 3}, dead: map[string]bool{}},
		events: []outbox.Row{{ID: "orders/confirmed/1", Aggregate: "confirmed", Subject: events.OrdersConfirmed, Seq: 1, Published: published}},
	}
}

// TestJudge breaks each invariant: a checker that was never seen to fail proves nothing.
func TestJudge(t *testing.T) {
	charge := func(f *facts, i int) *paymentsv1.Charge { return f.charges[i] }
	set := func(f *facts, id string, st state) {
		for i, o := range f.before {
			if o.id == id {
				changed := *o
				changed.state = st
				f.before[i] = &changed
				f.after = f.before
			}
		}
	}
	tests := []struct {
		name    string
		breakIt func(f *facts)
		want    []string // "invariant key: part of the detail"
	}{
		{"sound", func(*facts) {}, nil},
		{"stock out of balance", func(f *facts) {
			f.stock.Unbalanced = []*inventoryv1.Stock{{ProductId: "p-1", Initial: 5, Available: 5, Reserved: 1}}
		}, []string{"stock-conserved p-1: initial 5, but available 5 + reserved 1"}},
		{"double charge", func(f *facts) { charge(f, 0).BankCaptures, charge(f, 0).BankBalanceCents = 2, 200 },
			[]string{"charged-once confirmed: captured it 2 times"}},
		{"double refund", func(f *facts) { charge(f, 1).BankRefunds, charge(f, 1).BankBalanceCents = 2, -100 },
			[]string{"charged-once refunded: 1 captures but 2 refunds", "saga-whole refunded: the bank holds -100"}},
		{"compensation without its action", func(f *facts) { charge(f, 2).BankRefunds, charge(f, 2).BankBalanceCents = 1, -100 },
			[]string{"charged-once declined: 0 captures but 1 refunds", "saga-whole declined: the bank holds -100"}},
		{"double compensation hidden by a double charge", func(f *facts) { charge(f, 1).BankCaptures, charge(f, 1).BankRefunds = 2, 2 },
			[]string{"charged-once refunded: captured it 2 times"}},
		{"one key, two orders", func(f *facts) {
			two := *f.before[0]
			two.id, two.state = "twin", cancelled
			f.before = append(f.before, &two)
			f.after = f.before
		}, []string{"key-once confirmed twin: two orders under the key 1"}},
		{"lost order", func(f *facts) { f.before = f.before[1:]; f.after = f.before },
			[]string{"order-lost confirmed: there are 1 events but no order", "order-lost confirmed: there is a charge", "order-lost confirmed: stock is shipped"}},
		{"charge without an order", func(f *facts) {
			f.charges = append(f.charges, &paymentsv1.Charge{OrderId: "ghost", State: "captured", BankCaptures: 1, BankBalanceCents: 5})
		}, []string{"order-lost ghost: there is a charge (captured, 1 captures)"}},
		{"the bank knows more", func(f *facts) {
			f.charges = append(f.charges, &paymentsv1.Charge{OrderId: "nothing", BankCaptures: 1, BankBalanceCents: 5})
		}, []string{"books-agree nothing: the bank booked 1 captures that payments does not know", "saga-whole nothing: the charge is unknown to payments"}},
		{"orphan reservation", func(f *facts) {
			f.stock.Reservations = append(f.stock.Reservations, &inventoryv1.Reservation{OrderId: "ghost", State: "reserved"})
		}, []string{"order-lost ghost: stock is reserved but there is no order"}},
		{"cancelled but reserved", func(f *facts) { f.stock.Reservations[1].State = "reserved" },
			[]string{"saga-whole refunded: stock is still reserved"}},
		{"cancelled but shipped", func(f *facts) { f.stock.Reservations[1].State = "shipped" },
			[]string{"event-once refunded: shipped, but the order is cancelled"}},
		{"cancelled but charged", func(f *facts) {
			charge(f, 1).State, charge(f, 1).BankRefunds, charge(f, 1).BankBalanceCents = "captured", 0, 100
		}, []string{"saga-whole refunded: cancelled, but the charge is captured"}},
		{"refunded but not at the bank", func(f *facts) { charge(f, 1).BankRefunds, charge(f, 1).BankBalanceCents = 0, 100 },
			[]string{"saga-whole refunded: the bank holds 100 cents"}},
		{"confirmed without a charge", func(f *facts) { f.charges = f.charges[1:] },
			[]string{"saga-whole confirmed: payments knows of no charge"}},
		{"confirmed but refunded", func(f *facts) {
			charge(f, 0).State, charge(f, 0).BankRefunds, charge(f, 0).BankBalanceCents = "refunded", 1, 0
		}, []string{"saga-whole confirmed: the charge is refunded"}},
		{"confirmed over another amount", func(f *facts) { charge(f, 0).BankBalanceCents = 99 },
			[]string{"books-agree confirmed: confirmed over 100 cents, but the bank holds 99"}},
		{"captured but not at the bank", func(f *facts) { charge(f, 0).BankCaptures, charge(f, 0).BankBalanceCents = 0, 0 },
			[]string{"books-agree confirmed: the bank holds 0"}},
		{"confirmed without stock", func(f *facts) { f.stock.Reservations = f.stock.Reservations[1:] },
			[]string{"saga-whole confirmed: its stock is not reserved"}},
		{"confirmed without an event", func(f *facts) { f.events, f.broker = nil, nil },
			[]string{"event-once confirmed: it has 0 events orders.confirmed"}},
		{"confirmed with two events", func(f *facts) {
			f.events = append(f.events, outbox.Row{Aggregate: "confirmed", Subject: events.OrdersConfirmed, Seq: 2, Published: time.Unix(1001, 0)})
		}, []string{"event-once confirmed: it has 2 events"}},
		{"announced before it was committed", func(f *facts) {
			f.events = append(f.events, outbox.Row{Aggregate: "nothing", Subject: events.OrdersConfirmed, Seq: 1, Published: time.Unix(1001, 0)})
		}, []string{"event-once nothing: announced, but the order is cancelled"}},
		{"events out of order", func(f *facts) {
			f.events = append(f.events, outbox.Row{Aggregate: "confirmed", Subject: "orders.other", Seq: 2, Published: time.Unix(999, 0)})
		}, []string{"events-in-order confirmed: event 2 was published before event 1"}},
		{"a later event alone", func(f *facts) {
			f.events[0].Published = time.Time{}
			f.events = append(f.events, outbox.Row{Aggregate: "confirmed", Subject: "orders.other", Seq: 2, Published: time.Unix(999, 0)})
		}, []string{"events-in-order confirmed: event 2 was published before event 1"}},
		{"shipped before it was confirmed", func(f *facts) { set(f, "confirmed", charged) },
			[]string{"event-once confirmed: announced, but the order is charged", "event-once confirmed: shipped, but the order is charged"}},
		{"confirmed but given up", func(f *facts) {
			f.stock.Reservations[0].State = "reserved"
			f.broker = nil
			f.givenUp = map[string]bool{"confirmed": true}
		}, []string{"effect-lost confirmed: shipping gave it up"}},
		{"acknowledged but not shipped", func(f *facts) { f.stock.Reservations[0].State = "reserved" },
			[]string{"effect-lost confirmed: shipping acknowledged its event, but nothing was shipped"}},
		{"not acknowledged and not shipped", func(f *facts) {
			f.stock.Reservations[0].State = "reserved"
			f.broker.shipped = 2
		}, nil},
		{"a dead letter that nobody noted yet", func(f *facts) {
			f.stock.Reservations[0].State = "reserved"
			f.broker.dead["confirmed"] = true
		}, nil},
		{"lost by the broker", func(f *facts) { f.broker.at = map[string]uint64{} },
			[]string{"effect-lost confirmed: the broker does not have it any more"}},
		{"published after the broker was asked", func(f *facts) {
			f.broker.at = map[string]uint64{}
			f.events[0].Published = f.broker.asked.Add(time.Second)
		}, nil},
		{"a message without a row", func(f *facts) { f.broker.at["orders/nothing/1"] = 4 },
			[]string{"event-once nothing: announced by the message orders/nothing/1, of which the outbox knows nothing"}},
		{"given up, then shipped by hand", func(f *facts) { f.givenUp = map[string]bool{"confirmed": true} }, nil},
		// What is under way is no violation.
		{"an order under way", func(f *facts) {
			f.stock.Reservations[0].State = "reserved"
			f.events, f.broker = nil, nil
			set(f, "confirmed", charged)
		}, nil},
		{"begun during the audit", func(f *facts) {
			f.after = append(f.after[:len(f.after):len(f.after)], &order{id: "new", state: reserved})
			f.stock.Reservations = append(f.stock.Reservations, &inventoryv1.Reservation{OrderId: "new", State: "reserved"})
			f.charges = append(f.charges, &paymentsv1.Charge{OrderId: "new", State: "pending", BankCaptures: 1, BankBalanceCents: 7})
		}, nil},
		{"not shipped yet", func(f *facts) {
			f.stock.Reservations[0].State = "reserved"
			f.broker.shipped = 0
		}, nil},
		{"tombstones without orders", func(f *facts) {
			f.stock.Reservations = append(f.stock.Reservations, &inventoryv1.Reservation{OrderId: "ghost", State: "released"})
			f.charges = append(f.charges, &paymentsv1.Charge{OrderId: "ghost", State: "refunded"})
		}, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := soundFacts()
			test.breakIt(&f)
			wantViolations(t, judge(f).Violations, test.want)
		})
	}
}

func wantViolations(t *testing.T, got []violation, want []string) {
	t.Helper()
	var texts []string
	for _, v := range got {
		texts = append(texts, fmt.Sprintf("%s %s: %s", v.Invariant, strings.Join(v.Keys, " "), v.Detail))
	}
	if len(texts) != len(want) {
		t.Fatalf("got %q, want %q", texts, want)
	}
	for _, w := range want {
		prefix, part, _ := strings.Cut(w, ": ")
		found := false
		for _, text := range texts {
			found = found || strings.HasPrefix(text, prefix+": ") && strings.Contains(text, part)
		}
		if !found {
			t.Errorf("got %q, want %q", texts, w)
		}
	}
}

func TestSettled(t *testing.T) {
	tests := []struct {
		name   string
		change func(f *facts)
		want   map[string]int
	}{
		{"quiet", func(*facts) {}, map[string]int{"sagas": 0, "outbox": 0, "unshipped": 0}},
		{"a saga is open", func(f *facts) { f.after = append(f.after[:4:4], &order{id: "new", state: compensating}) }, map[string]int{"sagas": 1, "outbox": 0, "unshipped": 0}},
		{"an order came and went", func(f *facts) {
			f.after = append(f.after[:4:4], &order{id: "new", state: cancelled})
		}, map[string]int{"sagas": 0, "outbox": 0, "unshipped": 0}},
		{"an event is not published", func(f *facts) { f.events[0].Published = time.Time{} }, map[string]int{"sagas": 0, "outbox": 1, "unshipped": 0}},
		{"an order is not shipped", func(f *facts) { f.stock.Reservations[0].State, f.broker = "reserved", nil }, map[string]int{"sagas": 0, "outbox": 0, "unshipped": 1}},
	}
	for i, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := soundFacts()
			test.change(&f)
			got := judge(f)
			if fmt.Sprint(got.Waiting) != fmt.Sprint(test.want) || got.Settled != (i == 0) {
				t.Errorf("waiting for %v, settled %v; want %v", got.Waiting, got.Settled, test.want)
			}
		})
	}
}

// TestSeededBugs breaks the running shop, not its facts, and audits it.
func TestSeededBugs(t *testing.T) {
	tests := []struct {
		name string
		bug  func(t *testing.T, w *world, l *life)
		want string // an invariant that must be among the broken ones
	}{
		{"payments without idempotency", func(t *testing.T, w *world, l *life) {
			w.chargeTwice = true
			all, _ := l.sagas.ledger.all(t.Context())
			if _, err := w.Charge(t.Context(), &paymentsv1.ChargeRequest{OrderId: all[0].id, AmountCents: 100}); err != nil {
				t.Fatal(err)
			}
		}, chargedOnce},
		{"a store that forgets", func(t *testing.T, _ *world, l *life) {
			mustExec(t, l, `DELETE FROM orders`)
		}, orderLost},
		{"an event published without its commit", func(t *testing.T, _ *world, l *life) {
			mustExec(t, l, `UPDATE orders SET state = 'cancelled'`)
		}, eventOnce},
		{"a commit without its event", func(t *testing.T, _ *world, l *life) {
			mustExec(t, l, `DELETE FROM orders_outbox`)
		}, eventOnce},
		{"compensation that forgets the money", func(t *testing.T, w *world, l *life) {
			w.fault = once("charge", answerLost)
			l.place(t.Context(), request("k-2", goodCard))
			mustExec(t, l, `UPDATE orders SET undo_charge = 0 WHERE state = 'compensating'`)
			l.settle(t, w)
		}, sagaWhole},
		{"compensation that forgets the stock", func(t *testing.T, w *world, l *life) {
			w.fault = once("charge", answerLost)
			l.place(t.Context(), request("k-2", goodCard))
			mustExec(t, l, `UPDATE orders SET undo_reserve = 0 WHERE state = 'compensating'`)
			l.settle(t, w)
		}, sagaWhole},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld()
			l := newLife(t, w)
			if got := l.place(t.Context(), request("k-1", goodCard)); got.err != nil {
				t.Fatal(got.err)
			}
			l.publish(t)
			l.wantSound(t)
			test.bug(t, w, l)
			f, err := l.audit.gather(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			out := judge(f)
			for _, v := range out.Violations {
				if v.Invariant == test.want {
					return
				}
			}
			t.Errorf("got %v, want %s", out.Violations, test.want)
		})
	}
}

func mustExec(t *testing.T, l *life, sql string) {
	t.Helper()
	if _, err := l.db.ExecContext(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
}

// theOrder is the only order there is.
func (l *life) theOrder(t *testing.T) *order {
	t.Helper()
	all, err := l.sagas.ledger.all(t.Context())
	if err != nil || len(all) != 1 {
		t.Fatalf("%d orders, %v", len(all), err)
	}
	return all[0]
}

type failingBooks struct{}

func (failingBooks) Audit(context.Context, *inventoryv1.AuditRequest, ...grpc.CallOption) (*inventoryv1.AuditResponse, error) {
	return nil, errors.New("no answer")
}

func TestAuditOverHTTP(t *testing.T) {
	w := newWorld()
	l := newLife(t, w)
	l.place(t.Context(), request("k-1", goodCard))
	ask := func() (int, string) {
		rec := httptest.NewRecorder()
		l.audit.ServeHTTP(rec, httptest.NewRequest("GET", "/audit", nil))
		return rec.Code, strings.TrimSpace(rec.Body.String())
	}
	code, body := ask()
	want := `{"violations":[],"checked":{"charges":1,"events":1,"orders":1,"reservations":1},"settled":false,"waiting":{"outbox":1,"sagas":0,"unshipped":1},"operations":[{"id":"` + l.theOrder(t).id + `","key":"k-1","trace":"","done":true}]}`
	if code != 200 || body != want {
		t.Errorf("got %d %s, want %s", code, body, want)
	}
	l.publish(t)
	mustExec(t, l, `UPDATE orders SET total_cents = 99`)
	code, body = ask()
	var got report
	if err := json.Unmarshal([]byte(body), &got); err != nil || code != 200 || !got.Settled {
		t.Errorf("got %d %s, %v", code, body, err)
	}
	wantViolations(t, got.Violations, []string{"books-agree " + got.Violations[0].Keys[0] + ": 99 cents, but the bank holds 100"})
	l.audit.stock = failingBooks{}
	if code, body = ask(); code != 503 || body != `{"error":"asking inventory: no answer"}` {
		t.Errorf("got %d %s", code, body)
	}
}
