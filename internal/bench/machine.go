package bench

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/faultline-lab/faultline/internal/measure"
)

// Write writes the report beside the campaign: for machines, and as a page in
// the lab's style.
func (c *Campaign) Write(r *Report, style string) error {
	for _, file := range []struct {
		name  string
		write func(io.Writer) error
		skip  bool
	}{
		{JSONFile, r.JSON, false}, {CSVFile, r.CSV, false}, {SweepFile, r.SweepCSV, r.Sweep == nil}, {PageFile, func(w io.Writer) error { return r.Page(w, style) }, false},
	} {
		if file.skip {
			continue
		}
		var text bytes.Buffer
		if err := file.write(&text); err != nil {
			return fmt.Errorf("writing %s: %w", file.name, err)
		}
		if err := replace(c.path(file.name), text.Bytes()); err != nil {
			return err
		}
	}
	return nil
}

// JSON writes the whole report.
func (r *Report) JSON(out io.Writer) error {
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false) // arrows of edges are for people too
	encoder.SetIndent("", " ")
	return encoder.Encode(r)
}

// CSV writes a row a run, those that do not count among them. A figure that is
// not known is empty; what never came is inf, as R and pandas read it.
func (r *Report) CSV(out io.Writer) error {
	w := csv.NewWriter(out)
	header := []string{"run", "block", "warmup", "variant", "seed", "state", "verdict", "void", "seconds", "record"}
	for _, axis := range r.Options.Sweep {
		header = append(header, axis.Path)
	}
	keys := r.keys()
	err := w.Write(append(header, keys...))
	for _, run := range r.Runs {
		row := []string{strconv.Itoa(run.Number), strconv.Itoa(run.Block), strconv.FormatBool(run.Warmup), run.Variant, strconv.FormatUint(run.Seed, 10),
			string(run.State), string(run.Outcome), strings.Join(run.Void, "; "), strconv.FormatFloat(run.Seconds, 'f', 1, 64), run.Record}
		row = append(row, run.Values...)
		for _, key := range keys {
			row = append(row, valueText(run.Figures[key]))
		}
		err = errors.Join(err, w.Write(row))
	}
	w.Flush()
	return errors.Join(err, w.Error())
}

// keys are those of all figures that any run has, in the order of the frame.
func (r *Report) keys() []string {
	var out []string
	for _, f := range r.frame {
		out = append(out, f.Key)
	}
	return out
}

func valueText(v measure.Value) string {
	if !v.Known {
		return ""
	}
	return numberText(v.Number)
}

func numberText(v float64) string {
	switch {
	case math.IsNaN(v):
		return ""
	case math.IsInf(v, 1):
		return "inf"
	}
	return strconv.FormatFloat(v, 'g', -1, 64)
}

// SweepCSV writes a row for each variant at each point of the map.
func (r *Report) SweepCSV(out io.Writer) error {
	w := csv.NewWriter(out)
	header := []string{"variant"}
	for _, axis := range r.Sweep.Axes {
		header = append(header, axis.Path)
	}
	header = append(header, "runs", "void", "failed", "recovered", "of", "p_recovered", "low", "high")
	var medians []string
	for _, f := range r.frame {
		if _, mapped := r.Sweep.Cells[0].Medians[f.Key]; mapped {
			medians = append(medians, f.Key)
		}
	}
	err := w.Write(append(header, medians...))
	for _, cell := range r.Sweep.Cells {
		p := math.NaN()
		if cell.Recovered.N > 0 {
			p = float64(cell.Recovered.K) / float64(cell.Recovered.N)
		}
		row := append([]string{cell.Variant}, cell.Values...)
		row = append(row, strconv.Itoa(cell.Done), strconv.Itoa(cell.Void), strconv.Itoa(cell.Failed), strconv.Itoa(cell.Recovered.K), strconv.Itoa(cell.Recovered.N),
			numberText(p), numberText(float64(cell.Recovered.Low)), numberText(float64(cell.Recovered.High)))
		for _, key := range medians {
			row = append(row, numberText(float64(cell.Medians[key])))
		}
		err = errors.Join(err, w.Write(row))
	}
	w.Flush()
	return errors.Join(err, w.Error())
}
