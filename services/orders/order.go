package orders

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/faultline-lab/faultline/services/events"
	inventoryv1 "github.com/faultline-lab/faultline/services/proto/shop/inventory/v1"
	ordersv1 "github.com/faultline-lab/faultline/services/proto/shop/orders/v1"
)

// state is where an order's saga stands. A state is written down before the step that it allows is taken.
type state string

const (
	pending      state = "pending"      // inventory may have been asked to reserve
	reserved     state = "reserved"     // it did; payments may have been asked to charge
	charged      state = "charged"      // it did; the order can be confirmed
	confirmed    state = "confirmed"    // final
	compensating state = "compensating" // what was done is being undone
	cancelled    state = "cancelled"    // final: all is undone
)

func (s state) final() bool { return s == confirmed || s == cancelled }

// order is one row: the order and its saga.
type order struct {
	id, account string
	key         string // the customer's idempotency key
	fingerprint string // of what was ordered, to tell another order under the same key
	lines       []events.Line
	totalCents  int64
	state       state
	reason      string     // why it is undone
	code        codes.Code // what a repeated request is told then
	undoCharge  bool       // payments may hold money for it
	undoReserve bool       // inventory may hold stock for it
	version     int64      // raised by each change; a driver whose version is old has lost the saga
	owner       string     // the driver that works on it; empty when it waits for one
	due         time.Time  // when it may be taken up again
	tries       int        // how often that was in vain
	trace       string     // of the request that began it
	created     time.Time
}

// Limits of an order.
const (
	maxKey      = 128 // bytes
	maxLines    = 100
	maxQuantity = 10_000
	maxListed   = 200
)

// check returns what is wrong with a request, as INVALID_ARGUMENT.
func check(req *ordersv1.PlaceOrderRequest) error {
	wrong := func(format string, args ...any) error {
		return status.Errorf(codes.InvalidArgument, format, args...)
	}
	switch {
	case req.GetIdempotencyKey() == "" || len(req.GetIdempotencyKey()) > maxKey:
		return wrong("idempotency key must have 1 to %d bytes, not %d", maxKey, len(req.GetIdempotencyKey()))
	case req.GetAccountId() == "":
		return wrong("an account id is needed")
	case req.GetTotalCents() <= 0:
		return wrong("total must be above 0 cents, not %d", req.GetTotalCents())
	case len(req.GetLines()) == 0 || len(req.GetLines()) > maxLines:
		return wrong("an order has 1 to %d lines, not %d", maxLines, len(req.GetLines()))
	}
	for i, l := range req.GetLines() {
		if l.GetProductId() == "" {
			return wrong("line %d names no product", i+1)
		}
		if l.GetQuantity() < 1 || l.GetQuantity() > maxQuantity {
			return wrong("line %d: quantity must be 1 to %d, not %d", i+1, maxQuantity, l.GetQuantity())
		}
	}
	return nil
}

// linesOf takes the lines out of a request.
func linesOf(req *ordersv1.PlaceOrderRequest) []events.Line {
	lines := make([]events.Line, len(req.GetLines()))
	for i, l := range req.GetLines() {
		lines[i] = events.Line{ProductID: l.GetProductId(), Quantity: l.GetQuantity()}
	}
	return lines
}

// fingerprint stands for all that makes a request the same request again. The card goes in, and
// nothing of it can be read out.
func fingerprint(req *ordersv1.PlaceOrderRequest) string {
	data, err := json.Marshal([]any{req.GetIdempotencyKey(), req.GetAccountId(), linesOf(req), req.GetCard(), req.GetTotalCents()})
	if err != nil { // strings and numbers can always be written
		panic(fmt.Sprintf("fingerprint: %v", err))
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// traceID is the id of the trace of the request that began the order; empty when it had none.
func (o *order) traceID() string {
	var carrier map[string]string
	if err := json.Unmarshal([]byte(o.trace), &carrier); err != nil {
		return ""
	}
	parts := strings.Split(carrier["traceparent"], "-") // version-trace-span-flags
	if len(parts) != 4 {
		return ""
	}
	return parts[1]
}

func (o *order) protoLines() []*inventoryv1.Line {
	lines := make([]*inventoryv1.Line, len(o.lines))
	for i, l := range o.lines {
		lines[i] = &inventoryv1.Line{ProductId: l.ProductID, Quantity: l.Quantity}
	}
	return lines
}

func (o *order) proto() *ordersv1.Order {
	return &ordersv1.Order{
		Id: o.id, AccountId: o.account, Lines: o.protoLines(), TotalCents: o.totalCents,
		State: string(o.state), Reason: o.reason, CreatedUnixMs: o.created.UnixMilli(),
	}
}
