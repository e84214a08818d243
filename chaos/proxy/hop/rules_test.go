package hop

import (
	"math"
	"math/rand/v2"
	"net/http"
	"testing"

	"github.com/faultline-lab/faultline/chaos"
	"github.com/faultline-lab/faultline/parameter"
)

func TestASequenceIsExactAllAlong(t *testing.T) {
	for _, ratio := range []float64{0.0001, 0.01, 0.1, 0.25, 1.0 / 3, 0.5, 0.7, 0.9, 0.999, 1} {
		for seed := range uint64(20) {
			draw := rand.New(rand.NewPCG(seed, 0))
			s := sequence{ratio: ratio, draw: draw.Float64}
			s.advance()
			picked := 0
			for n := 1; n <= 5000; n++ {
				if s.next() {
					picked++
				}
				if off := math.Abs(float64(picked) - ratio*float64(n)); off > 1+1e-6 {
					t.Fatalf("ratio %v, seed %d: %d of %d", ratio, seed, picked, n)
				}
			}
		}
	}
}

func TestASequenceFollowsNoPattern(t *testing.T) {
	draw := rand.New(rand.NewPCG(1, 0))
	s := sequence{ratio: 0.1, draw: draw.Float64}
	s.advance()
	var at [10]int
	for n := range 10_000 {
		if s.next() {
			at[n%10]++
		}
	}
	for position, count := range at {
		if count < 50 || count > 200 {
			t.Errorf("position %d of ten was picked %d times of 1,000", position, count)
		}
	}
}

func TestPatterns(t *testing.T) {
	charge := &request{path: "shop.payments.v1.Payments/Charge", header: http.Header{}}
	post := &request{method: "POST", path: "/charges/17", header: http.Header{}}
	health := &request{path: "grpc.health.v1.Health/Check", header: http.Header{}}
	probe := &request{method: "GET", path: "/healthz", header: http.Header{"User-Agent": {ProbeAgent}}}
	tests := []struct {
		pattern pattern
		in      *request
		want    bool
	}{
		{"", charge, true}, {"", post, true}, {"", health, false}, {"", probe, false},
		{"Charge", charge, true}, {"Char*", charge, true}, {"Refund", charge, false}, {"charge", charge, false},
		{"shop.payments.v1.Payments/Charge", charge, true}, {"/shop.payments.v1.Payments/*", charge, true}, {"shop.orders.*/Charge", charge, false},
		{"POST /charges/*", post, true}, {"GET /charges/*", post, false}, {"* /charges/17", post, true},
		{"/charges/*", post, true}, {"/charges", post, false}, {"/*/17", post, true}, {"17", post, true},
		{"Check", health, true}, {"/healthz", probe, true}, {"/*a*g*1*", post, true}, {"/*a*1*g*", post, false},
	}
	for _, test := range tests {
		if got := test.pattern.matches(test.in); got != test.want {
			t.Errorf("%q on %s %s: %v", test.pattern, test.in.method, test.in.path, got)
		}
	}
}

func TestBaggageAndReplicas(t *testing.T) {
	tests := []struct {
		name, asks, carries string
		replica             int
		want                bool
	}{
		{"no entry asked for", "", "", 0, true},
		{"the entry", "faultline.load=checkout", "a=b,faultline.load=checkout;p=1", 0, true},
		{"another value", "faultline.load=checkout", "faultline.load=browse", 0, false},
		{"the key alone", "faultline.load", "faultline.load=browse", 0, true},
		{"an encoded value", "who=a b", "who=a%20b", 0, true},
		{"none", "faultline.load", "", 0, false},
		{"no baggage at all", "faultline.load", ";;=", 0, false},
		{"the replica", "", "", 2, true},
		{"another replica", "", "", 1, false},
	}
	for _, test := range tests {
		f := fault("f", chaos.RequestError, parameter.Values{"baggage": test.asks})
		f.Replica = test.replica
		in := &request{edge: edgeAB, replica: 2, path: "x.Y/Z", header: http.Header{}}
		if test.carries != "" {
			in.header.Set("Baggage", test.carries)
		}
		if got := newRule(f, 0, 1).matches(in); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
	if newRule(fault("f", chaos.RequestError, nil), 0, 1).matches(&request{edge: chaos.Edge{Caller: "a", Callee: "c"}, header: http.Header{}}) {
		t.Error("it hits another edge")
	}
}

func TestAddRefuses(t *testing.T) {
	rules := NewRules()
	add(t, rules, fault("twice", chaos.LoseAnswer, nil))
	for name, f := range map[string]chaos.Fault{
		"another family": fault("f", chaos.Latency, nil),
		"no id":          fault("", chaos.LoseAnswer, nil),
		"no edge":        {ID: "f", Kind: chaos.LoseAnswer},
		"active already": fault("twice", chaos.LoseAnswer, nil),
	} {
		if rules.Add(f, 1) == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, known := rules.Tally("f"); known {
		t.Error("what was refused is known")
	}
}
