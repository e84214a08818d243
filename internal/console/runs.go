package console

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/faultline-lab/faultline/internal/check"
	"github.com/faultline-lab/faultline/internal/record"
	"github.com/faultline-lab/faultline/internal/report"
)

// runLine is a recorded run in the index.
type runLine struct {
	ID       string  `json:"id"`
	Scenario string  `json:"scenario"`
	Variant  string  `json:"variant"`
	Started  string  `json:"started"` // RFC 3339
	Seconds  float64 `json:"seconds"`
	Ended    string  `json:"ended"`   // how
	Verdict  string  `json:"verdict"` // "" while there is none
	Why      string  `json:"why,omitempty"`
	Report   bool    `json:"report"`
}

// listed bounds the index.
const listed = 500

func (s *Server) listRuns(w http.ResponseWriter, _ *http.Request) {
	runs, err := record.List(s.cfg.Runs)
	if err != nil {
		answer(w, http.StatusInternalServerError, problem(err))
		return
	}
	out := []runLine{}
	for _, r := range runs[:min(len(runs), listed)] {
		out = append(out, s.runLine(r))
	}
	answer(w, http.StatusOK, out)
}

func (s *Server) runLine(r record.Listed) runLine {
	line := runLine{ID: filepath.Base(r.Dir), Scenario: r.Meta.Scenario, Variant: r.Meta.Variant, Started: r.Meta.Started.Format(time.RFC3339), Ended: r.Meta.Outcome}
	if r.Err != nil {
		line.Ended, line.Why = "damaged", shorten(r.Err.Error())
		return line
	}
	if r.Meta.Ended.After(r.Meta.Load) && !r.Meta.Load.IsZero() {
		line.Seconds = round(r.Meta.Ended.Sub(r.Meta.Load).Seconds())
	}
	if l := s.current(); l != nil && l.control.ID() == line.ID && !l.over() {
		line.Ended = "running"
	}
	if data, err := os.ReadFile(filepath.Join(r.Dir, record.VerdictFile)); err == nil {
		var verdict check.Verdict
		if json.Unmarshal(data, &verdict) == nil {
			line.Verdict = string(verdict.Outcome)
			if len(verdict.Reasons) > 0 {
				line.Why = shorten(verdict.Reasons[0])
			}
		}
	}
	_, err := os.Stat(filepath.Join(r.Dir, record.ReportFile))
	line.Report = err == nil
	return line
}

// find returns the directory of a run that is in the index, and so never another's file.
func (s *Server) find(id string) (string, error) {
	runs, err := record.List(s.cfg.Runs)
	if err != nil {
		return "", err
	}
	i := slices.IndexFunc(runs, func(r record.Listed) bool { return filepath.Base(r.Dir) == id })
	if i < 0 {
		return "", fmt.Errorf("there is no run %q", id)
	}
	return runs[i].Dir, nil
}

// reportPolicy keeps a report, which brings its script within itself, from this page's
// origin: whatever got into a record can reach neither the token nor the run.
const reportPolicy = "sandbox allow-scripts allow-popups allow-downloads; default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:"

func serveReport(w http.ResponseWriter, r *http.Request, file string) {
	w.Header().Set("Content-Security-Policy", reportPolicy)
	http.ServeFile(w, r, file)
}

func (s *Server) runReport(w http.ResponseWriter, r *http.Request) {
	dir, err := s.find(r.PathValue("id"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	serveReport(w, r, filepath.Join(dir, record.ReportFile))
}

// mostCompared bounds how many runs stand side by side.
const mostCompared = 6

type compareRequest struct {
	Runs []string `json:"runs"`
}

// compare makes the report of several runs, side by side.
func (s *Server) compare(w http.ResponseWriter, r *http.Request) {
	var in compareRequest
	if err := read(w, r, &in); err != nil {
		answer(w, http.StatusBadRequest, problem(err))
		return
	}
	if len(in.Runs) < 2 || len(in.Runs) > mostCompared {
		answer(w, http.StatusBadRequest, problem(fmt.Errorf("choose 2 to %d runs", mostCompared)))
		return
	}
	name, err := s.makeReport(r.Context(), in.Runs)
	if err != nil {
		answer(w, http.StatusConflict, problem(err))
		return
	}
	answer(w, http.StatusOK, map[string]string{"url": "/compare/" + name})
}

func (s *Server) makeReport(ctx context.Context, ids []string) (name string, err error) {
	var judged []*report.Judged
	defer func() {
		for _, j := range judged {
			err = errors.Join(err, j.Close())
		}
	}()
	for _, id := range ids {
		dir, err := s.find(id)
		if err != nil {
			return "", err
		}
		j, err := report.Judge(ctx, dir)
		if err != nil {
			return "", fmt.Errorf("judging %s: %w", id, err)
		}
		judged = append(judged, j)
	}
	folder, err := os.MkdirTemp("", "faultline-compare-")
	if err != nil {
		return "", err
	}
	name = filepath.Base(folder)
	s.mu.Lock()
	s.reports[name] = filepath.Join(folder, record.ReportFile)
	s.mu.Unlock()
	return name, report.WritePageTo(ctx, judged, filepath.Join(folder, record.ReportFile))
}

func (s *Server) compared(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	file := s.reports[r.PathValue("name")]
	s.mu.Unlock()
	if file == "" {
		http.Error(w, "there is no such comparison", http.StatusNotFound)
		return
	}
	serveReport(w, r, file)
}

func (s *Server) removeReports() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, file := range s.reports {
		errs = append(errs, os.RemoveAll(filepath.Dir(file)))
	}
	clear(s.reports)
	return errors.Join(errs...)
}
