package stats

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func near(t *testing.T, what string, got, want, within float64) {
	t.Helper()
	if math.IsNaN(got) != math.IsNaN(want) || math.Abs(got-want) > within {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func TestMedian(t *testing.T) {
	inf := math.Inf(1)
	for _, c := range []struct {
		name string
		in   []float64
		want float64
	}{
		{"one", []float64{3}, 3},
		{"odd", []float64{5, 1, 3}, 3},
		{"even", []float64{4, 1, 3, 2}, 2.5},
		{"never counts as greatest", []float64{inf, 1, 2}, 2},
		{"mostly never", []float64{inf, 1, inf}, inf},
		{"half never", []float64{inf, 1}, inf},
		{"all never", []float64{inf, inf}, inf},
		{"none", nil, math.NaN()},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := Median(c.in)
			if got != c.want && !(math.IsNaN(got) && math.IsNaN(c.want)) {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

// The quantiles are those of printed tables.
func TestStudentQuantile(t *testing.T) {
	for _, c := range []struct{ p, degrees, want float64 }{
		{0.975, 1, 12.7062047}, {0.975, 2, 4.3026527}, {0.975, 4, 2.7764451}, {0.975, 9, 2.2621572},
		{0.975, 30, 2.0422725}, {0.975, 100, 1.9839715}, {0.95, 5, 2.0150484}, {0.995, 10, 3.1692727},
		{0.025, 4, -2.7764451}, {0.5, 7, 0},
	} {
		near(t, "t", StudentQuantile(c.p, c.degrees), c.want, 1e-6)
		near(t, "share", Student(c.want, c.degrees), c.p, 1e-8)
	}
	near(t, "of many degrees it is the normal one", StudentQuantile(0.975, 1e7), NormalQuantile(0.975), 1e-6)
	if !math.IsInf(StudentQuantile(1, 3), 1) || !math.IsInf(StudentQuantile(0, 3), -1) {
		t.Error("the ends are not infinite")
	}
	near(t, "normal", NormalQuantile(0.975), 1.959963985, 1e-9)
	near(t, "normal share", Normal(-1.959963985), 0.025, 1e-9)
}

// The examples of Newcombe: Two-sided confidence intervals for the single
// proportion, Statistics in Medicine 17 (1998), table I, method 3.
func TestWilson(t *testing.T) {
	for _, c := range []struct {
		k, n      int
		low, high float64
	}{{81, 263, 0.2553, 0.3662}, {15, 148, 0.0624, 0.1605}, {0, 20, 0, 0.1611}, {1, 29, 0.0061, 0.1718}, {20, 20, 0.8389, 1}} {
		got := Wilson(c.k, c.n, 0.95)
		near(t, "low", got.Low, c.low, 5e-5)
		near(t, "high", got.High, c.high, 5e-5)
	}
	for _, c := range [][2]int{{0, 0}, {-1, 3}, {4, 3}} {
		if Wilson(c[0], c[1], 0.95).Known() {
			t.Errorf("%d of %d has an interval", c[0], c[1])
		}
	}
}

func TestHolm(t *testing.T) {
	nan := math.NaN()
	for _, c := range []struct {
		name     string
		in, want []float64
	}{
		{"in any order", []float64{0.01, 0.04, 0.03, 0.005}, []float64{0.03, 0.06, 0.06, 0.02}},
		{"as R's p.adjust", []float64{0.01, 0.02, 0.03, 0.04, 0.05}, []float64{0.05, 0.08, 0.09, 0.09, 0.09}},
		{"never above 1", []float64{0.6, 0.9}, []float64{1, 1}},
		{"one", []float64{0.04}, []float64{0.04}},
		{"not made, not counted", []float64{0.02, nan, 0.01}, []float64{0.02, nan, 0.02}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for i, got := range Holm(c.in) {
				near(t, c.name, got, c.want[i], 1e-12)
			}
		})
	}
}

func TestSuperiority(t *testing.T) {
	near(t, "with a tie", Superiority([]float64{1, 2, 0, -1}), 0.625, 0)
	near(t, "always", Superiority([]float64{1, 2}), 1, 0)
	near(t, "none", Superiority(nil), math.NaN(), 0)
}

// hamilton are the differences of Hollander, Wolfe: Nonparametric Statistical
// Methods, table 3.1: a depression scale before and after a therapy.
var hamilton = []float64{0.952, -0.147, 1.022, 0.43, 0.62, 0.59, 0.49, -0.08, 0.01}

// darwin are the differences in height of crossed and self-fertilised maize, in
// eighths of an inch, with which Fisher explained the test.
var darwin = []float64{49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48}

func TestHodgesLehmann(t *testing.T) {
	near(t, "Hollander and Wolfe", HodgesLehmann(hamilton), 0.46, 1e-9)
	near(t, "of two", HodgesLehmann([]float64{1, 3}), 2, 0)
	near(t, "one wild run", HodgesLehmann([]float64{1, 1.1, 0.9, 1, 1000}), 1.05, 1e-9)
	near(t, "none", HodgesLehmann(nil), math.NaN(), 0)
}

func TestSignFlip(t *testing.T) {
	// The Design of Experiments, §21: 863 of the 32,768 sums are at least 314, and as many at most -314.
	near(t, "Fisher", SignFlip(darwin, 0, 0), 2*863.0/32768, 1e-12)
	near(t, "five alike in sign", SignFlip([]float64{1, 2, 3, 4, 5}, 0, 0), LeastP(5), 0)
	near(t, "nothing differs", SignFlip([]float64{0, 0, 0}, 0, 0), 1, 0)
	near(t, "zeros change nothing", SignFlip([]float64{1, 2, 3, 0, 0}, 0, 0), LeastP(3), 0)
	near(t, "none", SignFlip(nil, 0, 0), math.NaN(), 0)
	near(t, "0.1 three times, rounded as it may be", SignFlip([]float64{0.1, 0.2, -0.3, 0.3}, 0, 0), bruteFlip([]float64{1, 2, -3, 3}), 1e-12)
}

// Drawing signs comes close to going through all of them.
func TestSignFlipDraws(t *testing.T) {
	long := slices.Concat(darwin, []float64{3, -11})
	near(t, "17 differences", SignFlip(long, 20_000, 1), bruteFlip(long), 0.005)
	if a, b := SignFlip(long, 500, 7), SignFlip(long, 500, 7); a != b {
		t.Errorf("the same seed gave %v and %v", a, b)
	}
	if p := SignFlip(slices.Repeat([]float64{1}, 40), 100, 1); p != 1/101.0 {
		t.Errorf("never 0, and at least 1/(draws+1): got %v", p)
	}
}

func bruteFlip(v []float64) float64 {
	sum := 0.0
	for _, d := range v {
		sum += d
	}
	as := 0
	for signs := range 1 << len(v) {
		total := 0.0
		for i, d := range v {
			if signs>>i&1 == 1 {
				d = -d
			}
			total += d
		}
		if math.Abs(total) >= math.Abs(sum)-1e-9 {
			as++
		}
	}
	return float64(as) / float64(int(1)<<len(v))
}

// As Hesterberg has it, and R's resample::ExpandProbs: normal quantile times
// sqrt((n-1)/n) equals Student's.
func TestExpandedTail(t *testing.T) {
	for n, student := range map[int]float64{5: 2.7764451, 10: 2.2621572, 31: 2.0422725, 101: 1.9839715} {
		z := NormalQuantile(ExpandedTail(0.95, n))
		near(t, "quantile", z*math.Sqrt(float64(n-1)/float64(n)), -student, 1e-6)
	}
	for n, want := range map[int]float64{5: 0.00095, 10: 0.00855, 20: 0.01588, 100_000: 0.025} {
		near(t, "tail", ExpandedTail(0.95, n), want, 5e-5)
	}
	near(t, "of one", ExpandedTail(0.95, 1), 0, 0)
}

// Going through all n^n samples gives the exact bootstrap distribution.
func TestBootstrapIsTheEnumeratedDistribution(t *testing.T) {
	v := []float64{0.3, -1.2, 2.5, 0.9, 4}
	var all []float64
	sample := make([]float64, len(v))
	for code := range int(math.Pow(float64(len(v)), float64(len(v)))) {
		for i := range sample {
			sample[i] = v[code%len(v)]
			code /= len(v)
		}
		all = append(all, HodgesLehmann(sample))
	}
	slices.Sort(all)
	for _, level := range []float64{0.5, 0.8, 0.9} {
		want := tails(all, ExpandedTail(level, len(v)))
		got := Bootstrap(v, level, 40_000, 3)
		near(t, "low", got.Low, want.Low, 0.06)
		near(t, "high", got.High, want.High, 0.06)
	}
}

func TestBootstrapOfFew(t *testing.T) {
	if Bootstrap([]float64{1}, 0.95, 100, 1).Known() || Bootstrap(nil, 0.95, 100, 1).Known() {
		t.Error("one difference has no interval")
	}
	if got := Bootstrap([]float64{1, 3}, 0.95, 1000, 1); got != (Interval{1, 3}) {
		t.Errorf("of two it is their range, got %v", got)
	}
	if got := Bootstrap([]float64{2, 2, 2, 2}, 0.95, 1000, 1); got != (Interval{2, 2}) {
		t.Errorf("of equal ones it is their value, got %v", got)
	}
	if a, b := Bootstrap(hamilton, 0.95, 1000, 9), Bootstrap(hamilton, 0.95, 1000, 9); a != b {
		t.Errorf("the same seed gave %v and %v", a, b)
	}
}

func TestReach(t *testing.T) {
	near(t, "around 0: the half-width", Interval{-2, 2}.Reach(), 2, 0)
	near(t, "beside 0: more", Interval{1, 3}.Reach(), 3, 0)
	if !(Interval{-1, 1}).Contains(0) || (Interval{1, 2}).Contains(0) {
		t.Error("what contains 0")
	}
}

// How often the interval holds the true centre, and how often a test at 5 %
// rejects what is true. docs/benchmarking.md quotes these numbers.
func TestCoverage(t *testing.T) {
	if testing.Short() {
		t.Skip("a simulation of some seconds")
	}
	const trials, resamples = 2000, 1000
	shapes := map[string]func(*rand.Rand) float64{
		"normal": func(r *rand.Rand) float64 { return r.NormFloat64() },
		// What two runs of the same distribution differ by is symmetric however skewed that is.
		"difference of two skewed": func(r *rand.Rand) float64 {
			return math.Exp(r.NormFloat64()) - math.Exp(r.NormFloat64())
		},
		"one run in ten is wild": func(r *rand.Rand) float64 {
			if r.IntN(10) == 0 {
				return 10 * r.NormFloat64()
			}
			return r.NormFloat64()
		},
	}
	for name, draw := range shapes {
		for n, least := range map[int]float64{5: 0.92, 10: 0.93, 20: 0.93} {
			random := rand.New(rand.NewPCG(42, uint64(n)))
			covered, rejected := 0, 0
			for trial := range trials {
				v := make([]float64, n)
				for i := range v {
					v[i] = draw(random)
				}
				if Bootstrap(v, 0.95, resamples, uint64(trial)).Contains(0) {
					covered++
				}
				if SignFlip(v, 999, uint64(trial)) <= 0.05 {
					rejected++
				}
			}
			share, errors := float64(covered)/trials, float64(rejected)/trials
			t.Logf("%s, %d pairs: the interval covers %.1f %%, the test errs %.1f %%", name, n, 100*share, 100*errors)
			if share < least || share > 0.99 {
				t.Errorf("%s, %d pairs: covers %.3f", name, n, share)
			}
			if errors > 0.065 {
				t.Errorf("%s, %d pairs: rejects %.3f", name, n, errors)
			}
		}
	}
}
