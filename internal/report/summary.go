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
	last := []cell{{clean(judged[0].Run.Meta.Scenario), bold}, {": ", ""}, {string(worst), colorOf(worst)}}
	if counts := fmt.Sprintf(", %d of %s held", held, counted(all, "expectation")); columnsOf(last[0].text+": "+string(worst)+counts) <= style.columns() {
		last = append(last, cell{counts, ""})
	}
	lines = append(lines, "", style.line(last...))
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
	latencyColumns  = 7
	recoveryColumns = 10
	phaseColumns    = 16 // of a phase's name, at most
)

// table is a part of the overview: as many phases as there is room for.
type table struct {
	phases   []string
	widths   []int
	latency  bool // there is room for percentiles
	recovery bool
}

// lines writes the overview. Percentiles are left out where there is no room
// for them; phases that have no room either follow in a table of their own.
func (o *overview) lines(style Style) []string {
	load, label := widest(o.loads, 14), widest(o.labels, 18)
	var out []string
	for _, t := range o.tables(style.columns() - load - label - 3) {
		out = append(out, o.head(t, load+label+3, style))
		for _, name := range o.loads {
			for i, set := range o.sets {
				cells := []cell{{padded(first(i, clean(name)), load) + "  " + padded(clean(o.labels[i]), label) + " ", ""}}
				for k, phase := range t.phases {
					cells = append(cells, goodputCells(set, name, phase, t.widths[k], t.latency)...)
				}
				if t.recovery {
					cells = append(cells, cell{right(recoveryOf(set, name).Text(), recoveryColumns), ""})
				}
				out = append(out, style.line(cells...))
			}
		}
	}
	return out
}

func widest(texts []string, most int) int {
	n := 0
	for _, text := range texts {
		n = max(n, columnsOf(clean(text)))
	}
	return min(n, most)
}

// tables shares the phases out.
func (o *overview) tables(room int) []table {
	all := table{phases: o.phases, latency: true, recovery: true}
	if all.widths = o.widths(goodputColumns + latencyColumns); sum(all.widths)+recoveryColumns <= room {
		return []table{all}
	}
	widths := o.widths(goodputColumns)
	var out []table
	for i, phase := range o.phases {
		if len(out) == 0 || sum(out[len(out)-1].widths)+widths[i] > room {
			out = append(out, table{})
		}
		t := &out[len(out)-1]
		t.phases, t.widths = append(t.phases, phase), append(t.widths, widths[i])
	}
	if n := len(out); n > 0 && sum(out[n-1].widths)+recoveryColumns > room {
		out = append(out, table{})
	}
	if n := len(out); n > 0 {
		out[n-1].recovery = true
	}
	return out
}

// widths is how wide the phases' columns are, at least so much.
func (o *overview) widths(least int) []int {
	out := make([]int, 0, len(o.phases))
	for _, phase := range o.phases {
		out = append(out, max(least, min(phaseColumns, columnsOf(o.title(phase)))+1))
	}
	return out
}

func sum(list []int) int {
	n := 0
	for _, v := range list {
		n += v
	}
	return n
}

// first is the name in a group's first line, and nothing in the others.
func first(i int, name string) string {
	if i > 0 {
		return ""
	}
	return name
}

// title names a phase, with a mark where a fault acts.
func (o *overview) title(phase string) string {
	if o.fault[phase] {
		return markFault + " " + clean(phase)
	}
	return clean(phase)
}

func (o *overview) head(t table, indent int, style Style) string {
	text := "goodput"
	if t.latency {
		text = "goodput, p99"
	}
	text = padded(text, indent)
	for i, phase := range t.phases {
		text += " " + right(o.title(phase), t.widths[i]-1)
	}
	if t.recovery {
		text += right("recovered", recoveryColumns)
	}
	return style.line(cell{text, dim})
}

func goodputCells(set *measure.Set, load, phase string, columns int, latency bool) []cell {
	goodput, p99 := cell{text: "–"}, "–"
	if window, err := set.Window(phase); err == nil {
		figures, _ := set.Load(load, window)
		if figures.Goodput.Known {
			goodput = cell{figures.Goodput.Text(), colorOfShare(figures.Goodput.Number)}
		}
		if figures.P99.Known {
			p99 = figures.P99.Text()
		}
	}
	if !latency {
		goodput.text = right(goodput.text, columns)
		return []cell{goodput}
	}
	goodput.text = right(goodput.text, columns-latencyColumns)
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
	where, got, that := 3, 5, 0
	for _, f := range j.Verdict.Findings {
		where, got, that = max(where, columnsOf(clean(inOf(f)))), max(got, columnsOf(clean(f.Got))), max(that, columnsOf(clean(f.That)))
	}
	where, got = min(where, 16), min(got, 14)
	that = min(that, max(12, style.columns()-4-2-where-2-got))
	for _, f := range j.Verdict.Findings {
		mark := []cell{{"  ", ""}, {markOf(f.Outcome), colorOf(f.Outcome)}}
		rest := "  " + padded(clean(inOf(f)), where) + "  " + right(clean(f.Got), got)
		if text := clean(f.That); columnsOf(text) > that { // it is told whole, on lines of its own
			lines := wrapped("    ", text, style.columns())
			lines[0] = style.line(append(mark, cell{lines[0][3:], ""})...)
			out = append(append(out, lines...), style.line(cell{"  " + rest, ""}))
		} else {
			out = append(out, style.line(append(mark, cell{" " + padded(text, that) + rest, ""})...))
		}
		if f.Outcome != check.Pass && f.Why != "" {
			out = append(out, wrapped("    ", f.Why, style.columns())...)
		}
	}
	if j.page != nil && j.page.Spread.Text != "" {
		out = append(out, wrapped("  "+markNote+" ", j.page.Spread.Text, style.columns())...)
	}
	out = append(out, shareLines(j, style)...)
	out = append(out, violationLines(j.Verdict, style)...)
	if set := settingsText(j.Verdict.Settings); set != "" {
		out = append(out, style.line(cell{"  ", ""}, cell{markAlert, yellow}, cell{" run with " + clean(set), ""}))
	}
	for _, reason := range j.Verdict.Reasons {
		lines := wrapped("    ", reason, style.columns())
		lines[0] = style.line(cell{"  ", ""}, cell{markDoubt, yellow}, cell{lines[0][3:], ""})
		out = append(out, lines...)
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
