package plan

import (
	"slices"
	"time"

	"github.com/faultline-lab/faultline/loadgen"
)

// Clone returns a copy whose phases, loads and faults may be changed. What they
// hold is shared, and stays as it is.
func (p *Plan) Clone() *Plan {
	out := *p
	out.Phases = slices.Clone(p.Phases)
	out.Loads = slices.Clone(p.Loads)
	out.Faults = slices.Clone(p.Faults)
	return &out
}

// End cuts the plan off at an offset: what would come later is left out, and
// what would last longer ends then.
func (p *Plan) End(at time.Duration) {
	p.Phases = slices.DeleteFunc(p.Phases, func(phase Phase) bool { return phase.Start >= at })
	for i := range p.Phases {
		p.Phases[i].End = min(p.Phases[i].End, at)
	}
	p.Faults = slices.DeleteFunc(p.Faults, func(w Window) bool { return w.Start > at })
	for i := range p.Faults {
		p.Faults[i].End = min(p.Faults[i].End, at)
	}
	for i := range p.Loads {
		p.Loads[i].Stages = firstStages(p.Loads[i].Stages, at)
	}
}

// firstStages is what stages are up to an offset.
func firstStages(stages []loadgen.Stage, length time.Duration) []loadgen.Stage {
	var out []loadgen.Stage
	for _, stage := range stages {
		if length <= 0 {
			break
		}
		if stage.For > length {
			stage = loadgen.Stage{For: length, From: stage.From, To: rateAt(stage, length)}
		}
		out, length = append(out, stage), length-stage.For
	}
	return out
}
