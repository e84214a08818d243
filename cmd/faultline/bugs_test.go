package main

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/faultline-lab/faultline/internal/measure"
	"github.com/faultline-lab/faultline/internal/plan"
	"github.com/faultline-lab/faultline/internal/record"
	"github.com/faultline-lab/faultline/internal/run"
	"github.com/faultline-lab/faultline/services/bug"
)

// shortened says how much of its length a scenario keeps for this test, and how much denser its load is then.
var shortened = map[string]struct{ length, rate float64 }{
	"lost-answers":                   {0.12, 2},
	"crash-between-charge-and-reply": {0.25, 1},
	"partition-during-checkout":      {0.3, 2},
}

// TestSeededBugsAreCaught runs each bundled scenario that a bug was made for, shortened, on the real shop: with the bug the
// invariant is broken that the bug breaks, and without any bug none is.
func TestSeededBugsAreCaught(t *testing.T) {
	if testing.Short() {
		t.Skip("runs the shop a dozen times")
	}
	bin := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", bin, "../shop").CombinedOutput(); err != nil {
		t.Fatalf("building the shop: %v %s", err, out)
	}
	self, err := exec.LookPath("faultline")
	if err != nil {
		t.Fatal(err)
	}
	cases := bug.Catalog()
	var correct []bug.Bug
	for _, b := range cases {
		sound := bug.Bug{Scenario: b.Scenario, Variant: b.Variant}
		if !slices.Contains(correct, sound) {
			correct = append(correct, sound)
		}
	}
	var group errgroup.Group
	group.SetLimit(3)
	for _, b := range append(correct, cases...) {
		root := t.TempDir()
		group.Go(func() error {
			// On a busy machine a short fault may be over before it acts: then a longer one says more. A correct shop has
			// to be right each time, so it has one try.
			var err error
			for _, longer := range []float64{1, 2, 4} {
				if err = caught(t, b, longer, root, self, bin); err == nil || b.Name == "" {
					break
				}
			}
			if err != nil {
				t.Errorf("%s of %s with the bug %q: %v", b.Variant, b.Scenario, b.Name, err)
			}
			return nil
		})
	}
	_ = group.Wait() // what went wrong is told already
}

// caught runs a scenario with a bug, and says what is not as it should be.
func caught(t *testing.T, b bug.Bug, longer float64, root, self, bin string) error {
	src, err := open(filepath.Join("..", "..", "scenarios", b.Scenario+".yaml"))
	if err != nil {
		return err
	}
	options := plan.Options{}
	if b.Name != "" {
		options.Settings = map[string]string{bug.Variable: string(b.Name)}
	}
	p, err := plan.Compile(src.scenario, src.system, b.Variant, options)
	if err != nil {
		return err
	}
	scale(p, longer*shortened[b.Scenario].length, shortened[b.Scenario].rate)
	dir, err := run.Run(t.Context(), run.Config{Plan: p, System: src.system, Scenario: src.text, Root: root, Self: self, Bin: []string{bin}})
	if err != nil {
		return err
	}
	recorded, err := record.Open(dir)
	if err != nil {
		return err
	}
	audit, found := measure.New(recorded, nil).Audit()
	if !found || audit.History == nil || audit.History.OK == 0 {
		return fmt.Errorf("nothing was audited: %+v", audit.Problem)
	}
	return judged(b, audit)
}

func judged(b bug.Bug, audit measure.Audit) error {
	broken := map[string]int{}
	var texts []string
	for _, v := range audit.Violations {
		broken[v.Invariant]++
		texts = append(texts, v.String())
	}
	some := strings.Join(texts[:min(len(texts), 3)], "; ")
	switch {
	case b.Name == "" && (len(broken) > 0 || audit.Problem != ""):
		return fmt.Errorf("the correct shop broke %v (%s) %s", broken, some, audit.Problem)
	case b.Name != "" && broken[b.Broken] == 0:
		return fmt.Errorf("%s was to be broken, got %v (%s) %s", b.Broken, broken, some, audit.Problem)
	}
	return nil
}

// scale makes a plan shorter and its loads denser.
func scale(p *plan.Plan, length, rate float64) {
	of := func(d time.Duration) time.Duration { return time.Duration(float64(d) * length) }
	for i := range p.Phases {
		p.Phases[i].Start, p.Phases[i].End = of(p.Phases[i].Start), of(p.Phases[i].End)
	}
	for i := range p.Faults {
		p.Faults[i].Start, p.Faults[i].End = of(p.Faults[i].Start), of(p.Faults[i].End)
	}
	for i := range p.Loads {
		for j := range p.Loads[i].Stages {
			s := &p.Loads[i].Stages[j]
			s.For, s.From, s.To = of(s.For), s.From*rate, s.To*rate
		}
	}
}

// TestBugsAreSettings holds the shop's file to the bugs that there are.
func TestBugsAreSettings(t *testing.T) {
	src, err := open(filepath.Join("..", "..", "scenarios", "lost-answers.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range src.system.Settings {
		if s.Name == bug.Variable && slices.Equal(s.Allowed, bug.Names()) {
			return
		}
	}
	t.Errorf("shop.yaml has the settings %+v, the bugs are %q", src.system.Settings, bug.Names())
}

// TestUnknownBugs: what is no bug is refused before anything starts.
func TestUnknownBugs(t *testing.T) {
	t.Setenv(bug.Variable, "duble-charge")
	_, err := compile("lost-answers", planFlags{})
	if err == nil || !strings.HasPrefix(err.Error(), `BUG=duble-charge: unknown value; did you mean "double-charge"; permitted: double-charge, double-compensation`) {
		t.Errorf("got %v", err)
	}
}
