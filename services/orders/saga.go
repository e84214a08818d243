package orders

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/faultline-lab/faultline/resilience"
	"github.com/faultline-lab/faultline/services/bug"
	"github.com/faultline-lab/faultline/services/kit/outbox"
	inventoryv1 "github.com/faultline-lab/faultline/services/proto/shop/inventory/v1"
	ordersv1 "github.com/faultline-lab/faultline/services/proto/shop/orders/v1"
	paymentsv1 "github.com/faultline-lab/faultline/services/proto/shop/payments/v1"
)

// stocker takes stock aside and gives it back; inventory's client is one.
type stocker interface {
	Reserve(context.Context, *inventoryv1.ReserveRequest, ...grpc.CallOption) (*inventoryv1.ReserveResponse, error)
	Release(context.Context, *inventoryv1.ReleaseRequest, ...grpc.CallOption) (*inventoryv1.ReleaseResponse, error)
}

// charger takes money and gives it back; payments' client is one.
type charger interface {
	Charge(context.Context, *paymentsv1.ChargeRequest, ...grpc.CallOption) (*paymentsv1.ChargeResponse, error)
	Refund(context.Context, *paymentsv1.RefundRequest, ...grpc.CallOption) (*paymentsv1.RefundResponse, error)
}

// probe is told of each point of a saga at which a crash makes a difference. Tests crash there.
type probe interface {
	reached(p point, order string)
}

// point is a moment between two durable facts.
type point string

const (
	atCreated         point = "created"          // written down, nothing asked
	atReserveAnswered point = "reserve answered" // inventory has acted, nothing written
	atReserved        point = "reserved"
	atChargeAnswered  point = "charge answered" // payments has acted, nothing written
	atCharged         point = "charged"
	atConfirmed       point = "confirmed"
	atTurned          point = "turned" // compensating is written
	atRefundAnswered  point = "refund answered"
	atReleaseAnswered point = "release answered"
	atCancelled       point = "cancelled"
	atTakenOver       point = "taken over" // by recovery, without a change of direction
)

type noProbe struct{}

func (noProbe) reached(point, string) {}

// writeWithin bounds writing down how a step ended when the request's own time is up.
const writeWithin = 5 * time.Second

// sagas drives orders to an end. It is safe for concurrent use: a saga has one driver at a time, and
// a driver that has lost its saga finds out when it writes.
type sagas struct {
	ledger     *ledger
	stock      stocker
	money      charger
	live       *live
	driver     string // who this process is in the column owner; new in each life
	log        *slog.Logger
	tracer     trace.Tracer
	propagator propagation.TextMapPropagator
	metrics    *metrics
	probe      probe
	backoff    func(tries int) time.Duration
	bug        bug.Name         // none but in a lab that looks for it; see bugs.go
	publisher  outbox.Publisher // of the bugs only: events go through the outbox
}

// unanswered is the error of a step whose outcome is unknown.
type unanswered struct {
	callee string
	err    error
}

func (u *unanswered) Error() string {
	if unsent(u.err) {
		return u.callee + " was not asked: " + status.Convert(u.err).Message()
	}
	return u.callee + " did not answer: " + status.Convert(u.err).Message()
}
func (u *unanswered) Unwrap() error { return u.err }

// errParked is returned by a saga that waits for the recovery worker.
var errParked = errors.New("the saga is left to recovery")

// place makes the order of a request, or finds the one that an earlier request with the same key made.
func (s *sagas) place(ctx context.Context, req *ordersv1.PlaceOrderRequest) (*order, error) {
	o := s.newOrder(ctx, req)
	done := s.live.begin(o.id)
	defer done()
	row, isNew, err := s.ledger.create(ctx, o)
	if err != nil { // it may be there all the same; recovery finds it then
		return nil, fmt.Errorf("writing the order down: %w", err)
	}
	if !isNew {
		return s.join(ctx, row, o.fingerprint)
	}
	s.probe.reached(atCreated, row.id)
	return s.lead(ctx, row, req.GetCard())
}

func (s *sagas) newOrder(ctx context.Context, req *ordersv1.PlaceOrderRequest) *order {
	now := time.Now()
	key := req.GetIdempotencyKey()
	if s.bug == bug.DuplicateOrder {
		key += "#" + uuid.NewString()
	}
	return &order{
		id: "o-" + uuid.NewString(), account: req.GetAccountId(), key: key, fingerprint: fingerprint(req),
		lines: linesOf(req), totalCents: req.GetTotalCents(), state: pending, owner: s.driver, due: now, created: now,
		trace: outbox.WriteTrace(ctx, s.propagator),
	}
}

// lead drives a new saga for the request that began it. What it leaves unfinished, recovery takes up.
func (s *sagas) lead(ctx context.Context, o *order, card string) (*order, error) {
	err := s.drive(ctx, o, card)
	var open *unanswered
	switch {
	case err == nil || errors.Is(err, errParked):
		return answered(o)
	case errors.As(err, &open):
		return nil, status.Errorf(openCode(open), "order %s: %v", o.id, open)
	case errors.Is(err, errLost):
		if o, err = s.ledger.get(ctx, o.id); err != nil {
			return nil, err
		}
		return answered(o)
	}
	return nil, status.Errorf(codes.Unavailable, "order %s is not settled yet: %v", o.id, err)
}

// join answers a request whose key has an order already, once whoever leads that order in this process is done.
func (s *sagas) join(ctx context.Context, o *order, fingerprint string) (*order, error) {
	if o.fingerprint != fingerprint {
		return nil, status.Errorf(codes.InvalidArgument, "the idempotency key was used for another order, %s", o.id)
	}
	if leading := s.live.done(o.id); leading != nil && !o.state.final() {
		select {
		case <-leading:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		var err error
		if o, err = s.ledger.get(ctx, o.id); err != nil {
			return nil, err
		}
	}
	return answered(o)
}

// answered says what a customer is told of an order as it stands.
func answered(o *order) (*order, error) {
	switch o.state {
	case confirmed:
		return o, nil
	case compensating, cancelled:
		return nil, status.Errorf(o.code, "order %s is cancelled: %s", o.id, o.reason)
	}
	return nil, status.Errorf(codes.Unavailable, "order %s is not settled yet", o.id)
}

// openCode is what a caller is told of an unknown outcome.
func openCode(u *unanswered) codes.Code {
	if status.Code(u.err) == codes.DeadlineExceeded || errors.Is(u.err, context.DeadlineExceeded) {
		return codes.DeadlineExceeded
	}
	return codes.Unavailable
}

// drive takes steps until the saga has ended, or until it must wait: errParked when compensation failed,
// *unanswered when a forward step was not answered. The saga is then durably left to recovery, or has ended because the step
// was never sent. After any other error, but errLost, the saga still belongs to this driver.
func (s *sagas) drive(ctx context.Context, o *order, card string) error {
	for !o.state.final() {
		var err error
		switch o.state {
		case pending:
			err = s.reserve(ctx, o)
		case reserved:
			err = s.charge(ctx, o, card)
		case charged:
			err = s.confirm(ctx, o)
		case compensating:
			err = s.undo(ctx, o)
		default:
			err = fmt.Errorf("unknown state %q", o.state)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *sagas) reserve(ctx context.Context, o *order) error {
	asked := time.Now()
	_, err := s.stock.Reserve(ctx, &inventoryv1.ReserveRequest{OrderId: o.id, Lines: o.protoLines()})
	answered := noteReserve(o.id, asked, time.Now(), reserveOutcome(err))
	s.probe.reached(atReserveAnswered, o.id)
	if err != nil {
		o.undoReserve = !unsent(err)
		return s.turn(ctx, o, "inventory", err, answered)
	}
	// From here on payments may be asked, so undoing must include it.
	o.state, o.undoCharge = reserved, true
	return s.save(ctx, o, atReserved, answered)
}

func (s *sagas) charge(ctx context.Context, o *order, card string) error {
	_, err := s.money.Charge(ctx, &paymentsv1.ChargeRequest{OrderId: o.id, AccountId: o.account, Card: card, AmountCents: o.totalCents})
	s.probe.reached(atChargeAnswered, o.id)
	if err != nil {
		o.undoCharge = s.bug != bug.ForgetRefund && !unsent(err)
		return s.turn(ctx, o, "payments", err, nil)
	}
	if s.bug == bug.PublishBeforeCommit {
		s.announceTooSoon(ctx, o)
	}
	o.state = charged
	return s.save(ctx, o, atCharged, nil)
}

func (s *sagas) confirm(ctx context.Context, o *order) error {
	ctx, cancel := writing(ctx)
	defer cancel()
	before := *o
	confirming := s.ledger.confirm
	if s.bug == bug.LostOutbox {
		confirming = s.confirmWithoutEvent
	}
	if err := confirming(ctx, o, time.Now()); err != nil {
		*o = before
		return fmt.Errorf("confirming: %w", err)
	}
	s.metrics.total.WithLabelValues(string(confirmed)).Inc()
	s.probe.reached(atConfirmed, o.id)
	return nil
}

// turn writes down that the saga goes back, because of err. A definite refusal is undone at once, by the caller's
// next step. When the outcome is unknown, the callee is in trouble: undoing is left to recovery, and the error is
// *unanswered. It is too when the callee was never asked, but then only earlier steps need undoing, which their callees answered:
// that is done here.
func (s *sagas) turn(ctx context.Context, o *order, callee string, err error, also note) error {
	open := &unanswered{callee: callee, err: err}
	o.state, o.code, o.reason = compensating, codes.Aborted, open.Error()
	switch {
	case refused(err):
		o.code, o.reason = status.Code(err), status.Convert(err).Message()
	case !unsent(err):
		s.park(o)
	}
	s.log.WarnContext(ctx, "saga turned back", "order", o.id, "callee", callee, "code", status.Code(err).String(),
		"why", o.reason, "undo_charge", o.undoCharge, "undo_reserve", o.undoReserve)
	if o.undoReserve {
		also = notes(also, noteRelease(o.id, time.Now()))
	}
	if err := s.save(ctx, o, atTurned, also); err != nil {
		return err
	}
	if refused(err) {
		return nil
	}
	if unsent(err) {
		if err := s.undo(ctx, o); err != nil && !errors.Is(err, errParked) {
			return err
		}
	}
	return open
}

// unsent says whether a policy of this process's own ended the call before anything of it was sent: the callee
// knows nothing of it, and there is nothing of it to undo.
func unsent(err error) bool {
	var rejection *resilience.Rejection
	return errors.As(err, &rejection) && rejection.Attempts == 0
}

// refused says whether an error is a callee's definite no. What a door or a policy on the way rejects
// may hide an earlier attempt that had its effect, so it is none.
func refused(err error) bool {
	switch status.Code(err) {
	case codes.FailedPrecondition, codes.InvalidArgument, codes.NotFound, codes.Aborted:
		return true
	}
	return false
}

// undo gives back the money and the stock, each as far as it may be held, and cancels the order when both is done.
// Both are undone even after a definite refusal, which costs little: an attempt that was given
// up may still be on its way, and finds a tombstone then.
func (s *sagas) undo(ctx context.Context, o *order) error {
	var failed error
	if o.undoCharge {
		_, err := s.money.Refund(ctx, &paymentsv1.RefundRequest{OrderId: o.id})
		s.probe.reached(atRefundAnswered, o.id)
		o.undoCharge = err != nil
		failed = errors.Join(failed, wrap("refunding", err))
	}
	if o.undoReserve {
		_, err := s.stock.Release(ctx, &inventoryv1.ReleaseRequest{OrderId: o.id})
		s.probe.reached(atReleaseAnswered, o.id)
		o.undoReserve = err != nil
		failed = errors.Join(failed, wrap("releasing", err))
	}
	if failed != nil {
		s.log.WarnContext(ctx, "compensation failed, will retry", "order", o.id, "tries", o.tries+1, "error", failed.Error())
		s.park(o)
		if err := s.save(ctx, o, atTurned, nil); err != nil {
			return err
		}
		return errParked
	}
	o.state, o.owner = cancelled, ""
	if err := s.save(ctx, o, atCancelled, noteReleased(o.id, time.Now())); err != nil {
		return err
	}
	s.metrics.total.WithLabelValues(string(cancelled)).Inc()
	s.log.InfoContext(ctx, "saga undone", "order", o.id, "why", o.reason, "tries", o.tries)
	return nil
}

func wrap(doing string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// park gives the saga up to whoever recovers it, not before a pause that grows with each try.
func (s *sagas) park(o *order) {
	o.owner, o.due = "", time.Now().Add(s.backoff(o.tries))
	o.tries++
}

// save writes the saga down, and in the same transaction what else is to be noted.
func (s *sagas) save(ctx context.Context, o *order, p point, also note) error {
	ctx, cancel := writing(ctx)
	defer cancel()
	if err := s.ledger.save(ctx, o, also); err != nil {
		return fmt.Errorf("writing down %s: %w", o.state, err)
	}
	s.probe.reached(p, o.id)
	return nil
}

// writing returns a context for writing down what has happened, which must not be lost because the request is over.
func writing(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), writeWithin)
}
