package stats

import "math"

// Normal is the standard normal distribution's share below z.
func Normal(z float64) float64 { return math.Erfc(-z/math.Sqrt2) / 2 }

// NormalQuantile is the number below which a share p of the standard normal
// distribution lies.
func NormalQuantile(p float64) float64 { return -math.Sqrt2 * math.Erfcinv(2*p) }

// Student is the share of Student's t distribution below t.
func Student(t, degrees float64) float64 {
	tail := beta(degrees/(degrees+t*t), degrees/2, 0.5) / 2
	if t > 0 {
		return 1 - tail
	}
	return tail
}

// StudentQuantile is the number below which a share p of Student's t
// distribution lies, found by halving; infinite for p of 0 and 1.
func StudentQuantile(p, degrees float64) float64 {
	switch {
	case p == 0.5:
		return 0
	case p < 0.5:
		return -StudentQuantile(1-p, degrees)
	case p >= 1:
		return math.Inf(1)
	}
	low, high := 0.0, 1.0
	for Student(high, degrees) < p && high < 1e300 {
		low, high = high, high*2
	}
	for range 200 {
		mid := low + (high-low)/2
		if mid == low || mid == high {
			break
		}
		if Student(mid, degrees) < p {
			low = mid
		} else {
			high = mid
		}
	}
	return high
}

// beta is the regularised incomplete beta function I_x(a, b), by its continued
// fraction (Abramowitz, Stegun: Handbook of Mathematical Functions, 26.5.8), evaluated
// from the front after Lentz. The fraction converges fast below the mean; above it
// I_x(a, b) = 1 - I_(1-x)(b, a) is used.
func beta(x, a, b float64) float64 {
	switch {
	case x <= 0:
		return 0
	case x >= 1:
		return 1
	case x > (a+1)/(a+b+2):
		return 1 - beta(1-x, b, a)
	}
	logBeta := lgamma(a) + lgamma(b) - lgamma(a+b)
	front := math.Exp(a*math.Log(x)+b*math.Log1p(-x)-logBeta) / a
	return front * fraction(x, a, b)
}

func fraction(x, a, b float64) float64 {
	const tiny, close = 1e-300, 1e-15
	keep := func(v float64) float64 {
		if math.Abs(v) < tiny {
			return tiny
		}
		return v
	}
	c, d := 1.0, 1/keep(1-(a+b)*x/(a+1))
	value := d
	for i := 1; i <= 500; i++ {
		m := float64(i)
		for _, step := range [2]float64{
			m * (b - m) * x / ((a + 2*m - 1) * (a + 2*m)),
			-(a + m) * (a + b + m) * x / ((a + 2*m) * (a + 2*m + 1)),
		} {
			d = 1 / keep(1+step*d)
			c = keep(1 + step/c)
			value *= c * d
		}
		if math.Abs(c*d-1) < close {
			break
		}
	}
	return value
}

func lgamma(v float64) float64 {
	out, _ := math.Lgamma(v)
	return out
}
