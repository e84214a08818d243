package report

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/text/width"
)

// screen is a terminal as far as Live needs one: it wraps lines that are too
// long, moves up, clears to the end, and scrolls. What it holds is what a person sees.
type screen struct {
	t          *testing.T
	width      int
	lines      [][]rune // all that was ever written; the last rows are in sight
	row, col   int
	rows       int
	wrap       bool
	sawEscapes bool // any but those of moving
}

func newScreen(t *testing.T, width, rows int) *screen {
	return &screen{t: t, width: width, rows: rows, lines: [][]rune{nil}, wrap: true}
}

var control = regexp.MustCompile(`^\x1b\[(\??)([0-9;]*)([A-Za-z])`)

func (s *screen) Write(p []byte) (int, error) {
	text := string(p)
	for text != "" {
		if m := control.FindStringSubmatch(text); m != nil {
			s.obey(m[1], m[2], m[3])
			text = text[len(m[0]):]
			continue
		}
		r := []rune(text)[0]
		text = text[len(string(r)):]
		switch r {
		case '\n':
			s.row, s.col = s.row+1, 0
			for len(s.lines) <= s.row {
				s.lines = append(s.lines, nil)
			}
		case '\r':
			s.col = 0
		case '\x1b':
			s.t.Errorf("an escape sequence that Live does not use: %q", text[:min(len(text), 10)])
		default:
			s.put(r)
		}
	}
	return len(p), nil
}

func (s *screen) obey(private, number, command string) {
	n, _ := strconv.Atoi(number)
	switch command {
	case "A":
		if n > s.rows-1 {
			s.t.Errorf("moves up %d lines of %d", n, s.rows)
		}
		s.row = max(0, s.row-n)
	case "J":
		s.lines = s.lines[:s.row+1]
		s.lines[s.row] = s.lines[s.row][:min(s.col, len(s.lines[s.row]))]
	case "h", "l":
		if private != "?" || number != "7" {
			s.t.Errorf("sets mode %s%s", private, number)
		}
		s.wrap = command == "h"
	case "m":
		s.sawEscapes = true
	default:
		s.t.Errorf("unknown command %s", command)
	}
}

func (s *screen) put(r rune) {
	columns := 1
	if kind := width.LookupRune(r).Kind(); kind == width.EastAsianWide {
		columns = 2
	}
	if s.col+columns > s.width {
		if !s.wrap {
			return
		}
		s.row, s.col = s.row+1, 0
		for len(s.lines) <= s.row {
			s.lines = append(s.lines, nil)
		}
	}
	line := s.lines[s.row]
	for len(line) <= s.col {
		line = append(line, ' ')
	}
	line[s.col] = r
	s.lines[s.row] = line
	s.col += columns
}

func (s *screen) String() string {
	var out strings.Builder
	for i, line := range s.lines {
		if i == len(s.lines)-1 && len(line) == 0 {
			break
		}
		fmt.Fprintf(&out, "|%s\n", strings.TrimRight(string(line), " "))
	}
	return out.String()
}
