package payments

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	paymentsv1 "github.com/faultline-lab/faultline/services/proto/shop/payments/v1"
)

// TestSteps takes steps with a bank that goes wrong in turn, and looks at the books after.
func TestSteps(t *testing.T) {
	type step struct {
		do   string // charge | charge bad card | refund | late
		code codes.Code
	}
	none := codes.OK
	tests := []struct {
		name   string
		faults []fault
		steps  []step
		want   *paymentsv1.Charge
	}{
		{"charge", nil, []step{{"charge", none}},
			&paymentsv1.Charge{State: captured, AmountCents: 100, BankCaptures: 1, BankBalanceCents: 100}},
		{"charge thrice", nil, []step{{"charge", none}, {"charge", none}, {"charge", none}},
			&paymentsv1.Charge{State: captured, AmountCents: 100, BankCaptures: 1, BankBalanceCents: 100}},
		{"declined", nil, []step{{"charge bad card", codes.FailedPrecondition}, {"charge bad card", codes.FailedPrecondition}},
			&paymentsv1.Charge{State: declined, AmountCents: 100}},
		{"refund of what was declined", nil, []step{{"charge bad card", codes.FailedPrecondition}, {"refund", none}},
			&paymentsv1.Charge{State: declined, AmountCents: 100}},
		{"refund", nil, []step{{"charge", none}, {"refund", none}, {"refund", none}},
			&paymentsv1.Charge{State: refunded, AmountCents: 100, BankCaptures: 1, BankRefunds: 1}},
		{"charge after refund", nil, []step{{"charge", none}, {"refund", none}, {"charge", codes.Aborted}},
			&paymentsv1.Charge{State: refunded, AmountCents: 100, BankCaptures: 1, BankRefunds: 1}},
		{"refund before charge", nil, []step{{"refund", none}, {"charge", codes.Aborted}, {"refund", none}},
			&paymentsv1.Charge{State: refunded}},
		{"capture never arrived, asked again", []fault{neverArrived}, []step{{"charge", codes.Unavailable}, {"charge", none}},
			&paymentsv1.Charge{State: captured, AmountCents: 100, BankCaptures: 1, BankBalanceCents: 100}},
		{"answer to capture lost, asked again", []fault{answerLost}, []step{{"charge", codes.Unavailable}, {"charge", none}},
			&paymentsv1.Charge{State: captured, AmountCents: 100, BankCaptures: 1, BankBalanceCents: 100}},
		{"capture timed out, asked again", []fault{tooSlow}, []step{{"charge", codes.DeadlineExceeded}, {"charge", none}},
			&paymentsv1.Charge{State: captured, AmountCents: 100, BankCaptures: 1, BankBalanceCents: 100}},
		{"capture never arrived, refunded", []fault{neverArrived}, []step{{"charge", codes.Unavailable}, {"refund", none}},
			&paymentsv1.Charge{State: refunded, AmountCents: 100}},
		{"answer to capture lost, refunded", []fault{answerLost}, []step{{"charge", codes.Unavailable}, {"refund", none}},
			&paymentsv1.Charge{State: refunded, AmountCents: 100, BankCaptures: 1, BankRefunds: 1}},
		{"capture arrives after the refund", []fault{arrivesLate}, []step{{"charge", codes.DeadlineExceeded}, {"refund", none}, {"late", none}, {"charge", codes.Aborted}},
			&paymentsv1.Charge{State: refunded, AmountCents: 100}},
		{"refund never arrived, asked again", []fault{fine, neverArrived}, []step{{"charge", none}, {"refund", codes.Unavailable}, {"charge", codes.Aborted}, {"refund", none}},
			&paymentsv1.Charge{State: refunded, AmountCents: 100, BankCaptures: 1, BankRefunds: 1}},
		{"answer to refund lost, asked again", []fault{fine, answerLost}, []step{{"charge", none}, {"refund", codes.Unavailable}, {"refund", none}},
			&paymentsv1.Charge{State: refunded, AmountCents: 100, BankCaptures: 1, BankRefunds: 1}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := newFakeBank(test.faults...)
			s := newTestServer(t, b)
			for i, step := range test.steps {
				var err error
				switch step.do {
				case "charge":
					err = s.tryCharge(t.Context(), "o-1", goodCard, 100)
				case "charge bad card":
					err = s.tryCharge(t.Context(), "o-1", badCard, 100)
				case "refund":
					err = s.tryRefund(t.Context(), "o-1")
				case "late":
					for _, effect := range b.late {
						effect()
					}
				}
				if status.Code(err) != step.code {
					t.Fatalf("step %d, %s: got %v, want %v", i+1, step.do, err, step.code)
				}
			}
			s.wantCharge(t, "o-1", test.want)
		})
	}
}

func TestChargeID(t *testing.T) {
	s := newTestServer(t, newFakeBank())
	for range 2 {
		got, err := s.Charge(t.Context(), &paymentsv1.ChargeRequest{OrderId: "o-1", AccountId: "a-1", Card: goodCard, AmountCents: 1})
		if err != nil || got.GetChargeId() != "cap-o-1" {
			t.Fatalf("got %v, %v", got, err)
		}
	}
}

func TestBadRequests(t *testing.T) {
	b := newFakeBank()
	s := newTestServer(t, b)
	if err := s.tryCharge(t.Context(), "o-1", goodCard, 100); err != nil {
		t.Fatal(err)
	}
	_, noAccount := s.Charge(t.Context(), &paymentsv1.ChargeRequest{OrderId: "o-2", Card: goodCard, AmountCents: 1})
	_, otherAccount := s.Charge(t.Context(), &paymentsv1.ChargeRequest{OrderId: "o-1", AccountId: "a-2", Card: goodCard, AmountCents: 100})
	tests := []struct {
		name string
		err  error
		text string
	}{
		{"no order", s.tryCharge(t.Context(), "", goodCard, 100), "needs an order id"},
		{"no account", noAccount, "needs an order id, an account id"},
		{"no amount", s.tryCharge(t.Context(), "o-2", goodCard, 0), "amount above 0"},
		{"negative amount", s.tryCharge(t.Context(), "o-2", goodCard, -100), "amount above 0"},
		{"another amount", s.tryCharge(t.Context(), "o-1", goodCard, 101), "order o-1 is charged with another amount, account or card"},
		{"another card", s.tryCharge(t.Context(), "o-1", badCard, 100), "another amount, account or card"},
		{"another account", otherAccount, "another amount, account or card"},
		{"refund of no order", s.tryRefund(t.Context(), ""), "an order id is needed"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { wantCode(t, test.err, codes.InvalidArgument, test.text) })
	}
	if b.calls != 1 {
		t.Errorf("the bank was asked %d times, want 1", b.calls)
	}
}

// TestAnotherCardAfterAnUnknownOutcome guards against a decline that hides an earlier capture.
func TestAnotherCardAfterAnUnknownOutcome(t *testing.T) {
	s := newTestServer(t, newFakeBank(answerLost))
	wantCode(t, s.tryCharge(t.Context(), "o-1", goodCard, 100), codes.Unavailable, "charging at the bank: connection reset")
	wantCode(t, s.tryCharge(t.Context(), "o-1", badCard, 100), codes.InvalidArgument, "another")
	if err := s.tryRefund(t.Context(), "o-1"); err != nil {
		t.Fatal(err)
	}
	s.wantCharge(t, "o-1", &paymentsv1.Charge{State: refunded, AmountCents: 100, BankCaptures: 1, BankRefunds: 1})
}

// TestSingleFlight charges an order many times at once over a bank that forgets keys: only payments' own
// care keeps it at one capture.
func TestSingleFlight(t *testing.T) {
	b := newFakeBank(hangsTillFree)
	b.noKeys = true
	s := newTestServer(t, b)
	var wg sync.WaitGroup
	errs := make([]error, 20)
	for i := range errs {
		wg.Go(func() { errs[i] = s.tryCharge(t.Context(), "o-1", goodCard, 100) })
	}
	<-b.hanging
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	wantCode(t, s.tryCharge(gone, "o-1", goodCard, 100), codes.Canceled, "")
	close(b.free)
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			t.Error(err)
		}
	}
	s.wantCharge(t, "o-1", &paymentsv1.Charge{State: captured, AmountCents: 100, BankCaptures: 1, BankBalanceCents: 100})
	if len(s.charging.keys) != 0 {
		t.Errorf("%d keys are left", len(s.charging.keys))
	}
}

// TestRefundDoesNotWaitForACharge refunds while the capture hangs at the bank.
func TestRefundDoesNotWaitForACharge(t *testing.T) {
	b := newFakeBank(hangsTillFree)
	s := newTestServer(t, b)
	charge := make(chan error, 1)
	go func() { charge <- s.tryCharge(t.Context(), "o-1", goodCard, 100) }()
	<-b.hanging
	if err := s.tryRefund(t.Context(), "o-1"); err != nil {
		t.Fatal(err)
	}
	close(b.free)
	wantCode(t, <-charge, codes.Aborted, "conflict")
	s.wantCharge(t, "o-1", &paymentsv1.Charge{State: refunded, AmountCents: 100})
}

// TestRefundOvertakesTheAnswer refunds between the bank's booking and payments' note of it.
func TestRefundOvertakesTheAnswer(t *testing.T) {
	var s *server
	s = newTestServer(t, leavingBank{newFakeBank(), func() {
		if err := s.tryRefund(t.Context(), "o-1"); err != nil {
			t.Error(err)
		}
	}})
	wantCode(t, s.tryCharge(t.Context(), "o-1", goodCard, 100), codes.Aborted, "order o-1 was refunded")
	s.wantCharge(t, "o-1", &paymentsv1.Charge{State: refunded, AmountCents: 100, BankCaptures: 1, BankRefunds: 1})
}

// TestAnswerAfterTheCallerLeft captures for a caller whose time is up when the bank answers.
func TestAnswerAfterTheCallerLeft(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := newTestServer(t, leavingBank{newFakeBank(), cancel})
	if err := s.tryCharge(ctx, "o-1", goodCard, 100); err != nil {
		t.Fatal(err)
	}
	s.wantCharge(t, "o-1", &paymentsv1.Charge{State: captured, AmountCents: 100, BankCaptures: 1, BankBalanceCents: 100})
}

// leavingBank lets something happen between a capture and its answer.
type leavingBank struct {
	*fakeBank
	meanwhile func()
}

func (b leavingBank) capture(ctx context.Context, order, card string, amount int64) (string, error) {
	id, err := b.fakeBank.capture(ctx, order, card, amount)
	b.meanwhile()
	return id, err
}

// TestRestart stops the process between asking the bank and writing its answer down.
func TestRestart(t *testing.T) {
	path := t.TempDir() + "/payments.db"
	b := newFakeBank()
	first := openCharges(t, path)
	if _, err := first.begin(t.Context(), charge{order: "o-1", account: "a-1", card: digest("o-1", goodCard), amount: 100}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.capture(t.Context(), "o-1", goodCard, 100); err != nil {
		t.Fatal(err)
	}
	first.db.Close()
	s := newServer(openCharges(t, path), b, slog.New(slog.DiscardHandler))
	s.wantCharge(t, "o-1", &paymentsv1.Charge{State: pending, AmountCents: 100, BankCaptures: 1, BankBalanceCents: 100})
	if err := s.tryCharge(t.Context(), "o-1", goodCard, 100); err != nil {
		t.Fatal(err)
	}
	s.wantCharge(t, "o-1", &paymentsv1.Charge{State: captured, AmountCents: 100, BankCaptures: 1, BankBalanceCents: 100})
}

// TestAnyOrder charges and refunds a few orders at random and at once over a bank that fails at random, and then
// refunds or charges each until it succeeds: the bank must hold exactly what payments says.
func TestAnyOrder(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 7))
	faults := make([]fault, 600)
	for i := range faults {
		faults[i] = []fault{fine, fine, neverArrived, answerLost, tooSlow, arrivesLate}[rng.IntN(6)]
	}
	b := newFakeBank(faults...)
	s := newTestServer(t, b)
	var wg sync.WaitGroup
	const orders = 20
	for worker := range 6 {
		rng := rand.New(rand.NewPCG(8, uint64(worker)))
		wg.Go(func() {
			for range 60 {
				order := fmt.Sprintf("o-%d", rng.IntN(orders))
				if rng.IntN(3) == 0 {
					_ = s.tryRefund(t.Context(), order)
				} else {
					_ = s.tryCharge(t.Context(), order, goodCard, 100)
				}
			}
		})
	}
	wg.Wait()
	for _, effect := range b.late {
		effect()
	}
	b.faults = nil
	for i := range orders {
		order := fmt.Sprintf("o-%d", i)
		if c := status.Code(s.tryCharge(t.Context(), order, goodCard, 100)); c == codes.Aborted {
			if err := s.tryRefund(t.Context(), order); err != nil {
				t.Fatal(err)
			}
		} else if c != codes.OK {
			t.Fatal(c)
		}
	}
	audit, err := s.Audit(t.Context(), &paymentsv1.AuditRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range audit.GetCharges() {
		want := int64(0)
		if c.GetState() == captured {
			want = 100
		}
		if c.GetBankBalanceCents() != want || c.GetBankCaptures() > 1 || c.GetState() == pending || c.GetState() == refunding {
			t.Errorf("%v", c)
		}
	}
}

func TestAudit(t *testing.T) {
	b := newFakeBank()
	s := newTestServer(t, b)
	for _, order := range []string{"o-2", "o-1"} {
		if err := s.tryCharge(t.Context(), order, goodCard, 100); err != nil {
			t.Fatal(err)
		}
	}
	b.captures["o-1"] = append(b.captures["o-1"], 100) // a double charge
	b.captures["o-0"] = []int64{7}                     // what payments never asked for
	got, err := s.Audit(t.Context(), &paymentsv1.AuditRequest{})
	if err != nil {
		t.Fatal(err)
	}
	text := ""
	for _, c := range got.GetCharges() {
		text += fmt.Sprintf("%s %q %d/%d %d\n", c.GetOrderId(), c.GetState(), c.GetBankCaptures(), c.GetBankRefunds(), c.GetBankBalanceCents())
	}
	if want := "o-0 \"\" 1/0 7\no-1 \"captured\" 2/0 200\no-2 \"captured\" 1/0 100\n"; text != want {
		t.Errorf("got\n%swant\n%s", text, want)
	}
	b.faults = []fault{neverArrived}
	_, err = s.Audit(t.Context(), &paymentsv1.AuditRequest{})
	wantCode(t, err, codes.Unavailable, "auditing at the bank")
}

func TestStoreGone(t *testing.T) {
	b := newFakeBank()
	s := newTestServer(t, b)
	s.charges.db.Close()
	wantCode(t, s.tryCharge(t.Context(), "o-1", goodCard, 100), codes.Internal, "payments store")
	wantCode(t, s.tryRefund(t.Context(), "o-1"), codes.Internal, "payments store")
	if b.calls != 0 {
		t.Error("the bank was asked for a charge that is not written down")
	}
}
