package oracle

import (
	"math"
	"testing"
)

func near(t *testing.T, what string, got, want, within float64) {
	t.Helper()
	if math.IsNaN(got) || math.Abs(got-want) > within {
		t.Errorf("%s is %g, want %g within %g", what, got, want, within)
	}
}

func TestErlangC(t *testing.T) {
	for _, c := range []struct {
		workers    int
		load, want float64
	}{
		{1, 0.5, 0.5}, // one worker: the utilisation
		{1, 0.9, 0.9},
		{2, 1, 1.0 / 3},      // from the sum by hand: (1/2)/(1-1/2) / (1+1+1)
		{3, 2, 4.0 / 9},      // (8/6)*3 / (1+2+2+4)
		{10, 8, 0.409180},    // Erlang C tables
		{2, 2, 1}, {2, 9, 1}, // it never catches up
		{3, 0, 0},
	} {
		near(t, "ErlangC", ErlangC(c.workers, c.load), c.want, 1e-5)
	}
}

// By the sum of its definition, in logarithms, where the load is large.
func TestErlangCOfMany(t *testing.T) {
	const workers, load = 100, 95.0
	term := func(k float64) float64 { g, _ := math.Lgamma(k + 1); return math.Exp(k*math.Log(load) - g - load) }
	below := 0.0
	for k := range workers {
		below += term(float64(k))
	}
	wait := term(workers) / (1 - load/workers)
	near(t, "ErlangC", ErlangC(workers, load), wait/(below+wait), 1e-12)
}

// The figures that the design of this lab was held to.
func TestMMcAgainstReference(t *testing.T) {
	q := MMc{Workers: 3, Arrivals: 280, Service: 0.010}
	near(t, "p50", q.Quantile(0.5), 0.0390, 0.00005)
	near(t, "p99", q.Quantile(0.99), 0.235, 0.0005)
	near(t, "utilisation", q.Utilisation(), 0.9333, 0.0001)
	for _, rho := range []float64{0.1, 0.5, 0.9} {
		one := MMc{Workers: 1, Arrivals: 100 * rho, Service: 0.01}
		near(t, "mean of M/M/1", one.Mean(), 0.01/(1-rho), 1e-12)
		near(t, "p99 of M/M/1", one.Quantile(0.99), 0.01/(1-rho)*math.Log(100), 1e-9) // exponential
	}
}

// Mean and distribution are worked out apart: the mean is the integral of the tail.
func TestMMcMeanIsTheIntegralOfItsTail(t *testing.T) {
	for _, q := range []MMc{{3, 280, 0.01}, {2, 100, 0.01}, {4, 50, 0.02}, {3, 200, 0.01}} { // the last but none has d = m
		sum, step := 0.0, 1e-4
		for at := step / 2; at < 5; at += step {
			sum += q.Beyond(at) * step
		}
		near(t, "the integral", sum, q.Mean(), 1e-5)
	}
}

func TestOverload(t *testing.T) {
	q := MMc{Workers: 2, Arrivals: 210, Service: 0.01}
	if !math.IsInf(q.Mean(), 1) || !math.IsInf(q.Quantile(0.5), 1) || q.Beyond(100) != 1 || !math.IsInf(Drain(1, 1), 1) {
		t.Error("a queue that never catches up has no mean, no quantile and no end of draining")
	}
}

func TestShapes(t *testing.T) {
	near(t, "boundary of 1 retry", Boundary(1), 0.5, 1e-12)
	near(t, "boundary of 2 retries", Boundary(2), 1.0/3, 1e-12)
	near(t, "drain", Drain(10, 0.8), 40, 1e-9)
	near(t, "fan-out", AnySlow(0.01, 100), 0.634, 0.0005)
	near(t, "layers", Layered(3, 3), 27, 0)
	for _, c := range []struct {
		utilisation, retries float64
		want                 bool
	}{{0.49, 1, false}, {0.51, 1, true}, {0.32, 2, false}, {0.34, 2, true}, {0.80, 0.1, false}, {0.93, 0.1, true}, {0.99, 0, false}} {
		if StaysDown(c.utilisation, c.retries) != c.want {
			t.Errorf("utilisation %g with %g retries: stays down is %t", c.utilisation, c.retries, !c.want)
		}
	}
}
