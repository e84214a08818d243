package console

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"net/http"
	"strings"

	"github.com/faultline-lab/faultline/internal/report"
)

//go:embed page
var pageFiles embed.FS

// scriptsOf are the scripts of a page, in one scope: those that draw the report, and its own.
func scriptsOf(name string) (shared, own []string) {
	if name == "live" {
		return []string{"base.js", "time.js", "layout.js", "topology.js", "profile.js", "waterfall.js", "theme.js"}, []string{"ask.js", "watch.js", "act.js", "live.js"}
	}
	return []string{"base.js", "time.js", "theme.js"}, []string{"ask.js", "runs.js"}
}

// given is what a page has from the start, so that its first frame shows the run.
type given struct {
	State   state       `json:"state"`
	Catalog []kindShape `json:"catalog"`
}

// page serves one of the pages. The token goes into it, for nothing but the page can read it there.
func (s *Server) page(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		layout, err := template.ParseFS(pageFiles, "page/page.html")
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		style, err := together([]string{"page.css"}, []string{"console.css"})
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		// The style is part of the page, for then the first frame waits for nothing else.
		sum := sha256.Sum256(style)
		w.Header().Set("Content-Security-Policy", strings.Replace(policy, "style-src 'self'", "style-src 'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'", 1))
		values := map[string]any{"Name": name, "Token": s.token, "Version": s.cfg.Version, "State": nil, "Style": template.CSS(style)}
		if name == "live" {
			values["State"] = given{State: s.now(), Catalog: catalog()}
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_ = layout.Execute(w, values) // whoever asked may have gone
	}
}

// now is what a page gets that is being opened.
func (s *Server) now() state {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state()
}

// script serves the script of a page.
func (s *Server) script(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		text, err := together(scriptsOf(name))
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "text/javascript; charset=utf-8")
		_, _ = fmt.Fprintf(w, "(() => {\n'use strict';\n%s})();\n", text) // whoever asked may have gone
	}
}

// together puts files of the report and then of the console together.
func together(shared, own []string) ([]byte, error) {
	var out bytes.Buffer
	for _, name := range shared {
		text, err := report.PageFile(name)
		if err != nil {
			return nil, err
		}
		out.Write(text)
	}
	for _, name := range own {
		text, err := pageFiles.ReadFile("page/" + name)
		if err != nil {
			return nil, fmt.Errorf("reading a part of the page: %w", err)
		}
		out.Write(text)
	}
	return out.Bytes(), nil
}
