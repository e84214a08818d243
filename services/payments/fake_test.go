package payments

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/faultline-lab/faultline/services/kit/store"
	"github.com/faultline-lab/faultline/services/kit/store/storetest"
	paymentsv1 "github.com/faultline-lab/faultline/services/proto/shop/payments/v1"
)

// fault is how the next call to the fake bank goes wrong.
type fault int

const (
	fine          fault = iota
	neverArrived        // an error, without the effect
	answerLost          // the effect, and an error
	arrivesLate         // an error now, the effect when late is run
	tooSlow             // the effect, and a deadline exceeded
	hangsTillFree       // waits for the ctx or free, then has the effect
)

var errLine = errors.New("connection reset")

// fakeBank books in memory as the real one does.
type fakeBank struct {
	mu       sync.Mutex
	captures map[string][]int64 // by reference
	refunds  map[string]int64   // by reference; 0 is a tombstone
	faults   []fault            // for the next calls, in order
	late     []func()
	free     chan struct{}
	hanging  chan struct{} // gets a token for each call that hangs
	calls    int
	noKeys   bool // a broken bank, which forgets idempotency keys
}

func newFakeBank(faults ...fault) *fakeBank {
	return &fakeBank{captures: map[string][]int64{}, refunds: map[string]int64{}, faults: faults,
		free: make(chan struct{}), hanging: make(chan struct{}, 100)}
}

func (b *fakeBank) next() fault {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.calls++
	if len(b.faults) == 0 {
		return fine
	}
	f := b.faults[0]
	b.faults = b.faults[1:]
	return f
}

// suffer runs the effect of a call as the next fault has it.
func (b *fakeBank) suffer(ctx context.Context, effect func() error) error {
	switch b.next() {
	case neverArrived:
		return errLine
	case answerLost:
		_ = effect()
		return errLine
	case tooSlow:
		_ = effect()
		return context.DeadlineExceeded
	case arrivesLate:
		b.mu.Lock()
		defer b.mu.Unlock()
		b.late = append(b.late, func() { _ = effect() })
		return context.DeadlineExceeded
	case hangsTillFree:
		b.hanging <- struct{}{}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-b.free:
		}
	}
	return effect()
}

func (b *fakeBank) capture(ctx context.Context, order, card string, amount int64) (string, error) {
	err := b.suffer(ctx, func() error {
		b.mu.Lock()
		defer b.mu.Unlock()
		if strings.HasPrefix(card, "4000") {
			return &refusal{reason: "the card was declined"}
		}
		if _, gone := b.refunds[order]; gone {
			return errConflict
		}
		if len(b.captures[order]) == 0 || b.noKeys {
			b.captures[order] = append(b.captures[order], amount)
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	return "cap-" + order, nil
}

func (b *fakeBank) refund(ctx context.Context, order string) error {
	return b.suffer(ctx, func() error {
		b.mu.Lock()
		defer b.mu.Unlock()
		if _, again := b.refunds[order]; again {
			return nil
		}
		var sum int64
		for _, amount := range b.captures[order] {
			sum += amount
		}
		b.refunds[order] = sum
		return nil
	})
}

func (b *fakeBank) ledger(ctx context.Context) (map[string]booking, error) {
	out := map[string]booking{}
	err := b.suffer(ctx, func() error {
		b.mu.Lock()
		defer b.mu.Unlock()
		for reference, amounts := range b.captures {
			k := out[reference]
			for _, amount := range amounts {
				k.captures, k.balance = k.captures+1, k.balance+amount
			}
			out[reference] = k
		}
		for reference, amount := range b.refunds {
			if k := out[reference]; amount > 0 {
				k.refunds, k.balance = k.refunds+1, k.balance-amount
				out[reference] = k
			}
		}
		return nil
	})
	return out, err
}

func openCharges(t *testing.T, path string) *charges {
	t.Helper()
	db, err := store.Open(t.Context(), storetest.Config(t, path, schema))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return &charges{db: db}
}

func newTestServer(t *testing.T, b bank) *server {
	t.Helper()
	return newServer(openCharges(t, t.TempDir()+"/payments.db"), b, slog.New(slog.DiscardHandler))
}

const goodCard, badCard = "4242-0000-0000-0001", "4000-0000-0000-0001"

func (s *server) tryCharge(ctx context.Context, order, card string, amount int64) error {
	_, err := s.Charge(ctx, &paymentsv1.ChargeRequest{OrderId: order, AccountId: "a-1", Card: card, AmountCents: amount})
	return err
}

func (s *server) tryRefund(ctx context.Context, order string) error {
	_, err := s.Refund(ctx, &paymentsv1.RefundRequest{OrderId: order})
	return err
}

func wantCode(t *testing.T, err error, want codes.Code, text string) {
	t.Helper()
	if status.Code(err) != want || !strings.Contains(status.Convert(err).Message(), text) {
		t.Errorf("got %v, want %v: %q", err, want, text)
	}
}

// wantCharge checks a charge as an audit sees it; nil means that there must be none.
func (s *server) wantCharge(t *testing.T, order string, want *paymentsv1.Charge) {
	t.Helper()
	audit, err := s.Audit(t.Context(), &paymentsv1.AuditRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range audit.GetCharges() {
		if c.GetOrderId() != order {
			continue
		}
		if want == nil || c.GetState() != want.GetState() || c.GetAmountCents() != want.GetAmountCents() ||
			c.GetBankCaptures() != want.GetBankCaptures() || c.GetBankRefunds() != want.GetBankRefunds() ||
			c.GetBankBalanceCents() != want.GetBankBalanceCents() {
			t.Errorf("got %v, want %v", c, want)
		}
		return
	}
	if want != nil {
		t.Errorf("no charge for %s", order)
	}
}
