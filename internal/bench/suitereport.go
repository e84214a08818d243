package bench

import (
	"bytes"
	_ "embed"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"math"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/faultline-lab/faultline/internal/check"
)

// SuiteReport is what a suite comes to: the content of summary.json. Each scenario's own report stands in its folder.
type SuiteReport struct {
	Format    int             `json:"format"`
	Name      string          `json:"name"`
	About     string          `json:"about"`
	Version   string          `json:"version"`
	Machine   string          `json:"machine"`
	Created   time.Time       `json:"created"`
	Total     Tally           `json:"total"`
	Scenarios []SuiteScenario `json:"scenarios"`
}

// Tally counts the runs of all scenarios.
func (r *SuiteReport) Tally() Tally { return r.Total }

// SuiteScenario is a scenario in the summary.
type SuiteScenario struct {
	Scenario string     `json:"scenario"`
	About    string     `json:"about"`
	Sources  []string   `json:"sources"`
	Folder   string     `json:"folder"`
	AA       string     `json:"aa"`
	Repeats  int        `json:"repeats"`
	Total    Tally      `json:"total"`
	Columns  []string   `json:"columns"` // of the rows' cells
	Rows     []SuiteRow `json:"rows"`

	report *Report
}

// SuiteRow is a variant under one load.
type SuiteRow struct {
	Load    string      `json:"load"`
	Variant string      `json:"variant"`
	Runs    int         `json:"runs"`   // that count
	Passed  int         `json:"passed"` // of these: every expectation held
	Never   Share       `json:"never_recovered"`
	Cells   []SuiteCell `json:"cells"` // by column
}

// SuiteCell is a figure's median over the runs that count, and what may be said of it against the first variant.
type SuiteCell struct {
	Figure string `json:"figure"` // its key; "" where the scenario has none
	Median Number `json:"median"`
	Text   string `json:"text"`
	Says   Says   `json:"says"` // "" of the first variant itself
}

// Analyse works out what the suite has come to so far, and writes the report of each scenario into its folder, as Campaign.Write does.
func (s *Suite) Analyse(style string) (*SuiteReport, error) {
	out := &SuiteReport{
		Format: FormatVersion, Name: s.file.Name, About: s.file.About, Version: s.file.Version, Machine: s.file.Machine, Created: s.file.Created,
		Scenarios: []SuiteScenario{},
	}
	for _, c := range s.members {
		r, err := c.Analyse()
		if err != nil {
			return nil, fmt.Errorf("analysing %s: %w", c.file.Scenario, err)
		}
		if err := c.Write(r, style); err != nil {
			return nil, fmt.Errorf("analysing %s: %w", c.file.Scenario, err)
		}
		out.Total = out.Total.plus(r.Total)
		out.Scenarios = append(out.Scenarios, r.summary())
	}
	return out, nil
}

func (t Tally) plus(o Tally) Tally {
	return Tally{Planned: t.Planned + o.Planned, Done: t.Done + o.Done, Void: t.Void + o.Void, Failed: t.Failed + o.Failed}
}

// column is a figure of a load in the summary.
type column struct {
	title string
	key   func(load string) string
}

// columns of a scenario with faults are about getting through them, those of one without about tails.
func (r *Report) summaryColumns() []column {
	of := func(measure, window string) func(string) string {
		return func(load string) string { return key(measure, load, window) }
	}
	faulty, back := false, false
	for _, w := range r.Windows {
		faulty, back = faulty || w.Name == Fault, back || w.Name == Recovery
	}
	switch {
	case back:
		return []column{{"goodput, fault", of("goodput", Fault)}, {"goodput, recovery", of("goodput", Recovery)}, {"p99, run", of("p99", Whole)}}
	case faulty:
		return []column{{"goodput, fault", of("goodput", Fault)}, {"p99, run", of("p99", Whole)}, {"p99.9, run", of("p99.9", Whole)}}
	}
	return []column{{"goodput, run", of("goodput", Whole)}, {"p99, run", of("p99", Whole)}, {"p99.9, run", of("p99.9", Whole)}}
}

// attemptsColumn is the last column: of the edge with the most attempts a call.
const attemptsColumn = "attempts a call"

// summary is a scenario's report in a table.
func (r *Report) summary() SuiteScenario {
	out := SuiteScenario{
		Scenario: r.Scenario, About: r.About, Sources: r.Sources, Folder: r.Scenario, AA: r.Options.AA, Repeats: r.Options.Repeats, Total: r.Total,
		Columns: []string{}, Rows: []SuiteRow{}, report: r,
	}
	columns := r.summaryColumns()
	for _, c := range columns {
		out.Columns = append(out.Columns, c.title)
	}
	out.Columns = append(out.Columns, attemptsColumn)
	for _, load := range r.Loads {
		for _, v := range r.Variants {
			row := SuiteRow{Load: load.Name, Variant: v.Name, Runs: v.Done - v.Void, Passed: r.passed(v.Name), Never: v.Never, Cells: []SuiteCell{}}
			for _, c := range columns {
				row.Cells = append(row.Cells, r.cell(c.key(load.Name), v.Name))
			}
			row.Cells = append(row.Cells, r.mostAttempts(v.Name))
			out.Rows = append(out.Rows, row)
		}
	}
	return out
}

// passed counts a variant's runs that count and in which every expectation held.
func (r *Report) passed(variant string) int {
	n := 0
	for _, run := range r.Runs {
		if run.Variant == variant && !run.Warmup && run.State == Done && len(run.Void) == 0 && run.Outcome == check.Pass {
			n++
		}
	}
	return n
}

func (r *Report) cell(figure, variant string) SuiteCell {
	for _, f := range r.Figures {
		if f.Key == figure {
			return f.cell(variant)
		}
	}
	return SuiteCell{Median: Number(math.NaN()), Text: "-"}
}

func (f FigureReport) cell(variant string) SuiteCell {
	out := SuiteCell{Figure: f.Key, Median: Number(math.NaN()), Text: "-"}
	for _, s := range f.Values {
		if s.Variant == variant {
			out.Median, out.Text = s.Median, s.Text
		}
	}
	for _, c := range f.Comparisons {
		if c.Variant == variant {
			out.Says = c.Says
		}
	}
	return out
}

func (r *Report) mostAttempts(variant string) SuiteCell {
	most := SuiteCell{Median: Number(math.NaN()), Text: "-"}
	for _, f := range r.Figures {
		if f.Group != EdgeGroup {
			continue
		}
		if c := f.cell(variant); c.Median.Known() && !(c.Median <= most.Median) {
			most = c
		}
	}
	return most
}

// Write writes the summary beside the scenarios' folders: for machines, and as a page in the lab's style.
func (s *Suite) Write(r *SuiteReport, style string) error {
	for _, file := range []struct {
		name  string
		write func(io.Writer) error
	}{{SuiteJSON, r.JSON}, {SuiteCSV, r.CSV}, {SuitePage, func(w io.Writer) error { return r.Page(w, style) }}} {
		var text bytes.Buffer
		if err := file.write(&text); err != nil {
			return fmt.Errorf("writing %s: %w", file.name, err)
		}
		if err := replace(filepath.Join(s.dir, file.name), text.Bytes()); err != nil {
			return err
		}
	}
	return nil
}

// JSON writes the whole summary.
func (r *SuiteReport) JSON(out io.Writer) error {
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", " ")
	return encoder.Encode(r)
}

// CSV writes a row for each figure of each variant: the summary in the form that tables are made from.
func (r *SuiteReport) CSV(out io.Writer) error {
	w := csv.NewWriter(out)
	err := w.Write([]string{"scenario", "load", "variant", "runs", "passed", "never_recovered", "of", "figure", "median", "says"})
	for _, sc := range r.Scenarios {
		for _, row := range sc.Rows {
			for _, cell := range row.Cells {
				err = errors.Join(err, w.Write([]string{
					sc.Scenario, row.Load, row.Variant, strconv.Itoa(row.Runs), strconv.Itoa(row.Passed), strconv.Itoa(row.Never.K), strconv.Itoa(row.Never.N),
					cell.Figure, numberText(float64(cell.Median)), string(cell.Says),
				}))
			}
		}
	}
	w.Flush()
	return errors.Join(err, w.Error())
}

//go:embed page/suite.html
var suiteHTML string

// Page writes the summary as one HTML file that needs no network. It links to each scenario's own page.
func (r *SuiteReport) Page(out io.Writer, style string) error {
	layout, err := template.New("suite").Funcs(template.FuncMap{"tally": Tally.text, "page": func() string { return PageFile }, "interval": Share.interval}).Parse(suiteHTML)
	if err != nil {
		return fmt.Errorf("reading the page's layout: %w", err)
	}
	return layout.Execute(out, struct {
		*SuiteReport
		Style template.CSS
	}{r, template.CSS(style + "\n" + pageCSS)})
}

// Print writes the summary as tables for a terminal.
func (r *SuiteReport) Print(out io.Writer, style Style) error {
	if style.Width <= 0 {
		style.Width = 80
	}
	p := &printer{style: style}
	p.line("\n%s: %s", style.paint(bold, r.Name), countOf(len(r.Scenarios), "scenario"))
	p.line("%s", r.Total.text())
	for _, sc := range r.Scenarios {
		p.scenario(sc)
	}
	p.out.WriteString("\n" + style.paint(dim, strings.TrimRight(wrap(suiteLegend, style.Width), "\n")) + "\n")
	_, err := io.WriteString(out, p.out.String())
	return err
}

const suiteLegend = "Medians over runs. held: runs in which every expectation held. not back: runs that did not recover. + better, - worse: a claim against the first variant; " +
	"+? -?: a hint, which lacks pairs or p. Intervals, and what may be said of the rest, are in each scenario's page."

// The columns of the summary; 80 in all.
const (
	suiteVariant = 21
	suiteShare   = 9
	suiteColumn  = 10
)

func (p *printer) scenario(sc SuiteScenario) {
	p.line("\n%s: %s, A/A pair of %s; %s", p.style.paint(bold, sc.Scenario), countOf(sc.Repeats, "repeat"), sc.AA, sc.Total.text())
	load := ""
	for _, row := range sc.Rows {
		if row.Load != load {
			load = row.Load
			heads := ""
			for _, title := range sc.Columns {
				heads += right(short(title), suiteColumn)
			}
			p.line("%s%s%s%s", pad(load, suiteVariant), right("held", suiteShare), right("not back", suiteShare), heads)
		}
		line := pad("  "+row.Variant, suiteVariant) + right(fmt.Sprintf("%d of %d", row.Passed, row.Runs), suiteShare) + p.notBack(row.Never)
		for _, cell := range row.Cells {
			line += p.suiteCell(cell)
		}
		p.line("%s", line)
	}
	p.report = sc.report
	p.voids()
}

// short is a column's title as the terminal has room for it.
func short(title string) string {
	switch name, window, _ := strings.Cut(title, ", "); {
	case title == attemptsColumn:
		return "attempts"
	case name == "goodput":
		return window
	default:
		return name
	}
}

func (p *printer) notBack(s Share) string {
	text := "-"
	if s.N > 0 {
		text = fmt.Sprintf("%d of %d", s.K, s.N)
	}
	if s.K > 0 {
		return p.style.paint(red, right(text, suiteShare))
	}
	return right(text, suiteShare)
}

func (p *printer) suiteCell(c SuiteCell) string {
	mark, code := "  ", ""
	switch c.Says {
	case SaysBetter:
		mark, code = "+ ", green
	case HintsBetter:
		mark, code = "+?", yellow
	case SaysWorse:
		mark, code = "- ", red
	case HintsWorse:
		mark, code = "-?", yellow
	case NoClaim, TooFew:
	}
	return right(c.Text, suiteColumn-2) + p.style.paintIf(code, mark)
}
