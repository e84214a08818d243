package report

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
)

var (
	//go:embed page/page.html
	pageHTML string
	//go:embed page/page.css
	pageCSS string
	//go:embed page/page.js
	pageJS string
)

// writePage writes the report as one HTML file that needs no network. The data
// go in as JSON in which encoding/json has escaped <, > and &, so that no text
// of the system under test can end the element that holds them.
func writePage(ctx context.Context, w io.Writer, judged []*Judged) error {
	page, err := buildPage(ctx, judged)
	if err != nil {
		return err
	}
	return renderPage(w, page)
}

func renderPage(w io.Writer, page Page) error {
	data, err := json.Marshal(page)
	if err != nil {
		return fmt.Errorf("writing the page's data: %w", err)
	}
	layout, err := template.New("page").Parse(pageHTML)
	if err != nil {
		return fmt.Errorf("reading the page's layout: %w", err)
	}
	return layout.Execute(w, map[string]any{
		"Title":  page.Scenario + ": " + page.Outcome,
		"Style":  template.CSS(pageCSS),
		"Script": template.JS(pageJS),
		"Data":   template.JS(data),
	})
}
