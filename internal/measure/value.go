package measure

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"

	"github.com/faultline-lab/faultline/internal/figure"
)

// Value is what a measure came to: a number, or the reason why there is none.
// There is no number where there is no data; it is never taken for 0 or 100 %.
type Value struct {
	Number float64 // in Unit; +Inf of seconds is never
	Unit   figure.Unit
	Known  bool
	Why    string // why it is not known; "" when it is
	Count  int64  // how many journeys, calls or samples the number stands on; 0 where that means nothing
}

// Text writes the value for people.
func (v Value) Text() string {
	if !v.Known {
		return figure.Unknown
	}
	return v.Unit.Text(v.Number)
}

func known(number float64, unit figure.Unit, count int64) Value {
	if math.IsNaN(number) {
		return unknown(unit, "the number is not a number")
	}
	return Value{Number: number, Unit: unit, Known: true, Count: count}
}

func unknown(unit figure.Unit, format string, args ...any) Value {
	return Value{Unit: unit, Why: fmt.Sprintf(format, args...)}
}

// share is part/whole, and not known where there is no whole.
func share(part, whole float64, unit figure.Unit, why string) Value {
	if whole <= 0 {
		return unknown(unit, "%s", why)
	}
	return known(part/whole, unit, int64(math.Round(whole)))
}

// valueJSON is a value as verdict.json carries it. JSON has no infinity:
// never is a field of its own.
type valueJSON struct {
	Number *float64    `json:"number"`
	Unit   figure.Unit `json:"unit"`
	Text   string      `json:"text"`
	Never  bool        `json:"never,omitempty"`
	Why    string      `json:"why,omitempty"`
	Count  int64       `json:"count,omitempty"`
}

// MarshalJSON writes number null where the value is unknown or never.
func (v Value) MarshalJSON() ([]byte, error) {
	out := valueJSON{Unit: v.Unit, Text: v.Text(), Why: v.Why, Count: v.Count}
	if v.Known {
		out.Never = math.IsInf(v.Number, 0)
		if !out.Never {
			out.Number = &v.Number
		}
	}
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false) // the arrow of an edge is for people to read
	err := encoder.Encode(out)
	return b.Bytes(), err
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (v *Value) UnmarshalJSON(data []byte) error {
	var in valueJSON
	if err := json.Unmarshal(data, &in); err != nil {
		return fmt.Errorf("reading value: %w", err)
	}
	*v = Value{Unit: in.Unit, Why: in.Why, Count: in.Count, Known: in.Never || in.Number != nil}
	if in.Number != nil {
		v.Number = *in.Number
	}
	if in.Never {
		v.Number = math.Inf(1)
	}
	return nil
}
