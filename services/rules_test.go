package services_test

import (
	"slices"
	"testing"

	"github.com/faultline-lab/faultline/observability/embedded/ruletest"
)

// TestAlertRules has Prometheus' own libraries evaluate the rules over made-up series, second by second. Every alert
// fires in at least one of the tests, and is silent in another.
func TestAlertRules(t *testing.T) {
	report, err := ruletest.Run(t.Context(), "testdata/alerts_test.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rules(t) {
		if r.Alert != "" && !slices.Contains(report.Alerts, r.Alert) {
			t.Errorf("no test has %s fire", r.Alert)
		}
	}
	if len(report.Tests) < 10 {
		t.Errorf("only %d tests: %q", len(report.Tests), report.Tests)
	}
}
