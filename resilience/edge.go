package resilience

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/faultline-lab/faultline/observability/names"
	"github.com/faultline-lab/faultline/parameter"
)

// EdgeConfig says which edge it is and what guards it. Only Caller and Callee are required.
type EdgeConfig struct {
	Caller, Callee string
	Chain          Chain
	// Registerer gets the metrics; several edges may share it. Nil means none.
	Registerer     prometheus.Registerer
	TracerProvider trace.TracerProvider
	Propagator     propagation.TextMapPropagator
	// Seed makes backoff and its jitter repeatable.
	Seed uint64
	// Log gets a record for each change of a breaker's state; nil means none.
	Log *slog.Logger
	// MaxBody bounds the request and response bodies of HTTP calls, which are
	// held in memory so that an attempt has an end and can be repeated. 0 means 16 MiB.
	MaxBody int64
}

// Edge is the caller's side of one edge: its policies, its metrics, its spans.
// It is safe for concurrent use.
type Edge struct {
	cfg    EdgeConfig
	name   string
	tracer trace.Tracer
	chain  next
	shared bool // whether attempts of one call may run side by side

	outliers *outliers // nil without that policy
	balancer balancer

	grpcRetry   *grpcRetry // nil without that policy
	grpcRetries func()     // counts a retry of grpc-go's

	metrics  *edgeMetrics
	calls    [classes]prometheus.Counter
	attempts [classes]prometheus.Counter
	duration prometheus.Observer
	inFlight prometheus.Gauge
	replicas sync.Map // of int to prometheus.Observer
}

// NewEdge makes the caller's side of an edge. It returns every error of the chain.
func NewEdge(cfg EdgeConfig) (*Edge, error) {
	if cfg.TracerProvider == nil {
		cfg.TracerProvider = noop.NewTracerProvider()
	}
	if cfg.Propagator == nil {
		cfg.Propagator = propagation.TraceContext{}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.MaxBody <= 0 {
		cfg.MaxBody = 16 << 20
	}
	e := &Edge{
		cfg:    cfg,
		name:   cfg.Caller + "->" + cfg.Callee,
		tracer: cfg.TracerProvider.Tracer("github.com/faultline-lab/faultline/resilience"),
	}
	policies, err := newPolicyMetrics(cfg.Registerer)
	if err != nil {
		return nil, err
	}
	if e.metrics, err = newEdgeMetrics(cfg.Registerer); err != nil {
		return nil, err
	}
	e.prepareMetrics()
	where := place{on: e.name, side: OnEdge, metrics: policies, seed: cfg.Seed, log: cfg.Log, edge: e}
	layers, err := where.build(cfg.Chain, func(kind Kind, values parameter.Values, h *host) (layer, error) {
		return kind.edge(values, h)
	})
	if err != nil {
		return nil, fmt.Errorf("making edge: %w", err)
	}
	e.chain = compose(layers, e.attempt)
	for _, spec := range cfg.Chain {
		kind, _ := Find(spec.Kind)
		e.shared = e.shared || kind.parallel
	}
	return e, nil
}

// prepareMetrics makes every series, so that each is there, at zero, before the first call.
func (e *Edge) prepareMetrics() {
	caller, callee := e.cfg.Caller, e.cfg.Callee
	for class := Succeeded; class < classes; class++ {
		e.calls[class] = e.metrics.calls.WithLabelValues(caller, callee, class.Outcome())
		if class != Rejected {
			e.attempts[class] = e.metrics.attempts.WithLabelValues(caller, callee, class.Outcome())
		}
	}
	e.duration = e.metrics.callDuration.WithLabelValues(caller, callee)
	e.inFlight = e.metrics.inFlight.WithLabelValues(caller, callee)
}

// Name is the edge as it is written: caller->callee.
func (e *Edge) Name() string { return e.name }

// Do runs send under the policies of the edge, for protocols other than HTTP and gRPC. It
// counts calls and attempts and leaves spans to send. send must heed its context.
func (e *Edge) Do(ctx context.Context, send func(ctx context.Context) error) error {
	_, err := e.do(ctx, &call{send: func(ctx context.Context, _ *attempt) (result, error) { return result{}, send(ctx) }})
	return err
}

// do runs one call and counts it.
func (e *Edge) do(ctx context.Context, c *call) (result, error) {
	began := time.Now()
	e.inFlight.Inc()
	defer e.inFlight.Dec()
	res, err := e.chain(ctx, c)
	if res.class == unclassified {
		res.class = classify(ctx, res.response, err)
	}
	e.calls[res.class].Inc()
	Observe(ctx, e.duration, time.Since(began).Seconds())
	e.explain(ctx, c, err)
	return res, err
}

// explain notes in the error how far the call had come, and in the caller's own span which policy
// ended it: a call that was never sent has no span of its own.
func (e *Edge) explain(ctx context.Context, c *call, err error) {
	var rejection *Rejection
	if err == nil || !errors.As(err, &rejection) {
		return
	}
	rejection.Attempts = int(c.count.Load())
	trace.SpanFromContext(ctx).AddEvent("call ended by policy", trace.WithAttributes(
		attribute.String(names.AttrEdge, e.name),
		attribute.String(names.AttrPolicy, rejection.Policy),
		attribute.String("policy.cause", rejection.Cause)))
}

// attempt is one attempt under way, for those who send it.
type attempt struct {
	span      trace.Span
	replica   int
	picked    bool // by Edge.Pick
	call      *call
	try       *try   // the last one that grpc-go made of it, where it may make several
	tell      bool   // the callee is told the deadline of the attempt's context
	errorType string // what the protocol calls the error, "" when it has no name for it
}

// attemptKey is under what a context keeps its attempt.
type attemptKey struct{}

// SetReplica tells the edge which replica of the callee the attempt under ctx
// goes to, counted from 1. Whoever picks the replica calls it; elsewhere it does nothing.
func SetReplica(ctx context.Context, replica int) {
	if a, ok := ctx.Value(attemptKey{}).(*attempt); ok {
		a.replica = replica
		a.span.SetAttributes(attribute.Int(names.AttrReplica, replica))
	}
}

// attempt is the innermost part of the chain: it sends.
func (e *Edge) attempt(ctx context.Context, c *call) (result, error) {
	a := &attempt{span: trace.SpanFromContext(ctx), call: c}
	attempting, cancel, err := a.limit(ctx)
	if err != nil {
		return result{class: TimedOut}, err
	}
	defer cancel()
	n := int(c.count.Add(1)) // not before: what expired was not sent
	if c.name != "" {
		attempting, a.span = e.tracer.Start(attempting, c.name, trace.WithSpanKind(trace.SpanKindClient),
			trace.WithAttributes(attribute.String(names.AttrEdge, e.name), attribute.Int(names.AttrAttempt, n)))
	}
	began := time.Now()
	res, err := c.send(context.WithValue(attempting, attemptKey{}, a), a)
	if a.try != nil {
		began = a.settle()
	}
	elapsed := time.Since(began)
	res.class = classify(attempting, res.response, err)
	e.attempts[res.class].Inc()
	Observe(attempting, e.observer(a.replica), elapsed.Seconds())
	e.outliers.record(a.replica, res.class, elapsed)
	if a.picked {
		e.balancer.ended(a.replica)
	}
	if c.name != "" {
		a.end(res.class, err)
	}
	return res, err
}

// limit makes the context of an attempt, which has a deadline to pass on only when the edge's policies want that.
func (a *attempt) limit(ctx context.Context) (context.Context, context.CancelFunc, error) {
	l, _ := ctx.Value(limitKey{}).(limit)
	if l.tell == nil {
		return untold{ctx}, func() {}, nil
	}
	at, ok := limitOf(ctx)
	if !ok {
		return ctx, func() {}, nil
	}
	if !time.Now().Before(at) {
		_, err := l.tell.expired(nil)
		return nil, nil, err
	}
	a.tell = true
	ctx, cancel := context.WithDeadline(ctx, at)
	return ctx, cancel, nil
}

// end ends the span. It marks as errors what the policies take for failures,
// so that a trace and the metrics tell the same story: a NOT_FOUND is an answer.
func (a *attempt) end(class Class, err error) {
	if class.Failure() {
		description := ""
		if err != nil {
			description = err.Error()
		}
		a.span.SetStatus(codes.Error, description)
	}
	if class != Succeeded {
		if a.errorType == "" {
			a.errorType = class.String()
		}
		a.span.SetAttributes(attribute.String("error.type", a.errorType))
	}
	a.span.End()
}

// observer returns the histogram of a replica; 0 means that nobody said which it was.
func (e *Edge) observer(replica int) prometheus.Observer {
	if o, ok := e.replicas.Load(replica); ok {
		return o.(prometheus.Observer)
	}
	label := ""
	if replica > 0 {
		label = strconv.Itoa(replica)
	}
	o := e.metrics.attemptDuration.WithLabelValues(e.cfg.Caller, e.cfg.Callee, label)
	e.replicas.Store(replica, o)
	return o
}
