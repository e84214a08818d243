// Package measure owns the numbers that a recorded run gives: what each
// measure of package grammar comes to over a window of the run, and the time
// lines and tables that reports show. It is pure: the same record gives the
// same numbers.
//
// It decides nothing; package check compares the numbers with what was
// expected.
package measure

import (
	"context"
	"fmt"
	"sort"
	"strings"
	"time"

	"github.com/faultline-lab/faultline/loadgen"
	"github.com/faultline-lab/faultline/observability/telemetry"

	"github.com/faultline-lab/faultline/internal/measure/grammar"
	"github.com/faultline-lab/faultline/internal/record"
)

// Metrics answers queries in PromQL over the run's recorded time series.
type Metrics interface {
	// Query evaluates at one moment; each series has one point. A scalar is one series without labels.
	Query(ctx context.Context, expr string, at time.Time) ([]telemetry.Series, error)
	// QueryRange evaluates at from, from+step and so on, up to and with to.
	QueryRange(ctx context.Context, expr string, from, to time.Time, step time.Duration) ([]telemetry.Series, error)
}

// Set gives the measures of one run. It only reads the run, which must not
// change meanwhile, and is safe for concurrent use if its Metrics are.
type Set struct {
	run      *record.Run
	metrics  Metrics
	journeys map[string][]loadgen.Result // whole journeys by load, by due
	steps    map[string][]loadgen.Result // single steps by load, by due
	events   []record.Event              // by time
	end      time.Duration               // when the run was over, as an offset
}

// New prepares the measures of a run. Without metrics, the measures that need
// them are unknown.
func New(run *record.Run, metrics Metrics) *Set {
	s := &Set{run: run, metrics: metrics, journeys: map[string][]loadgen.Result{}, steps: map[string][]loadgen.Result{}}
	for _, r := range run.Results {
		if r.Step == "" {
			s.journeys[r.Load] = append(s.journeys[r.Load], r)
		} else {
			s.steps[r.Load] = append(s.steps[r.Load], r)
		}
	}
	for _, results := range s.journeys {
		sortByDue(results)
	}
	for _, results := range s.steps {
		sortByDue(results)
	}
	s.events = append(s.events, run.Events...)
	sort.SliceStable(s.events, func(i, j int) bool { return s.events[i].Time.Before(s.events[j].Time) })
	s.end = s.ended()
	return s
}

// sortByDue sorts by due, and where that is equal by number, so that the order
// of arrival in the record makes no difference.
func sortByDue(results []loadgen.Result) {
	sort.Slice(results, func(i, j int) bool {
		a, b := results[i], results[j]
		if !a.Due.Equal(b.Due) {
			return a.Due.Before(b.Due)
		}
		if a.Seq != b.Seq {
			return a.Seq < b.Seq
		}
		return a.Step < b.Step
	})
}

// ended is when the run was over: the plan's length, or where it was cut short,
// the time of that.
func (s *Set) ended() time.Duration {
	length := s.run.Plan.Length()
	if s.run.Meta.Outcome == record.Completed || s.run.Meta.Load.IsZero() {
		return length
	}
	last := s.run.Meta.Ended
	for _, e := range s.events {
		if e.Kind == record.EventAbort {
			last = e.Time
			break
		}
		if s.run.Meta.Ended.IsZero() {
			last = e.Time
		}
	}
	return max(0, min(length, last.Sub(s.run.Meta.Load)))
}

// at turns an offset of the plan into a time.
func (s *Set) at(offset time.Duration) time.Time { return s.run.Meta.Load.Add(offset) }

// Measure gives what the comparison's measure comes to in a window. Data that
// is missing or cannot be read makes the value unknown, with the reason; the
// error is the context's alone.
func (s *Set) Measure(ctx context.Context, c *grammar.Comparison, w Window) (Value, error) {
	if why := s.unusable(c, w); why != "" {
		return unknown(c.WantedUnit, "%s", why), nil
	}
	var v Value
	switch c.Measure.Of {
	case grammar.Load:
		v = s.ofLoad(c, w)
	case grammar.Edge:
		v = s.ofEdge(ctx, c, w)
	case grammar.Service:
		v = s.ofService(ctx, c, w)
	case grammar.Alert:
		v = s.detected(c.Argument, w)
	case grammar.PromQL:
		v = s.promQL(ctx, c, w)
	default:
		v = s.ofRun(c, w)
	}
	return v, ctx.Err()
}

// unusable says why a window of this run has no numbers at all, or "".
func (s *Set) unusable(c *grammar.Comparison, w Window) string {
	switch {
	case s.run.Meta.Load.IsZero():
		return "the load never started"
	case c.Measure.WholeRun:
		return ""
	case w.End <= w.Start:
		return w.String() + " has no length"
	case w.End > s.end:
		return fmt.Sprintf("the run was cut short at %s, before the end of %s", round(s.end), w)
	}
	return ""
}

func (s *Set) ofRun(c *grammar.Comparison, w Window) Value {
	if c.Measure.Name == "violations" {
		return s.violations()
	}
	return s.lag(w)
}

// promQL evaluates a query of the scenario at the window's end.
func (s *Set) promQL(ctx context.Context, c *grammar.Comparison, w Window) Value {
	if s.metrics == nil {
		return unknown(c.WantedUnit, "the run has no metrics")
	}
	expr := strings.ReplaceAll(c.Argument, "$window", promDuration(w.End-w.Start))
	series, err := s.metrics.Query(ctx, expr, s.at(w.End))
	switch {
	case err != nil:
		return unknown(c.WantedUnit, "the query failed: %v", err)
	case len(series) == 0 || len(series[0].Points) == 0:
		return unknown(c.WantedUnit, "the query gives nothing at %s", round(w.End))
	case len(series) > 1:
		return unknown(c.WantedUnit, "the query gives %d series; make it one, with sum() or max()", len(series))
	case len(series[0].Points) > 1:
		return unknown(c.WantedUnit, "the query gives a range; make it one number, with max_over_time() or the like")
	}
	return known(series[0].Points[0].Value, c.WantedUnit, 0)
}

// promDuration writes a duration as PromQL reads it, to the millisecond.
func promDuration(d time.Duration) string { return fmt.Sprintf("%dms", d.Milliseconds()) }

// round is for offsets in messages.
func round(d time.Duration) time.Duration { return d.Round(100 * time.Millisecond) }
