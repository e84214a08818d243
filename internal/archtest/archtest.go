// Package archtest owns the rules of who may use what in this module, and
// checks the sources for them. It reads files only: nothing is built, so that a
// rule speaks up also where the code does not compile.
package archtest

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Module is the module's path.
const Module = "github.com/faultline-lab/faultline"

// Rule forbids something to some packages. Folders are relative to the module,
// and mean what is below them as well.
type Rule struct {
	Reason string
	// In are the folders to which the rule applies; none means all.
	In []string
	// But are folders to which it does not apply.
	But []string
	// Imports are the import paths that are forbidden, and what is below them. One that
	// ends in * is a beginning of a path: go.opentelemetry.io/otel/sdk*.
	Imports []string
	// Uses are the functions that are forbidden, as import path and name: time.Now.
	Uses []string
	// Tests is set where the rule holds for tests as well.
	Tests bool
}

// Rules returns the rules of this module.
func Rules() []Rule {
	const otelSDK = "go.opentelemetry.io/otel/sdk*"
	pure := []string{"parameter", "internal/strictyaml", "internal/scenario", "internal/plan", "internal/measure", "internal/check", "internal/figure"}
	return []Rule{
		{
			Reason: "the system under test knows nothing of the lab, or the lab could not test any other",
			In:     []string{"services", "cmd/shop"}, Imports: local("chaos", "loadgen", "internal"),
		},
		{
			Reason: "these packages can be used without the lab, so nothing of the lab may be in them",
			In:     []string{"chaos", "loadgen", "resilience", "observability", "parameter"}, Imports: local("internal"),
		},
		{
			Reason: "a service is reached over the network only; what services share is in services/kit and services/proto",
			But:    []string{"cmd/shop"}, Imports: local(services()...),
		},
		{
			Reason: "these packages are pure: files and network come in as arguments, so that a recorded run is judged the same anywhere",
			In:     pure, Imports: []string{"os", "net", "io/ioutil", "syscall", "math/rand"},
		},
		{
			Reason: "these packages are pure: time comes in as an argument, so that a recorded run is judged the same at any time",
			In:     pure,
			Uses: []string{
				"time.Now", "time.Since", "time.Until", "time.Sleep", "time.After", "time.AfterFunc",
				"time.Tick", "time.NewTimer", "time.NewTicker",
			},
		},
		{
			Reason: "vegeta is behind loadgen, which puts right what it measures (due times, histograms)",
			But:    []string{"loadgen"}, Imports: []string{"github.com/tsenart/vegeta"}, Tests: true,
		},
		{
			Reason: "Toxiproxy is behind chaos/network and chaos/proxy, which handle its traps",
			But:    []string{"chaos/network", "chaos/proxy"}, Imports: []string{"github.com/Shopify/toxiproxy"}, Tests: true,
		},
		{
			Reason: "failsafe-go is behind resilience, so that policies have one form and one set of metrics",
			But:    []string{"resilience"}, Imports: []string{"github.com/failsafe-go/failsafe-go"}, Tests: true,
		},
		{
			Reason: "telemetry is set up in one place: take it from observability.Setup",
			But:    []string{"observability"}, Imports: []string{otelSDK, "github.com/grafana/pyroscope-go"},
		},
		{
			Reason: "a registry of its own is a registry that nobody scrapes: take it from observability.Setup",
			But:    []string{"observability"},
			Uses: []string{
				"github.com/prometheus/client_golang/prometheus.NewRegistry",
				"github.com/prometheus/client_golang/prometheus.NewPedanticRegistry",
				"github.com/prometheus/client_golang/prometheus.DefaultRegisterer",
				"github.com/prometheus/client_golang/prometheus.MustRegister",
			},
		},
		{
			Reason: "the Prometheus server is behind observability/embedded, and half a minute of compiling stays with it",
			But:    []string{"observability/embedded"}, Imports: []string{"github.com/prometheus/prometheus"}, Tests: true,
		},
	}
}

// services are the packages that are a service each.
func services() []string {
	names := []string{
		"gateway", "accounts", "catalog", "recommendations", "inventory",
		"orders", "payments", "bank", "shipping", "notifications",
		"node", "registry",
	}
	for i, name := range names {
		names[i] = "services/" + name
	}
	return names
}

func local(folders ...string) []string {
	var out []string
	for _, folder := range folders {
		out = append(out, Module+"/"+folder)
	}
	return out
}

// Violation is a place where a rule is broken.
type Violation struct {
	Place  string // file:line, relative to the root
	What   string
	Reason string
}

// String writes the violation in one line.
func (v Violation) String() string { return v.Place + ": " + v.What + ": " + v.Reason }

// Check reads every Go file below root and returns where the rules are broken,
// in the order of the files.
func Check(root string, rules []Rule) ([]Violation, error) {
	var out []Violation
	err := filepath.WalkDir(root, func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			return enter(root, file)
		}
		if !strings.HasSuffix(file, ".go") {
			return nil
		}
		found, err := checkFile(root, file, rules)
		out = append(out, found...)
		return err
	})
	return out, err
}

// enter skips the folders that are not of this module.
func enter(root, folder string) error {
	if folder == root {
		return nil
	}
	name := filepath.Base(folder)
	_, err := os.Stat(filepath.Join(folder, "go.mod"))
	if err == nil || name == "testdata" || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") {
		return filepath.SkipDir
	}
	return nil
}

func checkFile(root, file string, rules []Rule) ([]Violation, error) {
	relative, err := filepath.Rel(root, file)
	if err != nil {
		return nil, err
	}
	relative = filepath.ToSlash(relative)
	fset := token.NewFileSet()
	parsed, err := parser.ParseFile(fset, file, nil, 0)
	if err != nil {
		return nil, fmt.Errorf("reading the imports: %w", err)
	}
	f := source{fset: fset, file: parsed, name: relative}
	var out []Violation
	for _, rule := range rules {
		if rule.applies(relative) {
			out = append(out, f.check(rule)...)
		}
	}
	return out, nil
}

func (r Rule) applies(file string) bool {
	folder := path.Dir(file)
	inside := func(root string) bool { return below(folder, root) }
	if len(r.In) > 0 && !slices.ContainsFunc(r.In, inside) || slices.ContainsFunc(r.But, inside) {
		return false
	}
	return r.Tests || !strings.HasSuffix(file, "_test.go")
}

func below(name, root string) bool {
	if beginning, open := strings.CutSuffix(root, "*"); open {
		return strings.HasPrefix(name, beginning)
	}
	return name == root || strings.HasPrefix(name, root+"/")
}

// source is a file that has been read.
type source struct {
	fset *token.FileSet
	file *ast.File
	name string
}

func (s source) check(rule Rule) []Violation {
	var out []Violation
	names := map[string]string{} // of imported packages, by what they are called here
	for _, spec := range s.file.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue
		}
		names[called(spec, imported)] = imported
		forbidden := slices.ContainsFunc(rule.Imports, func(root string) bool { return below(imported, root) })
		// A package may be split over folders: those below it are the same part.
		own := strings.TrimPrefix(imported, Module+"/")
		if forbidden && !below(path.Dir(s.name), own) && !below(own, path.Dir(s.name)) {
			out = append(out, s.violation(spec.Pos(), "imports "+imported, rule))
		}
	}
	if len(rule.Uses) == 0 {
		return out
	}
	ast.Inspect(s.file, func(n ast.Node) bool {
		selector, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		// What is declared in the file has an object; a package has none.
		if pkg, ok := selector.X.(*ast.Ident); ok && pkg.Obj == nil {
			if used := names[pkg.Name] + "." + selector.Sel.Name; slices.Contains(rule.Uses, used) {
				out = append(out, s.violation(selector.Pos(), "uses "+used, rule))
			}
		}
		return true
	})
	return out
}

func called(spec *ast.ImportSpec, imported string) string {
	if spec.Name != nil {
		return spec.Name.Name
	}
	return path.Base(imported)
}

func (s source) violation(pos token.Pos, what string, rule Rule) Violation {
	return Violation{Place: fmt.Sprintf("%s:%d", s.name, s.fset.Position(pos).Line), What: what, Reason: rule.Reason}
}
