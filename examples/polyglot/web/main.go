// Command web is the front of a small exchange: it shows prices and books
// what is bought. It is an ordinary program on net/http and nothing else.
//
// It takes its configuration from the environment: PORT and HOST to listen
// on, QUOTES_ADDR and LEDGER_ADDR (host:port) for whom it calls, and QUOTES_TIMEOUT
// (such as 100ms; none by default), after which it shows the last price that it knows.
package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

func main() {
	if err := run(); err != nil {
		log.Fatal("web: ", err)
	}
}

func run() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	w, err := newWeb(os.Getenv)
	if err != nil {
		return err
	}
	addr := net.JoinHostPort(cmp.Or(os.Getenv("HOST"), "127.0.0.1"), cmp.Or(os.Getenv("PORT"), "8080"))
	server := &http.Server{Addr: addr, Handler: w.routes(), ReadHeaderTimeout: 5 * time.Second}
	go func() {
		<-ctx.Done()
		ending, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		_ = server.Shutdown(ending)
	}()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// quote is what the quotes service says about a symbol.
type quote struct {
	Symbol string  `json:"symbol"`
	Price  float64 `json:"price"`
	Stale  bool    `json:"stale,omitempty"`
}

type web struct {
	client         *http.Client
	quotes, ledger string
	timeout        time.Duration

	mu   sync.Mutex
	last map[string]quote
}

func newWeb(getenv func(string) string) (*web, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 256 // the default of 2 opens a connection for nearly every call
	w := &web{
		client: &http.Client{Transport: transport},
		quotes: cmp.Or(getenv("QUOTES_ADDR"), "127.0.0.1:8081"),
		ledger: cmp.Or(getenv("LEDGER_ADDR"), "127.0.0.1:8082"),
		last:   map[string]quote{},
	}
	if text := getenv("QUOTES_TIMEOUT"); text != "" {
		var err error
		if w.timeout, err = time.ParseDuration(text); err != nil {
			return nil, fmt.Errorf("QUOTES_TIMEOUT: %w", err)
		}
	}
	return w, nil
}

func (w *web) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(out http.ResponseWriter, _ *http.Request) { fmt.Fprintln(out, "ok") })
	mux.HandleFunc("GET /quotes/{symbol}", w.showQuote)
	mux.HandleFunc("POST /orders", w.buy)
	mux.HandleFunc("GET /orders/{id}", w.showOrder)
	return mux
}

func (w *web) showQuote(out http.ResponseWriter, in *http.Request) {
	q, err := w.quote(in, in.PathValue("symbol"))
	answer(out, http.StatusOK, q, err)
}

func (w *web) buy(out http.ResponseWriter, in *http.Request) {
	var order struct {
		Symbol string `json:"symbol"`
		Amount int    `json:"amount"`
	}
	if err := json.NewDecoder(in.Body).Decode(&order); err != nil || order.Symbol == "" || order.Amount < 1 {
		http.Error(out, `want {"symbol": "ACME", "amount": 1}`, http.StatusBadRequest)
		return
	}
	q, err := w.quote(in, order.Symbol)
	if err != nil {
		answer(out, 0, nil, err)
		return
	}
	entry := map[string]any{"symbol": order.Symbol, "amount": order.Amount, "price": q.Price}
	body, _ := json.Marshal(entry) // texts and numbers always marshal
	var booked map[string]any
	err = w.call(in.Context(), in, http.MethodPost, "http://"+w.ledger+"/entries", body, &booked)
	answer(out, http.StatusCreated, booked, err)
}

func (w *web) showOrder(out http.ResponseWriter, in *http.Request) {
	var entry map[string]any
	err := w.call(in.Context(), in, http.MethodGet, "http://"+w.ledger+"/entries/"+in.PathValue("id"), nil, &entry)
	answer(out, http.StatusOK, entry, err)
}

// quote asks for a price. With a timeout it falls back on the last one seen.
func (w *web) quote(in *http.Request, symbol string) (quote, error) {
	ctx := in.Context()
	if w.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, w.timeout)
		defer cancel()
	}
	var q quote
	err := w.call(ctx, in, http.MethodGet, "http://"+w.quotes+"/quotes/"+symbol, nil, &q)
	w.mu.Lock()
	defer w.mu.Unlock()
	if err == nil {
		w.last[symbol] = q
		return q, nil
	}
	if known, ok := w.last[symbol]; ok && w.timeout > 0 {
		known.Stale = true
		return known, nil
	}
	return quote{}, err
}

// call sends a request and reads the JSON answer. The trace goes along, by hand: this
// program has no telemetry of its own and still does not break the traces of others.
func (w *web) call(ctx context.Context, in *http.Request, method, url string, body []byte, into any) error {
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	for _, name := range []string{"Traceparent", "Tracestate", "Baggage"} {
		if text := in.Header.Get(name); text != "" {
			req.Header.Set(name, text)
		}
	}
	resp, err := w.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 {
		_, _ = io.Copy(io.Discard, resp.Body)
		return statusError(resp.StatusCode)
	}
	return json.NewDecoder(resp.Body).Decode(into)
}

// statusError is the status with which a callee refused.
type statusError int

func (e statusError) Error() string { return fmt.Sprintf("answered with status %d", int(e)) }

// answer writes v, or why there is none: not found stays that, anything else is a bad gateway.
func answer(out http.ResponseWriter, status int, v any, err error) {
	var refused statusError
	switch {
	case errors.As(err, &refused) && int(refused) == http.StatusNotFound:
		http.Error(out, "not found", http.StatusNotFound)
		return
	case err != nil:
		http.Error(out, err.Error(), http.StatusBadGateway)
		return
	}
	out.Header().Set("Content-Type", "application/json")
	out.WriteHeader(status)
	_ = json.NewEncoder(out).Encode(v) // the client has gone when this fails
}
