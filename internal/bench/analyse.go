package bench

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"

	"github.com/faultline-lab/faultline/internal/figure"
	"github.com/faultline-lab/faultline/internal/plan"
	"github.com/faultline-lab/faultline/internal/record"
	"github.com/faultline-lab/faultline/internal/stats"
	"github.com/faultline-lab/faultline/resilience"
)

// What it takes to say something; docs/benchmarking.md gives the reasons.
const (
	level      = 0.95
	alpha      = 0.05
	leastHint  = 5  // pairs
	leastClaim = 10 // pairs
	flips      = 10_000
)

// Analyse works out what the campaign has come to so far.
func (c *Campaign) Analyse() (*Report, error) {
	a := &analysis{c: c, measured: map[*Slot]*Measured{}}
	for _, slot := range c.file.Slots {
		if slot.State != Done {
			continue
		}
		m, err := c.readMeasured(slot)
		if err != nil {
			return nil, err
		}
		a.measured[slot] = m
	}
	return a.report()
}

// analysis is a campaign with the figures of the runs that ended.
type analysis struct {
	c        *Campaign
	measured map[*Slot]*Measured
}

func (a *analysis) report() (*Report, error) {
	f, frame := a.c.file, a.c.cells[0].Frame
	sc := a.c.cells[0].scenario
	r := &Report{
		Format: FormatVersion, Scenario: f.Scenario, About: sc.About, Sources: append([]string{}, sc.Sources...),
		Version: f.Version, Machine: f.Machine, Created: f.Created, Plan: f.Plan, Options: f.Options, Reference: f.Options.Variants[0],
		Windows: frame.Windows, Phases: frame.Phases, Loads: frame.Loads, Figures: []FigureReport{},
		Total: a.tally(func(*Slot) bool { return true }), frame: frame.Figures,
	}
	for _, name := range a.names() {
		v, err := a.variant(name)
		if err != nil {
			return nil, err
		}
		r.Variants = append(r.Variants, v)
	}
	if len(f.Options.Sweep) > 0 {
		r.Sweep = a.sweep()
	} else {
		for _, fig := range frame.Figures {
			r.Figures = append(r.Figures, a.figure(fig))
		}
	}
	for _, slot := range f.Slots {
		r.Runs = append(r.Runs, a.run(slot))
	}
	return r, nil
}

// names are the variants in their order, the twin behind its variant.
func (a *analysis) names() []string {
	var out []string
	for _, name := range a.c.file.Options.Variants {
		out = append(out, name)
		if name == a.c.file.Options.AA {
			out = append(out, Twin(name))
		}
	}
	return out
}

// counts returns the figures of a run that counts, or nil.
func (a *analysis) counts(slot *Slot) *Measured {
	if m := a.measured[slot]; m != nil && !slot.Warmup() && len(m.Void) == 0 {
		return m
	}
	return nil
}

func (a *analysis) tally(of func(*Slot) bool) Tally {
	var t Tally
	for _, slot := range a.c.file.Slots {
		if slot.Warmup() || !of(slot) {
			continue
		}
		t.Planned++
		switch m := a.measured[slot]; {
		case m != nil:
			t.Done++
			if len(m.Void) > 0 {
				t.Void++
			}
		case slot.State == Failed:
			t.Failed++
		}
	}
	return t
}

func (a *analysis) variant(name string) (Variant, error) {
	mine := func(s *Slot) bool { return s.Name() == name }
	v := Variant{Name: name, Policies: []string{}, Tally: a.tally(mine), Curves: []LoadCurve{}, CDFs: []CDF{}}
	var example *Slot
	var runs []*Measured
	for _, slot := range a.c.file.Slots {
		if !mine(slot) {
			continue
		}
		example = slot
		if m := a.counts(slot); m != nil {
			runs = append(runs, m)
		}
	}
	p, err := a.c.plan(example)
	if err != nil {
		return v, err
	}
	v.Twin, v.About, v.Policies = example.Twin, p.About, policiesOf(p)
	v.Never = never(runs)
	if len(a.c.file.Options.Sweep) > 0 {
		return v, nil // runs of different cells do not lie over one another
	}
	for _, load := range a.c.cells[0].Frame.Loads {
		v.Curves = append(v.Curves, curve(load.Name, runs))
		for _, w := range a.c.cells[0].Frame.Windows {
			v.CDFs = append(v.CDFs, cdf(load.Name, w.Name, runs))
		}
	}
	return v, nil
}

// policiesOf names the policies of a variant, place by place.
func policiesOf(p *plan.Plan) []string {
	out := []string{}
	for on, chain := range p.Policies {
		text := on + ": "
		for i, spec := range chain {
			if i > 0 {
				text += ", "
			}
			text += spec.Kind
			if kind, known := resilience.Find(spec.Kind); known && kind.Main != "" && spec.Params.Has(kind.Main) {
				text += fmt.Sprintf(" %v", spec.Params[kind.Main])
			}
		}
		out = append(out, text)
	}
	slices.Sort(out)
	return out
}

// never is the share of the runs that did not recover, of those of which it is
// known.
func never(runs []*Measured) Share {
	k, n := 0, 0
	for _, m := range runs {
		if m.Recovered == nil {
			continue
		}
		n++
		if !*m.Recovered {
			k++
		}
	}
	return share(k, n)
}

func share(k, n int) Share {
	interval := stats.Wilson(k, n, level)
	return Share{K: k, N: n, Low: Number(interval.Low), High: Number(interval.High)}
}

func (a *analysis) run(slot *Slot) Run {
	r := Run{
		Number: slot.Number, Block: slot.Block, Warmup: slot.Warmup(), Values: append([]string{}, a.c.cells[slot.Cell].Values...), Variant: slot.Name(), Seed: slot.Seed,
		State: slot.State, Record: slot.Record, Attempts: append([]Attempt{}, slot.Attempts...), Void: []string{}, Findings: []Finding{},
	}
	if m := a.measured[slot]; m != nil {
		r.Outcome, r.Findings, r.Void, r.Lag, r.Figures = m.Outcome, m.Findings, m.Void, m.Lag, m.Figures
		r.Seconds = slot.Ended.Sub(slot.Started).Seconds()
	}
	if slot.Record != "" {
		page := filepath.Join(slot.Record, record.ReportFile)
		if _, err := os.Stat(a.c.path(page)); err == nil || !errors.Is(err, os.ErrNotExist) {
			r.Page = filepath.ToSlash(page)
		}
	}
	return r
}

// value is a figure of a run as a number to reckon with: what never came
// counts with the figure's limit. Not ok where it is not known.
func (f Figure) value(m *Measured) (v float64, limited, ok bool) {
	got, measured := m.Figures[f.Key]
	if !measured || !got.Known {
		return 0, false, false
	}
	if f.Limit > 0 && got.Number >= f.Limit {
		return f.Limit, true, true
	}
	return got.Number, false, !math.IsInf(got.Number, 0)
}

func (a *analysis) figure(f Figure) FigureReport {
	out := FigureReport{Figure: f, Values: []Summary{}, Comparisons: []Comparison{}}
	for _, name := range a.names() {
		out.Values = append(out.Values, a.summary(f, name))
	}
	o := a.c.file.Options
	if o.AA != "" {
		aa := a.compare(f, Twin(o.AA), o.AA)
		out.AA = &aa
	}
	var p []float64
	for _, name := range o.Variants[1:] {
		comparison := a.compare(f, name, o.Variants[0])
		out.Comparisons = append(out.Comparisons, comparison)
		p = append(p, float64(comparison.P))
	}
	for i, corrected := range stats.Holm(p) {
		out.Comparisons[i].Holm = Number(corrected)
		out.Comparisons[i].judge(f, out.AA)
	}
	if out.AA != nil {
		out.AA.Holm = out.AA.P
		out.AA.judge(f, out.AA)
	}
	return out
}

func (a *analysis) summary(f Figure, name string) Summary {
	s := Summary{Variant: name}
	var values []float64
	for _, slot := range a.c.file.Slots {
		m := a.counts(slot)
		if m == nil || slot.Name() != name {
			continue
		}
		if v := m.Figures[f.Key]; v.Known {
			values = append(values, v.Number)
			if math.IsInf(v.Number, 1) {
				s.Never++
			}
		}
	}
	s.N, s.Median, s.Least, s.Most, s.Text = len(values), Number(stats.Median(values)), Number(math.NaN()), Number(math.NaN()), "-"
	if len(values) > 0 {
		s.Least, s.Most = Number(slices.Min(values)), Number(slices.Max(values))
		s.Text = f.text(float64(s.Median))
	}
	return s
}

// compare pairs the runs of two variants block by block.
func (a *analysis) compare(f Figure, name, against string) Comparison {
	out := Comparison{Variant: name, Against: against, Least: Number(math.NaN())}
	one, other := map[int]*Slot{}, map[int]*Slot{}
	for _, slot := range a.c.file.Slots {
		switch {
		case slot.Warmup() || slot.State != Done && slot.State != Failed:
		case slot.Name() == name:
			one[slot.Block] = slot
		case slot.Name() == against:
			other[slot.Block] = slot
		}
	}
	var differences []float64
	for block := 1; block <= a.c.file.Options.Repeats; block++ {
		if one[block] == nil || other[block] == nil {
			continue // not yet run
		}
		d, limited, ok := f.difference(a.counts(one[block]), a.counts(other[block]))
		if !ok {
			out.Excluded++
			continue
		}
		if limited {
			out.Limited++
		}
		differences = append(differences, d)
	}
	out.assess(f, differences, *a.c.file.Options.Seed+mix(f.Key+" "+name))
	return out
}

// assess fills in what differences on the figure's scale come to.
func (c *Comparison) assess(f Figure, differences []float64, seed uint64) {
	interval := stats.Bootstrap(differences, level, stats.Resamples, seed)
	c.Pairs = len(differences)
	c.Estimate, c.Low, c.High = f.back(stats.HodgesLehmann(differences)), f.back(interval.Low), f.back(interval.High)
	c.P, c.Holm = Number(stats.SignFlip(differences, flips, seed)), Number(math.NaN())
	c.Ahead = f.ahead(differences)
	c.Text = f.differenceText(c.Estimate)
	switch {
	case interval.Known():
		c.Range = "[" + f.differenceText(c.Low) + ", " + f.differenceText(c.High) + "]"
	case c.Pairs == 1:
		c.Range = "1 pair"
	default:
		c.Range = "-"
	}
}

// difference is that of two runs on the figure's scale: of ratios, the
// logarithm.
func (f Figure) difference(one, other *Measured) (d float64, limited, ok bool) {
	if one == nil || other == nil {
		return 0, false, false
	}
	a, limitedA, okA := f.value(one)
	b, limitedB, okB := f.value(other)
	limited = limitedA || limitedB
	switch {
	case !okA || !okB:
		return 0, false, false
	case f.Scale == Ratio && a == b:
		return 0, limited, true // both 0, where no logarithm is
	case f.Scale == Ratio && (a <= 0 || b <= 0):
		return 0, false, false
	case f.Scale == Ratio:
		return math.Log(a / b), limited, true
	}
	return a - b, limited, true
}

// back turns a difference on the figure's scale into what is shown: of ratios,
// the factor.
func (f Figure) back(d float64) Number {
	if f.Scale == Ratio {
		return Number(math.Exp(d))
	}
	return Number(d)
}

// onScale undoes back.
func (f Figure) onScale(n Number) float64 {
	if f.Scale == Ratio {
		return math.Log(float64(n))
	}
	return float64(n)
}

// ahead is in what share of the pairs the variant was the better one.
func (f Figure) ahead(differences []float64) Number {
	better := slices.Clone(differences)
	if f.Better == Less {
		for i := range better {
			better[i] = -better[i]
		}
	}
	return Number(stats.Superiority(better))
}

// judge says what the comparison allows to say, given the A/A pair.
func (c *Comparison) judge(f Figure, aa *Comparison) {
	interval := stats.Interval{Low: f.onScale(c.Low), High: f.onScale(c.High)}
	if aa != nil {
		if noise := (stats.Interval{Low: f.onScale(aa.Low), High: f.onScale(aa.High)}); noise.Known() {
			c.Least = f.back(noise.Reach())
		}
	}
	c.Noise = f.noiseText(c.Least)
	estimate := f.onScale(c.Estimate)
	switch {
	case c.Pairs < leastHint || aa == nil || aa.Pairs < leastHint:
		c.Says = TooFew
	case !interval.Known() || interval.Contains(0) || math.Abs(estimate) <= f.onScale(c.Least):
		c.Says = NoClaim
	default:
		c.Says = c.direction(f, estimate, min(c.Pairs, aa.Pairs) >= leastClaim && float64(c.Holm) <= alpha)
	}
}

func (c *Comparison) direction(f Figure, estimate float64, claim bool) Says {
	switch better := (estimate > 0) == (f.Better == More); {
	case better && claim:
		return SaysBetter
	case better:
		return HintsBetter
	case claim:
		return SaysWorse
	}
	return HintsWorse
}

func (a *analysis) sweep() *Map {
	out := &Map{Axes: a.c.file.Options.Sweep}
	for _, variant := range a.c.file.Options.Variants {
		for n, cell := range a.c.cells {
			mine := func(s *Slot) bool { return s.Cell == n && s.Variant == variant }
			var runs []*Measured
			for _, slot := range a.c.file.Slots {
				if m := a.counts(slot); m != nil && mine(slot) {
					runs = append(runs, m)
				}
			}
			gone := never(runs)
			point := MapCell{Variant: variant, Values: cell.Values, Tally: a.tally(mine), Recovered: share(gone.N-gone.K, gone.N), Medians: map[string]Number{}}
			for _, f := range cell.Frame.Figures {
				if f.Unit == figure.Ratio && f.Better == More && f.Headline {
					point.Medians[f.Key] = Number(median(f, runs))
				}
			}
			out.Cells = append(out.Cells, point)
		}
	}
	return out
}

func median(f Figure, runs []*Measured) float64 {
	var values []float64
	for _, m := range runs {
		if v := m.Figures[f.Key]; v.Known {
			values = append(values, v.Number)
		}
	}
	return stats.Median(values)
}

// curve lays the goodput of several runs over one another.
func curve(load string, runs []*Measured) LoadCurve {
	out := LoadCurve{Load: load, Median: []Number{}, Least: []Number{}, Most: []Number{}}
	var lines []Curve
	seconds := 0
	for _, m := range runs {
		for _, line := range m.Curves {
			if line.Load == load {
				lines, seconds = append(lines, line), max(seconds, len(line.Due))
			}
		}
	}
	for t := range seconds {
		var values []float64
		for _, line := range lines {
			if t < len(line.Due) && t < len(line.Good) && line.Due[t] > 0 {
				values = append(values, float64(line.Good[t])/float64(line.Due[t]))
			}
		}
		least, most := math.NaN(), math.NaN()
		if len(values) > 0 {
			least, most = slices.Min(values), slices.Max(values)
		}
		out.Median, out.Least, out.Most = append(out.Median, Number(stats.Median(values))), append(out.Least, Number(least)), append(out.Most, Number(most))
	}
	return out
}

// cdf adds up the latencies of several runs.
func cdf(load, window string, runs []*Measured) CDF {
	out := CDF{Load: load, Window: window, Points: [][2]Number{}}
	counts := make([]int, bucketsPerDecade*bucketsDecades+1)
	for _, m := range runs {
		for _, l := range m.Latencies {
			if l.Load != load || l.Window != window {
				continue
			}
			out.Due += l.Due
			for _, pair := range l.Counts {
				if pair[0] >= 0 && pair[0] < len(counts) {
					counts[pair[0]] += pair[1]
				}
			}
		}
	}
	sum := 0
	for n, count := range counts {
		if count == 0 || out.Due == 0 {
			continue
		}
		sum += count
		out.Points = append(out.Points, [2]Number{Number(bucketBound(n)), Number(float64(sum) / float64(out.Due))})
	}
	return out
}
