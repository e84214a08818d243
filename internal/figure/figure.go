// Package figure owns how numbers are written for people: which unit they
// have, how many digits they get, and what is said where there is no number.
// The terminal, the reports and the messages all take their text from here,
// so that the same figure looks the same everywhere.
//
// It does not know what any number means.
package figure

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// Unit is the base unit of a number. A number is always kept in its base
// unit; larger and smaller units exist in text only.
type Unit string

// The units. Their values are what verdict.json carries.
const (
	Plain     Unit = ""           // a bare number
	Ratio     Unit = "ratio"      // 0 to 1, written in per cent
	Seconds   Unit = "seconds"    // written as µs, ms, s, m or h
	Times     Unit = "times"      // a factor: 1.2x
	PerSecond Unit = "per_second" // 80/s
	Count     Unit = "count"      // whole things
	Bytes     Unit = "bytes"      // KB is 1024 bytes
	Cores     Unit = "cores"      // seconds of CPU time a second
)

// Unknown is what is written where there is no number.
const Unknown = "unknown"

// Never is how an infinite number of seconds is written: what is waited for
// does not come.
const Never = "never"

// digits is how many significant digits a figure gets: what a reader takes
// in at a glance, and about what an HDR histogram of 3 digits knows.
const digits = 3

// Text writes a number that is in its base unit.
func (u Unit) Text(v float64) string { return u.text(v, digits) }

// Apart writes two numbers so that their texts differ where the numbers do:
// a finding must not read "wanted < 800ms, measured 800ms".
func (u Unit) Apart(a, b float64) (string, string) {
	for n := digits; n < 17; n++ {
		ta, tb := u.text(a, n), u.text(b, n)
		if ta != tb || a == b {
			return ta, tb
		}
	}
	return u.text(a, 17), u.text(b, 17)
}

func (u Unit) text(v float64, digits int) string {
	if math.IsNaN(v) {
		return Unknown
	}
	if math.IsInf(v, 0) {
		return u.infinite(v)
	}
	switch u {
	case Ratio:
		return percent(v, digits)
	case Seconds:
		return seconds(v, digits)
	case Times:
		return significant(v, digits) + "x"
	case PerSecond:
		return grouped(v, digits) + "/s"
	case Bytes:
		return bytes(v, digits)
	case Cores:
		return cores(v, digits)
	default:
		return grouped(v, digits)
	}
}

func (u Unit) infinite(v float64) string {
	switch {
	case u == Seconds && v > 0:
		return Never
	case v > 0:
		return "infinite"
	default:
		return "minus infinite"
	}
}

// Duration writes a duration as a figure of seconds.
func Duration(d time.Duration) string { return Seconds.Text(d.Seconds()) }

// percent never rounds up to 100 % or down to 0 %: one failure in a million
// is not none.
func percent(v float64, digits int) string {
	step := math.Pow10(-(digits - 1)) // of a per cent: 0.01 at three digits
	p := math.Round(v*100/step) * step
	switch {
	case v < 1 && p >= 100:
		p = 100 - step
	case v > 0 && p <= 0:
		return "<" + trim(strconv.FormatFloat(step, 'f', digits-1, 64)) + "%"
	case v > 1 && p <= 100:
		p = 100 + step
	}
	return trim(strconv.FormatFloat(p, 'f', digits-1, 64)) + "%"
}

func seconds(v float64, digits int) string {
	switch abs := math.Abs(v); {
	case v == 0:
		return "0s"
	case abs >= 120:
		return long(v, digits)
	case rounded(abs, digits) >= 1:
		return significant(v, digits) + "s"
	case rounded(abs*1e3, digits) >= 1:
		return significant(v*1e3, digits) + "ms"
	case rounded(abs*1e6, digits) >= 1:
		return significant(v*1e6, digits) + "µs"
	default:
		return significant(v*1e9, digits) + "ns"
	}
}

// long writes times from two minutes up as Go does, to the second unless more
// digits are asked for, and without zero parts: 5m, 2m30s, 1h5m.
func long(v float64, digits int) string {
	if math.Abs(v) > math.MaxInt64/1e9 {
		return significant(v, digits) + "s"
	}
	unit := time.Second
	if digits > 3 {
		unit = time.Millisecond
	}
	if digits > 6 {
		unit = 1
	}
	text := time.Duration(v * 1e9).Round(unit).String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(text, zero) {
			text = text[:len(text)-2]
		}
	}
	return text
}

func bytes(v float64, digits int) string {
	units := []string{" B", " KB", " MB", " GB", " TB"}
	i := 0
	for math.Abs(v) >= 1024 && i < len(units)-1 {
		v /= 1024
		i++
	}
	return significant(v, digits) + units[i]
}

func cores(v float64, digits int) string {
	text := significant(v, digits)
	if text == "1" {
		return "1 core"
	}
	return text + " cores"
}

// grouped writes a number with its thousands set apart, as 12,345.
func grouped(v float64, digits int) string {
	text := significant(v, digits)
	whole, fraction, found := strings.Cut(text, ".")
	sign := ""
	if strings.HasPrefix(whole, "-") {
		sign, whole = "-", whole[1:]
	}
	if len(whole) < 4 || strings.ContainsAny(whole, "e") {
		return text
	}
	var out []byte
	for i := range len(whole) {
		if i > 0 && (len(whole)-i)%3 == 0 {
			out = append(out, ',')
		}
		out = append(out, whole[i])
	}
	text = sign + string(out)
	if found {
		text += "." + fraction
	}
	return text
}

// significant keeps so many significant digits of what is behind the point;
// digits before the point are never cut off.
func significant(v float64, digits int) string {
	if v == 0 {
		return "0"
	}
	if math.Abs(v) >= 1e15 || math.Abs(v) < 1e-6 {
		return strconv.FormatFloat(v, 'g', digits, 64)
	}
	decimals := max(0, digits-1-int(math.Floor(math.Log10(math.Abs(v)))))
	text := trim(strconv.FormatFloat(v, 'f', decimals, 64))
	if text == "-0" {
		return "0"
	}
	return text
}

func rounded(v float64, digits int) float64 {
	n, err := strconv.ParseFloat(strconv.FormatFloat(v, 'g', digits, 64), 64)
	if err != nil {
		return v
	}
	return n
}

func trim(text string) string {
	if !strings.Contains(text, ".") {
		return text
	}
	return strings.TrimRight(strings.TrimRight(text, "0"), ".")
}
