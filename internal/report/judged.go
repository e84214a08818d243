// Package report owns what people and machines read of a verdict: lines on the
// terminal, the page in one file, JUnit, JSON and Markdown. It shows what
// measure and check found out. What it works out itself is how to show it: which
// requests to list, where a trace's time went, in which order services filled up.
package report

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/faultline-lab/faultline/internal/check"
	"github.com/faultline-lab/faultline/internal/measure"
	"github.com/faultline-lab/faultline/internal/record"
	"github.com/faultline-lab/faultline/observability/embedded"
	"github.com/faultline-lab/faultline/observability/telemetry"
)

// Telemetry is what the page asks of a recorded run besides its numbers.
type Telemetry interface {
	measure.Metrics
	Trace(ctx context.Context, id string) (telemetry.Trace, error)
	Logs(ctx context.Context, q telemetry.LogQuery) ([]telemetry.LogRecord, error)
}

// Judged is a recorded run with its verdict, and its telemetry opened for
// reading. It is for one goroutine at a time.
type Judged struct {
	Run     *record.Run
	Verdict *check.Verdict

	telemetry Telemetry
	closer    io.Closer
	page      *PageRun // once it was built
}

// Judge reads the record in dir and judges it. Close it when done.
func Judge(ctx context.Context, dir string) (*Judged, error) {
	run, err := record.Open(dir)
	if err != nil {
		return nil, err
	}
	archive, err := openTelemetry(run)
	if err != nil {
		return nil, fmt.Errorf("opening the telemetry: %w", err)
	}
	verdict, err := check.Judge(ctx, run, archive)
	if err != nil {
		return nil, errors.Join(err, archive.Close())
	}
	return &Judged{Run: run, Verdict: verdict, telemetry: archive, closer: archive}, nil
}

// archive is telemetry that has to be closed.
type archive interface {
	Telemetry
	io.Closer
}

// openTelemetry opens what there is. A run that ended before its load began
// may have got no stores, or half of them: it is judged without.
func openTelemetry(run *record.Run) (archive, error) {
	opened, err := embedded.OpenArchive(run.Dir)
	switch {
	case err == nil:
		return opened, nil
	case run.Meta.Load.IsZero():
		return nothing{}, nil
	default:
		return nil, err
	}
}

// nothing is the telemetry of a run that has none.
type nothing struct{}

// Query finds nothing.
func (nothing) Query(context.Context, string, time.Time) ([]telemetry.Series, error) {
	return nil, nil
}

// QueryRange finds nothing.
func (nothing) QueryRange(context.Context, string, time.Time, time.Time, time.Duration) ([]telemetry.Series, error) {
	return nil, nil
}

// Trace finds nothing.
func (nothing) Trace(context.Context, string) (telemetry.Trace, error) {
	return telemetry.Trace{}, nil
}

// Logs finds nothing.
func (nothing) Logs(context.Context, telemetry.LogQuery) ([]telemetry.LogRecord, error) {
	return nil, nil
}

// Close does nothing.
func (nothing) Close() error { return nil }

// Close closes the telemetry.
func (j *Judged) Close() error { return j.closer.Close() }

// pageRun builds the run's part of a page, once: it stands on the page of the run
// and on that of all variants.
func (j *Judged) pageRun(ctx context.Context) (PageRun, error) {
	if j.page == nil {
		page, err := buildRun(ctx, j.Run, j.Verdict, j.telemetry)
		if err != nil {
			return PageRun{}, fmt.Errorf("reading run %s: %w", j.Run.Meta.ID, err)
		}
		j.page = &page
	}
	return *j.page, nil
}

// WriteFiles writes what belongs beside the record: the verdict for machines
// and in Markdown, and the page of this run alone. The page comes last, for it
// asks the most of the disk and of the telemetry.
func (j *Judged) WriteFiles(ctx context.Context) error {
	for _, file := range []struct {
		name  string
		write func(*os.File) error
	}{
		{record.VerdictFile, func(f *os.File) error { return JSON(f, j.Verdict) }},
		{record.JUnitFile, func(f *os.File) error { return JUnit(f, j.Verdict) }},
		{record.MarkdownFile, func(f *os.File) error { return Markdown(f, j.Verdict) }},
		{record.ReportFile, func(f *os.File) error { return writePage(ctx, f, []*Judged{j}) }},
	} {
		if err := writeFile(filepath.Join(j.Run.Dir, file.name), file.write); err != nil {
			return fmt.Errorf("writing %s: %w", file.name, err)
		}
	}
	return nil
}

// WritePage writes the page of several runs into root, named after the first
// one's time and scenario, and returns its path. Of one run it returns the path of
// the page that WriteFiles wrote.
func WritePage(ctx context.Context, judged []*Judged, root string) (string, error) {
	if len(judged) == 0 {
		return "", errNoRuns
	}
	meta := judged[0].Run.Meta
	if len(judged) == 1 {
		return filepath.Join(judged[0].Run.Dir, record.ReportFile), nil
	}
	path := filepath.Join(root, strings.TrimSuffix(meta.ID, "-"+meta.Variant)+".html")
	return path, WritePageTo(ctx, judged, path)
}

var errNoRuns = errors.New("there is no run to report")

// WritePageTo writes the page of several runs to a file.
func WritePageTo(ctx context.Context, judged []*Judged, path string) error {
	return writeFile(path, func(f *os.File) error { return writePage(ctx, f, judged) })
}

// writeFile writes through a temporary name: a full disk leaves no half report behind.
func writeFile(path string, write func(*os.File) error) error {
	f, err := os.Create(path + ".part")
	if err != nil {
		return err
	}
	if err := errors.Join(write(f), f.Close()); err != nil {
		return errors.Join(err, os.Remove(path+".part"))
	}
	return os.Rename(path+".part", path)
}

func buildPage(ctx context.Context, judged []*Judged) (Page, error) {
	if len(judged) == 0 {
		return Page{}, errNoRuns
	}
	first := judged[0].Run
	page := Page{
		Scenario: first.Meta.Scenario, System: first.Meta.System, Version: first.Meta.Version, Machine: first.Meta.Machine,
		About: first.Plan.Story, Sources: orEmpty(first.Plan.Sources),
		Started: first.Meta.Started.Format(time.RFC1123), Runs: []PageRun{},
	}
	for i, label := range labelsOf(judged) {
		run, err := judged[i].pageRun(ctx)
		if err != nil {
			return Page{}, err
		}
		run.Label = label
		page.Runs = append(page.Runs, run)
	}
	page.Outcome = string(worstOf(judged))
	return page, nil
}

func worstOf(judged []*Judged) check.Outcome {
	verdicts := make([]*check.Verdict, 0, len(judged))
	for _, j := range judged {
		verdicts = append(verdicts, j.Verdict)
	}
	return check.Worst(verdicts...)
}

// labelsOf tells the runs apart in few words: by variant, with the scenario
// where there are several, and numbered where that is not enough.
func labelsOf(judged []*Judged) []string {
	scenarios := map[string]bool{}
	for _, j := range judged {
		scenarios[j.Run.Meta.Scenario] = true
	}
	seen := map[string]int{}
	labels := make([]string, 0, len(judged))
	for _, j := range judged {
		label := j.Run.Meta.Variant
		if label == "" || len(scenarios) > 1 {
			label = strings.Trim(j.Run.Meta.Scenario+"/"+j.Run.Meta.Variant, "/")
		}
		if seen[label]++; seen[label] > 1 {
			label += " #" + strconv.Itoa(seen[label])
		}
		labels = append(labels, label)
	}
	return labels
}
