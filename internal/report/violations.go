package report

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/faultline-lab/faultline/internal/check"
	"github.com/faultline-lab/faultline/internal/measure"
	"github.com/faultline-lab/faultline/loadgen"
)

// Bounds of what is shown of violations. The verdict names more, and the audit in the record all.
const (
	printedViolations = 5  // on the terminal
	listedViolations  = 30 // on the page
	tracesOfViolation = 3
)

// PageViolation is a broken invariant, with the requests that it is about.
type PageViolation struct {
	Invariant string        `json:"invariant"`
	Detail    string        `json:"detail"`
	Keys      []string      `json:"keys"`
	Clients   []string      `json:"clients"` // their idempotency keys
	Traces    []string      `json:"traces"`
	Requests  []PageRequest `json:"requests"` // those whose traces were kept
}

// violations lists broken invariants, and keeps the traces that they name.
func (b *pageBuilder) violations(ctx context.Context) error {
	b.out.Violations, b.out.Broken = []PageViolation{}, len(b.verdict.Violations)
	for i, v := range b.verdict.Violations {
		if i == listedViolations {
			b.note(fmt.Sprintf("%s more than are listed; verdict.json names some, the audit in events.jsonl all", counted(len(b.verdict.Violations)-i, "violation")))
			break
		}
		page := PageViolation{
			Invariant: v.Invariant, Detail: shorten(v.Detail), Keys: orEmpty(v.Keys), Clients: orEmpty(v.IdempotencyKeys),
			Traces: orEmpty(v.Traces), Requests: []PageRequest{},
		}
		for _, id := range v.Traces[:min(len(v.Traces), tracesOfViolation)] {
			j := b.journeyOf(id)
			trace, err := b.trace(ctx, j)
			if err != nil {
				return err
			}
			if err := b.keep(ctx, j, trace); err != nil {
				return err
			}
			if _, kept := b.out.Traces[id]; kept {
				page.Requests = append(page.Requests, b.request(j, strings.Join(v.Keys, " ")))
			}
		}
		b.out.Violations = append(b.out.Violations, page)
	}
	return nil
}

// journeyOf finds the request of a trace; one that no client sent has nothing but the trace.
func (b *pageBuilder) journeyOf(trace string) journey {
	for i, r := range b.run.Results {
		if r.TraceID == trace {
			j := journey{Result: r}
			if r.Step != "" {
				j.step = &b.run.Results[i]
			}
			return j
		}
	}
	return journey{Result: loadgen.Result{TraceID: trace}}
}

// violationLines names what is broken, for a terminal.
func violationLines(v *check.Verdict, style Style) []string {
	var out []string
	for i, broken := range v.Violations {
		if i == printedViolations {
			out = append(out, wrapped("    ", fmt.Sprintf("and %s more, see the report", counted(len(v.Violations)-i, "violation")), style.columns())...)
			break
		}
		lines := wrapped("    ", broken.Invariant+": "+broken.Detail, style.columns())
		lines[0] = style.line(cell{"  ", ""}, cell{markBad, red}, cell{lines[0][3:], ""})
		out = append(out, lines...)
		for _, part := range namedBy(broken) {
			out = append(out, wrapped("      ", part, style.columns())...)
		}
	}
	return out
}

// namedBy lists the orders, keys and traces of a violation.
func namedBy(v measure.Violation) []string {
	var out []string
	for _, part := range []struct {
		what string
		of   []string
	}{{"", v.Keys}, {"key ", v.IdempotencyKeys}, {"trace ", v.Traces}} {
		if len(part.of) > 0 {
			out = append(out, part.what+strings.Join(part.of, " "))
		}
	}
	return out
}

// settingsText writes what was set for the services: BUG=double-charge.
func settingsText(settings map[string]string) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		parts = append(parts, name+"="+settings[name])
	}
	return strings.Join(parts, " ")
}
