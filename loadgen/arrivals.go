package loadgen

import (
	"iter"
	"math"
	"math/rand/v2"
	"sync"
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"
)

// The streams that a load's seed is split into, so that drawing more of one
// thing never changes another.
const (
	arrivalStream = 0x6172726976616c73 // "arrivals"
	requestStream = 0x7265717565737473 // "requests"
)

// Schedule yields the number and the due time of every arrival of an
// open-loop load, in order. It is a pure function of Seed, Arrivals and Stages.
//
// Arrivals of a rate that changes come from a time change: points u of a
// process of rate 1 are mapped through the inverse of the cumulative rate.
//
//	L(t) = integral of rate from 0 to t         due = L^-1(u)
//
//	u |            ___----      Poisson:  u[n] = sum of n+1 exponential gaps
//	  |        __--             Constant: u[n] = n
//	  |     _-
//	  |___--_________ t
//
// For Poisson the result is the non-homogeneous Poisson process of that rate
// exactly, without thinning (E. Çinlar, Introduction to Stochastic Processes, 1975, ch. 4;
// P. Lewis and G. Shedler, Simulation of Nonhomogeneous Poisson Processes by
// Thinning, 1979, section 1).
func (l Load) Schedule() iter.Seq2[uint64, time.Duration] {
	return func(yield func(uint64, time.Duration) bool) {
		all := l.arrivals()
		for n := uint64(0); ; n++ {
			if due, ok := all.next(); !ok || !yield(n, due) {
				return
			}
		}
	}
}

// arrivals gives the due times of a load one by one.
type arrivals struct {
	n       uint64
	points  func(n uint64) float64
	inverse *timeChange
	length  time.Duration
}

func (l Load) arrivals() *arrivals {
	return &arrivals{points: l.points(), inverse: newTimeChange(l.Stages), length: l.Length()}
}

// next returns when the next arrival is due, or false after the last.
func (a *arrivals) next() (time.Duration, bool) {
	due, ok := a.inverse.at(a.points(a.n))
	a.n++
	return due, ok && due < a.length
}

// WithRate returns the load with another rate from an offset on, to its end. Arrivals
// before the offset stay as they are. A load of users has no rate, and stays the same.
func (l Load) WithRate(at time.Duration, rate float64) Load {
	if l.Users > 0 {
		return l
	}
	var stages []Stage
	left := max(0, at)
	for _, stage := range l.Stages {
		if left <= 0 {
			break
		}
		if part := min(left, stage.For); part < stage.For {
			stage = Stage{For: part, From: stage.From, To: stage.From + (stage.To-stage.From)*float64(part)/float64(stage.For)}
		}
		stages, left = append(stages, stage), left-stage.For
	}
	if rest := l.Length() - max(0, at); rest > 0 {
		stages = append(stages, Stage{For: rest, From: rate, To: rate})
	}
	l.Stages = stages
	return l
}

// Length is the time that all stages take together.
func (l Load) Length() time.Duration {
	var length time.Duration
	for _, stage := range l.Stages {
		length += stage.For
	}
	return length
}

// Rate is the number of arrivals per second that the stages ask for at an
// offset; 0 outside them.
func (l Load) Rate(at time.Duration) float64 {
	if at < 0 {
		return 0
	}
	for _, stage := range l.Stages {
		if at < stage.For {
			return stage.From + (stage.To-stage.From)*float64(at)/float64(stage.For)
		}
		at -= stage.For
	}
	return 0
}

// points returns the function that gives the points of the process of rate 1,
// to be called with 0, 1, 2 and so on.
func (l Load) points() func(n uint64) float64 {
	if l.Arrivals == Constant {
		return func(n uint64) float64 { return float64(n) }
	}
	random := rand.New(rand.NewPCG(l.Seed, arrivalStream))
	sum := 0.0
	return func(uint64) float64 {
		sum -= math.Log1p(-random.Float64())
		return sum
	}
}

// timeChange is the inverse of the cumulative rate of stages, for arguments
// that never fall.
type timeChange struct {
	stages []Stage
	start  time.Duration // of stages[0]
	before float64       // cumulative rate up to start
}

func newTimeChange(stages []Stage) *timeChange { return &timeChange{stages: stages} }

// at returns the time at which the cumulative rate passes u, and false when
// it never does. Stages of rate zero are stepped over.
func (c *timeChange) at(u float64) (time.Duration, bool) {
	for len(c.stages) > 0 {
		stage := c.stages[0]
		area := (stage.From + stage.To) / 2 * stage.For.Seconds()
		if u < c.before+area {
			return c.start + stage.inverse(u-c.before), true
		}
		c.stages, c.start, c.before = c.stages[1:], c.start+stage.For, c.before+area
	}
	return 0, false
}

// inverse solves From x + (To-From) x^2 / 2For = y for x, in the form that
// does not cancel when the slope is small: x = 2y / (From + sqrt(From^2 + 2 slope y)).
func (s Stage) inverse(y float64) time.Duration {
	if y <= 0 {
		return 0
	}
	slope := (s.To - s.From) / s.For.Seconds()
	root := math.Sqrt(math.Max(0, s.From*s.From+2*slope*y))
	return time.Duration(2 * y / (s.From + root) * float64(time.Second))
}

// openPacer is a vegeta.Pacer over the arrivals of a load. What it answers
// depends on its arguments and on the changes of rate, not on time. It hands the arrivals out in
// their order; one that was handed out stays as it is.
type openPacer struct {
	worker, workers uint64
	wake            chan struct{} // holds a token when arrivals have changed

	mu     sync.Mutex
	load   Load
	source *arrivals
	due    []time.Duration // those worked out so far
	all    bool            // there are no more
	handed int             // how many were handed out
}

var _ vegeta.Pacer = (*openPacer)(nil)

// newOpenPacer gives the arrivals that fall to one of workers: every
// workers-th, so that all workers together send exactly the load's schedule.
func newOpenPacer(load Load, worker, workers int) *openPacer {
	return &openPacer{load: load, source: load.arrivals(), worker: uint64(worker), workers: uint64(workers), wake: make(chan struct{}, 1)}
}

// Pace says how long to wait for the next arrival, and to stop after the last.
// An arrival for which there is nothing to wait is handed out.
func (p *openPacer) Pace(elapsed time.Duration, hits uint64) (time.Duration, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.workOut(hits) {
		return 0, true
	}
	wait := p.due[hits] - elapsed
	if wait > 0 {
		return wait, false
	}
	p.handed = max(p.handed, int(hits)+1)
	return 0, false
}

// workOut works out the arrivals up to the given one, and tells whether there is such a one.
func (p *openPacer) workOut(hit uint64) bool {
	for uint64(len(p.due)) <= hit && !p.all {
		n := p.source.n
		due, ok := p.source.next()
		switch {
		case !ok:
			p.all = true
		case n%p.workers == p.worker:
			p.due = append(p.due, due)
		}
	}
	return hit < uint64(len(p.due))
}

// dueAt is when the hit is due, and whether there is such a hit.
func (p *openPacer) dueAt(hit uint64) (time.Duration, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.workOut(hit) {
		return 0, false
	}
	return p.due[hit], true
}

// setRate changes the rate from an offset on. The points of the process of rate 1 stay
// the same, so that a load whose stages change in the same way has the same arrivals.
func (p *openPacer) setRate(at time.Duration, rate float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	handed := p.due[:p.handed]
	p.load = p.load.WithRate(at, rate)
	p.source, p.due, p.all = p.load.arrivals(), nil, false
	for len(p.due) < len(handed) && p.workOut(uint64(len(p.due))) {
	}
	p.due = append(handed, p.due[min(len(handed), len(p.due)):]...)
	select {
	case p.wake <- struct{}{}:
	default: // there is one already
	}
}

// Rate is the rate that the load's stages ask for.
func (p *openPacer) Rate(elapsed time.Duration) float64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.load.Rate(elapsed)
}

// closedPacer does not space journeys: in a closed loop it is the number of vegeta's
// workers, one a user, that limits the rate.
type closedPacer struct{ length time.Duration }

var _ vegeta.Pacer = closedPacer{}

// Pace waits for time zero and stops once the load's length has passed.
func (p closedPacer) Pace(elapsed time.Duration, _ uint64) (time.Duration, bool) {
	return max(0, -elapsed), elapsed >= p.length
}

// Rate is unknown beforehand; 0.
func (p closedPacer) Rate(time.Duration) float64 { return 0 }
