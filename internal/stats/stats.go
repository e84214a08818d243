// Package stats owns the statistics of measures and benchmarks: what a handful of repeated
// runs, compared in pairs, or two shares of one run allow one to say. It is pure: randomness comes from
// a seed, and the same numbers and seed give the same answer.
//
// It knows nothing of runs or services. Each formula names its source;
// docs/benchmarking.md says how they fit together.
package stats

import (
	"math"
	"slices"
)

// Interval is a range of numbers, both ends included. Ends that are not known
// are NaN.
type Interval struct{ Low, High float64 }

// Known tells whether there is an interval at all.
func (i Interval) Known() bool { return !math.IsNaN(i.Low) && !math.IsNaN(i.High) }

// Contains tells whether v lies in the interval.
func (i Interval) Contains(v float64) bool { return v >= i.Low && v <= i.High }

// Reach is the greatest distance of either end from 0. Of an interval around 0
// it is the half-width; of one that is not, it is more.
func (i Interval) Reach() float64 { return max(math.Abs(i.Low), math.Abs(i.High)) }

func none() Interval { return Interval{math.NaN(), math.NaN()} }

// Median returns the middle of the numbers, or the mean of the two middle
// ones; NaN of none. Infinite numbers are greater or smaller than any other.
func Median(v []float64) float64 {
	if len(v) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(v))
	return middle(sorted[(len(sorted)-1)/2], sorted[len(sorted)/2])
}

// middle is the mean of two numbers, also where both are infinite.
func middle(a, b float64) float64 {
	if a == b {
		return a
	}
	return a + (b-a)/2
}

// Wilson returns the score interval of a probability after k successes in n
// trials. Unlike the textbook interval it stays within 0 and 1 and says
// something after 0 of 5: at most 43 %. (Wilson: Probable inference, the law of
// succession, and statistical inference. JASA 22, 1927; recommended for small n by
// Brown, Cai, DasGupta: Interval estimation for a binomial proportion. Statistical Science 16, 2001.)
func Wilson(k, n int, level float64) Interval {
	if n <= 0 || k < 0 || k > n {
		return none()
	}
	z := NormalQuantile((1 + level) / 2)
	share, trials := float64(k)/float64(n), float64(n)
	center := (share + z*z/(2*trials)) / (1 + z*z/trials)
	half := z / (1 + z*z/trials) * math.Sqrt(share*(1-share)/trials+z*z/(4*trials*trials))
	out := Interval{center - half, center + half}
	if k == 0 {
		out.Low = 0
	}
	if k == n {
		out.High = 1
	}
	return out
}

// Holm adjusts the p-values of several comparisons so that the chance of even
// one false claim among them stays below the level at which they are read. NaN, for a
// comparison that could not be made, stays and counts for nothing. (Holm: A simple sequentially
// rejective multiple test procedure. Scandinavian Journal of Statistics 6, 1979.)
func Holm(p []float64) []float64 {
	var order []int
	out := make([]float64, len(p))
	for i, v := range p {
		out[i] = math.NaN()
		if !math.IsNaN(v) {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int {
		switch {
		case p[a] < p[b]:
			return -1
		case p[a] > p[b]:
			return 1
		}
		return 0
	})
	greatest := 0.0
	for rank, i := range order {
		greatest = max(greatest, min(1, p[i]*float64(len(order)-rank)))
		out[i] = greatest
	}
	return out
}

// Superiority is the share of the differences that are positive, those that
// are 0 counted half: in how many blocks the one was ahead of the other. (The
// paired form of the probability of superiority: Grissom, Kim: Effect Sizes for Research, 2005.)
func Superiority(differences []float64) float64 {
	if len(differences) == 0 {
		return math.NaN()
	}
	sum := 0.0
	for _, d := range differences {
		switch {
		case d > 0:
			sum++
		case d == 0:
			sum += 0.5
		}
	}
	return sum / float64(len(differences))
}
