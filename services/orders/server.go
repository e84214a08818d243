package orders

import (
	"context"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	ordersv1 "github.com/faultline-lab/faultline/services/proto/shop/orders/v1"
)

// server answers the Orders service of the .proto file.
type server struct {
	ordersv1.UnimplementedOrdersServer
	sagas *sagas
}

func (s *server) PlaceOrder(ctx context.Context, req *ordersv1.PlaceOrderRequest) (*ordersv1.Order, error) {
	if err := check(req); err != nil {
		return nil, err
	}
	o, err := s.sagas.place(ctx, req)
	if err != nil {
		return nil, answer(err)
	}
	return o.proto(), nil
}

// GetOrder gives an order to the account that it belongs to; to any other it does not exist.
func (s *server) GetOrder(ctx context.Context, req *ordersv1.GetOrderRequest) (*ordersv1.Order, error) {
	o, err := s.sagas.ledger.get(ctx, req.GetId())
	if err != nil {
		return nil, answer(err)
	}
	if o.account != req.GetAccountId() {
		return nil, status.Errorf(codes.NotFound, "unknown order %q", req.GetId())
	}
	return o.proto(), nil
}

// ListOrders gives the account's newest orders: limit of them, or as many as are given at most.
func (s *server) ListOrders(ctx context.Context, req *ordersv1.ListOrdersRequest) (*ordersv1.ListOrdersResponse, error) {
	limit := int(req.GetLimit())
	if limit <= 0 || limit > maxListed {
		limit = maxListed
	}
	found, err := s.sagas.ledger.ofAccount(ctx, req.GetAccountId(), limit)
	if err != nil {
		return nil, answer(err)
	}
	out := &ordersv1.ListOrdersResponse{}
	for _, o := range found {
		out.Orders = append(out.Orders, o.proto())
	}
	return out, nil
}

// answer gives an error its status: the store's own troubles are INTERNAL, refusals have theirs already.
func answer(err error) error {
	if _, ok := status.FromError(err); ok {
		return err
	}
	if s := status.FromContextError(err); s.Code() != codes.Unknown {
		return s.Err()
	}
	return status.Errorf(codes.Internal, "orders: %v", err)
}
