// Package report owns what people and machines read of a verdict: lines on the
// terminal, the page in one file, JUnit, JSON and Markdown. It shows what
// measure and check found out, and finds out nothing itself.
package report

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/faultline-lab/faultline/internal/check"
	"github.com/faultline-lab/faultline/internal/record"
	"github.com/faultline-lab/faultline/observability/embedded"
)

// Judged is a recorded run with its verdict, and its telemetry opened for reading.
type Judged struct {
	Run     *record.Run
	Verdict *check.Verdict
	archive *embedded.Archive
}

// Judge reads the record in dir and judges it. Close it when done.
func Judge(ctx context.Context, dir string) (*Judged, error) {
	run, err := record.Open(dir)
	if err != nil {
		return nil, err
	}
	archive, err := embedded.OpenArchive(dir)
	if err != nil {
		return nil, fmt.Errorf("opening the telemetry: %w", err)
	}
	verdict, err := check.Judge(ctx, run, archive)
	if err != nil {
		return nil, errors.Join(err, archive.Close())
	}
	return &Judged{Run: run, Verdict: verdict, archive: archive}, nil
}

// Close closes the telemetry.
func (j *Judged) Close() error { return j.archive.Close() }

// WriteFiles writes what belongs beside the record: the verdict for machines
// and in Markdown, and the page of this run alone.
func (j *Judged) WriteFiles(ctx context.Context) error {
	for name, write := range map[string]func(*os.File) error{
		record.VerdictFile:  func(f *os.File) error { return JSON(f, j.Verdict) },
		record.JUnitFile:    func(f *os.File) error { return JUnit(f, j.Verdict) },
		record.MarkdownFile: func(f *os.File) error { return Markdown(f, j.Verdict) },
		record.ReportFile:   func(f *os.File) error { return writePage(ctx, f, []*Judged{j}) },
	} {
		if err := writeFile(filepath.Join(j.Run.Dir, name), write); err != nil {
			return err
		}
	}
	return nil
}

// WritePage writes the page of several runs into root, named after the first
// one's time and scenario, and returns its path.
func WritePage(ctx context.Context, judged []*Judged, root string) (string, error) {
	if len(judged) == 1 {
		return filepath.Join(judged[0].Run.Dir, record.ReportFile), nil // stands there already
	}
	meta := judged[0].Run.Meta
	path := filepath.Join(root, strings.TrimSuffix(meta.ID, "-"+meta.Variant)+".html")
	return path, WritePageTo(ctx, judged, path)
}

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
	first := judged[0].Run
	verdicts := make([]*check.Verdict, 0, len(judged))
	page := Page{
		Scenario: first.Meta.Scenario, Version: first.Meta.Version, Machine: first.Meta.Machine,
		Started: first.Meta.Started.Format(time.RFC1123), Runs: []PageRun{},
	}
	page.About, page.Sources = first.Plan.Story, orEmpty(first.Plan.Sources)
	for _, j := range judged {
		run, err := buildRun(ctx, j.Run, j.Verdict, j.archive)
		if err != nil {
			return Page{}, fmt.Errorf("reading run %s: %w", j.Run.Meta.ID, err)
		}
		page.Runs = append(page.Runs, run)
		verdicts = append(verdicts, j.Verdict)
	}
	page.Outcome = string(check.Worst(verdicts...))
	return page, nil
}
