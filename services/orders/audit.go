package orders

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"sort"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/faultline-lab/faultline/services/events"
	"github.com/faultline-lab/faultline/services/kit/outbox"
	inventoryv1 "github.com/faultline-lab/faultline/services/proto/shop/inventory/v1"
	paymentsv1 "github.com/faultline-lab/faultline/services/proto/shop/payments/v1"
)

// Invariants that an audit checks.
const (
	stockConserved = "stock-conserved" // initial = available + reserved + shipped for each product, as its reservations say
	chargedOnce    = "charged-once"    // an order's money is captured at most once, and given back at most as often
	keyOnce        = "key-once"        // an idempotency key has one order
	orderLost      = "order-lost"      // money, stock and events belong to an order that exists
	sagaWhole      = "saga-whole"      // an ended order is paid, reserved and announced, or nothing of it is left
	eventOnce      = "event-once"      // a confirmed order has one event, and no other order has any
	eventsInOrder  = "events-in-order" // an order's events were published in their order
	effectLost     = "effect-lost"     // what was announced is done, not given up
	booksAgree     = "books-agree"     // payments and the bank know of the same money
)

// violation is one broken invariant.
type violation struct {
	Invariant string   `json:"invariant"`
	Detail    string   `json:"detail"`
	Keys      []string `json:"keys"`
}

// report is the answer to an audit.
type report struct {
	Violations []violation    `json:"violations"`
	Checked    map[string]int `json:"checked"`
	// Settled says that nothing is under way any more, so that what is missing now stays missing.
	Settled bool `json:"settled"`
	// Waiting counts what is under way.
	Waiting map[string]int `json:"waiting"`
}

// facts are what an audit judges. They were read one after the other while the shop goes on, in the order of the
// fields, and that is enough: what was final in before stays as it is, so its effects must be seen in
// what was read later; and whatever has effects was written down before, so it must be seen in after.
type facts struct {
	before  []*order
	givenUp map[string]bool // orders whose event shipping could not handle
	stock   *inventoryv1.AuditResponse
	charges []*paymentsv1.Charge
	events  []outbox.Row
	after   []*order
}

// stockAuditor and chargeAuditor give the other services' side of the facts.
type stockAuditor interface {
	Audit(context.Context, *inventoryv1.AuditRequest, ...grpc.CallOption) (*inventoryv1.AuditResponse, error)
}

type chargeAuditor interface {
	Audit(context.Context, *paymentsv1.AuditRequest, ...grpc.CallOption) (*paymentsv1.AuditResponse, error)
}

// auditor answers GET /audit.
type auditor struct {
	ledger *ledger
	dead   *deadLetters
	stock  stockAuditor
	money  chargeAuditor
	log    *slog.Logger
	mu     sync.Mutex // one audit at a time: each reads everything
}

const (
	auditWithin = 30 * time.Second
	maxAudit    = 256 << 20 // bytes of another service's audit
)

func (a *auditor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	ctx, cancel := context.WithTimeout(r.Context(), auditWithin)
	defer cancel()
	f, err := a.gather(ctx)
	if err != nil {
		a.log.WarnContext(ctx, "audit failed", "error", err.Error())
		writeJSON(w, http.StatusServiceUnavailable, map[string]string{"error": err.Error()})
		return
	}
	out := judge(f)
	for _, v := range out.Violations {
		a.log.ErrorContext(ctx, "invariant violated", "invariant", v.Invariant, "detail", v.Detail, "keys", v.Keys)
	}
	writeJSON(w, http.StatusOK, out)
}

func writeJSON(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(body) // a reader who has gone is no trouble of ours
}

// gather reads the facts, in the order that facts asks for.
func (a *auditor) gather(ctx context.Context) (facts, error) {
	var f facts
	var err error
	if f.before, err = a.ledger.all(ctx); err != nil {
		return facts{}, fmt.Errorf("reading orders: %w", err)
	}
	if f.givenUp, err = a.dead.all(ctx); err != nil {
		return facts{}, fmt.Errorf("reading dead letters: %w", err)
	}
	if f.stock, err = a.stock.Audit(ctx, &inventoryv1.AuditRequest{}, grpc.MaxCallRecvMsgSize(maxAudit)); err != nil {
		return facts{}, fmt.Errorf("asking inventory: %w", err)
	}
	charges, err := a.money.Audit(ctx, &paymentsv1.AuditRequest{}, grpc.MaxCallRecvMsgSize(maxAudit))
	if err != nil {
		return facts{}, fmt.Errorf("asking payments: %w", err)
	}
	f.charges = charges.GetCharges()
	if f.events, err = a.ledger.outbox.Rows(ctx); err != nil {
		return facts{}, err
	}
	if f.after, err = a.ledger.all(ctx); err != nil {
		return facts{}, fmt.Errorf("reading orders again: %w", err)
	}
	return f, nil
}

// judge compares the facts.
func judge(f facts) report {
	j := newJudgement(f)
	j.stock()
	j.charges()
	j.reservations()
	j.events()
	j.keys()
	for _, o := range f.before {
		switch o.state {
		case confirmed:
			j.confirmed(o)
		case cancelled:
			j.cancelled(o)
		}
	}
	sort.SliceStable(j.out.Violations, func(i, k int) bool {
		return j.out.Violations[i].Invariant < j.out.Violations[k].Invariant
	})
	j.settle()
	return j.out
}

// judgement is an audit under way: the facts, by order id.
type judgement struct {
	facts
	known       map[string]*order
	chargeOf    map[string]*paymentsv1.Charge
	reservedFor map[string]string // state of the reservation
	eventsOf    map[string][]outbox.Row
	out         report
}

func newJudgement(f facts) *judgement {
	j := &judgement{
		facts: f, known: make(map[string]*order, len(f.after)), chargeOf: make(map[string]*paymentsv1.Charge, len(f.charges)),
		reservedFor: make(map[string]string), eventsOf: make(map[string][]outbox.Row),
		out: report{Violations: []violation{}},
	}
	for _, o := range f.after {
		j.known[o.id] = o
	}
	for _, c := range f.charges {
		j.chargeOf[c.GetOrderId()] = c
	}
	for _, r := range f.stock.GetReservations() {
		j.reservedFor[r.GetOrderId()] = r.GetState()
	}
	for _, e := range f.events {
		j.eventsOf[e.Aggregate] = append(j.eventsOf[e.Aggregate], e)
	}
	j.out.Checked = map[string]int{
		"orders": len(f.before), "charges": len(f.charges), "reservations": len(f.stock.GetReservations()), "events": len(f.events),
	}
	return j
}

func (j *judgement) violated(invariant, key, format string, args ...any) {
	j.out.Violations = append(j.out.Violations, violation{Invariant: invariant, Detail: fmt.Sprintf(format, args...), Keys: []string{key}})
}

func (j *judgement) stock() {
	for _, p := range j.facts.stock.GetUnbalanced() {
		j.violated(stockConserved, p.GetProductId(), "initial %d, but available %d + reserved %d + shipped %d, or its reservations say otherwise",
			p.GetInitial(), p.GetAvailable(), p.GetReserved(), p.GetShipped())
	}
}

func (j *judgement) charges() {
	for _, c := range j.facts.charges {
		id := c.GetOrderId()
		if c.GetBankCaptures() > 1 {
			j.violated(chargedOnce, id, "the bank captured it %d times", c.GetBankCaptures())
		}
		if c.GetBankRefunds() > c.GetBankCaptures() || c.GetBankBalanceCents() < 0 {
			j.violated(chargedOnce, id, "%d captures but %d refunds, balance %d cents", c.GetBankCaptures(), c.GetBankRefunds(), c.GetBankBalanceCents())
		}
		if c.GetState() == "" {
			j.violated(booksAgree, id, "the bank booked %d captures that payments does not know", c.GetBankCaptures())
		}
		holdsMoney := c.GetBankCaptures() > 0 || c.GetState() == "captured" || c.GetState() == "pending"
		if j.known[id] == nil && holdsMoney {
			j.violated(orderLost, id, "there is a charge (%s, %d captures) but no order", c.GetState(), c.GetBankCaptures())
		}
	}
}

func (j *judgement) reservations() {
	for id, state := range j.reservedFor {
		o := j.known[id]
		if o == nil && state != "released" {
			j.violated(orderLost, id, "stock is %s but there is no order", state)
		}
		if o != nil && state == "shipped" && o.state != confirmed {
			j.violated(eventOnce, id, "shipped, but the order is %s", o.state)
		}
	}
}

func (j *judgement) events() {
	for id, rows := range j.eventsOf {
		if o := j.known[id]; o == nil {
			j.violated(orderLost, id, "there are %d events but no order", len(rows))
		} else if o.state != confirmed {
			j.violated(eventOnce, id, "announced, but the order is %s", o.state)
		}
		for i := 1; i < len(rows); i++ {
			earlier, later := rows[i-1].Published, rows[i].Published
			if !later.IsZero() && (earlier.IsZero() || later.Before(earlier)) {
				j.violated(eventsInOrder, id, "event %d was published before event %d", rows[i].Seq, rows[i-1].Seq)
			}
		}
	}
}

func (j *judgement) keys() {
	seen := make(map[[2]string]string, len(j.before))
	for _, o := range j.before {
		key := [2]string{o.account, o.key}
		if first, ok := seen[key]; ok {
			j.out.Violations = append(j.out.Violations, violation{Invariant: keyOnce, Keys: []string{first, o.id},
				Detail: fmt.Sprintf("account %s has two orders under the key %s", o.account, o.key)})
		}
		seen[key] = o.id
	}
}

// confirmed checks that an order which its customer may rely on is paid, reserved and announced.
func (j *judgement) confirmed(o *order) {
	c := j.chargeOf[o.id]
	switch {
	case c == nil:
		j.violated(sagaWhole, o.id, "confirmed, but payments knows of no charge")
	case c.GetState() != "captured":
		j.violated(sagaWhole, o.id, "confirmed, but the charge is %s", c.GetState())
	case c.GetBankBalanceCents() != o.totalCents && c.GetBankCaptures() <= 1: // more captures are reported as such
		j.violated(booksAgree, o.id, "confirmed over %d cents, but the bank holds %d", o.totalCents, c.GetBankBalanceCents())
	}
	if r := j.reservedFor[o.id]; r != "reserved" && r != "shipped" {
		j.violated(sagaWhole, o.id, "confirmed, but its stock is %s", orElse(r, "not reserved"))
	}
	if j.givenUp[o.id] && j.reservedFor[o.id] != "shipped" {
		j.violated(effectLost, o.id, "confirmed, but shipping gave it up: its event is a dead letter")
	}
	if n := j.announced(o.id); n != 1 {
		j.violated(eventOnce, o.id, "confirmed, but it has %d events %s", n, events.OrdersConfirmed)
	}
}

// cancelled checks that nothing of an order is left.
func (j *judgement) cancelled(o *order) {
	if c := j.chargeOf[o.id]; c != nil {
		if s := c.GetState(); s != "declined" && s != "refunded" {
			j.violated(sagaWhole, o.id, "cancelled, but the charge is %s", orElse(s, "unknown to payments"))
		} else if c.GetBankBalanceCents() != 0 {
			j.violated(sagaWhole, o.id, "cancelled, but the bank holds %d cents", c.GetBankBalanceCents())
		}
	}
	if r := j.reservedFor[o.id]; r == "reserved" { // shipped is reported with the reservations
		j.violated(sagaWhole, o.id, "cancelled, but its stock is still reserved")
	}
}

func (j *judgement) announced(id string) int {
	n := 0
	for _, e := range j.eventsOf[id] {
		if e.Subject == events.OrdersConfirmed {
			n++
		}
	}
	return n
}

// settle counts what is under way.
func (j *judgement) settle() {
	sagas, unpublished, unshipped := 0, 0, 0
	for _, o := range j.after {
		if !o.state.final() {
			sagas++
		}
		if o.state == confirmed && j.reservedFor[o.id] != "shipped" && !j.givenUp[o.id] {
			unshipped++
		}
	}
	for _, e := range j.facts.events {
		if e.Published.IsZero() {
			unpublished++
		}
	}
	j.out.Waiting = map[string]int{"sagas": sagas, "outbox": unpublished, "unshipped": unshipped}
	j.out.Settled = sagas+unpublished+unshipped == 0 && len(j.before) == len(j.after)
}

func orElse(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}
