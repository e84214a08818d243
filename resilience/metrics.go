package resilience

import (
	"context"
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"github.com/faultline-lab/faultline/observability/names"
)

// Buckets are the upper bounds, in seconds, of the histograms of calls: fine
// where a call of a healthy system is, and up to where naive callers wait.
func Buckets() []float64 {
	return []float64{.001, .002, .005, .01, .02, .035, .05, .075, .1, .15, .25, .35, .5, .75, 1, 1.5, 2, 3, 4, 5, 7, 10, 30}
}

type edgeMetrics struct {
	calls, attempts               *prometheus.CounterVec
	callDuration, attemptDuration *prometheus.HistogramVec
	inFlight                      *prometheus.GaugeVec
}

func newEdgeMetrics(reg prometheus.Registerer) (*edgeMetrics, error) {
	outcome := []string{names.Caller, names.Callee, names.Outcome}
	edge := []string{names.Caller, names.Callee}
	m := &edgeMetrics{}
	var errs [5]error
	m.calls, errs[0] = register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: names.EdgeCalls, Help: "Calls that the program asked for, by how they ended."}, outcome))
	m.attempts, errs[1] = register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: names.EdgeAttempts, Help: "Attempts that were sent for those calls, by how they ended."}, outcome))
	m.callDuration, errs[2] = register(reg, prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: names.EdgeCallDuration, Help: "How long calls took, all attempts and pauses together.", Buckets: Buckets()}, edge))
	m.attemptDuration, errs[3] = register(reg, prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: names.EdgeAttemptDuration, Help: "How long attempts took, by the replica that was asked.", Buckets: Buckets()}, append(edge, names.Replica)))
	m.inFlight, errs[4] = register(reg, prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: names.EdgeInFlight, Help: "Calls under way."}, edge))
	return m, errors.Join(errs[:]...)
}

type policyMetrics struct {
	rejections, retries, transitions, hedges, fallbacks *prometheus.CounterVec
	state                                               *prometheus.GaugeVec
}

func newPolicyMetrics(reg prometheus.Registerer) (*policyMetrics, error) {
	m := &policyMetrics{}
	var errs [6]error
	m.rejections, errs[0] = register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: names.PolicyRejections, Help: "Calls that a policy refused or cut off, by cause."}, []string{names.On, names.Policy, names.Cause}))
	m.retries, errs[1] = register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: names.PolicyRetries, Help: "Attempts that a retry policy made beside the first."}, []string{names.On}))
	m.transitions, errs[2] = register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: names.PolicyTransitions, Help: "Changes of a policy's state."}, []string{names.On, names.Policy, names.To}))
	m.hedges, errs[3] = register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: names.PolicyHedges, Help: "Hedges sent, and those that won."}, []string{names.On, names.Outcome}))
	m.state, errs[4] = register(reg, prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: names.PolicyState, Help: "State of a policy: a breaker 0 closed, 1 half-open, 2 open; of others the limit now, the tokens left, the chance of rejection or the replicas ejected."},
		[]string{names.On, names.Policy}))
	m.fallbacks, errs[5] = register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: names.PolicyFallbacks, Help: "Calls that a fallback answered, and those that it had no answer for."}, []string{names.On, names.Outcome}))
	return m, errors.Join(errs[:]...)
}

// register registers the collector, or returns the one that another edge of the same registry registered.
func register[C prometheus.Collector](reg prometheus.Registerer, collector C) (C, error) {
	if reg == nil {
		return collector, nil
	}
	err := reg.Register(collector)
	var already prometheus.AlreadyRegisteredError
	if errors.As(err, &already) {
		if existing, ok := already.ExistingCollector.(C); ok {
			return existing, nil
		}
	}
	if err != nil {
		return collector, fmt.Errorf("registering metrics: %w", err)
	}
	return collector, nil
}

// Observe records a duration in seconds, with the trace of ctx as its exemplar when it is sampled.
func Observe(ctx context.Context, histogram prometheus.Observer, seconds float64) {
	span := trace.SpanContextFromContext(ctx)
	if exemplary, ok := histogram.(prometheus.ExemplarObserver); ok && span.IsSampled() {
		exemplary.ObserveWithExemplar(seconds, prometheus.Labels{"trace_id": span.TraceID().String()})
		return
	}
	histogram.Observe(seconds)
}
