package report

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/faultline-lab/faultline/internal/figure"
	"github.com/faultline-lab/faultline/internal/record"
	"github.com/faultline-lab/faultline/internal/run"
	"github.com/faultline-lab/faultline/observability/names"
)

// Live writes a run's progress for people: on a terminal a few lines that are
// drawn anew each second, below what happened; elsewhere plain lines. It
// implements run.Watcher.
type Live struct {
	cfg LiveConfig

	mu      sync.Mutex
	drawn   int       // lines of the block that stand on the terminal now
	plain   time.Time // when the last plain line of figures was written
	alerted map[string]bool
}

// LiveConfig says where and how.
type LiveConfig struct {
	Out      io.Writer
	Title    string // "cascade-failure, naive"
	Terminal bool   // whether lines may be drawn over
	Color    bool
	Width    int           // in columns; 0 means 80
	Every    time.Duration // between plain lines of figures; 0 means 5s
}

// NewLive returns a Live; the zero values of cfg are documented there.
func NewLive(cfg LiveConfig) *Live {
	if cfg.Width <= 0 {
		cfg.Width = 80
	}
	if cfg.Every == 0 {
		cfg.Every = 5 * time.Second
	}
	return &Live{cfg: cfg, alerted: map[string]bool{}}
}

// The colours of the terminal, as ANSI escape codes.
const (
	red    = "31"
	green  = "32"
	yellow = "33"
	dim    = "2"
	bold   = "1"
)

func (l *Live) paint(code, text string) string {
	if !l.cfg.Color {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// Event writes what people want to know as it happens; the rest is in the record.
func (l *Live) Event(e record.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	mark, text := l.describe(e)
	if text == "" {
		return
	}
	l.erase()
	fmt.Fprintln(l.cfg.Out, mark+" "+cut(text, l.cfg.Width-2))
}

func (l *Live) describe(e record.Event) (mark, text string) {
	switch e.Kind {
	case record.EventPhase:
		if e.Text == "started" {
			return l.paint(bold, "▸"), e.Name
		}
	case record.EventFault:
		return l.describeFault(e)
	case record.EventAlert:
		if e.Text == "firing" && !l.alerted[e.Name] {
			l.alerted[e.Name] = true // once is news; every replica and edge of it is in the record
			return l.paint(yellow, "!"), "alert " + e.Name + " fires" + onWhat(e.Data)
		}
	case record.EventProcess:
		if strings.HasPrefix(e.Text, "exited") {
			return l.paint(red, "✗"), e.Name + " " + e.Text
		}
	case record.EventHealth:
		return l.paint(red, "✗"), e.Name + " " + e.Text
	case record.EventAbort:
		return l.paint(red, "✗"), "aborted: " + e.Name
	case record.EventNote:
		return l.paint(yellow, "·"), e.Name + ": " + e.Text
	case record.EventAudit:
		if e.Text != "settled" {
			return l.paint(yellow, "?"), e.Name + ": " + e.Text
		}
	}
	return "", ""
}

// onWhat names what an alert is about, as far as its labels tell.
func onWhat(labels map[string]any) string {
	if caller, is := labels[names.Caller]; is {
		return fmt.Sprintf(" on %v->%v", caller, labels[names.Callee])
	}
	for _, label := range []string{names.On, names.Instance, names.Service} {
		if value, is := labels[label]; is && value != "" {
			return fmt.Sprintf(" on %v", value)
		}
	}
	return ""
}

func (l *Live) describeFault(e record.Event) (mark, text string) {
	text = "fault " + e.Name + " " + e.Text
	if e.Effect != nil && e.Effect.Measure != "" {
		text += fmt.Sprintf(": %s %s -> %s %s", e.Effect.Measure, number(e.Effect.Before), number(e.Effect.During), e.Effect.Unit)
	}
	switch e.Text {
	case "recovered":
		return l.paint(green, "✓"), text
	case "not felt", "not recovered":
		return l.paint(yellow, "?"), text
	}
	return l.paint(red, "⚡"), text
}

func number(v float64) string { return figure.Count.Text(v) }

// Progress draws the state of the run.
func (l *Live) Progress(p run.Progress) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cfg.Terminal {
		l.draw(p)
		return
	}
	if now := time.Unix(0, int64(p.At)); now.Sub(l.plain) >= l.cfg.Every || l.plain.IsZero() {
		l.plain = now
		fmt.Fprintln(l.cfg.Out, l.plainLine(p))
	}
}

func (l *Live) plainLine(p run.Progress) string {
	parts := []string{fmt.Sprintf("%3.0f/%.0f s %s", p.At.Seconds(), p.Length.Seconds(), p.Phase)}
	for _, load := range p.Loads {
		parts = append(parts, fmt.Sprintf("%s: goodput %s, p99 %s", load.Name, load.Goodput.Text(), load.P99.Text()))
	}
	return strings.Join(parts, " | ")
}

// draw replaces the block: a bar, a line a load, a line a fault.
func (l *Live) draw(p run.Progress) {
	l.erase()
	lines := []string{l.bar(p)}
	for _, load := range p.Loads {
		lines = append(lines, l.loadLine(load))
	}
	for _, fault := range p.Faults {
		lines = append(lines, "  "+l.paint(red, "⚡ "+cut(fault, l.cfg.Width-4)))
	}
	fmt.Fprint(l.cfg.Out, strings.Join(lines, "\n")+"\n")
	l.drawn = len(lines)
}

func (l *Live) bar(p run.Progress) string {
	head := fmt.Sprintf("%s  %s, %.0f s left", l.cfg.Title, p.Phase, p.Left.Seconds())
	tail := fmt.Sprintf(" %.0f/%.0f s", p.At.Seconds(), p.Length.Seconds())
	width := l.cfg.Width - utf8.RuneCountInString(head) - utf8.RuneCountInString(tail) - 4
	if width < 8 || p.Length <= 0 {
		return cut(head+tail, l.cfg.Width)
	}
	full := min(width, int(float64(width)*float64(p.At)/float64(p.Length)))
	return l.paint(bold, head) + "  " + strings.Repeat("█", full) + l.paint(dim, strings.Repeat("░", width-full)) + tail
}

func (l *Live) loadLine(n run.LoadNow) string {
	share := fmt.Sprintf("%8s", n.Goodput.Text())
	switch {
	case !n.Goodput.Known:
	case n.Goodput.Number >= 0.99:
		share = l.paint(green, share)
	case n.Goodput.Number < 0.5:
		share = l.paint(red, share)
	default:
		share = l.paint(yellow, share)
	}
	return fmt.Sprintf("  %-12s %7s   goodput %s   p99 %8s   ended %7s", cut(n.Name, 12), figure.PerSecond.Text(n.Offered), share, n.P99.Text(), n.Ended.Text())
}

// Clear takes the block off the terminal.
func (l *Live) Clear() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.erase()
}

// erase is called with mu held.
func (l *Live) erase() {
	if l.drawn > 0 {
		fmt.Fprintf(l.cfg.Out, "\x1b[%dA\x1b[J", l.drawn)
		l.drawn = 0
	}
}

// cut shortens text to width columns.
func cut(text string, width int) string {
	text = strings.Join(strings.Fields(text), " ")
	if utf8.RuneCountInString(text) <= width || width < 2 {
		return text
	}
	return string([]rune(text)[:width-1]) + "…"
}
