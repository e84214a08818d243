// Package grammar owns the language in which a scenario says what should
// hold: which measures there are (Catalog), and how one is compared with a
// number (Parse). Plans are checked with it before a run and judged with it
// afterwards.
//
// It computes no measure; package measure does.
package grammar

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/faultline-lab/faultline/internal/figure"
)

// Operator compares a measured number with the wanted one.
type Operator string

// The operators.
const (
	Less      Operator = "<"
	AtMost    Operator = "<="
	Greater   Operator = ">"
	AtLeast   Operator = ">="
	Equal     Operator = "=="
	Different Operator = "!="
)

// Operators returns every operator, in the order in which it is explained.
func Operators() []Operator {
	return []Operator{Less, AtMost, Greater, AtLeast, Equal, Different}
}

// Comparison is one measure compared with one number.
type Comparison struct {
	Measure  Measure
	Argument string // a load, caller->callee, a service, an alert, a query; "" where the measure takes none
	Op       Operator
	Wanted   float64 // in the measure's unit
	// WantedUnit is the unit in which Wanted is written: the measure's own, or
	// for promql, which has none, the one that was given.
	WantedUnit figure.Unit
	Text       string // as it was written
}

// Subject says whom the comparison is about: the kind of name and the name,
// which the reader of a scenario must know. None and PromQL name nobody.
func (c *Comparison) Subject() (Argument, string) { return c.Measure.Of, c.Argument }

// Holds tells whether a measured number, in the measure's unit, meets the
// comparison. Infinity is greater than every number; NaN meets nothing.
func (c *Comparison) Holds(v float64) bool {
	if math.IsNaN(v) {
		return false
	}
	switch c.Op {
	case Less:
		return v < c.Wanted
	case AtMost:
		return v <= c.Wanted
	case Greater:
		return v > c.Wanted
	case AtLeast:
		return v >= c.Wanted
	case Equal:
		return v == c.Wanted
	case Different:
		return v != c.Wanted
	}
	return false
}

// String writes the comparison in its canonical form, which Parse reads back
// as the same comparison.
func (c *Comparison) String() string {
	return c.Measure.Name + "(" + c.argumentText() + ") " + string(c.Op) + " " + c.limitText()
}

func (c *Comparison) argumentText() string {
	if c.Measure.Of == PromQL || !plainName(c.Argument, c.Measure.Of) {
		if c.Measure.Of == None {
			return ""
		}
		return quote(c.Argument)
	}
	return c.Argument
}

// limitText writes the wanted number so that not a bit of it is lost.
func (c *Comparison) limitText() string {
	text := c.WantedUnit.Text(c.Wanted)
	if n, unit, ok := readNumber(text); ok {
		if back, err := unit.value(n, c.Measure.Unit); err == nil && back == c.Wanted {
			return text
		}
	}
	bare := strconv.FormatFloat(c.Wanted, 'g', -1, 64)
	switch c.WantedUnit {
	case figure.Seconds:
		return bare + "s"
	case figure.Bytes:
		return bare + "B"
	default:
		return bare
	}
}

// Error says what is wrong with a comparison, and where.
type Error struct {
	Text     string // the whole comparison
	Position int    // of the character at fault, counted from 1; one past the end where something is missing
	Message  string
	Hint     string // how it may have been meant; may be empty
}

// Error gives position, message and hint in one line.
func (e *Error) Error() string {
	text := fmt.Sprintf("position %d: %s", e.Position, e.Message)
	if e.Hint != "" {
		text += "; " + e.Hint
	}
	return text
}

// Point draws the comparison with a mark below the place at fault, for a
// terminal.
func (e *Error) Point() string {
	return e.Text + "\n" + strings.Repeat(" ", e.Position-1) + "^"
}
