package orders

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"sort"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/faultline-lab/faultline/services/events"
	"github.com/faultline-lab/faultline/services/kit/broker"
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
	linearizable   = "linearizable"    // each product's stock is as if inventory had answered one question after the other
)

// violation is one broken invariant.
type violation struct {
	Invariant string   `json:"invariant"`
	Detail    string   `json:"detail"`
	Keys      []string `json:"keys"` // the order or product that it is about
	// IdempotencyKeys and Traces are those of the orders among the keys, as far as orders knows them.
	IdempotencyKeys []string `json:"idempotency_keys,omitempty"`
	Traces          []string `json:"traces,omitempty"`
}

// operation is an order as those see it who hold what customers were told against what the shop knows.
type operation struct {
	ID    string `json:"id"`
	Key   string `json:"key"`
	Trace string `json:"trace"` // of the request that began it
	Done  bool   `json:"done"`  // confirmed; false: cancelled, or not settled
}

// report is the answer to an audit.
type report struct {
	Violations []violation    `json:"violations"`
	Checked    map[string]int `json:"checked"`
	// Settled says that nothing is under way any more, so that what is missing now stays missing.
	Settled bool `json:"settled"`
	// Waiting counts what is under way.
	Waiting map[string]int `json:"waiting"`
	// Operations are all orders.
	Operations []operation `json:"operations"`
}

// facts are what an audit judges. They were read one after the other while the shop goes on, in the order of the
// fields, and that is enough: what was final in before stays as it is, so its effects must be seen in
// what was read later; and whatever has effects was written down before, so it must be seen in after.
type facts struct {
	before  []*order
	broker  *messages       // nil where there is no broker to ask
	givenUp map[string]bool // orders whose event shipping could not handle
	asking  time.Time       // before inventory was asked
	stock   *inventoryv1.AuditResponse
	asked   time.Time // after
	charges []*paymentsv1.Charge
	events  []outbox.Row
	calls   map[string]calls // by order
	after   []*order
}

// messages are what the broker keeps.
type messages struct {
	shipped uint64            // shipping has acknowledged all announcements up to this place in the stream
	asked   time.Time         // before the stream was read
	at      map[string]uint64 // place in the stream of each announcement, by its id
	dead    map[string]bool   // orders whose announcement is among the dead letters of shipping
}

// messageStore tells what the broker keeps; the broker's client is one.
type messageStore interface {
	Stored(ctx context.Context, stream string) ([]broker.Stored, error)
	Acknowledged(ctx context.Context, stream, durable string) (uint64, error)
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
	broker messageStore // nil: none is asked
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
	if f.broker, err = a.messages(ctx); err != nil {
		return facts{}, fmt.Errorf("asking the broker: %w", err)
	}
	if f.givenUp, err = a.dead.all(ctx); err != nil {
		return facts{}, fmt.Errorf("reading dead letters: %w", err)
	}
	f.asking = time.Now()
	if f.stock, err = a.stock.Audit(ctx, &inventoryv1.AuditRequest{}, grpc.MaxCallRecvMsgSize(maxAudit)); err != nil {
		return facts{}, fmt.Errorf("asking inventory: %w", err)
	}
	f.asked = time.Now()
	charges, err := a.money.Audit(ctx, &paymentsv1.AuditRequest{}, grpc.MaxCallRecvMsgSize(maxAudit))
	if err != nil {
		return facts{}, fmt.Errorf("asking payments: %w", err)
	}
	f.charges = charges.GetCharges()
	if f.events, err = a.ledger.outbox.Rows(ctx); err != nil {
		return facts{}, err
	}
	if f.calls, err = a.ledger.calls(ctx); err != nil {
		return facts{}, fmt.Errorf("reading what inventory was asked: %w", err)
	}
	if f.after, err = a.ledger.all(ctx); err != nil {
		return facts{}, fmt.Errorf("reading orders again: %w", err)
	}
	return f, nil
}

// messages reads what the broker keeps: first how far shipping is, for what it has acknowledged by then has its effect by now.
func (a *auditor) messages(ctx context.Context) (*messages, error) {
	if a.broker == nil {
		return nil, nil
	}
	shipped, err := a.broker.Acknowledged(ctx, events.OrdersStream, shippingConsumer)
	if err != nil {
		return nil, err
	}
	m := &messages{shipped: shipped, asked: time.Now(), at: map[string]uint64{}, dead: map[string]bool{}}
	kept, err := a.broker.Stored(ctx, events.OrdersStream)
	if err != nil {
		return nil, err
	}
	for _, msg := range kept {
		if msg.Subject == events.OrdersConfirmed {
			m.at[msg.ID] = msg.Seq
		}
	}
	letters, err := a.broker.Stored(ctx, events.DeadLettersStream)
	if err != nil {
		return nil, err
	}
	for _, msg := range letters {
		if id, is := strings.CutPrefix(msg.ID, shippingConsumer+"/"); is {
			m.dead[orderOf(id)] = true
		}
	}
	return m, nil
}

// shippingConsumer is how shipping is called at the broker.
const shippingConsumer = "shipping"

// orderOf takes the order out of the id of an event: orders/o-1/1.
func orderOf(event string) string {
	if parts := strings.Split(event, "/"); len(parts) == 3 {
		return parts[1]
	}
	return ""
}

// judge compares the facts.
func judge(f facts) report {
	j := newJudgement(f)
	j.stock()
	j.charges()
	j.reservations()
	j.events()
	j.messages()
	j.keys()
	for _, o := range f.before {
		switch o.state {
		case confirmed:
			j.confirmed(o)
		case cancelled:
			j.cancelled(o)
		}
	}
	j.settle()
	if j.out.Settled {
		j.linearizable()
	}
	sort.SliceStable(j.out.Violations, func(i, k int) bool {
		return j.out.Violations[i].Invariant < j.out.Violations[k].Invariant
	})
	j.operations()
	return j.out
}

// judgement is an audit under way: the facts, by order id.
type judgement struct {
	facts
	known       map[string]*order
	chargeOf    map[string]*paymentsv1.Charge
	reservedFor map[string]string // state of the reservation
	eventsOf    map[string][]outbox.Row
	broken      map[string]bool // orders that something is wrong with already
	out         report
}

func newJudgement(f facts) *judgement {
	j := &judgement{
		facts: f, known: make(map[string]*order, len(f.after)), chargeOf: make(map[string]*paymentsv1.Charge, len(f.charges)),
		reservedFor: make(map[string]string), eventsOf: make(map[string][]outbox.Row), broken: make(map[string]bool),
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
	j.violatedBy(invariant, []string{key}, format, args...)
}

// violatedBy notes a violation with all that is known of the orders among its keys.
func (j *judgement) violatedBy(invariant string, keys []string, format string, args ...any) {
	v := violation{Invariant: invariant, Detail: fmt.Sprintf(format, args...), Keys: keys}
	for _, key := range keys {
		j.broken[key] = true
		if o := j.known[key]; o != nil {
			v.IdempotencyKeys = append(v.IdempotencyKeys, o.key)
			if id := o.traceID(); id != "" {
				v.Traces = append(v.Traces, id)
			}
		}
	}
	j.out.Violations = append(j.out.Violations, v)
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

// messages holds the outbox against what the broker keeps, and what shipping acknowledged against what it did.
func (j *judgement) messages() {
	if j.broker == nil {
		return
	}
	rows := make(map[string]bool, len(j.facts.events))
	for _, e := range j.facts.events {
		rows[e.ID] = true
		_, kept := j.broker.at[e.ID]
		if e.Subject == events.OrdersConfirmed && !kept && !e.Published.IsZero() && e.Published.Before(j.broker.asked) {
			j.violated(effectLost, e.Aggregate, "its event was published, but the broker does not have it any more")
		}
	}
	for id := range j.broker.at {
		if !rows[id] {
			j.violated(eventOnce, orderOf(id), "announced by the message %s, of which the outbox knows nothing", id)
		}
	}
	for _, o := range j.before {
		if o.state != confirmed || j.reservedFor[o.id] != "reserved" || j.givenUp[o.id] || j.broker.dead[o.id] {
			continue
		}
		for _, e := range j.eventsOf[o.id] {
			if at, kept := j.broker.at[e.ID]; kept && at <= j.broker.shipped {
				j.violated(effectLost, o.id, "shipping acknowledged its event, but nothing was shipped")
			}
		}
	}
}

func (j *judgement) keys() {
	seen := make(map[[2]string]string, len(j.before))
	for _, o := range j.before {
		key := [2]string{o.account, o.key}
		if first, ok := seen[key]; ok {
			j.violatedBy(keyOnce, []string{first, o.id}, "account %s has two orders under the key %s", o.account, o.key)
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
		if j.broken[o.id] { // what it waits for may never come
			continue
		}
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

// operations lists all orders.
func (j *judgement) operations() {
	j.out.Operations = make([]operation, len(j.before))
	for i, o := range j.before {
		j.out.Operations[i] = operation{ID: o.id, Key: o.key, Trace: o.traceID(), Done: o.state == confirmed}
	}
}

func orElse(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}
