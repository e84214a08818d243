package console

import (
	"bytes"
	"embed"
	"html/template"
	"net/http"

	"github.com/faultline-lab/faultline/internal/report"
)

//go:embed page
var pageFiles embed.FS

// drawing are the scripts that draw the report; the live page draws with the same.
func drawing() []string {
	return []string{"base.js", "time.js", "layout.js", "topology.js", "waterfall.js"}
}

// page serves one of the pages. The token goes into it, for nothing but the page can read it there.
func (s *Server) page(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		layout, err := template.ParseFS(pageFiles, "page/page.html")
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_ = layout.Execute(w, map[string]string{"Name": name, "Token": s.token, "Version": s.cfg.Version}) // whoever asked may have gone
	}
}

// style serves the report's style and, after it, what the console has besides.
func (s *Server) style(w http.ResponseWriter, _ *http.Request) {
	s.parts(w, "text/css; charset=utf-8", []string{"page.css"}, "console.css", "", "")
}

// script serves the script of a page: the report's drawing, and what the page does with it, in one scope.
func (s *Server) script(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		s.parts(w, "text/javascript; charset=utf-8", drawing(), name+".js", "(() => {\n'use strict';\n", "})();\n")
	}
}

func (s *Server) parts(w http.ResponseWriter, kind string, shared []string, own, before, after string) {
	var out bytes.Buffer
	out.WriteString(before)
	for _, name := range shared {
		text, err := report.PageFile(name)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		out.Write(text)
	}
	text, err := pageFiles.ReadFile("page/" + own)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	out.Write(text)
	out.WriteString(after)
	w.Header().Set("Content-Type", kind)
	_, _ = w.Write(out.Bytes())
}
