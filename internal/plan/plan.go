// Package plan owns the plan of one run: everything that will happen, and
// when, worked out before anything starts. Compile is pure: the same
// scenario, system, variant and seed give the same plan.
package plan

import (
	"maps"
	"time"

	"github.com/faultline-lab/faultline/chaos"
	"github.com/faultline-lab/faultline/internal/system"
	"github.com/faultline-lab/faultline/loadgen"
	"github.com/faultline-lab/faultline/resilience"
)

// Plan is one run of one variant. All offsets count from the start of the load.
type Plan struct {
	Scenario string              `json:"scenario"`
	Variant  string              `json:"variant"`
	Story    string              `json:"story,omitempty"` // what the scenario is about
	Sources  []string            `json:"sources,omitempty"`
	About    string              `json:"about,omitempty"` // of the variant
	System   string              `json:"system"`
	Seed     uint64              `json:"seed"`
	Phases   []Phase             `json:"phases"`
	Loads    []loadgen.Load      `json:"loads"`
	Faults   []Window            `json:"faults"`
	Policies resilience.Policies `json:"policies,omitempty"`
	// Enforce is who enforces the policies of edges: Proxy or, when empty, the library in the services.
	Enforce string `json:"enforce,omitempty"`
	// Observed lists the edges that layer-7 hops measure in place of the services.
	Observed []chaos.Edge `json:"observed,omitempty"`
	// Services is what this run changes about the system; see Apply.
	Services map[string]Change `json:"services,omitempty"`
	// Settings are variables of the environment of every service, as whoever ran the lab set them.
	Settings map[string]string `json:"settings,omitempty"`
	Expect   []Expectation     `json:"expect"`
	Abort    []Abort           `json:"abort,omitempty"`
	// MaxLag is the greatest p99 of the generator's lag with which a verdict may be given.
	MaxLag time.Duration `json:"max_lag"`
}

// Proxy is who enforces policies, or measures edges, when a layer-7 hop does.
const Proxy = "proxy"

// Phase is a named stretch of the run.
type Phase struct {
	Name  string        `json:"name"`
	Start time.Duration `json:"start"`
	End   time.Duration `json:"end"`
}

// Window is a fault and when it acts. Load faults (spike) are already part of Loads; their
// window is listed with Load set, and nothing is injected.
type Window struct {
	chaos.Fault
	Load  string        `json:"load,omitempty"`
	Start time.Duration `json:"start"`
	End   time.Duration `json:"end"`
}

// Expectation is a comparison that should hold. In names a phase or a fault; empty means the whole run
// without warmup.
type Expectation struct {
	In     string `json:"in,omitempty"`
	That   string `json:"that"`   // as written: goodput(browse) < 50%
	Source string `json:"source"` // file:line, for messages
}

// Abort ends the run early when That holds for that long.
type Abort struct {
	That string        `json:"that"`
	For  time.Duration `json:"for"`
}

// Change is what a run changes about a service.
type Change struct {
	Replicas int               `json:"replicas,omitempty"` // 0 means as the system file has it
	Capacity *system.Capacity  `json:"capacity,omitempty"` // nil means as the system file has it
	Env      map[string]string `json:"env,omitempty"`      // on top of the system file's
}

// Apply returns the system with the changes of this run: the one to start. The
// system given stays as it is.
func (p *Plan) Apply(sys *system.System) *system.System {
	changed := *sys
	changed.Services = make([]*system.Service, len(sys.Services))
	for i, svc := range sys.Services {
		own := *svc
		change := p.Services[svc.Name]
		if change.Replicas > 0 {
			own.Replicas = change.Replicas
		}
		if change.Capacity != nil {
			own.Capacity = change.Capacity
		}
		if len(change.Env) > 0 {
			own.Env = maps.Clone(svc.Env)
			if own.Env == nil {
				own.Env = map[string]string{}
			}
			maps.Copy(own.Env, change.Env)
		}
		changed.Services[i] = &own
	}
	return &changed
}

// Length is the end of the last phase.
func (p *Plan) Length() time.Duration {
	if len(p.Phases) == 0 {
		return 0
	}
	return p.Phases[len(p.Phases)-1].End
}

// Phase returns the named phase and whether there is one.
func (p *Plan) Phase(name string) (Phase, bool) {
	for _, phase := range p.Phases {
		if phase.Name == name {
			return phase, true
		}
	}
	return Phase{}, false
}
