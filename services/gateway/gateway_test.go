package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const goodOrder = `{"lines": [{"product_id": "p-1", "quantity": 2}, {"product_id": "p-2", "quantity": 1}], "card": "4242-0000-0000-0001"}`

func TestLogInThenLookAndBuy(t *testing.T) {
	s := openShop(t)
	w := s.do(request{method: "POST", path: "/sessions", body: `{"email": "customer-7@example.com", "password": "correct horse"}`})
	var session struct{ Token, AccountID, Expires string }
	if err := json.Unmarshal(w.Body.Bytes(), &session); err != nil || w.Code != http.StatusOK || session.Token == "" || session.Expires == "" {
		t.Fatalf("session: %d %s", w.Code, w.Body)
	}
	if got := w.Header().Get("Cache-Control"); got != "no-store" {
		t.Errorf("a token may be cached: %q", got)
	}
	s.token = session.Token

	w = s.member("POST", "/orders", goodOrder, "Idempotency-Key: k-1", "Content-Type: application/json; charset=utf-8")
	s.want(w, http.StatusCreated, `{"id":"o-1","state":"confirmed","lines":[{"product_id":"p-1","quantity":2},{"product_id":"p-2","quantity":1}],`+
		`"total_cents":3870,"created":"2026-03-01T12:00:00Z"}`)
	if got := w.Header().Get("Location"); got != "/orders/o-1" {
		t.Errorf("location %q", got)
	}
	placed := s.backs.placed[0]
	if placed.GetIdempotencyKey() != "k-1" || placed.GetAccountId() != "customer-7" || placed.GetCard() != "4242-0000-0000-0001" || placed.GetTotalCents() != 3870 {
		t.Errorf("placed %v", placed)
	}
	if n := s.backs.called("ListProducts"); n != 1 {
		t.Errorf("%d calls to price two lines, want 1", n)
	}
	s.want(s.member("GET", "/orders/o-1", ""), http.StatusOK,
		`{"id":"o-1","state":"cancelled","reason":"card declined","lines":[],"total_cents":0,"created":"1970-01-01T00:00:00Z"}`)
	s.want(s.member("GET", "/account", ""), http.StatusOK,
		`{"address":"Mill Lane","email":"customer-7@example.com","id":"customer-7","name":"Ada"}`)
	if n := s.backs.called("PublicKey"); n != 1 {
		t.Errorf("accounts was asked for its key %d times, want once", n)
	}
}

func TestListProducts(t *testing.T) {
	s := openShop(t)
	s.want(s.do(request{method: "GET", path: "/products"}), http.StatusOK,
		`{"products":[{"id":"p-1","name":"Lamp p-1","category":"lighting","description":"Shines.","price_cents":1290},`+
			`{"id":"p-2","name":"Lamp p-2","category":"lighting","description":"Shines.","price_cents":1290}],"total":2}`)
	s.want(s.do(request{method: "GET", path: "/products?page=2"}), http.StatusOK, `{"products":[],"total":0}`)
	s.want(s.do(request{method: "GET", path: "/products?category=weapons"}), http.StatusOK, `{"products":[],"total":0}`)
}

func TestListOrdersTakesALimit(t *testing.T) {
	s := openShop(t)
	for query, want := range map[string]int{"": ordersListed, "?limit=3": 3} {
		w := s.member("GET", "/orders"+query, "")
		var got struct{ Orders []orderJSON }
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || len(got.Orders) != want {
			t.Errorf("%q: %d orders, %v; want %d", query, len(got.Orders), err, want)
		}
	}
}

func TestProductPage(t *testing.T) {
	const product = `{"product":{"id":"p-1","name":"Lamp p-1","category":"lighting","description":"Shines.","price_cents":1290}`
	cases := []struct {
		name  string
		fails []string
		want  string
	}{
		{"whole", nil, product + `,"stock":{"available":12},"recommendations":[{"id":"p-2","score":0.5}]}`},
		{"without stock", []string{"GetStock"}, product + `,"recommendations":[{"id":"p-2","score":0.5}],"degraded":["stock"]}`},
		{"without recommendations", []string{"Recommend"}, product + `,"stock":{"available":12},"degraded":["recommendations"]}`},
		{"without both", []string{"Recommend", "GetStock"}, product + `,"degraded":["stock","recommendations"]}`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := openShop(t)
			for _, method := range c.fails {
				s.backs.breakDown(method, status.Error(codes.Unavailable, "down"))
			}
			s.want(s.do(request{method: "GET", path: "/products/p-1"}), http.StatusOK, c.want)
		})
	}
}

func TestProductPageNeedsItsProduct(t *testing.T) {
	s := openShop(t)
	p := s.wantProblem(s.do(request{method: "GET", path: "/products/p-0"}), http.StatusNotFound, `no product "p-0"`)
	if p.Upstream != "catalog" || p.Code != "NOT_FOUND" {
		t.Errorf("problem %+v", p)
	}
	s.backs.breakDown("GetProduct", status.Error(codes.Unavailable, "connection refused by 10.0.0.7"))
	w := s.do(request{method: "GET", path: "/products/p-1"})
	s.wantProblem(w, http.StatusServiceUnavailable, "catalog is not available")
	if strings.Contains(w.Body.String(), "10.0.0.7") {
		t.Errorf("the answer tells what is inside: %s", w.Body)
	}
}

func TestRequestsThatAreRefused(t *testing.T) {
	s := openShop(t)
	auth, key := "Authorization: Bearer "+s.token, "Idempotency-Key: k"
	order := func(body string) request { return request{"POST", "/orders", body, []string{auth, key}} }
	long := strings.Repeat("x", maxText+1)
	cases := []struct {
		name   string
		ask    request
		status int
		detail string
	}{
		{"no such path", request{method: "GET", path: "/admin"}, 404, "nothing at /admin"},
		{"method", request{method: "DELETE", path: "/orders"}, 405, "/orders takes GET, POST"},
		{"page zero", request{method: "GET", path: "/products?page=0"}, 400, "page must be a number from 1 to"},
		{"page of letters", request{method: "GET", path: "/products?page=two"}, 400, "page must be a number from 1 to"},
		{"long category", request{method: "GET", path: "/products?category=" + long}, 400, "category must have 1 to"},
		{"control character", request{method: "GET", path: "/products/p%0A1"}, 400, "must not contain control characters"},
		{"long product id", request{method: "GET", path: "/products/" + long}, 400, "product id must have 1 to"},
		{"wrong password", request{method: "POST", path: "/sessions", body: `{"email": "a@example.com", "password": "x"}`}, 401, "do not match"},
		{"no token", request{method: "GET", path: "/orders"}, 401, "POST /sessions gives one"},
		{"another scheme", request{"GET", "/orders", "", []string{"Authorization: Basic dXNlcjpwYXNz"}}, 401, "must be: Bearer <token>"},
		{"garbage for a token", request{"GET", "/orders", "", []string{"Authorization: Bearer a.b.c"}}, 401, "the token is not valid"},
		{"token that was cut", request{"GET", "/orders", "", []string{strings.TrimSuffix(auth, auth[len(auth)-4:])}}, 401, "the token is not valid"},
		{"order without a key", request{"POST", "/orders", goodOrder, []string{auth}}, 400, "the header Idempotency-Key must have"},
		{"order with a long key", request{"POST", "/orders", goodOrder, []string{auth, "Idempotency-Key: " + long}}, 400, "the header Idempotency-Key must have"},
		{"form", request{"POST", "/orders", "a=b", []string{auth, key, "Content-Type: application/x-www-form-urlencoded"}}, 415, "must be application/json"},
		{"empty body", order(""), 400, "the body is empty"},
		{"half a body", order(`{"lines": [`), 400, "ends in the middle"},
		{"no JSON", order("lines=1"), 400, "the body is not JSON"},
		{"two values", order(goodOrder + goodOrder), 400, "there is more after it"},
		{"unknown field", order(`{"lines": [], "total": 1}`), 400, `unknown field "total"`},
		{"wrong type", order(`{"lines": [{"product_id": 1}]}`), 400, "lines.product_id must not be a number"},
		{"long body", order(`{"card": "` + strings.Repeat("1", maxBody) + `"}`), 413, "more than 65536 bytes"},
		{"no lines", order(`{"lines": [], "card": "4242-0000-0000-0001"}`), 400, "lines must be 1 to 50, not 0"},
		{"many lines", order(`{"lines": [` + strings.Repeat(`{"product_id": "p-1", "quantity": 1},`, 50) + `{"product_id": "p-2", "quantity": 1}]}`), 400, "not 51"},
		{"no product", order(`{"lines": [{"quantity": 1}]}`), 400, "product_id must have"},
		{"nothing of it", order(`{"lines": [{"product_id": "p-1"}]}`), 400, "quantity of p-1 must be 1 to 100, not 0"},
		{"too many of it", order(`{"lines": [{"product_id": "p-1", "quantity": 101}]}`), 400, "not 101"},
		{"twice the same", order(`{"lines": [{"product_id": "p-1", "quantity": 1}, {"product_id": "p-1", "quantity": 1}]}`), 400, "p-1 is in two lines"},
		{"no card", order(`{"lines": [{"product_id": "p-1", "quantity": 1}]}`), 400, "card must be four groups"},
		{"not for sale", order(strings.Replace(goodOrder, "p-2", "p-0", 1)), 400, "not for sale: p-0"},
		{"limit", request{"GET", "/orders?limit=1000", "", []string{auth}}, 400, "limit must be a number from 1 to 100"},
		{"another's order", request{"GET", "/orders/o-2", "", []string{auth}}, 404, `no order "o-2"`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w := s.do(c.ask)
			s.wantProblem(w, c.status, c.detail)
			if challenge := w.Header().Get("WWW-Authenticate"); (c.status == 401) != (challenge != "") {
				t.Errorf("challenge %q with a %d", challenge, c.status)
			}
		})
	}
	if n := s.backs.called("PlaceOrder"); n != 0 {
		t.Errorf("%d orders were placed", n)
	}
}

func TestUpstreamErrors(t *testing.T) {
	for code, want := range map[codes.Code]int{
		codes.InvalidArgument: 400, codes.OutOfRange: 400, codes.Unauthenticated: 401, codes.PermissionDenied: 403, codes.NotFound: 404,
		codes.FailedPrecondition: 409, codes.Aborted: 409, codes.AlreadyExists: 409, codes.Canceled: 499, codes.Unimplemented: 501,
		codes.Internal: 502, codes.Unknown: 502, codes.DataLoss: 502, codes.Unavailable: 503, codes.ResourceExhausted: 503, codes.DeadlineExceeded: 504,
	} {
		t.Run(code.String(), func(t *testing.T) {
			s := openShop(t)
			s.backs.breakDown("PlaceOrder", status.Error(code, "the reason"))
			w := s.member("POST", "/orders", goodOrder, "Idempotency-Key: k")
			p := s.wantProblem(w, want, "")
			clientsOwn := want < 499
			if strings.Contains(p.Detail, "the reason") != clientsOwn {
				t.Errorf("detail %q of a %d", p.Detail, want)
			}
			if p.Upstream != "orders" {
				t.Errorf("upstream %q", p.Upstream)
			}
			if again := w.Header().Get("Retry-After"); (want == 503) != (again == "1") {
				t.Errorf("retry after %q with a %d", again, want)
			}
		})
	}
}

func TestErrorsOfContextsAreNotUnknown(t *testing.T) {
	if p := upstream("orders", context.DeadlineExceeded); p.Status != http.StatusGatewayTimeout || p.Code != "DEADLINE_EXCEEDED" {
		t.Errorf("deadline: %+v", p)
	}
	if p := upstream("orders", context.Canceled); p.Status != statusClientGone || !errors.Is(p, context.Canceled) {
		t.Errorf("cancel: %+v", p)
	}
}

func TestEachRouteReportsItsUpstream(t *testing.T) {
	down := status.Error(codes.Unavailable, "down")
	for _, c := range []struct{ method, path, body, fails, upstream string }{
		{"GET", "/products", "", "ListProducts", "catalog"},
		{"GET", "/account", "", "GetAccount", "accounts"},
		{"GET", "/orders", "", "ListOrders", "orders"},
		{"GET", "/orders/o-1", "", "GetOrder", "orders"},
		{"POST", "/orders", goodOrder, "ListProducts", "catalog"},
		{"GET", "/account", "", "PublicKey", "accounts"},
	} {
		t.Run(c.fails+" of "+c.path, func(t *testing.T) {
			s := openShop(t)
			s.backs.breakDown(c.fails, down)
			p := s.wantProblem(s.member(c.method, c.path, c.body, "Idempotency-Key: k"), http.StatusServiceUnavailable, c.upstream+" is not available")
			if p.Upstream != c.upstream || p.Code != "UNAVAILABLE" {
				t.Errorf("problem %+v", p)
			}
			s.backs.breakDown(c.fails, nil)
			if w := s.member(c.method, c.path, c.body, "Idempotency-Key: k"); w.Code >= 400 {
				t.Errorf("after it came back: %d %s", w.Code, w.Body)
			}
		})
	}
}

func TestProblemsCarryTheirTrace(t *testing.T) {
	s := openShop(t)
	span := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}})
	r := httptest.NewRequest("GET", "/nowhere", nil)
	w := httptest.NewRecorder()
	s.http.ServeHTTP(w, r.WithContext(trace.ContextWithSpanContext(t.Context(), span)))
	if p := s.wantProblem(w, http.StatusNotFound, ""); p.TraceID != span.TraceID().String() {
		t.Errorf("trace %q, want %s", p.TraceID, span.TraceID())
	}
}

func TestMethodNotAllowedSaysWhatIs(t *testing.T) {
	if got := openShop(t).do(request{method: "PUT", path: "/orders"}).Header().Get("Allow"); got != "GET, POST" {
		t.Errorf("allow %q", got)
	}
}

func TestRateLimitIsOfAnAccountOrAnAddress(t *testing.T) {
	s := openLimitedShop(t, 0.001) // a bucket of one, filled in a quarter of an hour
	look := request{method: "GET", path: "/products"}
	if w := s.do(look); w.Code != http.StatusOK {
		t.Errorf("the first: %d", w.Code)
	}
	w := s.do(look)
	s.wantProblem(w, http.StatusTooManyRequests, "more than 0.001 requests a second")
	if again := w.Header().Get("Retry-After"); again != "1000" {
		t.Errorf("retry after %q, want 1000", again)
	}
	if w := s.member("GET", "/account", ""); w.Code != http.StatusOK {
		t.Errorf("an account from the same address: %d", w.Code)
	}
	s.wantProblem(s.member("GET", "/account", ""), http.StatusTooManyRequests, "")
	// A made-up token opens no fresh bucket.
	look.header = []string{"Authorization: Bearer a.b.c"}
	s.wantProblem(s.do(look), http.StatusTooManyRequests, "")
	s.wantProblem(s.do(request{"GET", "/account", "", look.header}), http.StatusTooManyRequests, "")
}

func TestRateLimit(t *testing.T) {
	for _, c := range []struct {
		text string
		want float64
		ok   bool
	}{
		{"", defaultRate, true}, {"0", 0, true}, {"2.5", 2.5, true}, {"-1", 0, false}, {"NaN", 0, false}, {"Inf", 0, false}, {"100/s", 0, false},
	} {
		got, err := rateLimit(c.text)
		if got != c.want || (err == nil) != c.ok {
			t.Errorf("RATE_LIMIT=%s: %g, %v", c.text, got, err)
		}
	}
}

func FuzzOrderBody(f *testing.F) {
	f.Add(goodOrder)
	f.Add(`{"lines": [{"product_id": "p-1", "quantity": 1e9}], "card": "4242-0000-0000-0001"}`)
	f.Add(`{"lines": null}`)
	f.Add(`[]`)
	f.Fuzz(func(t *testing.T, body string) {
		r := httptest.NewRequest("POST", "/orders", strings.NewReader(body))
		var req orderRequest
		err := decode(httptest.NewRecorder(), r, &req)
		if err == nil {
			err = req.check()
		}
		var p *problem
		if err != nil && (!errors.As(err, &p) || p.Status < 400 || p.Status > 499 || p.Detail == "") {
			t.Errorf("%q: %v", body, err)
		}
		if err == nil && (len(req.Lines) == 0 || !cardForm(req.Card)) {
			t.Errorf("%q was accepted", body)
		}
	})
}
