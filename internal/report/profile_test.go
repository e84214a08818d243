package report

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/pprof/profile"

	"github.com/faultline-lab/faultline/observability/embedded"
)

// cpuProfile is a profile of samples: the outermost call first, and the milliseconds that it was seen for.
func cpuProfile(samples map[string]int64) *profile.Profile {
	p := &profile.Profile{
		SampleType: []*profile.ValueType{{Type: "samples", Unit: "count"}, {Type: "cpu", Unit: "nanoseconds"}},
		PeriodType: &profile.ValueType{Type: "cpu", Unit: "nanoseconds"}, Period: 1,
	}
	locations := map[string]*profile.Location{}
	for stack, ms := range samples {
		sample := &profile.Sample{Value: []int64{1, ms * 1e6}}
		for name := range strings.FieldsSeq(stack) {
			if locations[name] == nil {
				id := uint64(len(locations) + 1)
				f := &profile.Function{ID: id, Name: name}
				locations[name] = &profile.Location{ID: id, Line: []profile.Line{{Function: f}}}
				p.Function, p.Location = append(p.Function, f), append(p.Location, locations[name])
			}
			sample.Location = append([]*profile.Location{locations[name]}, sample.Location...)
		}
		p.Sample = append(p.Sample, sample)
	}
	return p
}

// store is profiles in files.
type store []embedded.Profile

func (s store) Profiles(context.Context, embedded.ProfileQuery) ([]embedded.Profile, error) {
	return s, nil
}

func stored(t *testing.T, start time.Time, all ...*profile.Profile) store {
	t.Helper()
	var out store
	for i, p := range all {
		file := filepath.Join(t.TempDir(), "cpu.pb.gz")
		f, err := os.Create(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(p.Write(f), f.Close()); err != nil {
			t.Fatal(err)
		}
		from := start.Add(time.Duration(i*10) * time.Second)
		out = append(out, embedded.Profile{Service: "orders", Instance: "orders-2", Type: embedded.ProfileCPU, From: from, To: from.Add(10 * time.Second), File: file})
	}
	return out
}

func TestProfileOf(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	first, second := cpuProfile(map[string]int64{"main serve query": 60, "main serve": 20}), cpuProfile(map[string]int64{"main serve query query": 20})
	page, file, err := ProfileOf(t.Context(), stored(t, start, first, second), start, embedded.ProfileQuery{})
	if err != nil {
		t.Fatal(err)
	}
	if page.Service != "orders" || page.Instance != "orders-2" || page.From != 0 || page.To != 20 || page.Seconds != 0.1 {
		t.Errorf("got %+v", page)
	}
	// query calls itself: its own time is 80 ms of 100, and that of all it called no more.
	top := page.Top[0]
	if page.Names[top.Name] != "query" || top.Own != 0.08 || top.Total != 0.08 || len(page.Top) != 2 {
		t.Errorf("the table is %+v of %v", page.Top, page.Names)
	}
	for i, want := range []PageFlameItem{{Depth: 0, Width: 1}, {Depth: 1, Width: 1}, {Depth: 2, Width: 0.8}, {Depth: 3, Width: 0.2}} {
		if got := page.Flame[i]; got.Depth != want.Depth || got.Width != want.Width || got.Left != 0 {
			t.Errorf("frame %d: got %+v, want %+v", i, got, want)
		}
	}
	if back, err := profile.ParseData(file); err != nil || len(back.Sample) != 3 {
		t.Errorf("the file holds %v, %v", back, err)
	}
	if _, _, err := ProfileOf(t.Context(), store{}, start, embedded.ProfileQuery{}); !errors.Is(err, ErrNoProfile) {
		t.Errorf("without a profile: %v", err)
	}
	if _, _, err := ProfileOf(t.Context(), store{{File: "gone"}}, start, embedded.ProfileQuery{}); err == nil {
		t.Error("a file that is gone was read")
	}
	idle, _, err := ProfileOf(t.Context(), stored(t, start, cpuProfile(nil)), start, embedded.ProfileQuery{})
	if err != nil || idle.Seconds != 0 || len(idle.Flame) != 0 {
		t.Errorf("idle: %+v, %v", idle, err)
	}
}

// A profile of any size adds a bounded part to the page.
func TestProfilesAreBounded(t *testing.T) {
	samples := map[string]int64{strings.Repeat("deep ", 500): 1000}
	for i := range 5000 {
		samples["main f"+strings.Repeat("x", i%400)+" g"+string(rune('a'+i%26))] = 1
	}
	page, _, err := ProfileOf(t.Context(), stored(t, time.Unix(0, 0), cpuProfile(samples)), time.Unix(0, 0), embedded.ProfileQuery{})
	if err != nil {
		t.Fatal(err)
	}
	if len(page.Flame) > flameFrames || len(page.Top) > topFunctions || len(page.Names) > flameFrames+topFunctions {
		t.Errorf("%d frames, %d functions, %d names", len(page.Flame), len(page.Top), len(page.Names))
	}
}
