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

// TestBrokenDataIsBroken wants a fail from a run whose data is broken even where its fault was not felt, and from none else.
func TestBrokenDataIsBroken(t *testing.T) {
	for _, test := range []struct {
		name, that string
		broken     int
		want       check.Outcome
	}{
		{"broken", "violations() == 0", 2, check.Fail},
		{"sound", "violations() == 0", 0, check.Inconclusive},
		{"as it was to be", "violations() >= 1", 2, check.Inconclusive},
		{"less than was to be", "violations() >= 5", 2, check.Inconclusive},
	} {
		run := newRun(expectation("", test.that), expectation("", "goodput(browse) < 1%"))
		run.Events = slices.DeleteFunc(run.Events, func(e record.Event) bool { return e.Text == "felt" })
		for i := range run.Events {
			if run.Events[i].Kind != record.EventAudit {
				continue
			}
			violations := []any{}
			for range test.broken {
				violations = append(violations, map[string]any{"invariant": "money", "detail": "3 lost"})
			}
			run.Events[i].Data = map[string]any{"violations": violations, "settled": true}
		}
		if v := judge(t, run, nil); v.Outcome != test.want || len(v.Reasons) != 1 {
			t.Errorf("%s: got %s, %q, want %s", test.name, v.Outcome, v.Reasons, test.want)
		}
	}
}
