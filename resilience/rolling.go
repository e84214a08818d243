package resilience

import "time"

// rollingParts is into how many parts a rolling window is cut: what falls out of it falls out in these.
const rollingParts = 10

// tally is how many calls there were and how many of them were good.
type tally struct {
	calls, good float64
	timed       float64       // those whose durations count
	took        time.Duration // which are this together
}

// mean is the mean duration in seconds; 0 when there is none.
func (t tally) mean() float64 {
	if t.timed == 0 {
		return 0
	}
	return t.took.Seconds() / t.timed
}

// rolling counts calls over the last stretch of time. Whoever has it locks it.
type rolling struct {
	part  time.Duration
	began time.Time // of the newest part
	parts [rollingParts]tally
	now   int // index of the newest part
}

func newRolling(window time.Duration) rolling {
	return rolling{part: max(window/rollingParts, 1), began: time.Now()}
}

// current gives the part to count in, letting go of those that are too old.
func (r *rolling) current(now time.Time) *tally {
	passed := int(min(now.Sub(r.began)/r.part, rollingParts))
	for range passed {
		r.now = (r.now + 1) % rollingParts
		r.parts[r.now] = tally{}
	}
	if passed > 0 {
		r.began = r.began.Add(now.Sub(r.began) / r.part * r.part)
	}
	return &r.parts[r.now]
}

// sum counts all of the window.
func (r *rolling) sum(now time.Time) tally {
	r.current(now)
	var all tally
	for _, p := range r.parts {
		all.calls += p.calls
		all.good += p.good
		all.timed += p.timed
		all.took += p.took
	}
	return all
}
