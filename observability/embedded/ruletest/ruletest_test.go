package ruletest

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestRun(t *testing.T) {
	report, err := Run(t.Context(), "testdata/good.yaml")
	if err != nil || !slices.Equal(report.Alerts, []string{"Down"}) || !slices.Equal(report.Tests, []string{"down, and up again"}) {
		t.Errorf("%+v, %v", report, err)
	}
}

// Everything that is not as wanted is told, not only the first.
func TestRunFindsWhatIsWrong(t *testing.T) {
	_, err := Run(t.Context(), "testdata/bad.yaml")
	if err == nil {
		t.Fatal("nothing was found")
	}
	for _, want := range []string{"Down at 3m:\nwanted none", "Down at 4m:\nwanted", `summary: "another"`, `summary: "b is down"`, "up at 2m: wanted [], got ["} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}
}

func TestFilesThatCannotBe(t *testing.T) {
	for name, test := range map[string]struct{ text, want string }{
		"a key that it does not know": {"rule_files: [x]\nfuzzy_compare: true\n", "fuzzy_compare"},
		"no rules":                    {"rule_files: [none.yaml]\ntests: [{name: a}]\n", "none.yaml"},
		"no series":                   {"tests: [{name: a, input_series: [{series: 'a{', values: 1}]}]\n", "parse error"},
	} {
		file := filepath.Join(t.TempDir(), "test.yaml")
		if err := os.WriteFile(file, []byte(test.text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Run(t.Context(), file); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Run(t.Context(), "testdata/nothing.yaml"); err == nil {
		t.Error("a file that is not there was read")
	}
	if _, err := Rules("testdata/good.yaml"); err == nil {
		t.Error("a file without rules was read as rules")
	}
	if _, err := Config("testdata/rules.yaml"); err == nil {
		t.Error("a file of rules was read as a configuration")
	}
}
