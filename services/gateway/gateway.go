// Package gateway owns the shop's face to the world: REST over HTTP, tokens,
// rate limits, and the routing of each request to the services that answer it.
// It keeps no data of its own.
//
//	POST /sessions        {"email", "password"}                 200 {"token", "account_id", "expires"}
//	GET  /products        ?page= &category=                     200 {"products", "total"}
//	GET  /products/{id}                                         200 {"product", "stock", "recommendations", "degraded"}
//	POST /orders          {"lines", "card"}, token, key         201 {"id", "state", …}
//	GET  /orders          token                                 200 {"orders"}
//	GET  /orders/{id}     token                                 200 {"id", "state", …}
//	GET  /account         token                                 200 {"id", "email", …}
//
// A token goes into the header Authorization, as "Bearer <token>"; the key, which
// makes an order safe to send again, into Idempotency-Key. Errors are
// application/problem+json (RFC 9457) with the id of their trace.
//
// Environment, beside what every service gets: RATE_LIMIT (requests a second
// that one account, or one address without a token, may make; 10000 by
// default, 0 for no limit), TOKEN_LEEWAY (how far the clock of who signed a token may be
// from this one's, "1s" by default).
package gateway

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/faultline-lab/faultline/services/bug"
	"github.com/faultline-lab/faultline/services/kit"
	accountsv1 "github.com/faultline-lab/faultline/services/proto/shop/accounts/v1"
	catalogv1 "github.com/faultline-lab/faultline/services/proto/shop/catalog/v1"
	inventoryv1 "github.com/faultline-lab/faultline/services/proto/shop/inventory/v1"
	ordersv1 "github.com/faultline-lab/faultline/services/proto/shop/orders/v1"
	recommendationsv1 "github.com/faultline-lab/faultline/services/proto/shop/recommendations/v1"
	"github.com/faultline-lab/faultline/services/token"
)

const (
	// defaultRate is far above what one client needs: a load generator is one client.
	defaultRate = 10_000
	// maxClients bounds the limiter's memory, to about 3 MB.
	maxClients = 10_000
)

// Service describes the gateway to the kit.
func Service() kit.Service {
	return kit.Service{Name: "gateway", Protocol: kit.HTTP, Build: build}
}

func build(_ context.Context, rt *kit.Runtime) (*kit.Parts, error) {
	perSecond, err := rateLimit(rt.Env["RATE_LIMIT"])
	if err != nil {
		return nil, err
	}
	callees, err := dial(rt)
	if err != nil {
		return nil, err
	}
	wrong, err := bug.In(rt.Env, "gateway", rt.Log)
	if err != nil {
		return nil, err
	}
	g := newGateway(callees, newLimiter(perSecond, maxClients, time.Now), rt.Log, time.Now)
	if g.keys.leeway, err = leeway(rt.Env["TOKEN_LEEWAY"]); err != nil {
		return nil, err
	}
	g.bug = wrong
	return &kit.Parts{HTTP: g.handler()}, nil
}

func leeway(text string) (time.Duration, error) {
	if text == "" {
		return token.Leeway, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return 0, fmt.Errorf(`reading TOKEN_LEEWAY: %q is not a duration such as "1m"`, text)
	}
	return d, nil
}

func rateLimit(text string) (float64, error) {
	if text == "" {
		return defaultRate, nil
	}
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || n < 0 || math.IsInf(n, 0) || math.IsNaN(n) {
		return 0, fmt.Errorf("reading RATE_LIMIT: %q is not a number of requests a second, such as 100, or 0 for no limit", text)
	}
	return n, nil
}

// callees are the services that the gateway asks.
type callees struct {
	accounts        accountsv1.AccountsClient
	catalog         catalogv1.CatalogClient
	recommendations recommendationsv1.RecommendationsClient
	inventory       inventoryv1.InventoryClient
	orders          ordersv1.OrdersClient
}

// dial makes the clients. Nothing is connected until the first call.
func dial(rt *kit.Runtime) (callees, error) {
	var c callees
	accounts, err1 := rt.GRPC("accounts")
	catalog, err2 := rt.GRPC("catalog")
	recommendations, err3 := rt.GRPC("recommendations")
	inventory, err4 := rt.GRPC("inventory")
	orders, err5 := rt.GRPC("orders")
	if err := errors.Join(err1, err2, err3, err4, err5); err != nil {
		return c, err
	}
	c.accounts = accountsv1.NewAccountsClient(accounts)
	c.catalog = catalogv1.NewCatalogClient(catalog)
	c.recommendations = recommendationsv1.NewRecommendationsClient(recommendations)
	c.inventory = inventoryv1.NewInventoryClient(inventory)
	c.orders = ordersv1.NewOrdersClient(orders)
	return c, nil
}

// gateway answers the routes.
type gateway struct {
	callees
	keys    *keyring
	limiter *limiter
	log     *slog.Logger
	bug     bug.Name // none but in a lab that looks for it
}

func newGateway(c callees, l *limiter, log *slog.Logger, now func() time.Time) *gateway {
	fetch := func(ctx context.Context) (ed25519.PublicKey, error) {
		answer, err := c.accounts.PublicKey(ctx, &accountsv1.PublicKeyRequest{})
		return answer.GetEd25519(), err
	}
	return &gateway{callees: c, keys: &keyring{fetch: fetch, now: now}, limiter: l, log: log}
}

// anyone answers a request that needs no token; its error becomes a problem.
type anyone func(w http.ResponseWriter, r *http.Request) error

// member answers a request of an account.
type member func(w http.ResponseWriter, r *http.Request, accountID string) error

// handler routes. Paths that exist answer 405 to other methods, and say which they take.
func (g *gateway) handler() http.Handler {
	mux := http.NewServeMux()
	routes := map[string]map[string]anyone{
		"/sessions":      {http.MethodPost: g.public(g.logIn)},
		"/products":      {http.MethodGet: g.public(g.listProducts)},
		"/products/{id}": {http.MethodGet: g.public(g.getProduct)},
		"/orders":        {http.MethodPost: g.member(g.placeOrder), http.MethodGet: g.member(g.listOrders)},
		"/orders/{id}":   {http.MethodGet: g.member(g.getOrder)},
		"/account":       {http.MethodGet: g.member(g.getAccount)},
	}
	for path, methods := range routes {
		var allowed []string
		for method, answer := range methods {
			mux.Handle(method+" "+path, g.answer(answer))
			allowed = append(allowed, method)
		}
		slices.Sort(allowed)
		mux.Handle(path, g.answer(notAllowed(strings.Join(allowed, ", "))))
	}
	mux.Handle("/", g.answer(func(_ http.ResponseWriter, r *http.Request) error {
		return refuse(http.StatusNotFound, "there is nothing at %.100s", r.URL.Path)
	}))
	return mux
}

func notAllowed(allowed string) anyone {
	return func(w http.ResponseWriter, r *http.Request) error {
		w.Header().Set("Allow", allowed)
		return refuse(http.StatusMethodNotAllowed, "%s takes %s", r.URL.Path, allowed)
	}
}

// answer adapts to net/http.
func (g *gateway) answer(next anyone) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := next(w, r); err != nil {
			g.problem(w, r, err)
		}
	})
}

// public limits by address.
func (g *gateway) public(next anyone) anyone {
	return func(w http.ResponseWriter, r *http.Request) error {
		if err := g.limiter.check(address(r)); err != nil {
			return err
		}
		return next(w, r)
	}
}

// member finds out whose request it is and limits by account. A request whose
// account is not known counts for its address.
func (g *gateway) member(next member) anyone {
	return func(w http.ResponseWriter, r *http.Request) error {
		accountID, err := g.account(r)
		if err != nil {
			return cmp.Or(g.limiter.check(address(r)), err)
		}
		if err := g.limiter.check("account " + accountID); err != nil {
			return err
		}
		return next(w, r, accountID)
	}
}

func (g *gateway) account(r *http.Request) (string, error) {
	raw, err := bearer(r)
	if err != nil {
		return "", err
	}
	return g.keys.verify(r.Context(), raw)
}

// problem answers an error, and logs it when it is not the client's doing.
func (g *gateway) problem(w http.ResponseWriter, r *http.Request, err error) {
	var p *problem
	if !errors.As(err, &p) {
		p = refuse(http.StatusInternalServerError, "the gateway failed")
		p.cause = err
	}
	if p.Status >= http.StatusInternalServerError {
		g.log.WarnContext(r.Context(), "request failed", "route", r.Pattern, "status", p.Status, "upstream", p.Upstream, "error", p.cause)
	}
	p.write(w, r)
}
