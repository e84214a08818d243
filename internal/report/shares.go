package report

import (
	"fmt"

	"github.com/faultline-lab/faultline/internal/figure"
	"github.com/faultline-lab/faultline/internal/measure"
	"github.com/faultline-lab/faultline/internal/record"
)

// PageShares is a load's experiment beside its control in one phase, as text.
type PageShares struct {
	Load       string `json:"load"`
	Phase      string `json:"phase"`
	Control    string `json:"control"`    // goodput and p99
	Experiment string `json:"experiment"` // the same
	Difference string `json:"difference"` // with its interval
}

// sharesOf compares experiments with their controls, phase by phase; none where no load has an experiment.
func sharesOf(run *record.Run) []PageShares {
	set := measure.New(run, nil)
	out := []PageShares{}
	for _, load := range run.Plan.Loads {
		for _, phase := range run.Plan.Phases {
			window, err := set.Window(phase.Name)
			if err != nil || phase.Name == warmup {
				continue
			}
			if c, has := set.Compare(load.Name, window); has {
				out = append(out, PageShares{Load: load.Name, Phase: phase.Name, Control: shareText(c.Control), Experiment: shareText(c.Experiment), Difference: differenceText(c)})
			}
		}
	}
	return out
}

func shareText(l measure.Load) string {
	return fmt.Sprintf("%s, p99 %s, of %d", l.Goodput.Text(), l.P99.Text(), l.Due)
}

// differenceText writes a difference of goodputs in percentage points.
func differenceText(c measure.Comparison) string {
	if !c.Known {
		return figure.Unknown
	}
	return fmt.Sprintf("%+.1f points (95 %%: %+.1f to %+.1f)", 100*c.Difference, 100*c.Low, 100*c.High)
}

// shareLines says the comparisons on a terminal.
func shareLines(j *Judged, style Style) []string {
	var out []string
	for _, s := range sharesOf(j.Run) {
		text := fmt.Sprintf("%s in %s: experiment %s; control %s; goodput differs by %s", s.Load, s.Phase, s.Experiment, s.Control, s.Difference)
		out = append(out, wrapped("  "+markNote+" ", text, style.columns())...)
	}
	return out
}
