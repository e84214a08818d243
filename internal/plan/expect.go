package plan

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/faultline-lab/faultline/chaos"
	"github.com/faultline-lab/faultline/internal/measure/grammar"
	"github.com/faultline-lab/faultline/internal/scenario"
	"github.com/faultline-lab/faultline/internal/strictyaml"
	"github.com/faultline-lab/faultline/internal/system"
	"github.com/faultline-lab/faultline/loadgen"
	"github.com/faultline-lab/faultline/resilience"
)

// policies puts the scenario's and the variant's chains together: a chain of the
// variant takes the place of the scenario's for the same edge or door.
func (c *compiler) policies() {
	if c.plan.Enforce = c.sc.Enforce; c.variant.Value.Enforce != "" {
		c.plan.Enforce = c.variant.Value.Enforce
	}
	if c.plan.Enforce != Proxy {
		c.plan.Enforce = "" // the library, as ever
	}
	chains, entries := map[string]resilience.Chain{}, map[string]strictyaml.Named[scenario.Chain]{}
	for _, policies := range []strictyaml.Map[scenario.Chain]{c.sc.Policies, c.variant.Value.Policies} {
		for _, entry := range policies {
			c.place(entry)
			chain := resilience.Chain{}
			for _, policy := range entry.Value {
				chain = append(chain, policy.Spec)
			}
			chains[entry.Name], entries[entry.Name] = chain, entry
			if len(chain) == 0 {
				delete(chains, entry.Name)
			}
		}
	}
	if len(chains) > 0 {
		c.plan.Policies = chains
	}
	for _, name := range slices.Sorted(maps.Keys(chains)) {
		if c.plan.Enforce == Proxy && !c.src.Failed(entries[name].Path) {
			c.enforceable(entries[name], chains[name])
		}
	}
}

// observed lists the edges that a hop has to measure: those between services whose protocol
// has requests, where no hop is that enforces policies and so measures already.
func (c *compiler) observed() {
	by := c.sc.Observe
	if by == "" {
		by = c.sys.Observe
	}
	if by != Proxy {
		return
	}
	for _, edge := range c.sys.Edges() {
		protocol := c.sys.Service(edge.Callee).Protocol
		_, guarded := c.plan.Policies[edge.String()]
		if edge.Caller != system.LoadCaller && protocol != "tcp" && !(guarded && c.plan.Enforce == Proxy) {
			c.plan.Observed = append(c.plan.Observed, edge)
		}
	}
}

// enforceable checks that a proxy can enforce a chain.
func (c *compiler) enforceable(entry strictyaml.Named[scenario.Chain], chain resilience.Chain) {
	edge, err := chaos.ParseEdge(entry.Name)
	if err != nil {
		c.fail(entry.Path, "enforce: proxy is for the policies of edges, and these stand at the door of "+entry.Name+c.only(entry.Path), "the door is inside the service: leave them out, or enforce: library")
		return
	}
	for _, problem := range chain.CheckInProxy(c.sys.Service(edge.Callee).Protocol) {
		c.fail(fmt.Sprintf("%s[%d]", entry.Path, problem.Index), problem.Message+c.only(entry.Path), problem.Hint)
	}
}

// place checks that a chain stands where policies can act.
func (c *compiler) place(entry strictyaml.Named[scenario.Chain]) {
	side, guarded := resilience.SideOf(entry.Name), entry.Name
	if side == resilience.OnEdge {
		edge, err := chaos.ParseEdge(entry.Name)
		switch {
		case err != nil:
			c.fail(entry.Path, err.Error(), "")
			return
		case !slices.Contains(c.sys.Edges(), edge):
			c.unknown(entry.Path, "edge", entry.Name, c.edgeNames())
			return
		case edge.Caller == system.LoadCaller:
			c.fail(entry.Path, "the load generator takes no policies", "put them on the edges behind it, or at the door of "+edge.Callee)
			return
		}
		guarded = edge.Callee
	}
	svc := c.sys.Service(guarded)
	switch {
	case svc == nil:
		c.unknown(entry.Path, "edge or service", entry.Name, append(c.serviceNames(), c.edgeNames()...))
		return
	case svc.Protocol == "tcp":
		c.fail(entry.Path, fmt.Sprintf("%s speaks tcp, and policies act on http and grpc", svc.Name), "")
	}
	var chain resilience.Chain
	for _, policy := range entry.Value {
		chain = append(chain, policy.Spec)
	}
	for _, problem := range chain.Check(side, svc.Protocol) {
		if path := fmt.Sprintf("%s[%d]", entry.Path, problem.Index); !c.src.Failed(path) {
			c.fail(path, problem.Message, problem.Hint)
		}
	}
}

// expectations are the variant's own, then those of every variant.
func (c *compiler) expectations() {
	for _, list := range []struct {
		path   string
		expect []scenario.Expectation
	}{{c.variant.Path + ".expect", c.variant.Value.Expect}, {"expect", c.sc.Expect}} {
		for i, e := range list.expect {
			path := fmt.Sprintf("%s[%d]", list.path, i)
			c.plan.Expect = append(c.plan.Expect, Expectation{In: e.In, That: strings.TrimSpace(e.That), Source: c.src.Where(path)})
			if c.src.Failed(path) {
				continue
			}
			c.window(path+".in", e.In)
			c.comparison(path, e.That, e.In)
		}
	}
}

// window checks that `in` names a phase, or a fault of this variant.
func (c *compiler) window(path, in string) {
	known := append(c.phaseNames(), c.faultNames()...)
	if in == "" || slices.Contains(known, in) {
		return
	}
	message, hint := strictyaml.Unknown("phase or fault", in, known)
	c.fail(path, message+c.only(path), hint)
}

// faultNames are the faults of this variant, whatever is wrong with them.
func (c *compiler) faultNames() []string {
	var names []string
	for _, fault := range c.effective() {
		if !fault.Value.Off {
			names = append(names, fault.Name)
		}
	}
	return names
}

// comparison checks whom a comparison is about. Its grammar scenario.Load has checked.
func (c *compiler) comparison(path, text, in string) {
	parsed, err := grammar.Parse(text)
	if err != nil {
		return
	}
	if in != "" && parsed.Measure.WholeRun {
		c.fail(path+".in", parsed.Measure.Name+" is of the whole run", "leave in out")
	}
	at := path + ".that"
	c.subject(at, parsed)
	switch parsed.Measure.Name {
	case "recovery", "detected":
		if len(c.faultNames()) == 0 {
			c.fail(at, fmt.Sprintf("%s is of a fault, and there is none%s", parsed.Measure.Name, c.only(at)), "")
		}
	case "violations":
		if c.sys.Probes.Invariants == nil {
			c.fail(at, fmt.Sprintf("system %s has no probe for its invariants", c.sys.Name), "it goes to probes in the system file")
		}
	}
}

func (c *compiler) subject(path string, parsed *grammar.Comparison) {
	switch of, name := parsed.Subject(); of {
	case grammar.Load:
		load, share, shared := strings.Cut(name, "/")
		c.oneOf(path, "load", load, c.sc.Loads.Names())
		if spec, known := c.sc.Loads.Get(load); known && shared {
			c.share(path, load, share, spec.Experiment != "")
		}
	case grammar.Service:
		c.oneOf(path, "service", name, c.serviceNames())
	case grammar.Alert:
		c.oneOf(path, "alert", name, c.sys.AlertNames())
	case grammar.Edge:
		var measured []string
		for _, edge := range c.sys.Edges() {
			if edge.Caller != system.LoadCaller {
				measured = append(measured, edge.String())
			}
		}
		if strings.HasPrefix(name, system.LoadCaller+"->") {
			c.fail(path, "the load generator counts no calls of an edge", "use the measures of its loads")
			return
		}
		c.oneOf(path, "edge", name, measured)
	}
}

// share checks the share of a load that a measure is of.
func (c *compiler) share(path, load, share string, has bool) {
	known := []string{loadgen.ShareExperiment, loadgen.ShareControl}
	switch {
	case !has:
		c.fail(path, fmt.Sprintf("the load %s has no shares", load), "give it an experiment, such as experiment: 10%")
	case !slices.Contains(known, share):
		c.unknown(path, "share", share, known)
	}
}

func (c *compiler) oneOf(path, what, name string, known []string) {
	if !slices.Contains(known, name) {
		c.unknown(path, what, name, known)
	}
}

func (c *compiler) aborts() {
	for i, abort := range c.sc.Abort {
		c.plan.Abort = append(c.plan.Abort, Abort{That: strings.TrimSpace(abort.That), For: abort.For})
		path := fmt.Sprintf("abort[%d]", i)
		parsed, err := grammar.Parse(abort.That)
		if err != nil || c.src.Failed(path) {
			continue
		}
		c.subject(path+".that", parsed)
		if !parsed.Measure.Live {
			c.fail(path+".that", parsed.Measure.Name+" is known only after the run", "permitted: "+strings.Join(liveMeasures(), ", "))
		}
	}
}

func liveMeasures() []string {
	var names []string
	for _, m := range grammar.Catalog() {
		if m.Live {
			names = append(names, m.Name)
		}
	}
	return names
}
