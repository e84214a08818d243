package inventory

import (
	"context"
	"log/slog"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	inventoryv1 "github.com/faultline-lab/faultline/services/proto/shop/inventory/v1"
)

// server answers the Inventory service of the .proto file.
type server struct {
	inventoryv1.UnimplementedInventoryServer
	stock *stock
	log   *slog.Logger
}

func (s *server) GetStock(ctx context.Context, req *inventoryv1.GetStockRequest) (*inventoryv1.Stock, error) {
	out, err := s.stock.get(ctx, req.GetProductId())
	return out, answer(err)
}

func (s *server) Reserve(ctx context.Context, req *inventoryv1.ReserveRequest) (*inventoryv1.ReserveResponse, error) {
	if err := named(req.GetOrderId()); err != nil {
		return nil, err
	}
	items := make([]item, len(req.GetLines()))
	for i, l := range req.GetLines() {
		items[i] = item{product: l.GetProductId(), quantity: l.GetQuantity()}
	}
	err := s.stock.reserve(ctx, req.GetOrderId(), items)
	if status.Code(err) == codes.FailedPrecondition {
		s.log.InfoContext(ctx, "reservation refused", "order", req.GetOrderId(), "why", status.Convert(err).Message())
	}
	return &inventoryv1.ReserveResponse{}, answer(err)
}

func (s *server) Release(ctx context.Context, req *inventoryv1.ReleaseRequest) (*inventoryv1.ReleaseResponse, error) {
	if err := named(req.GetOrderId()); err != nil {
		return nil, err
	}
	err := s.stock.release(ctx, req.GetOrderId())
	if err == nil {
		s.log.InfoContext(ctx, "released", "order", req.GetOrderId())
	}
	return &inventoryv1.ReleaseResponse{}, answer(err)
}

func (s *server) Ship(ctx context.Context, req *inventoryv1.ShipRequest) (*inventoryv1.ShipResponse, error) {
	if err := named(req.GetOrderId()); err != nil {
		return nil, err
	}
	return &inventoryv1.ShipResponse{}, answer(s.stock.ship(ctx, req.GetOrderId()))
}

func (s *server) Audit(ctx context.Context, _ *inventoryv1.AuditRequest) (*inventoryv1.AuditResponse, error) {
	out, err := s.stock.audit(ctx)
	return out, answer(err)
}

func named(order string) error {
	if order == "" {
		return status.Error(codes.InvalidArgument, "an order id is needed")
	}
	return nil
}

// answer gives an error its status: the store's own troubles are INTERNAL, refusals have theirs already.
func answer(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	if s := status.FromContextError(err); s.Code() != codes.Unknown {
		return s.Err()
	}
	return status.Errorf(codes.Internal, "inventory store: %v", err)
}
