package loadgen

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
)

// template is a compiled text of a step:
//
//	text   = { literal | "{{" action "}}" }
//	action = "rand" low high | "uuid" | "seq" | "." name
//
// It is a small language of its own rather than text/template, so that every
// mistake is found before the load starts and rendering costs next to nothing.
type template struct {
	parts []part
	json  bool // texts are escaped: the template is a JSON document
}

type part struct {
	action    action
	literal   string
	low, high int64
	name      string
}

type action int

const (
	literalText action = iota
	randomNumber
	randomUUID
	arrivalNumber
	extracted
)

// value is what an earlier step extracted. Escaped is Raw as it stands within
// the quotes of a JSON text.
type value struct{ raw, escaped string }

// environment is what one journey's templates draw from.
type environment struct {
	random *rand.Rand
	seq    uint64
	values map[string]value
}

// compileTemplate reads text; known says which names earlier steps extract.
func compileTemplate(text string, known []string) (*template, error) {
	trimmed := strings.TrimLeft(text, " \t\r\n")
	t := &template{json: strings.HasPrefix(trimmed, "[") ||
		strings.HasPrefix(trimmed, "{") && !strings.HasPrefix(trimmed, "{{")}
	for text != "" {
		before, rest, found := strings.Cut(text, "{{")
		if before != "" {
			t.parts = append(t.parts, part{literal: before})
		}
		if !found {
			break
		}
		inside, after, closed := strings.Cut(rest, "}}")
		if !closed {
			return nil, fmt.Errorf("{{ without }} in %q", "{{"+rest)
		}
		p, err := compileAction(inside, known)
		if err != nil {
			return nil, fmt.Errorf("{{%s}}: %w", inside, err)
		}
		t.parts, text = append(t.parts, p), after
	}
	return t, nil
}

func compileAction(inside string, known []string) (part, error) {
	words := strings.Fields(inside)
	switch {
	case len(words) == 1 && words[0] == "uuid":
		return part{action: randomUUID}, nil
	case len(words) == 1 && words[0] == "seq":
		return part{action: arrivalNumber}, nil
	case len(words) > 0 && words[0] == "rand":
		return compileRand(words[1:])
	case len(words) == 1 && len(words[0]) > 1 && words[0][0] == '.':
		return compileName(words[0][1:], known)
	}
	return part{}, fmt.Errorf("unknown; permitted: {{rand 1 500}}, {{uuid}}, {{seq}} and {{.name}}")
}

func compileRand(args []string) (part, error) {
	if len(args) != 2 {
		return part{}, fmt.Errorf("takes two whole numbers, such as {{rand 1 500}}")
	}
	low, lowErr := strconv.ParseInt(args[0], 10, 64)
	high, highErr := strconv.ParseInt(args[1], 10, 64)
	switch {
	case lowErr != nil || highErr != nil:
		return part{}, fmt.Errorf("takes two whole numbers, such as {{rand 1 500}}")
	case low > high:
		return part{}, fmt.Errorf("%d is more than %d", low, high)
	}
	return part{action: randomNumber, low: low, high: high}, nil
}

func compileName(name string, known []string) (part, error) {
	for _, k := range known {
		if k == name {
			return part{action: extracted, name: name}, nil
		}
	}
	if len(known) == 0 {
		return part{}, fmt.Errorf("no earlier step extracts anything")
	}
	return part{}, fmt.Errorf("no earlier step extracts %q; extracted so far: %s", name, strings.Join(known, ", "))
}

// static says whether the template always renders the same text.
func (t *template) static() bool {
	for _, p := range t.parts {
		if p.action != literalText {
			return false
		}
	}
	return true
}

// render writes the text for one journey.
func (t *template) render(env *environment) string {
	if len(t.parts) == 1 && t.parts[0].action == literalText {
		return t.parts[0].literal
	}
	var out []byte
	for _, p := range t.parts {
		switch p.action {
		case literalText:
			out = append(out, p.literal...)
		case randomNumber:
			out = strconv.AppendInt(out, between(env.random, p.low, p.high), 10)
		case randomUUID:
			out = appendUUID(out, env.random)
		case arrivalNumber:
			out = strconv.AppendUint(out, env.seq, 10)
		case extracted:
			v := env.values[p.name]
			if t.json {
				out = append(out, v.escaped...)
			} else {
				out = append(out, v.raw...)
			}
		}
	}
	return string(out)
}

// between draws a whole number from low to high, both included.
func between(random *rand.Rand, low, high int64) int64 {
	span := uint64(high) - uint64(low) + 1 // 0 when the span is all of int64
	if span == 0 {
		return int64(random.Uint64())
	}
	return int64(uint64(low) + random.Uint64N(span))
}

// appendUUID writes a version 4 UUID (RFC 9562).
func appendUUID(out []byte, random *rand.Rand) []byte {
	var id [16]byte
	putUint64(id[:8], random.Uint64())
	putUint64(id[8:], random.Uint64())
	id[6] = id[6]&0x0f | 0x40
	id[8] = id[8]&0x3f | 0x80
	for i, group := range [][]byte{id[0:4], id[4:6], id[6:8], id[8:10], id[10:16]} {
		if i > 0 {
			out = append(out, '-')
		}
		out = hex.AppendEncode(out, group)
	}
	return out
}
