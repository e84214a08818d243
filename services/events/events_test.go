package events

import (
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/faultline-lab/faultline/services/kit/broker"
)

func TestReadOrderConfirmed(t *testing.T) {
	whole := OrderConfirmed{OrderID: "o-1", AccountID: "a-1", Lines: []Line{{ProductID: "p-1", Quantity: 2}}, TotalCents: 1999, ConfirmedUnixMS: 5}
	written, err := json.Marshal(whole)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, data, err string
		want            OrderConfirmed
	}{
		{name: "what was written", data: string(written), want: whole},
		{name: "fields of a newer sender", data: `{"order_id":"o-1","gift":true}`, want: OrderConfirmed{OrderID: "o-1"}},
		{name: "no order", data: `{"account_id":"a-1"}`, err: "reading orders.confirmed: no order id"},
		{name: "not JSON", data: `poison`, err: "reading orders.confirmed: invalid character"},
		{name: "empty", data: ``, err: "reading orders.confirmed: EOF"},
		{name: "two values", data: `{"order_id":"o-1"}{"order_id":"o-2"}`, err: "more than one value"},
		{name: "wrong type", data: `{"order_id":7}`, err: "cannot unmarshal number"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := ReadOrderConfirmed([]byte(test.data))
			checkRead(t, got, err, test.want, test.err)
		})
	}
}

func TestReadOrderShipped(t *testing.T) {
	whole := OrderShipped{OrderID: "o-1", AccountID: "a-1", ShipmentID: "s-1", ShippedUnixMS: 5}
	written, err := json.Marshal(whole)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, data, err string
		want            OrderShipped
	}{
		{name: "what was written", data: string(written), want: whole},
		{name: "no order", data: `{}`, err: "reading orders.shipped: no order id"},
		{name: "not JSON", data: `{`, err: "reading orders.shipped: unexpected EOF"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := ReadOrderShipped([]byte(test.data))
			checkRead(t, got, err, test.want, test.err)
		})
	}
}

func checkRead(t *testing.T, got any, err error, want any, wantErr string) {
	t.Helper()
	if wantErr != "" {
		if err == nil || !strings.Contains(err.Error(), wantErr) {
			t.Fatalf("error %v, want %q", err, wantErr)
		}
		return
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("got %+v, %v; want %+v", got, err, want)
	}
}

func FuzzReadOrderConfirmed(f *testing.F) {
	for _, seed := range []string{`{"order_id":"o-1","lines":[{"product_id":"p-1","quantity":1}]}`, `{"order_id":7}`, `{}`, `null`, `[`, ``} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := ReadOrderConfirmed(data)
		if (err == nil) == (e.OrderID == "") {
			t.Fatalf("%q gave %+v and %v", data, e, err)
		}
	})
}

type streams struct {
	made     map[string][]string
	err      error
	consumed string
}

func (s *streams) Consume(_ context.Context, consumer broker.Consumer, _ func(context.Context, broker.Message) error) error {
	s.consumed = consumer.Durable
	return nil
}

func TestConsume(t *testing.T) {
	s := &streams{made: map[string][]string{}}
	if err := Consume(t.Context(), s, broker.Consumer{Durable: "me"}, nil); err != nil || s.consumed != "me" || len(s.made) != 2 {
		t.Errorf("consumed as %q with %v, %v", s.consumed, s.made, err)
	}
	s = &streams{made: map[string][]string{}, err: errors.New("refused")}
	if err := Consume(t.Context(), s, broker.Consumer{Durable: "me"}, nil); !errors.Is(err, s.err) || s.consumed != "" {
		t.Errorf("without streams: consumed as %q, %v", s.consumed, err)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if err := Consume(ended, s, broker.Consumer{}, nil); err != nil {
		t.Errorf("a service that stops: %v", err)
	}
}

func (s *streams) EnsureStream(_ context.Context, name string, subjects ...string) error {
	s.made[name] = subjects
	return s.err
}

func TestEnsureStreams(t *testing.T) {
	s := &streams{made: map[string][]string{}}
	if err := EnsureStreams(context.Background(), s); err != nil {
		t.Fatal(err)
	}
	want := map[string][]string{OrdersStream: {"orders.>"}, DeadLettersStream: {"dead.>"}}
	if !reflect.DeepEqual(s.made, want) {
		t.Errorf("made %v, want %v", s.made, want)
	}
	if got := DeadLetter("shipping", OrdersConfirmed); got != "dead.shipping.orders.confirmed" {
		t.Error(got)
	}
	s.err = errors.New("refused")
	if err := EnsureStreams(context.Background(), s); !errors.Is(err, s.err) {
		t.Errorf("got %v", err)
	}
}
