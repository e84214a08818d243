package report_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/faultline-lab/faultline/internal/check"
	"github.com/faultline-lab/faultline/internal/figure"
	"github.com/faultline-lab/faultline/internal/measure"
	"github.com/faultline-lab/faultline/internal/report"
)

// naive has a finding of every outcome; contained is one that proves nothing.
func naive() *check.Verdict {
	return &check.Verdict{
		Run: "20260301-115958-cascade-failure-naive", Scenario: "cascade-failure", Variant: "naive", System: "shop", Seed: 1, Version: "v0.1.0",
		Machine: "linux/amd64, 2 CPUs", Started: time.Date(2026, 3, 1, 12, 59, 58, 0, time.FixedZone("CET", 3600)), Seconds: 65, Outcome: check.Fail,
		Reasons: []string{},
		Findings: []check.Finding{
			{
				That: "goodput(browse) < 50%", In: "fault", Source: "scenarios/cascade-failure.yaml:17", Outcome: check.Pass,
				Value: measure.Value{Number: 0.0125, Unit: figure.Ratio, Known: true, Count: 1600}, Got: "1.25%", Wanted: "< 50%",
			},
			{
				That: "recovery(checkout) <= 10s", Source: "scenarios/cascade-failure.yaml:18", Outcome: check.Fail,
				Value: measure.Value{Number: math.Inf(1), Unit: figure.Seconds, Known: true}, Got: "never", Wanted: "<= 10s", Why: "wanted <= 10s, got never",
			},
			{
				That: `promql('sum(x{a="<|>"})') > 3`, In: "slow_bank", Outcome: check.Inconclusive,
				Value: measure.Value{Why: "the query gives nothing at 40s"}, Got: "unknown", Wanted: "> 3", Why: "the query gives nothing at 40s",
			},
		},
		Lag:   measure.Value{Number: 0.0012, Unit: figure.Seconds, Known: true, Count: 6000},
		Notes: []string{"12 spans were lost, so traces may have holes", "violated: money: 3 charges without an order <o-1> *and* [more]"},
	}
}

func contained() *check.Verdict {
	return &check.Verdict{
		Run: "20260301-120108-cascade-failure-contained", Scenario: "cascade-failure", Variant: "contained", System: "shop", Seed: 1,
		Version: "v0.1.0", Machine: "linux/amd64, 2 CPUs", Started: time.Date(2026, 3, 1, 12, 1, 8, 0, time.UTC), Seconds: 65.5,
		Outcome: check.Inconclusive, Reasons: []string{"the fault slow-bank was not felt", "the load generator lagged"},
		Findings: []check.Finding{{
			That: "goodput(browse) >= 99%", In: "fault", Source: "x.yaml", Outcome: check.Pass,
			Value: measure.Value{Number: 1, Unit: figure.Ratio, Known: true, Count: 1600}, Got: "100%", Wanted: ">= 99%",
		}},
		Lag: measure.Value{Unit: figure.Seconds, Why: "nothing was sent"}, Notes: []string{},
	}
}

func TestJSON(t *testing.T) {
	for _, v := range []*check.Verdict{naive(), contained()} {
		var b bytes.Buffer
		if err := report.JSON(&b, v); err != nil {
			t.Fatal(err)
		}
		goldenFile(t, v.Variant+".json", b.Bytes())
		back, err := report.ReadJSON(&b)
		if err != nil {
			t.Fatal(err)
		}
		back.Started, v.Started = back.Started.UTC(), v.Started.UTC()
		if !reflect.DeepEqual(back, v) {
			t.Errorf("came back as %+v, want %+v", back, v)
		}
	}
	if _, err := report.ReadJSON(strings.NewReader("{")); err == nil {
		t.Error("half a file was read")
	}
}

func TestJUnit(t *testing.T) {
	var b bytes.Buffer
	if err := report.JUnit(&b, naive(), contained()); err != nil {
		t.Fatal(err)
	}
	goldenFile(t, "junit.xml", b.Bytes())
	// The counts of suites and cases agree, by another parser's eyes.
	var suites struct {
		Tests, Failures, Errors int `xml:",attr"`
		Suite                   []struct {
			Tests    int        `xml:"tests,attr"`
			Testcase []struct{} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	decoder := xml.NewDecoder(&b)
	if err := decoder.Decode(&suites); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, s := range suites.Suite {
		n += len(s.Testcase)
		if s.Tests != len(s.Testcase) {
			t.Errorf("a suite says %d and has %d", s.Tests, len(s.Testcase))
		}
	}
	if n != 6 {
		t.Errorf("%d cases, want two of runs and four of findings", n)
	}
}

func TestJUnitOfAScenarioWithoutVariants(t *testing.T) {
	v := contained()
	v.Variant, v.Reasons = "", nil
	var b bytes.Buffer
	if err := report.JUnit(&b, v); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`<testsuite name="cascade-failure" tests="2" failures="0" errors="0"`, `classname="cascade-failure" name="the run"`} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%s is missing in\n%s", want, b.String())
		}
	}
}

func TestMarkdown(t *testing.T) {
	var b bytes.Buffer
	if err := report.Markdown(&b, naive(), contained()); err != nil {
		t.Fatal(err)
	}
	goldenFile(t, "verdict.md", b.Bytes())
	for line := range strings.SplitSeq(b.String(), "\n") {
		if bars := strings.Count(line, "|") - strings.Count(line, `\|`); strings.HasPrefix(line, "|") && bars != 6 {
			t.Errorf("a row of %d bars: %s", bars, line)
		}
	}
}

func TestMarkdownKeepsBackticks(t *testing.T) {
	v := contained()
	v.Findings[0].That, v.Notes = "promql('a``b`c') > 1", []string{"a `b`"}
	var b bytes.Buffer
	if err := report.Markdown(&b, v); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"``` promql('a``b`c') > 1 ```", "- a \\`b\\`\n"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is missing in\n%s", want, b.String())
		}
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errFull }

var errFull = errors.New("no space left on device")

func TestFullDiskIsAnError(t *testing.T) {
	for name, write := range map[string]func(io.Writer) error{
		"JSON":     func(w io.Writer) error { return report.JSON(w, naive()) },
		"JUnit":    func(w io.Writer) error { return report.JUnit(w, naive()) },
		"Markdown": func(w io.Writer) error { return report.Markdown(w, naive()) },
	} {
		if err := write(full{}); !errors.Is(err, errFull) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
