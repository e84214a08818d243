package check

import (
	"github.com/faultline-lab/faultline/internal/measure"
	"github.com/faultline-lab/faultline/internal/plan"
	"github.com/faultline-lab/faultline/internal/record"
)

// Doubts says why a run was not the experiment that was planned, so that its
// numbers do not speak of the system; empty when it was. They are the reasons of its
// verdict, but for one: that nothing was expected takes nothing from the numbers.
func Doubts(run *record.Run) []string {
	expecting := *run.Plan
	expecting.Expect = []plan.Expectation{{}} // doubts asks only whether there is any
	asked := *run
	asked.Plan = &expecting
	set := measure.New(&asked, nil)
	return doubts(&asked, set, set.Lag(set.Whole()))
}
