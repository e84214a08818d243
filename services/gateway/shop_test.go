package gateway

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	accountsv1 "github.com/faultline-lab/faultline/services/proto/shop/accounts/v1"
	catalogv1 "github.com/faultline-lab/faultline/services/proto/shop/catalog/v1"
	inventoryv1 "github.com/faultline-lab/faultline/services/proto/shop/inventory/v1"
	ordersv1 "github.com/faultline-lab/faultline/services/proto/shop/orders/v1"
	recommendationsv1 "github.com/faultline-lab/faultline/services/proto/shop/recommendations/v1"
	"github.com/faultline-lab/faultline/services/token"
)

// backs is the gateway's five callees, small and in memory. It speaks real gRPC.
type backs struct {
	accountsv1.UnimplementedAccountsServer
	recommendationsv1.UnimplementedRecommendationsServer
	inventoryv1.UnimplementedInventoryServer
	key ed25519.PrivateKey

	mu     sync.Mutex
	fail   map[string]error // by method
	calls  map[string]int   // by method
	placed []*ordersv1.PlaceOrderRequest
}

// Each service gets a type of its own where methods would be ambiguous.
type catalogBack struct {
	catalogv1.UnimplementedCatalogServer
	*backs
}

type ordersBack struct {
	ordersv1.UnimplementedOrdersServer
	*backs
}

func (b *backs) enter(method string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.calls[method]++
	return b.fail[method]
}

// breakDown makes a method fail; nil mends it.
func (b *backs) breakDown(method string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fail[method] = err
}

func (b *backs) called(method string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.calls[method]
}

func (b *backs) LogIn(_ context.Context, req *accountsv1.LogInRequest) (*accountsv1.LogInResponse, error) {
	if req.GetPassword() != "correct horse" {
		return nil, status.Error(codes.Unauthenticated, "email and password do not match")
	}
	raw, expires, err := token.NewSigner(b.key, time.Hour).Sign("customer-7", time.Now())
	return &accountsv1.LogInResponse{Token: raw, AccountId: "customer-7", ExpiresUnix: expires.Unix()}, err
}

func (b *backs) GetAccount(_ context.Context, req *accountsv1.GetAccountRequest) (*accountsv1.Account, error) {
	return &accountsv1.Account{Id: req.GetId(), Email: req.GetId() + "@example.com", Name: "Ada", Address: "Mill Lane"}, b.enter("GetAccount")
}

func (b *backs) PublicKey(context.Context, *accountsv1.PublicKeyRequest) (*accountsv1.PublicKeyResponse, error) {
	return &accountsv1.PublicKeyResponse{Ed25519: b.key.Public().(ed25519.PublicKey)}, b.enter("PublicKey")
}

func stocked(id string) *catalogv1.Product {
	return &catalogv1.Product{Id: id, Name: "Lamp " + id, Category: "lighting", Description: "Shines.", PriceCents: 1290}
}

func (c catalogBack) GetProduct(_ context.Context, req *catalogv1.GetProductRequest) (*catalogv1.Product, error) {
	if req.GetId() == "p-0" {
		return nil, status.Error(codes.NotFound, `no product "p-0"`)
	}
	return stocked(req.GetId()), c.enter("GetProduct")
}

func (c catalogBack) ListProducts(_ context.Context, req *catalogv1.ListProductsRequest) (*catalogv1.ListProductsResponse, error) {
	ids := req.GetIds()
	if ids == nil && req.GetPage() == 1 && req.GetCategory() != "weapons" {
		ids = []string{"p-1", "p-2"}
	}
	out := &catalogv1.ListProductsResponse{Total: int32(len(ids))}
	for _, id := range ids {
		if id != "p-0" {
			out.Products = append(out.Products, stocked(id))
		}
	}
	return out, c.enter("ListProducts")
}

func (b *backs) GetStock(_ context.Context, req *inventoryv1.GetStockRequest) (*inventoryv1.Stock, error) {
	return &inventoryv1.Stock{ProductId: req.GetProductId(), Available: 12, Reserved: 3}, b.enter("GetStock")
}

func (b *backs) Recommend(_ context.Context, req *recommendationsv1.RecommendRequest) (*recommendationsv1.RecommendResponse, error) {
	return &recommendationsv1.RecommendResponse{
		Recommendations: []*recommendationsv1.Recommendation{{ProductId: "p-2", Score: 0.5}},
	}, b.enter("Recommend")
}

func (o ordersBack) PlaceOrder(_ context.Context, req *ordersv1.PlaceOrderRequest) (*ordersv1.Order, error) {
	err := o.enter("PlaceOrder")
	o.mu.Lock()
	defer o.mu.Unlock()
	o.placed = append(o.placed, req)
	return &ordersv1.Order{
		Id: "o-1", AccountId: req.GetAccountId(), Lines: req.GetLines(), TotalCents: req.GetTotalCents(),
		State: "confirmed", CreatedUnixMs: 1_772_366_400_000,
	}, err
}

func (o ordersBack) GetOrder(_ context.Context, req *ordersv1.GetOrderRequest) (*ordersv1.Order, error) {
	if req.GetAccountId() != "customer-7" || req.GetId() != "o-1" {
		return nil, status.Errorf(codes.NotFound, "no order %q", req.GetId())
	}
	return &ordersv1.Order{Id: "o-1", State: "cancelled", Reason: "card declined"}, o.enter("GetOrder")
}

func (o ordersBack) ListOrders(_ context.Context, req *ordersv1.ListOrdersRequest) (*ordersv1.ListOrdersResponse, error) {
	out := &ordersv1.ListOrdersResponse{}
	for range min(req.GetLimit(), 30) {
		out.Orders = append(out.Orders, &ordersv1.Order{Id: "o-1", State: "confirmed"})
	}
	return out, o.enter("ListOrders")
}

// shop is a gateway with its callees.
type shop struct {
	t     *testing.T
	backs *backs
	http  http.Handler
	token string
}

func openShop(t *testing.T) *shop { return openLimitedShop(t, 0) }

func openLimitedShop(t *testing.T, perSecond float64) *shop {
	t.Helper()
	b := &backs{
		key:   ed25519.NewKeyFromSeed([]byte(strings.Repeat("k", ed25519.SeedSize))),
		fail:  map[string]error{},
		calls: map[string]int{},
	}
	conn := serve(t, b)
	g := newGateway(callees{
		accounts:        accountsv1.NewAccountsClient(conn),
		catalog:         catalogv1.NewCatalogClient(conn),
		recommendations: recommendationsv1.NewRecommendationsClient(conn),
		inventory:       inventoryv1.NewInventoryClient(conn),
		orders:          ordersv1.NewOrdersClient(conn),
	}, newLimiter(perSecond, 10, time.Now), slog.New(slog.DiscardHandler), time.Now)
	raw, _, err := token.NewSigner(b.key, time.Hour).Sign("customer-7", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return &shop{t: t, backs: b, http: g.handler(), token: raw}
}

func serve(t *testing.T, b *backs) *grpc.ClientConn {
	t.Helper()
	listener := bufconn.Listen(1 << 20)
	s := grpc.NewServer()
	accountsv1.RegisterAccountsServer(s, b)
	catalogv1.RegisterCatalogServer(s, catalogBack{backs: b})
	recommendationsv1.RegisterRecommendationsServer(s, b)
	inventoryv1.RegisterInventoryServer(s, b)
	ordersv1.RegisterOrdersServer(s, ordersBack{backs: b})
	go s.Serve(listener)
	t.Cleanup(s.Stop)
	conn, err := grpc.NewClient("passthrough:///shop", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// request is what a test asks; header lines are "Name: value".
type request struct {
	method, path, body string
	header             []string
}

func (s *shop) do(req request) *httptest.ResponseRecorder {
	s.t.Helper()
	r := httptest.NewRequest(req.method, req.path, strings.NewReader(req.body))
	for _, line := range req.header {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	s.http.ServeHTTP(w, r)
	return w
}

// member asks with a token.
func (s *shop) member(method, path, body string, header ...string) *httptest.ResponseRecorder {
	s.t.Helper()
	return s.do(request{method, path, body, append(header, "Authorization: Bearer "+s.token)})
}

// want checks a whole answer; JSON is compared as it is sent.
func (s *shop) want(w *httptest.ResponseRecorder, code int, body string) {
	s.t.Helper()
	if got := strings.TrimSpace(w.Body.String()); w.Code != code || got != body {
		s.t.Errorf("answer %d %s\n     want %d %s", w.Code, got, code, body)
	}
	if got := w.Header().Get("Content-Type"); got != "application/json" {
		s.t.Errorf("content type %q", got)
	}
}

// wantProblem checks an error answer.
func (s *shop) wantProblem(w *httptest.ResponseRecorder, code int, detail string) problem {
	s.t.Helper()
	var p problem
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
		s.t.Fatalf("answer %d %q: %v", w.Code, w.Body, err)
	}
	if w.Code != code || p.Status != code || p.Title == "" || !strings.Contains(p.Detail, detail) {
		s.t.Errorf("answer %d %s, want %d %q", w.Code, w.Body, code, detail)
	}
	if got := w.Header().Get("Content-Type"); got != "application/problem+json" {
		s.t.Errorf("content type %q", got)
	}
	return p
}
