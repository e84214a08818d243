package catalog

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/faultline-lab/faultline/services/kit/store"
	"github.com/faultline-lab/faultline/services/kit/store/storetest"
	catalogv1 "github.com/faultline-lab/faultline/services/proto/shop/catalog/v1"
)

func openShelf(t *testing.T, path string) *shelf {
	t.Helper()
	db, err := store.Open(t.Context(), storetest.Config(t, path, schema))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	s := &shelf{db: db}
	if err := s.seed(t.Context(), seedProducts()); err != nil {
		t.Fatal(err)
	}
	return s
}

func newTestServer(t *testing.T) (*server, *counts) {
	t.Helper()
	seen := &counts{}
	return &server{
		shelf:    openShelf(t, filepath.Join(t.TempDir(), "catalog.db")),
		products: newCache[product](time.Minute, 1000, time.Now, seen.add),
		pages:    newCache[page](time.Minute, 1000, time.Now, seen.add),
	}, seen
}

// dial serves over a connection in memory and returns a client of it.
func dial(t *testing.T, srv *server) catalogv1.CatalogClient {
	t.Helper()
	listener := bufconn.Listen(1 << 20)
	s := grpc.NewServer()
	catalogv1.RegisterCatalogServer(s, srv)
	go s.Serve(listener)
	t.Cleanup(s.Stop)
	conn, err := grpc.NewClient("passthrough:///catalog", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return catalogv1.NewCatalogClient(conn)
}

func TestGetProduct(t *testing.T) {
	srv, seen := newTestServer(t)
	client := dial(t, srv)
	for range 2 {
		got, err := client.GetProduct(t.Context(), &catalogv1.GetProductRequest{Id: "p-17"})
		if err != nil {
			t.Fatal(err)
		}
		want := seedProducts()[16]
		if got.GetId() != "p-17" || got.GetName() != want.name || got.GetCategory() != want.category ||
			got.GetDescription() != want.description || got.GetPriceCents() != want.priceCents {
			t.Errorf("got %v, want %+v", got, want)
		}
	}
	seen.want(t, map[string]int{miss: 1, hit: 1})
}

func TestListProducts(t *testing.T) {
	srv, _ := newTestServer(t)
	client := dial(t, srv)
	cases := []struct {
		name    string
		request *catalogv1.ListProductsRequest
		want    []string
		total   int32
	}{
		{"first page", &catalogv1.ListProductsRequest{PageSize: 3}, []string{"p-1", "p-2", "p-3"}, 510},
		{"tenth page, in the order of numbers", &catalogv1.ListProductsRequest{Page: 10, PageSize: 2}, []string{"p-19", "p-20"}, 510},
		{"last page is short", &catalogv1.ListProductsRequest{Page: 128, PageSize: 4}, []string{"p-509", "p-510"}, 510},
		{"past the last page", &catalogv1.ListProductsRequest{Page: 129, PageSize: 4}, nil, 510},
		{"category", &catalogv1.ListProductsRequest{PageSize: 3, Category: "furniture"}, []string{"p-2", "p-12", "p-22"}, 51},
		{"category, second page", &catalogv1.ListProductsRequest{Page: 2, PageSize: 3, Category: "furniture"}, []string{"p-32", "p-42", "p-52"}, 51},
		{"no such category", &catalogv1.ListProductsRequest{Category: "weapons"}, nil, 0},
		{"by id, in the order asked", &catalogv1.ListProductsRequest{Ids: []string{"p-9", "p-511", "p-3"}}, []string{"p-9", "p-3"}, 2},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			for _, from := range []string{"store", "cache"} {
				got, err := client.ListProducts(t.Context(), c.request)
				if err != nil {
					t.Fatal(err)
				}
				var ids []string
				for _, p := range got.GetProducts() {
					ids = append(ids, p.GetId())
				}
				if !slices.Equal(ids, c.want) || got.GetTotal() != c.total {
					t.Errorf("from the %s: %q of %d, want %q of %d", from, ids, got.GetTotal(), c.want, c.total)
				}
			}
		})
	}
}

func TestListProductsHasADefaultSize(t *testing.T) {
	srv, _ := newTestServer(t)
	got, err := dial(t, srv).ListProducts(t.Context(), &catalogv1.ListProductsRequest{})
	if err != nil || len(got.GetProducts()) != defaultPageSize {
		t.Errorf("%d products, %v; want %d", len(got.GetProducts()), err, defaultPageSize)
	}
}

func TestRequestsThatAreRefused(t *testing.T) {
	srv, _ := newTestServer(t)
	client := dial(t, srv)
	long := strings.Repeat("x", maxText+1)
	get := func(id string) error {
		_, err := client.GetProduct(t.Context(), &catalogv1.GetProductRequest{Id: id})
		return err
	}
	list := func(req *catalogv1.ListProductsRequest) error {
		_, err := client.ListProducts(t.Context(), req)
		return err
	}
	cases := []struct {
		name string
		err  error
		want codes.Code
	}{
		{"unknown product", get("p-511"), codes.NotFound},
		{"no id", get(""), codes.InvalidArgument},
		{"long id", get(long), codes.InvalidArgument},
		{"negative page", list(&catalogv1.ListProductsRequest{Page: -1}), codes.InvalidArgument},
		{"page far out", list(&catalogv1.ListProductsRequest{Page: maxPage + 1}), codes.InvalidArgument},
		{"negative size", list(&catalogv1.ListProductsRequest{PageSize: -1}), codes.InvalidArgument},
		{"large size", list(&catalogv1.ListProductsRequest{PageSize: maxPageSize + 1}), codes.InvalidArgument},
		{"long category", list(&catalogv1.ListProductsRequest{Category: long}), codes.InvalidArgument},
		{"many ids", list(&catalogv1.ListProductsRequest{Ids: make([]string, maxIDs+1)}), codes.InvalidArgument},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if got := status.Code(c.err); got != c.want {
				t.Errorf("code %s, want %s", got, c.want)
			}
		})
	}
}

func TestAStoreThatFailsIsInternal(t *testing.T) {
	srv, _ := newTestServer(t)
	client := dial(t, srv)
	srv.shelf.db.Close()
	if _, err := client.GetProduct(t.Context(), &catalogv1.GetProductRequest{Id: "p-1"}); status.Code(err) != codes.Internal {
		t.Errorf("get: %v", err)
	}
	if _, err := client.ListProducts(t.Context(), &catalogv1.ListProductsRequest{Ids: []string{"p-1"}}); status.Code(err) != codes.Internal {
		t.Errorf("by id: %v", err)
	}
	if _, err := client.ListProducts(t.Context(), &catalogv1.ListProductsRequest{}); status.Code(err) != codes.Internal {
		t.Errorf("list: %v", err)
	}
}

func TestSeedingIsDoneOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "catalog.db")
	first := openShelf(t, path)
	if _, err := first.db.ExecContext(t.Context(), "UPDATE products SET price_cents = 1 WHERE id = 'p-1'"); err != nil {
		t.Fatal(err)
	}
	p, err := openShelf(t, path).byID(t.Context(), "p-1")
	if err != nil || p.priceCents != 1 {
		t.Errorf("the price that was changed is %d, %v", p.priceCents, err)
	}
}

func TestFlushEndpoint(t *testing.T) {
	srv, _ := newTestServer(t)
	if _, err := srv.product(t.Context(), "p-1"); err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	srv.flush(w, httptest.NewRequest(http.MethodPost, "/cache/flush", nil))
	if got := w.Body.String(); got != "dropped 1 products and 0 pages\n" {
		t.Errorf("answer %q", got)
	}
	if _, ok := srv.products.peek("p-1"); ok {
		t.Error("p-1 is still in the cache")
	}
}

func TestCacheTTL(t *testing.T) {
	for _, c := range []struct {
		text string
		want time.Duration
		ok   bool
	}{
		{"", defaultTTL, true}, {"5s", 5 * time.Second, true}, {"0s", 0, true}, {"-1s", 0, false}, {"soon", 0, false},
	} {
		got, err := cacheTTL(c.text)
		if got != c.want || (err == nil) != c.ok {
			t.Errorf("CACHE_TTL=%s: %s, %v", c.text, got, err)
		}
		if err != nil && !strings.HasPrefix(err.Error(), "reading CACHE_TTL: ") {
			t.Errorf("the error does not name the variable: %v", err)
		}
	}
}

func TestCacheCounterRefusesASecondRegistration(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	if _, err := cacheCounter(registry); err != nil {
		t.Fatal(err)
	}
	if _, err := cacheCounter(registry); err == nil {
		t.Error("registered twice without an error")
	}
}
