package recommendations

import (
	"context"
	"errors"
	"net"
	"reflect"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	catalogv1 "github.com/faultline-lab/faultline/services/proto/shop/catalog/v1"
	recommendationsv1 "github.com/faultline-lab/faultline/services/proto/shop/recommendations/v1"
)

// storefront is a small catalog.
type storefront struct {
	catalogv1.UnimplementedCatalogServer
	gone  []string // ids that it no longer has
	err   error
	calls int
}

func (s *storefront) ListProducts(_ context.Context, req *catalogv1.ListProductsRequest) (*catalogv1.ListProductsResponse, error) {
	s.calls++
	if s.err != nil {
		return nil, s.err
	}
	out := &catalogv1.ListProductsResponse{}
	for _, id := range req.GetIds() {
		if !slices.Contains(s.gone, id) {
			out.Products = append(out.Products, &catalogv1.Product{Id: id})
		}
	}
	return out, nil
}

// serve runs one gRPC server in memory and returns a connection to it.
func serve(t *testing.T, register func(grpc.ServiceRegistrar)) *grpc.ClientConn {
	t.Helper()
	listener := bufconn.Listen(1 << 20)
	s := grpc.NewServer()
	register(s)
	go s.Serve(listener)
	t.Cleanup(s.Stop)
	conn, err := grpc.NewClient("passthrough:///test", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func start(t *testing.T, catalog *storefront) recommendationsv1.RecommendationsClient {
	t.Helper()
	conn := serve(t, func(r grpc.ServiceRegistrar) { catalogv1.RegisterCatalogServer(r, catalog) })
	srv := newServer(defaultShards, catalogv1.NewCatalogClient(conn))
	return recommendationsv1.NewRecommendationsClient(serve(t, func(r grpc.ServiceRegistrar) {
		recommendationsv1.RegisterRecommendationsServer(r, srv)
	}))
}

func TestRecommendGivesTheBestOfAllShards(t *testing.T) {
	catalog := &storefront{}
	client := start(t, catalog)
	all := companions()
	for _, id := range []string{"p-1", "p-250", "p-500"} {
		got, err := client.Recommend(t.Context(), &recommendationsv1.RecommendRequest{ProductId: id, Limit: 4})
		if err != nil {
			t.Fatal(err)
		}
		slices.SortFunc(all[id], better)
		for i, want := range all[id][:4] {
			r := got.GetRecommendations()[i]
			if r.GetProductId() != want.id || r.GetScore() != want.score {
				t.Errorf("%s: number %d is %v, want %v", id, i+1, r, want)
			}
			if owner := owner(want.id, defaultShards) + 1; int(r.GetShard()) != owner {
				t.Errorf("%s: %s is from shard %d, want %d", id, want.id, r.GetShard(), owner)
			}
		}
	}
	if catalog.calls != 3 {
		t.Errorf("%d calls to the catalog for 3 questions", catalog.calls)
	}
}

func TestRecommendLeavesOutWhatIsNoLongerForSale(t *testing.T) {
	best := companions()["p-1"]
	slices.SortFunc(best, better)
	got, err := start(t, &storefront{gone: []string{best[0].id, best[2].id}}).
		Recommend(t.Context(), &recommendationsv1.RecommendRequest{ProductId: "p-1", Limit: 3})
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, r := range got.GetRecommendations() {
		ids = append(ids, r.GetProductId())
	}
	if want := []string{best[1].id, best[3].id, best[4].id}; !slices.Equal(ids, want) {
		t.Errorf("got %q, want %q", ids, want)
	}
}

func TestRecommendRefuses(t *testing.T) {
	client := start(t, &storefront{})
	cases := []struct {
		name    string
		request *recommendationsv1.RecommendRequest
		want    codes.Code
	}{
		{"unknown product", &recommendationsv1.RecommendRequest{ProductId: "p-501"}, codes.NotFound},
		{"no product", &recommendationsv1.RecommendRequest{}, codes.InvalidArgument},
		{"long id", &recommendationsv1.RecommendRequest{ProductId: strings.Repeat("x", maxText+1)}, codes.InvalidArgument},
		{"negative limit", &recommendationsv1.RecommendRequest{ProductId: "p-1", Limit: -1}, codes.InvalidArgument},
		{"large limit", &recommendationsv1.RecommendRequest{ProductId: "p-1", Limit: maxLimit + 1}, codes.InvalidArgument},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if _, err := client.Recommend(t.Context(), c.request); status.Code(err) != c.want {
				t.Errorf("%v, want %s", err, c.want)
			}
		})
	}
}

func TestRecommendFailsAsTheCatalogDoes(t *testing.T) {
	client := start(t, &storefront{err: status.Error(codes.Unavailable, "closed for stocktaking")})
	_, err := client.Recommend(t.Context(), &recommendationsv1.RecommendRequest{ProductId: "p-1"})
	if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "checking proposals with catalog: closed for stocktaking") {
		t.Errorf("got %v", err)
	}
}

func TestCompanionsAreTheSameEveryTime(t *testing.T) {
	first, second := companions(), companions()
	for _, all := range []map[string][]companion{first, second} {
		for _, list := range all {
			slices.SortFunc(list, better)
		}
	}
	if !reflect.DeepEqual(first, second) {
		t.Error("the second history differs from the first")
	}
	if len(first) != products {
		t.Errorf("%d products have companions, want %d", len(first), products)
	}
	few := 0
	for id, list := range first {
		if len(list) < defaultLimit+spare {
			few++
		}
		for _, c := range list {
			if c.id == id || c.score <= 0 || c.score > 1 {
				t.Errorf("%s goes with %+v", id, c)
			}
		}
	}
	if few > 0 {
		t.Errorf("%d products have fewer than %d companions", few, defaultLimit+spare)
	}
}

func TestAnyNumberOfShardsGivesTheSameAnswer(t *testing.T) {
	all := companions()
	want, err := ask(t.Context(), partition(all, 1), "p-42", 10)
	if err != nil || len(want) != 10 {
		t.Fatalf("one shard: %d, %v", len(want), err)
	}
	for _, n := range []int{2, 8, 100} {
		shards := partition(all, n)
		got, err := ask(t.Context(), shards, "p-42", 10)
		if err != nil {
			t.Fatal(err)
		}
		for i := range want {
			if got[i].companion != want[i].companion {
				t.Errorf("%d shards: number %d is %v, want %v", n, i+1, got[i], want[i])
			}
		}
		for _, s := range shards {
			if n <= 8 && len(s.byID) < products/2 {
				t.Errorf("shard %d of %d knows only %d products", s.number, n, len(s.byID))
			}
		}
	}
}

func TestAskEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := ask(ctx, partition(companions(), 4), "p-1", 3); !errors.Is(err, context.Canceled) {
		t.Errorf("ask = %v", err)
	}
}

func TestShardCount(t *testing.T) {
	for _, c := range []struct {
		text string
		want int
		ok   bool
	}{
		{"", defaultShards, true}, {"100", 100, true}, {"0", 0, false}, {"1001", 0, false}, {"many", 0, false},
	} {
		got, err := shardCount(c.text)
		if got != c.want || (err == nil) != c.ok {
			t.Errorf("SHARDS=%s: %d, %v", c.text, got, err)
		}
	}
}

func BenchmarkNewServer(b *testing.B) {
	for b.Loop() {
		newServer(defaultShards, nil)
	}
}

func BenchmarkAsk(b *testing.B) {
	shards := partition(companions(), defaultShards)
	for b.Loop() {
		ask(b.Context(), shards, "p-42", 8)
	}
}
