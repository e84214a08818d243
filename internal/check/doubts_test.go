package check_test

import (
	"slices"
	"testing"

	"github.com/faultline-lab/faultline/internal/check"
	"github.com/faultline-lab/faultline/internal/record"
)

func TestDoubtsOfARunAlone(t *testing.T) {
	if got := check.Doubts(newRun()); len(got) != 0 {
		t.Errorf("nothing was expected, which takes nothing from the numbers; got %q", got)
	}
	run := newRun()
	run.Events = slices.DeleteFunc(run.Events, func(e record.Event) bool { return e.Text == "felt" })
	run.Meta.Outcome, run.Meta.Reason = record.Aborted, "an abort condition held: lag() > 50ms"
	if want := []string{"the run was aborted: an abort condition held: lag() > 50ms"}; !slices.Equal(check.Doubts(run), want) {
		t.Errorf("got %q, want %q", check.Doubts(run), want)
	}
	if len(run.Plan.Expect) != 0 {
		t.Error("the plan was changed")
	}
	unfelt := newRun(expectation("baseline", "goodput(browse) >= 99%"))
	unfelt.Events = slices.DeleteFunc(unfelt.Events, func(e record.Event) bool { return e.Text == "felt" })
	if got, want := check.Doubts(unfelt), judge(t, unfelt, nil).Reasons; !slices.Equal(got, want) || len(got) != 1 {
		t.Errorf("got %q, the verdict has %q", got, want)
	}
}
