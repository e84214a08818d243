package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

// exchange is a web in front of a quotes service that can be made slow, and of a ledger.
type exchange struct {
	url    string
	slow   atomic.Bool
	parent atomic.Value // the traceparent that quotes saw last
}

func newExchange(t *testing.T, timeout string) *exchange {
	t.Helper()
	e := &exchange{}
	quotes := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, in *http.Request) {
		e.parent.Store(in.Header.Get("Traceparent"))
		if e.slow.Load() {
			<-in.Context().Done()
			return
		}
		fmt.Fprint(out, `{"symbol": "ACME", "price": 12.5}`)
	}))
	t.Cleanup(quotes.Close)
	ledger := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, in *http.Request) {
		if in.Method == http.MethodGet {
			http.NotFound(out, in)
			return
		}
		_, _ = io.Copy(out, in.Body)
	}))
	t.Cleanup(ledger.Close)
	w, err := newWeb(func(name string) string {
		return map[string]string{
			"QUOTES_ADDR": strings.TrimPrefix(quotes.URL, "http://"), "LEDGER_ADDR": strings.TrimPrefix(ledger.URL, "http://"),
			"QUOTES_TIMEOUT": timeout,
		}[name]
	})
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(w.routes())
	t.Cleanup(web.Close)
	e.url = web.URL
	return e
}

func (e *exchange) send(t *testing.T, method, path, body string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, e.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%d %s", resp.StatusCode, strings.TrimSpace(string(answer)))
}

func TestWeb(t *testing.T) {
	e := newExchange(t, "")
	for _, test := range []struct{ method, path, body, want string }{
		{"GET", "/healthz", "", "200 ok"},
		{"GET", "/quotes/ACME", "", `200 {"symbol":"ACME","price":12.5}`},
		{"POST", "/orders", `{"symbol": "ACME", "amount": 3}`, `201 {"amount":3,"price":12.5,"symbol":"ACME"}`},
		{"POST", "/orders", `{"symbol": "ACME"}`, `400 want {"symbol": "ACME", "amount": 1}`},
		{"GET", "/orders/9", "", "404 not found"},
	} {
		if got := e.send(t, test.method, test.path, test.body); got != test.want {
			t.Errorf("%s %s: got %s, want %s", test.method, test.path, got, test.want)
		}
	}
	if got := e.parent.Load(); got != "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01" {
		t.Errorf("the trace passed on is %q", got)
	}
}

func TestTimeoutShowsTheLastPrice(t *testing.T) {
	e := newExchange(t, "50ms")
	if got := e.send(t, "GET", "/quotes/ACME", ""); got != `200 {"symbol":"ACME","price":12.5}` {
		t.Errorf("got %s", got)
	}
	e.slow.Store(true)
	if got := e.send(t, "GET", "/quotes/ACME", ""); got != `200 {"symbol":"ACME","price":12.5,"stale":true}` {
		t.Errorf("got %s", got)
	}
	if got := e.send(t, "GET", "/quotes/NEW", ""); !strings.HasPrefix(got, "502 ") {
		t.Errorf("a price never seen: got %s", got)
	}
}

func TestBadTimeout(t *testing.T) {
	if _, err := newWeb(func(string) string { return "soon" }); err == nil || !strings.HasPrefix(err.Error(), "QUOTES_TIMEOUT: ") {
		t.Errorf("error %v", err)
	}
}
