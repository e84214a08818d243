package report

import (
	"encoding/xml"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/faultline-lab/faultline/internal/check"
)

// The elements of JUnit's XML that continuous-integration systems agree on.
type (
	junitSuites struct {
		XMLName  xml.Name     `xml:"testsuites"`
		Name     string       `xml:"name,attr"`
		Tests    int          `xml:"tests,attr"`
		Failures int          `xml:"failures,attr"`
		Errors   int          `xml:"errors,attr"`
		Time     string       `xml:"time,attr"`
		Suites   []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name       string          `xml:"name,attr"`
		Tests      int             `xml:"tests,attr"`
		Failures   int             `xml:"failures,attr"`
		Errors     int             `xml:"errors,attr"`
		Skipped    int             `xml:"skipped,attr"`
		Time       string          `xml:"time,attr"`
		Timestamp  string          `xml:"timestamp,attr"`
		Properties []junitProperty `xml:"properties>property"`
		Cases      []junitCase     `xml:"testcase"`
	}
	junitProperty struct {
		Name  string `xml:"name,attr"`
		Value string `xml:"value,attr"`
	}
	junitCase struct {
		Class   string        `xml:"classname,attr"`
		Name    string        `xml:"name,attr"`
		File    string        `xml:"file,attr,omitempty"`
		Line    string        `xml:"line,attr,omitempty"`
		Time    string        `xml:"time,attr"`
		Failure *junitProblem `xml:"failure"`
		Error   *junitProblem `xml:"error"`
		Out     string        `xml:"system-out,omitempty"`
	}
	junitProblem struct {
		Message string `xml:"message,attr"`
		Type    string `xml:"type,attr"`
		Text    string `xml:",chardata"`
	}
)

// JUnit writes verdicts as JUnit XML: a suite for each run, a case for each
// expectation, and one, "the run", for whether the run proves anything. What failed is a
// failure; what is inconclusive is an error, for JUnit's skipped would count as
// success.
func JUnit(w io.Writer, verdicts ...*check.Verdict) error {
	all := junitSuites{Name: "faultline"}
	seconds := 0.0
	for _, v := range verdicts {
		suite := junitSuiteOf(v)
		all.Suites = append(all.Suites, suite)
		all.Tests, all.Failures, all.Errors = all.Tests+suite.Tests, all.Failures+suite.Failures, all.Errors+suite.Errors
		seconds += v.Seconds
	}
	all.Time = junitSeconds(seconds)
	data, err := xml.MarshalIndent(all, "", "  ")
	if err != nil {
		return fmt.Errorf("writing the verdict as JUnit XML: %w", err)
	}
	if _, err := io.WriteString(w, xml.Header+string(data)+"\n"); err != nil {
		return fmt.Errorf("writing the verdict as JUnit XML: %w", err)
	}
	return nil
}

func junitSuiteOf(v *check.Verdict) junitSuite {
	suite := junitSuite{
		Name: suiteName(v), Time: junitSeconds(v.Seconds), Timestamp: v.Started.UTC().Format("2006-01-02T15:04:05"),
		Properties: []junitProperty{
			{"run", v.Run}, {"outcome", string(v.Outcome)}, {"system", v.System}, {"seed", strconv.FormatUint(v.Seed, 10)},
			{"version", v.Version}, {"machine", v.Machine}, {"lag_p99", v.Lag.Text()},
		},
		Cases: []junitCase{runCase(v)},
	}
	for _, f := range v.Findings {
		suite.Cases = append(suite.Cases, findingCase(v, f))
	}
	if set := settingsText(v.Settings); set != "" {
		suite.Properties = append(suite.Properties, junitProperty{"settings", set})
	}
	suite.Tests = len(suite.Cases)
	for _, c := range suite.Cases {
		if c.Failure != nil {
			suite.Failures++
		}
		if c.Error != nil {
			suite.Errors++
		}
	}
	return suite
}

func suiteName(v *check.Verdict) string {
	if v.Variant == "" {
		return v.Scenario
	}
	return v.Scenario + "/" + v.Variant
}

// className has a dot between scenario and variant, for a dot is where
// viewers of JUnit build their tree.
func className(v *check.Verdict) string {
	return strings.Trim(strings.ReplaceAll(v.Scenario, ".", "_")+"."+strings.ReplaceAll(v.Variant, ".", "_"), ".")
}

func runCase(v *check.Verdict) junitCase {
	c := junitCase{Class: className(v), Name: "the run", Time: junitSeconds(0), Out: strings.Join(v.Notes, "\n")}
	if len(v.Reasons) > 0 {
		c.Error = &junitProblem{Message: v.Reasons[0], Type: string(check.Inconclusive), Text: strings.Join(v.Reasons, "\n")}
	}
	return c
}

func findingCase(v *check.Verdict, f check.Finding) junitCase {
	c := junitCase{Class: className(v), Name: findingName(f), Time: junitSeconds(0)}
	c.File, c.Line = place(f.Source)
	problem := &junitProblem{Message: f.Why, Type: string(f.Outcome), Text: fmt.Sprintf("%s\ngot: %s", findingName(f), f.Got)}
	if strings.HasPrefix(f.That, "violations(") {
		for _, broken := range v.Violations {
			problem.Text += "\n" + broken.String()
		}
	}
	switch f.Outcome {
	case check.Pass:
		c.Out = "got: " + f.Got
	case check.Fail:
		c.Failure = problem
	default:
		c.Error = problem
	}
	return c
}

func findingName(f check.Finding) string {
	if f.In == "" {
		return f.That
	}
	return f.That + " in " + f.In
}

// place splits file:line.
func place(source string) (file, line string) {
	i := strings.LastIndexByte(source, ':')
	if i < 0 {
		return source, ""
	}
	if _, err := strconv.Atoi(source[i+1:]); err != nil {
		return source, ""
	}
	return source[:i], source[i+1:]
}

func junitSeconds(s float64) string { return strconv.FormatFloat(s, 'f', 3, 64) }
