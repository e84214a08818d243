package report

import (
	"fmt"

	"github.com/faultline-lab/faultline/internal/figure"
	"github.com/faultline-lab/faultline/internal/measure"
	"github.com/faultline-lab/faultline/internal/record"
)

// PageShares is a load's experiment beside its control in one phase, as text.
type PageShares struct {
	Load       string    `json:"load"`
	Phase      string    `json:"phase"`
	Control    PageShare `json:"control"`
	Experiment PageShare `json:"experiment"`
	Difference string    `json:"difference"` // of the goodputs
	Interval   string    `json:"interval"`   // of 95 %, empty where it is unknown
}

// PageShare is what became of one share of a load in one phase, as text.
type PageShare struct {
	Goodput string `json:"goodput"`
	P99     string `json:"p99"`
	Due     int    `json:"due"`
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
				shares := PageShares{Load: load.Name, Phase: phase.Name, Control: shareOf(c.Control), Experiment: shareOf(c.Experiment)}
				shares.Difference, shares.Interval = differenceText(c)
				out = append(out, shares)
			}
		}
	}
	return out
}

func shareOf(l measure.Load) PageShare {
	return PageShare{Goodput: l.Goodput.Text(), P99: l.P99.Text(), Due: l.Due}
}

func (s PageShare) String() string {
	return fmt.Sprintf("%s, p99 %s, of %d", s.Goodput, s.P99, s.Due)
}

// differenceText writes a difference of goodputs in percentage points, and its interval.
func differenceText(c measure.Comparison) (difference, interval string) {
	if !c.Known {
		return figure.Unknown, ""
	}
	return fmt.Sprintf("%+.1f points", 100*c.Difference), fmt.Sprintf("95 %%: %+.1f to %+.1f", 100*c.Low, 100*c.High)
}

// shareLines says the comparisons on a terminal.
func shareLines(j *Judged, style Style) []string {
	var out []string
	for _, s := range sharesOf(j.Run) {
		text := fmt.Sprintf("%s in %s: experiment %s; control %s; goodput differs by %s", s.Load, s.Phase, s.Experiment, s.Control, s.Difference)
		if s.Interval != "" {
			text += " (" + s.Interval + ")"
		}
		out = append(out, wrapped("  "+markNote+" ", text, style.columns())...)
	}
	return out
}
