package plan

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/faultline-lab/faultline/internal/scenario"
	"github.com/faultline-lab/faultline/internal/strictyaml"
	"github.com/faultline-lab/faultline/internal/system"
	"github.com/faultline-lab/faultline/parameter"
)

// Options change a plan from outside of its scenario.
type Options struct {
	// Seed takes the place of the scenario's; nil leaves it.
	Seed *uint64
	// Settings are those of the system's settings that are set; nil means none.
	Settings map[string]string
}

// longestRun bounds the length of a run.
const longestRun = 24 * time.Hour

// Compile works out the plan of one variant. It checks the scenario against
// the system first, in all its variants: the error is a strictyaml.Errors with
// every error of the file, those among them that scenario.Load has found. Neither
// scenario nor system is changed.
func Compile(sc *scenario.Scenario, sys *system.System, variant string, opt Options) (*Plan, error) {
	plans, err := compileAll(sc, sys, opt)
	if err != nil {
		return nil, err
	}
	for _, p := range plans {
		if p.Variant == variant {
			return p, nil
		}
	}
	hint := "there are: " + strings.Join(sc.VariantNames(), ", ")
	if near := parameter.Nearest(variant, sc.VariantNames()); near != "" {
		hint = fmt.Sprintf("did you mean %q?", near)
	}
	return nil, fmt.Errorf("%s has no variant %q; %s", sc.Source.Name, variant, hint)
}

// Check returns every error of the scenario on the system, or nil.
func Check(sc *scenario.Scenario, sys *system.System) error {
	_, err := compileAll(sc, sys, Options{})
	return err
}

func compileAll(sc *scenario.Scenario, sys *system.System, opt Options) ([]*Plan, error) {
	if sc == nil || sys == nil {
		return nil, errors.New("compiling a plan: want a scenario and a system")
	}
	if err := checkSettings(sys, opt.Settings); err != nil {
		return nil, err
	}
	src := sc.Source.Clone()
	var plans []*Plan
	for _, variant := range sc.Variants {
		c := &compiler{src: src, sc: sc, sys: sys, variant: variant, plan: &Plan{
			Story: sc.About, Sources: sc.Sources,
			Scenario: sc.Name, Variant: variant.Name, About: variant.Value.About, System: sys.Name, Seed: sc.SeedOrDefault(),
		}}
		if opt.Seed != nil {
			c.plan.Seed = *opt.Seed
		}
		if len(opt.Settings) > 0 {
			c.plan.Settings = maps.Clone(opt.Settings)
		}
		plans = append(plans, c.compile())
	}
	if err := src.Err(); err != nil {
		return nil, err
	}
	return plans, nil
}

// checkSettings refuses settings that the system does not have, and values that it does not know.
func checkSettings(sys *system.System, given map[string]string) error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(given)) {
		i := slices.IndexFunc(sys.Settings, func(s system.Setting) bool { return s.Name == name })
		if i < 0 {
			errs = append(errs, fmt.Errorf("system %s has no setting %s", sys.Name, name))
			continue
		}
		errs = append(errs, sys.Settings[i].Check(given[name]))
	}
	return errors.Join(errs...)
}

// compiler works out one variant.
type compiler struct {
	src     *strictyaml.Source
	sc      *scenario.Scenario
	sys     *system.System
	variant strictyaml.Named[scenario.Variant]
	plan    *Plan
}

func (c *compiler) compile() *Plan {
	c.phases()
	c.services()
	c.faults()
	c.loads()
	c.spikes()
	c.conflicts()
	c.policies()
	c.observed()
	c.expectations()
	c.aborts()
	c.maxLag()
	return c.plan
}

// fail adds an error at a path.
func (c *compiler) fail(path, message, hint string) { c.src.Fail(path, message, hint) }

// unknown adds the error that nothing goes by a name, in the words that every such error has.
func (c *compiler) unknown(path, what, name string, known []string) {
	message, hint := strictyaml.Unknown(what, name, known)
	if from, to, is := strings.Cut(name, "->"); is && slices.Contains(known, to+"->"+from) {
		hint = fmt.Sprintf("did you mean %q? An edge goes from the caller to the callee", to+"->"+from)
	}
	c.fail(path, message, hint)
}

// only says in which variant an error is, where it concerns a part that all have in common.
func (c *compiler) only(path string) string {
	if len(c.sc.Variants) < 2 || strings.HasPrefix(path, c.variant.Path) {
		return ""
	}
	return fmt.Sprintf(" in variant %s", c.variant.Name)
}

func (c *compiler) phases() {
	var at time.Duration
	for _, phase := range c.sc.Phases {
		if phase.Value == 0 && !c.src.Failed(phase.Path) {
			c.fail(phase.Path, "0s is no time at all", "leave the phase out")
		}
		c.plan.Phases = append(c.plan.Phases, Phase{Name: phase.Name, Start: at, End: at + phase.Value})
		if at += phase.Value; at > longestRun || at < 0 {
			c.fail(phase.Path, fmt.Sprintf("the run would take more than %s", longestRun), "")
			return
		}
	}
}

// services checks and takes over the changes to services: the scenario's, then the variant's.
func (c *compiler) services() {
	for _, changes := range []strictyaml.Map[scenario.Change]{c.sc.Services, c.variant.Value.Services} {
		for _, change := range changes {
			if c.sys.Service(change.Name) == nil {
				c.unknown(change.Path, "service", change.Name, c.serviceNames())
				continue
			}
			c.change(change)
		}
	}
}

func (c *compiler) change(in strictyaml.Named[scenario.Change]) {
	out := c.plan.Services[in.Name]
	if in.Value.Replicas > 0 {
		out.Replicas = in.Value.Replicas
	}
	if in.Value.Capacity != nil {
		out.Capacity = in.Value.Capacity.Check(c.src, in.Path+".capacity")
	}
	env := map[string]string{}
	for name, value := range out.Env {
		env[name] = value
	}
	for _, variable := range in.Value.Env {
		env[variable.Name] = string(variable.Value)
		system.CheckVariable(c.src, variable, c.sys.Service(in.Name).Calls)
	}
	if len(env) > 0 {
		out.Env = env
	}
	if c.plan.Services == nil {
		c.plan.Services = map[string]Change{}
	}
	c.plan.Services[in.Name] = out
}

func (c *compiler) serviceNames() []string {
	var names []string
	for _, svc := range c.sys.Services {
		names = append(names, svc.Name)
	}
	return names
}

func (c *compiler) edgeNames() []string {
	var names []string
	for _, edge := range c.sys.Edges() {
		names = append(names, edge.String())
	}
	return names
}

func (c *compiler) phaseNames() []string { return c.sc.Phases.Names() }

// replicas is how many of a service run in this variant.
func (c *compiler) replicas(service string) int {
	if n := c.plan.Services[service].Replicas; n > 0 {
		return n
	}
	if svc := c.sys.Service(service); svc != nil {
		return svc.Replicas
	}
	return 0
}

// maxLag is what the scenario says, or else 5 ms or 5 % of the tightest slo, whichever is more.
func (c *compiler) maxLag() {
	if c.sc.MaxLag != nil {
		c.plan.MaxLag = *c.sc.MaxLag
		if *c.sc.MaxLag == 0 && !c.src.Failed("max_lag") {
			c.fail("max_lag", "no generator is without any lag", "the usual limit is 5ms")
		}
		return
	}
	c.plan.MaxLag = 5 * time.Millisecond
	var slos []time.Duration
	for _, load := range c.plan.Loads {
		if load.SLO > 0 {
			slos = append(slos, load.SLO)
		}
	}
	if len(slos) > 0 {
		c.plan.MaxLag = max(c.plan.MaxLag, slices.Min(slos)/20)
	}
}
