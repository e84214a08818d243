package notifications

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/faultline-lab/faultline/services/events"
	"github.com/faultline-lab/faultline/services/kit/broker"
)

// Invariants that an audit checks, named as those of orders are.
const (
	effectLost = "effect-lost" // what was announced, and acknowledged by this service, the customer was told, or it was given up
	eventOnce  = "event-once"  // nobody was told of what was not announced
)

// auditWithin bounds asking the broker.
const auditWithin = 30 * time.Second

// violation is one broken invariant.
type violation struct {
	Invariant string   `json:"invariant"`
	Detail    string   `json:"detail"`
	Keys      []string `json:"keys"` // the order
}

// told is a thing that a customer was told, or was to be told: an event of an order.
type told struct{ order, event string }

// messageStore tells what the broker keeps; the broker's client is one.
type messageStore interface {
	Stored(ctx context.Context, stream string) ([]broker.Stored, error)
	Acknowledged(ctx context.Context, stream, durable string) (uint64, error)
}

// facts are what an audit judges. They are read in this order while messages go on coming: what was acknowledged at first was
// written down by the time the book is read, and what is in the book came from a message that the stream has.
type facts struct {
	acknowledged uint64 // every message up to this place in the stream
	told         map[told]bool
	kept         []broker.Stored
	givenUp      map[string]bool // ids of messages among the dead letters
}

// audit answers GET /audit: what customers were told, held against what the broker keeps. A message that waits
// to be handled is no fault, and so this is always settled.
func (h *handler) audit(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), auditWithin)
	defer cancel()
	f, err := h.gather(ctx)
	if err != nil {
		h.log.WarnContext(ctx, "audit failed", "error", err.Error())
		writeJSON(w, http.StatusServiceUnavailable, map[string]string{"error": err.Error()})
		return
	}
	checked := map[string]int{}
	for t := range f.told {
		checked[t.event]++
	}
	writeJSON(w, http.StatusOK, map[string]any{"violations": judge(f), "checked": checked, "settled": true})
}

func (h *handler) gather(ctx context.Context) (facts, error) {
	f := facts{givenUp: map[string]bool{}}
	var err error
	if f.acknowledged, err = h.broker.Acknowledged(ctx, events.OrdersStream, name); err != nil {
		return facts{}, err
	}
	if f.told, err = h.book.told(ctx); err != nil {
		return facts{}, fmt.Errorf("reading what customers were told: %w", err)
	}
	if f.kept, err = h.broker.Stored(ctx, events.OrdersStream); err != nil {
		return facts{}, err
	}
	letters, err := h.broker.Stored(ctx, events.DeadLettersStream)
	for _, letter := range letters {
		if id, own := strings.CutPrefix(letter.ID, name+"/"); own {
			f.givenUp[id] = true
		}
	}
	return f, err
}

// judge compares the facts.
func judge(f facts) []violation {
	out := []violation{}
	announced := make(map[told]bool, len(f.kept))
	for _, m := range f.kept {
		t := told{orderOf(m.ID), m.Subject}
		if t.order == "" { // no message of this shop's
			continue
		}
		if m.Seq <= f.acknowledged && !f.told[t] && !f.givenUp[m.ID] && !announced[t] {
			out = append(out, violation{effectLost, "notifications acknowledged " + m.Subject + ", but the customer was told nothing", []string{t.order}})
		}
		announced[t] = true
	}
	for t := range f.told {
		if !announced[t] {
			out = append(out, violation{eventOnce, "the customer was told " + t.event + ", which the broker knows nothing of", []string{t.order}})
		}
	}
	return out
}

// orderOf takes the order out of the id of an event: orders/o-1/1.
func orderOf(event string) string {
	if parts := strings.Split(event, "/"); len(parts) == 3 {
		return parts[1]
	}
	return ""
}
