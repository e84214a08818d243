// Command ledger keeps the books of a small exchange, in memory. It has
// OpenTelemetry of its own, set up as OpenTelemetry's documentation does it: traces
// over OTLP, configured by the standard OTEL_* variables. Without
// OTEL_EXPORTER_OTLP_ENDPOINT it exports nothing.
//
// PORT and HOST say where to listen. GET /metrics is for Prometheus, written by hand.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

func main() {
	if err := run(); err != nil {
		log.Fatal("ledger: ", err)
	}
}

func run() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	shutdown, err := setUpTracing(ctx)
	if err != nil {
		return err
	}
	addr := net.JoinHostPort(cmp.Or(os.Getenv("HOST"), "127.0.0.1"), cmp.Or(os.Getenv("PORT"), "8082"))
	l := &ledger{tracer: otel.Tracer("ledger")}
	server := &http.Server{Addr: addr, Handler: l.routes(), ReadHeaderTimeout: 5 * time.Second}
	ended := make(chan error, 1)
	go func() {
		<-ctx.Done()
		ending, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		ended <- errors.Join(server.Shutdown(ending), shutdown(ending))
	}()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-ended
}

// setUpTracing returns the function that sends what is left and ends it.
func setUpTracing(ctx context.Context) (shutdown func(context.Context) error, err error) {
	otel.SetTextMapPropagator(propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{}))
	if os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") == "" {
		return func(context.Context) error { return nil }, nil
	}
	exporter, err := otlptracegrpc.New(ctx)
	if err != nil {
		return nil, err
	}
	described, err := resource.New(ctx, resource.WithTelemetrySDK(), resource.WithFromEnv())
	if err != nil {
		return nil, err
	}
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter, sdktrace.WithBatchTimeout(time.Second)), sdktrace.WithResource(described))
	otel.SetTracerProvider(provider)
	return provider.Shutdown, nil
}

// entry is one line of the books.
type entry struct {
	ID     int     `json:"id"`
	Symbol string  `json:"symbol"`
	Amount int     `json:"amount"`
	Price  float64 `json:"price"`
	Total  float64 `json:"total"`
}

type ledger struct {
	tracer trace.Tracer

	mu      sync.Mutex
	entries []entry
}

func (l *ledger) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(out http.ResponseWriter, _ *http.Request) { fmt.Fprintln(out, "ok") })
	mux.HandleFunc("GET /metrics", l.metrics)
	mux.HandleFunc("POST /entries", l.traced("POST /entries", l.book))
	mux.HandleFunc("GET /entries/{id}", l.traced("GET /entries/{id}", l.show))
	return mux
}

// traced puts a server span around a handler, which returns the status that it answered with.
func (l *ledger) traced(route string, handle func(context.Context, http.ResponseWriter, *http.Request) int) http.HandlerFunc {
	return func(out http.ResponseWriter, in *http.Request) {
		ctx := otel.GetTextMapPropagator().Extract(in.Context(), propagation.HeaderCarrier(in.Header))
		ctx, span := l.tracer.Start(ctx, route, trace.WithSpanKind(trace.SpanKindServer),
			trace.WithAttributes(attribute.String("http.request.method", in.Method), attribute.String("http.route", route)))
		defer span.End()
		status := handle(ctx, out, in)
		span.SetAttributes(attribute.Int("http.response.status_code", status))
		if status >= http.StatusInternalServerError {
			span.SetStatus(codes.Error, http.StatusText(status))
		}
	}
}

func (l *ledger) book(ctx context.Context, out http.ResponseWriter, in *http.Request) int {
	var e entry
	if err := json.NewDecoder(in.Body).Decode(&e); err != nil || e.Symbol == "" || e.Amount < 1 || e.Price <= 0 {
		return answer(out, http.StatusBadRequest, map[string]string{"error": "want a symbol, an amount and a price"})
	}
	_, span := l.tracer.Start(ctx, "append entry")
	defer span.End()
	l.mu.Lock()
	e.ID, e.Total = len(l.entries)+1, float64(e.Amount)*e.Price
	l.entries = append(l.entries, e)
	l.mu.Unlock()
	span.SetAttributes(attribute.Int("entry.id", e.ID))
	return answer(out, http.StatusCreated, e)
}

func (l *ledger) show(_ context.Context, out http.ResponseWriter, in *http.Request) int {
	id, _ := strconv.Atoi(in.PathValue("id")) // 0 is nobody's
	l.mu.Lock()
	defer l.mu.Unlock()
	if id < 1 || id > len(l.entries) {
		return answer(out, http.StatusNotFound, map[string]string{"error": "no such entry"})
	}
	return answer(out, http.StatusOK, l.entries[id-1])
}

func (l *ledger) metrics(out http.ResponseWriter, _ *http.Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	out.Header().Set("Content-Type", "text/plain; version=0.0.4")
	fmt.Fprintf(out, "# HELP ledger_entries_total Entries booked.\n# TYPE ledger_entries_total counter\nledger_entries_total %d\n", len(l.entries))
}

func answer(out http.ResponseWriter, status int, v any) int {
	out.Header().Set("Content-Type", "application/json")
	out.WriteHeader(status)
	_ = json.NewEncoder(out).Encode(v) // the client has gone when this fails
	return status
}
