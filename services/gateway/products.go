package gateway

import (
	"context"
	"net/http"
	"sync"

	catalogv1 "github.com/faultline-lab/faultline/services/proto/shop/catalog/v1"
	inventoryv1 "github.com/faultline-lab/faultline/services/proto/shop/inventory/v1"
	recommendationsv1 "github.com/faultline-lab/faultline/services/proto/shop/recommendations/v1"
)

const (
	pageSize  = 20
	proposals = 5 // recommendations on a product's page
)

type productJSON struct {
	ID          string `json:"id"`
	Name        string `json:"name"`
	Category    string `json:"category"`
	Description string `json:"description"`
	PriceCents  int64  `json:"price_cents"`
}

type stockJSON struct {
	Available int64 `json:"available"`
}

type recommendationJSON struct {
	ID    string  `json:"id"`
	Score float64 `json:"score"`
}

// productPage is a product with what could be had beside it. Degraded names
// the parts that could not.
type productPage struct {
	Product         productJSON           `json:"product"`
	Stock           *stockJSON            `json:"stock,omitempty"`
	Recommendations *[]recommendationJSON `json:"recommendations,omitempty"`
	Degraded        []string              `json:"degraded,omitempty"`
}

func (g *gateway) listProducts(w http.ResponseWriter, r *http.Request) error {
	number, err := intQuery(r, "page", 1, maxPage)
	if err != nil {
		return err
	}
	category := r.URL.Query().Get("category")
	if category != "" {
		if err := shortText("category", category); err != nil {
			return err
		}
	}
	list, err := g.catalog.ListProducts(r.Context(), &catalogv1.ListProductsRequest{Page: int32(number), PageSize: pageSize, Category: category})
	if err != nil {
		return upstream("catalog", err)
	}
	products := make([]productJSON, 0, len(list.GetProducts()))
	for _, p := range list.GetProducts() {
		products = append(products, toJSON(p))
	}
	return encode(w, http.StatusOK, map[string]any{"products": products, "total": list.GetTotal()})
}

// getProduct asks for the three parts of the page at once. Without the
// product there is no page; the other two are left out when they fail.
func (g *gateway) getProduct(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("id")
	if err := shortText("product id", id); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	var (
		page                      productPage
		stockErr, recommendations error
		asked                     sync.WaitGroup
	)
	asked.Go(func() { page.Stock, stockErr = g.stock(ctx, id) })
	asked.Go(func() { page.Recommendations, recommendations = g.recommend(ctx, id) })
	product, err := g.catalog.GetProduct(ctx, &catalogv1.GetProductRequest{Id: id})
	if err != nil {
		cancel() // nobody needs the rest
		asked.Wait()
		return upstream("catalog", err)
	}
	asked.Wait()
	page.Product = toJSON(product)
	page.Degraded = g.missing(ctx, map[string]error{"stock": stockErr, "recommendations": recommendations})
	return encode(w, http.StatusOK, page)
}

// missing lists the parts that failed, and logs why.
func (g *gateway) missing(ctx context.Context, parts map[string]error) []string {
	var degraded []string
	for _, part := range []string{"stock", "recommendations"} {
		if err := parts[part]; err != nil {
			degraded = append(degraded, part)
			g.log.WarnContext(ctx, "answered without a part", "part", part, "error", err)
		}
	}
	return degraded
}

func (g *gateway) stock(ctx context.Context, id string) (*stockJSON, error) {
	stock, err := g.inventory.GetStock(ctx, &inventoryv1.GetStockRequest{ProductId: id})
	if err != nil {
		return nil, err
	}
	return &stockJSON{Available: stock.GetAvailable()}, nil
}

func (g *gateway) recommend(ctx context.Context, id string) (*[]recommendationJSON, error) {
	answer, err := g.recommendations.Recommend(ctx, &recommendationsv1.RecommendRequest{ProductId: id, Limit: proposals})
	if err != nil {
		return nil, err
	}
	list := make([]recommendationJSON, 0, len(answer.GetRecommendations()))
	for _, p := range answer.GetRecommendations() {
		list = append(list, recommendationJSON{ID: p.GetProductId(), Score: p.GetScore()})
	}
	return &list, nil
}

func toJSON(p *catalogv1.Product) productJSON {
	return productJSON{ID: p.GetId(), Name: p.GetName(), Category: p.GetCategory(), Description: p.GetDescription(), PriceCents: p.GetPriceCents()}
}
