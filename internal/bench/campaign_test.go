package bench

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/faultline-lab/faultline/internal/golden"
)

func seed(n uint64) *uint64 { return &n }

func TestBlocksAreComplete(t *testing.T) {
	c := campaign(t, Options{Repeats: 8, WarmupBlocks: 1, Seed: seed(20)})
	if len(c.Slots()) != 9*4 {
		t.Fatalf("%d runs", len(c.Slots()))
	}
	orders := map[string]bool{}
	for i := range 9 {
		block := c.Slots()[i*4 : i*4+4]
		var names []string
		for j, slot := range block {
			names = append(names, slot.Name())
			wantSeed := uint64(20 + i - 1)
			if i == 0 {
				wantSeed = 28 // of the warm-up: one that no block has
			}
			if slot.Block != i || slot.Seed != wantSeed || slot.Number != i*4+j+1 || slot.State != Planned || slot.Warmup() != (i == 0) {
				t.Errorf("block %d: %+v", i, *slot)
			}
		}
		orders[strings.Join(names, " ")] = true
		slices.Sort(names)
		if got := strings.Join(names, " "); got != "better naive naive' same" {
			t.Errorf("block %d holds %s", i, got)
		}
	}
	if len(orders) < 5 {
		t.Errorf("only %d different orders in 9 blocks", len(orders))
	}
	again := campaign(t, Options{Repeats: 8, WarmupBlocks: 1, Seed: seed(20)})
	for i, slot := range again.Slots() {
		if slot.Name() != c.Slots()[i].Name() {
			t.Fatal("the same seed gave another order")
		}
	}
}

// All runs of a block are due the same requests; only the variant differs.
func TestABlockSharesItsSeed(t *testing.T) {
	c := campaign(t, Options{Repeats: 2})
	seeds := map[int]map[uint64]bool{1: {}, 2: {}}
	for _, slot := range c.Slots() {
		p, err := c.plan(slot)
		if err != nil {
			t.Fatal(err)
		}
		if p.Variant != slot.Name() {
			t.Errorf("the plan of %s calls it %s", slot.Name(), p.Variant)
		}
		seeds[slot.Block][p.Loads[0].Seed] = true
	}
	if len(seeds[1]) != 1 || len(seeds[2]) != 1 {
		t.Errorf("seeds of loads by block: %v", seeds)
	}
}

func TestOptionsAreFilledIn(t *testing.T) {
	o := campaign(t, Options{Repeats: 1}).Options()
	if o.AA != "naive" || *o.Seed != 7 || strings.Join(o.Variants, " ") != "naive better same" {
		t.Errorf("got %+v", o)
	}
	o = campaign(t, Options{Repeats: 1, Variants: []string{"same", "naive"}, AA: "naive"}).Options()
	if o.AA != "naive" || o.Variants[0] != "same" {
		t.Errorf("got %+v", o)
	}
}

func TestBadOptions(t *testing.T) {
	for _, c := range []struct {
		name string
		o    Options
		want string
	}{
		{"no repeats", Options{Keep: KeepAll}, "--repeats 0: from 1 to 1000 are possible"},
		{"too many", Options{Keep: KeepAll, Repeats: 1001}, "--repeats 1001: from 1 to 1000 are possible"},
		{"warm-up", Options{Keep: KeepAll, Repeats: 1, WarmupBlocks: -1}, "--warmup-blocks -1: from 0 to 20 are possible"},
		{"variant", Options{Keep: KeepAll, Repeats: 1, Variants: []string{"naiv"}}, `--variant: unknown variant "naiv"; did you mean "naive"?`},
		{"twice", Options{Keep: KeepAll, Repeats: 1, Variants: []string{"naive", "naive"}}, "--variant: naive is named twice; the pair of equal runs is that of --aa"},
		{"aa", Options{Keep: KeepAll, Repeats: 1, Variants: []string{"naive"}, AA: "same"}, `--aa: unknown variant "same"; there are: naive`},
		{"keep", Options{Keep: "result", Repeats: 1}, `--keep "result"; did you mean "results"? permitted: all, results, none`},
		{"axes", Options{Keep: KeepAll, Repeats: 1, Sweep: make([]Axis, 3)}, "--sweep: 3 parameters; at most 2 can be drawn as a map"},
		{"axis twice", Options{Keep: KeepAll, Repeats: 1, Sweep: []Axis{{Path: "phases.fault"}, {Path: "phases.fault"}}}, "--sweep: phases.fault is given twice"},
		{"aa of a sweep", Options{Keep: KeepAll, Repeats: 1, AA: "naive", Sweep: []Axis{{Path: "phases.fault", Values: []string{"1s"}}}}, "--aa: a sweep draws a map and compares no variants"},
		{"value", Options{Keep: KeepAll, Repeats: 1, Sweep: []Axis{{Path: "load.browse.rate", Values: []string{"10/s", "0/s"}}}}, "with load.browse.rate=0/s:\npair.yaml:7: load.browse.rate: a rate of 0/s sends nothing"},
		{"runs", Options{Keep: KeepAll, Repeats: 1000, Sweep: []Axis{{Path: "load.browse.rate", Values: []string{"1/s", "2/s", "3/s", "4/s", "5/s", "6/s", "7/s"}}}}, "21000 runs; a campaign has at most 20000"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := New(pair(t), c.o)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
	_, err := New(pair(t), Options{Variants: []string{"x"}, Keep: "y"})
	if err == nil || strings.Count(err.Error(), "\n") != 2 {
		t.Errorf("not all at once: %v", err)
	}
}

func TestSweepMakesCells(t *testing.T) {
	axis := Axis{Path: "load.browse.rate", Values: []string{"20/s", "80/s"}}
	c := campaign(t, Options{Repeats: 2, Variants: []string{"naive"}, Sweep: []Axis{axis, {Path: "phases.fault", Values: []string{"1s", "3s", "5s"}}}})
	if c.Options().AA != "" || len(c.Cells()) != 6 || len(c.Slots()) != 12 {
		t.Fatalf("%d cells, %d runs, A/A %q", len(c.Cells()), len(c.Slots()), c.Options().AA)
	}
	if got := strings.Join(c.Cells()[4].Values, " "); got != "80/s 3s" {
		t.Errorf("cell 4 is %s", got)
	}
	for _, slot := range c.Slots() {
		p, err := c.plan(slot)
		if err != nil {
			t.Fatal(err)
		}
		cell := c.Cells()[slot.Cell]
		fault, _ := cell.Frame.Window(Fault)
		if rate := map[float64]string{20: "20/s", 80: "80/s"}[p.Loads[0].Stages[0].From]; rate != cell.Values[0] || (fault.End-fault.Start).String() != cell.Values[1] {
			t.Errorf("cell %v: rate %s, fault %s", cell.Values, rate, fault.End-fault.Start)
		}
		if !strings.Contains(string(cell.text), "fault: "+cell.Values[1]) {
			t.Errorf("the scenario of cell %v does not hold its values", cell.Values)
		}
	}
}

func TestLength(t *testing.T) {
	c := campaign(t, Options{Repeats: 1})
	if got, want := c.Length(), 4*(22*time.Second+startAndEnd); got != want {
		t.Errorf("before anything ran: %s, want %s", got, want)
	}
	slot := c.Slots()[0]
	slot.State, slot.Started, slot.Ended = Done, dawn, dawn.Add(50*time.Second)
	if got, want := c.Length(), 150*time.Second; got != want {
		t.Errorf("after a run of 50 s: %s, want %s", got, want)
	}
	if c.Left() != 3 {
		t.Errorf("%d left", c.Left())
	}
}

func TestDescribe(t *testing.T) {
	var out strings.Builder
	c := campaign(t, Options{Repeats: 1, WarmupBlocks: 1, Variants: []string{"naive"}, Sweep: []Axis{{Path: "phases.fault", Values: []string{"2s", "5s"}}}})
	if err := c.Describe(&out); err != nil {
		t.Fatal(err)
	}
	golden.Equal(t, filepath.Join("testdata", "order.txt"), out.String())
}
