package broker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/embedded"
	"go.opentelemetry.io/otel/trace/noop"
)

// startServer runs a real NATS server on the port (0 for any) until the test ends or stop is called.
func startServer(t *testing.T, port int, dir string) (addr string, stop func()) {
	t.Helper()
	if port == 0 {
		port = -1
	}
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: port, JetStream: true, StoreDir: dir, NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the server does not start")
	}
	var once sync.Once
	stop = func() { once.Do(func() { s.Shutdown(); s.WaitForShutdown() }) }
	t.Cleanup(stop)
	return s.Addr().String(), stop
}

func connect(t *testing.T, cfg Config) *Client {
	t.Helper()
	c, err := Connect(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// consume runs a consumer until the test ends or stop is called, which waits for it.
func consume(t *testing.T, c *Client, consumer Consumer, handle func(context.Context, Message) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	wait.Go(func() {
		if err := c.Consume(ctx, consumer, handle); err != nil {
			t.Errorf("consuming: %v", err)
		}
	})
	stop = func() { cancel(); wait.Wait() }
	t.Cleanup(stop)
	return stop
}

func receive[T any](t *testing.T, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(20 * time.Second):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestPublishAndConsume(t *testing.T) {
	addr, _ := startServer(t, 0, t.TempDir())
	ctx, c := testContext(t), connect(t, Config{Addrs: []string{addr}})
	if err := c.EnsureStream(ctx, "orders", "orders.>"); err != nil {
		t.Fatal(err)
	}
	if err := c.EnsureStream(ctx, "orders", "orders.>"); err != nil {
		t.Fatalf("a second time: %v", err)
	}
	for _, id := range []string{"1", "2", "1"} { // the third is a repetition
		if err := c.Publish(ctx, "orders.confirmed", id, []byte("order "+id)); err != nil {
			t.Fatal(err)
		}
	}
	got := make(chan Message, 10)
	stop := consume(t, c, Consumer{Stream: "orders", Durable: "shipping", Subject: "orders.confirmed"}, func(_ context.Context, m Message) error {
		got <- m
		return nil
	})
	for _, id := range []string{"1", "2"} {
		m := receive(t, got)
		if m.ID != id || string(m.Data) != "order "+id || m.Attempt != 1 || m.Subject != "orders.confirmed" || time.Since(m.Sent) > time.Minute {
			t.Errorf("got %+v", m)
		}
	}
	stop()
	if n := len(got); n != 0 {
		t.Errorf("%d more came: the repetition was kept", n)
	}
	// What was acknowledged does not come again to the same durable consumer.
	if err := c.Publish(ctx, "orders.confirmed", "3", nil); err != nil {
		t.Fatal(err)
	}
	consume(t, c, Consumer{Stream: "orders", Durable: "shipping", Subject: "orders.confirmed"}, func(_ context.Context, m Message) error {
		got <- m
		return nil
	})
	if m := receive(t, got); m.ID != "3" {
		t.Errorf("got %+v", m)
	}
}

func TestRetriesThenDeadLetter(t *testing.T) {
	addr, _ := startServer(t, 0, t.TempDir())
	ctx, c := testContext(t), connect(t, Config{Addrs: []string{addr}})
	if err := c.EnsureStream(ctx, "orders", "orders.>", "dead.orders"); err != nil {
		t.Fatal(err)
	}
	poison := errors.New("cannot be\ndecoded")
	var mu sync.Mutex
	attempts := map[string][]int{}
	consume(t, c, Consumer{
		Stream: "orders", Durable: "shipping", Subject: "orders.*", DeadLetter: "dead.orders",
		MaxDeliver: 3, Backoff: []time.Duration{time.Millisecond, 2 * time.Millisecond},
	}, func(_ context.Context, m Message) error {
		mu.Lock()
		defer mu.Unlock()
		attempts[m.ID] = append(attempts[m.ID], m.Attempt)
		switch m.ID {
		case "poison":
			return poison
		case "panic":
			panic("here")
		case "hopeless":
			return Permanent(fmt.Errorf("wrapped: %w", poison))
		case "second":
			if m.Attempt == 1 {
				return poison
			}
		case "again":
			return fmt.Errorf("order 7: %w", ErrDuplicate)
		}
		return nil
	})
	dead := make(chan jetstream.Msg, 10)
	listener, err := c.js.CreateOrUpdateConsumer(ctx, "orders", jetstream.ConsumerConfig{FilterSubject: "dead.orders"})
	if err != nil {
		t.Fatal(err)
	}
	listening, err := listener.Consume(func(m jetstream.Msg) { _ = m.Ack(); dead <- m })
	if err != nil {
		t.Fatal(err)
	}
	defer listening.Stop()
	for _, id := range []string{"second", "again", "poison", "panic", "hopeless"} {
		if err := c.Publish(ctx, "orders.confirmed", id, []byte(id)); err != nil {
			t.Fatal(err)
		}
	}
	want := map[string]string{
		"hopeless": "1 wrapped: cannot be decoded",
		"poison":   "3 cannot be decoded",
		"panic":    "3 handler panicked: here",
	}
	for range len(want) {
		m := receive(t, dead)
		id := string(m.Data())
		if got := m.Headers().Get(HeaderAttempts) + " " + m.Headers().Get(HeaderReason); got != want[id] || m.Headers().Get(HeaderSubject) != "orders.confirmed" {
			t.Errorf("dead letter %s: %q from %s, want %q", id, got, m.Headers().Get(HeaderSubject), want[id])
		}
		delete(want, id)
	}
	mu.Lock()
	defer mu.Unlock()
	if got := fmt.Sprint(attempts); got != "map[again:[1] hopeless:[1] panic:[1 2 3] poison:[1 2 3] second:[1 2]]" {
		t.Errorf("attempts %s", got)
	}
}

// A consumer that died over a message without answering counts as an attempt, so that a
// message which kills its consumer is given up too.
func TestDeathsCountAsAttempts(t *testing.T) {
	addr, _ := startServer(t, 0, t.TempDir())
	ctx, c := testContext(t), connect(t, Config{Addrs: []string{addr}})
	if err := c.EnsureStream(ctx, "orders", "orders.>", "dead.orders"); err != nil {
		t.Fatal(err)
	}
	if err := c.Publish(ctx, "orders.confirmed", "killer", nil); err != nil {
		t.Fatal(err)
	}
	consumer := Consumer{Stream: "orders", Durable: "shipping", Subject: "orders.confirmed", DeadLetter: "dead.orders", MaxDeliver: 2, AckWait: 50 * time.Millisecond}
	w := &worker{Client: c, Consumer: consumer.withDefaults()}
	for range 2 {
		messages, err := w.subscribe(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := messages.Next(jetstream.NextContext(ctx)); err != nil { // and never answers
			t.Fatal(err)
		}
		messages.Stop()
	}
	consume(t, c, consumer, func(_ context.Context, m Message) error {
		t.Errorf("attempt %d was handled", m.Attempt)
		return nil
	})
	dead := make(chan Message, 1)
	consume(t, c, Consumer{Stream: "orders", Durable: "graveyard", Subject: "dead.orders"}, func(_ context.Context, m Message) error { dead <- m; return nil })
	if m := receive(t, dead); m.ID != "shipping/killer" {
		t.Errorf("got %+v", m)
	}
}

// A handler that takes longer than AckWait keeps its message.
func TestSlowHandlerKeepsItsMessage(t *testing.T) {
	addr, _ := startServer(t, 0, t.TempDir())
	ctx, c := testContext(t), connect(t, Config{Addrs: []string{addr}})
	if err := c.EnsureStream(ctx, "orders", "orders.>"); err != nil {
		t.Fatal(err)
	}
	attempts := make(chan int, 10)
	consume(t, c, Consumer{Stream: "orders", Durable: "d", Subject: "orders.a", AckWait: 150 * time.Millisecond, Concurrency: 4}, func(ctx context.Context, m Message) error {
		timer := time.NewTimer(600 * time.Millisecond) // real time: the server's clock counts here
		defer timer.Stop()
		<-timer.C
		attempts <- m.Attempt
		return nil
	})
	if err := c.Publish(ctx, "orders.a", "1", nil); err != nil {
		t.Fatal(err)
	}
	if n := receive(t, attempts); n != 1 || len(attempts) != 0 {
		t.Errorf("attempt %d, %d more", n, len(attempts))
	}
}

func TestConcurrency(t *testing.T) {
	addr, _ := startServer(t, 0, t.TempDir())
	ctx, c := testContext(t), connect(t, Config{Addrs: []string{addr}})
	if err := c.EnsureStream(ctx, "orders", "orders.>"); err != nil {
		t.Fatal(err)
	}
	entered, release := make(chan struct{}, 10), make(chan struct{})
	consume(t, c, Consumer{Stream: "orders", Durable: "d", Subject: "orders.a", Concurrency: 3}, func(context.Context, Message) error {
		entered <- struct{}{}
		<-release
		return nil
	})
	for i := range 6 {
		if err := c.Publish(ctx, "orders.a", strconv.Itoa(i), nil); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		receive(t, entered)
	}
	if len(entered) != 0 {
		t.Error("more than three at once")
	}
	close(release)
	for range 3 {
		receive(t, entered)
	}
}

// The service starts without its broker, notices its coming, survives its going, and goes on.
func TestBrokerComesAndGoes(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	_, port, _ := net.SplitHostPort(addr)
	number, _ := strconv.Atoi(port)
	ctx, dir := testContext(t), t.TempDir()

	c := connect(t, Config{Addrs: []string{addr}})
	began := time.Now()
	if err := c.Publish(ctx, "orders.a", "1", nil); err == nil || time.Since(began) > 20*time.Second || c.Connected() {
		t.Fatalf("without a broker: %v after %s", err, time.Since(began))
	}
	got := make(chan string, 10)
	consume(t, c, Consumer{Stream: "orders", Durable: "d", Subject: "orders.a"}, func(_ context.Context, m Message) error { got <- m.ID; return nil })

	_, stop := startServer(t, number, dir)
	if err := c.EnsureStream(ctx, "orders", "orders.>"); err != nil {
		t.Fatal(err)
	}
	publish := func(id string) {
		t.Helper()
		for { // until the connection is back
			err := c.Publish(ctx, "orders.a", id, nil)
			if err == nil {
				return
			}
			if e := pause(ctx, 20*time.Millisecond); e != nil {
				t.Fatal(err)
			}
		}
	}
	publish("2")
	if id := receive(t, got); id != "2" {
		t.Errorf("got %s", id)
	}
	stop()
	if err := c.Publish(ctx, "orders.a", "3", nil); err == nil {
		t.Error("published without a broker")
	}
	startServer(t, number, dir)
	publish("4")
	if id := receive(t, got); id != "4" {
		t.Errorf("got %s", id)
	}
}

func TestConsumeRefuses(t *testing.T) {
	addr, _ := startServer(t, 0, t.TempDir())
	ctx, c := testContext(t), connect(t, Config{Addrs: []string{addr}})
	if err := c.EnsureStream(ctx, "orders", "orders.>"); err != nil {
		t.Fatal(err)
	}
	err := c.Consume(ctx, Consumer{Stream: "orders", Durable: "a.b", Subject: "orders.>"}, nil)
	if err == nil || !strings.HasPrefix(err.Error(), "consuming orders.> as a.b: ") {
		t.Errorf("got %v", err)
	}
	if err := c.EnsureStream(ctx, "copy", "orders.>"); err == nil || !strings.HasPrefix(err.Error(), "ensuring stream copy: ") {
		t.Errorf("overlapping streams: %v", err)
	}
	if _, err := Connect(ctx, Config{}); err == nil || err.Error() != "connecting to broker: no address" {
		t.Errorf("got %v", err)
	}
}

// The consumer's span is a trace of its own that is linked to the producer's; policies of the edge are around publishing.
func TestTracesAndPolicies(t *testing.T) {
	addr, _ := startServer(t, 0, t.TempDir())
	spans := &tracer{}
	blocked := errors.New("the breaker is open")
	var around error
	ctx := testContext(t)
	c := connect(t, Config{
		Addrs: []string{addr}, TracerProvider: spans, Attributes: []attribute.KeyValue{attribute.String("edge", "a->broker")},
		Around: func(ctx context.Context, publish func(context.Context) error) error {
			if around != nil {
				return around
			}
			return publish(ctx)
		},
	})
	if err := c.EnsureStream(ctx, "orders", "orders.>"); err != nil {
		t.Fatal(err)
	}
	if err := c.Publish(ctx, "orders.a", "1", nil); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	stop := consume(t, c, Consumer{Stream: "orders", Durable: "d", Subject: "orders.a"}, func(context.Context, Message) error { close(done); return nil })
	receive(t, done)
	stop()
	if got := spans.String(); got != "producer send orders.a edge=a->broker links=[]; consumer process orders.a edge=a->broker links=[1]" {
		t.Errorf("spans: %s", got)
	}
	around = blocked
	if err := c.Publish(ctx, "orders.a", "2", nil); !errors.Is(err, blocked) {
		t.Errorf("got %v", err)
	}
}

// tracer keeps the spans that are made with it, numbered from 1.
type tracer struct {
	embedded.TracerProvider
	mu    sync.Mutex
	spans []string
}

type starter struct {
	embedded.Tracer
	t *tracer
}

func (t *tracer) Tracer(string, ...trace.TracerOption) trace.Tracer { return starter{t: t} }

func (s starter) Start(ctx context.Context, name string, opts ...trace.SpanStartOption) (context.Context, trace.Span) {
	s.t.mu.Lock()
	defer s.t.mu.Unlock()
	config := trace.NewSpanStartConfig(opts...)
	text := config.SpanKind().String() + " " + name
	for _, a := range config.Attributes() {
		if a.Key == "edge" {
			text += " edge=" + a.Value.AsString()
		}
	}
	links := []byte{}
	for _, link := range config.Links() {
		id := link.SpanContext.SpanID()
		links = append(links, id[0])
	}
	s.t.spans = append(s.t.spans, text+fmt.Sprintf(" links=%v", links))
	id := byte(len(s.t.spans))
	span := testSpan{context: trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{id}, SpanID: trace.SpanID{id}, TraceFlags: trace.FlagsSampled})}
	return trace.ContextWithSpan(ctx, span), span
}

func (t *tracer) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.Join(t.spans, "; ")
}

type testSpan struct {
	noop.Span
	context trace.SpanContext
}

func (s testSpan) SpanContext() trace.SpanContext { return s.context }
