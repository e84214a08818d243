package resilience

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/balancer/leastrequest"
	"google.golang.org/grpc/balancer/roundrobin"
	"google.golang.org/grpc/stats"

	"github.com/faultline-lab/faultline/observability/names"
	"github.com/faultline-lab/faultline/parameter"
)

func grpcRetryKind() Kind {
	return Kind{
		Name:     "grpc_retry",
		Counts:   []string{names.PolicyRetries},
		Sides:    []string{OnEdge},
		Once:     true,
		Protocol: "grpc",
		About: "gRPC's own retries, by service config, to compare with retry; they stand at the attempts, inside of every other policy. The n-th pause is backoff x factor^(n-1), at most max_backoff, " +
			"give or take a fifth. With max_tokens come gRPC's retryThrottling: a failure takes one token, a success gives token_ratio back, and with half of max_tokens or less nothing is retried. " +
			"What to know of it: a steady share of failures above token_ratio / (1 + token_ratio) turns retries off altogether, not down (9 % with 0.1, 33 % with 0.5), and a call that fails for good counts " +
			"each of its attempts; grpc-go makes five attempts at most, whatever is written; a server that has sent its headers is not asked again; the jitter is not seeded; " +
			"one span stands for all attempts of a call. After gRPC proposal A6.",
		Main: "attempts",
		Params: []parameter.Parameter{
			{Name: "attempts", Type: parameter.Integer, Default: int64(3), Min: parameter.Bound(2), Max: parameter.Bound(5), About: "how often to send at most, the first time included"},
			{Name: "backoff", Type: parameter.Duration, Default: "25ms", Min: parameter.Bound(0.001), About: "the pause before the second attempt"},
			{Name: "max_backoff", Type: parameter.Duration, Default: "1s", Min: parameter.Bound(0.001), About: "the longest pause"},
			{Name: "factor", Type: parameter.Number, Default: 2.0, Min: parameter.Bound(1), Max: parameter.Bound(10), About: "by how much each pause is longer than the one before"},
			{Name: "on", Type: parameter.Texts, About: "the gRPC codes that are retried; UNAVAILABLE when left out"},
			{Name: "max_tokens", Type: parameter.Number, Min: parameter.Bound(1), Max: parameter.Bound(1000), About: "throttling: how many tokens there are at most, and at first; none when left out"},
			{Name: "token_ratio", Type: parameter.Number, Min: parameter.Bound(0.001), Max: parameter.Bound(1000), About: "throttling: how much of a token a success gives back"},
		},
		Example: "- {grpc_retry: {attempts: 3, backoff: 50ms, max_tokens: 10, token_ratio: 0.1}}",
		check:   checkGRPCRetry,
		edge: func(v parameter.Values, h *host) (layer, error) {
			h.edge.grpcRetry = newGRPCRetry(v)
			h.edge.grpcRetries = h.metrics.retries.WithLabelValues(h.on).Inc
			return nil, nil
		},
	}
}

func checkGRPCRetry(v parameter.Values) []parameter.Problem {
	var problems []parameter.Problem
	for _, name := range v.Texts("on") {
		if !slices.Contains(codeNames[1:], name) {
			problem := parameter.Problem{Name: "on", Message: fmt.Sprintf("%q is not permitted; permitted: %s", name, strings.Join(codeNames[1:], ", "))}
			if near := parameter.Nearest(strings.ToUpper(name), codeNames[1:]); near != "" {
				problem.Hint = fmt.Sprintf("did you mean %q?", near)
			}
			problems = append(problems, problem)
		}
	}
	if first, most := v.Duration("backoff"), v.Duration("max_backoff"); first > most {
		problems = append(problems, parameter.Problem{Name: "max_backoff", Message: fmt.Sprintf("%s is shorter than backoff, %s", most, first)})
	}
	if v.Has("max_tokens") != v.Has("token_ratio") {
		problems = append(problems, parameter.Problem{Name: "max_tokens", Message: "max_tokens and token_ratio belong together"})
	}
	return problems
}

// grpcRetry is the policy as grpc-go's service config has it.
type grpcRetry struct {
	retry      map[string]any
	throttling map[string]any // nil: none
}

func newGRPCRetry(v parameter.Values) *grpcRetry {
	on := v.Texts("on")
	if len(on) == 0 {
		on = []string{"UNAVAILABLE"}
	}
	p := &grpcRetry{retry: map[string]any{
		"maxAttempts":          v.Int("attempts"),
		"initialBackoff":       inSeconds(v.Duration("backoff")),
		"maxBackoff":           inSeconds(v.Duration("max_backoff")),
		"backoffMultiplier":    v.Float("factor"),
		"retryableStatusCodes": on,
	}}
	if v.Has("max_tokens") {
		p.throttling = map[string]any{"maxTokens": v.Float("max_tokens"), "tokenRatio": v.Float("token_ratio")}
	}
	return p
}

// inSeconds writes a duration as JSON of protobuf does.
func inSeconds(d time.Duration) string { return fmt.Sprintf("%.9fs", d.Seconds()) }

// ServiceConfig is the edge's service config for grpc-go, as JSON: how it balances and what it retries itself.
func (e *Edge) ServiceConfig() string {
	config := map[string]any{"loadBalancingConfig": []any{map[string]any{roundrobin.Name: map[string]any{}}}}
	if e.Balancing() == LeastRequest {
		config["loadBalancingConfig"] = []any{map[string]any{leastrequest.Name: map[string]any{"choiceCount": 2}}}
	}
	if p := e.grpcRetry; p != nil {
		config["methodConfig"] = []any{map[string]any{"name": []any{map[string]any{}}, "retryPolicy": p.retry}}
		if p.throttling != nil {
			config["retryThrottling"] = p.throttling
		}
	}
	text, err := json.Marshal(config)
	if err != nil {
		panic(err) // texts and numbers only
	}
	return string(text)
}

// DialOptions makes grpc-go do what the edge's policies leave to it, and nothing else behind its back: no service config but the edge's,
// no retries but those of grpc_retry, whose attempts are counted. replica tells which replica has an address,
// from 1, and may be nil.
func (e *Edge) DialOptions(replica func(net.Addr) int) []grpc.DialOption {
	options := []grpc.DialOption{grpc.WithDefaultServiceConfig(e.ServiceConfig()), grpc.WithDisableServiceConfig()}
	if e.grpcRetry == nil {
		return append(options, grpc.WithDisableRetry())
	}
	return append(options, grpc.WithStatsHandler(&tries{edge: e, replica: replica}))
}

// tries counts the attempts that grpc-go makes of one of the edge's.
type tries struct {
	edge    *Edge
	replica func(net.Addr) int
}

// tryKey is under what a context keeps the try that it belongs to.
type tryKey struct{}

// try is one attempt of grpc-go's.
type try struct {
	mu      sync.Mutex
	number  int // from 1
	began   time.Time
	took    time.Duration
	replica int
	err     error
}

// TagRPC is called at the start of each try.
func (s *tries) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context {
	a, ok := ctx.Value(attemptKey{}).(*attempt)
	if !ok {
		return ctx
	}
	this := &try{number: 1, began: time.Now()}
	if last := a.try; last != nil {
		this.number = last.number + 1
		s.edge.again(ctx, a, last)
	}
	a.try = this // tries of one attempt follow each other
	return context.WithValue(ctx, tryKey{}, this)
}

// HandleRPC notes how a try goes.
func (s *tries) HandleRPC(ctx context.Context, event stats.RPCStats) {
	this, ok := ctx.Value(tryKey{}).(*try)
	if !ok {
		return
	}
	this.mu.Lock()
	defer this.mu.Unlock()
	switch e := event.(type) {
	case *stats.OutHeader:
		if s.replica != nil && e.RemoteAddr != nil {
			this.replica = s.replica(e.RemoteAddr)
		}
	case *stats.End:
		this.took, this.err = e.EndTime.Sub(e.BeginTime), e.Error
	}
}

// TagConn is part of stats.Handler.
func (*tries) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

// HandleConn is part of stats.Handler.
func (*tries) HandleConn(context.Context, stats.ConnStats) {}

// settle takes over the replica of the last try, and returns when it began.
func (a *attempt) settle() time.Time {
	a.try.mu.Lock()
	defer a.try.mu.Unlock()
	if a.replica == 0 {
		a.replica = a.try.replica
	}
	return a.try.began
}

// again counts a try that another follows; the last one is the edge's attempt to count.
func (e *Edge) again(ctx context.Context, a *attempt, last *try) {
	last.mu.Lock()
	class, took, replica := classify(ctx, nil, last.err), last.took, last.replica
	last.mu.Unlock()
	e.attempts[class].Inc()
	e.grpcRetries()
	Observe(ctx, e.observer(replica), took.Seconds())
	e.outliers.record(replica, class, took)
	a.call.count.Add(1)
	a.span.AddEvent("retried by grpc", trace.WithAttributes(
		attribute.Int(names.AttrAttempt, last.number), attribute.String("error.type", class.String())))
}
