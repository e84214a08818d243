package grammar

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/faultline-lab/faultline/internal/figure"
)

// unit is a unit as it is written. A number n of it is n*times/per of the
// base: one of the two is 1, so that 99.5 % is the double nearest to 0.995,
// as 199/200 measured is.
type unit struct {
	suffix     string
	base       figure.Unit
	times, per float64
}

// units lists longer suffixes before those that they end in.
func units() []unit {
	return []unit{
		{"%", figure.Ratio, 1, 100},
		{"ns", figure.Seconds, 1, 1e9},
		{"us", figure.Seconds, 1, 1e6},
		{"µs", figure.Seconds, 1, 1e6}, // micro sign
		{"μs", figure.Seconds, 1, 1e6}, // Greek mu
		{"ms", figure.Seconds, 1, 1e3},
		{"/s", figure.PerSecond, 1, 1},
		{"s", figure.Seconds, 1, 1},
		{"m", figure.Seconds, 60, 1},
		{"h", figure.Seconds, 3600, 1},
		{"x", figure.Times, 1, 1},
		{"KB", figure.Bytes, 1 << 10, 1},
		{"MB", figure.Bytes, 1 << 20, 1},
		{"GB", figure.Bytes, 1 << 30, 1},
		{"B", figure.Bytes, 1, 1},
	}
}

// readNumber reads a number and its unit, if it has one.
func readNumber(text string) (float64, unit, bool) {
	bare := unit{base: figure.Plain, times: 1, per: 1}
	for _, u := range units() {
		if rest, found := strings.CutSuffix(text, u.suffix); found {
			if n, ok := decimal(strings.TrimSpace(rest)); ok {
				return n, u, true
			}
		}
	}
	if n, ok := decimal(text); ok {
		return n, bare, true
	}
	if d, err := time.ParseDuration(text); err == nil && text != "" && text[0] != '+' {
		return d.Seconds(), unit{base: figure.Seconds, times: 1, per: 1}, true
	}
	return 0, unit{}, false
}

// decimal reads a finite decimal number. Go's other forms, such as 0x1p-2,
// 1_000 and inf, are none.
func decimal(text string) (float64, bool) {
	if text == "" || strings.Trim(text, "0123456789.eE+-") != "" || text[0] == '+' {
		return 0, false
	}
	n, err := strconv.ParseFloat(text, 64)
	return n, err == nil && !math.IsInf(n, 0)
}

// value converts a number of this unit to the base unit of a measure, and
// refuses what the measure can never be.
func (u unit) value(n float64, of figure.Unit) (float64, error) {
	v := n * u.times / u.per
	switch {
	case math.IsInf(v, 0):
		return 0, errors.New("it is too large")
	case of == figure.Plain:
		return v, nil
	case n < 0:
		return 0, errors.New("it is below 0")
	case u.suffix == "" && u.base == figure.Plain:
		return v, bareLimit(v, of)
	case u.base != of:
		return 0, errors.New("the unit is wrong")
	case of == figure.Ratio && v > 1:
		return 0, errors.New("no share is above 100%")
	}
	return v, nil
}

// bareLimit checks a number that was written without a unit.
func bareLimit(v float64, of figure.Unit) error {
	switch {
	case of == figure.Seconds && v != 0:
		return errors.New("a time needs a unit")
	case of == figure.Ratio && v > 1:
		return fmt.Errorf("no share is above 1 (was %s%% meant?)", strconv.FormatFloat(v, 'g', -1, 64))
	case of == figure.Count && v != math.Trunc(v):
		return errors.New("it is not whole")
	}
	return nil
}

// plainName tells whether an argument needs no quotes.
func plainName(s string, of Argument) bool {
	if of == Edge {
		caller, callee, found := strings.Cut(s, "->")
		return found && plainName(caller, Load) && plainName(callee, Load)
	}
	for i, r := range s {
		if !isName(r) || i == 0 && !isStart(r) {
			return false
		}
	}
	return s != "" && !strings.HasSuffix(s, "-")
}

// quote writes an argument so that the parser reads it back as it is. No
// argument ends in a backslash, for that would have escaped the closing quote.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `\'`) + "'" }
