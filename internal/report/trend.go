package report

import (
	"github.com/faultline-lab/faultline/internal/measure"
	"github.com/faultline-lab/faultline/internal/plan"
	"github.com/faultline-lab/faultline/internal/record"
)

// LoadFigures are the figures of one load by which runs of a scenario are compared over time. A
// pointer that is nil was not measured.
type LoadFigures struct {
	Load     string   `json:"load"`
	In       string   `json:"in"`       // the first phase with a fault; "" where none has one: the whole run
	Goodput  *float64 `json:"goodput"`  // share
	P99      *float64 `json:"p99"`      // ms, from due
	Recovery *float64 `json:"recovery"` // s
}

// FiguresOf measures a recorded run's loads from its results alone.
func FiguresOf(run *record.Run) []LoadFigures {
	set, window, in := measure.New(run, nothing{}), measure.Window{Kind: measure.Whole, End: run.Plan.Length()}, ""
	if phase, found := firstFaulted(run.Plan); found {
		window, in = windowOf(phase), phase.Name
	}
	out := []LoadFigures{}
	for _, load := range run.Plan.Loads {
		table, _ := set.Load(load.Name, window)
		out = append(out, LoadFigures{
			Load: load.Name, In: in, Goodput: number(table.Goodput, 1), P99: number(table.P99, 1000), Recovery: number(recoveryOf(set, load.Name), 1),
		})
	}
	return out
}

func firstFaulted(p *plan.Plan) (plan.Phase, bool) {
	for _, phase := range p.Phases {
		if faulted(p, phase) {
			return phase, true
		}
	}
	return plan.Phase{}, false
}
