package notifications

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/faultline-lab/faultline/services/bug"
	"github.com/faultline-lab/faultline/services/events"
	"github.com/faultline-lab/faultline/services/kit/broker"
	"github.com/faultline-lab/faultline/services/kit/store"
)

const schema = `
CREATE TABLE IF NOT EXISTS notifications (
	order_id   TEXT NOT NULL,
	event      TEXT NOT NULL,
	account_id TEXT NOT NULL,
	message    TEXT NOT NULL,
	created_ms BIGINT NOT NULL,
	PRIMARY KEY (order_id, event)
);
CREATE INDEX IF NOT EXISTS notifications_by_time ON notifications (created_ms);`

// notification is one row.
type notification struct {
	Order     string `json:"order_id"`
	Event     string `json:"event"`
	Account   string `json:"account_id"`
	Message   string `json:"message"`
	CreatedMS int64  `json:"created_unix_ms"`
}

// book is the store of notifications.
type book struct{ db *store.DB }

// add writes a notification down, and says whether it is new.
func (b *book) add(ctx context.Context, n notification) (bool, error) {
	res, err := b.db.ExecContext(ctx, `INSERT INTO notifications (order_id, event, account_id, message, created_ms)
		VALUES (?, ?, ?, ?, ?) ON CONFLICT (order_id, event) DO NOTHING`, n.Order, n.Event, n.Account, n.Message, n.CreatedMS)
	if err != nil {
		return false, err
	}
	rows, err := res.RowsAffected()
	return rows > 0, err
}

// newest returns the newest notifications, or only those of an order.
func (b *book) newest(ctx context.Context, order string, limit int) ([]notification, error) {
	rows, err := b.db.QueryContext(ctx, `SELECT order_id, event, account_id, message, created_ms FROM notifications
		WHERE order_id = ? OR ? = '' ORDER BY created_ms DESC, order_id, event LIMIT ?`, order, order, limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	out := []notification{}
	for rows.Next() {
		var n notification
		if err := rows.Scan(&n.Order, &n.Event, &n.Account, &n.Message, &n.CreatedMS); err != nil {
			return nil, err
		}
		out = append(out, n)
	}
	return out, rows.Err()
}

// told returns which events each order's customer was told of: how often is once, which their key sees to.
func (b *book) told(ctx context.Context) (map[told]bool, error) {
	rows, err := b.db.QueryContext(ctx, `SELECT order_id, event FROM notifications`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	out := map[told]bool{}
	for rows.Next() {
		var t told
		if err := rows.Scan(&t.order, &t.event); err != nil {
			return nil, err
		}
		out[t] = true
	}
	return out, rows.Err()
}

// handler handles events of orders, and shows what customers were told.
type handler struct {
	book   *book
	broker messageStore
	door   func(context.Context, func(context.Context) error) error
	log    *slog.Logger
	bug    bug.Name // none but in a lab that looks for it
}

// handle tells the customer of a message, with a worker of the door. When there is none, the broker is the queue: the message
// comes again.
func (h *handler) handle(ctx context.Context, m broker.Message) error {
	return h.door(ctx, func(ctx context.Context) error { return h.tell(ctx, m) })
}

func (h *handler) tell(ctx context.Context, m broker.Message) error {
	n, err := write(m)
	if err != nil {
		return broker.Permanent(err)
	}
	if h.bug == bug.CoarseDedup {
		if earlier, err := h.book.newest(ctx, n.Order, 1); err != nil || len(earlier) > 0 {
			return cmp.Or(err, error(broker.ErrDuplicate))
		}
	}
	isNew, err := h.book.add(ctx, n)
	if err != nil {
		return fmt.Errorf("writing down that %s is %s: %w", n.Order, n.Event, err)
	}
	if !isNew {
		return broker.ErrDuplicate
	}
	h.log.InfoContext(ctx, "customer notified", "order", n.Order, "event", n.Event)
	return nil
}

// write makes the notification of a message; an error when it is none that a customer is told of.
func write(m broker.Message) (notification, error) {
	n := notification{Event: m.Subject, CreatedMS: time.Now().UnixMilli()}
	switch m.Subject {
	case events.OrdersConfirmed:
		e, err := events.ReadOrderConfirmed(m.Data)
		if err != nil {
			return notification{}, err
		}
		n.Order, n.Account = e.OrderID, e.AccountID
		n.Message = fmt.Sprintf("Your order %s over %d.%02d is confirmed.", e.OrderID, e.TotalCents/100, e.TotalCents%100)
	case events.OrdersShipped:
		e, err := events.ReadOrderShipped(m.Data)
		if err != nil {
			return notification{}, err
		}
		n.Order, n.Account = e.OrderID, e.AccountID
		n.Message = fmt.Sprintf("Your order %s is on its way, shipment %s.", e.OrderID, e.ShipmentID)
	default:
		return notification{}, fmt.Errorf("no notification for %s", m.Subject)
	}
	return n, nil
}

func (h *handler) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /notifications", h.list)
	return mux
}

// list answers GET /notifications: the newest, or with ?order= those of an order.
func (h *handler) list(w http.ResponseWriter, r *http.Request) {
	const most = 200
	found, err := h.book.newest(r.Context(), r.URL.Query().Get("order"), most)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{"notifications": found})
}

func (h *handler) fail(w http.ResponseWriter, r *http.Request, err error) {
	h.log.ErrorContext(r.Context(), "request failed", "path", r.URL.Path, "error", err.Error())
	writeJSON(w, http.StatusInternalServerError, map[string]string{"error": "the store does not answer"})
}

func writeJSON(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(body) // a reader who has gone is no trouble of ours
}
