package bank

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"strings"

	"go.opentelemetry.io/otel/trace"
)

const (
	maxBody   = 16 << 10
	maxText   = 128         // bytes of a reference or a key
	maxAmount = 100_000_000 // cents of one capture: a million
)

// declined is how the numbers of cards start that the bank never charges.
const declined = "4000-"

// handler serves the books over HTTP.
type handler struct {
	ledger *ledger
	cards  *regexp.Regexp
	log    *slog.Logger
}

func newHandler(l *ledger, log *slog.Logger) http.Handler {
	h := &handler{ledger: l, cards: regexp.MustCompile(`^[0-9]{4}(-[0-9]{4}){3}$`), log: log}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /captures", h.capture)
	mux.HandleFunc("POST /refunds", h.refund)
	mux.HandleFunc("GET /ledger", h.books)
	return mux
}

// refusal is the body of every answer that is not 2xx. Code is for programs.
type refusal struct {
	Code    string `json:"code"`
	Error   string `json:"error"`
	TraceID string `json:"trace_id,omitempty"`
}

type captureRequest struct {
	Reference      string `json:"reference"`
	Card           string `json:"card"`
	AmountCents    int64  `json:"amount_cents"`
	IdempotencyKey string `json:"idempotency_key"`
}

func (h *handler) capture(w http.ResponseWriter, r *http.Request) {
	var req captureRequest
	key, ok := h.read(w, r, &req, &req.IdempotencyKey)
	if !ok {
		return
	}
	switch {
	case !goodText(req.Reference):
		h.refuse(w, r, http.StatusBadRequest, "bad_reference", fmt.Sprintf("reference must have 1 to %d bytes", maxText))
	case req.AmountCents < 1 || req.AmountCents > maxAmount:
		h.refuse(w, r, http.StatusBadRequest, "bad_amount", fmt.Sprintf("amount_cents must be 1 to %d, got %d", maxAmount, req.AmountCents))
	case !h.cards.MatchString(req.Card):
		h.refuse(w, r, http.StatusBadRequest, "bad_card", "card must be four groups of four digits, such as 4242-0000-0000-0001")
	case strings.HasPrefix(req.Card, declined):
		h.refuse(w, r, http.StatusPaymentRequired, "card_declined", "the card was declined")
	default:
		booked, replayed, err := h.ledger.capture(r.Context(), key, capture{Reference: req.Reference, AmountCents: req.AmountCents, card: mask(req.Card)})
		h.conclude(w, r, booked, replayed, err)
	}
}

type refundRequest struct {
	Reference      string `json:"reference"`
	IdempotencyKey string `json:"idempotency_key"`
}

func (h *handler) refund(w http.ResponseWriter, r *http.Request) {
	var req refundRequest
	key, ok := h.read(w, r, &req, &req.IdempotencyKey)
	if !ok {
		return
	}
	if !goodText(req.Reference) {
		h.refuse(w, r, http.StatusBadRequest, "bad_reference", fmt.Sprintf("reference must have 1 to %d bytes", maxText))
		return
	}
	booked, replayed, err := h.ledger.refund(r.Context(), key, req.Reference)
	h.conclude(w, r, booked, replayed, err)
}

func (h *handler) books(w http.ResponseWriter, r *http.Request) {
	all, err := h.ledger.books(r.Context())
	if err != nil {
		h.fail(w, r, err)
		return
	}
	answer(w, http.StatusOK, all)
}

// read decodes the body and settles the idempotency key, which comes in the
// header or in the body. Fields that the bank does not know are none of its business.
func (h *handler) read(w http.ResponseWriter, r *http.Request, into any, inBody *string) (key string, ok bool) {
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(into); err != nil {
		code, detail := http.StatusBadRequest, "the body is not the JSON that is expected here"
		if tooLong := new(http.MaxBytesError); errors.As(err, &tooLong) {
			code, detail = http.StatusRequestEntityTooLarge, fmt.Sprintf("the body has more than %d bytes", tooLong.Limit)
		}
		h.refuse(w, r, code, "bad_body", detail)
		return "", false
	}
	key = r.Header.Get("Idempotency-Key")
	switch {
	case key == "":
		key = *inBody
	case *inBody != "" && *inBody != key:
		h.refuse(w, r, http.StatusBadRequest, "bad_key", "the idempotency keys in header and body differ")
		return "", false
	}
	if len(key) > maxText {
		h.refuse(w, r, http.StatusBadRequest, "bad_key", fmt.Sprintf("an idempotency key has at most %d bytes", maxText))
		return "", false
	}
	return key, true
}

// conclude answers a booking.
func (h *handler) conclude(w http.ResponseWriter, r *http.Request, booked any, replayed bool, err error) {
	switch {
	case errors.Is(err, errKeyReused):
		h.refuse(w, r, http.StatusConflict, "key_reused", err.Error())
	case errors.Is(err, errRefunded):
		h.refuse(w, r, http.StatusConflict, "refunded", err.Error())
	case err != nil:
		h.fail(w, r, err)
	default:
		if replayed {
			w.Header().Set("Idempotency-Replayed", "true")
		}
		answer(w, http.StatusCreated, booked)
	}
}

// fail answers an error of the bank's own, whose text stays in its log.
func (h *handler) fail(w http.ResponseWriter, r *http.Request, err error) {
	h.log.ErrorContext(r.Context(), "request failed", "route", r.Pattern, "error", err)
	h.refuse(w, r, http.StatusInternalServerError, "internal", "the bank could not do this")
}

func (h *handler) refuse(w http.ResponseWriter, r *http.Request, code int, name, detail string) {
	body := refusal{Code: name, Error: detail}
	if span := trace.SpanContextFromContext(r.Context()); span.HasTraceID() {
		body.TraceID = span.TraceID().String()
	}
	answer(w, code, body)
}

func answer(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	json.NewEncoder(w).Encode(body) // a caller who has gone is no error of ours
}

func goodText(s string) bool { return s != "" && len(s) <= maxText }

// mask keeps the ends of a card's number.
func mask(card string) string {
	return card[:4] + "-****-****-" + card[len(card)-4:]
}
