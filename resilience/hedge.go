package resilience

import (
	"context"
	"time"

	"github.com/failsafe-go/failsafe-go"
	"github.com/failsafe-go/failsafe-go/hedgepolicy"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/faultline-lab/faultline/parameter"
)

func hedgeKind() Kind {
	return Kind{
		Name:  "hedge",
		Sides: []string{OnEdge},
		About: "Sends a call a second time when the first has not answered after delay, or after the given quantile of the durations seen so far, " +
			"and takes the answer that comes first; the other is cancelled. A failure ends nothing while another attempt is under way. " +
			"The call must be safe to repeat; the replicas should be several.",
		Main: "delay",
		Params: []parameter.Parameter{
			{Name: "delay", Type: parameter.Duration, About: "after how long to send another"},
			{Name: "quantile", Type: parameter.Ratio, Min: parameter.Bound(0.01), Max: parameter.Bound(0.9999), About: "in place of delay: the quantile of durations after which to send another"},
			{Name: "min_calls", Type: parameter.Integer, Default: int64(20), Min: parameter.Bound(1), About: "how many durations must be known before quantile is used"},
			{Name: "max", Type: parameter.Integer, Default: int64(1), Min: parameter.Bound(1), Max: parameter.Bound(10), About: "how many more to send at most"},
		},
		Example:  "- {hedge: {quantile: 0.95}}",
		parallel: true,
		check: func(v parameter.Values) []parameter.Problem {
			if v.Has("delay") == v.Has("quantile") {
				return []parameter.Problem{{Name: "delay", Message: "want either delay or quantile"}}
			}
			return nil
		},
		edge: func(v parameter.Values, h *host) (layer, error) { return newHedge(v, h).layer, nil },
	}
}

type hedge struct {
	executor failsafe.Executor[result]
	won      prometheus.Counter
	most     int // how many attempts one call can have
}

// quantileAge is how many calls the estimate of the quantile remembers.
const quantileAge = 500

func newHedge(v parameter.Values, h *host) *hedge {
	sent := h.metrics.hedges.WithLabelValues(h.on, "sent")
	builder := hedgepolicy.NewBuilderWithDelayFunc(func(failsafe.ExecutionAttempt[result]) time.Duration { return v.Duration("delay") })
	if v.Has("quantile") {
		builder = hedgepolicy.NewBuilderWithDelayQuantile[result](v.Float("quantile"), quantileAge, uint(v.Int("min_calls")))
	}
	policy := builder.
		WithMaxHedges(int(v.Int("max"))).
		CancelIf(func(r result, _ error) bool { return r.class == Succeeded }).
		OnHedge(func(failsafe.ExecutionEvent[result]) { sent.Inc() }).
		Build()
	return &hedge{executor: failsafe.With(policy), most: 1 + int(v.Int("max")), won: h.metrics.hedges.WithLabelValues(h.on, "won")}
}

func (p *hedge) layer(inner next) next {
	return func(ctx context.Context, c *call) (result, error) {
		ended := make(chan failsafe.Execution[result], p.most)
		res, err := p.executor.WithContext(ctx).GetWithExecution(func(execution failsafe.Execution[result]) (result, error) {
			defer func() { ended <- execution }()
			res, err := inner(execution.Context(), c)
			res.hedge = execution.IsHedge()
			return res, err
		})
		// Those that lost are cancelled, but not gone: they still read the request, which
		// after this belongs to the caller again. All executions of a call share their counters.
		for still := (<-ended).Hedges(); still > 0; still-- {
			<-ended
		}
		if res.class == Succeeded && res.hedge {
			p.won.Inc()
		}
		return settled(ctx, res, err)
	}
}

// settled gives a result its class when the library made it from a context that ended.
func settled(ctx context.Context, res result, err error) (result, error) {
	if res.class == unclassified {
		res.class = classify(ctx, res.response, err)
	}
	return res, err
}
