package console

import (
	"cmp"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/faultline-lab/faultline/internal/bench"
	"github.com/faultline-lab/faultline/internal/record"
	"github.com/faultline-lab/faultline/internal/report"
)

// trend is the runs of one scenario and variant, the earliest first.
type trend struct {
	Scenario string       `json:"scenario"`
	Variant  string       `json:"variant"`
	Runs     []trendPoint `json:"runs"`
}

type trendPoint struct {
	runLine
	Loads []report.LoadFigures `json:"loads"`
}

// Bounds of the trends: reading a run takes some 20 ms of processor time.
const (
	trendRuns     = 120 // the latest, of all scenarios
	trendOf       = 24  // of one variant
	trendDeadline = 5 * time.Second
)

// figures remembers what was measured of runs, by their directories: a run that has ended does not change.
type figures struct {
	mu sync.Mutex
	of map[string][]report.LoadFigures
}

// of measures a run, once. What cannot be read has no figures.
func (f *figures) ofRun(dir string) []report.LoadFigures {
	f.mu.Lock()
	defer f.mu.Unlock()
	if known, found := f.of[dir]; found {
		return known
	}
	var measured []report.LoadFigures
	if run, err := record.Open(dir); err == nil {
		measured = report.FiguresOf(run)
	}
	if f.of == nil {
		f.of = map[string][]report.LoadFigures{}
	}
	f.of[dir] = measured
	return measured
}

// trends answers with how scenarios fared from run to run, those with the latest runs first.
func (s *Server) trends(w http.ResponseWriter, r *http.Request) {
	runs, err := record.List(s.cfg.Runs)
	if err != nil {
		answer(w, http.StatusInternalServerError, problem(err))
		return
	}
	out, index := []*trend{}, map[[2]string]*trend{}
	deadline := time.Now().Add(trendDeadline)
	for _, listed := range runs[:min(len(runs), trendRuns)] {
		if r.Context().Err() != nil || time.Now().After(deadline) {
			break // the page shows what there is; it is measured already when it asks again
		}
		line := s.runLine(listed)
		if line.Verdict == "" {
			continue
		}
		key := [2]string{line.Scenario, line.Variant}
		t := index[key]
		if t == nil {
			t = &trend{Scenario: line.Scenario, Variant: line.Variant, Runs: []trendPoint{}}
			index[key], out = t, append(out, t)
		}
		if len(t.Runs) < trendOf {
			t.Runs = append(t.Runs, trendPoint{line, orEmpty(s.figures.ofRun(listed.Dir))})
		}
	}
	for _, t := range out {
		slices.Reverse(t.Runs)
	}
	answer(w, http.StatusOK, out)
}

// collected is a campaign, or the report of the variants of one command.
type collected struct {
	Name     string `json:"name"`
	Scenario string `json:"scenario"`
	Campaign bool   `json:"campaign"`
	Started  string `json:"started"` // from its name
	Runs     int    `json:"runs"`    // of a campaign, so far
	Left     int    `json:"left"`    // runs of a campaign to go
	URL      string `json:"url"`     // of its report; "" while there is none
	Why      string `json:"why,omitempty"`
}

// stamped is what the names of records, campaigns and reports begin with.
var stamped = regexp.MustCompile(`^(\d{8}-\d{6})-(.+)$`)

// collections lists the campaigns, and the reports of several variants, the latest first.
func (s *Server) collections(w http.ResponseWriter, _ *http.Request) {
	entries, err := os.ReadDir(s.cfg.Runs)
	if err != nil && !os.IsNotExist(err) {
		answer(w, http.StatusInternalServerError, problem(err))
		return
	}
	out := []collected{}
	for _, entry := range entries {
		if c, is := s.collection(entry.Name(), entry.IsDir()); is {
			out = append(out, c)
		}
	}
	slices.SortFunc(out, func(a, b collected) int { return cmp.Compare(b.Name, a.Name) })
	answer(w, http.StatusOK, out[:min(len(out), listed)])
}

func (s *Server) collection(name string, isDir bool) (collected, bool) {
	parts := stamped.FindStringSubmatch(name)
	if parts == nil {
		return collected{}, false
	}
	c := collected{Name: name, Scenario: parts[2], Campaign: isDir}
	if at, err := time.ParseInLocation("20060102-150405", parts[1], time.Local); err == nil {
		c.Started = at.Format(time.RFC3339)
	}
	if !isDir {
		c.Scenario = c.Scenario[:len(c.Scenario)-len(filepath.Ext(name))]
		c.URL = "/sets/" + name
		return c, filepath.Ext(name) == ".html"
	}
	dir := filepath.Join(s.cfg.Runs, name)
	if _, err := os.Stat(filepath.Join(dir, bench.CampaignFile)); err != nil {
		return collected{}, false
	}
	header, err := bench.ReadHeader(dir)
	if err != nil {
		c.Why = shorten(err.Error())
	} else {
		c.Scenario, c.Left = header.Scenario, header.Left
	}
	if runs, err := record.List(filepath.Join(dir, bench.RunsDir)); err == nil {
		c.Runs = len(runs)
	}
	if _, err := os.Stat(filepath.Join(dir, bench.PageFile)); err == nil {
		c.URL = "/sets/" + name
	}
	return c, true
}

// collectedReport serves the report of a campaign or of several variants: of what is listed, and so never another file.
func (s *Server) collectedReport(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	info, err := os.Stat(filepath.Join(s.cfg.Runs, filepath.Base(name)))
	if err != nil || name != filepath.Base(name) {
		http.Error(w, "there is no such report", http.StatusNotFound)
		return
	}
	c, is := s.collection(name, info.IsDir())
	if !is || c.URL == "" {
		http.Error(w, "there is no such report", http.StatusNotFound)
		return
	}
	file := filepath.Join(s.cfg.Runs, name)
	if c.Campaign {
		file = filepath.Join(file, bench.PageFile)
	}
	serveReport(w, r, file)
}
