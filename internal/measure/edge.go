package measure

import (
	"context"
	"math"
	"sort"

	"github.com/faultline-lab/faultline/chaos"
	"github.com/faultline-lab/faultline/observability/names"

	"github.com/faultline-lab/faultline/internal/figure"
	"github.com/faultline-lab/faultline/internal/measure/grammar"
	"github.com/faultline-lab/faultline/internal/system"
)

// Edge is what an edge's caller saw in a window.
type Edge struct {
	Edge                                      chaos.Edge
	CallRate, Attempts                        Value // per second
	Amplification, Errors, Rejected, P50, P99 Value
}

// edgeCounts are the sums behind the measures of an edge.
type edgeCounts struct {
	calls, attempts, bad, rejected float64
	p50, p99                       float64 // NaN where not known
	why                            string  // why there are no counts; "" when there are
}

const (
	outcomeOK       = "ok"
	outcomeRejected = "rejected"
)

func (s *Set) ofEdge(ctx context.Context, c *grammar.Comparison, w Window) Value {
	edge, err := chaos.ParseEdge(c.Argument)
	if err != nil {
		return unknown(c.Measure.Unit, "%v", err)
	}
	row := s.edge(s.countEdge(ctx, edge, w), edge, w)
	switch c.Measure.Name {
	case "amplification":
		return row.Amplification
	case "attempts":
		return row.Attempts
	case "errors":
		return row.Errors
	case "rejected":
		return row.Rejected
	}
	return unknown(c.Measure.Unit, "no rule for %s", c.Measure.Name)
}

// Edges gives the table of all edges of the system, in the order of its file.
// The percentiles of edges between services come from the buckets of their histograms
// and are only as fine as those.
func (s *Set) Edges(ctx context.Context, w Window) ([]Edge, error) {
	var out []Edge
	for _, edge := range s.run.System.Edges() {
		counts := s.countEdge(ctx, edge, w)
		if counts.why == "" && edge.Caller != system.LoadCaller {
			buckets, err := s.increases(ctx, w, edgeSelector(names.EdgeCallDuration+"_bucket", edge))
			if err == nil {
				counts.p50, counts.p99 = bucketQuantile(buckets, 0.5), bucketQuantile(buckets, 0.99)
			}
		}
		out = append(out, s.edge(counts, edge, w))
	}
	return out, ctx.Err()
}

func edgeSelector(metric string, edge chaos.Edge) string {
	return selector(metric, names.Caller, edge.Caller, names.Callee, edge.Callee)
}

func (s *Set) edge(n edgeCounts, edge chaos.Edge, w Window) Edge {
	row := Edge{Edge: edge}
	if n.why != "" {
		row.CallRate, row.Attempts = unknown(figure.PerSecond, "%s", n.why), unknown(figure.PerSecond, "%s", n.why)
		row.Amplification = unknown(figure.Times, "%s", n.why)
		row.Errors, row.Rejected = unknown(figure.Ratio, "%s", n.why), unknown(figure.Ratio, "%s", n.why)
		row.P50, row.P99 = unknown(figure.Seconds, "%s", n.why), unknown(figure.Seconds, "%s", n.why)
		return row
	}
	none := edge.String() + " was not called"
	length := (w.End - w.Start).Seconds()
	row.CallRate = known(n.calls/length, figure.PerSecond, int64(math.Round(n.calls)))
	row.Attempts = known(n.attempts/length, figure.PerSecond, int64(math.Round(n.attempts)))
	row.Amplification = share(n.attempts, n.calls, figure.Times, none)
	row.Errors = share(n.bad, n.calls, figure.Ratio, none)
	row.Rejected = share(n.rejected, n.calls, figure.Ratio, none)
	row.P50, row.P99 = secondsOrWhy(n.p50), secondsOrWhy(n.p99)
	return row
}

func secondsOrWhy(v float64) Value {
	if math.IsNaN(v) {
		return unknown(figure.Seconds, "no durations were recorded")
	}
	return known(v, figure.Seconds, 0)
}

func (s *Set) countEdge(ctx context.Context, edge chaos.Edge, w Window) edgeCounts {
	if edge.Caller == system.LoadCaller {
		return s.countRequests(edge, w)
	}
	calls, err := s.increases(ctx, w, edgeSelector(names.EdgeCalls, edge))
	if err != nil {
		return edgeCounts{why: err.Error()}
	}
	attempts, err := s.increases(ctx, w, edgeSelector(names.EdgeAttempts, edge))
	switch {
	case err != nil:
		return edgeCounts{why: err.Error()}
	case len(calls) == 0:
		return edgeCounts{why: edge.Caller + " recorded no calls of " + edge.Callee}
	}
	if why := s.gaps(ctx, edge.Caller, w); why != "" {
		return edgeCounts{why: why}
	}
	all := total(calls, "")
	return edgeCounts{
		calls: all, attempts: total(attempts, ""), bad: all - total(calls, names.Outcome, outcomeOK),
		rejected: total(calls, names.Outcome, outcomeRejected), p50: math.NaN(), p99: math.NaN(),
	}
}

// countRequests counts the edge from the load generator to a service. It has no
// policies, so each request is one call and one attempt; the results tell all
// about it.
func (s *Set) countRequests(edge chaos.Edge, w Window) edgeCounts {
	n := edgeCounts{why: "no load calls " + edge.Callee}
	var took []float64
	for _, load := range s.run.Plan.Loads {
		if load.Service != edge.Callee {
			continue
		}
		n.why = ""
		requests := s.journeys[load.Name]
		if len(load.Steps) > 1 {
			requests = s.steps[load.Name]
		}
		for _, r := range s.due(requests, w) {
			n.calls++
			if !r.OK {
				n.bad++
			}
		}
		took = append(took, latencies(s.due(requests, w))...)
	}
	n.attempts = n.calls
	sort.Float64s(took)
	n.p50, n.p99 = Quantile(took, 0.5), Quantile(took, 0.99)
	return n
}

// EdgeLine is what went on at an edge, second by second.
type EdgeLine struct {
	Edge                    chaos.Edge
	Calls, Attempts, Errors Line // per second
	InFlight                Line // calls under way
	Breaker                 Line // 0 closed, 1 half-open, 2 open; the worst of the caller's replicas; empty without a breaker
}

// EdgeLines gives the time lines of all edges between services that were
// called at all, over the whole run with its warmup.
func (s *Set) EdgeLines(ctx context.Context) ([]EdgeLine, error) {
	calls, err := s.lines(ctx, names.EdgeCalls, perSecond, sum, edgeOf)
	if err != nil {
		return nil, err
	}
	attempts, err := s.lines(ctx, names.EdgeAttempts, perSecond, sum, edgeOf)
	if err != nil {
		return nil, err
	}
	failed, err := s.lines(ctx, names.EdgeCalls+"{"+names.Outcome+"!=\""+outcomeOK+"\"}", perSecond, sum, edgeOf)
	if err != nil {
		return nil, err
	}
	inFlight, err := s.lines(ctx, names.EdgeInFlight, asIs, sum, edgeOf)
	if err != nil {
		return nil, err
	}
	breakers, err := s.lines(ctx, selector(names.PolicyState, names.Policy, "circuit_breaker"), asIs, math.Max, on)
	if err != nil {
		return nil, err
	}
	var out []EdgeLine
	for _, edge := range s.run.System.Edges() {
		key := edge.String()
		if len(calls[key]) == 0 {
			continue
		}
		out = append(out, EdgeLine{Edge: edge, Calls: calls[key], Attempts: attempts[key], Errors: failed[key], InFlight: inFlight[key], Breaker: breakers[key]})
	}
	return out, nil
}

func edgeOf(labels map[string]string) string {
	return chaos.Edge{Caller: labels[names.Caller], Callee: labels[names.Callee]}.String()
}

func on(labels map[string]string) string { return labels[names.On] }

func sum(a, b float64) float64 { return a + b }
