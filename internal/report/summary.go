package report

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/faultline-lab/faultline/internal/check"
	"github.com/faultline-lab/faultline/internal/figure"
	"github.com/faultline-lab/faultline/internal/measure"
	"github.com/faultline-lab/faultline/internal/measure/grammar"
	"github.com/faultline-lab/faultline/internal/plan"
	"github.com/faultline-lab/faultline/internal/record"
)

// Summary writes several runs of a scenario side by side, the findings of each, and the verdict.
func Summary(w io.Writer, judged []*Judged, style Style) error {
	if len(judged) == 0 {
		return errNoRuns
	}
	labels := labelsOf(judged)
	lines := []string{""}
	lines = append(lines, newOverview(judged, labels).lines(style)...)
	held, all := 0, 0
	for i, j := range judged {
		lines = append(lines, "")
		lines = append(lines, findingLines(j, labels[i], style)...)
		held, all = held+heldOf(j.Verdict), all+len(j.Verdict.Findings)
	}
	worst := worstOf(judged)
	lines = append(lines, "", style.line(cell{clean(judged[0].Run.Meta.Scenario), bold}, cell{": ", ""}, cell{string(worst), colorOf(worst)},
		cell{fmt.Sprintf(", %d of %s held", held, counted(all, "expectation")), ""}))
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	_, err := io.WriteString(w, strings.Join(lines, "\n")+"\n")
	return err
}

func heldOf(v *check.Verdict) int {
	n := 0
	for _, f := range v.Findings {
		if f.Outcome == check.Pass {
			n++
		}
	}
	return n
}

// overview is what became of each load, run by run and phase by phase: what
// broke, and what contained it, at one glance.
type overview struct {
	labels []string
	sets   []*measure.Set
	phases []string
	fault  map[string]bool // phases in which a fault acts
	loads  []string
}

// newOverview takes the phases and loads of all the runs, in the order in which
// they come up. The warmup is left out: nothing is judged by it.
func newOverview(judged []*Judged, labels []string) *overview {
	o := &overview{labels: labels, fault: map[string]bool{}}
	for _, j := range judged {
		o.sets = append(o.sets, measure.New(j.Run, nil))
		for _, phase := range j.Run.Plan.Phases {
			if phase.Name == warmup {
				continue
			}
			if !slices.Contains(o.phases, phase.Name) {
				o.phases = append(o.phases, phase.Name)
			}
			o.fault[phase.Name] = o.fault[phase.Name] || faulted(j.Run.Plan, phase)
		}
		for _, load := range j.Run.Plan.Loads {
			if !slices.Contains(o.loads, load.Name) {
				o.loads = append(o.loads, load.Name)
			}
		}
	}
	return o
}

const warmup = "warmup"

// faulted tells whether a fault acts in a phase.
func faulted(p *plan.Plan, phase plan.Phase) bool {
	for _, w := range p.Faults {
		if w.Start < phase.End && w.End > phase.Start {
			return true
		}
	}
	return false
}

// The columns of the overview.
const (
	goodputColumns  = 9
	latencyColumns  = 8
	recoveryColumns = 11
)

// lines writes the overview. Percentiles are left out where there is no room
// for them; phases that have no room either follow in a table of their own.
func (o *overview) lines(style Style) []string {
	load, label := 0, 0
	for _, name := range o.loads {
		load = max(load, columnsOf(clean(name)))
	}
	for _, name := range o.labels {
		label = max(label, columnsOf(clean(name)))
	}
	load, label = min(load, 14), min(label, 18)
	room := style.columns() - load - label - 3
	each, latency := goodputColumns+latencyColumns, true
	if each*len(o.phases)+recoveryColumns > room {
		each, latency = goodputColumns, false
	}
	fit := max(1, room/each)
	var out []string
	for at := 0; at < len(o.phases); at += fit {
		last := at+fit >= len(o.phases)
		shown := o.phases[at:min(at+fit, len(o.phases))]
		recovery := last && each*len(shown)+recoveryColumns <= room
		out = append(out, o.head(shown, load+label+3, each, latency, recovery, style))
		for _, name := range o.loads {
			for i := range o.sets {
				cells := []cell{{padded(first(i, clean(name)), load) + "  " + padded(clean(o.labels[i]), label) + " ", ""}}
				for _, phase := range shown {
					cells = append(cells, o.cells(o.sets[i], name, phase, latency)...)
				}
				if recovery {
					cells = append(cells, cell{right(recoveryOf(o.sets[i], name).Text(), recoveryColumns), ""})
				}
				out = append(out, style.line(cells...))
			}
		}
	}
	return out
}

// first is the name in a group's first line, and nothing in the others.
func first(i int, name string) string {
	if i > 0 {
		return ""
	}
	return name
}

func (o *overview) head(phases []string, indent, each int, latency, recovery bool, style Style) string {
	what := "goodput"
	if latency {
		what = "goodput, p99"
	}
	text := padded(what, indent)
	for _, phase := range phases {
		name := clean(phase)
		if o.fault[phase] {
			name = markFault + " " + name
		}
		text += right(cut(name, each-1), each)
	}
	if recovery {
		text += right("recovered", recoveryColumns)
	}
	return style.line(cell{text, dim})
}

func (o *overview) cells(set *measure.Set, load, phase string, latency bool) []cell {
	table, goodput, p99 := measure.Load{}, cell{text: "–"}, "–"
	if window, err := set.Window(phase); err == nil {
		if table, _ = set.Load(load, window); table.Goodput.Known {
			goodput = cell{table.Goodput.Text(), colorOfShare(table.Goodput.Number)}
		}
		if table.P99.Known {
			p99 = table.P99.Text()
		}
	}
	goodput.text = right(goodput.text, goodputColumns)
	if !latency {
		return []cell{goodput}
	}
	return []cell{goodput, {right(p99, latencyColumns), ""}}
}

// recoveryOf is the time after the last fault until a load's goodput was back.
func recoveryOf(set *measure.Set, load string) measure.Value {
	m, _ := grammar.Find("recovery")
	v, err := set.Measure(context.Background(), &grammar.Comparison{Measure: m, Argument: load, WantedUnit: m.Unit}, set.Whole())
	if err != nil { // the context's alone, and this one has no end
		return measure.Value{Unit: figure.Seconds, Why: err.Error()}
	}
	return v
}

// findingLines writes what one run was expected to show and what it showed.
func findingLines(j *Judged, label string, style Style) []string {
	out := []string{style.line(cell{clean(label), bold}, cell{": ", ""}, cell{string(j.Verdict.Outcome), colorOf(j.Verdict.Outcome)})}
	where, got := 3, 5
	for _, f := range j.Verdict.Findings {
		where, got = max(where, columnsOf(clean(inOf(f)))), max(got, columnsOf(clean(f.Got)))
	}
	where, got = min(where, 16), min(got, 14)
	width := max(12, style.columns()-4-2-where-2-got)
	for _, f := range j.Verdict.Findings {
		out = append(out, style.line(cell{"  ", ""}, cell{markOf(f.Outcome), colorOf(f.Outcome)},
			cell{" " + padded(clean(f.That), width) + "  " + padded(clean(inOf(f)), where) + "  " + right(clean(f.Got), got), ""}))
		if f.Outcome != check.Pass && f.Why != "" {
			out = append(out, wrapped("    ", f.Why, style.columns())...)
		}
	}
	if j.page != nil && j.page.Spread.Text != "" {
		out = append(out, wrapped("  "+markNote+" ", j.page.Spread.Text, style.columns())...)
	}
	for _, reason := range j.Verdict.Reasons {
		for i, line := range wrapped("  "+markDoubt+" ", reason, style.columns()) {
			color := ""
			if i == 0 {
				color = yellow
			}
			out = append(out, style.line(cell{line[:min(3, len(line))], color}, cell{line[min(3, len(line)):], ""}))
		}
	}
	return out
}

// inOf names the window of a finding.
func inOf(f check.Finding) string {
	if f.In == "" {
		return "run"
	}
	return f.In
}

// ListRuns writes a line for each recorded run in root, the newest first.
func ListRuns(w io.Writer, root string) error {
	runs, err := record.List(root)
	if err != nil {
		return err
	}
	if len(runs) == 0 {
		_, err := fmt.Fprintf(w, "no runs in %s; 'faultline run cascade-failure' makes some\n", root)
		return err
	}
	width := 0
	for _, r := range runs {
		width = max(width, columnsOf(clean(filepath.Base(r.Dir))))
	}
	var out strings.Builder
	for _, r := range runs {
		out.WriteString(describeListed(r, width) + "\n")
	}
	_, err = io.WriteString(w, out.String())
	return err
}

func describeListed(r record.Listed, width int) string {
	name := padded(clean(filepath.Base(r.Dir)), width)
	if r.Err != nil {
		return fmt.Sprintf("%-12s  %s  %s", "unreadable", name, clean(r.Err.Error()))
	}
	return fmt.Sprintf("%-12s  %s  %s", recordedOutcome(r), name, r.Meta.Started.Local().Format(time.DateTime))
}

// recordedOutcome is what verdict.json beside the record says, or how the run ended.
func recordedOutcome(r record.Listed) string {
	var verdict struct {
		Outcome check.Outcome `json:"outcome"`
	}
	text, err := os.ReadFile(filepath.Join(r.Dir, record.VerdictFile))
	if err == nil && json.Unmarshal(text, &verdict) == nil && slices.Contains([]check.Outcome{check.Pass, check.Fail, check.Inconclusive}, verdict.Outcome) {
		return string(verdict.Outcome)
	}
	return "not judged"
}
