package oracle

import "math"

// ErlangC is the probability that an arrival has to wait in an M/M/c queue
// (A. K. Erlang, 1917). load is arrivals x mean service time, in workers; at
// load >= workers the queue grows for ever and every arrival waits.
func ErlangC(workers int, load float64) float64 {
	if load >= float64(workers) {
		return 1
	}
	blocked := 1.0 // Erlang B by its recursion, which does not overflow
	for k := 1; k <= workers; k++ {
		blocked = load * blocked / (float64(k) + load*blocked)
	}
	rho := load / float64(workers)
	return blocked / (1 - rho + rho*blocked)
}

// MMc is an M/M/c queue: Poisson arrivals, exponential service, one line for all
// workers, first come first served.
type MMc struct {
	Workers  int
	Arrivals float64 // per second
	Service  float64 // mean seconds
}

// Utilisation is the share of the workers' time that is asked for.
func (q MMc) Utilisation() float64 { return q.Arrivals * q.Service / float64(q.Workers) }

// Mean is the mean time in system, waiting and service; +Inf from a utilisation of 1 on.
// With one worker it is service / (1 - utilisation).
func (q MMc) Mean() float64 {
	spare := float64(q.Workers)/q.Service - q.Arrivals
	if spare <= 0 {
		return math.Inf(1)
	}
	return q.Service + ErlangC(q.Workers, q.Arrivals*q.Service)/spare
}

// Beyond is the probability that the time in system is longer than t seconds.
//
// The wait is 0 with probability 1-C and exponential with rate d = c m - l
// otherwise; service is exponential with rate m, and independent of it:
//
//	P(T > t) = (1-C) exp(-m t) + C (m exp(-d t) - d exp(-m t)) / (m - d)
func (q MMc) Beyond(t float64) float64 {
	m := 1 / q.Service
	d := float64(q.Workers)*m - q.Arrivals
	if d <= 0 {
		return 1
	}
	c := ErlangC(q.Workers, q.Arrivals*q.Service)
	waited := (1 + m*t) * math.Exp(-m*t) // the limit for d = m
	if math.Abs(m-d) > 1e-9*m {
		waited = (m*math.Exp(-d*t) - d*math.Exp(-m*t)) / (m - d)
	}
	return (1-c)*math.Exp(-m*t) + c*waited
}

// Quantile is the time in system, in seconds, that a share p of the arrivals stays below.
func (q MMc) Quantile(p float64) float64 {
	if q.Utilisation() >= 1 {
		return math.Inf(1)
	}
	low, high := 0.0, q.Service
	for q.Beyond(high) > 1-p {
		high *= 2
	}
	for range 100 {
		if mid := (low + high) / 2; q.Beyond(mid) > 1-p {
			low = mid
		} else {
			high = mid
		}
	}
	return high
}

// StaysDown tells whether a queue that has fallen behind stays behind when each
// request that is given up is sent again: a callee that answers nothing in time
// gets utilisation x (1 + retries), and it cannot catch up with more than 1. retries
// counts per request: 2 for three attempts, 0.1 for a budget of 10 %.
func StaysDown(utilisation, retries float64) bool { return utilisation*(1+retries) > 1 }

// Boundary is the utilisation from which on StaysDown.
func Boundary(retries float64) float64 { return 1 / (1 + retries) }

// Drain is how long the work that piled up in an outage keeps a queue busy after
// its end, when nothing is given up: outage x arrivals / (capacity - arrivals).
func Drain(outage, utilisation float64) float64 {
	if utilisation >= 1 {
		return math.Inf(1)
	}
	return outage * utilisation / (1 - utilisation)
}

// AnySlow is the share of requests that meet at least one slow answer among width, when a share slow of the answers is.
func AnySlow(slow float64, width int) float64 { return 1 - math.Pow(1-slow, float64(width)) }

// Layered is how many calls arrive at the bottom for one at the top, when each of
// so many layers makes so many attempts and all of them fail.
func Layered(attempts, layers int) float64 { return math.Pow(float64(attempts), float64(layers)) }
