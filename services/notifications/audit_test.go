package notifications

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/faultline-lab/faultline/services/bug"
	"github.com/faultline-lab/faultline/services/events"
	"github.com/faultline-lab/faultline/services/kit/broker"
)

// kept is what a broker keeps.
type kept struct {
	orders, letters []broker.Stored
	acknowledged    uint64
	err             error
}

func (k *kept) Stored(_ context.Context, stream string) ([]broker.Stored, error) {
	if stream == events.DeadLettersStream {
		return k.letters, k.err
	}
	return k.orders, k.err
}

func (k *kept) Acknowledged(_ context.Context, stream, durable string) (uint64, error) {
	if stream != events.OrdersStream || durable != name {
		return 0, fmt.Errorf("asked for %s of %s", durable, stream)
	}
	return k.acknowledged, k.err
}

func message(seq uint64, subject, id string) broker.Stored {
	return broker.Stored{Seq: seq, Subject: subject, ID: id}
}

func TestAudit(t *testing.T) {
	const confirmed, shipped = events.OrdersConfirmed, events.OrdersShipped
	both := []broker.Stored{message(1, confirmed, "orders/o-1/1"), message(2, shipped, "shipping/o-1/1")}
	tests := []struct {
		name   string
		kept   kept
		handed []string // subjects that the service was given
		want   []string
	}{
		{"nothing", kept{}, nil, nil},
		{"told of all", kept{orders: both, acknowledged: 2}, []string{confirmed, shipped}, nil},
		{"one still waits", kept{orders: both, acknowledged: 1}, []string{confirmed}, nil},
		{"told before it was acknowledged", kept{orders: both}, []string{confirmed, shipped}, nil},
		{"one is lost", kept{orders: both, acknowledged: 2}, []string{confirmed}, []string{"effect-lost o-1: notifications acknowledged orders.shipped, but the customer was told nothing"}},
		{"one was given up", kept{orders: both, letters: []broker.Stored{message(1, "dead.notifications.orders", "notifications/shipping/o-1/1")}, acknowledged: 2}, []string{confirmed}, nil},
		{"another service gave it up", kept{orders: both, letters: []broker.Stored{message(1, "dead.shipping.orders", "shipping/shipping/o-1/1")}, acknowledged: 2}, []string{confirmed},
			[]string{"effect-lost o-1: notifications acknowledged orders.shipped, but the customer was told nothing"}},
		{"kept twice", kept{orders: append(both, message(3, shipped, "shipping/o-1/1")), acknowledged: 3}, []string{confirmed},
			[]string{"effect-lost o-1: notifications acknowledged orders.shipped, but the customer was told nothing"}},
		{"a stranger's message", kept{orders: []broker.Stored{message(1, confirmed, "poison")}, acknowledged: 1}, nil, nil},
		{"made up", kept{orders: both[:1], acknowledged: 1}, []string{confirmed, shipped}, []string{"event-once o-1: the customer was told orders.shipped, which the broker knows nothing of"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := newHandler(t)
			h.broker = &test.kept
			hand(t, h, test.handed...)
			f, err := h.gather(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, v := range judge(f) {
				got = append(got, fmt.Sprintf("%s %s: %s", v.Invariant, strings.Join(v.Keys, ","), v.Detail))
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// hand gives the service messages about the order o-1.
func hand(t *testing.T, h *handler, subjects ...string) {
	t.Helper()
	data := map[string]string{events.OrdersConfirmed: aConfirmation, events.OrdersShipped: aShipment}
	for _, subject := range subjects {
		if err := h.handle(t.Context(), broker.Message{Subject: subject, Data: []byte(data[subject])}); err != nil && !errors.Is(err, broker.ErrDuplicate) {
			t.Fatal(err)
		}
	}
}

func TestAuditAnswers(t *testing.T) {
	h := newHandler(t)
	hand(t, h, events.OrdersConfirmed, events.OrdersShipped)
	store := &kept{orders: []broker.Stored{message(1, events.OrdersConfirmed, "orders/o-1/1"), message(2, events.OrdersShipped, "shipping/o-1/1")}, acknowledged: 2}
	h.broker = store
	rec := httptest.NewRecorder()
	h.audit(rec, httptest.NewRequest("GET", "/audit", nil))
	if want := `{"checked":{"orders.confirmed":1,"orders.shipped":1},"settled":true,"violations":[]}`; strings.TrimSpace(rec.Body.String()) != want {
		t.Errorf("got %s, want %s", rec.Body, want)
	}
	store.err = errors.New("no broker")
	rec = httptest.NewRecorder()
	if h.audit(rec, httptest.NewRequest("GET", "/audit", nil)); rec.Code != 503 {
		t.Errorf("without a broker: got %d %s", rec.Code, rec.Body)
	}
}

// TestCoarseDedup wants the seeded bug to be seen by the audit.
func TestCoarseDedup(t *testing.T) {
	h := newHandler(t)
	h.bug = bug.CoarseDedup
	hand(t, h, events.OrdersConfirmed, events.OrdersShipped)
	h.broker = &kept{orders: []broker.Stored{message(1, events.OrdersConfirmed, "orders/o-1/1"), message(2, events.OrdersShipped, "shipping/o-1/1")}, acknowledged: 2}
	f, err := h.gather(t.Context())
	if got := judge(f); err != nil || len(got) != 1 || got[0].Invariant != effectLost {
		t.Errorf("got %v, %v", got, err)
	}
}
