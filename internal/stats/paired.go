package stats

import (
	"math"
	"math/bits"
	"math/rand/v2"
	"slices"
)

// walsh are the means of all pairs of numbers, each paired with itself too, in
// order, with the positions of the two numbers.
type walsh struct {
	mean float64
	i, j int
}

func walshes(v []float64) []walsh {
	out := make([]walsh, 0, len(v)*(len(v)+1)/2)
	for i := range v {
		for j := i; j < len(v); j++ {
			out = append(out, walsh{middle(v[i], v[j]), i, j})
		}
	}
	slices.SortFunc(out, func(a, b walsh) int {
		switch {
		case a.mean < b.mean:
			return -1
		case a.mean > b.mean:
			return 1
		}
		return 0
	})
	return out
}

// HodgesLehmann estimates the centre of paired differences: the median of the
// means of all pairs of them. One wild run moves it little, and it uses five numbers
// better than their median does. NaN of none. (Hodges, Lehmann: Estimates of location based on
// rank tests. Annals of Mathematical Statistics 34, 1963.)
func HodgesLehmann(differences []float64) float64 {
	if len(differences) == 0 {
		return math.NaN()
	}
	all := walshes(differences)
	return middle(all[(len(all)-1)/2].mean, all[len(all)/2].mean)
}

// Resamples is how many samples Bootstrap draws.
const Resamples = 10_000

// Bootstrap returns the interval of HodgesLehmann by drawing so many samples
// with replacement: the expanded percentile interval. The plain percentile
// interval, and BCa with it, is far too narrow for a few runs, as it behaves like the mean plus or
// minus z times a standard deviation that was divided by n. Reading the
// percentiles further out, as ExpandedTail has it, puts right both. Fewer than
// two differences have no interval. (Hesterberg: What Teachers Should Know About the
// Bootstrap. The American Statistician 69, 2015; arXiv:1411.5279.)
//
// No interval made of n numbers alone can promise more than that the centre lies
// between the least and the greatest: 1 - 2^(1-n), 94 % of five.
func Bootstrap(differences []float64, level float64, resamples int, seed uint64) Interval {
	n := len(differences)
	if n < 2 || resamples < 1 {
		return none()
	}
	all := walshes(differences)
	random := rand.New(rand.NewPCG(seed, uint64(n)))
	counts := make([]int, n)
	drawn := make([]float64, resamples)
	for r := range drawn {
		clear(counts)
		for range n {
			counts[random.IntN(n)]++
		}
		drawn[r] = resampled(all, counts)
	}
	slices.Sort(drawn)
	return tails(drawn, ExpandedTail(level, n))
}

// resampled is HodgesLehmann of the sample that holds each number counts times:
// the middle of the sorted means, each weighted with how often it comes up.
func resampled(all []walsh, counts []int) float64 {
	total := len(all) // n(n+1)/2, of any sample of n
	lower, upper := (total+1)/2, total/2+1
	seen, low := 0, math.NaN()
	for _, w := range all {
		weight := counts[w.i] * counts[w.j]
		if w.i == w.j {
			weight = counts[w.i] * (counts[w.i] + 1) / 2
		}
		if seen += weight; seen >= lower && math.IsNaN(low) {
			low = w.mean
		}
		if seen >= upper {
			return middle(low, w.mean)
		}
	}
	return math.NaN()
}

// tails cuts the same share off both ends of sorted numbers.
func tails(sorted []float64, share float64) Interval {
	skip := min(int(share*float64(len(sorted))), (len(sorted)-1)/2)
	return Interval{sorted[skip], sorted[len(sorted)-1-skip]}
}

// ExpandedTail is the share that the expanded percentile interval of a level
// cuts off each end for n numbers: that of the normal distribution beyond sqrt(n/(n-1)) times
// Student's t. For 95 %: 0.1 % of 5, 0.86 % of 10, 1.6 % of 20, towards 2.5 %.
func ExpandedTail(level float64, n int) float64 {
	if n < 2 {
		return 0
	}
	t := StudentQuantile((1+level)/2, float64(n-1))
	return Normal(-math.Sqrt(float64(n)/float64(n-1)) * t)
}

// exact is up to how many differences SignFlip goes through all 2^n signs.
const exact = 16

// SignFlip returns the two-sided p-value of paired differences: the share of
// all ways to swap the two of each pair whose sum is at least as far from 0 as the one
// that was seen. The order within each block was drawn at random, and that alone makes it
// valid: nothing is assumed of the distribution. Differences of 0 change nothing. Up to 16 differences
// all ways are gone through; of more, so many are drawn, the one that was seen counted among them.
// NaN of none. (Fisher: The Design of Experiments, 1935, §21; Phipson, Smyth: Permutation
// P-values should never be zero. Statistical Applications in Genetics and Molecular Biology 9, 2010.)
func SignFlip(differences []float64, draws int, seed uint64) float64 {
	if len(differences) == 0 {
		return math.NaN()
	}
	var sizes []float64
	sum, scale := 0.0, 0.0
	for _, d := range differences {
		sum += d
		if d != 0 {
			sizes = append(sizes, math.Abs(d))
			scale += math.Abs(d)
		}
	}
	enough := math.Abs(sum) - 1e-12*scale // sums of the same numbers in another order differ by rounding
	if len(sizes) <= exact {
		return flipAll(sizes, enough)
	}
	random := rand.New(rand.NewPCG(seed, uint64(len(sizes))))
	as := 1
	for range draws {
		total := 0.0
		for _, size := range sizes {
			if random.Uint64()&1 == 0 {
				size = -size
			}
			total += size
		}
		if math.Abs(total) >= enough {
			as++
		}
	}
	return float64(as) / float64(draws+1)
}

// flipAll goes through all signs in an order in which one sign changes at a
// time (Gray's code).
func flipAll(sizes []float64, enough float64) float64 {
	signs := make([]float64, len(sizes))
	for i := range signs {
		signs[i] = 1
	}
	as, ways := 0, 1<<len(sizes)
	for way := range ways {
		if way > 0 {
			i := bits.TrailingZeros(uint(way))
			signs[i] = -signs[i]
		}
		total := 0.0 // anew each time: a running sum would gather rounding errors
		for i, size := range sizes {
			total += signs[i] * size
		}
		if math.Abs(total) >= enough {
			as++
		}
	}
	return float64(as) / float64(ways)
}

// LeastP is the smallest p-value that SignFlip can give of n differences:
// 0.0625 of five.
func LeastP(n int) float64 {
	if n <= 0 {
		return 1
	}
	return math.Pow(2, float64(1-n))
}
