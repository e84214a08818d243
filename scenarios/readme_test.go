package scenarios_test

import (
	"flag"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/faultline-lab/faultline/internal/scenario"
	"github.com/faultline-lab/faultline/scenarios"
)

// update is a flag of go test, so it has to be a variable of the package.
var update = flag.Bool("update", false, "write README.md anew")

// bundled reads every scenario of this folder, in the order of their names.
func bundled(t *testing.T) []*scenario.Scenario {
	t.Helper()
	files, err := fs.Glob(scenarios.FS, "*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no scenarios", err)
	}
	var all []*scenario.Scenario
	for _, file := range files {
		data, err := scenarios.FS.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		sc, err := scenario.Load(file, data)
		if err != nil {
			t.Fatal(err)
		}
		if sc.Name+".yaml" != file {
			t.Errorf("%s is called %s", file, sc.Name)
		}
		all = append(all, sc)
	}
	return all
}

var year = regexp.MustCompile(`\b(19|20)[0-9]{2}\b|'[0-9]{2}\b`)

// TestEveryScenarioSaysWhatTheTableShows: what it is, how it comes about, where it is seen, what helps, and where all that is from.
func TestEveryScenarioSaysWhatTheTableShows(t *testing.T) {
	for _, sc := range bundled(t) {
		for key, text := range map[string]string{"about": sc.About, "mechanism": sc.Mechanism, "signal": sc.Signal, "pattern": sc.Pattern} {
			if strings.TrimSpace(text) == "" {
				t.Errorf("%s: %s is missing", sc.Name, key)
			}
		}
		if len(sc.Sources) == 0 {
			t.Errorf("%s: sources are missing", sc.Name)
		}
		for _, source := range sc.Sources {
			if !year.MatchString(source) {
				t.Errorf("%s: the source %q has no year", sc.Name, source)
			}
		}
		if most := 65 * time.Second; length(sc) > most {
			t.Errorf("%s: %s a variant, want %s at most", sc.Name, length(sc), most)
		}
		for _, variant := range sc.Variants {
			if variant.Value.About == "" || len(variant.Value.Expect)+len(sc.Expect) == 0 {
				t.Errorf("%s: variant %s says nothing of itself, or expects nothing", sc.Name, variant.Name)
			}
		}
	}
}

func length(sc *scenario.Scenario) time.Duration {
	var sum time.Duration
	for _, phase := range sc.Phases {
		sum += phase.Value
	}
	return sum
}

// TestReadmeIsCurrent holds the table in README.md to the files.
func TestReadmeIsCurrent(t *testing.T) {
	const begin, end = "<!-- generated: scenarios -->\n", "<!-- end -->"
	data, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	head, rest, found := strings.Cut(string(data), begin)
	_, tail, closed := strings.Cut(rest, end)
	if !found || !closed {
		t.Fatal("README.md has no place for the table")
	}
	want := head + begin + table(bundled(t)) + end + tail
	if want == string(data) {
		return
	}
	if !*update {
		t.Fatal("README.md is not what the scenarios say: run go generate ./scenarios")
	}
	if err := os.WriteFile("README.md", []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
}

func table(all []*scenario.Scenario) string {
	var out strings.Builder
	out.WriteString("| scenario | failure | mechanism | signal to look at | pattern | sources | length |\n|---|---|---|---|---|---|---|\n")
	for _, sc := range all {
		variants := fmt.Sprintf("%d x %s", len(sc.Variants), length(sc))
		fmt.Fprintf(&out, "| [%s](%s.yaml) | %s | %s | %s | %s | %s | %s |\n", sc.Name, sc.Name,
			cell(firstSentence(sc.About)), cell(sc.Mechanism), cell(sc.Signal), cell(sc.Pattern), cell(strings.Join(sc.Sources, "; ")), variants)
	}
	return out.String()
}

// cell makes text fit for one cell.
func cell(text string) string {
	return strings.ReplaceAll(strings.Join(strings.Fields(text), " "), "|", `\|`)
}

// firstSentence is where the story begins: what fails.
func firstSentence(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if at := strings.Index(text, ". "); at >= 0 {
		return text[:at+1]
	}
	return text
}
