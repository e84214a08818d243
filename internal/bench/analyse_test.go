package bench

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"math"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/faultline-lab/faultline/internal/golden"
	"github.com/faultline-lab/faultline/internal/measure"
)

// knownEffects makes better better in the fault, and dearer when healthy.
func knownEffects() map[string]map[string]fx {
	return map[string]map[string]fx{"better": {
		"goodput.browse.fault": {1, 0.35}, "p99.browse.run": {0.25, 0}, "recovery.browse": {0.3, 0},
		"cpu.baseline": {1.2, 0}, "amplification.front->back": {0.7, 0}, "wasted.run": {0.1, 0},
	}}
}

func TestKnownEffectsAreFound(t *testing.T) {
	r := imagine(t, campaign(t, Options{Repeats: 12}), &world{noise: 0.03, effects: knownEffects()})
	for key, want := range map[string]struct {
		says        Says
		least, most float64
	}{
		"goodput.browse.fault":      {SaysBetter, 0.33, 0.37},
		"p99.browse.run":            {SaysBetter, 0.24, 0.26},
		"recovery.browse":           {SaysBetter, -9, -4},
		"cpu.baseline":              {SaysWorse, 1.15, 1.25},
		"amplification.front->back": {SaysBetter, 0.67, 0.73},
		"wasted.run":                {SaysBetter, -0.19, -0.17},
		"goodput.browse.run":        {NoClaim, -0.03, 0.03},
		"violations":                {NoClaim, 0, 0},
	} {
		c := r.figure(t, key).Comparisons[0]
		if c.Says != want.says || float64(c.Estimate) < want.least || float64(c.Estimate) > want.most {
			t.Errorf("%s: %s %s says %q", key, c.Text, c.Range, c.Says)
		}
		if c.Variant != "better" || c.Against != "naive" || c.Pairs != 12 || c.Excluded != 0 {
			t.Errorf("%s: %+v", key, c)
		}
	}
	for _, f := range r.Figures {
		if says := f.Comparisons[1].Says; says != NoClaim && f.Key != "recovery.browse" {
			t.Errorf("same differs from naive in %s: %q", f.Key, says)
		}
		if f.AA.Says != NoClaim {
			t.Errorf("the A/A pair differs in %s: %q", f.Key, f.AA.Says)
		}
	}
}

// What five repeats show is a hint, and what two show is nothing.
func TestFewRepeatsClaimNothing(t *testing.T) {
	for repeats, want := range map[int]Says{2: TooFew, 4: TooFew, 5: HintsBetter, 9: HintsBetter, 10: SaysBetter} {
		r := imagine(t, campaign(t, Options{Repeats: repeats}), &world{noise: 0.01, effects: knownEffects()})
		if got := r.figure(t, "goodput.browse.fault").Comparisons[0].Says; got != want {
			t.Errorf("%d repeats: %q, want %q", repeats, got, want)
		}
	}
}

// A difference that the A/A pair shows as well is no claim, however sure it is.
func TestNoClaimWithinTheNoise(t *testing.T) {
	w := &world{noise: 0.002, effects: map[string]map[string]fx{"better": {"goodput.browse.fault": {1, 0.05}, "p99.browse.fault": {0.5, 0}}}}
	c := campaign(t, Options{Repeats: 12})
	r := imagine(t, c, w)
	if got := r.figure(t, "goodput.browse.fault").Comparisons[0].Says; got != SaysBetter {
		t.Fatalf("says %q", got)
	}
	// Now the twin, which is the same, differs by 6 points: something is wrong with the machine.
	a := &analysis{c: c, measured: map[*Slot]*Measured{}}
	for _, slot := range c.Slots() {
		p, err := c.plan(slot)
		if err != nil {
			t.Fatal(err)
		}
		m := w.measured(Task{Slot: *slot, Plan: p, Frame: c.cells[0].Frame})
		if slot.Twin {
			v := m.Figures["goodput.browse.fault"]
			v.Number += 0.06
			m.Figures["goodput.browse.fault"] = v
		}
		a.measured[slot] = m
	}
	if r, err := a.report(); err != nil {
		t.Fatal(err)
	} else if f := r.figure(t, "goodput.browse.fault"); f.Comparisons[0].Says != NoClaim || f.AA.Says != NoClaim || r.figure(t, "p99.browse.fault").Comparisons[0].Says != SaysBetter {
		t.Errorf("%+v", f.Comparisons[0])
	}
}

// Without any effect hardly anything is claimed: the rate of false claims.
func TestNoEffectIsNoClaim(t *testing.T) {
	if testing.Short() {
		t.Skip("a simulation of some seconds")
	}
	claims, hints, comparisons := 0, 0, 0
	for campaigns := range 12 {
		r := imagine(t, campaign(t, Options{Repeats: 10, Seed: seed(uint64(1000 * campaigns))}), &world{noise: 0.05})
		for _, f := range r.Figures {
			if f.Key == "recovery.browse" || f.Key == keyViolations {
				continue // naive never comes back in every other run; and nothing is violated
			}
			for _, c := range f.Comparisons {
				comparisons++
				switch c.Says {
				case SaysBetter, SaysWorse:
					claims++
				case HintsBetter, HintsWorse:
					hints++
				}
			}
		}
	}
	t.Logf("of %d comparisons without an effect, %d are claimed and %d hinted", comparisons, claims, hints)
	if share := float64(claims) / float64(comparisons); share > 0.02 {
		t.Errorf("%.1f %% false claims", 100*share)
	}
}

// How large an effect must be, in standard deviations of the paired
// difference, to be claimed four times in five. docs/benchmarking.md quotes this.
func TestPower(t *testing.T) {
	if testing.Short() {
		t.Skip("a simulation of some seconds")
	}
	const trials = 80
	f := Figure{Scale: Difference, Better: More}
	for _, c := range []struct {
		pairs       int
		effect      float64
		least, most float64
	}{{10, 0, 0, 0.04}, {10, 1.5, 0.65, 0.97}, {12, 1.3, 0.65, 0.97}, {20, 1, 0.7, 0.99}} {
		random := rand.New(rand.NewPCG(7, uint64(c.pairs)))
		claims := 0
		for trial := range trials {
			one, twin := make([]float64, c.pairs), make([]float64, c.pairs)
			for i := range one {
				reference := random.NormFloat64() / math.Sqrt2 // in both comparisons
				one[i] = c.effect + random.NormFloat64()/math.Sqrt2 - reference
				twin[i] = random.NormFloat64()/math.Sqrt2 - reference
			}
			var effect, aa Comparison
			effect.assess(f, one, uint64(trial))
			aa.assess(f, twin, uint64(trial))
			effect.Holm = effect.P
			effect.judge(f, &aa)
			if effect.Says == SaysBetter {
				claims++
			}
		}
		share := float64(claims) / trials
		t.Logf("%d pairs, effect %.1f: %.0f %% are claimed", c.pairs, c.effect, 100*share)
		if share < c.least || share > c.most {
			t.Errorf("%d pairs, effect %.1f: %.2f are claimed", c.pairs, c.effect, share)
		}
	}
}

func TestVoidRunsAreExcludedInPairs(t *testing.T) {
	w := &world{noise: 0.01, effects: knownEffects(), void: func(s Slot) []string {
		if s.Block == 3 && s.Variant == "naive" && !s.Twin || s.Block >= 11 && s.Variant == "better" {
			return []string{"the load generator lagged"}
		}
		return nil
	}}
	r := imagine(t, campaign(t, Options{Repeats: 12, WarmupBlocks: 1}), w)
	f := r.figure(t, "goodput.browse.fault")
	if c := f.Comparisons[0]; c.Pairs != 9 || c.Excluded != 3 || c.Says != HintsBetter {
		t.Errorf("better: %+v", c)
	}
	if c := f.Comparisons[1]; c.Pairs != 11 || c.Excluded != 1 {
		t.Errorf("same: %+v", c)
	}
	if f.AA.Pairs != 11 || f.AA.Excluded != 1 {
		t.Errorf("A/A: %+v", f.AA)
	}
	if r.Total != (Tally{Planned: 48, Done: 48, Void: 3}) || r.Variants[0].Tally != (Tally{Planned: 12, Done: 12, Void: 1}) {
		t.Errorf("total %+v, naive %+v", r.Total, r.Variants[0].Tally)
	}
	if f.Values[0].N != 11 || f.Values[2].N != 10 {
		t.Errorf("medians stand on %d and %d runs", f.Values[0].N, f.Values[2].N)
	}
	void := 0
	for _, run := range r.Runs {
		if len(run.Void) > 0 {
			void++
		}
	}
	if void != 3 || len(r.Runs) != 52 {
		t.Errorf("%d runs listed, %d of them void", len(r.Runs), void)
	}
}

func TestNeverRecovered(t *testing.T) {
	r := imagine(t, campaign(t, Options{Repeats: 10, Seed: seed(1)}), &world{})
	naive, better := r.Variants[0].Never, r.Variants[2].Never
	if naive.K != 5 || naive.N != 10 || math.Abs(float64(naive.Low)-0.2366) > 1e-3 || better.K != 0 || math.Abs(float64(better.High)-0.2775) > 1e-3 {
		t.Errorf("naive %+v, better %+v", naive, better)
	}
	f := r.figure(t, "recovery.browse")
	if f.Values[0].Never != 5 || f.Comparisons[0].Limited != 5 {
		t.Errorf("%+v, %+v", f.Values[0], f.Comparisons[0])
	}
	// The recovery phase takes 10 s: what never came counts with that, not with infinity.
	if c := f.Comparisons[0]; math.IsInf(float64(c.Estimate), 0) || float64(c.Low) < -10 {
		t.Errorf("%+v", c)
	}
}

func TestDifferences(t *testing.T) {
	one := func(v float64) *Measured {
		return &Measured{Figures: map[string]measure.Value{"x": {Number: v, Known: !math.IsNaN(v)}}}
	}
	ratio, plain := Figure{Key: "x", Scale: Ratio, Limit: 10}, Figure{Key: "x", Scale: Difference}
	inf := math.Inf(1)
	for _, c := range []struct {
		name        string
		f           Figure
		a, b, want  float64
		limited, ok bool
	}{
		{"difference", plain, 3, 1, 2, false, true},
		{"factor", ratio, 4, 2, math.Ln2, false, true},
		{"never counts with the limit", ratio, inf, 5, math.Ln2, true, true},
		{"above the limit too", ratio, 12, 5, math.Ln2, true, true},
		{"both never", ratio, inf, inf, 0, true, true},
		{"never without a limit", plain, inf, 1, 0, false, false},
		{"both 0", ratio, 0, 0, 0, false, true},
		{"no factor of 0", ratio, 1, 0, 0, false, false},
		{"unknown", plain, math.NaN(), 1, 0, false, false},
	} {
		d, limited, ok := c.f.difference(one(c.a), one(c.b))
		if math.Abs(d-c.want) > 1e-12 || limited != c.limited || ok != c.ok {
			t.Errorf("%s: got %v %v %v", c.name, d, limited, ok)
		}
	}
	if _, _, ok := plain.difference(nil, one(1)); ok {
		t.Error("a run that does not count has no difference")
	}
}

func TestTexts(t *testing.T) {
	for _, c := range []struct {
		f     Figure
		v     float64
		want  string
		noise string
	}{
		{Figure{Unit: "ratio", Scale: Difference}, 0.5871, "+58.7pp", "58.7pp"},
		{Figure{Unit: "ratio", Scale: Difference}, -0.0004, "-0.04pp", "0.04pp"},
		{Figure{Unit: "ratio", Scale: Difference}, 0.00004, "0pp", "0pp"},
		{Figure{Unit: "ratio", Scale: Difference}, 0, "0pp", "0pp"},
		{Figure{Unit: "seconds", Scale: Difference}, -1.25, "-1.25s", "1.25s"},
		{Figure{Unit: "count", Scale: Difference}, 3, "+3", "3"},
		{Figure{Unit: "seconds", Scale: Ratio}, 1.0423, "1.04x", "1.04x"},
		{Figure{Unit: "seconds", Scale: Ratio}, math.NaN(), "-", "-"},
	} {
		if got := c.f.differenceText(Number(c.v)); got != c.want {
			t.Errorf("%v: got %s, want %s", c.v, got, c.want)
		}
		if got := c.f.noiseText(Number(c.v)); got != c.noise {
			t.Errorf("noise %v: got %s, want %s", c.v, got, c.noise)
		}
	}
}

func TestTerminal(t *testing.T) {
	void := func(s Slot) []string {
		if s.Number == 5 {
			return []string{"the load generator lagged: p99 of sent - due was 31ms, and at most 5ms is allowed"}
		}
		return nil
	}
	for name, r := range map[string]*Report{
		"effects": imagine(t, campaign(t, Options{Repeats: 12}), &world{noise: 0.03, effects: knownEffects(), void: void}),
		"hints":   imagine(t, campaign(t, Options{Repeats: 5, Variants: []string{"naive", "better"}}), &world{noise: 0.03, effects: knownEffects()}),
		"alone":   imagine(t, campaign(t, Options{Repeats: 6, Variants: []string{"naive"}}), &world{noise: 0.03}),
		"map":     imagine(t, mapped(t), &world{noise: 0.03}),
		"void":    imagine(t, campaign(t, Options{Repeats: 1}), &world{void: func(Slot) []string { return []string{"the load never started"} }}),
	} {
		var out bytes.Buffer
		if err := r.Print(&out, Style{}); err != nil {
			t.Fatal(err)
		}
		for line := range strings.SplitSeq(out.String(), "\n") {
			if utf8.RuneCountInString(line) > 80 {
				t.Errorf("%s: %d columns: %s", name, utf8.RuneCountInString(line), line)
			}
		}
		golden.Equal(t, filepath.Join("testdata", name+".txt"), out.String())
	}
}

func mapped(t testing.TB) *Campaign {
	return campaign(t, Options{Repeats: 3, Variants: []string{"naive", "better"}, Sweep: []Axis{
		{Path: "load.browse.rate", Values: []string{"20/s", "80/s", "140/s"}}, {Path: "phases.fault", Values: []string{"2s", "5.6s", "9.2s", "12.8s"}},
	}})
}

func TestMap(t *testing.T) {
	r := imagine(t, mapped(t), &world{})
	if len(r.Sweep.Cells) != 24 || len(r.Figures) != 0 {
		t.Fatalf("%d cells, %d figures", len(r.Sweep.Cells), len(r.Figures))
	}
	cell := r.Sweep.cell("naive", 5)
	if strings.Join(cell.Values, " ") != "80/s 5.6s" || cell.Recovered.K != 1 || cell.Recovered.N != 3 || cell.Planned != 3 {
		t.Errorf("%+v", cell) // seeds 7, 8, 9: naive comes back with the even one
	}
	if cell := r.Sweep.cell("better", 11); cell.Recovered.K != 3 || !cell.Medians["goodput.browse.recovery"].Known() {
		t.Errorf("%+v", cell)
	}
	var out bytes.Buffer
	if err := r.SweepCSV(&out); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(&out).ReadAll()
	if err != nil || len(rows) != 25 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	if got := strings.Join(rows[0], ","); got != "variant,load.browse.rate,phases.fault,runs,void,failed,recovered,of,p_recovered,low,high,goodput.browse.fault,goodput.browse.recovery,goodput.browse.run" {
		t.Errorf("header %s", got)
	}
	if got := strings.Join(rows[6][:9], ","); got != "naive,80/s,5.6s,3,0,0,1,3,0.3333333333333333" {
		t.Errorf("row %s", got)
	}
}

func TestMachineFormats(t *testing.T) {
	c := campaign(t, Options{Repeats: 2, WarmupBlocks: 1})
	w := &world{noise: 0.01, void: func(s Slot) []string {
		if s.Number == 6 {
			return []string{"a, b", "c"}
		}
		return nil
	}}
	r := carryOut(t, c, w)
	if err := c.Write(r, ":root{}"); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := r.CSV(&out); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(&out).ReadAll()
	if err != nil || len(rows) != 1+12 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	column := func(name string, row int) string {
		for i, header := range rows[0] {
			if header == name {
				return rows[row][i]
			}
		}
		t.Fatalf("no column %s", name)
		return ""
	}
	if column("void", 6) != "a, b; c" || column("verdict", 6) != "inconclusive" || column("record", 6) != "runs/r6" || column("warmup", 1) != "true" || column("warmup", 5) != "false" {
		t.Errorf("row 6: %q", rows[6])
	}
	for i, run := range r.Runs {
		if got := column("recovery.browse", i+1); (got == "inf") != math.IsInf(run.Figures["recovery.browse"].Number, 1) {
			t.Errorf("run %d: recovery %s", run.Number, got)
		}
	}
	out.Reset()
	if err := r.JSON(&out); err != nil {
		t.Fatal(err)
	}
	var back Report
	if err := json.Unmarshal(out.Bytes(), &back); err != nil {
		t.Fatal(err)
	}
	if back.Total != r.Total || len(back.Figures) != len(r.Figures) || back.Figures[3].Comparisons[1].Text != r.Figures[3].Comparisons[1].Text {
		t.Errorf("came back as %+v", back.Total)
	}
	if r.Runs[3].Page != "runs/r4/report.html" {
		t.Errorf("page %q", r.Runs[3].Page)
	}
}

func TestNumbersInJSON(t *testing.T) {
	in := []Number{1.5, Number(math.Inf(1)), Number(math.Inf(-1)), Number(math.NaN())}
	data, err := json.Marshal(in)
	if err != nil || string(data) != `[1.5,"never","-never",null]` {
		t.Fatalf("%s, %v", data, err)
	}
	var back []Number
	if err := json.Unmarshal(data, &back); err != nil || !reflect.DeepEqual(in[:3], back[:3]) || back[3].Known() {
		t.Errorf("%v, %v", back, err)
	}
}

// Nothing that a scenario says can end the element that holds the data, and
// the page asks nothing of any network.
func TestPage(t *testing.T) {
	s := pair(t)
	s.Text = []byte(strings.Replace(string(s.Text), "The back turns slow.", `"</script><script>alert(1)</script>"`, 1))
	c, err := New(s, Options{Repeats: 2, Keep: KeepNone})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := imagine(t, c, &world{}).Page(&out, ":root { --ink: #000 }"); err != nil {
		t.Fatal(err)
	}
	text := out.String()
	if strings.Contains(text, "<script>alert") || strings.Count(text, "</script>") != 2 {
		t.Error("the scenario's text is not escaped")
	}
	for _, foreign := range []string{"http://", "https://", "src=", "@import", "url("} {
		if rest := strings.ReplaceAll(text, "http://www.w3.org/2000/svg", ""); strings.Contains(rest, foreign) {
			t.Errorf("the page holds %s", foreign)
		}
	}
	if !strings.Contains(text, "--ink: #000") || !strings.Contains(text, "pair: benchmark") {
		t.Error("style or title is missing")
	}
}
