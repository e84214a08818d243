package measure

import (
	"math"
	"sort"
	"strings"
	"time"

	"github.com/faultline-lab/faultline/loadgen"

	"github.com/faultline-lab/faultline/internal/figure"
	"github.com/faultline-lab/faultline/internal/measure/grammar"
	"github.com/faultline-lab/faultline/internal/stats"
)

// Finished tells whether a journey came to an end of its own, well or not. One
// that was never sent, or was cut off when the run ended, did not: how long it
// would have taken is not known.
func Finished(r loadgen.Result) bool {
	return !r.Done.IsZero() && r.Error != loadgen.ErrorNotSent && r.Error != loadgen.ErrorCutOff
}

// Good tells whether a journey counts towards goodput: it ended with success
// and within the slo, counted from when it was due. No slo means no limit.
func Good(r loadgen.Result, slo time.Duration) bool {
	return r.OK && Finished(r) && (slo == 0 || r.Latency() <= slo)
}

// sent tells whether a journey has a lag.
func sent(r loadgen.Result) bool { return !r.Sent.IsZero() && r.Error != loadgen.ErrorNotSent }

// due cuts out the results that were due in a window.
func (s *Set) due(results []loadgen.Result, w Window) []loadgen.Result {
	from, to := s.at(w.Start), s.at(w.End)
	i := sort.Search(len(results), func(i int) bool { return !results[i].Due.Before(from) })
	j := sort.Search(len(results), func(j int) bool { return !results[j].Due.Before(to) })
	return results[i:max(i, j)]
}

// slo returns the load's limit, and whether the plan has the load.
func (s *Set) slo(load string) (time.Duration, bool) {
	for _, l := range s.run.Plan.Loads {
		if l.Name == load {
			return l.SLO, true
		}
	}
	return 0, false
}

func (s *Set) ofLoad(c *grammar.Comparison, w Window) Value {
	name, share, shared := strings.Cut(c.Argument, "/")
	slo, found := s.slo(name)
	switch {
	case !found:
		return unknown(c.Measure.Unit, "the plan has no load %q", name)
	case c.Measure.Name == "recovery" && shared:
		return unknown(c.Measure.Unit, "recovery is of a whole load")
	case c.Measure.Name == "recovery":
		return s.recovery(name, slo, w)
	}
	due := s.due(s.journeys[name], w)
	if shared {
		due = ofShare(due, share)
	}
	return ofJourneys(c.Measure, due, slo, w.End-w.Start)
}

// ofShare picks the journeys of a share.
func ofShare(all []loadgen.Result, share string) []loadgen.Result {
	var out []loadgen.Result
	for _, r := range all {
		if r.Share == share {
			out = append(out, r)
		}
	}
	return out
}

// Comparison is a load's experiment beside its control, in one window.
type Comparison struct {
	Control, Experiment Load
	// Difference of the goodputs, experiment less control, with a 95 % interval (Newcombe 1998, method 10: from
	// the Wilson intervals of both). Known is false where one of the shares is empty.
	Difference, Low, High float64
	Known                 bool
}

// Compare sets a load's experiment beside its control; false when it has none.
func (s *Set) Compare(name string, w Window) (Comparison, bool) {
	for _, l := range s.run.Plan.Loads {
		if l.Name != name || l.Experiment <= 0 {
			continue
		}
		due := s.due(s.journeys[name], w)
		c := Comparison{Control: loadOf(name, ofShare(due, loadgen.ShareControl), l.SLO, w), Experiment: loadOf(name, ofShare(due, loadgen.ShareExperiment), l.SLO, w)}
		c.compare()
		return c, true
	}
	return Comparison{}, false
}

func (c *Comparison) compare() {
	if c.Control.Due == 0 || c.Experiment.Due == 0 {
		return
	}
	p, q := float64(c.Experiment.Good)/float64(c.Experiment.Due), float64(c.Control.Good)/float64(c.Control.Due)
	ofP, ofQ := stats.Wilson(c.Experiment.Good, c.Experiment.Due, 0.95), stats.Wilson(c.Control.Good, c.Control.Due, 0.95)
	c.Difference, c.Known = p-q, true
	c.Low = c.Difference - math.Hypot(p-ofP.Low, ofQ.High-q)
	c.High = c.Difference + math.Hypot(ofP.High-p, q-ofQ.Low)
}

// ofJourneys computes a measure of a load from its journeys.
func ofJourneys(m grammar.Measure, due []loadgen.Result, slo, length time.Duration) Value {
	n := int64(len(due))
	if m.Name == "rate" {
		return known(float64(n)/length.Seconds(), m.Unit, n)
	}
	if n == 0 {
		return unknown(m.Unit, "nothing was due")
	}
	switch m.Name {
	case "success":
		return ratioOf(due, func(r loadgen.Result) bool { return r.OK && Finished(r) })
	case "goodput":
		return ratioOf(due, func(r loadgen.Result) bool { return Good(r, slo) })
	case "max":
		return known(Quantile(latencies(due), 1), m.Unit, n)
	}
	q, is := grammar.Quantile(m.Name)
	if !is {
		return unknown(m.Unit, "no rule for %s", m.Name)
	}
	return known(Quantile(latencies(due), q), m.Unit, n)
}

func ratioOf(due []loadgen.Result, counts func(loadgen.Result) bool) Value {
	n := 0
	for _, r := range due {
		if counts(r) {
			n++
		}
	}
	return share(float64(n), float64(len(due)), figure.Ratio, "nothing was due")
}

// latencies returns the latencies in seconds, sorted. What did not finish is
// slower than anything that did.
func latencies(due []loadgen.Result) []float64 {
	out := make([]float64, len(due))
	for i, r := range due {
		out[i] = math.Inf(1)
		if Finished(r) {
			out[i] = r.Latency().Seconds()
		}
	}
	sort.Float64s(out)
	return out
}

// Quantile returns the smallest of the sorted numbers that a share q of all of
// them does not exceed (the nearest-rank definition, nothing is interpolated);
// NaN of none.
func Quantile(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return math.NaN()
	}
	// 0.07*100 is 7.000000000000001 in doubles, and must still be the 7th.
	rank := int(math.Ceil(q*float64(len(sorted)) - 1e-9))
	return sorted[min(max(rank, 1), len(sorted))-1]
}

// lag is p99 of sent - due over every load's journeys.
func (s *Set) lag(w Window) Value {
	var all []loadgen.Result
	for _, results := range s.journeys {
		all = append(all, s.due(results, w)...)
	}
	return lagOf(all)
}

func lagOf(results []loadgen.Result) Value {
	var lags []float64
	for _, r := range results {
		if sent(r) {
			lags = append(lags, max(0, r.Lag().Seconds()))
		}
	}
	if len(lags) == 0 {
		return unknown(figure.Seconds, "nothing was sent")
	}
	sort.Float64s(lags)
	return known(Quantile(lags, 0.99), figure.Seconds, int64(len(lags)))
}
