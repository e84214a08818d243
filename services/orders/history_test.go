package orders

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/faultline-lab/faultline/services/events"
	inventoryv1 "github.com/faultline-lab/faultline/services/proto/shop/inventory/v1"
)

// asked is an order of one product and what was asked of inventory for it, at seconds of a made-up clock.
type asked struct {
	id      string
	state   state
	reserve string
	at      [2]int // when the Reserve was asked and answered
	release [2]int // the same of the Release
	shipped bool
	several bool // other products as well
}

// stockFacts are those of one product that began with a stock of 2.
func stockFacts(available, reserved, shipped int64, all ...asked) facts {
	at := func(s int) int64 { return time.Unix(int64(s), 0).UnixNano() }
	f := facts{asking: time.Unix(100, 0), asked: time.Unix(101, 0), calls: map[string]calls{}, stock: &inventoryv1.AuditResponse{
		Touched: []*inventoryv1.Stock{{ProductId: "p-1", Initial: 2, Available: available, Reserved: reserved, Shipped: shipped}},
	}}
	for _, a := range all {
		o := &order{id: a.id, account: "a", key: a.id, state: a.state, created: time.Unix(int64(a.at[0]), 0), lines: []events.Line{{ProductID: "p-1", Quantity: 1}}}
		if a.several {
			o.lines = append(o.lines, events.Line{ProductID: "p-2", Quantity: 1})
		}
		f.after = append(f.after, o)
		if a.reserve != "" {
			f.calls[a.id] = calls{reserve: a.reserve, reserveAsked: at(a.at[0]), reserveAnswered: at(a.at[1]), releaseAsked: at(a.release[0]), releaseAnswered: at(a.release[1])}
		}
		reservation := "reserved"
		if a.state == cancelled {
			reservation = "released"
		}
		if a.shipped {
			reservation = "shipped"
		}
		f.stock.Reservations = append(f.stock.Reservations, &inventoryv1.Reservation{OrderId: a.id, State: reservation})
	}
	return f
}

func TestLinearizable(t *testing.T) {
	ok := func(id string, from, to int) asked {
		return asked{id: id, state: confirmed, reserve: outcomeOK, at: [2]int{from, to}, shipped: true}
	}
	undone := func(id, outcome string, from, to, release, released int) asked {
		return asked{id: id, state: cancelled, reserve: outcome, at: [2]int{from, to}, release: [2]int{release, released}}
	}
	short := func(id string, from, to int) asked { return undone(id, outcomeShort, from, to, to, to+1) }
	for _, test := range []struct {
		name  string
		facts facts
		want  string // keys of the violation; empty: none
	}{
		{"two are sold", stockFacts(0, 0, 2, ok("a", 1, 2), ok("b", 3, 4)), ""},
		{"the third is refused", stockFacts(0, 0, 2, ok("a", 1, 2), ok("b", 3, 4), short("c", 5, 6)), ""},
		{"the third is refused while the second is under way", stockFacts(0, 0, 2, ok("a", 1, 2), ok("b", 3, 8), short("c", 5, 6)), ""},
		{"refused before the second came", stockFacts(0, 0, 2, ok("a", 1, 2), ok("b", 7, 8), short("c", 5, 6)), "p-1 b"},
		{"three are sold of two", stockFacts(-1, 0, 3, ok("a", 1, 2), ok("b", 3, 4), ok("c", 5, 6)), "p-1 c"},
		{"one is forgotten", stockFacts(1, 0, 1, ok("a", 1, 2), ok("b", 3, 4)), "p-1"},
		{"given back and sold again", stockFacts(0, 0, 2, ok("a", 1, 2), undone("b", outcomeOK, 3, 4, 5, 6), ok("c", 7, 8)), ""},
		{"refused after it was given back", stockFacts(1, 0, 1, ok("a", 1, 2), undone("b", outcomeOK, 3, 4, 5, 6), short("c", 7, 8)), "p-1 c"},
		{"refused while it was given back", stockFacts(1, 0, 1, ok("a", 1, 2), undone("b", outcomeOK, 3, 4, 5, 9), short("c", 7, 8)), ""},
		{"an unknown one that did not happen", stockFacts(0, 0, 2, undone("a", outcomeUnknown, 1, 2, 3, 20), ok("b", 5, 6), ok("c", 7, 8)), ""},
		{"an unknown one that did happen", stockFacts(1, 0, 1, undone("a", outcomeUnknown, 1, 2, 3, 20), ok("b", 5, 6), short("c", 7, 8)), ""},
		{"it cannot happen after its release", stockFacts(1, 0, 1, undone("a", outcomeUnknown, 1, 2, 3, 4), ok("b", 5, 6), short("c", 7, 8)), "p-1 c"},
		{"nothing is known of one, not even that it was asked", stockFacts(1, 0, 1, undone("a", "", 1, 1, 0, 0), ok("b", 5, 6), short("c", 7, 8)), ""},
		{"a shortage of something else", stockFacts(1, 0, 1, ok("a", 1, 2), asked{id: "b", state: cancelled, reserve: outcomeShort, at: [2]int{3, 4}, several: true}), ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			j := newJudgement(test.facts)
			j.linearizable()
			got := ""
			for _, v := range j.out.Violations {
				got += strings.Join(v.Keys, " ")
			}
			if got != test.want && (test.want == "" || !strings.HasPrefix(got, test.want)) {
				t.Errorf("got %q, want %q: %v", got, test.want, j.out.Violations)
			}
			if j.out.Checked["products"] != 1 {
				t.Errorf("checked %v", j.out.Checked)
			}
		})
	}
}

// TestLinearizableBounds: what is beyond the bounds is said to be, and neither right nor wrong.
func TestLinearizableBounds(t *testing.T) {
	var all []asked
	for i := range mostUnknown + 1 {
		all = append(all, asked{id: fmt.Sprint(i), state: cancelled, at: [2]int{1, 1}})
	}
	j := newJudgement(stockFacts(2, 0, 0, all...))
	j.linearizable()
	if len(j.out.Violations) != 0 || j.out.Checked["products"] != 0 || j.out.Checked["products_beyond_bounds"] != 1 {
		t.Errorf("got %v, checked %v", j.out.Violations, j.out.Checked)
	}
}

func TestReserveOutcome(t *testing.T) {
	for want, err := range map[string]error{
		outcomeOK:      nil,
		outcomeShort:   status.Error(codes.FailedPrecondition, "not enough stock of p-1: wanted 1, available 0"),
		outcomeUnknown: status.Error(codes.FailedPrecondition, "answered by a fault"),
	} {
		if got := reserveOutcome(err); got != want {
			t.Errorf("%v is %s, want %s", err, got, want)
		}
	}
	if got := reserveOutcome(context.DeadlineExceeded); got != outcomeUnknown {
		t.Errorf("a deadline is %s", got)
	}
}

// TestCallsAreNoted: what inventory was asked is there, whatever the saga came to.
func TestCallsAreNoted(t *testing.T) {
	for _, test := range []struct {
		name    string
		change  func(w *world)
		card    string
		reserve string
		release bool
	}{
		{"confirmed", func(*world) {}, goodCard, outcomeOK, false},
		{"declined", func(*world) {}, badCard, outcomeOK, true},
		{"sold out", func(w *world) { w.stock = 0 }, goodCard, outcomeShort, true},
		{"not answered", func(w *world) { w.fault = once("reserve", answerLost) }, goodCard, outcomeUnknown, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld()
			test.change(w)
			l := newLife(t, w)
			l.place(t.Context(), request("k-1", test.card))
			l.settle(t, w)
			all, err := l.sagas.ledger.calls(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			c := all[l.theOrder(t).id]
			if c.reserve != test.reserve || c.reserveAsked == 0 || c.reserveAnswered < c.reserveAsked {
				t.Errorf("got %+v, want %s", c, test.reserve)
			}
			if noted := c.releaseAsked >= c.reserveAnswered && c.releaseAnswered >= c.releaseAsked; noted != test.release {
				t.Errorf("the release is %+v, want it noted: %v", c, test.release)
			}
		})
	}
}
