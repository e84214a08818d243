package oracle

import (
	"math/rand/v2"
	"slices"
)

// replays is how often an ideal queue is played: of 400 values the 11th and
// the 390th bound 95 %.
const replays = 400

// Interval is where a measured value lies in 95 of 100 runs, if the form is right.
type Interval struct{ Low, High float64 }

// Holds tells whether a value is inside.
func (i Interval) Holds(v float64) bool { return v >= i.Low && v <= i.High }

// replay plays an ideal queue (exponential service, first come first served)
// with the very arrivals of a run, again and again, each time with other service times of the
// same mean, and returns where the statistics of the times in system lie.
//
// A run is short for a busy queue: its requests are not independent of each other, and how
// far its quantiles stray from those of all time is beyond a formula. So it is played.
func replay(arrivals []float64, workers int, service float64, statistics ...func([]float64) float64) []Interval {
	random := rand.New(rand.NewPCG(1, 2)) // the same run is judged the same each time
	found := make([][]float64, len(statistics))
	drawn, times := make([]float64, len(arrivals)), make([]float64, len(arrivals))
	for range replays {
		sum := 0.0
		for i := range drawn {
			drawn[i] = random.ExpFloat64()
			sum += drawn[i]
		}
		scale := service * float64(len(drawn)) / sum // the mean is known: it was measured in this run
		for i := range drawn {
			drawn[i] *= scale
		}
		play(arrivals, drawn, workers, times)
		slices.Sort(times)
		for i, statistic := range statistics {
			found[i] = append(found[i], statistic(times))
		}
	}
	out := make([]Interval, len(statistics))
	for i, values := range found {
		slices.Sort(values)
		out[i] = Interval{values[replays*25/1000], values[replays*975/1000-1]}
	}
	return out
}

// play fills in the time in system of each arrival of a queue.
func play(arrivals, service []float64, workers int, times []float64) {
	free := make([]float64, workers) // when each worker is
	for i, at := range arrivals {
		first := 0
		for w := range free {
			if free[w] < free[first] {
				first = w
			}
		}
		begin := max(at, free[first])
		free[first] = begin + service[i]
		times[i] = free[first] - at
	}
}

func meanOf(values []float64) float64 {
	sum := 0.0
	for _, v := range values {
		sum += v
	}
	return sum / float64(len(values))
}

// quantileOf returns the statistic "quantile p" of values in order of size.
func quantileOf(p float64) func([]float64) float64 {
	return func(sorted []float64) float64 {
		return sorted[min(len(sorted)-1, int(p*float64(len(sorted))))]
	}
}
