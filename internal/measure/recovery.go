package measure

import (
	"math"
	"time"

	"github.com/faultline-lab/faultline/loadgen"

	"github.com/faultline-lab/faultline/internal/figure"
)

// What counts as recovered; see the catalog's formula.
const (
	recovered    = 0.99  // of the baseline's goodput
	settled      = 3     // seconds that must be left to show it
	improbable   = 0.001 // the chance below which a bad second is no accident
	recoveryStep = time.Second
)

// recovery is how long after the last fault the load's goodput is back at its
// baseline for good.
//
//	goodput
//	  1.0 |------.                    .--.---------------
//	 0.99 |. . . | . . . . . . . . . .|. '. . . . . . . .   99 % of the baseline
//	      |      |                   /
//	      |      '------------------'
//	      +------+-------------+----+-------------------+
//	             fault begins  ends |<- all of the rest is at least 99 %,
//	                           |<-->|   and no second of it much below ->|
//	                          recovery
func (s *Set) recovery(load string, slo time.Duration, w Window) Value {
	before, found := s.baseline()
	if !found {
		return unknown(figure.Seconds, "there is no baseline: no phase of that name, and nothing before the first fault")
	}
	base := ratioOf(s.due(s.journeys[load], before), func(r loadgen.Result) bool { return Good(r, slo) })
	if !base.Known || base.Number == 0 {
		return unknown(figure.Seconds, "nothing of %s was good in the baseline", load)
	}
	after, found := s.aftermath(w)
	switch {
	case !found:
		return unknown(figure.Seconds, "no fault ended in %s", w)
	case after.End > s.end:
		return unknown(figure.Seconds, "the run was cut short at %s, before a recovery could be seen", round(s.end))
	case after.End-after.Start < settled*recoveryStep:
		return unknown(figure.Seconds, "only %s are left after the fault, and %d s are needed to see a recovery", round(after.End-after.Start), settled)
	}
	due := s.due(s.journeys[load], after)
	if len(due) == 0 {
		return unknown(figure.Seconds, "nothing of %s was due after the fault", load)
	}
	return known(recoveryOf(s.seconds(due, after, slo), base.Number), figure.Seconds, int64(len(due)))
}

// second counts the journeys due in one second.
type second struct{ due, good int }

// seconds counts by whole seconds from the window's start; what is left over at
// the end belongs to the last.
func (s *Set) seconds(due []loadgen.Result, w Window, slo time.Duration) []second {
	out := make([]second, (w.End-w.Start)/recoveryStep)
	for _, r := range due {
		i := min(int(r.Due.Sub(s.at(w.Start))/recoveryStep), len(out)-1)
		out[i].due++
		if Good(r, slo) {
			out[i].good++
		}
	}
	return out
}

// recoveryOf returns the first second from which the rest is good, or +Inf.
func recoveryOf(seconds []second, base float64) float64 {
	first := 0
	for i, sec := range seconds {
		if sec.bad(base) {
			first = i + 1
		}
	}
	answer := math.Inf(1)
	var rest second
	for i := len(seconds) - 1; i >= first; i-- {
		rest.due += seconds[i].due
		rest.good += seconds[i].good
		enough := len(seconds)-i >= settled && rest.due > 0
		if enough && float64(rest.good) >= recovered*base*float64(rest.due) {
			answer = float64(i)
		}
	}
	return answer * recoveryStep.Seconds()
}

// bad tells whether a second's goodput is below what counts as recovered by
// more than chance explains. At 20 requests a second one failure is 5 %: it
// would undo a recovery again and again if chance were not allowed for.
func (s second) bad(base float64) bool {
	return float64(s.good) < recovered*base*float64(s.due) && atLeast(s.due-s.good, s.due, 1-recovered*base) < improbable
}

// atLeast is the chance of k or more successes in n trials of probability p:
// the upper tail of the binomial distribution, its terms built up from one
// another in logarithms.
func atLeast(k, n int, p float64) float64 {
	switch {
	case k <= 0 || p >= 1:
		return 1
	case k > n || p <= 0:
		return 0
	}
	logChoose := lgamma(n+1) - lgamma(k+1) - lgamma(n-k+1)
	term := math.Exp(logChoose + float64(k)*math.Log(p) + float64(n-k)*math.Log1p(-p))
	sum := 0.0
	for i := k; i <= n; i++ {
		sum += term
		term *= float64(n-i) / float64(i+1) * p / (1 - p)
	}
	return min(sum, 1)
}

func lgamma(n int) float64 {
	v, _ := math.Lgamma(float64(n))
	return v
}
