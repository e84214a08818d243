package main

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/faultline-lab/faultline/internal/plan"
	"github.com/faultline-lab/faultline/loadgen"
)

func TestBenchOf(t *testing.T) {
	tiny := filepath.Join("testdata", "tiny")
	for _, tt := range []struct {
		name, variant string
		loads         []string
		policies      int
		wrong         string
	}{
		{name: "shop", loads: []string{"checkout", "product", "scarce"}},
		{name: "cascade-failure", variant: "contained", loads: []string{"browse", "checkout"}, policies: 2},
		{name: "cascade-failure", loads: []string{"browse", "checkout"}},
		{name: filepath.Join(tiny, "system.yaml"), loads: []string{"browse"}},
		{name: filepath.Join(tiny, "tiny.yaml"), loads: []string{"work"}},
		{name: "shopp", wrong: "no scenario"},
		{name: "shop", variant: "naive", wrong: "a system has no variants"},
		{name: "cascade-failure", variant: "contaned", wrong: `did you mean "contained"?`},
	} {
		src, p, err := benchOf(tt.name, tt.variant)
		if tt.wrong != "" {
			if err == nil || !strings.Contains(err.Error(), tt.wrong) {
				t.Errorf("%s %s: got %v, want %s", tt.name, tt.variant, err, tt.wrong)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		var loads []string
		for _, load := range p.Loads {
			loads = append(loads, load.Name)
			if load.Rate(time.Hour) <= 0 || load.Length() != p.Length() {
				t.Errorf("%s: load %+v", tt.name, load)
			}
		}
		if slices.Sort(loads); !slices.Equal(loads, tt.loads) || len(p.Policies) != tt.policies || len(p.Faults)+len(p.Expect)+len(p.Abort) > 0 || len(src.text) == 0 {
			t.Errorf("%s %s: got loads %v, plan %+v", tt.name, tt.variant, loads, p)
		}
	}
}

// TestWithoutEnd keeps what a load generator holds in memory bounded.
func TestWithoutEnd(t *testing.T) {
	p := withoutEnd(&plan.Plan{Loads: []loadgen.Load{
		{Name: "ramp", Stages: []loadgen.Stage{{For: time.Second, From: 0, To: 5000}}}, {Name: "people", Users: 2, Stages: []loadgen.Stage{{For: time.Second}}},
	}})
	if got := p.Length().Seconds() * 5000; got > mostArrivals || p.Length() < 10*time.Minute || p.Loads[0].Rate(0) != 5000 || p.Loads[1].Length() != p.Length() {
		t.Errorf("got %+v", p)
	}
}
