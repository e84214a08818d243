package check

import (
	"fmt"
	"time"

	"github.com/faultline-lab/faultline/internal/measure"
	"github.com/faultline-lab/faultline/internal/measure/grammar"
	"github.com/faultline-lab/faultline/internal/plan"
)

// Aborts watches a plan's abort conditions while the run goes on. It has no
// clock and measures nothing: the caller steps it on.
type Aborts struct {
	conditions []*condition
}

type condition struct {
	comparison *grammar.Comparison
	length     time.Duration
	holding    bool
	since      time.Duration
}

// NewAborts returns the watch of a plan's abort conditions. One that cannot
// be read never holds; compiling the plan has refused it.
func NewAborts(p *plan.Plan) *Aborts {
	a := &Aborts{}
	for _, abort := range p.Abort {
		if c, err := grammar.Parse(abort.That); err == nil {
			a.conditions = append(a.conditions, &condition{comparison: c, length: abort.For})
		}
	}
	return a
}

// Step takes the state at an offset of the plan and returns why the run must
// end now, or "". A condition must hold at each step over its time; a step at which its
// measure is unknown neither adds to that nor breaks it off.
func (a *Aborts) Step(at time.Duration, now func(*grammar.Comparison) measure.Value) string {
	for _, c := range a.conditions {
		if why := c.step(at, now(c.comparison)); why != "" {
			return why
		}
	}
	return ""
}

func (c *condition) step(at time.Duration, v measure.Value) string {
	if !v.Known {
		return ""
	}
	if !c.comparison.Holds(v.Number) {
		c.holding = false
		return ""
	}
	if !c.holding {
		c.holding, c.since = true, at
	}
	if at-c.since < c.length {
		return ""
	}
	return fmt.Sprintf("%s held for %s: it is %s", c.comparison.Text, c.length, c.comparison.WantedUnit.Text(v.Number))
}
