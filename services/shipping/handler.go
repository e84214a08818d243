package shipping

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/faultline-lab/faultline/services/events"
	"github.com/faultline-lab/faultline/services/kit/broker"
	inventoryv1 "github.com/faultline-lab/faultline/services/proto/shop/inventory/v1"
)

// shipper lets the goods of an order leave; inventory's client is one.
type shipper interface {
	Ship(context.Context, *inventoryv1.ShipRequest, ...grpc.CallOption) (*inventoryv1.ShipResponse, error)
}

// handler handles confirmed orders, and shows what became of them.
type handler struct {
	shipments *shipments
	goods     shipper
	door      func(context.Context, func(context.Context) error) error
	log       *slog.Logger
}

// handle ships the order of a message, with a worker of the door. When there is none, the broker is the queue: the message
// comes again.
func (h *handler) handle(ctx context.Context, m broker.Message) error {
	return h.door(ctx, func(ctx context.Context) error { return h.ship(ctx, m) })
}

func (h *handler) ship(ctx context.Context, m broker.Message) error {
	e, err := events.ReadOrderConfirmed(m.Data)
	if err != nil {
		return broker.Permanent(err)
	}
	row, err := h.shipments.begin(ctx, e)
	if err != nil {
		return fmt.Errorf("writing down the shipment of %s: %w", e.OrderID, err)
	}
	if row.State == shipped {
		return broker.ErrDuplicate
	}
	if _, err := h.goods.Ship(ctx, &inventoryv1.ShipRequest{OrderId: e.OrderID}); err != nil {
		return h.failed(ctx, e.OrderID, err)
	}
	was, err := h.shipments.finish(ctx, row)
	if err != nil {
		return fmt.Errorf("writing down that %s is shipped: %w", e.OrderID, err)
	}
	if !was { // another delivery of the message was faster
		return broker.ErrDuplicate
	}
	h.log.InfoContext(ctx, "shipped", "order", e.OrderID, "shipment", row.ID, "attempt", m.Attempt)
	return nil
}

// failed decides whether a message is worth another try.
func (h *handler) failed(ctx context.Context, order string, err error) error {
	switch status.Code(err) {
	case codes.FailedPrecondition, codes.InvalidArgument, codes.NotFound:
	default:
		return fmt.Errorf("shipping %s: %w", order, err)
	}
	h.log.ErrorContext(ctx, "shipment refused", "order", order, "why", status.Convert(err).Message())
	if e := h.shipments.refuse(ctx, order, status.Convert(err).Message()); e != nil {
		return fmt.Errorf("writing down that %s is refused: %w", order, e)
	}
	return broker.Permanent(fmt.Errorf("shipping %s: %w", order, err))
}

func (h *handler) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /shipments", h.list)
	return mux
}

// list answers GET /shipments: the newest, or with ?order= that of an order.
func (h *handler) list(w http.ResponseWriter, r *http.Request) {
	const most = 200
	found, err := h.shipments.newest(r.Context(), r.URL.Query().Get("order"), most)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{"shipments": found})
}

// audit answers GET /audit: how many shipments there are, and whether something is under way.
func (h *handler) audit(w http.ResponseWriter, r *http.Request) {
	checked, err := h.shipments.count(r.Context())
	if err != nil {
		h.fail(w, r, err)
		return
	}
	unpublished, err := h.shipments.outbox.Pending(r.Context())
	if err != nil {
		h.fail(w, r, err)
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{
		"violations": []string{}, "checked": checked, "settled": checked[pending]+unpublished == 0,
		"waiting": map[string]int{"shipments": checked[pending], "outbox": unpublished},
	})
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
