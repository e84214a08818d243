package payments

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/google/uuid"

	"github.com/faultline-lab/faultline/services/bug"
)

// maxAnswer bounds what is read of the bank's answers to a single capture or refund, in bytes.
const maxAnswer = 1 << 16

// httpBank asks the bank over HTTP. Each question carries an idempotency key, so that it may be asked again.
type httpBank struct {
	client *http.Client
	base   string
	bug    bug.Name // none but in a lab that looks for it
}

// refusal is the bank's definite no: it booked nothing for this question.
type refusal struct{ reason string }

func (r *refusal) Error() string { return "the bank declined: " + r.reason }

// errConflict is the bank's answer to a capture of a reference that was refunded, or under a key that it
// has seen with other content. It does not say that nothing is booked.
var errConflict = errors.New("the bank reports a conflict")

// capture takes the money for an order and returns the bank's id of the booking. Any error but a
// *refusal leaves open whether the bank booked it.
func (b *httpBank) capture(ctx context.Context, order, card string, amount int64) (string, error) {
	key := order
	if b.bug == bug.DoubleCharge {
		key = ""
	}
	code, body, err := b.post(ctx, "/captures", key, map[string]any{"reference": order, "card": card, "amount_cents": amount})
	if err != nil {
		return "", err
	}
	switch code {
	case http.StatusOK, http.StatusCreated:
		var booked struct {
			ID string `json:"id"`
		}
		if err := json.Unmarshal(body, &booked); err != nil || booked.ID == "" {
			return "", fmt.Errorf("reading the bank's answer to a capture: %.100q", body)
		}
		return booked.ID, nil
	case http.StatusPaymentRequired, http.StatusBadRequest, http.StatusUnprocessableEntity:
		return "", &refusal{reason: reason(body)}
	case http.StatusConflict:
		return "", fmt.Errorf("%w: %s", errConflict, reason(body))
	}
	return "", fmt.Errorf("the bank answered %d to a capture", code)
}

// refund gives back what the bank booked for an order, if anything, and makes it refuse a capture that
// is still on its way.
func (b *httpBank) refund(ctx context.Context, order string) error {
	key := "refund-" + order
	if b.bug == bug.DoubleCompensation {
		key += "-" + uuid.NewString()
	}
	code, _, err := b.post(ctx, "/refunds", key, map[string]any{"reference": order})
	if err != nil {
		return err
	}
	if code != http.StatusOK && code != http.StatusCreated {
		return fmt.Errorf("the bank answered %d to a refund", code)
	}
	return nil
}

func (b *httpBank) post(ctx context.Context, path, key string, content any) (int, []byte, error) {
	data, err := json.Marshal(content)
	if err != nil {
		return 0, nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, b.base+path, bytes.NewReader(data))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	resp, err := b.client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return 0, nil, fmt.Errorf("reading the bank's answer: %w", err)
	}
	return resp.StatusCode, body, nil
}

// reason takes the text out of the bank's error, or says that there is none.
func reason(body []byte) string {
	var e struct {
		Error string `json:"error"`
	}
	if err := json.Unmarshal(body, &e); err != nil || e.Error == "" {
		return "no reason given"
	}
	return e.Error
}

// booking is what the bank booked under one reference.
type booking struct {
	captures, refunds int32
	balance           int64 // cents captured less cents refunded
}

// entry is a line of the bank's ledger.
type entry struct {
	Reference   string `json:"reference"`
	AmountCents int64  `json:"amount_cents"`
}

// ledger returns the bank's bookings by reference.
func (b *httpBank) ledger(ctx context.Context) (map[string]booking, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, b.base+"/ledger", nil)
	if err != nil {
		return nil, err
	}
	resp, err := b.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the bank answered %d for its ledger", resp.StatusCode)
	}
	return readLedger(resp.Body)
}

func readLedger(r io.Reader) (map[string]booking, error) {
	var ledger struct {
		Captures []entry `json:"captures"`
		Refunds  []entry `json:"refunds"`
	}
	if err := json.NewDecoder(r).Decode(&ledger); err != nil {
		return nil, fmt.Errorf("reading the bank's ledger: %w", err)
	}
	out := make(map[string]booking, len(ledger.Captures))
	for _, e := range ledger.Captures {
		b := out[e.Reference]
		b.captures, b.balance = b.captures+1, b.balance+e.AmountCents
		out[e.Reference] = b
	}
	for _, e := range ledger.Refunds {
		b := out[e.Reference]
		b.refunds, b.balance = b.refunds+1, b.balance-e.AmountCents
		out[e.Reference] = b
	}
	return out, nil
}

// timedOut says whether an error is that of a time limit.
func timedOut(err error) bool {
	var netErr net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &netErr) && netErr.Timeout()
}
