package broker

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
)

// Consumer says what is consumed and how often.
type Consumer struct {
	Stream  string
	Durable string // its name, under which the broker remembers how far it is
	Subject string // a subject or pattern of the stream
	// MaxDeliver is how often a message is tried before it is a dead letter; 0 means 5, below 0 for ever, whatever the error.
	MaxDeliver int
	// Ordered has the messages handled one after the other: the next one comes when the one before is settled. So
	// none overtakes another, and one that cannot be settled holds up all that come after it.
	Ordered bool
	// Backoff is how long to wait before the second try, the third and so on;
	// the last one repeats. Empty means 100ms, 500ms, 2s.
	Backoff []time.Duration
	// DeadLetter is the subject that gets what cannot be handled, with headers
	// that say why; some stream must keep it. Empty means that such a message is
	// dropped, with an error in the log.
	DeadLetter string
	// Concurrency is how many messages are handled at once; 0 means 1.
	Concurrency int
	// AckWait is after how long the message of a consumer that died is given to
	// another one; 0 means 10 s. Handling may take longer: the broker is told that it goes on.
	AckWait time.Duration
}

// Message is one delivery of a message.
type Message struct {
	Subject string
	ID      string // as given to Publish
	Data    []byte
	Attempt int       // 1 at the first delivery
	Sent    time.Time // when the broker took it
}

// ErrDuplicate is what a handler returns for a message whose effect is there
// already: it is acknowledged and counted as a duplicate.
var ErrDuplicate = errors.New("duplicate message")

// Permanent marks an error that trying again cannot mend: the message goes to the dead letters at once.
func Permanent(err error) error { return &permanentError{err} }

type permanentError struct{ err error }

func (e *permanentError) Error() string { return e.err.Error() }
func (e *permanentError) Unwrap() error { return e.err }

// Headers of a dead letter beside those of the message itself.
const (
	HeaderReason   = "Dead-Letter-Reason"   // the last error
	HeaderSubject  = "Dead-Letter-Subject"  // where it was published
	HeaderAttempts = "Dead-Letter-Attempts" // how often it was tried
)

// grace is how long messages under way may take when consuming ends.
const grace = 2 * time.Second

func (c Consumer) withDefaults() Consumer {
	if c.MaxDeliver == 0 {
		c.MaxDeliver = 5
	}
	if c.Ordered {
		c.Concurrency = 1
	}
	if len(c.Backoff) == 0 {
		c.Backoff = []time.Duration{100 * time.Millisecond, 500 * time.Millisecond, 2 * time.Second}
	}
	if c.Concurrency <= 0 {
		c.Concurrency = 1
	}
	if c.AckWait <= 0 {
		c.AckWait = 10 * time.Second
	}
	return c
}

// Consume gives each message to handle until ctx ends, and then returns nil
// once the messages under way are done. It acknowledges a message after
// handle succeeded, so a message may come more than once. It waits for a broker or a stream that is
// not there; only a consumer that the broker refuses is an error.
func (c *Client) Consume(ctx context.Context, consumer Consumer, handle func(context.Context, Message) error) error {
	w := &worker{Client: c, Consumer: consumer.withDefaults(), handle: handle, slots: make(chan struct{}, consumer.withDefaults().Concurrency)}
	handling, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(grace, cancel) })()
	c.metrics.prepare(consumer.Subject)
	said := ""
	for ctx.Err() == nil {
		err := plain(w.consume(ctx, handling))
		if ctx.Err() != nil {
			return nil
		}
		if cannotBe(err) {
			return fmt.Errorf("consuming %s as %s: %w", consumer.Subject, consumer.Durable, err)
		}
		if said != err.Error() { // once, not at each try
			said = err.Error()
			c.cfg.Log.Warn("consuming interrupted", "stream", consumer.Stream, "consumer", consumer.Durable, "error", err)
		}
		_ = pause(ctx, 2*reconnectWait)
	}
	return nil
}

// cannotBe tells whether waiting does not help: the consumer itself is wrong.
func cannotBe(err error) bool {
	var refused *jetstream.APIError
	return errors.As(err, &refused) && refused.Code == 400 ||
		errors.Is(err, jetstream.ErrInvalidConsumerName) || errors.Is(err, jetstream.ErrInvalidStreamName) || errors.Is(err, jetstream.ErrInvalidSubject)
}

// givesUp tells whether there is an end to trying.
func (c Consumer) givesUp() bool { return c.MaxDeliver > 0 }

type worker struct {
	*Client
	Consumer
	handle func(context.Context, Message) error
	slots  chan struct{}
}

// consume handles messages until ctx ends or the broker's side of the consumer is gone.
func (w *worker) consume(ctx, handling context.Context) error {
	messages, err := w.subscribe(ctx)
	if err != nil {
		return err
	}
	var wait sync.WaitGroup
	defer wait.Wait()
	defer w.giveBack(messages)
	for {
		select {
		case w.slots <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		msg, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			<-w.slots
			return err
		}
		wait.Go(func() {
			defer func() { <-w.slots }()
			w.process(handling, msg)
		})
	}
}

func (w *worker) subscribe(ctx context.Context) (jetstream.MessagesContext, error) {
	limit, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	config := jetstream.ConsumerConfig{
		Durable:       w.Durable,
		FilterSubject: w.Subject,
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       w.AckWait,
		// Counted here, not there: the broker would drop what it gave up silently.
		MaxDeliver: -1,
	}
	if w.Ordered {
		config.MaxAckPending = 1
	}
	consumer, err := w.js.CreateOrUpdateConsumer(limit, w.Stream, config)
	if err != nil {
		return nil, err
	}
	return consumer.Messages(
		jetstream.PullMaxMessages(w.Concurrency),
		jetstream.PullExpiry(10*time.Second),
		jetstream.PullHeartbeat(2*time.Second),
		jetstream.WithMessagesErrOnMissingHeartbeat(true),
	)
}

// giveBack returns what was fetched but not begun, so that it need not wait for AckWait.
func (w *worker) giveBack(messages jetstream.MessagesContext) {
	messages.Drain()
	for {
		msg, err := messages.Next(jetstream.NextMaxWait(time.Second))
		if err != nil {
			messages.Stop()
			return
		}
		_ = msg.Nak()
	}
}

// process handles one delivery and settles it with the broker.
func (w *worker) process(ctx context.Context, msg jetstream.Msg) {
	m := message(msg)
	ctx, span := w.startSpan(ctx, msg, m)
	defer span.End()
	var err error
	if w.givesUp() && m.Attempt > w.MaxDeliver {
		// Those who got it before died over it without saying so.
		err = Permanent(fmt.Errorf("delivered %d times, never answered", m.Attempt-1))
	} else {
		err = w.attempt(ctx, msg, m)
	}
	outcome := w.settle(ctx, msg, m, err)
	w.metrics.consumed.WithLabelValues(m.Subject, outcome).Inc()
	span.SetAttributes(attribute.String("messaging.outcome", outcome))
	if err != nil && !errors.Is(err, ErrDuplicate) {
		fail(span, err)
	}
}

// attempt runs the handler, telling the broker meanwhile that it goes on.
func (w *worker) attempt(ctx context.Context, msg jetstream.Msg, m Message) (err error) {
	done := make(chan struct{})
	var wait sync.WaitGroup
	defer wait.Wait()
	defer close(done)
	wait.Go(func() {
		tick := time.NewTicker(w.AckWait / 3)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				_ = msg.InProgress()
			case <-done:
				return
			}
		}
	})
	defer func() {
		if r := recover(); r != nil {
			w.cfg.Log.ErrorContext(ctx, "handler panicked", "subject", m.Subject, "panic", r, "stack", string(debug.Stack()))
			err = fmt.Errorf("handler panicked: %v", r)
		}
	}()
	return w.handle(ctx, m)
}

// settle tells the broker what became of the message and returns the
// outcome. What cannot be told is delivered again.
func (w *worker) settle(ctx context.Context, msg jetstream.Msg, m Message, err error) string {
	var permanent *permanentError
	switch {
	case err == nil:
		w.tell(ctx, m, msg.Ack())
		return outcomeOK
	case errors.Is(err, ErrDuplicate):
		w.tell(ctx, m, msg.Ack())
		return outcomeDuplicate
	case w.givesUp() && (m.Attempt >= w.MaxDeliver || errors.As(err, &permanent)):
		e := w.bury(ctx, msg, m, err)
		if e == nil {
			w.tell(ctx, m, msg.TermWithReason("dead letter"))
			return outcomeDead
		}
		err = errors.Join(err, e)
	}
	delay := w.Backoff[min(m.Attempt, len(w.Backoff))-1]
	w.cfg.Log.InfoContext(ctx, "message will be tried again", "subject", m.Subject, "id", m.ID, "attempt", m.Attempt, "in", delay, "error", err)
	w.tell(ctx, m, msg.NakWithDelay(delay))
	return outcomeRetried
}

func (w *worker) tell(ctx context.Context, m Message, err error) {
	if err != nil {
		w.cfg.Log.InfoContext(ctx, "message not settled, it will come again", "subject", m.Subject, "id", m.ID, "error", err)
	}
}

// bury publishes the dead letter. Its id makes it one letter even if this happens twice.
func (w *worker) bury(ctx context.Context, msg jetstream.Msg, m Message, why error) error {
	w.cfg.Log.WarnContext(ctx, "message given up", "subject", m.Subject, "id", m.ID, "attempts", m.Attempt, "dead_letter", w.DeadLetter, "error", why)
	if w.DeadLetter != "" {
		header := nats.Header{}
		for key, values := range msg.Headers() {
			header[key] = values
		}
		header.Set(HeaderReason, oneLine(why.Error()))
		header.Set(HeaderSubject, m.Subject)
		header.Set(HeaderAttempts, strconv.Itoa(m.Attempt))
		limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), connectTimeout)
		defer cancel()
		if err := w.publish(limit, w.DeadLetter, w.Durable+"/"+m.ID, m.Data, header); err != nil {
			return fmt.Errorf("publishing dead letter: %w", err)
		}
	}
	w.metrics.deadLetters.WithLabelValues(m.Subject).Inc()
	return nil
}

// oneLine makes text fit for a header.
func oneLine(text string) string {
	out := []byte(text)
	for i, c := range out {
		if c == '\r' || c == '\n' {
			out[i] = ' '
		}
	}
	return string(out[:min(len(out), 500)])
}

func message(msg jetstream.Msg) Message {
	m := Message{Subject: msg.Subject(), ID: msg.Headers().Get(jetstream.MsgIDHeader), Data: msg.Data(), Attempt: 1}
	if meta, err := msg.Metadata(); err == nil {
		m.Attempt, m.Sent = int(meta.NumDelivered), meta.Timestamp
	}
	return m
}

// startSpan begins a trace of its own, linked to the producer's: handling may happen
// much later and several times.
func (w *worker) startSpan(ctx context.Context, msg jetstream.Msg, m Message) (context.Context, trace.Span) {
	options := []trace.SpanStartOption{
		trace.WithNewRoot(),
		trace.WithSpanKind(trace.SpanKindConsumer),
		trace.WithAttributes(w.attributes(m.Subject, m.ID, semconv.MessagingOperationTypeProcess)...),
		trace.WithAttributes(attribute.Int("messaging.delivery.attempt", m.Attempt), semconv.MessagingConsumerGroupName(w.Durable)),
	}
	producer := w.cfg.Propagator.Extract(ctx, headerCarrier(msg.Headers()))
	if link := trace.SpanContextFromContext(producer); link.IsValid() {
		options = append(options, trace.WithLinks(trace.Link{SpanContext: link}))
	}
	// The extracted context also has the baggage, so that what marked the request marks its messages too.
	return w.tracer.Start(producer, "process "+m.Subject, options...)
}

func fail(span trace.Span, err error) {
	span.RecordError(err)
	span.SetStatus(codes.Error, err.Error())
}
