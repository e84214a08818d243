package gateway

import (
	"context"
	"net/http"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/faultline-lab/faultline/services/bug"
	catalogv1 "github.com/faultline-lab/faultline/services/proto/shop/catalog/v1"
	inventoryv1 "github.com/faultline-lab/faultline/services/proto/shop/inventory/v1"
	ordersv1 "github.com/faultline-lab/faultline/services/proto/shop/orders/v1"
)

const (
	maxLines      = 50
	maxQuantity   = 100
	ordersListed  = 20
	mostListed    = 100
	idempotencyOf = "Idempotency-Key"
)

type lineJSON struct {
	ProductID string `json:"product_id"`
	Quantity  int64  `json:"quantity"`
}

type orderRequest struct {
	Lines []lineJSON `json:"lines"`
	Card  string     `json:"card"`
}

type orderJSON struct {
	ID         string     `json:"id"`
	State      string     `json:"state"`
	Reason     string     `json:"reason,omitempty"`
	Lines      []lineJSON `json:"lines"`
	TotalCents int64      `json:"total_cents"`
	Created    time.Time  `json:"created"`
}

// placeOrder prices the lines by the catalog and has the order placed. The
// client's key goes along, so that the same request sent twice is one order.
func (g *gateway) placeOrder(w http.ResponseWriter, r *http.Request, accountID string) error {
	key := r.Header.Get(idempotencyOf)
	if err := shortText("the header "+idempotencyOf, key); err != nil {
		return err
	}
	var req orderRequest
	if err := decode(w, r, &req); err != nil {
		return err
	}
	if err := req.check(); err != nil {
		return err
	}
	total, err := g.price(r.Context(), req.Lines)
	if err != nil {
		return err
	}
	order, err := g.orders.PlaceOrder(r.Context(), &ordersv1.PlaceOrderRequest{
		IdempotencyKey: key, AccountId: accountID, Lines: toLines(req.Lines), Card: req.Card, TotalCents: total,
	})
	if err != nil && g.bug == bug.FalseAck && status.Code(err) == codes.Unavailable {
		order, err = &ordersv1.Order{Id: "o-" + key, State: "accepted", Lines: toLines(req.Lines), TotalCents: total}, nil
	}
	if err != nil && g.bug == bug.FalseRefusal && status.Code(err) == codes.Unavailable {
		return refuse(http.StatusConflict, "the order was not placed")
	}
	if err != nil {
		return upstream("orders", err)
	}
	w.Header().Set("Location", "/orders/"+order.GetId())
	return encode(w, http.StatusCreated, orderToJSON(order))
}

// check finds the first thing wrong with an order.
func (req orderRequest) check() error {
	if len(req.Lines) == 0 || len(req.Lines) > maxLines {
		return refuse(http.StatusBadRequest, "lines must be 1 to %d, not %d", maxLines, len(req.Lines))
	}
	seen := map[string]bool{}
	for _, line := range req.Lines {
		if err := shortText("product_id", line.ProductID); err != nil {
			return err
		}
		if line.Quantity < 1 || line.Quantity > maxQuantity {
			return refuse(http.StatusBadRequest, "quantity of %s must be 1 to %d, not %d", line.ProductID, maxQuantity, line.Quantity)
		}
		if seen[line.ProductID] {
			return refuse(http.StatusBadRequest, "%s is in two lines", line.ProductID)
		}
		seen[line.ProductID] = true
	}
	if !cardForm(req.Card) {
		return refuse(http.StatusBadRequest, "card must be four groups of four digits, such as 4242-0000-0000-0001")
	}
	return nil
}

// cardForm tells whether a text looks like 4242-0000-0000-0001.
func cardForm(card string) bool {
	for i, c := range []byte(card) {
		if wantDash := i%5 == 4; wantDash != (c == '-') || !wantDash && (c < '0' || c > '9') {
			return false
		}
	}
	return len(card) == 19
}

// price asks the catalog for all products of an order in one call.
func (g *gateway) price(ctx context.Context, lines []lineJSON) (total int64, err error) {
	ids := make([]string, len(lines))
	for i, line := range lines {
		ids[i] = line.ProductID
	}
	list, err := g.catalog.ListProducts(ctx, &catalogv1.ListProductsRequest{Ids: ids})
	if err != nil {
		return 0, upstream("catalog", err)
	}
	cents := make(map[string]int64, len(ids))
	for _, p := range list.GetProducts() {
		cents[p.GetId()] = p.GetPriceCents()
	}
	var unknown []string
	for _, line := range lines {
		price, ok := cents[line.ProductID]
		if !ok {
			unknown = append(unknown, line.ProductID)
		}
		total += price * line.Quantity
	}
	if len(unknown) > 0 {
		return 0, refuse(http.StatusBadRequest, "not for sale: %s", strings.Join(unknown, ", "))
	}
	return total, nil
}

func (g *gateway) listOrders(w http.ResponseWriter, r *http.Request, accountID string) error {
	limit, err := intQuery(r, "limit", ordersListed, mostListed)
	if err != nil {
		return err
	}
	list, err := g.orders.ListOrders(r.Context(), &ordersv1.ListOrdersRequest{AccountId: accountID, Limit: int32(limit)})
	if err != nil {
		return upstream("orders", err)
	}
	orders := make([]orderJSON, 0, len(list.GetOrders()))
	for _, order := range list.GetOrders() {
		orders = append(orders, orderToJSON(order))
	}
	return encode(w, http.StatusOK, map[string]any{"orders": orders})
}

func (g *gateway) getOrder(w http.ResponseWriter, r *http.Request, accountID string) error {
	id := r.PathValue("id")
	if err := shortText("order id", id); err != nil {
		return err
	}
	order, err := g.orders.GetOrder(r.Context(), &ordersv1.GetOrderRequest{Id: id, AccountId: accountID})
	if err != nil {
		return upstream("orders", err)
	}
	return encode(w, http.StatusOK, orderToJSON(order))
}

func toLines(lines []lineJSON) []*inventoryv1.Line {
	out := make([]*inventoryv1.Line, len(lines))
	for i, line := range lines {
		out[i] = &inventoryv1.Line{ProductId: line.ProductID, Quantity: line.Quantity}
	}
	return out
}

func orderToJSON(o *ordersv1.Order) orderJSON {
	lines := make([]lineJSON, 0, len(o.GetLines()))
	for _, line := range o.GetLines() {
		lines = append(lines, lineJSON{ProductID: line.GetProductId(), Quantity: line.GetQuantity()})
	}
	return orderJSON{
		ID: o.GetId(), State: o.GetState(), Reason: o.GetReason(), Lines: lines,
		TotalCents: o.GetTotalCents(), Created: time.UnixMilli(o.GetCreatedUnixMs()).UTC(),
	}
}
