package payments

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sort"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	paymentsv1 "github.com/faultline-lab/faultline/services/proto/shop/payments/v1"
)

// writeWithin bounds writing down an answer of the bank after the caller's own time is up.
const writeWithin = 5 * time.Second

// bank is the provider that holds the money. An error of capture that is not a *refusal, and any error of refund,
// leaves open what happened.
type bank interface {
	capture(ctx context.Context, order, card string, amount int64) (string, error)
	refund(ctx context.Context, order string) error
	ledger(ctx context.Context) (map[string]booking, error)
}

// server answers the Payments service of the .proto file.
type server struct {
	paymentsv1.UnimplementedPaymentsServer
	charges   *charges
	bank      bank
	log       *slog.Logger
	charging  *flights
	refunding *flights
}

func newServer(c *charges, b bank, log *slog.Logger) *server {
	return &server{charges: c, bank: b, log: log, charging: newFlights(), refunding: newFlights()}
}

// Charge waits for a Charge of the same order that is under way, then answers from the row, and
// asks the bank only if the outcome is still open.
func (s *server) Charge(ctx context.Context, req *paymentsv1.ChargeRequest) (*paymentsv1.ChargeResponse, error) {
	if req.GetOrderId() == "" || req.GetAccountId() == "" || req.GetAmountCents() <= 0 {
		return nil, status.Error(codes.InvalidArgument, "a charge needs an order id, an account id and an amount above 0")
	}
	done, err := s.charging.board(ctx, req.GetOrderId())
	if err != nil {
		return nil, answer(err)
	}
	defer done()
	row, err := s.charges.begin(ctx, charge{order: req.GetOrderId(), account: req.GetAccountId(),
		card: digest(req.GetOrderId(), req.GetCard()), amount: req.GetAmountCents()})
	if err != nil {
		return nil, answer(err)
	}
	if row.state == pending {
		if row, err = s.capture(ctx, row, req.GetCard()); err != nil {
			return nil, answer(err)
		}
	}
	return outcome(row)
}

// outcome answers a Charge from a row that is no longer pending.
func outcome(row charge) (*paymentsv1.ChargeResponse, error) {
	switch row.state {
	case captured:
		return &paymentsv1.ChargeResponse{ChargeId: row.id}, nil
	case declined:
		return nil, status.Errorf(codes.FailedPrecondition, "card declined: %s", row.reason)
	}
	return nil, status.Errorf(codes.Aborted, "order %s was refunded", row.order)
}

// capture asks the bank and writes down its answer, if it gives a definite one.
func (s *server) capture(ctx context.Context, row charge, card string) (charge, error) {
	id, err := s.bank.capture(ctx, row.order, card, row.amount)
	// What the bank said must not be lost because the caller has run out of time.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeWithin)
	defer cancel()
	var no *refusal
	switch {
	case err == nil:
		return s.charges.settle(ctx, row.order, captured, id, "")
	case errors.As(err, &no):
		s.log.InfoContext(ctx, "charge declined", "order", row.order, "why", no.reason)
		return s.charges.settle(ctx, row.order, declined, "", no.reason)
	case errors.Is(err, errConflict):
		s.log.WarnContext(ctx, "charge in conflict", "order", row.order, "why", err.Error())
		return charge{}, status.Errorf(codes.Aborted, "order %s: %v", row.order, err)
	}
	s.log.WarnContext(ctx, "outcome of charge unknown", "order", row.order, "why", err.Error())
	return charge{}, unknown("charging", err)
}

// Refund does not wait for a Charge under way, which may hang for as long as the bank does: the row turns first,
// and the bank refuses the capture if it comes after the refund.
func (s *server) Refund(ctx context.Context, req *paymentsv1.RefundRequest) (*paymentsv1.RefundResponse, error) {
	if req.GetOrderId() == "" {
		return nil, status.Error(codes.InvalidArgument, "an order id is needed")
	}
	done, err := s.refunding.board(ctx, req.GetOrderId())
	if err != nil {
		return nil, answer(err)
	}
	defer done()
	row, err := s.charges.beginRefund(ctx, req.GetOrderId())
	if err != nil {
		return nil, answer(err)
	}
	if row.state != refunding {
		return &paymentsv1.RefundResponse{}, nil
	}
	if err := s.bank.refund(ctx, row.order); err != nil {
		s.log.WarnContext(ctx, "outcome of refund unknown", "order", row.order, "why", err.Error())
		return nil, unknown("refunding", err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeWithin)
	defer cancel()
	if err := s.charges.endRefund(ctx, row.order); err != nil {
		return nil, answer(err)
	}
	s.log.InfoContext(ctx, "refunded", "order", row.order)
	return &paymentsv1.RefundResponse{}, nil
}

func (s *server) Audit(ctx context.Context, _ *paymentsv1.AuditRequest) (*paymentsv1.AuditResponse, error) {
	// The bank first: what it booked by then has a row by now.
	booked, err := s.bank.ledger(ctx)
	if err != nil {
		return nil, unknown("auditing", err)
	}
	rows, err := s.charges.all(ctx)
	if err != nil {
		return nil, answer(err)
	}
	return &paymentsv1.AuditResponse{Charges: compared(rows, booked)}, nil
}

// compared sets the charges beside what the bank booked for them, by order id. Bookings without
// a charge come with an empty state.
func compared(rows []charge, booked map[string]booking) []*paymentsv1.Charge {
	out := make([]*paymentsv1.Charge, 0, len(rows))
	known := make(map[string]bool, len(rows))
	for _, row := range rows {
		known[row.order] = true
		out = append(out, withBooking(&paymentsv1.Charge{OrderId: row.order, AmountCents: row.amount, State: row.state}, booked[row.order]))
	}
	for reference, b := range booked {
		if !known[reference] {
			out = append(out, withBooking(&paymentsv1.Charge{OrderId: reference}, b))
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].OrderId < out[j].OrderId })
	return out
}

func withBooking(c *paymentsv1.Charge, b booking) *paymentsv1.Charge {
	c.BankCaptures, c.BankRefunds, c.BankBalanceCents = b.captures, b.refunds, b.balance
	return c
}

// unknown is the status of a question to the bank that was not answered.
func unknown(doing string, err error) error {
	code := codes.Unavailable
	if timedOut(err) {
		code = codes.DeadlineExceeded
	}
	return status.Error(code, fmt.Errorf("%s at the bank: %w", doing, err).Error())
}

// answer gives an error its status: the store's own troubles are INTERNAL, refusals have theirs already.
func answer(err error) error {
	if _, ok := status.FromError(err); ok {
		return err
	}
	if s := status.FromContextError(err); s.Code() != codes.Unknown {
		return s.Err()
	}
	return status.Errorf(codes.Internal, "payments store: %v", err)
}
