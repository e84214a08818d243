package report

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/faultline-lab/faultline/internal/check"
	"github.com/faultline-lab/faultline/internal/figure"
	"github.com/faultline-lab/faultline/internal/measure"
	"github.com/faultline-lab/faultline/internal/record"
)

// Style says how lines for people are written.
type Style struct {
	Color bool
	Width int // columns; 0 means 80
}

func (s Style) paint(code, text string) string {
	if !s.Color {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (s Style) outcome(o check.Outcome) string {
	switch o {
	case check.Pass:
		return s.paint(green, string(o))
	case check.Fail:
		return s.paint(red, string(o))
	}
	return s.paint(yellow, string(o))
}

func (s Style) mark(o check.Outcome) string {
	switch o {
	case check.Pass:
		return s.paint(green, "✓")
	case check.Fail:
		return s.paint(red, "✗")
	}
	return s.paint(yellow, "?")
}

// Summary writes several runs of a scenario side by side, the findings of each, and the verdict.
func Summary(w io.Writer, judged []*Judged, style Style) error {
	if style.Width <= 0 {
		style.Width = 80
	}
	var out strings.Builder
	out.WriteString("\n")
	sideBySide(&out, judged, style)
	verdicts := make([]*check.Verdict, 0, len(judged))
	for _, j := range judged {
		verdicts = append(verdicts, j.Verdict)
		findings(&out, j, style)
	}
	fmt.Fprintf(&out, "\n%s: %s\n", style.paint(bold, judged[0].Run.Meta.Scenario), style.outcome(check.Worst(verdicts...)))
	_, err := io.WriteString(w, out.String())
	return err
}

// sideBySide writes goodput and p99 of each load in each phase, a column for each run.
func sideBySide(out *strings.Builder, judged []*Judged, style Style) {
	const first, column = 24, 24
	shown := judged[:min(len(judged), max(1, (style.Width-first)/column))]
	fmt.Fprintf(out, "%-*s", first, "goodput, p99")
	sets := make([]*measure.Set, len(shown))
	for i, j := range shown {
		sets[i] = measure.New(j.Run, nil)
		fmt.Fprintf(out, "%*s", column, cut(j.Run.Meta.Variant, column-2))
	}
	out.WriteString("\n")
	for _, load := range shown[0].Run.Plan.Loads {
		for i, phase := range shown[0].Run.Plan.Phases {
			name := ""
			if i == 0 {
				name = load.Name
			}
			fmt.Fprintf(out, "%-12s %-*s", cut(name, 12), first-13, cut(phase.Name, first-14))
			for _, set := range sets {
				out.WriteString(loadCell(set, load.Name, phase.Name, column, style))
			}
			out.WriteString("\n")
		}
	}
}

func loadCell(set *measure.Set, load, phase string, width int, style Style) string {
	window, err := set.Window(phase)
	if err != nil {
		return fmt.Sprintf("%*s", width, figure.Unknown)
	}
	table, found := set.Load(load, window)
	if !found {
		return fmt.Sprintf("%*s", width, figure.Unknown)
	}
	goodput, p99 := fmt.Sprintf("%*s", width-11, table.Goodput.Text()), fmt.Sprintf("%11s", table.P99.Text())
	if table.Goodput.Known {
		switch {
		case table.Goodput.Number >= 0.99:
			goodput = style.paint(green, goodput)
		case table.Goodput.Number < 0.5:
			goodput = style.paint(red, goodput)
		default:
			goodput = style.paint(yellow, goodput)
		}
	}
	return goodput + p99
}

// findings writes what one run was expected to show and what it showed.
func findings(out *strings.Builder, j *Judged, style Style) {
	fmt.Fprintf(out, "\n%s: %s\n", style.paint(bold, j.Run.Meta.Variant), style.outcome(j.Verdict.Outcome))
	for _, f := range j.Verdict.Findings {
		where := f.In
		if where == "" {
			where = "run"
		}
		width := style.Width - 4 - 12 - 2 - 12
		fmt.Fprintf(out, "  %s %s  %s%s\n", style.mark(f.Outcome), padded(f.That, width), padded(where, 12), right(f.Got, 12))
		if f.Outcome != check.Pass && f.Why != "" {
			out.WriteString(wrapped(f.Why, "    ", style.Width))
		}
	}
	for _, reason := range j.Verdict.Reasons {
		out.WriteString(style.paint(yellow, strings.TrimSuffix(wrapped(reason, "  ? ", style.Width), "\n")) + "\n")
	}
}

// padded cuts or fills text to width columns.
func padded(text string, width int) string {
	text = cut(text, width)
	return text + strings.Repeat(" ", max(0, width-utf8.RuneCountInString(text)))
}

// right sets text at the right end of width columns.
func right(text string, width int) string {
	return strings.Repeat(" ", max(1, width-utf8.RuneCountInString(text))) + text
}

// wrapped breaks text into lines of at most width columns, each after an indent; only the first shows a mark in it.
func wrapped(text, indent string, width int) string {
	var out strings.Builder
	line := indent
	for _, word := range strings.Fields(text) {
		if utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width && strings.TrimSpace(line) != "" {
			out.WriteString(strings.TrimRight(line, " ") + "\n")
			line = strings.Repeat(" ", utf8.RuneCountInString(indent))
		}
		if line != indent && strings.TrimSpace(line) != "" {
			line += " "
		}
		line += word
	}
	out.WriteString(line + "\n")
	return out.String()
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
	for _, r := range runs {
		if _, err := fmt.Fprintln(w, describeListed(r)); err != nil {
			return err
		}
	}
	return nil
}

func describeListed(r record.Listed) string {
	name := filepath.Base(r.Dir)
	if r.Err != nil {
		return fmt.Sprintf("%-14s %s: %v", "unreadable", name, r.Err)
	}
	return fmt.Sprintf("%-14s %s  %s", recordedOutcome(r), name, r.Meta.Started.Local().Format(time.DateTime))
}

// recordedOutcome is what verdict.json beside the record says, or how the run ended.
func recordedOutcome(r record.Listed) string {
	var verdict struct {
		Outcome string `json:"outcome"`
	}
	text, err := os.ReadFile(filepath.Join(r.Dir, record.VerdictFile))
	if err == nil && json.Unmarshal(text, &verdict) == nil && verdict.Outcome != "" {
		return verdict.Outcome
	}
	return "not judged"
}
