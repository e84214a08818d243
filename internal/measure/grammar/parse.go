package grammar

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"

	"github.com/faultline-lab/faultline/chaos"
	"github.com/faultline-lab/faultline/parameter"

	"github.com/faultline-lab/faultline/internal/figure"
)

// MaxLength is the greatest length of a comparison, in bytes.
const MaxLength = 4096

// Parse reads exactly one comparison. The error is an *Error.
//
//	comparison = measure operator limit .
//	measure    = name "(" [ argument ] ")" .
//	name       = "success" | "goodput" | "p50" | "p90" | "p95" | "p99" | "p99.9" | "max" | "rate" | "recovery"
//	           | "detected" | "amplification" | "attempts" | "errors" | "rejected"
//	           | "queue" | "busy" | "wasted" | "cpu" | "memory" | "violations" | "lag" | "promql" .
//	argument   = edge | plain | quoted .                     (which one, the measure says)
//	edge       = plain "->" plain .
//	plain      = ( letter | digit | "_" ) { letter | digit | "_" | "-" | "." | "/" } .
//	quoted     = "'" { character | "\'" } "'" | `"` { character | `\"` } `"` .
//	operator   = "<" | "<=" | ">" | ">=" | "==" | "!=" .
//	limit      = [ "-" ] digits [ "." digits ] [ ( "e" | "E" ) [ "+" | "-" ] digits ] [ unit ]
//	           | duration .                                  (1m30s, as Go writes it)
//	unit       = "%" | "ns" | "us" | "µs" | "ms" | "s" | "m" | "h" | "x" | "/s" | "B" | "KB" | "MB" | "GB" .
//
// Blanks may stand between any two of these, but not within a name or a
// number. A limit without a unit is in the measure's base unit, except that
// times other than 0 need one, and that a ratio above 1 is taken for a
// forgotten per cent sign. In a quoted argument a backslash escapes the
// closing quote and is itself otherwise, so that PromQL's own escapes need no
// second escaping.
func Parse(text string) (*Comparison, error) {
	p := &parser{text: []rune(text), whole: text}
	if len(text) > MaxLength {
		return nil, p.fail(MaxLength, fmt.Sprintf("longer than %d bytes", MaxLength), "")
	}
	c := &Comparison{Text: strings.TrimSpace(text)}
	for _, part := range []func(*Comparison) error{p.measure, p.argument, p.operator, p.limit, p.end} {
		p.blanks()
		if err := part(c); err != nil {
			return nil, err
		}
	}
	return c, nil
}

type parser struct {
	text  []rune
	whole string
	at    int // index of the next character
}

// fail makes the error for the character at an index.
func (p *parser) fail(at int, message, hint string) error {
	return &Error{Text: p.whole, Position: min(at, len(p.text)) + 1, Message: message, Hint: hint}
}

// expected makes the error for something else than what was wanted here.
func (p *parser) expected(what, hint string) error {
	return p.fail(p.at, "expected "+what+", found "+p.found(), hint)
}

// found names what stands at the current place, for messages.
func (p *parser) found() string {
	if p.at >= len(p.text) {
		return "the end"
	}
	rest := p.text[p.at:]
	n := 1
	for n < len(rest) && n < 24 && sameClass(rest[0], rest[n]) {
		n++
	}
	return strconv.Quote(string(rest[:n]))
}

func sameClass(a, b rune) bool {
	return isName(a) && isName(b) || strings.ContainsRune("<>=!", a) && strings.ContainsRune("<>=!", b)
}

func isName(r rune) bool {
	return unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("_-./", r)
}

func isStart(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) || r == '_' }

func (p *parser) blanks() {
	for p.at < len(p.text) && unicode.IsSpace(p.text[p.at]) {
		p.at++
	}
}

func (p *parser) peek() rune {
	if p.at < len(p.text) {
		return p.text[p.at]
	}
	return 0
}

func (p *parser) take(r rune) bool {
	if p.peek() != r || p.at >= len(p.text) {
		return false
	}
	p.at++
	return true
}

// word takes the longest name here. An edge's arrow ends a name although
// names may hold a hyphen.
func (p *parser) word() string {
	start := p.at
	for p.at < len(p.text) && isName(p.text[p.at]) && !p.arrow() {
		p.at++
	}
	return string(p.text[start:p.at])
}

func (p *parser) arrow() bool {
	return p.at+1 < len(p.text) && p.text[p.at] == '-' && p.text[p.at+1] == '>'
}

func (p *parser) measure(c *Comparison) error {
	start := p.at
	if !unicode.IsLetter(p.peek()) {
		hint := ""
		if unicode.IsDigit(p.peek()) || p.peek() == '-' {
			hint = "write the measure first, as in goodput(browse) >= 99%"
		}
		return p.expected("a measure", hint)
	}
	name := p.word()
	m, found := Find(name)
	if !found {
		return p.unknownMeasure(start, name)
	}
	c.Measure = m
	p.blanks()
	if !p.take('(') {
		return p.expected(`"(" after `+name, "write "+m.Signature())
	}
	return nil
}

func (p *parser) unknownMeasure(start int, name string) error {
	var names []string
	for _, m := range Catalog() {
		names = append(names, m.Name)
	}
	hint := "measures are " + strings.Join(names, ", ")
	if near := parameter.Nearest(name, names); near != "" {
		hint = fmt.Sprintf("did you mean %q?", near)
	}
	return p.fail(start, fmt.Sprintf("unknown measure %q", name), hint)
}

func (p *parser) argument(c *Comparison) error {
	m := c.Measure
	start := p.at
	argument, quoted, err := p.argumentText(m)
	if err != nil {
		return err
	}
	p.blanks()
	if !p.take(')') {
		what := `")"`
		hint := ""
		if p.peek() == ',' {
			hint = m.Name + " takes one argument; write one comparison for each"
		}
		if m.Of == PromQL && !quoted || m.Of == None {
			hint = "write " + m.Signature()
		}
		return p.expected(what, hint)
	}
	if err := p.checkArgument(m, start, argument, quoted); err != nil {
		return err
	}
	c.Argument = argument
	return nil
}

// argumentText takes an argument, plain or quoted; "" where there is none.
func (p *parser) argumentText(m Measure) (text string, quoted bool, err error) {
	if p.peek() == '\'' || p.peek() == '"' {
		text, err = p.quoted()
		return text, true, err
	}
	if !isStart(p.peek()) {
		return "", false, nil
	}
	caller := p.word()
	mark := p.at
	p.blanks()
	if !p.arrow() {
		p.at = mark
		return caller, false, nil
	}
	p.at += 2
	p.blanks()
	if !isStart(p.peek()) {
		return "", false, p.expected("a callee after ->", "write "+m.Signature())
	}
	return caller + "->" + p.word(), false, nil
}

func (p *parser) quoted() (string, error) {
	start, mark := p.at, p.text[p.at]
	p.at++
	var b strings.Builder
	for p.at < len(p.text) {
		r := p.text[p.at]
		p.at++
		if r == mark {
			return b.String(), nil
		}
		if r == '\\' && p.take(mark) {
			r = mark
		}
		b.WriteRune(r)
	}
	return "", p.fail(start, "the quote that opens here is never closed", "")
}

func (p *parser) checkArgument(m Measure, at int, argument string, quoted bool) error {
	given := argument != "" || quoted
	switch {
	case m.Of == None && given:
		return p.fail(at, m.Name+" takes no argument", "write "+m.Signature())
	case m.Of == None:
		return nil
	case strings.TrimSpace(argument) == "":
		return p.fail(at, m.Name+" needs "+article(m.Of), "write "+m.Signature())
	case m.Of == PromQL && !quoted:
		return p.fail(at, "a query stands in quotes", "write "+m.Signature())
	case m.Of == Edge:
		if _, err := chaos.ParseEdge(argument); err != nil {
			return p.fail(at, m.Name+" is of an edge: "+err.Error(), "")
		}
	case m.Of != PromQL && strings.Contains(argument, "->"):
		return p.fail(at, fmt.Sprintf("%s is of %s, not of an edge", m.Name, article(m.Of)), p.ofEdges())
	}
	return nil
}

func (p *parser) ofEdges() string {
	var names []string
	for _, m := range edgeMeasures() {
		names = append(names, m.Name)
	}
	return "measures of an edge are " + strings.Join(names, ", ")
}

func article(of Argument) string {
	switch of {
	case Edge, Alert:
		return "an " + string(of)
	case PromQL:
		return "a query in PromQL"
	default:
		return "a " + string(of)
	}
}

func (p *parser) operator(c *Comparison) error {
	start := p.at
	for p.at < len(p.text) && strings.ContainsRune("<>=!≤≥≠~", p.text[p.at]) {
		p.at++
	}
	written := string(p.text[start:p.at])
	for _, op := range Operators() {
		if written == string(op) {
			c.Op = op
			return nil
		}
	}
	p.at = start
	return p.expected("one of < <= > >= == !=", operatorHint(written))
}

func operatorHint(written string) string {
	for _, near := range []struct{ wrong, right string }{
		{"=", "=="}, {"===", "=="}, {"=<", "<="}, {"=>", ">="}, {"≤", "<="}, {"≥", ">="}, {"<>", "!="}, {"≠", "!="}, {"!", "!="}, {"~", "=="},
	} {
		if written == near.wrong {
			return fmt.Sprintf("did you mean %q?", near.right)
		}
	}
	return ""
}

func (p *parser) end(*Comparison) error {
	if p.at == len(p.text) {
		return nil
	}
	start, hint := p.at, ""
	word := p.word()
	if word == "and" || word == "or" || strings.ContainsRune("&|<>=!", p.peek()) {
		hint = "write one expectation for each comparison"
	}
	p.at = start
	return p.expected("the end of the comparison", hint)
}

func (p *parser) limit(c *Comparison) error {
	start := p.at
	for p.at < len(p.text) && !unicode.IsSpace(p.text[p.at]) && !strings.ContainsRune("<>=!&|(),;", p.text[p.at]) {
		p.at++
	}
	number := string(p.text[start:p.at])
	mark := p.at
	p.blanks()
	if unit := p.looseUnit(); unit != "" {
		number += unit
	} else {
		p.at = mark
	}
	n, unit, ok := readNumber(number)
	if !ok {
		p.at = start
		return p.expected("a number, "+c.Measure.UnitText(), "")
	}
	wanted, err := unit.value(n, c.Measure.Unit)
	if err != nil {
		return p.fail(start, fmt.Sprintf("%s is not a limit for %s: %v", number, c.Measure.Name, err), "write "+c.Measure.UnitText())
	}
	c.Wanted, c.WantedUnit = wanted, c.Measure.Unit
	if c.Measure.Unit == figure.Plain {
		c.WantedUnit = unit.base
	}
	return nil
}

// looseUnit takes a unit that stands apart from its number: 99 %.
func (p *parser) looseUnit() string {
	start := p.at
	for p.at < len(p.text) && (unicode.IsLetter(p.text[p.at]) || p.text[p.at] == '%' || p.text[p.at] == '/') {
		p.at++
	}
	text := string(p.text[start:p.at])
	for _, u := range units() {
		if u.suffix == text {
			return text
		}
	}
	return ""
}
