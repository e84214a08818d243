package catalog

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	catalogv1 "github.com/faultline-lab/faultline/services/proto/shop/catalog/v1"
)

const (
	defaultPageSize = 20
	maxPageSize     = 100
	maxPage         = 1_000_000
	maxIDs          = 100
	maxText         = 64 // bytes of an id or a category
)

// server answers the gRPC methods from the caches.
type server struct {
	catalogv1.UnimplementedCatalogServer
	shelf    *shelf
	products *cache[product]
	pages    *cache[page]
}

// GetProduct gives one product; NOT_FOUND when there is none.
func (s *server) GetProduct(ctx context.Context, req *catalogv1.GetProductRequest) (*catalogv1.Product, error) {
	if req.GetId() == "" || len(req.GetId()) > maxText {
		return nil, status.Errorf(codes.InvalidArgument, "id must have 1 to %d bytes", maxText)
	}
	p, err := s.product(ctx, req.GetId())
	if errors.Is(err, errUnknown) {
		return nil, status.Errorf(codes.NotFound, "no product %q", req.GetId())
	}
	if err != nil {
		return nil, failure(err)
	}
	return message(p), nil
}

// ListProducts gives one page, or the products of the ids asked for.
func (s *server) ListProducts(ctx context.Context, req *catalogv1.ListProductsRequest) (*catalogv1.ListProductsResponse, error) {
	if len(req.GetIds()) > 0 {
		return s.listed(ctx, req.GetIds())
	}
	number, size := max(req.GetPage(), 1), req.GetPageSize()
	if size == 0 {
		size = defaultPageSize
	}
	switch {
	case req.GetPage() < 0 || req.GetPage() > maxPage:
		return nil, status.Errorf(codes.InvalidArgument, "page must be 1 to %d", maxPage)
	case size < 0 || size > maxPageSize:
		return nil, status.Errorf(codes.InvalidArgument, "page_size must be 1 to %d", maxPageSize)
	case len(req.GetCategory()) > maxText:
		return nil, status.Errorf(codes.InvalidArgument, "category must have at most %d bytes", maxText)
	}
	key := fmt.Sprintf("%d %d %s", number, size, req.GetCategory())
	found, err := s.pages.get(ctx, key, func(ctx context.Context) (page, error) {
		return s.shelf.page(ctx, req.GetCategory(), int(number), int(size))
	})
	if err != nil {
		return nil, failure(err)
	}
	out := &catalogv1.ListProductsResponse{Total: int32(found.total)}
	for _, p := range found.products {
		out.Products = append(out.Products, message(p))
	}
	return out, nil
}

// listed gives those of the ids that exist, in the order asked.
func (s *server) listed(ctx context.Context, ids []string) (*catalogv1.ListProductsResponse, error) {
	if len(ids) > maxIDs {
		return nil, status.Errorf(codes.InvalidArgument, "at most %d ids, got %d", maxIDs, len(ids))
	}
	out := &catalogv1.ListProductsResponse{}
	for _, id := range ids {
		p, err := s.product(ctx, id)
		if errors.Is(err, errUnknown) {
			continue
		}
		if err != nil {
			return nil, failure(err)
		}
		out.Products = append(out.Products, message(p))
	}
	out.Total = int32(len(out.Products))
	return out, nil
}

func (s *server) product(ctx context.Context, id string) (product, error) {
	return s.products.get(ctx, id, func(ctx context.Context) (product, error) { return s.shelf.byID(ctx, id) })
}

// failure keeps the codes of a context that ended; the rest is INTERNAL.
func failure(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return status.FromContextError(err).Err()
	}
	return status.Error(codes.Internal, err.Error())
}

func message(p product) *catalogv1.Product {
	return &catalogv1.Product{Id: p.id, Name: p.name, Category: p.category, Description: p.description, PriceCents: p.priceCents}
}
