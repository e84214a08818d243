package measure

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/faultline-lab/faultline/observability/names"
	"github.com/faultline-lab/faultline/observability/telemetry"
)

// sampling is the distance at which recorded series are read: half of the one
// second at which they are scraped, so that no sample is passed over.
const sampling = 500 * time.Millisecond

// errNoMetrics is met by runs whose time series are not there.
var errNoMetrics = errors.New("the run has no metrics")

// selector writes a PromQL selector: name{a="x",b="y"}, given label and value in
// turn. A label that ends in ~ is matched as a regular expression.
func selector(name string, matchers ...string) string {
	var parts []string
	for i := 0; i+1 < len(matchers); i += 2 {
		label, regexp := strings.CutSuffix(matchers[i], "~")
		op := "="
		if regexp {
			op = "=~"
		}
		parts = append(parts, label+op+strconv.Quote(matchers[i+1]))
	}
	return name + "{" + strings.Join(parts, ",") + "}"
}

// samples reads series over a window, its first moment included: at each step
// stands the last sample scraped until then, and none where the target could not be
// scraped any more.
func (s *Set) samples(ctx context.Context, w Window, expr string, step time.Duration) ([]telemetry.Series, error) {
	if s.metrics == nil {
		return nil, errNoMetrics
	}
	series, err := s.metrics.QueryRange(ctx, expr, s.at(w.Start), s.at(w.End), step)
	if err != nil {
		return nil, fmt.Errorf("querying %s: %w", expr, err)
	}
	return series, nil
}

// increases reads by how much counters grew in a window, one by one.
func (s *Set) increases(ctx context.Context, w Window, expr string) ([]growth, error) {
	series, err := s.samples(ctx, w, expr, sampling)
	if err != nil {
		return nil, err
	}
	out := make([]growth, 0, len(series))
	for _, line := range series {
		out = append(out, growth{labels: line.Labels, by: increase(line.Points, s.at(w.Start))})
	}
	return out, nil
}

// growth is by how much one counter grew.
type growth struct {
	labels map[string]string
	by     float64
}

// increase is the exact growth of a counter from its samples: the sum of the
// steps between them. Unlike PromQL's increase() it does not extrapolate to the
// window's edges, which over a few seconds of one-second samples errs by more than
// what is measured. A counter that falls was restarted and counts from 0 again, and
// one that first appears after the window began had been 0: a
// labelled counter is exported from its first increment on.
//
//	samples   .   .   7   9   2   5        7 + 2 + 2 + 3 = 14
//	          |               '- restarted
//	          '- window begins, the counter does not exist yet
func increase(points []telemetry.Point, begin time.Time) float64 {
	sum, last := 0.0, 0.0
	for i, p := range points {
		switch {
		case i == 0 && !p.Time.After(begin):
		case p.Value < last:
			sum += p.Value
		default:
			sum += p.Value - last
		}
		last = p.Value
	}
	return sum
}

// total adds up those counters whose label has one of the values, or all of
// them when no label is given.
func total(all []growth, label string, values ...string) float64 {
	sum := 0.0
	for _, g := range all {
		if label == "" {
			sum += g.by
			continue
		}
		for _, v := range values {
			if g.labels[label] == v {
				sum += g.by
			}
		}
	}
	return sum
}

// missed is the share of scrapes of a service that may fail before its samples
// are no longer taken to show the window.
const missed = 0.1

// gaps says why a service's samples do not cover a window, or "". Scrapes that
// fail while a fault holds the service's processes are the fault's doing. Where nobody
// recorded whether scrapes succeeded, nothing is said.
func (s *Set) gaps(ctx context.Context, service string, w Window) string {
	series, err := s.samples(ctx, w, selector("up", names.Service, service), sampling)
	if err != nil {
		return err.Error()
	}
	asked, failed := 0, 0
	for _, line := range series {
		for _, p := range line.Points {
			if s.held(service, p.Time) {
				continue
			}
			asked++
			if p.Value == 0 {
				failed++
			}
		}
	}
	if asked == 0 || float64(failed) <= missed*float64(asked) {
		return ""
	}
	return fmt.Sprintf("%.0f %% of the scrapes of %s failed in the window", 100*float64(failed)/float64(asked), service)
}

// restartTime is how long after a fault a process may take to be scraped again.
const restartTime = 5 * time.Second

// held tells whether a fault acts on the service's processes at that time.
func (s *Set) held(service string, at time.Time) bool {
	for _, fault := range s.run.Plan.Faults {
		for _, name := range fault.Services {
			if name == service && !at.Before(s.at(fault.Start)) && at.Before(s.at(fault.End+restartTime)) {
				return true
			}
		}
	}
	return false
}

// bucketQuantile estimates a quantile from a histogram's buckets, as
// PromQL's histogram_quantile does: linear within a bucket, and the last
// finite bound for what lies above it. NaN of an empty histogram.
func bucketQuantile(buckets []growth, q float64) float64 {
	counts := map[float64]float64{}
	for _, g := range buckets {
		if bound, err := strconv.ParseFloat(g.labels["le"], 64); err == nil {
			counts[bound] += g.by
		}
	}
	bounds := make([]float64, 0, len(counts))
	for bound := range counts {
		bounds = append(bounds, bound)
	}
	sort.Float64s(bounds)
	if len(bounds) == 0 || counts[bounds[len(bounds)-1]] == 0 {
		return math.NaN()
	}
	rank := q * counts[bounds[len(bounds)-1]]
	below, start := 0.0, 0.0
	for _, bound := range bounds {
		if counts[bound] >= rank {
			if math.IsInf(bound, 1) {
				return start
			}
			return start + (bound-start)*(rank-below)/(counts[bound]-below)
		}
		below, start = counts[bound], bound
	}
	return start
}
