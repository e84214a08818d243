package grammar_test

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/faultline-lab/faultline/internal/figure"
	"github.com/faultline-lab/faultline/internal/measure/grammar"
)

func TestParse(t *testing.T) {
	for _, test := range []struct {
		text              string
		measure, argument string
		op                grammar.Operator
		wanted            float64
		canonical         string
	}{
		{"goodput(browse) >= 99%", "goodput", "browse", ">=", 0.99, "goodput(browse) >= 99%"},
		{"success(checkout)>=99.5%", "success", "checkout", ">=", 0.995, "success(checkout) >= 99.5%"},
		{"goodput(browse) >= 0.99", "goodput", "browse", ">=", 0.99, "goodput(browse) >= 99%"},
		{"  goodput ( browse )  <  50 %  ", "goodput", "browse", "<", 0.5, "goodput(browse) < 50%"},
		{"goodput(b) >= 99.9999%", "goodput", "b", ">=", 0.999999, "goodput(b) >= 0.999999"},
		{"p99(checkout) < 800ms", "p99", "checkout", "<", 0.8, "p99(checkout) < 800ms"},
		{"p99.9(checkout) <= 1.5s", "p99.9", "checkout", "<=", 1.5, "p99.9(checkout) <= 1.5s"},
		{"p50(a-b.c_d/e) < 90us", "p50", "a-b.c_d/e", "<", 90e-6, "p50(a-b.c_d/e) < 90µs"},
		{"max(browse) < 1m30s", "max", "browse", "<", 90, "max(browse) < 90s"},
		{"max(browse) < 2.5m", "max", "browse", "<", 150, "max(browse) < 2m30s"},
		{"max(browse) > 0", "max", "browse", ">", 0, "max(browse) > 0s"},
		{"amplification(payments->bank) <= 1.2", "amplification", "payments->bank", "<=", 1.2, "amplification(payments->bank) <= 1.2x"},
		{"amplification( payments -> bank ) <= 1.2x", "amplification", "payments->bank", "<=", 1.2, "amplification(payments->bank) <= 1.2x"},
		{"attempts(my-gateway->orders) < 60/s", "attempts", "my-gateway->orders", "<", 60, "attempts(my-gateway->orders) < 60/s"},
		{"rate(browse) != 12345", "rate", "browse", "!=", 12345, "rate(browse) != 12345"},
		{"recovery(checkout) <= 10s", "recovery", "checkout", "<=", 10, "recovery(checkout) <= 10s"},
		{"detected(HighErrorRate) <= 15s", "detected", "HighErrorRate", "<=", 15, "detected(HighErrorRate) <= 15s"},
		{"violations() == 0", "violations", "", "==", 0, "violations() == 0"},
		{"violations ( ) == 0", "violations", "", "==", 0, "violations() == 0"},
		{"lag() > 50ms", "lag", "", ">", 0.05, "lag() > 50ms"},
		{"queue(orders) < 64", "queue", "orders", "<", 64, "queue(orders) < 64"},
		{"memory(catalog) < 100MB", "memory", "catalog", "<", 100 << 20, "memory(catalog) < 100 MB"},
		{"memory(catalog) < 1000000 B", "memory", "catalog", "<", 1e6, "memory(catalog) < 1e+06B"},
		{"cpu(catalog) < .5", "cpu", "catalog", "<", 0.5, "cpu(catalog) < 0.5"},
		{`goodput("my load") > 1%`, "goodput", "my load", ">", 0.01, "goodput('my load') > 1%"},
		{`goodput('it\'s') > 1%`, "goodput", "it's", ">", 0.01, `goodput('it\'s') > 1%`},
		{"promql('sum(rate(x[5s])) > 1') > 3", "promql", "sum(rate(x[5s])) > 1", ">", 3, "promql('sum(rate(x[5s])) > 1') > 3"},
		{`promql('x{a=~"\\d+"}') >= -5e-1`, "promql", `x{a=~"\\d+"}`, ">=", -0.5, `promql('x{a=~"\\d+"}') >= -0.5`},
		{"promql('x') < 250%", "promql", "x", "<", 2.5, "promql('x') < 250%"},
		{"promql('x') < 1.23456s", "promql", "x", "<", 1.23456, "promql('x') < 1.23456s"},
	} {
		c, err := grammar.Parse(test.text)
		if err != nil {
			t.Errorf("%s: %v", test.text, err)
			continue
		}
		if c.Measure.Name != test.measure || c.Argument != test.argument || c.Op != test.op || c.Wanted != test.wanted {
			t.Errorf("%s: read as %s of %q %s %v", test.text, c.Measure.Name, c.Argument, c.Op, c.Wanted)
		}
		if got := c.String(); got != test.canonical {
			t.Errorf("%s: canonical form is %q, want %q", test.text, got, test.canonical)
		}
		if c.Text != strings.TrimSpace(test.text) {
			t.Errorf("%s: text is %q", test.text, c.Text)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"", `position 1: expected a measure, found the end`},
		{"99% <= goodput(browse)", `position 1: expected a measure, found "99"; write the measure first, as in goodput(browse) >= 99%`},
		{"godput(browse) >= 99%", `position 1: unknown measure "godput"; did you mean "goodput"?`},
		{"p98(browse) < 1s", `position 1: unknown measure "p98"; did you mean "p90"?`},
		{"latency(browse) < 1s", `position 1: unknown measure "latency"; measures are success, goodput, p50, p90, p95, p99, p99.9, max, rate, recovery, ` +
			`detected, amplification, attempts, errors, rejected, queue, busy, wasted, cpu, memory, violations, lag, promql`},
		{"goodput >= 99%", `position 9: expected "(" after goodput, found ">="; write goodput(load)`},
		{"goodput() >= 99%", `position 9: goodput needs a load; write goodput(load)`},
		{"goodput('') >= 99%", `position 9: goodput needs a load; write goodput(load)`},
		{"goodput(browse >= 99%", `position 16: expected ")", found ">="`},
		{"goodput(a, b) >= 99%", `position 10: expected ")", found ","; goodput takes one argument; write one comparison for each`},
		{"goodput(payments->bank) >= 99%", `position 9: goodput is of a load, not of an edge; measures of an edge are amplification, attempts, errors, rejected`},
		{"amplification(payments) < 2", `position 15: amplification is of an edge: "payments" is not an edge; write it as caller->callee`},
		{"amplification(payments->) < 2", `position 25: expected a callee after ->, found ")"; write amplification(caller->callee)`},
		{"amplification() < 2", `position 15: amplification needs an edge; write amplification(caller->callee)`},
		{"violations(orders) == 0", `position 12: violations takes no argument; write violations()`},
		{"violations('') == 0", `position 12: violations takes no argument; write violations()`},
		{"lag(+) > 1s", `position 5: expected ")", found "+"; write lag()`},
		{"promql(up) > 1", `position 8: a query stands in quotes; write promql('query')`},
		{"promql(sum(up)) > 1", `position 11: expected ")", found "("; write promql('query')`},
		{"promql('up) > 1", `position 8: the quote that opens here is never closed`},
		{"goodput(browse)", `position 16: expected one of < <= > >= == !=, found the end`},
		{"goodput(browse) = 99%", `position 17: expected one of < <= > >= == !=, found "="; did you mean "=="?`},
		{"goodput(browse) => 99%", `position 17: expected one of < <= > >= == !=, found "=>"; did you mean ">="?`},
		{"goodput(browse) ≥ 99%", `position 17: expected one of < <= > >= == !=, found "≥"; did you mean ">="?`},
		{"goodput(browse) above 99%", `position 17: expected one of < <= > >= == !=, found "above"`},
		{"goodput(browse) >=", `position 19: expected a number, per cent, as 99.5%, or a number from 0 to 1, found the end`},
		{"goodput(browse) >= all", `position 20: expected a number, per cent, as 99.5%, or a number from 0 to 1, found "all"`},
		{"goodput(browse) >= 99", `position 20: 99 is not a limit for goodput: no share is above 1 (was 99% meant?); write per cent, as 99.5%, or a number from 0 to 1`},
		{"goodput(browse) >= 101%", `position 20: 101% is not a limit for goodput: no share is above 100%; write per cent, as 99.5%, or a number from 0 to 1`},
		{"goodput(browse) >= 5s", `position 20: 5s is not a limit for goodput: the unit is wrong; write per cent, as 99.5%, or a number from 0 to 1`},
		{"goodput(browse) >= -1%", `position 20: -1% is not a limit for goodput: it is below 0; write per cent, as 99.5%, or a number from 0 to 1`},
		{"p99(browse) < 800", `position 15: 800 is not a limit for p99: a time needs a unit; write time, as 800ms, 1.5s or 2m`},
		{"p99(browse) < 0x1p-2", `position 15: expected a number, time, as 800ms, 1.5s or 2m, found "0x1p-2"`},
		{"p99(browse) < inf", `position 15: expected a number, time, as 800ms, 1.5s or 2m, found "inf"`},
		{"memory(a) < 1e308GB", `position 13: 1e308GB is not a limit for memory: it is too large; write size, as 100MB (1 MB is 1024 KB)`},
		{"violations() == 0.5", `position 17: 0.5 is not a limit for violations: it is not whole; write a whole number`},
		{"violations() == 0 and lag() < 1s", `position 19: expected the end of the comparison, found "and"; write one expectation for each comparison`},
		{"violations() == 0 && lag() < 1s", `position 19: expected the end of the comparison, found "&"; write one expectation for each comparison`},
		{"violations() == 0 < 1", `position 19: expected the end of the comparison, found "<"; write one expectation for each comparison`},
		{"violations() == 0 please", `position 19: expected the end of the comparison, found "please"`},
		{"violations() == 1,000", `position 18: expected the end of the comparison, found ","`},
		{strings.Repeat("x", grammar.MaxLength+1), `position 4097: longer than 4096 bytes`},
	} {
		c, err := grammar.Parse(test.text)
		if err == nil {
			t.Errorf("%s: read as %s", test.text, c)
			continue
		}
		if err.Error() != test.want {
			t.Errorf("%s:\n got %s\nwant %s", test.text, err, test.want)
		}
	}
}

func TestErrorPointsAtThePlace(t *testing.T) {
	_, err := grammar.Parse("goodput(browse) = 99%")
	var problem *grammar.Error
	if !errors.As(err, &problem) {
		t.Fatalf("got %T, want *grammar.Error", err)
	}
	if want := "goodput(browse) = 99%\n                ^"; problem.Point() != want {
		t.Errorf("got\n%s\nwant\n%s", problem.Point(), want)
	}
}

func TestHolds(t *testing.T) {
	inf := math.Inf(1)
	for _, test := range []struct {
		op          string
		less, same  bool
		more, never bool
	}{
		{"<", true, false, false, false},
		{"<=", true, true, false, false},
		{">", false, false, true, true},
		{">=", false, true, true, true},
		{"==", false, true, false, false},
		{"!=", true, false, true, true},
	} {
		c, err := grammar.Parse("recovery(x) " + test.op + " 10s")
		if err != nil {
			t.Fatal(err)
		}
		got := [4]bool{c.Holds(9.99), c.Holds(10), c.Holds(10.01), c.Holds(inf)}
		if want := [4]bool{test.less, test.same, test.more, test.never}; got != want {
			t.Errorf("%s of 9.99, 10, 10.01 and never: got %v, want %v", test.op, got, want)
		}
		if c.Holds(math.NaN()) {
			t.Errorf("%s holds for a number that is none", test.op)
		}
	}
	if (&grammar.Comparison{Op: "?"}).Holds(1) {
		t.Error("an unknown operator holds")
	}
}

func TestSubject(t *testing.T) {
	c, err := grammar.Parse("errors(a->b) < 1%")
	if err != nil {
		t.Fatal(err)
	}
	if of, name := c.Subject(); of != grammar.Edge || name != "a->b" {
		t.Errorf("got %s %q, want edge a->b", of, name)
	}
}

func TestCatalogIsWhole(t *testing.T) {
	seen := map[string]bool{}
	for _, m := range grammar.Catalog() {
		if seen[m.Name] {
			t.Errorf("%s is listed twice", m.Name)
		}
		seen[m.Name] = true
		if m.Meaning == "" || m.Formula == "" || m.Source == "" || m.Data == "" || m.UnitText() == "" {
			t.Errorf("%s is not fully described", m.Name)
		}
		c, err := grammar.Parse(m.Example)
		if err != nil || c.Measure.Name != m.Name {
			t.Errorf("%s: its example %q does not show it: %v", m.Name, m.Example, err)
		}
	}
}

func TestQuantile(t *testing.T) {
	for _, m := range grammar.Catalog() {
		q, is := grammar.Quantile(m.Name)
		if is != (m.Name[0] == 'p' && m.Name != "promql") || is && (q < 0.5 || q > 0.999) {
			t.Errorf("%s: got %v, %v", m.Name, q, is)
		}
	}
}

func TestDescribeKeepsToTheWidth(t *testing.T) {
	for _, width := range []int{0, 40, 80, 200} {
		var b strings.Builder
		if err := grammar.Describe(&b, width); err != nil {
			t.Fatal(err)
		}
		for line := range strings.SplitSeq(b.String(), "\n") {
			if n := len([]rune(line)); n > max(width, 40) && strings.Contains(strings.TrimSpace(line), " ") && !strings.HasPrefix(line, "      from") {
				t.Errorf("width %d: %d columns in %q", width, n, line)
			}
		}
		for _, m := range grammar.Catalog() {
			if !strings.Contains(b.String(), "  "+m.Signature()+"\n") {
				t.Errorf("width %d: %s is missing", width, m.Name)
			}
		}
	}
}

func TestPromQLTakesAnyUnit(t *testing.T) {
	for text, want := range map[string]figure.Unit{"3": figure.Plain, "3%": figure.Ratio, "3ms": figure.Seconds, "3x": figure.Times, "3KB": figure.Bytes} {
		c, err := grammar.Parse("promql('up') > " + text)
		if err != nil || c.WantedUnit != want {
			t.Errorf("%s: got %q, %v, want %q", text, c.WantedUnit, err, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, m := range grammar.Catalog() {
		f.Add(m.Example)
	}
	for _, text := range []string{"", "a(", "p99(x)<1m30s", "promql('\\'') > -1e300", "goodput('->') < 1%", "max(é) < 1µs", "lag()>0.0000001ms"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := grammar.Parse(text)
		if err != nil {
			var problem *grammar.Error
			if !errors.As(err, &problem) || problem.Position < 1 || problem.Position > len([]rune(text))+1 {
				t.Fatalf("%q: the error points nowhere: %v", text, err)
			}
			_ = problem.Point()
			return
		}
		again, err := grammar.Parse(c.String())
		if err != nil {
			t.Fatalf("%q: its canonical form %q is refused: %v", text, c, err)
		}
		if again.Measure.Name != c.Measure.Name || again.Argument != c.Argument || again.Op != c.Op || again.Wanted != c.Wanted {
			t.Fatalf("%q: read again from %q, it is another", text, c)
		}
	})
}
