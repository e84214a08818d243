package bench

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/faultline-lab/faultline/loadgen"

	"github.com/faultline-lab/faultline/internal/check"
	"github.com/faultline-lab/faultline/internal/figure"
	"github.com/faultline-lab/faultline/internal/measure"
	"github.com/faultline-lab/faultline/internal/measure/grammar"
	"github.com/faultline-lab/faultline/internal/record"
)

// Measured is what one run gave: all that a campaign keeps of it, so that the
// record may be slimmed or dropped.
type Measured struct {
	// Outcome is the verdict on the run's expectations.
	Outcome  check.Outcome `json:"outcome"`
	Findings []Finding     `json:"findings"`
	// Void says why the run was not the experiment that was planned and counts for nothing; empty when it counts.
	Void    []string                 `json:"void"`
	Figures map[string]measure.Value `json:"figures"` // by key
	// Recovered tells whether every load came back after the last fault; nil where that is not known.
	Recovered *bool         `json:"recovered"`
	Lag       measure.Value `json:"lag"` // p99 of the generator's
	Curves    []Curve       `json:"curves"`
	Latencies []Latency     `json:"latencies"`
}

// Finding is one expectation and what it came to.
type Finding struct {
	That    string        `json:"that"`
	In      string        `json:"in,omitempty"`
	Got     string        `json:"got"`
	Outcome check.Outcome `json:"outcome"`
}

// Curve is a load second by second, from the start of the load.
type Curve struct {
	Load string `json:"load"`
	Due  []int  `json:"due"`
	Good []int  `json:"good"`
}

// Latency counts the journeys of a load that were answered well in a window, by how
// long they took: Counts are pairs of a bucket and its number. What is missing to Due failed.
type Latency struct {
	Load   string   `json:"load"`
	Window string   `json:"window"`
	Due    int      `json:"due"`
	Counts [][2]int `json:"counts"`
}

// Latencies are counted in buckets of equal width on a log scale: 40 to the
// decade, 6 % each, from 0.1 ms to 100 s. Counts add up over runs without loss, which percentiles do not.
const (
	bucketsPerDecade = 40
	bucketsLeast     = 1e-4 // s, upper bound of bucket 0
	bucketsDecades   = 6
)

// bucket is the number of the bucket that a latency falls in.
func bucket(d time.Duration) int {
	n := int(math.Ceil(bucketsPerDecade*math.Log10(d.Seconds()/bucketsLeast) - 1e-9))
	return min(max(n, 0), bucketsPerDecade*bucketsDecades)
}

// bucketBound is the longest latency of a bucket, in seconds.
func bucketBound(n int) float64 { return bucketsLeast * math.Pow(10, float64(n)/bucketsPerDecade) }

// Measure takes the figures of a recorded run. Metrics may be nil where there
// are none; what needs them is unknown then. The error is the context's alone.
func Measure(ctx context.Context, f Frame, run *record.Run, verdict *check.Verdict, metrics measure.Metrics) (*Measured, error) {
	m := measurer{frame: f, run: run, set: measure.New(run, metrics), out: &Measured{
		Outcome: verdict.Outcome, Lag: verdict.Lag, Void: check.Doubts(run), Figures: map[string]measure.Value{}, Findings: []Finding{},
	}}
	if m.out.Void == nil {
		m.out.Void = []string{}
	}
	for _, finding := range verdict.Findings {
		m.out.Findings = append(m.out.Findings, Finding{That: finding.That, In: finding.In, Got: finding.Got, Outcome: finding.Outcome})
	}
	for _, load := range f.Loads {
		m.load(load)
		if err := m.recovery(ctx, load); err != nil {
			return nil, err
		}
	}
	if err := m.system(ctx); err != nil {
		return nil, err
	}
	m.recovered()
	return m.out, nil
}

type measurer struct {
	frame Frame
	run   *record.Run
	set   *measure.Set
	out   *Measured
}

func window(w Window) measure.Window {
	return measure.Window{Kind: measure.Phase, Name: w.Name, Start: w.Start, End: w.End}
}

func (m *measurer) load(load FrameLoad) {
	for _, w := range m.frame.Windows {
		table, _ := m.set.Load(load.Name, window(w))
		for name, value := range map[string]measure.Value{
			"goodput": table.Goodput, "success": table.Success, "p50": table.P50, "p99": table.P99, "p99.9": table.P999,
		} {
			m.out.Figures[key(name, load.Name, w.Name)] = value
		}
		m.out.Latencies = append(m.out.Latencies, m.latency(load, w))
	}
	curve := Curve{Load: load.Name}
	for _, bin := range m.set.PerSecond(load.Name) {
		curve.Due, curve.Good = append(curve.Due, bin.Offered), append(curve.Good, bin.Good)
	}
	m.out.Curves = append(m.out.Curves, curve)
}

func (m *measurer) latency(load FrameLoad, w Window) Latency {
	out := Latency{Load: load.Name, Window: w.Name, Counts: [][2]int{}}
	counts := make([]int, bucketsPerDecade*bucketsDecades+1)
	for _, r := range m.run.Results {
		if at := r.Due.Sub(m.run.Meta.Load); r.Step != "" || r.Load != load.Name || at < w.Start || at >= w.End {
			continue
		}
		out.Due++
		if well(r) {
			counts[bucket(r.Latency())]++
		}
	}
	for n, count := range counts {
		if count > 0 {
			out.Counts = append(out.Counts, [2]int{n, count})
		}
	}
	return out
}

// well tells whether a journey was answered with success, however late.
func well(r loadgen.Result) bool { return r.OK && measure.Finished(r) }

func (m *measurer) recovery(ctx context.Context, load FrameLoad) error {
	if _, found := m.frame.Window(Recovery); !found {
		return nil
	}
	value, err := m.measure(ctx, "recovery("+load.Name+") >= 0s", m.set.Whole())
	m.out.Figures[key("recovery", load.Name, "")] = value
	return err
}

func (m *measurer) measure(ctx context.Context, text string, w measure.Window) (measure.Value, error) {
	c, err := grammar.Parse(text)
	if err != nil { // the names in it were checked long before
		return measure.Value{Why: err.Error()}, nil
	}
	value, err := m.set.Measure(ctx, c, w)
	if err != nil {
		return value, fmt.Errorf("measuring %s: %w", text, err)
	}
	return value, nil
}

func (m *measurer) system(ctx context.Context) error {
	for _, edge := range m.frame.Edges {
		value, err := m.amplification(ctx, edge)
		if err != nil {
			return err
		}
		m.out.Figures[key("amplification", edge, "")] = value
	}
	for _, w := range m.frame.Windows {
		m.out.Figures[keyWasted+"."+w.Name] = m.set.Wasted(ctx, window(w))
		if w.Name == Baseline || w.Name == Whole {
			m.out.Figures[keyCPU+"."+w.Name] = m.set.CPU(ctx, window(w))
		}
	}
	if m.run.System.Probes.Invariants == nil {
		return ctx.Err()
	}
	value, err := m.measure(ctx, keyViolations+"() >= 0", m.set.Whole())
	m.out.Figures[keyViolations] = value
	return err
}

// amplification is an edge's greatest of any window.
func (m *measurer) amplification(ctx context.Context, edge string) (measure.Value, error) {
	greatest := measure.Value{Unit: figure.Times, Why: "there is no window"}
	for _, w := range m.frame.Windows {
		value, err := m.measure(ctx, "amplification("+edge+") >= 0x", window(w))
		if err != nil {
			return value, err
		}
		if !greatest.Known || value.Known && value.Number > greatest.Number {
			greatest = value
		}
	}
	return greatest, nil
}

// recovered holds all loads together: one that never came back means that the
// run did not.
func (m *measurer) recovered() {
	for _, load := range m.frame.Loads {
		value, measured := m.out.Figures[key("recovery", load.Name, "")]
		if !measured || !value.Known {
			continue
		}
		back := !math.IsInf(value.Number, 1) && (m.out.Recovered == nil || *m.out.Recovered)
		m.out.Recovered = &back
	}
}
