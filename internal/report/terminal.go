package report

import (
	"regexp"
	"strings"
	"unicode"

	"golang.org/x/text/width"

	"github.com/faultline-lab/faultline/internal/check"
)

// Style says how lines for people are written.
type Style struct {
	Color bool
	Width int // columns; 0 means 80
}

// The colours of the terminal, as ANSI escape codes.
const (
	red    = "31"
	green  = "32"
	yellow = "33"
	dim    = "2"
	bold   = "1"
)

// Marks of one column each. The flash that everybody would choose for faults,
// U+26A1, is two columns wide on some terminals and one on others.
const (
	markFault = "↯"
	markPhase = "▸"
	markGood  = "✓"
	markBad   = "✗"
	markDoubt = "?"
	markAlert = "!"
	markNote  = "·"
)

func (s Style) columns() int {
	if s.Width <= 0 {
		return 80
	}
	return s.Width
}

func (s Style) paint(code, text string) string {
	if !s.Color || code == "" || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func colorOf(o check.Outcome) string {
	switch o {
	case check.Pass:
		return green
	case check.Fail:
		return red
	}
	return yellow
}

func markOf(o check.Outcome) string {
	switch o {
	case check.Pass:
		return markGood
	case check.Fail:
		return markBad
	}
	return markDoubt
}

// The limits between good, middling and bad goodput, for colours only.
const (
	goodShare = 0.99
	badShare  = 0.5
)

// colorOfShare is the colour of a share such as goodput.
func colorOfShare(v float64) string {
	switch {
	case v >= goodShare:
		return green
	case v < badShare:
		return red
	}
	return yellow
}

// cell is a piece of a line, in one colour.
type cell struct {
	text, code string
}

// line joins cells, cut off where the terminal ends: a line that wraps would
// garble what is drawn over it.
func (s Style) line(cells ...cell) string {
	var out strings.Builder
	left := s.columns()
	for _, c := range cells {
		if columnsOf(c.text) > left {
			out.WriteString(s.paint(c.code, cut(c.text, left)))
			break
		}
		out.WriteString(s.paint(c.code, c.text))
		left -= columnsOf(c.text)
	}
	return out.String()
}

// escapes are the sequences that terminals obey: CSI, OSC and the like with a
// text up to its end, and the rest with one letter.
var escapes = regexp.MustCompile(`\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]PX^_][^\x07\x1b]*(\x07|\x1b\\)?|\x1b[ -/]*[0-~]?`)

// clean makes one line of a text and takes out what a terminal would obey, or what
// would turn its direction, instead of showing it: log lines and errors of
// the system under test may hold anything.
func clean(text string) string {
	text = escapes.ReplaceAllString(text, "")
	text = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case unicode.IsControl(r), unicode.Is(unicode.Cf, r), r == unicode.ReplacementChar:
			return -1
		}
		return r
	}, text)
	return strings.Join(strings.Fields(text), " ")
}

// columnsOf is how many columns a clean text takes on a terminal.
func columnsOf(text string) int {
	n := 0
	for _, r := range text {
		n += columnsOfRune(r)
	}
	return n
}

func columnsOfRune(r rune) int {
	if unicode.In(r, unicode.Mn, unicode.Me) {
		return 0
	}
	switch width.LookupRune(r).Kind() {
	case width.EastAsianWide, width.EastAsianFullwidth:
		return 2
	}
	return 1
}

// cut shortens a clean text to so many columns.
func cut(text string, columns int) string {
	if columnsOf(text) <= columns {
		return text
	}
	if columns < 1 {
		return ""
	}
	left := columns - 1
	for i, r := range text {
		if left -= columnsOfRune(r); left < 0 {
			return text[:i] + "…"
		}
	}
	return text
}

// padded cuts or fills text to so many columns.
func padded(text string, columns int) string {
	text = cut(text, columns)
	return text + strings.Repeat(" ", max(0, columns-columnsOf(text)))
}

// right sets text at the right end of so many columns.
func right(text string, columns int) string {
	text = cut(text, columns)
	return strings.Repeat(" ", max(0, columns-columnsOf(text))) + text
}

// wrapped breaks text into lines of at most so many columns. The first begins
// with head, the others with as many blanks.
func wrapped(head, text string, columns int) []string {
	blank := strings.Repeat(" ", columnsOf(head))
	var out []string
	line, empty := head, true
	for _, word := range strings.Fields(clean(text)) {
		if !empty && columnsOf(line)+1+columnsOf(word) > columns {
			out = append(out, line)
			line, empty = blank, true
		}
		if !empty {
			line += " "
		}
		line, empty = line+cut(word, max(1, columns-columnsOf(blank))), false
	}
	return append(out, line)
}
