package measure

import (
	"math"
	"math/big"
	"testing"
)

func TestAtLeastIsTheBinomialTail(t *testing.T) {
	for _, test := range []struct {
		k, n int
		p    float64
	}{{1, 20, 0.01}, {2, 20, 0.01}, {3, 20, 0.01}, {14, 500, 0.01}, {300, 500, 0.505}, {500, 500, 0.9}, {7, 80, 0.015}} {
		got, want := atLeast(test.k, test.n, test.p), exactTail(test.k, test.n, test.p)
		if math.Abs(got-want) > 1e-9*want+1e-15 {
			t.Errorf("%d of %d at %v: got %v, want %v", test.k, test.n, test.p, got, want)
		}
	}
	for name, got := range map[string]float64{"none": atLeast(0, 5, 0.1), "certain": atLeast(5, 5, 1)} {
		if got != 1 {
			t.Errorf("%s: got %v, want 1", name, got)
		}
	}
	for name, got := range map[string]float64{"more than there are": atLeast(6, 5, 0.5), "impossible": atLeast(1, 5, 0)} {
		if got != 0 {
			t.Errorf("%s: got %v, want 0", name, got)
		}
	}
}

// exactTail sums the terms with big rationals.
func exactTail(k, n int, p float64) float64 {
	sum, one := new(big.Float).SetPrec(400), big.NewFloat(1).SetPrec(400)
	chance := big.NewFloat(p).SetPrec(400)
	rest := new(big.Float).SetPrec(400).Sub(one, chance)
	for i := k; i <= n; i++ {
		term := new(big.Float).SetPrec(400).SetInt(new(big.Int).Binomial(int64(n), int64(i)))
		for range i {
			term.Mul(term, chance)
		}
		for range n - i {
			term.Mul(term, rest)
		}
		sum.Add(sum, term)
	}
	f, _ := sum.Float64()
	return f
}
