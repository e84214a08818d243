package plan

import (
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/faultline-lab/faultline/chaos"
	"github.com/faultline-lab/faultline/internal/figure"
	"github.com/faultline-lab/faultline/internal/system"
	"github.com/faultline-lab/faultline/loadgen"
	"github.com/faultline-lab/faultline/parameter"
	"github.com/faultline-lab/faultline/resilience"
)

// Describe prints the plan for a terminal that is so many columns wide: its
// timeline, loads, faults, policies and expectations. Below 40 columns it is
// printed as for 40.
//
//	         0s                                              1m5s
//	phases   |warmup|baseline    |fault          |recovery       |
//	slow-bank                     ###############
func Describe(w io.Writer, p *Plan, sys *system.System, width int) error {
	d := &describer{plan: p, sys: sys, width: max(40, width)}
	d.head()
	d.timeline()
	d.loads()
	d.faults()
	d.policies()
	d.changes()
	d.expectations()
	d.section("conclusive when")
	d.out.WriteString(wrap("lag() <= "+figure.Duration(p.MaxLag)+", the p99 of the generator's own delay", "  ", d.width))
	_, err := io.WriteString(w, d.out.String())
	return err
}

type describer struct {
	out   strings.Builder
	plan  *Plan
	sys   *system.System
	width int
	names int // columns that names take in the section
}

func (d *describer) head() {
	p := d.plan
	fmt.Fprintf(&d.out, "%s, %s: %s on %s, seed %d\n", p.Scenario, p.Variant, figure.Duration(p.Length()), p.System, p.Seed)
	if p.About != "" {
		d.out.WriteString(wrap(p.About, "", d.width))
	}
}

// section begins a part; names are those of its items, to align what stands beside them.
func (d *describer) section(title string, names ...string) {
	d.out.WriteString("\n" + title + "\n")
	d.names = 0
	for _, name := range names {
		d.names = max(d.names, min(len(name), d.width/3))
	}
}

// item prints a name and a text beside it, or below it where the name is too long.
func (d *describer) item(name, text string) {
	indent := strings.Repeat(" ", 2+d.names+2)
	body := wrap(text, indent, d.width)
	if len(name) <= d.names {
		body = fmt.Sprintf("  %-*s  ", d.names, name) + strings.TrimPrefix(body, indent)
	} else {
		body = "  " + name + "\n" + body
	}
	d.out.WriteString(body)
}

// timeline draws the phases and below them when each fault acts.
func (d *describer) timeline() {
	length := d.plan.Length()
	if length == 0 {
		return
	}
	label := len("phases")
	for _, f := range d.plan.Faults {
		label = max(label, min(len(f.ID), d.width/4))
	}
	columns := d.width - label - 3
	column := func(at time.Duration) int {
		return int(math.Round(float64(at) / float64(length) * float64(columns)))
	}
	end := figure.Duration(length)
	fmt.Fprintf(&d.out, "\n%*s  0s%*s\n", label, "", columns-1, end)
	bar := []byte(strings.Repeat(" ", columns) + "|")
	for _, phase := range d.plan.Phases {
		from, to := column(phase.Start), column(phase.End)
		copy(bar[from:max(from, to)], "|"+phase.Name)
	}
	fmt.Fprintf(&d.out, "%-*s  %s\n", label, "phases", bar)
	for _, f := range d.plan.Faults {
		from, to := column(f.Start), column(f.End)
		fmt.Fprintf(&d.out, "%-*s  %s%s\n", label, cut(f.ID, label), strings.Repeat(" ", min(from, columns-1)), strings.Repeat("#", max(1, to-from)))
	}
}

func (d *describer) loads() {
	var names []string
	for _, load := range d.plan.Loads {
		names = append(names, load.Name)
	}
	d.section("load", names...)
	for _, load := range d.plan.Loads {
		d.item(load.Name, d.load(load))
	}
}

func (d *describer) load(load loadgen.Load) string {
	text := fmt.Sprintf("%s to %s, %s", sent(load.Steps), load.Service, rates(load))
	if load.SLO > 0 {
		text += ", slo " + figure.Duration(load.SLO)
	}
	text += ", timeout " + figure.Duration(load.Timeout)
	for _, name := range slices.Sorted(maps.Keys(load.Baggage)) {
		text += ", " + name + " " + load.Baggage[name]
	}
	if load.Users == 0 {
		text += fmt.Sprintf("; about %s in all", figure.Count.Text(math.Round(expected(load.Stages))))
	}
	return text
}

// rates tells the stages of a load: "80/s (poisson)", or one stretch after the other.
func rates(load loadgen.Load) string {
	if load.Users > 0 {
		return fmt.Sprintf("%d users, each anew when the last answer came", load.Users)
	}
	var parts []string
	for _, stage := range load.Stages {
		text := perSecond(stage.From)
		if stage.From != stage.To {
			text += " to " + perSecond(stage.To)
		}
		if len(load.Stages) > 1 {
			text += " for " + figure.Duration(stage.For)
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, ", then ") + " (" + string(load.Arrivals) + ")"
}

func perSecond(rate float64) string { return figure.PerSecond.Text(rate) }

func sent(steps []loadgen.Step) string {
	if len(steps) == 1 {
		return steps[0].Method + " " + steps[0].Path + steps[0].RPC
	}
	var names []string
	for _, step := range steps {
		names = append(names, step.Name)
	}
	return "journeys (" + strings.Join(names, ", ") + ")"
}

func (d *describer) faults() {
	if len(d.plan.Faults) == 0 {
		d.section("faults: none")
		return
	}
	var names []string
	for _, f := range d.plan.Faults {
		names = append(names, f.ID)
	}
	d.section("faults", names...)
	for _, f := range d.plan.Faults {
		d.item(f.ID, fmt.Sprintf("%s to %s: %s", figure.Duration(f.Start), figure.Duration(f.End), fault(f)))
	}
}

func fault(w Window) string {
	var targets []string
	for _, edge := range w.Edges {
		targets = append(targets, edge.String())
	}
	targets = append(targets, w.Services...)
	if w.Load != "" {
		targets = append(targets, "load "+w.Load)
	}
	text := w.Kind + " of " + strings.Join(targets, ", ")
	if w.Replica > 0 {
		text += fmt.Sprintf(" (replica %d only)", w.Replica)
	}
	kind, _ := chaos.Find(w.Kind)
	if params := given(kind.Params, w.Params); params != "" {
		text += ", " + params
	}
	return text
}

// given writes the parameters that are not as they would be anyway.
func given(described []parameter.Parameter, values parameter.Values) string {
	var parts []string
	for _, p := range described {
		value, has := values[p.Name]
		if !has || fmt.Sprint(value) == fmt.Sprint(p.Default) {
			continue
		}
		text := fmt.Sprint(value)
		switch n, isNumber := value.(float64); {
		case isNumber && p.Type == parameter.Ratio:
			text = figure.Ratio.Text(n)
		case isNumber && p.Type == parameter.Rate:
			text = perSecond(n)
		case p.Type == parameter.Texts:
			text = strings.Join(values.Texts(p.Name), " or ")
		case p.Type == parameter.Duration:
			text = figure.Duration(values.Duration(p.Name))
		case p.Type == parameter.Size:
			text = figure.Bytes.Text(values.Float(p.Name))
		}
		parts = append(parts, p.Name+" "+text)
	}
	return strings.Join(parts, ", ")
}

func (d *describer) policies() {
	places := slices.Sorted(maps.Keys(d.plan.Policies))
	if len(places) == 0 {
		d.section("policies: none")
		return
	}
	by := ""
	if d.plan.Enforce == Proxy {
		by = ", enforced by the proxy"
	}
	d.section("policies, outermost first"+by, places...)
	for _, place := range d.inOrder(places) {
		var chain []string
		for _, spec := range d.plan.Policies[place] {
			kind, _ := resilience.Find(spec.Kind)
			text := spec.Kind
			if params := given(kind.Params, spec.Params); params != "" {
				text += " (" + params + ")"
			}
			if len(kind.Params) == 1 && kind.Main != "" { // there is nothing else that it could be
				text = spec.Kind + strings.TrimPrefix(given(kind.Params, spec.Params), kind.Main)
			}
			chain = append(chain, text)
		}
		d.item(place, strings.Join(chain, ", "))
	}
}

// inOrder puts edges and services in the order of the system file.
func (d *describer) inOrder(places []string) []string {
	rank := map[string]int{}
	for _, edge := range d.sys.Edges() {
		rank[edge.String()] = len(rank) + 1
	}
	for _, svc := range d.sys.Services {
		rank[svc.Name] = len(rank) + 1
	}
	return slices.SortedFunc(slices.Values(places), func(a, b string) int { return rank[a] - rank[b] })
}

// changes prints what is not as the system file has it.
func (d *describer) changes() {
	if len(d.plan.Services) == 0 {
		return
	}
	names := slices.Sorted(maps.Keys(d.plan.Services))
	d.section("changed services", names...)
	for _, name := range names {
		var parts []string
		change := d.plan.Services[name]
		if change.Replicas > 0 {
			parts = append(parts, fmt.Sprintf("replicas %d", change.Replicas))
		}
		if c := change.Capacity; c != nil {
			parts = append(parts, fmt.Sprintf("workers %d, queue %d", c.Workers, c.Queue))
			if c.ServiceTime != nil {
				parts = append(parts, "service time "+distribution(c.ServiceTime))
			}
		}
		for _, variable := range slices.Sorted(maps.Keys(change.Env)) {
			parts = append(parts, variable+"="+change.Env[variable])
		}
		d.item(name, strings.Join(parts, ", "))
	}
}

func distribution(s *system.Distribution) string {
	switch {
	case s.Lognormal != nil:
		return fmt.Sprintf("lognormal (median %s, p99 %s)", figure.Duration(s.Lognormal.Median), figure.Duration(s.Lognormal.P99))
	case s.Exponential > 0:
		return fmt.Sprintf("exponential (mean %s)", figure.Duration(s.Exponential))
	}
	return figure.Duration(s.Constant)
}

func (d *describer) expectations() {
	if len(d.plan.Expect) == 0 {
		d.section("expectations: none, so nothing can fail")
	} else {
		var names []string
		for _, e := range d.plan.Expect {
			names = append(names, window(e.In))
		}
		d.section("expectations", names...)
	}
	for _, e := range d.plan.Expect {
		d.item(window(e.In), e.That)
	}
	if len(d.plan.Abort) == 0 {
		return
	}
	d.section("ends early when")
	for _, a := range d.plan.Abort {
		text := a.That
		if a.For > 0 {
			text += " for " + figure.Duration(a.For)
		}
		d.out.WriteString(wrap(text, "  ", d.width))
	}
}

func window(in string) string {
	if in == "" {
		return "the run"
	}
	return "in " + in
}

func cut(text string, columns int) string {
	if len(text) <= columns {
		return text
	}
	return text[:columns-1] + "~"
}

// wrap breaks a text between words, with an indent before each line.
func wrap(text, indent string, width int) string {
	var b strings.Builder
	line := indent
	for _, word := range strings.Fields(text) {
		if line != indent && len([]rune(line))+1+len([]rune(word)) > width {
			b.WriteString(line + "\n")
			line = indent
		}
		if line != indent {
			line += " "
		}
		line += word
	}
	return b.String() + line + "\n"
}
