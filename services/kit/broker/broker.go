// Package broker owns how a service of the shop speaks to NATS JetStream:
// connecting for good, publishing with an acknowledgement, consuming with
// repetition and dead letters, and what of it telemetry shows. It knows no subject.
//
// A broker that is down takes no service down: Connect does not wait for it,
// Publish fails at once, Consume begins when it is there.
package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// Config says which broker to speak to. Only Addrs is required.
type Config struct {
	Addrs []string // host:port
	Name  string   // how the broker's own figures call this client
	Log   *slog.Logger
	// Registerer gets the metrics; nil means none.
	Registerer     prometheus.Registerer
	TracerProvider trace.TracerProvider
	Propagator     propagation.TextMapPropagator
	// Around runs each publish, so that policies of the edge to the broker apply; nil means none.
	Around func(ctx context.Context, publish func(context.Context) error) error
	// Attributes are put on each span.
	Attributes []attribute.KeyValue
}

func (cfg Config) withDefaults() Config {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.TracerProvider == nil {
		cfg.TracerProvider = noop.NewTracerProvider()
	}
	if cfg.Propagator == nil {
		cfg.Propagator = propagation.TraceContext{}
	}
	if cfg.Around == nil {
		cfg.Around = func(ctx context.Context, publish func(context.Context) error) error { return publish(ctx) }
	}
	return cfg
}

// Client speaks to the broker. It is safe for concurrent use.
type Client struct {
	cfg     Config
	conn    *nats.Conn
	js      jetstream.JetStream
	tracer  trace.Tracer
	metrics *metrics
	session session
}

// session is the connection that lasts now. A request whose connection broke
// would wait for its answer until its own time is up.
type session struct {
	mu  sync.Mutex
	ctx context.Context
	end context.CancelFunc
}

func (s *session) current() context.Context {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx == nil || s.ctx.Err() != nil {
		s.ctx, s.end = context.WithCancel(context.Background())
	}
	return s.ctx
}

func (s *session) broke() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.end != nil {
		s.end()
	}
}

// How fast a lost connection is tried again, and how long one try may take.
const (
	reconnectWait  = 250 * time.Millisecond
	connectTimeout = 2 * time.Second
)

// Connect makes a client and begins to connect. It does not wait for the
// broker and reconnects for ever; an error means that the addresses cannot be meant.
func Connect(_ context.Context, cfg Config) (*Client, error) {
	if len(cfg.Addrs) == 0 {
		return nil, errors.New("connecting to broker: no address")
	}
	c := &Client{cfg: cfg.withDefaults()}
	cfg = c.cfg
	urls := make([]string, len(cfg.Addrs))
	for i, addr := range cfg.Addrs {
		urls[i] = "nats://" + addr
	}
	var err error
	c.conn, err = nats.Connect(strings.Join(urls, ","),
		nats.Name(cfg.Name),
		nats.RetryOnFailedConnect(true),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(reconnectWait),
		nats.Timeout(connectTimeout),
		// A publish while the broker is away fails at once: whoever needs it later keeps it in an outbox, not here.
		nats.ReconnectBufSize(-1),
		nats.PingInterval(5*time.Second),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			c.session.broke()
			if err != nil { // nil when this side closed
				cfg.Log.Warn("broker lost", "error", err)
			}
		}),
		nats.ReconnectHandler(func(c *nats.Conn) { cfg.Log.Info("broker connected again", "url", c.ConnectedUrl()) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			cfg.Log.Warn("broker reports an error", "error", err)
		}),
	)
	if err != nil {
		return nil, fmt.Errorf("connecting to broker: %w", err)
	}
	if c.js, err = jetstream.New(c.conn); err != nil {
		c.conn.Close()
		return nil, fmt.Errorf("connecting to broker: %w", err)
	}
	if c.metrics, err = newMetrics(cfg.Registerer); err != nil {
		c.conn.Close()
		return nil, fmt.Errorf("connecting to broker: %w", err)
	}
	c.tracer = cfg.TracerProvider.Tracer("github.com/faultline-lab/faultline/services/kit/broker")
	return c, nil
}

// Connected tells whether the broker is there now.
func (c *Client) Connected() bool { return c.conn.IsConnected() }

// Close ends the connection. Consumers should have ended before.
func (c *Client) Close() error {
	c.conn.Close()
	return nil
}

// duplicateWindow is how long the broker remembers message ids, so that an
// outbox may publish a message again without it arriving twice.
const duplicateWindow = 2 * time.Minute

// EnsureStream makes the stream that keeps messages of these subjects, or
// brings one of that name up to date. It waits for the broker until ctx ends.
func (c *Client) EnsureStream(ctx context.Context, name string, subjects ...string) error {
	cfg := jetstream.StreamConfig{Name: name, Subjects: subjects, Storage: jetstream.FileStorage, Duplicates: duplicateWindow}
	warned := false
	err := c.persist(ctx, func(ctx context.Context) error {
		_, err := c.js.CreateOrUpdateStream(ctx, cfg)
		if err != nil && !warned {
			warned = true
			c.cfg.Log.Warn("stream not there yet", "stream", name, "error", plain(err))
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("ensuring stream %s: %w", name, err)
	}
	return nil
}

// persist tries do until it succeeds, ctx ends, or the broker itself refuses.
func (c *Client) persist(ctx context.Context, do func(context.Context) error) error {
	for {
		attempt, cancel := context.WithTimeout(ctx, connectTimeout)
		err := do(attempt)
		cancel()
		var refused *jetstream.APIError
		if err == nil || errors.As(err, &refused) && refused.Code < 500 {
			return err
		}
		if e := pause(ctx, reconnectWait); e != nil {
			return errors.Join(err, e)
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Publish sends a message and waits until the broker keeps it, five seconds
// at most when ctx sets no limit. A message id that the broker saw within the last two minutes is
// not kept again. An error means that the message may or may not be kept.
func (c *Client) Publish(ctx context.Context, subject, msgID string, data []byte) error {
	err := c.cfg.Around(ctx, func(ctx context.Context) error { return c.publish(ctx, subject, msgID, data, nil) })
	if err != nil {
		return fmt.Errorf("publishing %s: %w", subject, err)
	}
	c.metrics.published.WithLabelValues(subject).Inc()
	return nil
}

func (c *Client) publish(ctx context.Context, subject, msgID string, data []byte, header nats.Header) error {
	ctx, span := c.tracer.Start(ctx, "send "+subject, trace.WithSpanKind(trace.SpanKindProducer),
		trace.WithAttributes(c.attributes(subject, msgID, semconv.MessagingOperationTypeSend)...))
	defer span.End()
	msg := &nats.Msg{Subject: subject, Data: data, Header: header}
	if msg.Header == nil {
		msg.Header = nats.Header{}
	}
	if msgID != "" {
		msg.Header.Set(jetstream.MsgIDHeader, msgID)
	}
	c.cfg.Propagator.Inject(ctx, headerCarrier(msg.Header))
	if err := c.request(ctx, msg); err != nil {
		fail(span, err)
		return err
	}
	return nil
}

var (
	errLost = errors.New("the connection broke before the broker acknowledged")
	errAway = errors.New("the broker is not connected")
)

// plain says in plain words what nats.go calls a full buffer: there is no
// connection, and nothing is kept for later.
func plain(err error) error {
	if errors.Is(err, nats.ErrReconnectBufExceeded) {
		return errAway
	}
	return err
}

// request sends the message and waits for the acknowledgement, while the connection lasts.
func (c *Client) request(ctx context.Context, msg *nats.Msg) error {
	session := c.session.current()
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(session, cancel)()
	_, err := c.js.PublishMsg(waiting, msg)
	if err != nil && session.Err() != nil && ctx.Err() == nil {
		return errLost
	}
	return plain(err)
}

func (c *Client) attributes(subject, msgID string, operation attribute.KeyValue) []attribute.KeyValue {
	return append([]attribute.KeyValue{
		semconv.MessagingSystemKey.String("nats"),
		semconv.MessagingDestinationName(subject),
		semconv.MessagingMessageID(msgID),
		operation,
	}, c.cfg.Attributes...)
}

// headerCarrier lets the propagator read and write NATS headers, whose keys
// are used as they are, unlike HTTP's.
type headerCarrier nats.Header

func (h headerCarrier) Get(key string) string { return nats.Header(h).Get(key) }
func (h headerCarrier) Set(key, value string) { nats.Header(h).Set(key, value) }
func (h headerCarrier) Keys() []string {
	keys := make([]string, 0, len(h))
	for key := range h {
		keys = append(keys, key)
	}
	return keys
}
