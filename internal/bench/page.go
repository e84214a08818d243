package bench

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
)

var (
	//go:embed page/bench.html
	pageHTML string
	//go:embed page/bench.css
	pageCSS string
	//go:embed page/bench.js
	pageJS string
)

// Page writes the report as one HTML file that needs no network. style is the
// style sheet of the lab's pages, which gives the colours. The data go in as JSON in which
// encoding/json has escaped <, > and &, so that no text of the system under test can end the element
// that holds them.
func (r *Report) Page(out io.Writer, style string) error {
	page := *r
	page.Runs = nil
	for _, run := range r.Runs {
		run.Figures = nil // all of them are in bench.csv; the page shows some as text
		page.Runs = append(page.Runs, run)
	}
	data, err := json.Marshal(struct {
		*Report
		Headlines [][]string `json:"headlines"` // by run: some figures, as text
		Columns   []string   `json:"columns"`
	}{&page, r.headlines(), r.columns()})
	if err != nil {
		return fmt.Errorf("writing the page's data: %w", err)
	}
	layout, err := template.New("bench").Parse(pageHTML)
	if err != nil {
		return fmt.Errorf("reading the page's layout: %w", err)
	}
	return layout.Execute(out, map[string]any{
		"Title":  r.Scenario + ": benchmark",
		"Style":  template.CSS(style + "\n" + pageCSS),
		"Script": template.JS(pageJS),
		"Data":   template.JS(data),
	})
}

// listed are the figures in the table of runs: of each load its goodput over
// the run, and how long it took to recover.
func (r *Report) listed() []Figure {
	var out []Figure
	for _, load := range r.Loads {
		for _, f := range r.frame {
			if f.Key == key("goodput", load.Name, Whole) || f.Key == key("recovery", load.Name, "") {
				out = append(out, f)
			}
		}
	}
	return out
}

func (r *Report) columns() []string {
	out := []string{}
	for _, f := range r.listed() {
		out = append(out, f.Group+": "+f.Name)
	}
	return out
}

func (r *Report) headlines() [][]string {
	out := [][]string{}
	for _, run := range r.Runs {
		row := []string{}
		for _, f := range r.listed() {
			text := "–"
			if v := run.Figures[f.Key]; v.Known {
				text = v.Text()
			}
			row = append(row, text)
		}
		out = append(out, row)
	}
	return out
}
