package payments

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
)

// answering serves one answer to all requests and keeps the last request.
type answering struct {
	code       int
	body       string
	got        *http.Request
	content    string
	cutOffBody bool
}

func (a *answering) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	data, _ := io.ReadAll(r.Body)
	a.got, a.content = r, string(data)
	if a.cutOffBody {
		w.Header().Set("Content-Length", "1000")
	}
	w.WriteHeader(a.code)
	_, _ = io.WriteString(w, a.body)
}

func serve(t *testing.T, a *answering) *httpBank {
	t.Helper()
	srv := httptest.NewServer(a)
	t.Cleanup(srv.Close)
	return &httpBank{client: srv.Client(), base: srv.URL}
}

func TestCaptureOverHTTP(t *testing.T) {
	tests := []struct {
		name     string
		answer   answering
		id       string
		refused  bool
		conflict bool
		text     string
	}{
		{name: "booked", answer: answering{code: 201, body: `{"id":"cap-1","reference":"o-1"}`}, id: "cap-1"},
		{name: "booked before", answer: answering{code: 200, body: `{"id":"cap-1"}`}, id: "cap-1"},
		{name: "declined", answer: answering{code: 402, body: `{"code":"card_declined","error":"the card was declined"}`}, refused: true, text: "the bank declined: the card was declined"},
		{name: "bad card", answer: answering{code: 400, body: `{"error":"bad card"}`}, refused: true, text: "bad card"},
		{name: "declined without a word", answer: answering{code: 402}, refused: true, text: "no reason given"},
		{name: "conflict", answer: answering{code: 409, body: `{"error":"the reference was refunded before"}`}, conflict: true, text: "refunded before"},
		{name: "overloaded", answer: answering{code: 503}, text: "the bank answered 503 to a capture"},
		{name: "limited", answer: answering{code: 429}, text: "the bank answered 429"},
		{name: "wrong place", answer: answering{code: 404}, text: "the bank answered 404"},
		{name: "not JSON", answer: answering{code: 201, body: `<html>`}, text: "reading the bank's answer to a capture"},
		{name: "no id", answer: answering{code: 201, body: `{}`}, text: "reading the bank's answer to a capture"},
		{name: "cut off", answer: answering{code: 201, body: `{"id":"ca`, cutOffBody: true}, text: "reading the bank's answer: unexpected EOF"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			id, err := serve(t, &test.answer).capture(t.Context(), "o-1", goodCard, 100)
			var no *refusal
			if id != test.id || errors.As(err, &no) != test.refused || errors.Is(err, errConflict) != test.conflict {
				t.Errorf("got %q, %v", id, err)
			}
			if (err == nil) != (test.text == "") || err != nil && !strings.Contains(err.Error(), test.text) {
				t.Errorf("error %v, want %q", err, test.text)
			}
			if test.answer.got.Header.Get("Idempotency-Key") != "o-1" || test.answer.got.URL.Path != "/captures" ||
				test.answer.content != `{"amount_cents":100,"card":"4242-0000-0000-0001","reference":"o-1"}` {
				t.Errorf("sent %v %q", test.answer.got.Header, test.answer.content)
			}
		})
	}
}

func TestRefundOverHTTP(t *testing.T) {
	for code, ok := range map[int]bool{201: true, 200: true, 409: false, 500: false, 402: false} {
		a := &answering{code: code, body: `{}`}
		if err := serve(t, a).refund(t.Context(), "o-1"); (err == nil) != ok {
			t.Errorf("%d: %v", code, err)
		}
		if a.got.Header.Get("Idempotency-Key") != "refund-o-1" || a.got.URL.Path != "/refunds" || a.content != `{"reference":"o-1"}` {
			t.Errorf("sent %v %q", a.got.Header, a.content)
		}
	}
}

func TestBankGone(t *testing.T) {
	srv := httptest.NewServer(http.NotFoundHandler())
	b := &httpBank{client: srv.Client(), base: srv.URL}
	if _, err := b.ledger(t.Context()); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("got %v", err)
	}
	srv.Close()
	if _, err := b.capture(t.Context(), "o-1", goodCard, 1); err == nil {
		t.Error("captured at a bank that is gone")
	}
	if err := b.refund(t.Context(), "o-1"); err == nil {
		t.Error("refunded at a bank that is gone")
	}
	if _, err := b.ledger(t.Context()); err == nil {
		t.Error("read the ledger of a bank that is gone")
	}
	late, cancel := context.WithTimeout(t.Context(), 0)
	defer cancel()
	if _, err := b.capture(late, "o-1", goodCard, 1); !timedOut(err) {
		t.Errorf("%v is a timeout", err)
	}
	if timedOut(errLine) {
		t.Error("a reset is no timeout")
	}
}

func TestReadLedger(t *testing.T) {
	got, err := serve(t, &answering{code: 200, body: `{
		"captures": [{"id":"c1","reference":"o-1","amount_cents":100}, {"reference":"o-1","amount_cents":100}, {"reference":"o-2","amount_cents":5}],
		"refunds": [{"reference":"o-1","amount_cents":200}], "tombstones": [{"reference":"o-3","amount_cents":0}], "references": {}}`}).ledger(t.Context())
	want := map[string]booking{"o-1": {captures: 2, refunds: 1}, "o-2": {captures: 1, balance: 5}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
	if _, err := readLedger(strings.NewReader(`{"captures": 1}`)); err == nil {
		t.Error("a ledger without a list was read")
	}
}

func FuzzReadLedger(f *testing.F) {
	for _, seed := range []string{`{"captures":[{"reference":"o-1","amount_cents":1}],"refunds":[]}`, `{}`, `[]`, `{"captures":[null]}`, ``} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := readLedger(strings.NewReader(text))
		if err != nil && got != nil {
			t.Fatalf("%q gave both %v and %v", text, got, err)
		}
	})
}
