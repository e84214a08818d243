package report

import (
	"fmt"
	"io"
	"strings"

	"github.com/faultline-lab/faultline/internal/check"
)

// Markdown writes verdicts for a pull request or a job's summary: one section
// for each run, with the findings as a table.
func Markdown(w io.Writer, verdicts ...*check.Verdict) error {
	var b strings.Builder
	for i, v := range verdicts {
		if i > 0 {
			b.WriteString("\n")
		}
		markdownOf(&b, v)
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("writing the verdict as Markdown: %w", err)
	}
	return nil
}

func markdownOf(b *strings.Builder, v *check.Verdict) {
	fmt.Fprintf(b, "## %s: **%s**\n", inline(suiteName(v)), v.Outcome)
	if len(v.Reasons) > 0 {
		if v.Outcome == check.Fail { // by an invariant that is broken
			b.WriteString("\nThis run proves nothing else about the system:\n\n")
		} else {
			b.WriteString("\nThis run proves nothing about the system:\n\n")
		}
		bullets(b, v.Reasons)
	}
	if len(v.Findings) > 0 {
		b.WriteString("\n| | expectation | in | got | why |\n|---|---|---|---|---|\n")
		for _, f := range v.Findings {
			in := f.In
			if in == "" {
				in = "the run"
			}
			fmt.Fprintf(b, "| %s | %s | %s | %s | %s |\n", mark(f.Outcome), code(f.That), inline(in), inline(f.Got), inline(f.Why))
		}
	}
	if len(v.Violations) > 0 {
		b.WriteString("\n| broken | | what | key | trace |\n|---|---|---|---|---|\n")
		for _, broken := range v.Violations {
			fmt.Fprintf(b, "| %s | %s | %s | %s | %s |\n", inline(broken.Invariant), inline(broken.Detail), inline(strings.Join(broken.Keys, " ")),
				inline(strings.Join(broken.IdempotencyKeys, " ")), inline(strings.Join(broken.Traces, " ")))
		}
	}
	if set := settingsText(v.Settings); set != "" {
		fmt.Fprintf(b, "\nRun with %s.\n", code(set))
	}
	if len(v.Notes) > 0 {
		b.WriteString("\n")
		bullets(b, v.Notes)
	}
	fmt.Fprintf(b, "\nRun %s of system %s, seed %d, %s s on %s, faultline %s. p99 of the generator's lag: %s. Judge it again: %s\n",
		code(v.Run), inline(v.System), v.Seed, strings.TrimSuffix(fmt.Sprintf("%.1f", v.Seconds), ".0"), inline(v.Machine), inline(v.Version),
		inline(v.Lag.Text()), code("faultline check "+v.Run))
}

func bullets(b *strings.Builder, lines []string) {
	for _, line := range lines {
		b.WriteString("- " + inline(line) + "\n")
	}
}

// mark is a word beside the sign, for those who do not see the sign.
func mark(o check.Outcome) string {
	switch o {
	case check.Pass:
		return "✅ pass"
	case check.Fail:
		return "❌ fail"
	default:
		return "⚠️ inconclusive"
	}
}

// inline keeps a text from being taken for Markdown or HTML, or from ending a
// table's cell.
func inline(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	return strings.NewReplacer(`\`, `\\`, "|", `\|`, "`", "\\`", "*", `\*`, "_", `\_`, "<", "&lt;", ">", "&gt;", "[", `\[`, "]", `\]`, "#", `\#`).Replace(s)
}

// code puts a text between backticks, as many as it needs. A bar ends a cell
// even there.
func code(s string) string {
	s = strings.ReplaceAll(strings.Join(strings.Fields(s), " "), "|", `\|`)
	fence, run := "`", 0
	for _, r := range s {
		if r != '`' {
			run = 0
			continue
		}
		if run++; run >= len(fence) {
			fence += "`"
		}
	}
	if len(fence) > 1 {
		return fence + " " + s + " " + fence
	}
	return fence + s + fence
}
