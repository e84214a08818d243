package plan

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/faultline-lab/faultline/chaos"
	"github.com/faultline-lab/faultline/internal/system"
	"github.com/faultline-lab/faultline/loadgen"
)

// Written says how Write names a scenario.
type Written struct {
	Name   string // of the scenario
	About  string // the plan's story when empty
	System string // the system as a scenario names it: shop, or the path of a file
}

// Write returns the scenario, as YAML, whose only variant has this plan: Compile makes
// it again. Load faults are not named any more, for they are part of the loads, and an expectation
// about one is left out. A partition is written as the edges that it takes down.
func Write(p *Plan, sys *system.System, as Written) []byte {
	w := &writer{plan: p, sys: sys}
	if as.About == "" {
		as.About = p.Story
	}
	w.line("name: %s", flow(as.Name))
	if as.About != "" {
		w.line("about: %s", flow(as.About))
	}
	if len(p.Sources) > 0 {
		w.line("sources: %s", flow(p.Sources))
	}
	w.line("system: %s", flow(as.System))
	w.line("seed: %d", p.Seed)
	w.loads()
	w.phases()
	w.faults()
	w.policies()
	if w.plan.Enforce != "" {
		w.line("\nenforce: %s", w.plan.Enforce)
	}
	if len(w.plan.Observed) > 0 {
		w.line("\nobserve: %s", Proxy)
	} else if w.sys.Observe == Proxy {
		w.line("\nobserve: services")
	}
	w.services()
	w.expect()
	w.line("\nmax_lag: %s", p.MaxLag)
	return w.out.Bytes()
}

// writer writes the parts of a scenario.
type writer struct {
	plan *Plan
	sys  *system.System
	out  bytes.Buffer
}

func (w *writer) line(format string, args ...any) { fmt.Fprintf(&w.out, format+"\n", args...) }

// fields is a map of YAML in flow style, in the order in which it was filled.
type fields []string

func (f *fields) add(key, value string) { *f = append(*f, flow(key)+": "+value) }
func (f fields) String() string         { return "{" + strings.Join(f, ", ") + "}" }

func (w *writer) loads() {
	w.line("\nload:")
	for _, load := range w.plan.Loads {
		w.line("  %s: %s", flow(load.Name), w.load(load))
	}
}

func (w *writer) load(load loadgen.Load) fields {
	f := w.what(load)
	switch steady := len(load.Stages) == 1 && load.Stages[0].From == load.Stages[0].To; {
	case load.Users > 0:
		f.add("users", strconv.Itoa(load.Users))
	case steady:
		f.add("rate", inFull(load.Stages[0].From))
	default:
		f.add("stages", stagesOf(load.Stages))
	}
	if load.Arrivals == loadgen.Constant {
		f.add("arrivals", string(load.Arrivals))
	}
	if load.Service != w.sys.Entry {
		f.add("service", flow(load.Service))
	}
	if load.SLO > 0 {
		f.add("slo", load.SLO.String())
	}
	if load.Timeout > 0 {
		f.add("timeout", load.Timeout.String())
	}
	if len(load.Baggage) > 0 {
		f.add("baggage", flow(load.Baggage))
	}
	if load.Experiment > 0 {
		f.add("experiment", strconv.FormatFloat(load.Experiment, 'g', -1, 64))
	}
	return f
}

// what is what a load sends: a journey of the system, or a request.
func (w *writer) what(load loadgen.Load) fields {
	var f fields
	for _, name := range slices.Sorted(maps.Keys(w.sys.Journeys)) {
		if reflect.DeepEqual(w.sys.Journeys[name], load.Steps) {
			f.add("journey", flow(name))
			return f
		}
	}
	step := load.Steps[0]
	if step.RPC != "" {
		f.add("rpc", flow(step.RPC))
	} else {
		f.add("request", flow(step.Method+" "+step.Path))
	}
	if len(step.Headers) > 0 {
		f.add("headers", flow(step.Headers))
	}
	if step.Body != "" {
		f.add("body", flow(step.Body))
	}
	if len(step.Accept) > 0 {
		f.add("accept", flow(step.Accept))
	}
	return f
}

func stagesOf(stages []loadgen.Stage) string {
	var list []string
	for _, stage := range stages {
		var f fields
		f.add("for", stage.For.String())
		if stage.From == stage.To {
			f.add("rate", inFull(stage.To))
		} else {
			f.add("from", inFull(stage.From))
			f.add("to", inFull(stage.To))
		}
		list = append(list, f.String())
	}
	return "[" + strings.Join(list, ", ") + "]"
}

func inFull(rate float64) string { return strconv.FormatFloat(rate, 'f', -1, 64) + "/s" }

func (w *writer) phases() {
	var f fields
	for _, phase := range w.plan.Phases {
		f.add(phase.Name, (phase.End - phase.Start).String())
	}
	w.line("\nphases: %s", f)
}

func (w *writer) faults() {
	head := "\nfaults:"
	for _, fault := range w.plan.Faults {
		if fault.Load != "" || fault.End <= fault.Start {
			continue
		}
		if head != "" {
			w.line(head)
			head = ""
		}
		kind := fault.Kind
		if kind == chaos.Partition {
			kind = chaos.Down
		}
		w.line("  %s: {%s: %s, at: %s, for: %s}", flow(fault.ID), kind, paramsOf(fault.Fault), fault.Start, fault.End-fault.Start)
	}
}

// paramsOf is what stands below the kind of a fault.
func paramsOf(fault chaos.Fault) fields {
	var f fields
	edges := make([]string, 0, len(fault.Edges))
	for _, edge := range fault.Edges {
		edges = append(edges, edge.String())
	}
	for _, target := range []struct {
		key   string
		names []string
	}{{"edge", edges}, {"service", fault.Services}} {
		switch len(target.names) {
		case 0:
		case 1:
			f.add(target.key, flow(target.names[0]))
		default:
			f.add(target.key+"s", flow(target.names))
		}
	}
	if fault.Replica > 0 {
		f.add("replica", strconv.Itoa(fault.Replica))
	}
	for _, name := range slices.Sorted(maps.Keys(fault.Params)) {
		f.add(name, flow(fault.Params[name]))
	}
	return f
}

func (w *writer) policies() {
	if len(w.plan.Policies) > 0 {
		w.line("\npolicies:")
	}
	for _, on := range slices.Sorted(maps.Keys(w.plan.Policies)) {
		chain := []string{}
		for _, spec := range w.plan.Policies[on] {
			chain = append(chain, fmt.Sprintf("{%s: %s}", spec.Kind, flow(map[string]any(spec.Params))))
		}
		w.line("  %s: [%s]", flow(on), strings.Join(chain, ", "))
	}
}

func (w *writer) services() {
	if len(w.plan.Services) > 0 {
		w.line("\nservices:")
	}
	for _, name := range slices.Sorted(maps.Keys(w.plan.Services)) {
		var f fields
		change := w.plan.Services[name]
		if change.Replicas > 0 {
			f.add("replicas", strconv.Itoa(change.Replicas))
		}
		if change.Capacity != nil {
			f.add("capacity", capacityOf(*change.Capacity).String())
		}
		if len(change.Env) > 0 {
			f.add("env", flow(change.Env))
		}
		w.line("  %s: %s", flow(name), f)
	}
}

func capacityOf(c system.Capacity) fields {
	var f fields
	f.add("workers", strconv.Itoa(c.Workers))
	f.add("queue", strconv.Itoa(c.Queue))
	if d := c.ServiceTime; d != nil {
		var is fields
		switch {
		case d.Lognormal != nil:
			is.add("lognormal", fmt.Sprintf("{median: %s, p99: %s}", d.Lognormal.Median, d.Lognormal.P99))
		case d.Exponential > 0:
			is.add("exponential", d.Exponential.String())
		default:
			is.add("constant", d.Constant.String())
		}
		f.add("service_time", is.String())
	}
	return f
}

func (w *writer) expect() {
	head := "\nexpect:"
	for _, e := range w.plan.Expect {
		if w.lost(e.In) {
			continue
		}
		if head != "" {
			w.line(head)
			head = ""
		}
		var f fields
		if e.In != "" {
			f.add("in", flow(e.In))
		}
		f.add("that", flow(e.That))
		w.line("  - %s", f)
	}
	if len(w.plan.Abort) > 0 {
		w.line("\nabort:")
	}
	for _, a := range w.plan.Abort {
		w.line("  - {that: %s, for: %s}", flow(a.That), a.For)
	}
}

// lost tells whether a name is that of neither a phase nor a fault that is written.
func (w *writer) lost(in string) bool {
	if _, isPhase := w.plan.Phase(in); in == "" || isPhase {
		return false
	}
	return !slices.ContainsFunc(w.plan.Faults, func(f Window) bool { return f.ID == in && f.Load == "" && f.End > f.Start })
}

// plain are texts that YAML reads as they stand, in flow style too.
var plain = regexp.MustCompile(`^[A-Za-z/][A-Za-z0-9_./-]*(->[a-z0-9-]+)?$`)

// words that are more to YAML than texts.
var words = []string{"true", "false", "null", "yes", "no", "on", "off", "y", "n", "nan", "inf"}

// flow writes a value on one line. JSON is YAML.
func flow(value any) string {
	text, isText := value.(string)
	duration, err := time.ParseDuration(text)
	if isText && (err == nil && duration.String() == text || plain.MatchString(text) && !slices.Contains(words, strings.ToLower(text))) {
		return text
	}
	switch v := reflect.ValueOf(value); v.Kind() {
	case reflect.Map:
		var f fields
		keys := v.MapKeys()
		slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
		for _, key := range keys {
			f.add(key.String(), flow(v.MapIndex(key).Interface()))
		}
		return f.String()
	case reflect.Slice:
		var items []string
		for i := range v.Len() {
			items = append(items, flow(v.Index(i).Interface()))
		}
		return "[" + strings.Join(items, ", ") + "]"
	case reflect.Float64:
		return strconv.FormatFloat(v.Float(), 'f', -1, 64)
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(value) // texts, numbers and truth values only
	return strings.TrimSpace(out.String())
}
