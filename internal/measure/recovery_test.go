package measure_test

import (
	"math"
	"math/rand/v2"
	"sort"
	"testing"
	"time"

	"github.com/faultline-lab/faultline/chaos"
	"github.com/faultline-lab/faultline/loadgen"

	"github.com/faultline-lab/faultline/internal/measure"
	"github.com/faultline-lab/faultline/internal/plan"
	"github.com/faultline-lab/faultline/internal/record"
)

func TestRecovery(t *testing.T) {
	// Each run has 20 journeys a second, all good until the fault; from its end at
	// 25 s on, bad[i] of the 20 due in second i fail.
	for _, test := range []struct {
		name string
		bad  map[int]int
		want float64
	}{
		{"at once", nil, 0},
		{"after seven seconds", map[int]int{0: 20, 1: 20, 2: 20, 3: 20, 4: 20, 5: 20, 6: 20}, 7},
		{"with a second dip", map[int]int{0: 20, 9: 20}, 10},
		// One failure in 400 is 0.25 %, and not improbable in its second at 1 %.
		{"one stray failure undoes nothing", map[int]int{15: 1}, 0},
		// At 1 %, three of 20 happen by chance in 1.004 of 1,000 seconds; four in 0.04.
		{"three in a second may be chance", map[int]int{15: 3}, 0},
		{"four in a second are not", map[int]int{15: 4}, 16},
		// One a second is 5 %, in no second improbable, but in sum far from 99 %.
		{"a lasting loss of 5 % is no recovery", everySecond(1), math.Inf(1)},
		{"never", everySecond(20), math.Inf(1)},
		// The last three seconds must be good to show it.
		{"with three seconds left", upTo(17, 20), 17},
		{"with two seconds left", upTo(18, 20), math.Inf(1)},
		// From second 0 on 5 of 400 failed, 1.25 %; from 1 on 4 of 380, 1.05 %; from 2 on 3 of 360, 0.83 %.
		{"slowly", map[int]int{0: 1, 1: 1, 2: 1, 3: 1, 4: 1}, 2},
	} {
		run := newRun()
		steady(run, "checkout", 0, 25*second, 20, 50*ms, true)
		for i := range 20 {
			for k := range 20 {
				at := 25*second + time.Duration(i)*second + time.Duration(k)*50*ms
				run.Results = append(run.Results, journey("checkout", at, 50*ms, k >= test.bad[i]))
			}
		}
		expect(t, test.name, value(t, run, nil, "recovery(checkout) < 1s", ""), test.want, "")
	}
}

func everySecond(n int) map[int]int { return upTo(20, n) }

func upTo(seconds, n int) map[int]int {
	bad := map[int]int{}
	for i := range seconds {
		bad[i] = n
	}
	return bad
}

func TestRecoveryIsMeasuredAgainstTheBaseline(t *testing.T) {
	// A baseline of 80 % is all that can come back.
	run := newRun()
	for at := time.Duration(0); at < 45*second; at += 20 * ms {
		good := at%(100*ms) != 0 && (at < 15*second || at >= 30*second)
		run.Results = append(run.Results, journey("browse", at, 50*ms, good))
	}
	expect(t, "80 % before and after", value(t, run, nil, "recovery(browse) < 1s", ""), 5, "")

	// Without a phase of that name, what lies between warmup and fault is the baseline.
	run.Plan.Phases[1].Name = "calm"
	expect(t, "no phase baseline", value(t, run, nil, "recovery(browse) < 1s", ""), 5, "")
}

func TestRecoveryOfWhichFault(t *testing.T) {
	run := newRun()
	run.Plan.Faults = append(run.Plan.Faults, plan.Window{Fault: chaos.Fault{ID: "cut"}, Start: 32 * second, End: 35 * second})
	steady(run, "browse", 0, 28*second, 20, 50*ms, true)
	steady(run, "browse", 28*second, 29*second, 20, 50*ms, false)
	steady(run, "browse", 29*second, 32*second, 20, 50*ms, true)
	steady(run, "browse", 32*second, 37*second, 20, 50*ms, false)
	steady(run, "browse", 37*second, 45*second, 20, 50*ms, true)
	for _, test := range []struct {
		in   string
		want float64
		why  string
	}{
		{"", 2, ""},         // the last fault ended at 35
		{"recovery", 2, ""}, // so in the phase
		{"slow", 4, ""},     // ended at 25, until the next begins at 32
		{"cut", 2, ""},
		{"baseline", 0, "no fault ended in phase baseline (5s to 15s)"},
		{"fault", 0, "only 0s are left after the fault, and 3 s are needed to see a recovery"},
	} {
		expect(t, "in "+test.in, value(t, run, nil, "recovery(browse) < 1s", test.in), test.want, test.why)
	}
}

func TestRecoveryThatCannotBeMeasured(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*record.Run)
		why    string
	}{
		{"no fault", func(r *record.Run) { r.Plan.Faults = nil }, "no fault ended in the plan"},
		{"no baseline", func(r *record.Run) { r.Plan.Phases = r.Plan.Phases[2:]; r.Plan.Faults[0].Start = 0 },
			"there is no baseline: no phase of that name, and nothing before the first fault"},
		{"nothing due before", func(r *record.Run) { r.Results = r.Results[len(r.Results)/2:] }, "nothing of browse was good in the baseline"},
		{"nothing good before", func(r *record.Run) { failAll(r.Results) }, "nothing of browse was good in the baseline"},
		{"nothing due after", func(r *record.Run) { r.Results = r.Results[:200] }, "nothing of browse was due after the fault"},
		{"cut short", func(r *record.Run) { r.Meta.Outcome, r.Meta.Ended = record.Aborted, began.Add(30*second) }, "the run was cut short at 30s, before the end of the plan"},
		{"too short", func(r *record.Run) { r.Plan.Faults[0].End = 43 * second }, "only 2s are left after the fault, and 3 s are needed to see a recovery"},
	} {
		run := newRun()
		steady(run, "browse", 0, 45*second, 10, 50*ms, true)
		test.change(run)
		expect(t, test.name, value(t, run, nil, "recovery(browse) < 1s", ""), 0, test.why)
	}
	// The window was over, but not what comes after its fault.
	run := newRun()
	steady(run, "browse", 0, 45*second, 10, 50*ms, true)
	run.Meta.Outcome, run.Meta.Ended = record.Aborted, began.Add(30*second)
	expect(t, "cut short after the fault", value(t, run, nil, "recovery(browse) < 1s", "slow"), 0, "the run was cut short at 30s, before a recovery could be seen")
}

func failAll(results []loadgen.Result) {
	for i := range results {
		results[i].OK = false
	}
}

// Whatever the run, a finite recovery keeps what its formula promises, and no
// earlier second does.
func TestRecoveryKeepsItsPromise(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for trial := range 300 {
		run := newRun()
		perSecond := 1 + rng.IntN(60)
		ill, noise := rng.IntN(22), rng.Float64()*0.02
		for at := time.Duration(0); at < 45*second; at += second / time.Duration(perSecond) {
			bad := rng.Float64() < noise || at >= 15*second && at < 25*second+time.Duration(ill)*second && rng.Float64() < 0.5
			run.Results = append(run.Results, journey("browse", at, 50*ms, !bad))
		}
		v := value(t, run, nil, "recovery(browse) < 1s", "")
		if !v.Known {
			continue
		}
		base := value(t, run, nil, "goodput(browse) > 0", "baseline").Number
		first := math.Inf(1)
		for s := 17; s >= 0; s-- {
			if good, due := goodFrom(run, 25*second+time.Duration(s)*second); due > 0 && good >= 0.99*base*due {
				first = min(first, float64(s))
			}
		}
		// The rest as a whole is necessary; single bad seconds may put it off further.
		if v.Number < first {
			t.Fatalf("trial %d: recovered after %v s, but the rest is good only from %v s on", trial, v.Number, first)
		}
		if !math.IsInf(v.Number, 1) {
			if good, due := goodFrom(run, 25*second+time.Duration(v.Number)*second); good < 0.99*base*due {
				t.Fatalf("trial %d: recovered after %v s, but the rest is at %v of %v", trial, v.Number, good/due, base)
			}
		}
	}
}

func goodFrom(run *record.Run, from time.Duration) (good, due float64) {
	for _, r := range run.Results {
		if !r.Due.Before(began.Add(from)) {
			due++
			if r.OK {
				good++
			}
		}
	}
	return good, due
}

func TestQuantile(t *testing.T) {
	if v := measure.Quantile(nil, 0.5); !math.IsNaN(v) {
		t.Errorf("of nothing: got %v", v)
	}
	hundred := make([]float64, 100)
	for i := range hundred {
		hundred[i] = float64(i + 1)
	}
	for q, want := range map[float64]float64{0: 1, 0.01: 1, 0.07: 7, 0.5: 50, 0.501: 51, 0.99: 99, 0.999: 100, 1: 100} {
		if got := measure.Quantile(hundred, q); got != want {
			t.Errorf("%v of 1..100: got %v, want %v", q, got, want)
		}
	}
}

// A quantile is the smallest number that at least the share q does not exceed;
// an HDR histogram, which rounds to three digits, must agree.
func TestQuantileAgainstItsDefinitionAndHDR(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for trial := range 200 {
		n := 1 + rng.IntN(2000)
		sorted := make([]float64, n)
		hdr := loadgen.NewHistogram()
		for i := range sorted {
			sorted[i] = math.Exp(rng.NormFloat64()*1.5 - 4) // lognormal around 18 ms
			hdr.Record(time.Duration(sorted[i] * 1e9))
		}
		sort.Float64s(sorted)
		for _, q := range []float64{0.5, 0.9, 0.95, 0.99, 0.999} {
			got := measure.Quantile(sorted, q)
			least := int(math.Ceil(q*float64(n) - 1e-9))
			notAbove := sort.SearchFloat64s(sorted, math.Nextafter(got, math.Inf(1)))
			below := sort.SearchFloat64s(sorted, got)
			if notAbove < least || below >= least {
				t.Fatalf("trial %d, %v of %d: %v has rank %d to %d, want %d", trial, q, n, got, below+1, notAbove, least)
			}
			// HDR takes the nearest rank rather than the one above, so its answer lies between those two.
			lower := sorted[max(0, least-2)] * 0.998
			if h := hdr.Quantile(q).Seconds(); h < lower-2e-6 || h > got*1.002+2e-6 {
				t.Fatalf("trial %d, %v of %d: HDR says %v, exact is %v", trial, q, n, h, got)
			}
		}
	}
}
