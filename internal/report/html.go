package report

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"strings"
)

//go:embed page
var pageFiles embed.FS

// pageScripts are the parts of the page's script, in the order in which they are put
// together: each uses only what stands before it.
var pageScripts = []string{
	"base.js",      // elements, numbers, the tip, sections, choices
	"time.js",      // scales, axes and charts over the run's time
	"verdict.js",   // the head, the overview, expectations
	"load.js",      // goodput and latency
	"layout.js",    // where the topology's nodes and edges go
	"spread.js",    // which services filled up, and when
	"topology.js",  // the topology and the edges' figures
	"profile.js",   // what a service spent processor time on
	"waterfall.js", // one trace
	"requests.js",  // failed and slow requests
	"events.js",    // alerts, events, the lab itself
	"theme.js",     // light or dark
	"page.js",      // puts the sections onto the page
}

// writePage writes the report as one HTML file that needs no network.
func writePage(ctx context.Context, w io.Writer, judged []*Judged) error {
	page, err := buildPage(ctx, judged)
	if err != nil {
		return err
	}
	return renderPage(w, page)
}

// renderPage puts the page together. Three things keep what the system under
// test says from being taken for code: the data go in as JSON in which
// encoding/json has escaped <, > and &, so that no text can end the element that holds
// them; the script shows texts as text only; and the browser is told, by
// the script's checksum, to run nothing else and to fetch nothing.
func renderPage(w io.Writer, page Page) error {
	data, err := json.Marshal(page)
	if err != nil {
		return fmt.Errorf("writing the page's data: %w", err)
	}
	layout, style, script, err := pageParts()
	if err != nil {
		return err
	}
	sum := sha256.Sum256([]byte(script))
	_, err = strings.NewReplacer(
		"{{title}}", html.EscapeString(clean(page.Scenario)+": "+page.Outcome),
		"{{script-hash}}", base64.StdEncoding.EncodeToString(sum[:]),
		"{{style}}", style, "{{script}}", script, "{{data}}", string(data),
	).WriteString(w, layout)
	if err != nil {
		return fmt.Errorf("writing the page: %w", err)
	}
	return nil
}

func pageParts() (layout, style, script string, err error) {
	read := func(name string) string {
		text, readErr := pageFiles.ReadFile("page/" + name)
		if readErr != nil && err == nil {
			err = fmt.Errorf("reading a part of the page: %w", readErr)
		}
		return string(text)
	}
	var parts strings.Builder
	parts.WriteString("(() => {\n'use strict';\n")
	for _, name := range pageScripts {
		parts.WriteString(read(name))
	}
	parts.WriteString("})();\n")
	return read("page.html"), read("page.css"), parts.String(), err
}
