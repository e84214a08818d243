package grammar_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/faultline-lab/faultline/internal/measure/grammar"
)

var update = flag.Bool("update", false, "rewrite the generated part of docs/measures.md")

// The list in docs/measures.md is the catalog's.
func TestDocsListTheCatalog(t *testing.T) {
	path := filepath.Join("..", "..", "..", "docs", "measures.md")
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const marker = "-run Docs -update -->\n"
	head, _, found := strings.Cut(string(page), marker)
	if !found {
		t.Fatalf("%s has no line that ends in %q", path, marker)
	}
	want := head + marker + catalogPage()
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if string(page) != want {
		t.Errorf("%s is not what the catalog says; run go test ./internal/measure/grammar -run Docs -update", path)
	}
}

func catalogPage() string {
	var b strings.Builder
	of := grammar.Argument("")
	for _, m := range grammar.Catalog() {
		if m.Of != of {
			of = m.Of
			fmt.Fprintf(&b, "\n### %s\n", map[grammar.Argument]string{
				grammar.Load: "Of a load", grammar.Edge: "Of an edge", grammar.Service: "Of a service", grammar.Alert: "Of an alert",
				grammar.None: "Of the run", grammar.PromQL: "Of anything",
			}[of])
		}
		fmt.Fprintf(&b, "\n**`%s`**  \n%s\n\n", m.Signature(), m.Meaning)
		fmt.Fprintf(&b, "- Formula: %s\n- Limit: %s\n- From: %s\n- Example: `%s`\n", strings.ReplaceAll(m.Formula, "*", `\*`), m.UnitText(), m.Source, m.Example)
		if m.WholeRun {
			b.WriteString("- Takes no `in:`.\n")
		}
		if m.Live {
			b.WriteString("- May be an abort condition.\n")
		}
	}
	return b.String()
}

// The grammar on the page is the one above the parser.
func TestDocsShowTheGrammar(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "measures.md"))
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("parse.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, rule := range []string{"comparison = measure operator limit .", `edge       = plain "->" plain .`, `operator   = "<" | "<=" | ">" | ">=" | "==" | "!=" .`,
		`plain      = ( letter | digit | "_" ) { letter | digit | "_" | "-" | "." | "/" } .`, `"GB" .`} {
		if !strings.Contains(string(page), rule) || !strings.Contains(string(source), rule) {
			t.Errorf("the rule %q is not in both the page and the parser", rule)
		}
	}
}
