package loadgen

import (
	"net/http"
	"slices"
	"testing"
	"time"
)

func TestWithRate(t *testing.T) {
	load := Load{Stages: []Stage{{For: 10 * time.Second, From: 10, To: 20}, {For: 10 * time.Second, From: 5, To: 5}}}
	for _, tt := range []struct {
		name string
		at   time.Duration
		want []Stage
	}{
		{"before the start", -time.Second, []Stage{{For: 20 * time.Second, From: 50, To: 50}}},
		{"at the start", 0, []Stage{{For: 20 * time.Second, From: 50, To: 50}}},
		{"in a ramp", 5 * time.Second, []Stage{{For: 5 * time.Second, From: 10, To: 15}, {For: 15 * time.Second, From: 50, To: 50}}},
		{"between stages", 10 * time.Second, []Stage{{For: 10 * time.Second, From: 10, To: 20}, {For: 10 * time.Second, From: 50, To: 50}}},
		{"at the end", 20 * time.Second, load.Stages},
		{"after the end", time.Minute, load.Stages},
	} {
		if got := load.WithRate(tt.at, 50).Stages; !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
	users := Load{Users: 3, Stages: []Stage{{For: time.Second}}}
	if got := users.WithRate(0, 50).Stages; !slices.Equal(got, users.Stages) {
		t.Errorf("a load of users got %v", got)
	}
}

// TestSetRateIsAsPlanned holds a change on the way to a plan with that change:
// what was let go before stays, the rest is the same to the nanosecond.
func TestSetRateIsAsPlanned(t *testing.T) {
	for _, kind := range []Arrivals{Poisson, Constant} {
		for worker := range 2 {
			load := Load{Seed: 7, Arrivals: kind, Stages: []Stage{{For: 4 * time.Second, From: 50, To: 100}}}
			changed := newOpenPacer(load, worker, 2)
			handOut(changed, 2*time.Second)
			changed.setRate(2*time.Second, 10)
			changed.setRate(3*time.Second, 400)
			planned := newOpenPacer(load.WithRate(2*time.Second, 10).WithRate(3*time.Second, 400), worker, 2)
			got, want := handOut(changed, time.Minute), handOut(planned, time.Minute)
			if len(got) < 150 || !slices.Equal(got, want) {
				t.Errorf("%s, worker %d: %d arrivals, want %d", kind, worker, len(got), len(want))
			}
			if len(changed.wake) != 1 {
				t.Error("nobody was woken")
			}
		}
	}
}

func TestSetRateKeepsWhatWasHandedOut(t *testing.T) {
	pacer := newOpenPacer(Load{Arrivals: Constant, Stages: []Stage{{For: 10 * time.Second, From: 10, To: 10}}}, 0, 1)
	before := handOut(pacer, 5*time.Second)
	pacer.setRate(time.Second, 0)
	if after := handOut(pacer, time.Minute); !slices.Equal(before, after) {
		t.Errorf("%d arrivals had been let go, %d remained", len(before), len(after))
	}
}

// handOut lets the pacer give every arrival up to an offset, and returns when all were due.
func handOut(p *openPacer, until time.Duration) []time.Duration {
	var out []time.Duration
	for hit := uint64(0); ; hit++ {
		if wait, stop := p.Pace(until, hit); wait > 0 || stop {
			return out
		}
		due, _ := p.dueAt(hit)
		out = append(out, due)
	}
}

// TestWorkChangesItsRate begins with a load that would send nothing for an hour.
func TestWorkChangesItsRate(t *testing.T) {
	p := startInProcess(t, t.Context())
	share := once("http", serve(t, func(http.ResponseWriter, *http.Request) {}), Step{Path: "/"}).at(time.Hour, 0)
	share.Loads[0].Stages = []Stage{{For: time.Hour, From: 0, To: 0}}
	share.Start = time.Now()
	p.tell(t, share)
	p.until(t, kindReady)
	p.tell(t, command{Rate: &rateChange{Load: "browse", At: 0, To: 200}})
	if _, m := p.until(t, kindResult); !m.result.OK {
		t.Errorf("result %+v", m.result)
	}
	p.tell(t, command{Rate: &rateChange{Load: "nobody", To: 1}})
	p.tell(t, command{Rate: &rateChange{Load: "browse", At: time.Since(share.Start), To: 0}})
	p.tell(t, command{Stop: true})
	p.until(t, kindDone)
}

// TestRateAfterTheEnd must not keep the worker from ending.
func TestRateAfterTheEnd(t *testing.T) {
	p := startInProcess(t, t.Context())
	share := once("http", serve(t, func(http.ResponseWriter, *http.Request) {}), Step{Path: "/"})
	share.Start = time.Now()
	p.tell(t, share)
	p.until(t, kindReady)
	p.until(t, kindDone)
	p.tell(t, command{Rate: &rateChange{Load: "browse", To: 1}})
}
