package bench

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/faultline-lab/faultline/internal/check"
	"github.com/faultline-lab/faultline/internal/measure"
	"github.com/faultline-lab/faultline/internal/system"
)

func read(t testing.TB, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// pair is the scenario of these tests, on a system of two services.
func pair(t testing.TB) Source {
	t.Helper()
	sys, err := system.Load("system.yaml", read(t, "system.yaml"), nil)
	if err != nil {
		t.Fatal(err)
	}
	return Source{Named: "/some/pair.yaml", File: "pair.yaml", Text: read(t, "pair.yaml"), System: sys, Version: "v1", Machine: "linux/amd64, 2 CPUs"}
}

func campaign(t testing.TB, o Options) *Campaign {
	t.Helper()
	if o.Keep == "" {
		o.Keep = KeepResults
	}
	c, err := New(pair(t), o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

var dawn = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// clock gives a minute more each time it is asked.
func clock() func() time.Time {
	now := dawn
	return func() time.Time { now = now.Add(time.Minute); return now }
}

// world makes up what runs give. All of a block share its luck, each run has
// its own beside, and a variant its effect.
type world struct {
	noise   float64                  // of a run, as a share of what is measured
	effects map[string]map[string]fx // by variant and figure
	void    func(Slot) []string
	ran     []Task
}

// fx changes a figure: times first, then plus.
type fx struct{ times, plus float64 }

// levels are the figures of a run in which nothing is special.
var levels = map[string]float64{"goodput": 0.6, "success": 0.8, "p50": 0.02, "p99": 0.4, "p99.9": 0.6, "recovery": 6, "amplification": 1.5, "wasted": 0.2, "cpu": 0.5}

func (w *world) measured(task Task) *Measured {
	block := rand.New(rand.NewPCG(task.Slot.Seed, 1))
	own := rand.New(rand.NewPCG(task.Slot.Seed, uint64(task.Slot.Number)+100))
	m := &Measured{Outcome: check.Pass, Void: []string{}, Figures: map[string]measure.Value{}, Findings: []Finding{{That: "goodput(browse) >= 99%", In: "baseline", Got: "99.5%", Outcome: check.Pass}}}
	if w.void != nil {
		if why := w.void(task.Slot); why != nil {
			m.Void, m.Outcome = why, check.Inconclusive
		}
	}
	luck := block.NormFloat64()
	for _, f := range task.Frame.Figures {
		name, _, _ := strings.Cut(strings.Replace(f.Key, "p99.9", "p99_9", 1), ".")
		name = strings.Replace(name, "_", ".", 1)
		v := levels[name] * (1 + 0.03*luck + w.noise*own.NormFloat64())
		if effect, found := w.effects[task.Slot.Variant][f.Key]; found {
			v = v*effect.times + effect.plus
		}
		if f.Key == keyViolations {
			v = 0
		}
		m.Figures[f.Key] = measure.Value{Number: v, Unit: f.Unit, Known: true, Count: 1000}
	}
	m.recover(task)
	m.shapes(task)
	return m
}

// recover draws whether the run came back: naive does in half of its runs.
func (m *Measured) recover(task Task) {
	back := task.Slot.Variant != "naive" || task.Slot.Seed%2 == 0
	if !back {
		m.Figures["recovery.browse"] = measure.Value{Number: math.Inf(1), Unit: "seconds", Known: true}
	}
	m.Recovered = &back
}

// shapes draws a curve and latencies.
func (m *Measured) shapes(task Task) {
	curve := Curve{Load: "browse"}
	for t := range int(task.Plan.Length() / time.Second) {
		good := 50
		if t >= 7 && t < 12 && task.Slot.Variant != "better" {
			good = 5 + int(task.Slot.Seed)%7
		}
		curve.Due, curve.Good = append(curve.Due, 50), append(curve.Good, good)
	}
	m.Curves = []Curve{curve}
	for _, w := range task.Frame.Windows {
		m.Latencies = append(m.Latencies, Latency{Load: "browse", Window: w.Name, Due: 100, Counts: [][2]int{{bucket(20 * time.Millisecond), 50}, {bucket(time.Second), 40}}})
	}
}

// run is a Runner.
func (w *world) run(_ context.Context, task Task) (string, *Measured, error) {
	w.ran = append(w.ran, task)
	dir := filepath.Join(task.Root, fmt.Sprintf("r%d", task.Slot.Number))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "report.html"), nil, 0o644); err != nil {
		return dir, nil, err
	}
	return dir, w.measured(task), nil
}

type silent struct{}

func (silent) Begins(Slot, []string, int, time.Duration) {}
func (silent) Ends(Slot, *Measured, error)               {}

// carryOut creates and runs a whole campaign and returns what it came to.
func carryOut(t testing.TB, c *Campaign, w *world) *Report {
	t.Helper()
	if err := c.Create(t.TempDir(), dawn); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.Run(t.Context(), w.run, silent{}, clock()); err != nil {
		t.Fatal(err)
	}
	r, err := c.Analyse()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// imagine is carryOut without a disk.
func imagine(t testing.TB, c *Campaign, w *world) *Report {
	t.Helper()
	a := &analysis{c: c, measured: map[*Slot]*Measured{}}
	for _, slot := range c.file.Slots {
		p, err := c.plan(slot)
		if err != nil {
			t.Fatal(err)
		}
		slot.State = Done
		a.measured[slot] = w.measured(Task{Slot: *slot, Plan: p, Frame: c.cells[slot.Cell].Frame})
	}
	r, err := a.report()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *Report) figure(t testing.TB, key string) FigureReport {
	t.Helper()
	for _, f := range r.Figures {
		if f.Key == key {
			return f
		}
	}
	t.Fatalf("there is no figure %s", key)
	return FigureReport{}
}
