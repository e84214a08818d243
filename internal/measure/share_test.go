package measure

import (
	"fmt"
	"testing"
	"time"

	"github.com/faultline-lab/faultline/internal/measure/grammar"
	"github.com/faultline-lab/faultline/internal/plan"
	"github.com/faultline-lab/faultline/internal/record"
	"github.com/faultline-lab/faultline/loadgen"
)

// sharedRun has 70 journeys of the experiment, 56 of them good, 80 of the control, 48 of them good, and ten of neither.
func sharedRun() *Set {
	began := time.Unix(100, 0)
	var results []loadgen.Result
	add := func(share string, n, good int) {
		for i := range n {
			results = append(results, loadgen.Result{Load: "browse", Share: share, OK: i < good, Due: began.Add(time.Second), Done: began.Add(2 * time.Second)})
		}
	}
	add(loadgen.ShareExperiment, 70, 56)
	add(loadgen.ShareControl, 80, 48)
	add("", 10, 0)
	return New(&record.Run{
		Meta: record.Meta{Load: began, Outcome: record.Completed}, Results: results,
		Plan: &plan.Plan{Phases: []plan.Phase{{Name: "all", End: 10 * time.Second}}, Loads: []loadgen.Load{{Name: "browse", Experiment: 0.1}, {Name: "other"}}},
	}, nil)
}

// TestCompare is example (a) of Newcombe, Interval estimation for the difference between independent proportions (1998), table II.
func TestCompare(t *testing.T) {
	set := sharedRun()
	c, has := set.Compare("browse", set.Whole())
	if got := fmt.Sprintf("%v %.4f %.4f %.4f", has && c.Known, c.Difference, c.Low, c.High); got != "true 0.2000 0.0524 0.3339" {
		t.Errorf("got %s", got)
	}
	if _, has := set.Compare("other", set.Whole()); has {
		t.Error("a load without an experiment is compared")
	}
}

func TestMeasuresOfShares(t *testing.T) {
	set := sharedRun()
	for that, want := range map[string]string{
		"success(browse/experiment) >= 0": "80%", "goodput(browse/control) >= 0": "60%", "success(browse) >= 0": "65%",
		"rate(browse/control) >= 0": "8/s", "recovery(browse/control) >= 0s": "unknown",
	} {
		c, err := grammar.Parse(that)
		if err != nil {
			t.Fatal(err)
		}
		v, err := set.Measure(t.Context(), c, set.Whole())
		if err != nil || v.Text() != want {
			t.Errorf("%s: got %s, %v; want %s", that, v.Text(), err, want)
		}
	}
}
