package resilience

import (
	"context"
	"sync"
	"time"

	"github.com/failsafe-go/failsafe-go/circuitbreaker"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"

	"github.com/faultline-lab/faultline/observability/names"
	"github.com/faultline-lab/faultline/parameter"
)

func circuitBreakerKind() Kind {
	return Kind{
		Name:   "circuit_breaker",
		Causes: []string{"open"},
		Means:  "0 closed, 1 half-open, 2 open",
		Counts: []string{names.PolicyTransitions},
		Sides:  []string{OnEdge},
		About: "Stops calling a callee that fails. Closed, it opens when at least min_calls came within the window and failure_ratio of them failed. " +
			"Open, it rejects every call for open_for. Then, half-open, it lets half_open calls through at once: when all succeed it closes, " +
			"at the first failure it opens again. Answers that are no fault of the callee (a 404, FAILED_PRECONDITION) count as successes.",
		Main: "failure_ratio",
		Params: []parameter.Parameter{
			{Name: "failure_ratio", Type: parameter.Ratio, Default: 0.5, Min: parameter.Bound(0.01), About: "the share of failures that opens it"},
			{Name: "min_calls", Type: parameter.Integer, Default: int64(10), Min: parameter.Bound(1), About: "how many calls the window must hold before it may open"},
			{Name: "window", Type: parameter.Duration, Default: "10s", Min: parameter.Bound(0.1), About: "over how long failures are counted, in tenths of it"},
			{Name: "open_for", Type: parameter.Duration, Default: "5s", Min: parameter.Bound(0.001), About: "how long it stays open"},
			{Name: "half_open", Type: parameter.Integer, Default: int64(3), Min: parameter.Bound(1), Max: parameter.Bound(1000), About: "how many calls must succeed to close it again"},
		},
		Example: "- {circuit_breaker: {failure_ratio: 0.5, window: 5s, open_for: 3s}}",
		edge: func(v parameter.Values, h *host) (layer, error) {
			return newBreaker(v, h).layer, nil
		},
	}
}

type breaker struct {
	circuitbreaker.CircuitBreaker[result]
	open func(error) (result, error)
}

func newBreaker(v parameter.Values, h *host) *breaker {
	shown := newShownState(h.metrics.state.WithLabelValues(h.on, h.policy), v.Duration("open_for"))
	transitions := map[circuitbreaker.State]prometheus.Counter{}
	for _, to := range []circuitbreaker.State{circuitbreaker.ClosedState, circuitbreaker.HalfOpenState, circuitbreaker.OpenState} {
		transitions[to] = h.metrics.transitions.WithLabelValues(h.on, h.policy, stateName(to))
	}
	changed := func(e circuitbreaker.StateChangedEvent) {
		shown.set(e.NewState)
		transitions[e.NewState].Inc()
		h.log.InfoContext(e.Context(), "circuit breaker "+stateName(e.NewState), "on", h.on, "was", stateName(e.OldState),
			"failures", e.Metrics().Failures(), "calls", e.Metrics().Executions())
	}
	return &breaker{
		open: h.refusals("open", Rejected, codes.Unavailable),
		CircuitBreaker: circuitbreaker.NewBuilder[result]().
			WithFailureRateThreshold(v.Float("failure_ratio"), uint(v.Int("min_calls")), v.Duration("window")).
			WithDelay(v.Duration("open_for")).
			WithSuccessThreshold(uint(v.Int("half_open"))).
			OnStateChanged(changed).
			Build(),
	}
}

func (b *breaker) layer(inner next) next {
	return func(ctx context.Context, c *call) (result, error) {
		if !b.TryAcquirePermit() {
			return b.open(nil)
		}
		class := Failed // should inner panic
		defer func() { b.record(class) }()
		res, err := inner(ctx, c)
		class = res.class
		return res, err
	}
}

// record counts how a call ended. One that was cancelled or never sent says
// nothing about the callee: closed, it is not counted, where failsafe-go's own executor would
// count a success; half-open, it has used a probe and proved nothing, so the breaker opens again.
func (b *breaker) record(class Class) {
	switch {
	case class.Failure():
		b.RecordFailure()
	case class == Succeeded:
		b.RecordSuccess()
	case b.IsHalfOpen():
		b.RecordFailure()
	}
}

// shownState is the state as the gauge has it. failsafe-go's breaker is half-open from the first call after open_for on; the gauge
// says so from the end of open_for on, for on an edge that nobody calls it would be open for ever.
type shownState struct {
	gauge   prometheus.Gauge
	openFor time.Duration

	mu      sync.Mutex
	changes int
}

func newShownState(gauge prometheus.Gauge, openFor time.Duration) *shownState {
	gauge.Set(stateValue(circuitbreaker.ClosedState))
	return &shownState{gauge: gauge, openFor: openFor}
}

func (s *shownState) set(state circuitbreaker.State) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changes++
	s.gauge.Set(stateValue(state))
	if state == circuitbreaker.OpenState {
		opened := s.changes
		time.AfterFunc(s.openFor, func() { s.ready(opened) })
	}
}

// ready shows half-open, unless something changed since it opened.
func (s *shownState) ready(opened int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.changes == opened {
		s.gauge.Set(stateValue(circuitbreaker.HalfOpenState))
	}
}

// stateValue is the value of names.PolicyState.
func stateValue(s circuitbreaker.State) float64 {
	switch s {
	case circuitbreaker.HalfOpenState:
		return 1
	case circuitbreaker.OpenState:
		return 2
	}
	return 0
}

func stateName(s circuitbreaker.State) string {
	switch s {
	case circuitbreaker.HalfOpenState:
		return "half_open"
	case circuitbreaker.OpenState:
		return "open"
	}
	return "closed"
}
