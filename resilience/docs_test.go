package resilience

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/faultline-lab/faultline/observability/names"
	"github.com/faultline-lab/faultline/parameter"
)

var update = flag.Bool("update", false, "rewrite the generated part of docs/policies.md")

// The list in docs/policies.md is the catalog's.
func TestDocsListTheCatalog(t *testing.T) {
	path := filepath.Join("..", "docs", "policies.md")
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const marker = "-run TestDocs -update -->\n"
	head, _, found := strings.Cut(string(page), marker)
	if !found {
		t.Fatalf("%s has no line that ends in %q", path, marker)
	}
	want := head + marker + catalogPage()
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if string(page) != want {
		t.Errorf("%s is not what the catalog says; run go test ./resilience -run TestDocs -update", path)
	}
}

func catalogPage() string {
	var b strings.Builder
	for _, k := range Catalog() {
		fmt.Fprintf(&b, "\n### `%s`\n\n%s\n\n", k.Name, k.About)
		fmt.Fprintf(&b, "- Stands: %s%s%s\n", strings.Join(k.Sides, ", "), cond(k.Protocol != "", ", "+k.Protocol+" only"), cond(k.Once, "; once in a chain, its place there makes no difference"))
		b.WriteString(cond(k.Main != "", fmt.Sprintf("- Short form: `{%s: …}` sets `%s`\n", k.Name, k.Main)))
		b.WriteString(cond(len(k.Causes) > 0, fmt.Sprintf("- `%s` by cause: %s\n", names.PolicyRejections, strings.Join(k.Causes, ", "))))
		b.WriteString(cond(k.Means != "", fmt.Sprintf("- `%s`: %s\n", names.PolicyState, k.Means)))
		b.WriteString(cond(len(k.Counts) > 0, fmt.Sprintf("- Counts: `%s`\n", strings.Join(k.Counts, "`, `"))))
		b.WriteString("\n| parameter | type | when left out | permitted | meaning |\n|---|---|---|---|---|\n")
		for _, p := range k.Params {
			left := "none"
			switch {
			case p.Required:
				left = "**required**"
			case p.Default != nil:
				left = fmt.Sprint(p.Default)
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", p.Name, p.Type, left, permitted(p), p.About)
		}
		fmt.Fprintf(&b, "\n```yaml\n%s\n```\n", k.Example)
	}
	return b.String()
}

func cond(is bool, text string) string {
	if is {
		return text
	}
	return ""
}

// permitted says in words what values a parameter takes.
func permitted(p parameter.Parameter) string {
	var parts []string
	unit := cond(p.Type == parameter.Duration, "s")
	if len(p.Allowed) > 0 {
		parts = append(parts, strings.Join(p.Allowed, ", "))
	}
	if p.Min != nil {
		parts = append(parts, fmt.Sprintf("from %v%s", *p.Min, unit))
	}
	if p.Max != nil {
		parts = append(parts, fmt.Sprintf("to %v%s", *p.Max, unit))
	}
	return strings.Join(parts, " ")
}

// What the catalog says of a policy's metrics is what the policy has, from before the first call.
func TestCatalogTellsTheMetrics(t *testing.T) {
	for _, kind := range Catalog() {
		t.Run(kind.Name, func(t *testing.T) {
			reg := &registry{}
			chain := slices.DeleteFunc(chainOf(t, kind.Example), func(s Spec) bool { return s.Kind != kind.Name })
			if kind.Stands(OnEdge) {
				if _, err := NewEdge(EdgeConfig{Caller: "a", Callee: "b", Chain: chain, Registerer: reg}); err != nil {
					t.Fatal(err)
				}
			} else if _, err := NewDoor(DoorConfig{Service: "b", Chain: chain, Registerer: reg}); err != nil {
				t.Fatal(err)
			}
			var causes []string
			for _, series := range reg.series(names.PolicyRejections, names.Policy, kind.Name) {
				for _, label := range series.GetLabel() {
					if label.GetName() == names.Cause {
						causes = append(causes, label.GetValue())
					}
				}
			}
			slices.Sort(causes)
			if want := slices.Sorted(slices.Values(kind.Causes)); !slices.Equal(causes, want) {
				t.Errorf("causes %q, the catalog says %q", causes, want)
			}
			if n := len(reg.series(names.PolicyState, names.Policy, kind.Name)); (n == 1) != (kind.Means != "") {
				t.Errorf("%d series of the state, the catalog says %q", n, kind.Means)
			}
			for _, name := range []string{names.PolicyRetries, names.PolicyTransitions, names.PolicyHedges, names.PolicyFallbacks} {
				if has := len(reg.series(name)) > 0; has != slices.Contains(kind.Counts, name) {
					t.Errorf("%s: %t, the catalog says %q", name, has, kind.Counts)
				}
			}
		})
	}
}
