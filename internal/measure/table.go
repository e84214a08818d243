package measure

import (
	"sort"
	"time"

	"github.com/faultline-lab/faultline/loadgen"

	"github.com/faultline-lab/faultline/internal/measure/grammar"
)

// Load is what became of a load in a window, for tables.
type Load struct {
	Name                          string
	SLO                           time.Duration
	Due, Good, Slow, Failed       int
	Rate, Success, Goodput        Value
	P50, P90, P95, P99, P999, Max Value
	Failures                      []Count // why journeys failed, the most frequent first
	Steps                         []Step  // of a journey of several steps, in its order
}

// Count is how often something was seen.
type Count struct {
	Name string
	N    int
}

// Step is what became of one step of a journey.
type Step struct {
	Name                        string
	Requests                    int
	Success, P50, P90, P99, Max Value
}

// Load gives a load's figures in a window; false when the plan has no such
// load.
func (s *Set) Load(name string, w Window) (Load, bool) {
	slo, found := s.slo(name)
	if !found {
		return Load{}, false
	}
	out := loadOf(name, s.due(s.journeys[name], w), slo, w)
	out.Steps = s.stepTable(name, w)
	return out, true
}

// loadOf gives the figures of the journeys that were due in a window.
func loadOf(name string, due []loadgen.Result, slo time.Duration, w Window) Load {
	of := func(measure string) Value { return figureOf(measure, due, slo, w) }
	counts := bin(w.Start, due, slo)
	return Load{
		Name: name, SLO: slo, Due: counts.Offered, Good: counts.Good, Slow: counts.Slow, Failed: counts.Failed,
		Rate: of("rate"), Success: of("success"), Goodput: of("goodput"),
		P50: of("p50"), P90: of("p90"), P95: of("p95"), P99: of("p99"), P999: of("p99.9"), Max: of("max"),
		Failures: failures(due),
	}
}

// figureOf computes a measure of the catalog, by its name.
func figureOf(measure string, due []loadgen.Result, slo time.Duration, w Window) Value {
	m, _ := grammar.Find(measure)
	return ofJourneys(m, due, slo, w.End-w.Start)
}

// failures counts why journeys failed, by frequency and then by name.
func failures(due []loadgen.Result) []Count {
	counts := map[string]int{}
	for _, r := range due {
		if !r.OK || !Finished(r) {
			counts[r.Error]++
		}
	}
	out := make([]Count, 0, len(counts))
	for name, n := range counts {
		out = append(out, Count{Name: name, N: n})
	}
	sort.Slice(out, func(i, j int) bool {
		if out[i].N != out[j].N {
			return out[i].N > out[j].N
		}
		return out[i].Name < out[j].Name
	})
	return out
}

func (s *Set) stepTable(load string, w Window) []Step {
	var out []Step
	for _, l := range s.run.Plan.Loads {
		if l.Name != load || len(l.Steps) < 2 {
			continue
		}
		byStep := map[string][]loadgen.Result{}
		for _, r := range s.due(s.steps[load], w) {
			byStep[r.Step] = append(byStep[r.Step], r)
		}
		for _, step := range l.Steps {
			due := byStep[step.Name]
			of := func(measure string) Value { return figureOf(measure, due, 0, w) }
			out = append(out, Step{
				Name: step.Name, Requests: len(due),
				Success: of("success"), P50: of("p50"), P90: of("p90"), P99: of("p99"), Max: of("max"),
			})
		}
	}
	return out
}

// Lag gives the generator's lag in a window: p99 of sent - due.
func (s *Set) Lag(w Window) Value { return s.lag(w) }

// Whole is the whole run without its warmup.
func (s *Set) Whole() Window { return s.whole() }
