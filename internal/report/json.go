package report

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/faultline-lab/faultline/internal/check"
)

// JSON writes a verdict as verdict.json holds it. Fields are never left out
// where a reader of lists would trip over that: reasons, findings and notes are lists
// always.
func JSON(w io.Writer, v *check.Verdict) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false) // expectations are full of < and >
	if err := encoder.Encode(v); err != nil {
		return fmt.Errorf("writing the verdict as JSON: %w", err)
	}
	return nil
}

// ReadJSON reads what JSON wrote.
func ReadJSON(r io.Reader) (*check.Verdict, error) {
	v := &check.Verdict{}
	if err := json.NewDecoder(r).Decode(v); err != nil {
		return nil, fmt.Errorf("reading the verdict: %w", err)
	}
	return v, nil
}
