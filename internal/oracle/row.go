package oracle

import (
	"fmt"
	"io"
	"math"
	"text/tabwriter"

	"github.com/faultline-lab/faultline/internal/figure"
)

// tolerance is how far from the prediction a measured value may be without
// asking whether chance explains it.
const tolerance = 0.10

// Row is one prediction and what was measured. It is about a number, or, where Fate
// is set, about whether something comes to pass.
type Row struct {
	What     string
	Premises string // what was measured of them
	Unit     figure.Unit

	Predicted, Measured float64
	Interval            *Interval // of 95 of 100 runs; nil when chance has no part in it
	How                 string    // the interval was made

	Fate *Fate
	Void string // why the run says nothing; "" when it does
}

// Fate is a prediction that has no number.
type Fate struct{ Predicted, Measured string }

// Verdicts of rows.
const (
	Near   = "within 10 %"
	Inside = "inside the interval"
	AsSaid = "as predicted"
	Wrong  = "WRONG"
	Void   = "void"
)

// Off is how far the measured value is from the prediction, as a share of it.
func (r Row) Off() float64 { return r.Measured/r.Predicted - 1 }

// Verdict tells whether the lab found what was predicted.
func (r Row) Verdict() string {
	switch {
	case r.Void != "":
		return Void
	case r.Fate != nil && r.Fate.Predicted == r.Fate.Measured:
		return AsSaid
	case r.Fate != nil:
		return Wrong
	case math.Abs(r.Off()) <= tolerance:
		return Near
	case r.Interval != nil && r.Interval.Holds(r.Measured):
		return Inside
	}
	return Wrong
}

// Table writes rows for people.
func Table(w io.Writer, rows []Row) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "  WHAT\tPREMISES\tPREDICTED\tMEASURED\tOFF\tINTERVAL\tVERDICT")
	for _, r := range rows {
		predicted, measured, off, interval := r.Unit.Text(r.Predicted), r.Unit.Text(r.Measured), fmt.Sprintf("%+.1f %%", 100*r.Off()), "none"
		if r.Interval != nil {
			interval = r.Unit.Text(r.Interval.Low) + " to " + r.Unit.Text(r.Interval.High)
		}
		if r.Fate != nil {
			predicted, measured, off = r.Fate.Predicted, r.Fate.Measured, ""
		}
		fmt.Fprintf(table, "  %s\t%s\t%s\t%s\t%s\t%s\t%s\n", r.What, r.Premises, predicted, measured, off, interval, r.Verdict())
	}
	if err := table.Flush(); err != nil {
		return err
	}
	said := map[string]bool{}
	for _, r := range rows {
		for _, note := range []string{r.How, r.Void} {
			if note != "" && !said[note] {
				said[note] = true
				if _, err := fmt.Fprintf(w, "  %s\n", note); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
