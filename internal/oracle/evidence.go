package oracle

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/faultline-lab/faultline/internal/measure"
	"github.com/faultline-lab/faultline/internal/plan"
	"github.com/faultline-lab/faultline/internal/record"
	"github.com/faultline-lab/faultline/loadgen"
	"github.com/faultline-lab/faultline/observability/names"
)

// evidence is what a run left behind, as judges ask for it.
type evidence struct {
	run     *record.Run
	metrics measure.Metrics
}

// phase returns a phase of the run.
func (e *evidence) phase(name string) (plan.Phase, error) {
	p, found := e.run.Plan.Phase(name)
	if !found {
		return p, fmt.Errorf("the run has no phase %s", name)
	}
	return p, nil
}

// request is one request of a load, with times in seconds since the load began.
type request struct {
	due, done float64
	ok        bool
}

func (r request) latency() float64 { return r.done - r.due }

// requests returns those of a load that were due in a stretch of the run, in that order.
func (e *evidence) requests(load string, from, to time.Duration) []request {
	var out []request
	for _, r := range e.run.Results {
		due := r.Due.Sub(e.run.Meta.Load)
		if r.Load == load && r.Step == "" && due >= from && due < to {
			out = append(out, request{due.Seconds(), r.Done.Sub(e.run.Meta.Load).Seconds(), r.OK})
		}
	}
	slices.SortFunc(out, func(a, b request) int {
		switch {
		case a.due < b.due:
			return -1
		case a.due > b.due:
			return 1
		}
		return 0
	})
	return out
}

// increase is by how much a counter of a service grew in a phase, as far as scrapes tell.
func (e *evidence) increase(ctx context.Context, metric, service, matchers string, p plan.Phase) (float64, error) {
	expr := fmt.Sprintf("sum(%s{%s=%q%s})", metric, names.Service, service, matchers)
	var at [2]float64
	for i, offset := range []time.Duration{p.Start, p.End} {
		series, err := e.metrics.Query(ctx, expr, e.run.Meta.Load.Add(offset))
		if err != nil {
			return 0, fmt.Errorf("querying %s: %w", expr, err)
		}
		if len(series) == 1 && len(series[0].Points) > 0 {
			at[i] = series[0].Points[len(series[0].Points)-1].Value
		} else if i == 1 {
			return 0, fmt.Errorf("%s recorded no %s", service, metric)
		}
	}
	return at[1] - at[0], nil
}

// mean is the mean of a histogram of a service in a phase, and how many values there were.
func (e *evidence) mean(ctx context.Context, metric, service string, p plan.Phase) (mean, count float64, err error) {
	sum, err := e.increase(ctx, metric+"_sum", service, "", p)
	if err != nil {
		return 0, 0, err
	}
	if count, err = e.increase(ctx, metric+"_count", service, "", p); err != nil {
		return 0, 0, err
	}
	if count == 0 {
		return 0, 0, fmt.Errorf("%s did no work in the phase %s", service, p.Name)
	}
	return sum / count, count, nil
}

// lag is the p99 of the load generator's own delay.
func (e *evidence) lag() time.Duration {
	lags := loadgen.NewHistogram()
	for _, r := range e.run.Results {
		if r.Step == "" {
			lags.Record(r.Lag())
		}
	}
	return lags.Quantile(0.99)
}

// workers is how many a service has.
func (e *evidence) workers(service string) (int, error) {
	svc := e.run.System.Service(service)
	if svc == nil || svc.Capacity == nil {
		return 0, fmt.Errorf("the system has no service %q with a capacity", service)
	}
	return svc.Capacity.Workers, nil
}
