package bench

import (
	"math"
	"strings"
	"time"

	"github.com/faultline-lab/faultline/internal/figure"
	"github.com/faultline-lab/faultline/internal/plan"
	"github.com/faultline-lab/faultline/internal/system"
)

// The names of the windows.
const (
	Baseline = "baseline" // before the first fault, or the phase of that name
	Fault    = "fault"    // from the start of the first fault to the end of the last
	Recovery = "recovery" // from the end of the last fault to the end of the run
	Whole    = "run"      // all but the warmup
)

// Window is a stretch of a run, in offsets from the start of its load. It is
// the same in all variants, whichever of them leave a fault out.
type Window struct {
	Name  string        `json:"name"`
	Start time.Duration `json:"start"`
	End   time.Duration `json:"end"`
}

// Better says in which direction a figure is to go.
type Better string

// The directions.
const (
	More Better = "more"
	Less Better = "less"
)

// Scale says how two values of a figure are compared.
type Scale string

// The scales: shares, counts and times until something are subtracted;
// latencies and costs divided, for a millisecond means little of a second and all of one.
const (
	Difference Scale = "difference"
	Ratio      Scale = "ratio"
)

// Figure is something that is measured of every run.
type Figure struct {
	Key    string      `json:"key"`   // goodput.browse.fault
	Group  string      `json:"group"` // a load, or one of the groups below
	Name   string      `json:"name"`  // within the group: "goodput, fault"
	Unit   figure.Unit `json:"unit"`
	Better Better      `json:"better"`
	Scale  Scale       `json:"scale"`
	// Limit is the longest time that could be seen; what never came counts with it. 0 means none.
	Limit float64 `json:"limit,omitempty"`
	// Headline figures are those of the terminal's tables.
	Headline bool `json:"headline"`
}

// The groups of the figures that are of no load.
const (
	EdgeGroup   = "attempts a call" // of edges: amplification
	SystemGroup = "system"
)

// FrameLoad is what a frame knows of a load.
type FrameLoad struct {
	Name  string        `json:"name"`
	SLO   time.Duration `json:"slo"`
	Limit time.Duration `json:"limit"` // after which its clients have given up
}

// Frame is what is measured of the runs of a campaign (of one cell of a sweep):
// the same of every variant, so that any two can be compared.
type Frame struct {
	Windows []Window     `json:"windows"`
	Phases  []plan.Phase `json:"phases"`
	Loads   []FrameLoad  `json:"loads"`
	Edges   []string     `json:"edges"` // those with policies or faults in any variant
	Figures []Figure     `json:"figures"`
}

// NewFrame works out what is measured, from the plans of all variants.
func NewFrame(plans []*plan.Plan, sys *system.System) Frame {
	f := Frame{Windows: windows(plans), Phases: plans[0].Phases, Edges: edges(plans, sys)}
	for _, load := range plans[0].Loads {
		f.Loads = append(f.Loads, FrameLoad{Name: load.Name, SLO: load.SLO, Limit: max(load.SLO, load.Timeout*time.Duration(len(load.Steps)))})
	}
	for _, load := range f.Loads {
		f.Figures = append(f.Figures, f.ofLoad(load)...)
	}
	f.Figures = append(f.Figures, f.ofSystem(sys)...)
	return f
}

// Window returns the window of that name and whether there is one.
func (f Frame) Window(name string) (Window, bool) {
	for _, w := range f.Windows {
		if w.Name == name {
			return w, true
		}
	}
	return Window{}, false
}

func windows(plans []*plan.Plan) []Window {
	whole := Window{Name: Whole, End: plans[0].Length()}
	if warmup, found := plans[0].Phase("warmup"); found {
		whole.Start = warmup.End
	}
	first, last := time.Duration(math.MaxInt64), time.Duration(0)
	for _, p := range plans {
		for _, fault := range p.Faults {
			first, last = min(first, fault.Start), max(last, fault.End)
		}
	}
	faulty := last > 0
	before := Window{Name: Baseline, Start: whole.Start, End: first}
	if phase, found := plans[0].Phase(Baseline); found {
		before.Start, before.End = phase.Start, phase.End
	} else if !faulty {
		before.End = before.Start // the whole run is one, and called so
	}
	var out []Window
	if before.End > before.Start {
		out = append(out, before)
	}
	if faulty {
		out = append(out, Window{Name: Fault, Start: first, End: last})
		if whole.End > last {
			out = append(out, Window{Name: Recovery, Start: last, End: whole.End})
		}
	}
	return append(out, whole)
}

// edges lists the edges, between services, that have policies or faults in any
// variant.
func edges(plans []*plan.Plan, sys *system.System) []string {
	touched := map[string]bool{}
	for _, p := range plans {
		for on := range p.Policies {
			touched[on] = true
		}
		for _, fault := range p.Faults {
			for _, edge := range fault.Edges {
				touched[edge.String()] = true
			}
		}
	}
	var out []string
	for _, edge := range sys.Edges() {
		if touched[edge.String()] && edge.Caller != system.LoadCaller {
			out = append(out, edge.String())
		}
	}
	return out
}

func (f Frame) ofLoad(load FrameLoad) []Figure {
	var out []Figure
	add := func(measure, window string, unit figure.Unit, better Better, scale Scale, limit time.Duration, headline bool) {
		out = append(out, Figure{Key: key(measure, load.Name, window), Group: load.Name, Name: measure + ", " + window,
			Unit: unit, Better: better, Scale: scale, Limit: limit.Seconds(), Headline: headline})
	}
	for _, measure := range []string{"goodput", "success"} {
		for _, w := range f.Windows {
			add(measure, w.Name, figure.Ratio, More, Difference, 0, measure == "goodput" && w.Name != Baseline)
		}
	}
	for _, measure := range []string{"p50", "p99", "p99.9"} {
		for _, w := range f.Windows {
			add(measure, w.Name, figure.Seconds, Less, Ratio, load.Limit, measure == "p99" && (w.Name == Baseline || w.Name == Whole))
		}
	}
	if w, found := f.Window(Recovery); found {
		out = append(out, Figure{Key: key("recovery", load.Name, ""), Group: load.Name, Name: "time to recover",
			Unit: figure.Seconds, Better: Less, Scale: Difference, Limit: (w.End - w.Start).Seconds(), Headline: true})
	}
	return out
}

// The keys of the figures that are of no load.
const (
	keyWasted     = "wasted"
	keyViolations = "violations"
	keyCPU        = "cpu"
)

func (f Frame) ofSystem(sys *system.System) []Figure {
	var out []Figure
	add := func(key, name string, unit figure.Unit, scale Scale, headline bool) {
		out = append(out, Figure{Key: key, Group: SystemGroup, Name: name, Unit: unit, Better: Less, Scale: scale, Headline: headline})
	}
	for _, edge := range f.Edges {
		out = append(out, Figure{Key: key("amplification", edge, ""), Group: EdgeGroup, Name: edge, Unit: figure.Times, Better: Less, Scale: Ratio, Headline: true})
	}
	for _, w := range f.Windows {
		add(keyWasted+"."+w.Name, "wasted work, "+w.Name, figure.Ratio, Difference, w.Name == Whole)
	}
	if _, found := f.Window(Baseline); found {
		add(keyCPU+"."+Baseline, "CPU cores, baseline", figure.Cores, Ratio, true)
	}
	add(keyCPU+"."+Whole, "CPU cores, run", figure.Cores, Ratio, false)
	if sys.Probes.Invariants != nil {
		add(keyViolations, "violations", figure.Count, Difference, true)
	}
	return out
}

func key(measure, of, window string) string {
	parts := []string{measure, of}
	if window != "" {
		parts = append(parts, window)
	}
	return strings.Join(parts, ".")
}
