package record

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"github.com/faultline-lab/faultline/loadgen"
	"github.com/faultline-lab/faultline/parameter"

	"github.com/faultline-lab/faultline/internal/plan"
	"github.com/faultline-lab/faultline/internal/system"
)

// Open reads a recorded run. A run whose lab died is read as far as it came;
// its outcome is interrupted. What is damaged is an error that names the file, and
// the line where there are lines.
func Open(dir string) (*Run, error) {
	meta, err := readMeta(dir)
	if err != nil {
		return nil, fmt.Errorf("opening run %s: %w", dir, err)
	}
	run := &Run{Dir: dir, Meta: meta, Plan: &plan.Plan{}, System: &system.System{}}
	if err := run.read(); err != nil {
		return nil, fmt.Errorf("opening run %s: %w", dir, err)
	}
	return run, nil
}

func (run *Run) read() error {
	if err := readJSON(run.Dir, PlanFile, run.Plan); err != nil {
		return err
	}
	if err := readJSON(run.Dir, SystemFile, run.System); err != nil {
		return err
	}
	f, err := os.Open(filepath.Join(run.Dir, EventsFile))
	if err != nil {
		return missing(EventsFile, err)
	}
	defer f.Close()
	if run.Events, err = readEvents(f); err != nil {
		return err
	}
	if err := cutOff(run.Events, run.Meta.Events); err != nil {
		return err
	}
	if run.Meta.Load.IsZero() {
		run.Meta.Load = loadBegan(run.Plan, run.Events)
	}
	run.Results, err = readResults(run)
	return err
}

// cutOff says what is missing of the events of a run that was closed; nil when nothing is.
func cutOff(events []Event, written int) error {
	n := len(events)
	if n >= written {
		return nil
	}
	text := "it has none"
	if n > 0 {
		last := events[n-1]
		text = fmt.Sprintf("the last it has is %q, at %s", strings.Join(strings.Fields(last.Kind+" "+last.Name+" "+last.Text), " "), last.Time.Format(time.TimeOnly))
	}
	return fmt.Errorf("%s:%d: it is damaged: %d of %d events are missing; %s", EventsFile, n+1, written-n, written, text)
}

// loadBegan works out from the first phase when the load began, for a run that
// died before its page said so. Zero when no phase had started.
func loadBegan(p *plan.Plan, events []Event) time.Time {
	for _, e := range events {
		if e.Kind != EventPhase || e.Text != "started" {
			continue
		}
		if phase, found := p.Phase(e.Name); found {
			return e.Time.Add(-phase.Start)
		}
	}
	return time.Time{}
}

// readResults reads the spool of a run that was not closed, or the Parquet
// file.
func readResults(run *Run) ([]loadgen.Result, error) {
	f, err := os.Open(filepath.Join(run.Dir, SpoolFile))
	if errors.Is(err, fs.ErrNotExist) {
		return readParquet(filepath.Join(run.Dir, ResultsFile), run.Meta.ResultsSHA256)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the results: %w", err)
	}
	defer f.Close()
	var results []loadgen.Result
	active, kept := newFaults(run.Plan, run.Meta.Load), texts{}
	err = readSpool(f, func(r loadgen.Result) error {
		r.Faults = active.at(r.Due)
		results = append(results, kept.clean(r))
		return nil
	})
	return results, err
}

// readMeta reads a run's page and refuses formats that this code does not
// know.
func readMeta(dir string) (Meta, error) {
	var meta Meta
	if _, err := os.Stat(dir); err != nil {
		return meta, missing("the directory", err)
	}
	if _, err := os.Stat(filepath.Join(dir, MetaFile)); errors.Is(err, fs.ErrNotExist) {
		return meta, fmt.Errorf("it is not the directory of a run: %s is missing", MetaFile)
	}
	if err := readJSON(dir, MetaFile, &meta); err != nil {
		return meta, err
	}
	switch {
	case meta.Format > FormatVersion:
		return meta, fmt.Errorf("it was written by a newer faultline (%s): its format is %d, and this one reads up to %d",
			orUnknown(meta.Version), meta.Format, FormatVersion)
	case meta.Format < 1:
		return meta, fmt.Errorf("%s states no format; faultline did not write it", MetaFile)
	}
	return meta, nil
}

func orUnknown(version string) string {
	if version == "" {
		return "version unknown"
	}
	return version
}

func readJSON(dir, name string, v any) error {
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return missing(name, err)
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("%s is damaged: %w", name, err)
	}
	return nil
}

// missing words the error for a file that cannot be opened, shortly where it is
// simply not there.
func missing(name string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is missing: %w", name, fs.ErrNotExist)
	}
	return fmt.Errorf("reading %s: %w", name, err)
}

// Listed is a run in a list. Err says why its page cannot be read.
type Listed struct {
	Dir  string
	Meta Meta
	Err  error
}

// List returns the runs below root, the latest first. A root that is not there
// has no runs. Directories that are no runs are left out; damaged runs are in the list, with
// their error.
func List(root string) ([]Listed, error) {
	entries, err := os.ReadDir(root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing runs: %w", err)
	}
	var out []Listed
	for _, entry := range entries {
		dir := filepath.Join(root, entry.Name())
		if _, err := os.Stat(filepath.Join(dir, MetaFile)); err != nil || !entry.IsDir() {
			continue
		}
		meta, err := readMeta(dir)
		out = append(out, Listed{Dir: dir, Meta: meta, Err: err})
	}
	sort.SliceStable(out, func(i, j int) bool {
		a, b := out[i], out[j]
		if !a.Meta.Started.Equal(b.Meta.Started) {
			return a.Meta.Started.After(b.Meta.Started)
		}
		return a.Dir > b.Dir
	})
	return out, nil
}

// Find returns the directory of the run that a person means: a path to it,
// its name below root, or "latest".
func Find(root, name string) (string, error) {
	for _, dir := range []string{name, filepath.Join(root, name)} {
		if _, err := os.Stat(filepath.Join(dir, MetaFile)); name != "" && err == nil {
			return resolve(dir)
		}
	}
	runs, err := List(root)
	if err != nil {
		return "", err
	}
	if len(runs) == 0 {
		return "", fmt.Errorf("there is no run %q, and no other below %s", name, root)
	}
	names := []string{LatestLink}
	for _, run := range runs {
		names = append(names, filepath.Base(run.Dir))
	}
	if near := parameter.Nearest(name, names); near != "" {
		return "", fmt.Errorf("there is no run %q below %s; did you mean %q?", name, root, near)
	}
	return "", fmt.Errorf("there is no run %q below %s; the latest is %s", name, root, names[1])
}

// resolve follows the link latest, so that a run goes by its own name.
func resolve(dir string) (string, error) {
	dir = filepath.Clean(dir)
	target, err := os.Readlink(dir)
	if err != nil {
		return dir, nil // no link
	}
	if filepath.IsAbs(target) {
		return target, nil
	}
	return filepath.Join(filepath.Dir(dir), target), nil
}
