package orders

import (
	"testing"

	"github.com/faultline-lab/faultline/services/kit/broker"
)

func TestDeadLetters(t *testing.T) {
	l := newLife(t, newWorld())
	d := l.audit.dead
	for _, data := range []string{`{"order_id":"o-1"}`, `poison`, `{"order_id":"o-1"}`, `{"order_id":"o-2"}`} {
		if err := d.handle(t.Context(), broker.Message{Data: []byte(data)}); err != nil {
			t.Errorf("%s: %v", data, err)
		}
	}
	got, err := d.all(t.Context())
	if err != nil || len(got) != 2 || !got["o-1"] || !got["o-2"] {
		t.Errorf("got %v, %v", got, err)
	}
	l.db.Close()
	if err := d.handle(t.Context(), broker.Message{Data: []byte(`{"order_id":"o-3"}`)}); err == nil {
		t.Error("noted without a store")
	}
	if _, err := d.all(t.Context()); err == nil {
		t.Error("read without a store")
	}
}
