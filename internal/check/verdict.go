// Package check owns the verdict: whether a recorded run showed what its
// scenario expects, and whether it can be believed. It is pure: the same files
// give the same verdict, byte for byte.
//
// Three outcomes, and the worst wins: one expectation that failed makes the
// verdict fail, whatever else held; one that could not be measured makes it inconclusive,
// unless another failed. (Jepsen's checkers compose the same way:
// false, then unknown, then true.)
//
// Before that stands the question whether the run was the experiment that was
// planned. A generator that lagged, a fault that was not felt, a run that was cut
// short: then the numbers do not speak of the system, and the verdict is inconclusive
// even where an expectation failed. Verdict.Reasons says why. One expectation is left out of that: an
// invariant that is broken was broken by the system, whether or not the fault was felt that was to try it.
//
// It computes no numbers; package measure does.
package check

import (
	"time"

	"github.com/faultline-lab/faultline/internal/measure"
)

// Outcome is what a finding or a verdict comes to.
type Outcome string

// The outcomes.
const (
	Pass         Outcome = "pass"
	Fail         Outcome = "fail"
	Inconclusive Outcome = "inconclusive"
)

// The exit codes of the outcomes. 2 is left out: a panic in Go exits with it.
const (
	ExitPass         = 0
	ExitFail         = 1
	ExitInconclusive = 3
)

// ExitCode is the outcome as the exit code of a program.
func (o Outcome) ExitCode() int {
	switch o {
	case Pass:
		return ExitPass
	case Fail:
		return ExitFail
	default:
		return ExitInconclusive
	}
}

// Verdict is what a run comes to.
type Verdict struct {
	Run      string    `json:"run"` // the record's id
	Scenario string    `json:"scenario"`
	Variant  string    `json:"variant"`
	System   string    `json:"system"`
	Seed     uint64    `json:"seed"`
	Version  string    `json:"version"` // of the faultline that ran it
	Machine  string    `json:"machine"`
	Started  time.Time `json:"started"`
	Seconds  float64   `json:"seconds"` // from the start of the load to its end, as planned
	// Settings are variables of the environment that were set for the services, such as a seeded bug.
	Settings map[string]string `json:"settings,omitempty"`
	Outcome  Outcome           `json:"outcome"`
	Reasons  []string          `json:"reasons"`  // why the run as a whole proves nothing; empty when it does
	Findings []Finding         `json:"findings"` // one for each expectation, in the plan's order
	Lag      measure.Value     `json:"lag"`      // p99 of the generator's lag
	// Violations are the broken invariants, 100 at most, one of each kind first.
	Violations []measure.Violation `json:"violations,omitempty"`
	Notes      []string            `json:"notes"` // what a reader should know, though it decides nothing
}

// Finding is what one expectation comes to.
type Finding struct {
	That    string        `json:"that"`         // the expectation as written
	In      string        `json:"in,omitempty"` // the phase or fault; "" is the whole run without its warmup
	Source  string        `json:"source,omitempty"`
	Outcome Outcome       `json:"outcome"`
	Value   measure.Value `json:"value"`
	Got     string        `json:"got"`           // the value for people, with as many digits as tell it from the wanted one
	Wanted  string        `json:"wanted"`        // >= 99%
	Why     string        `json:"why,omitempty"` // why it failed or is inconclusive
}

// Worst is the worst of several verdicts' outcomes: fail, then inconclusive,
// then pass. Without a verdict nothing was shown: inconclusive.
func Worst(verdicts ...*Verdict) Outcome {
	outcomes := make([]Outcome, 0, len(verdicts))
	for _, v := range verdicts {
		outcomes = append(outcomes, v.Outcome)
	}
	return worst(outcomes)
}

// ExitCode is the exit code of a program that reached these verdicts: that of
// the worst.
func ExitCode(verdicts ...*Verdict) int { return Worst(verdicts...).ExitCode() }

func worst(outcomes []Outcome) Outcome {
	if len(outcomes) == 0 {
		return Inconclusive
	}
	result := Pass
	for _, o := range outcomes {
		switch {
		case o == Fail:
			return Fail
		case o != Pass:
			result = Inconclusive
		}
	}
	return result
}
