package bank

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/faultline-lab/faultline/services/kit/store"
	"github.com/faultline-lab/faultline/services/kit/store/storetest"
)

const goodCard = "4242-0000-0000-0001"

// branch is a bank with its books in a file.
type branch struct {
	t       *testing.T
	ledger  *ledger
	handler http.Handler
}

func openBranch(t *testing.T) *branch {
	t.Helper()
	db, err := store.Open(t.Context(), storetest.Config(t, filepath.Join(t.TempDir(), "bank.db"), schema))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	l := &ledger{db: db, now: time.Now}
	return &branch{t: t, ledger: l, handler: newHandler(l, slog.New(slog.DiscardHandler))}
}

// answered is what came back, of all kinds of answers.
type answered struct {
	Status    int
	Replayed  bool
	ID        string
	Reference string
	Cents     int64  `json:"amount_cents"`
	Tombstone bool   `json:"tombstone"`
	Code      string `json:"code"`
	Error     string `json:"error"`
	TraceID   string `json:"trace_id"`
}

func (b *branch) post(path, key, body string) answered {
	b.t.Helper()
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
	if key != "" {
		r.Header.Set("Idempotency-Key", key)
	}
	w := httptest.NewRecorder()
	b.handler.ServeHTTP(w, r)
	var a answered
	if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil {
		b.t.Fatalf("%s answered %q: %v", path, w.Body, err)
	}
	a.Status, a.Replayed = w.Code, w.Header().Get("Idempotency-Replayed") == "true"
	return a
}

func (b *branch) capture(key, reference string, cents int64) answered {
	b.t.Helper()
	return b.post("/captures", key, fmt.Sprintf(`{"reference": %q, "card": %q, "amount_cents": %d}`, reference, goodCard, cents))
}

func (b *branch) refund(key, reference string) answered {
	b.t.Helper()
	return b.post("/refunds", key, fmt.Sprintf(`{"reference": %q}`, reference))
}

// books reads the ledger the way an auditor does.
func (b *branch) books() books {
	b.t.Helper()
	w := httptest.NewRecorder()
	b.handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/ledger", nil))
	if w.Code != http.StatusOK {
		b.t.Fatalf("/ledger: %d %s", w.Code, w.Body)
	}
	var all books
	if err := json.Unmarshal(w.Body.Bytes(), &all); err != nil {
		b.t.Fatal(err)
	}
	return all
}

func (b *branch) wantSum(reference string, want sum) {
	b.t.Helper()
	if got := b.books().References[reference]; got != want {
		b.t.Errorf("the books say of %s: %+v, want %+v", reference, got, want)
	}
}

func TestCaptureIsBookedOncePerKey(t *testing.T) {
	b := openBranch(t)
	first := b.capture("o-1", "o-1", 1290)
	if first.Status != http.StatusCreated || first.ID == "" || first.Reference != "o-1" || first.Cents != 1290 || first.Replayed {
		t.Errorf("first: %+v", first)
	}
	again := b.capture("o-1", "o-1", 1290)
	if again.Status != http.StatusCreated || again.ID != first.ID || !again.Replayed {
		t.Errorf("again: %+v, want the capture %s", again, first.ID)
	}
	for name, a := range map[string]answered{
		"another amount":    b.capture("o-1", "o-1", 1291),
		"another reference": b.capture("o-1", "o-2", 1290),
		"another card":      b.post("/captures", "o-1", `{"reference": "o-1", "card": "4242-0000-0000-0002", "amount_cents": 1290}`),
	} {
		if a.Status != http.StatusConflict || a.Code != "key_reused" {
			t.Errorf("%s under the same key: %+v", name, a)
		}
	}
	b.wantSum("o-1", sum{Captures: 1, CapturedCents: 1290})
}

func TestCaptureWithoutAKeyIsBookedEachTime(t *testing.T) {
	b := openBranch(t)
	if first, second := b.capture("", "o-1", 500), b.capture("", "o-1", 500); first.ID == second.ID || second.Status != http.StatusCreated {
		t.Errorf("%+v then %+v", first, second)
	}
	b.wantSum("o-1", sum{Captures: 2, CapturedCents: 1000})
}

func TestCaptureTakesTheKeyFromTheBodyToo(t *testing.T) {
	b := openBranch(t)
	body := `{"reference": "o-1", "card": "4242-0000-0000-0001", "amount_cents": 500, "idempotency_key": "k"}`
	first, again := b.post("/captures", "", body), b.post("/captures", "k", body)
	if first.ID == "" || again.ID != first.ID {
		t.Errorf("%+v then %+v", first, again)
	}
	if a := b.post("/captures", "other", body); a.Status != http.StatusBadRequest || a.Code != "bad_key" {
		t.Errorf("two keys that differ: %+v", a)
	}
}

func TestCaptureUnderOneKeyAtTheSameTime(t *testing.T) {
	b := openBranch(t)
	ids := make([]string, 16)
	var callers sync.WaitGroup
	for i := range ids {
		callers.Go(func() { ids[i] = b.capture("o-1", "o-1", 500).ID })
	}
	callers.Wait()
	for _, id := range ids {
		if id == "" || id != ids[0] {
			t.Errorf("ids %q, want the same one everywhere", ids)
			break
		}
	}
	b.wantSum("o-1", sum{Captures: 1, CapturedCents: 500})
}

func TestRefundGivesBackWhatWasCaptured(t *testing.T) {
	b := openBranch(t)
	b.capture("o-1", "o-1", 700)
	first := b.refund("refund-o-1", "o-1")
	if first.Status != http.StatusCreated || first.Cents != 700 || first.Tombstone {
		t.Errorf("refund: %+v", first)
	}
	if again := b.refund("refund-o-1", "o-1"); again.ID != first.ID || !again.Replayed {
		t.Errorf("again: %+v, want the refund %s", again, first.ID)
	}
	if a := b.refund("refund-o-1", "o-2"); a.Status != http.StatusConflict || a.Code != "key_reused" {
		t.Errorf("another reference under the same key: %+v", a)
	}
	if late := b.capture("o-1", "o-1", 700); late.Status != http.StatusCreated || !late.Replayed {
		t.Errorf("the capture asked again is not the old one: %+v", late)
	}
	b.wantSum("o-1", sum{Captures: 1, CapturedCents: 700, Refunds: 1, RefundedCents: 700})
}

// An auditor must be able to see a compensation that was done twice.
func TestRefundUnderAnotherKeyIsBookedAgain(t *testing.T) {
	b := openBranch(t)
	b.capture("o-1", "o-1", 700)
	b.refund("one", "o-1")
	b.refund("two", "o-1")
	b.wantSum("o-1", sum{Captures: 1, CapturedCents: 700, Refunds: 2, RefundedCents: 1400})
}

func TestRefundBeforeItsCaptureIsATombstone(t *testing.T) {
	b := openBranch(t)
	first := b.refund("refund-o-1", "o-1")
	if first.Status != http.StatusCreated || !first.Tombstone || first.Cents != 0 {
		t.Errorf("refund: %+v", first)
	}
	if again := b.refund("refund-o-1", "o-1"); again.ID != first.ID || !again.Tombstone {
		t.Errorf("again: %+v", again)
	}
	if late := b.capture("o-1", "o-1", 700); late.Status != http.StatusConflict || late.Code != "refunded" {
		t.Errorf("the capture that came late: %+v", late)
	}
	b.wantSum("o-1", sum{})
	if all := b.books(); len(all.Tombstones) != 1 || len(all.Refunds) != 0 || len(all.Captures) != 0 {
		t.Errorf("books: %+v", all)
	}
}

func TestBooksListWhatWasBookedInOrder(t *testing.T) {
	b := openBranch(t)
	now := time.UnixMilli(0)
	b.ledger.now = func() time.Time { now = now.Add(time.Millisecond); return now }
	b.capture("b", "b", 100)
	b.capture("a", "a", 200)
	b.refund("refund-b", "b")
	all := b.books()
	if len(all.Captures) != 2 || all.Captures[0].Reference != "b" || all.Captures[1].AmountCents != 200 {
		t.Errorf("captures: %+v", all.Captures)
	}
	if len(all.Refunds) != 1 || all.Refunds[0].Reference != "b" || all.Refunds[0].AmountCents != 100 {
		t.Errorf("refunds: %+v", all.Refunds)
	}
}

func TestRequestsThatAreRefused(t *testing.T) {
	b := openBranch(t)
	long := strings.Repeat("x", maxText+1)
	cases := []struct {
		name   string
		got    answered
		status int
		code   string
	}{
		{"declined card", b.post("/captures", "k", `{"reference": "o", "card": "4000-0000-0000-0002", "amount_cents": 1}`), 402, "card_declined"},
		{"no card", b.post("/captures", "k", `{"reference": "o", "amount_cents": 1}`), 400, "bad_card"},
		{"card in another form", b.post("/captures", "k", `{"reference": "o", "card": "4242000000000001", "amount_cents": 1}`), 400, "bad_card"},
		{"nothing to pay", b.capture("k", "o", 0), 400, "bad_amount"},
		{"less than nothing", b.capture("k", "o", -5), 400, "bad_amount"},
		{"too much", b.capture("k", "o", maxAmount+1), 400, "bad_amount"},
		{"no reference", b.capture("k", "", 5), 400, "bad_reference"},
		{"long reference", b.capture("k", long, 5), 400, "bad_reference"},
		{"long key", b.capture(long, "o", 5), 400, "bad_key"},
		{"no JSON", b.post("/captures", "k", `amount=5`), 400, "bad_body"},
		{"part of a cent", b.post("/captures", "k", `{"amount_cents": 1.5}`), 400, "bad_body"},
		{"long body", b.post("/captures", "k", `{"reference": "`+strings.Repeat("x", maxBody)+`"}`), 413, "bad_body"},
		{"refund of nothing", b.refund("k", ""), 400, "bad_reference"},
		{"refund without JSON", b.post("/refunds", "k", ``), 400, "bad_body"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if c.got.Status != c.status || c.got.Code != c.code || c.got.Error == "" {
				t.Errorf("%+v, want %d %s", c.got, c.status, c.code)
			}
		})
	}
	if all := b.books(); len(all.References) != 0 {
		t.Errorf("something was booked: %+v", all)
	}
}

func TestOnlyTheEndsOfACardAreKept(t *testing.T) {
	b := openBranch(t)
	b.capture("o-1", "o-1", 500)
	var card string
	if err := b.ledger.db.QueryRowContext(t.Context(), "SELECT card FROM bank_captures").Scan(&card); err != nil || card != "4242-****-****-0001" {
		t.Errorf("kept %q, %v", card, err)
	}
}

func TestAStoreThatFails(t *testing.T) {
	b := openBranch(t)
	b.ledger.db.Close()
	for name, a := range map[string]answered{
		"capture": b.capture("k", "o", 5), "capture without a key": b.capture("", "o", 5), "refund": b.refund("k", "o"),
	} {
		if a.Status != http.StatusInternalServerError || a.Code != "internal" || strings.Contains(a.Error, "sql") {
			t.Errorf("%s: %+v", name, a)
		}
	}
	w := httptest.NewRecorder()
	b.handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/ledger", nil))
	if w.Code != http.StatusInternalServerError {
		t.Errorf("/ledger: %d", w.Code)
	}
}

func TestErrorsCarryTheirTrace(t *testing.T) {
	b := openBranch(t)
	span := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}})
	r := httptest.NewRequest(http.MethodPost, "/refunds", strings.NewReader("{}"))
	w := httptest.NewRecorder()
	b.handler.ServeHTTP(w, r.WithContext(trace.ContextWithSpanContext(context.Background(), span)))
	if want := `"trace_id":"` + span.TraceID().String() + `"`; !strings.Contains(w.Body.String(), want) {
		t.Errorf("%s lacks %s", w.Body, want)
	}
}
