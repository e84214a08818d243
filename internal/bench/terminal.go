package bench

import (
	"fmt"
	"io"
	"math"
	"strings"
	"unicode/utf8"

	"github.com/faultline-lab/faultline/internal/figure"
)

// Style says how lines for people are written.
type Style struct {
	Color bool
	Width int // columns; 0 means 80
}

// The colours of the terminal, as ANSI escape codes.
const (
	red    = "31"
	green  = "32"
	yellow = "33"
	dim    = "2"
	bold   = "1"
)

func (s Style) paint(code, text string) string {
	if !s.Color || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// The columns of a comparison; 80 in all.
const (
	nameColumn   = 23
	valueColumn  = 9
	effectColumn = 10
	rangeColumn  = 20
)

// Print writes the report as tables for a terminal.
func (r *Report) Print(out io.Writer, style Style) error {
	if style.Width <= 0 {
		style.Width = 80
	}
	p := &printer{style: style, report: r}
	p.head()
	if r.Sweep != nil {
		p.maps()
	} else {
		p.never()
		p.comparisons()
		p.legend()
	}
	p.voids()
	_, err := io.WriteString(out, p.out.String())
	return err
}

type printer struct {
	out    strings.Builder
	style  Style
	report *Report
}

func (p *printer) line(format string, args ...any) {
	p.out.WriteString(strings.TrimRight(fmt.Sprintf(format, args...), " ") + "\n")
}

func (p *printer) head() {
	r := p.report
	text := fmt.Sprintf("%s, %s", countOf(len(r.Options.Variants), "variant"), countOf(r.Options.Repeats, "repeat"))
	if r.Sweep != nil {
		text += fmt.Sprintf(", %s", countOf(len(r.Sweep.Cells)/len(r.Options.Variants), "cell"))
	}
	if r.Options.AA != "" {
		text += ", A/A pair of " + r.Options.AA
	}
	p.line("\n%s: %s, seed %d", p.style.paint(bold, r.Scenario), text, *r.Options.Seed)
	p.line("%s", r.Total.text())
}

// text tells how many runs count.
func (t Tally) text() string {
	text := fmt.Sprintf("%s of %d count", countOf(t.Done-t.Void, "run"), t.Planned)
	for _, part := range []struct {
		n    int
		what string
	}{{t.Void, "void"}, {t.Failed, "failed"}, {t.Planned - t.Done - t.Failed, "not yet run"}} {
		if part.n > 0 {
			text += fmt.Sprintf(", %d %s", part.n, part.what)
		}
	}
	return text
}

func countOf(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// never prints, for each variant, in how many runs the system did not come
// back by itself.
func (p *printer) never() {
	known := 0
	for _, v := range p.report.Variants {
		known += v.Never.N
	}
	if known == 0 {
		return
	}
	p.line("\n%s%12s%22s", pad("never recovered", nameColumn+valueColumn), "runs", "95 % interval")
	for _, v := range p.report.Variants {
		code := ""
		if v.Never.K > 0 {
			code = red
		}
		p.line("%s%s%22s", pad("  "+v.Name, nameColumn+valueColumn), p.style.paintIf(code, fmt.Sprintf("%12s", fmt.Sprintf("%d of %d", v.Never.K, v.Never.N))), v.Never.interval())
	}
}

func (s Style) paintIf(code, text string) string {
	if code == "" {
		return text
	}
	return s.paint(code, text)
}

func (s Share) interval() string {
	if s.N == 0 {
		return "-"
	}
	return fmt.Sprintf("[%.0f%%, %.0f%%]", 100*float64(s.Low), 100*float64(s.High))
}

// comparisons prints a table for each variant but the first, and without
// another, that of the A/A pair.
func (p *printer) comparisons() {
	r := p.report
	for i, name := range r.Options.Variants[1:] {
		p.comparison(name, r.Reference, func(f FigureReport) *Comparison { return &f.Comparisons[i] })
	}
	if len(r.Options.Variants) == 1 {
		p.comparison(Twin(r.Options.AA), r.Options.AA, func(f FigureReport) *Comparison { return f.AA })
	}
}

func (p *printer) comparison(name, against string, of func(FigureReport) *Comparison) {
	pairs, excluded := p.pairs(of)
	title := fmt.Sprintf("%s against %s: %s", name, against, countOf(pairs, "pair"))
	if excluded > 0 {
		title += fmt.Sprintf(", %d left out", excluded)
	}
	p.line("\n%s", p.style.paint(bold, title))
	if pairs == 0 {
		return
	}
	p.line("%s%s%s%s%s says", pad("", nameColumn), right(cut(against, valueColumn-1), valueColumn), right(cut(name, valueColumn-1), valueColumn),
		right("change", effectColumn), right("95 % interval", rangeColumn))
	group := ""
	for _, f := range p.report.Figures {
		c := of(f)
		if !f.Headline || c.Pairs == 0 {
			continue
		}
		if f.Group != group {
			group = f.Group
			p.line("%s", group)
		}
		p.line("%s%s%s%s%s %s", pad("  "+f.Name, nameColumn), right(f.median(against), valueColumn), right(f.median(name), valueColumn),
			right(c.Text, effectColumn), right(c.Range, rangeColumn), p.says(c.Says))
	}
}

// pairs tells how many pairs there are, and how many blocks were left out, of
// the figure that has the most.
func (p *printer) pairs(of func(FigureReport) *Comparison) (pairs, excluded int) {
	for _, f := range p.report.Figures {
		if c := of(f); c.Pairs > pairs || pairs == 0 {
			pairs, excluded = c.Pairs, c.Excluded
		}
	}
	return pairs, excluded
}

// any is the comparison with the most pairs.
func (f FigureReport) any() *Comparison {
	best := &Comparison{}
	if f.AA != nil {
		best = f.AA
	}
	for i, c := range f.Comparisons {
		if c.Pairs > best.Pairs {
			best = &f.Comparisons[i]
		}
	}
	return best
}

func (f FigureReport) median(variant string) string {
	for _, s := range f.Values {
		if s.Variant == variant {
			return s.Text
		}
	}
	return "-"
}

func (p *printer) says(s Says) string {
	switch s {
	case SaysBetter:
		return p.style.paint(green, string(s))
	case SaysWorse:
		return p.style.paint(red, string(s))
	case HintsBetter, HintsWorse:
		return p.style.paint(yellow, string(s))
	}
	return p.style.paint(dim, string(s))
}

func (p *printer) legend() {
	if pairs, _ := p.pairs(func(f FigureReport) *Comparison { return f.any() }); pairs == 0 {
		return
	}
	p.line("")
	text := "Medians over runs. The change is that of paired runs (pp: percentage points; 1x: none). better, worse: a claim: at least 10 pairs, an interval " +
		"without 'no change', more than the A/A pair differs by, p at most 5 % after Holm's correction. better?, worse?: a hint, which lacks the pairs or the p."
	if p.report.Options.Repeats < leastClaim {
		text += fmt.Sprintf(" %s cannot claim anything: --repeats 12 can, and bears two void runs.", countOf(p.report.Options.Repeats, "repeat"))
	}
	p.out.WriteString(p.style.paint(dim, strings.TrimRight(wrap(text, p.style.Width), "\n")) + "\n")
}

// voids lists what does not count, and why.
func (p *printer) voids() {
	first := true
	for _, run := range p.report.Runs {
		var why string
		switch {
		case run.State == Failed && len(run.Attempts) > 0:
			why = "failed: " + run.Attempts[len(run.Attempts)-1].Why
		case run.State == Done && len(run.Void) > 0:
			why = "void: " + strings.Join(run.Void, "; ")
		default:
			continue
		}
		if first {
			p.line("\nruns that do not count")
			first = false
		}
		text := fmt.Sprintf("run %d, block %d, %s: %s", run.Number, run.Block, run.Variant, why)
		p.out.WriteString(p.style.paint(yellow, strings.TrimRight(indent(wrap(text, p.style.Width-4), "  "), "\n")) + "\n")
	}
}

// maps prints the sweep: where the system comes back by itself, and its
// goodput, as shades.
func (p *printer) maps() {
	for _, variant := range p.report.Options.Variants {
		p.heat(variant+": runs that recovered", func(c MapCell) (float64, string) {
			if c.Recovered.N == 0 {
				return math.NaN(), "-"
			}
			return float64(c.Recovered.K) / float64(c.Recovered.N), fmt.Sprintf("%d/%d", c.Recovered.K, c.Recovered.N)
		}, variant)
		for _, load := range p.report.Loads {
			for _, w := range []string{Recovery, Whole} {
				k := key("goodput", load.Name, w)
				if !p.measured(variant, k) {
					continue
				}
				p.heat(fmt.Sprintf("%s: goodput of %s, %s", variant, load.Name, w), func(c MapCell) (float64, string) {
					v := c.Medians[k]
					return float64(v), percentText(v)
				}, variant)
				break // after the faults where there are any, else over the run
			}
		}
	}
}

func percentText(v Number) string {
	if !v.Known() {
		return "-"
	}
	return figure.Ratio.Text(math.Round(float64(v)*100) / 100)
}

func (p *printer) measured(variant, key string) bool {
	for _, cell := range p.report.Sweep.Cells {
		if v, found := cell.Medians[key]; found && v.Known() && cell.Variant == variant {
			return true
		}
	}
	return false
}

// shades go from nothing to everything.
var shades = []string{"  ", "░░", "▒▒", "▓▓", "██"}

func shade(share float64) string {
	if math.IsNaN(share) {
		return "··"
	}
	return shades[min(max(int(share*float64(len(shades)-1)+0.5), 0), len(shades)-1)]
}

// heat prints one map: the first axis downwards, its greatest value on top,
// the second to the right.
//
//	load.browse.rate
//	  140/s  ██ 5/5  ▒▒ 2/5
//	   80/s  ██ 5/5  ██ 5/5
//	              2s      8s  phases.fault
func (p *printer) heat(title string, of func(MapCell) (float64, string), variant string) {
	m := p.report.Sweep
	across := []string{""}
	if len(m.Axes) == 2 {
		across = m.Axes[1].Values
	}
	label := 0
	for _, value := range m.Axes[0].Values {
		label = max(label, utf8.RuneCountInString(value))
	}
	texts := (p.style.Width-label-4)/len(across) >= 8
	p.line("\n%s", p.style.paint(bold, title))
	p.line("%s", m.Axes[0].Path)
	for i := len(m.Axes[0].Values) - 1; i >= 0; i-- {
		row := "  " + right(m.Axes[0].Values[i], label) + " "
		for j := range across {
			share, text := of(m.cell(variant, i*len(across)+j))
			row += " " + p.style.paintIf(heatColor(share), shade(share))
			if texts {
				row += pad(" "+text, 5)
			}
		}
		p.line("%s", row)
	}
	if len(m.Axes) < 2 {
		return
	}
	width, last := 3, ""
	if texts {
		width = 8
	}
	foot := strings.Repeat(" ", label+3)
	for j, value := range across {
		if texts || j == 0 || j == len(across)-1 {
			last = value
		} else {
			last = ""
		}
		foot += pad(" "+cut(last, max(width-1, 3)), width)
	}
	p.line("%s  %s", strings.TrimRight(foot, " "), m.Axes[1].Path)
}

// cell is the n-th cell of a variant, the last axis fastest.
func (m *Map) cell(variant string, n int) MapCell {
	for _, cell := range m.Cells {
		if cell.Variant != variant {
			continue
		}
		if n == 0 {
			return cell
		}
		n--
	}
	return MapCell{}
}

func heatColor(share float64) string {
	switch {
	case math.IsNaN(share):
		return dim
	case share >= 0.99:
		return green
	case share < 0.5:
		return red
	}
	return yellow
}

// pad fills text up with blanks, or cuts it.
func pad(text string, width int) string {
	text = cut(text, width)
	return text + strings.Repeat(" ", width-utf8.RuneCountInString(text))
}

// right sets text at the right end of width columns, with at least one blank
// before it.
func right(text string, width int) string {
	return strings.Repeat(" ", max(0, width-utf8.RuneCountInString(text))) + text
}

func cut(text string, width int) string {
	if utf8.RuneCountInString(text) <= width {
		return text
	}
	return string([]rune(text)[:max(0, width-1)]) + "…"
}

// wrap breaks text into lines of at most width columns.
func wrap(text string, width int) string {
	var out strings.Builder
	column := 0
	for _, word := range strings.Fields(text) {
		n := utf8.RuneCountInString(word)
		switch {
		case column == 0:
		case column+1+n > width:
			out.WriteString("\n")
			column = 0
		default:
			out.WriteString(" ")
			column++
		}
		out.WriteString(word)
		column += n
	}
	return out.String() + "\n"
}

func indent(text, with string) string {
	return with + strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n"+with+"  ") + "\n"
}
