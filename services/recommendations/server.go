package recommendations

import (
	"context"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	catalogv1 "github.com/faultline-lab/faultline/services/proto/shop/catalog/v1"
	recommendationsv1 "github.com/faultline-lab/faultline/services/proto/shop/recommendations/v1"
)

const (
	defaultLimit = 5
	maxLimit     = 50
	maxText      = 64 // bytes of an id

	// spare is how many more proposals are checked than are needed, for those that are no longer for sale.
	spare = 3
)

// server answers the gRPC methods.
type server struct {
	recommendationsv1.UnimplementedRecommendationsServer
	shards  []*shard
	known   map[string]bool
	catalog catalogv1.CatalogClient
}

func newServer(shards int, catalog catalogv1.CatalogClient) *server {
	all := companions()
	known := make(map[string]bool, len(all))
	for id := range all {
		known[id] = true
	}
	return &server{shards: partition(all, shards), known: known, catalog: catalog}
}

// Recommend proposes what goes with a product: NOT_FOUND for a product that was
// never bought. Proposals that the catalog no longer has are left out; when
// the catalog does not answer there are none, and the code is the catalog's.
func (s *server) Recommend(ctx context.Context, req *recommendationsv1.RecommendRequest) (*recommendationsv1.RecommendResponse, error) {
	limit := int(req.GetLimit())
	if limit == 0 {
		limit = defaultLimit
	}
	switch {
	case req.GetProductId() == "" || len(req.GetProductId()) > maxText:
		return nil, status.Errorf(codes.InvalidArgument, "product_id must have 1 to %d bytes", maxText)
	case limit < 1 || limit > maxLimit:
		return nil, status.Errorf(codes.InvalidArgument, "limit must be 1 to %d", maxLimit)
	case !s.known[req.GetProductId()]:
		return nil, status.Errorf(codes.NotFound, "nothing is known of product %q", req.GetProductId())
	}
	proposals, err := ask(ctx, s.shards, req.GetProductId(), limit+spare)
	if err != nil {
		return nil, status.FromContextError(err).Err()
	}
	forSale, err := s.forSale(ctx, proposals)
	if err != nil {
		return nil, err
	}
	out := &recommendationsv1.RecommendResponse{}
	for _, p := range proposals {
		if forSale[p.id] && len(out.Recommendations) < limit {
			out.Recommendations = append(out.Recommendations, &recommendationsv1.Recommendation{ProductId: p.id, Score: p.score, Shard: int32(p.shard)})
		}
	}
	return out, nil
}

// forSale asks the catalog about all proposals in one call.
func (s *server) forSale(ctx context.Context, proposals []scored) (map[string]bool, error) {
	if len(proposals) == 0 {
		return nil, nil
	}
	ids := make([]string, len(proposals))
	for i, p := range proposals {
		ids[i] = p.id
	}
	list, err := s.catalog.ListProducts(ctx, &catalogv1.ListProductsRequest{Ids: ids})
	if err != nil {
		return nil, status.Error(status.Code(err), fmt.Sprintf("checking proposals with catalog: %s", status.Convert(err).Message()))
	}
	forSale := make(map[string]bool, len(list.GetProducts()))
	for _, p := range list.GetProducts() {
		forSale[p.GetId()] = true
	}
	return forSale, nil
}
