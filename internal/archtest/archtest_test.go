package archtest_test

import (
	"strings"
	"testing"

	"github.com/faultline-lab/faultline/internal/archtest"
	"github.com/faultline-lab/faultline/internal/golden"
)

func TestThisModule(t *testing.T) {
	violations, err := archtest.Check("../..", archtest.Rules())
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range violations {
		t.Error(v)
	}
}

// The tree below testdata breaks every rule at least once; what may stand is
// in it as well.
func TestCheckerFindsViolations(t *testing.T) {
	rules := archtest.Rules()
	violations, err := archtest.Check("testdata/broken", rules)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	found := map[string]bool{}
	for _, v := range violations {
		lines = append(lines, v.String())
		found[v.Reason] = true
	}
	for _, rule := range rules {
		if !found[rule.Reason] {
			t.Errorf("nothing in testdata/broken breaks the rule: %s", rule.Reason)
		}
	}
	golden.Equal(t, "testdata/broken.txt", strings.Join(lines, "\n")+"\n")
}

func TestUnreadable(t *testing.T) {
	if _, err := archtest.Check("testdata/unreadable", archtest.Rules()); err == nil {
		t.Error("a file that is not Go was read")
	}
	if _, err := archtest.Check("testdata/none", archtest.Rules()); err == nil {
		t.Error("a folder that is not there was read")
	}
}
