package bench

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/faultline-lab/faultline/internal/figure"
)

// Progress tells people how a campaign goes on: on a terminal in one line that
// is drawn anew each second, elsewhere in plain lines. It implements Watcher.
type Progress struct {
	Out      io.Writer
	Terminal bool // whether a line may be drawn over
	Style    Style

	mu    sync.Mutex
	drawn bool
	head  string
	left  time.Duration // of the campaign when the run began
}

// Begins tells of a run that begins.
func (p *Progress) Begins(slot Slot, values []string, of int, left time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	block := fmt.Sprintf("block %d", slot.Block)
	if slot.Warmup() {
		block = "warm-up block"
	}
	if slot.Scenario != "" {
		block = slot.Scenario + ", " + block
	}
	digits := len(fmt.Sprint(of))
	p.head = fmt.Sprintf("[%*d/%d] %s, %s", digits, slot.Number, of, block, strings.Join(append([]string{slot.Name()}, values...), ", "))
	p.left = left
	if !p.Terminal {
		p.print("", p.head+", seed "+fmt.Sprint(slot.Seed)+"; "+leftText(left))
		return
	}
	p.draw(p.head+"  starting", 0, 0)
}

// Step tells of the run under way: its phase, and how far it is.
func (p *Progress) Step(phase string, at, length time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.Terminal {
		p.draw(p.head+"  "+phase, at, length)
	}
}

// Ends tells of a run that ended.
func (p *Progress) Ends(slot Slot, m *Measured, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	text := ""
	switch {
	case err != nil:
		text = p.Style.paint(red, "failed: ") + err.Error()
	case len(m.Void) > 0:
		text = p.Style.paint(yellow, "void: ") + strings.Join(m.Void, "; ")
	default:
		text = "counts" + p.recovered(m) + ", expectations " + string(m.Outcome)
	}
	took := ""
	if m != nil {
		took = " in " + figure.Duration(slot.Ended.Sub(slot.Started).Round(time.Second))
	}
	if p.Terminal {
		p.print("", p.head+took+": "+text)
		return
	}
	p.print(strings.Repeat(" ", strings.Index(p.head, "]")+2), "ended"+took+": "+text)
}

func (p *Progress) recovered(m *Measured) string {
	switch {
	case m.Recovered == nil:
		return ""
	case *m.Recovered:
		return ", recovered"
	}
	return ", " + p.Style.paint(red, "not recovered")
}

func leftText(left time.Duration) string {
	return "about " + figure.Duration(left.Round(time.Second)) + " left"
}

// print is called with mu held. What the text quotes may have several lines.
func (p *Progress) print(indent, text string) {
	p.erase()
	fmt.Fprintln(p.Out, indent+strings.Join(strings.Fields(text), " "))
}

// draw is called with mu held.
func (p *Progress) draw(head string, at, length time.Duration) {
	p.erase()
	tail := "  " + leftText(max(0, p.left-at))
	width := p.width() - utf8.RuneCountInString(head) - utf8.RuneCountInString(tail) - 3
	bar := ""
	if width >= 8 && length > 0 {
		full := min(width, int(float64(width)*float64(at)/float64(length)))
		bar = "  " + strings.Repeat("█", full) + p.Style.paint(dim, strings.Repeat("░", width-full))
	} else {
		head = cut(head, p.width()-utf8.RuneCountInString(tail)-1)
	}
	fmt.Fprint(p.Out, head+bar+tail+"\n")
	p.drawn = true
}

func (p *Progress) width() int {
	if p.Style.Width > 0 {
		return p.Style.Width
	}
	return 80
}

// Clear takes the line off the terminal.
func (p *Progress) Clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.erase()
}

func (p *Progress) erase() {
	if p.drawn {
		fmt.Fprint(p.Out, "\x1b[1A\x1b[J")
		p.drawn = false
	}
}
