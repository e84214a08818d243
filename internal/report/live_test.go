package report

import (
	"bytes"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/faultline-lab/faultline/internal/figure"
	"github.com/faultline-lab/faultline/internal/golden"
	"github.com/faultline-lab/faultline/internal/measure"
	"github.com/faultline-lab/faultline/internal/record"
	"github.com/faultline-lab/faultline/internal/run"
)

func known(v float64, unit figure.Unit) measure.Value {
	return measure.Value{Number: v, Unit: unit, Known: true}
}

// progressAt is a run's state at a second of the fixture's plan.
func progressAt(second int, goodput float64) run.Progress {
	phase, left, faults := "baseline", 6-second, []string(nil)
	if second >= 6 {
		phase, left, faults = "fault", 10-second, []string{"slow (latency orders->bank)"}
	}
	value := known(goodput, figure.Ratio)
	if math.IsNaN(goodput) {
		value = measure.Value{Unit: figure.Ratio, Why: "nothing ended"}
	}
	return run.Progress{
		Phase: phase, Left: time.Duration(left) * time.Second, At: time.Duration(second) * time.Second, Length: 15 * time.Second, Faults: faults,
		Loads: []run.LoadNow{
			{Name: "browse", Offered: 10, Ended: known(10*goodput, figure.PerSecond), Goodput: value, P99: known(.0211, figure.Seconds)},
			{Name: "buy", Offered: 5, Ended: measure.Value{}, Goodput: measure.Value{}, P99: measure.Value{}},
		},
	}
}

// play shows Live the fixture's run, events and progress in turn.
func play(l *Live) {
	events, next := fixtureEvents(), 0
	for s := range 11 {
		for next < len(events) && !events[next].Time.After(second(float64(s))) {
			l.Event(events[next])
			next++
		}
		goodput := 1.0
		if s >= 6 {
			goodput = []float64{.98, .6, math.NaN(), .2, 0}[s-6]
		}
		l.Progress(progressAt(s, goodput))
	}
	for _, e := range events[next:] {
		l.Event(e)
	}
}

func TestLiveOnATerminal(t *testing.T) {
	for _, width := range []int{100, 80, 60, 40, 24} {
		t.Run(fmt.Sprint(width), func(t *testing.T) {
			screen := newScreen(t, width, 24)
			l := NewLive(LiveConfig{Out: screen, Title: "slow-bank, naive", Terminal: true, Color: true, Width: width})
			play(l)
			golden.Equal(t, fmt.Sprintf("testdata/live/terminal-%d.txt", width), screen.String())
			if !screen.sawEscapes {
				t.Error("no colours")
			}
			l.Clear()
			l.Clear()
			for _, word := range []string{"goodput", "left", "░"} {
				if strings.Contains(screen.String(), word) {
					t.Errorf("the block is still there:\n%s", screen)
				}
			}
			if !strings.Contains(screen.String(), "slow felt") {
				t.Errorf("what happened is gone:\n%s", screen)
			}
		})
	}
}

func TestLiveInALog(t *testing.T) {
	var b bytes.Buffer
	l := NewLive(LiveConfig{Out: &b, Title: "slow-bank, naive", Every: 3 * time.Second})
	play(l)
	l.Clear()
	golden.Equal(t, "testdata/live/plain.txt", b.String())
	if strings.Contains(b.String(), "\x1b") {
		t.Error("escape sequences in a log")
	}
}

func TestLiveWithoutColourHasNone(t *testing.T) {
	screen := newScreen(t, 80, 24)
	play(NewLive(LiveConfig{Out: screen, Terminal: true}))
	if screen.sawEscapes {
		t.Error("colours although there should be none")
	}
}

// What else is written to the terminal comes above the block, not into it.
func TestLiveLetsOthersWrite(t *testing.T) {
	screen := newScreen(t, 80, 24)
	l := NewLive(LiveConfig{Out: screen, Title: "slow-bank, naive", Terminal: true})
	l.Progress(progressAt(3, 1))
	log := slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
	log.Error("it is late")
	fmt.Fprint(l, "two\nlines")
	l.Progress(progressAt(4, 1))
	golden.Equal(t, "testdata/live/others.txt", screen.String())
}

func TestLiveStaysWithinTheTerminal(t *testing.T) {
	screen := newScreen(t, 80, 10)
	l := NewLive(LiveConfig{Out: screen, Title: strings.Repeat("a very long title ", 9), Terminal: true, Height: 10})
	p := progressAt(7, 1)
	for i := range 30 {
		p.Loads = append(p.Loads, run.LoadNow{Name: fmt.Sprintf("load-with-a-long-name-%d", i)})
		p.Faults = append(p.Faults, fmt.Sprintf("fault-%d (down a->b)", i))
	}
	for range 3 {
		l.Progress(p)
		l.Event(record.Event{Time: second(1), Kind: record.EventNote, Name: "proxy", Text: strings.Repeat("word ", 50)})
	}
	golden.Equal(t, "testdata/live/crowded.txt", screen.String())
}

// The end of a run may be reported late, and a plan may have no length.
func TestLiveAtTheEdges(t *testing.T) {
	screen := newScreen(t, 60, 24)
	l := NewLive(LiveConfig{Out: screen, Title: "x", Terminal: true, Width: 60})
	l.Progress(run.Progress{At: 20 * time.Second, Length: 15 * time.Second})
	l.Progress(run.Progress{At: -time.Second})
	l.Event(record.Event{Kind: record.EventAbort, Name: "lag() > 50ms"})
	if got, want := screen.String(), "|         ✗ aborted: lag() > 50ms\n|x  ending, 0s left  0s of 0s\n"; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestNews(t *testing.T) {
	for _, test := range []struct {
		event record.Event
		want  string
	}{
		{record.Event{Kind: record.EventPhase, Name: "fault", Text: "ended"}, ""},
		{record.Event{Kind: record.EventAlert, Name: "A", Text: "pending"}, ""},
		{record.Event{Kind: record.EventAlert, Name: "A", Text: "firing"}, "! alert A fires"},
		{record.Event{Kind: record.EventAlert, Name: "A", Text: "firing", Data: map[string]any{"http_route": "/orders", "severity": "page"}}, "! alert A fires on /orders"},
		{record.Event{Kind: record.EventAlert, Name: "A", Text: "firing", Data: map[string]any{"caller": "a", "callee": "b"}}, "! alert A fires on a->b"},
		{record.Event{Kind: record.EventAlert, Name: "A", Text: "firing", Data: map[string]any{"on": "a->b", "instance": "a"}}, "! alert A fires on a->b"},
		{record.Event{Kind: record.EventAlert, Name: "A", Text: "firing", Data: map[string]any{"service": "a", "subject": "orders.*"}}, "! alert A fires on a orders.*"},
		{record.Event{Kind: record.EventFault, Name: "f", Text: "not felt"}, "? f not felt"},
		{record.Event{Kind: record.EventProcess, Name: "bank", Text: "ready"}, ""},
		{record.Event{Kind: record.EventProcess, Name: "bank", Text: "restarted"}, "· bank restarted"},
		{record.Event{Kind: record.EventProcess, Name: "bank", Text: "exited: exit status 1"}, "✗ bank exited: exit status 1"},
		{record.Event{Kind: record.EventHealth, Name: "bank", Text: "unhealthy"}, "✗ bank unhealthy"},
		{record.Event{Kind: record.EventNote, Name: "proxy", Text: "cut"}, "· proxy: cut"},
		{record.Event{Kind: record.EventAudit, Name: "invariants", Text: "not settled"}, "? invariants: not settled"},
		{record.Event{Kind: record.EventAudit, Name: "invariants", Text: "settled", Data: map[string]any{"violations": []any{}}}, ""},
		{record.Event{Kind: record.EventAudit, Name: "invariants", Text: "settled", Data: map[string]any{"violations": []any{1, 2}}}, "✗ invariants: 2 violations"},
		{record.Event{Kind: "else"}, ""},
	} {
		var b bytes.Buffer
		NewLive(LiveConfig{Out: &b}).Event(test.event)
		if got := strings.TrimSpace(b.String()); got != test.want {
			t.Errorf("%+v: got %q, want %q", test.event, got, test.want)
		}
	}
}

// An alert is news once, however many replicas it fires on.
func TestAlertIsNewsOnce(t *testing.T) {
	var b bytes.Buffer
	l := NewLive(LiveConfig{Out: &b})
	for range 3 {
		l.Event(record.Event{Kind: record.EventAlert, Name: "A", Text: "firing"})
	}
	if n := strings.Count(b.String(), "fires"); n != 1 {
		t.Errorf("told %d times", n)
	}
}

func TestMeasured(t *testing.T) {
	for _, test := range []struct {
		v          float64
		unit, want string
	}{{3192.356, "ms", "3.19s"}, {18.8, "ms", "18.8ms"}, {0, "errors", "0 errors"}, {2048, "bytes/s", "2 KB/s"}, {4, "", "4"}} {
		if got := measured(test.v, test.unit); got != test.want {
			t.Errorf("%v %s: got %q, want %q", test.v, test.unit, got, test.want)
		}
	}
}
