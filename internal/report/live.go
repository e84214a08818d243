package report

import (
	"fmt"
	"io"
	"math"
	"strings"
	"sync"
	"time"

	"github.com/faultline-lab/faultline/internal/figure"
	"github.com/faultline-lab/faultline/internal/measure"
	"github.com/faultline-lab/faultline/internal/record"
	"github.com/faultline-lab/faultline/internal/run"
)

// Live writes a run's progress for people: on a terminal a few lines that are
// drawn anew each second, below what happened; elsewhere plain lines. It
// implements run.Watcher, and io.Writer for whatever else wants to reach the same
// terminal while the block is drawn there.
type Live struct {
	cfg   LiveConfig
	style Style

	mu      sync.Mutex
	drawn   int       // lines of the block that stand on the terminal now
	block   string    // the block, to draw it anew below a line that comes in between
	began   time.Time // when the first phase started; zero before
	plain   time.Duration
	figures bool                       // whether a plain line of figures was written
	history map[string][]measure.Value // goodput of each load, the last seconds
	alerted map[string]bool
}

// LiveConfig says where and how.
type LiveConfig struct {
	Out      io.Writer
	Title    string // "cascade-failure, naive"
	Terminal bool   // whether lines may be drawn over
	Color    bool
	Width    int           // in columns; 0 means 80
	Height   int           // in rows; 0 means 24
	Every    time.Duration // between plain lines of figures; 0 means 5s
}

// NewLive returns a Live; the zero values of cfg are documented there.
func NewLive(cfg LiveConfig) *Live {
	if cfg.Height <= 0 {
		cfg.Height = 24
	}
	if cfg.Every == 0 {
		cfg.Every = 5 * time.Second
	}
	cfg.Title = clean(cfg.Title)
	style := Style{Color: cfg.Color, Width: cfg.Width}
	cfg.Width = style.columns()
	return &Live{cfg: cfg, style: style, alerted: map[string]bool{}, history: map[string][]measure.Value{}}
}

// Event writes what people want to know as it happens; the rest is in the record.
func (l *Live) Event(e record.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e.Kind == record.EventPhase && l.began.IsZero() {
		l.began = e.Time
	}
	mark, text := l.describe(e)
	if text == "" {
		return
	}
	if !l.cfg.Terminal { // nothing is drawn over it: it may be as long as it likes
		l.between(l.when(e.Time) + mark.text + " " + clean(text))
		return
	}
	var lines []string
	for i, line := range wrapped(strings.Repeat(" ", whenColumns+2), text, l.style.columns()) {
		cells := []cell{{text: line}}
		if i == 0 {
			cells = []cell{{text: l.when(e.Time)}, mark, {text: line[whenColumns+1:]}}
		}
		lines = append(lines, l.style.line(cells...))
	}
	l.between(strings.Join(lines, "\n"))
}

// whenColumns is how wide a time is before an event.
const whenColumns = 9

// when is the time since the first phase started.
func (l *Live) when(t time.Time) string {
	if l.began.IsZero() {
		return strings.Repeat(" ", whenColumns)
	}
	return fmt.Sprintf("%6.1fs  ", max(0, t.Sub(l.began).Seconds()))
}

// Write writes lines above the block. What does not end a line does so here.
func (l *Live) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.between(strings.TrimRight(string(p), "\n"))
	return len(p), nil
}

// between writes lines where the block stands, and the block below them, in one
// piece, so that nothing is ever seen half. It is called with mu held.
func (l *Live) between(lines string) {
	up := ""
	if l.drawn > 0 {
		up = erasing(l.drawn)
	}
	_, _ = io.WriteString(l.cfg.Out, up+lines+"\n"+l.block)
	l.drawn = strings.Count(l.block, "\n")
}

// erasing moves up so many lines and clears from there to the end.
func erasing(lines int) string { return fmt.Sprintf("\x1b[%dA\r\x1b[J", lines) }

// Progress draws the state of the run.
func (l *Live) Progress(p run.Progress) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.remember(p)
	if !l.cfg.Terminal {
		l.plainFigures(p)
		return
	}
	// Without wrapping, a block that is wider than a window made narrower meanwhile
	// still takes as many lines as are counted here.
	block := "\x1b[?7l" + strings.Join(l.lines(p), "\n") + "\n\x1b[?7h"
	up := ""
	if l.drawn > 0 {
		up = erasing(l.drawn)
	}
	_, _ = io.WriteString(l.cfg.Out, up+block)
	l.block, l.drawn = block, strings.Count(block, "\n")
}

// Clear takes the block off the terminal.
func (l *Live) Clear() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.drawn > 0 {
		_, _ = io.WriteString(l.cfg.Out, erasing(l.drawn))
	}
	l.block, l.drawn = "", 0
}

// remembered is how many seconds of goodput are drawn at most.
const remembered = 16

func (l *Live) remember(p run.Progress) {
	for _, load := range p.Loads {
		past := append(l.history[load.Name], load.Goodput)
		l.history[load.Name] = past[max(0, len(past)-remembered):]
	}
}

// plainFigures writes a line of figures from time to time.
func (l *Live) plainFigures(p run.Progress) {
	if l.figures && p.At-l.plain < l.cfg.Every {
		return
	}
	l.plain, l.figures = p.At, true
	parts := make([]string, 0, len(p.Loads))
	for _, load := range p.Loads {
		parts = append(parts, fmt.Sprintf("%s: goodput %s, p99 %s, %s due, %s ended", clean(load.Name), dash(load.Goodput), dash(load.P99),
			figure.PerSecond.Text(load.Offered), dash(load.Ended)))
	}
	fmt.Fprintf(l.cfg.Out, "%6.1fs  %s %s  %s\n", max(0, p.At.Seconds()), markNote, clean(p.Phase), strings.Join(parts, " | "))
}

// seconds writes whole seconds, which is as exact as a clock needs.
func seconds(d time.Duration) string { return figure.Duration(d.Round(time.Second)) }

// dash is a value, or a dash where nothing ended yet.
func dash(v measure.Value) string {
	if !v.Known {
		return "–"
	}
	return v.Text()
}

// lines is the block: a bar, a line a load, a line a fault, and no more than
// the terminal has rows, for what has scrolled away cannot be drawn over.
func (l *Live) lines(p run.Progress) []string {
	lines := []string{l.bar(p)}
	name, loads, faults := 0, p.Loads, p.Faults
	for _, load := range loads {
		name = max(name, columnsOf(clean(load.Name)))
	}
	room := max(1, l.cfg.Height-2)
	for _, load := range loads[:min(len(loads), max(1, room-min(len(faults), 3)-1))] {
		lines = append(lines, l.loadLine(load, min(name, 16)))
	}
	if left := len(loads) + 1 - len(lines); left > 0 {
		lines = append(lines, l.style.line(cell{fmt.Sprintf("  … and %d more loads", left), dim}))
	}
	shown := faults[:min(len(faults), max(1, room-len(lines)))]
	for _, fault := range shown {
		lines = append(lines, l.style.line(cell{"  " + markFault + " " + clean(fault), red}))
	}
	if left := len(faults) - len(shown); left > 0 {
		lines[len(lines)-1] = l.style.line(cell{fmt.Sprintf("  %s … and %d more faults", markFault, left+1), red})
	}
	return lines
}

// bar is how far the run has come: what, which phase, how long still, and where
// there is room, a bar and the time of the whole.
func (l *Live) bar(p run.Progress) string {
	phase := clean(p.Phase)
	if phase == "" {
		phase = "ending"
	}
	state := fmt.Sprintf("  %s, %s left", phase, seconds(max(0, p.Left)))
	tail := fmt.Sprintf("  %s of %s", seconds(max(0, min(p.At, p.Length))), seconds(p.Length))
	head := cut(l.cfg.Title, max(8, l.cfg.Width-columnsOf(state)))
	room := l.cfg.Width - columnsOf(head+state+tail)
	if room < 0 {
		return l.style.line(cell{head, bold}, cell{state, ""})
	}
	cells := []cell{{head, bold}, {state, ""}}
	if width := min(40, room-2); width >= 6 && p.Length > 0 {
		full := max(0, min(width, int(float64(width)*float64(p.At)/float64(p.Length))))
		cells = append(cells, cell{"  " + strings.Repeat("█", full), ""}, cell{strings.Repeat("░", width-full), dim})
	}
	return l.style.line(append(cells, cell{tail, ""})...)
}

// loadLine is one load now. What it offers, what ended, and the last seconds are
// left out where there is no room for them.
//
//	browse    80/s due   26/s ended  goodput 26.92%  p99   2.6s  ▇▇▇▅▃▁
func (l *Live) loadLine(n run.LoadNow, name int) string {
	color := ""
	if n.Goodput.Known {
		color = colorOfShare(n.Goodput.Number)
	}
	cells := []cell{{"  " + padded(clean(n.Name), name), ""}}
	figures := []cell{{"  goodput ", ""}, {right(dash(n.Goodput), 6), color}, {"  p99 " + right(dash(n.P99), 6), ""}}
	room := l.cfg.Width - 2 - name
	for _, c := range figures {
		room -= columnsOf(c.text)
	}
	for _, text := range []string{"  " + right(figure.PerSecond.Text(n.Offered), 6) + " due", "  " + right(dash(n.Ended), 7) + " ended"} {
		if room -= columnsOf(text); room < 0 {
			room += columnsOf(text)
			break
		}
		cells = append(cells, cell{text, ""})
	}
	cells = append(cells, figures...)
	if room -= 2; room >= 4 {
		cells = append(append(cells, cell{"  ", ""}), l.spark(n.Name, min(room, remembered))...)
	}
	return l.style.line(cells...)
}

// spark draws the goodput of the last seconds.
func (l *Live) spark(load string, width int) []cell {
	levels := []rune("▁▂▃▄▅▆▇█")
	past := l.history[load]
	var cells []cell
	for _, v := range past[max(0, len(past)-width):] {
		if !v.Known || math.IsNaN(v.Number) {
			cells = append(cells, cell{markNote, dim})
			continue
		}
		level := int(math.Round(max(0, min(1, v.Number)) * float64(len(levels)-1)))
		cells = append(cells, cell{string(levels[level]), colorOfShare(v.Number)})
	}
	return cells
}
