package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/faultline-lab/faultline/internal/bench"
	"github.com/faultline-lab/faultline/internal/figure"
	"github.com/faultline-lab/faultline/internal/record"
	"github.com/faultline-lab/faultline/internal/report"
	"github.com/faultline-lab/faultline/internal/run"
	"github.com/faultline-lab/faultline/observability/embedded"
)

// benchFlags are the flags of bench; those that make a campaign cannot be
// changed when it is gone on with.
type benchFlags struct {
	options bench.Options
	seed    uint64
	keep    string
	sweep   []string
	resume  string
	root    string
	plain   bool
	dryRun  bool
}

// makes lists the flags that say what a campaign is made of.
func makes() []string {
	return []string{"variant", "repeats", "aa", "seed", "warmup-blocks", "keep", "sweep", "dry-run"}
}

func benchCommand() *cobra.Command {
	var f benchFlags
	cmd := &cobra.Command{
		Use: "bench SCENARIO|SUITE... | --resume DIR", Short: "Benchmark a scenario or a suite of them: variants, again and again, with intervals", GroupID: "run",
		Long: `Run the variants of a scenario again and again and say what differs, with intervals,
and what cannot be claimed. Each block runs every variant once, in an order drawn at
random, all with the same seed; one variant runs twice in each, which shows how far two
equal runs differ. 10 repeats can claim something, 5 can hint at it.

With --sweep, every combination of the values of one or two parameters of the scenario is
run, and a map shows where the system comes back by itself.

Several scenarios, or a suite, are run as one: the first block of each, then the second of
each, with one summary. A suite is a file that lists scenarios:

  name: queues
  about: What a full queue does, and what helps.
  repeats: 3                              # the flags win
  scenarios:
    - retry-storm                         # a name, or a path from the file's folder
    - {scenario: codel, variants: [fifo, codel], repeats: 5}

Other keys: seed, keep, warmup_blocks; of a scenario, aa. ` + suiteList() + `

The campaign is kept in runs/<time>-<scenario>-bench: bench.html, bench.csv, bench.json and
the record of each run; of a suite, in runs/<time>-<suite>-bench: summary.html, summary.csv,
summary.json and a campaign for each scenario. Ctrl-C stops it; --resume goes on with it.`,
		Example: `  faultline bench cascade-failure
  faultline bench cascade-failure --repeats 12 --variant naive,contained
  faultline bench cascade-failure --sweep load.browse.rate=20..200/7 --sweep phases.fault=2s..20s/6 --repeats 3
  faultline bench retry-storm codel --repeats 3
  faultline bench resilience --dry-run
  faultline bench --resume runs/20260301-115958-cascade-failure-bench`,
		Args: func(cmd *cobra.Command, args []string) error {
			if f.resume != "" {
				return between(0, 0)(cmd, args)
			}
			return between(1, -1)(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args) },
	}
	cmd.Flags().StringSliceVar(&f.options.Variants, "variant", nil, "only these variants; the first is what the others are compared with (default: all, in the file's order)")
	cmd.Flags().IntVar(&f.options.Repeats, "repeats", 5, "how many blocks: each variant runs once in each")
	cmd.Flags().StringVar(&f.options.AA, "aa", "", "the variant that runs twice in each block (default: the first)")
	cmd.Flags().Uint64Var(&f.seed, "seed", 0, "seed of the first block; each further one has the next (default: the scenario's)")
	cmd.Flags().IntVar(&f.options.WarmupBlocks, "warmup-blocks", 0, "blocks that are run first and counted nowhere")
	cmd.Flags().StringVar(&f.keep, "keep", string(bench.KeepResults), "what stays of each record: all, results (no telemetry) or none")
	cmd.Flags().StringArrayVar(&f.sweep, "sweep", nil, "PATH=FROM..TO/STEPS or PATH=A,B,C: vary a number or duration of the scenario (at most twice)")
	cmd.Flags().StringVar(&f.resume, "resume", "", "go on with the campaign in this directory")
	cmd.Flags().BoolVar(&f.dryRun, "dry-run", false, "print the order of the runs, and run none")
	cmd.Flags().BoolVar(&f.plain, "plain", false, "plain lines of progress, as when there is no terminal")
	rootFlag(cmd, &f.root)
	return cmd
}

// benchWork is a campaign, or a suite of them.
type benchWork interface {
	Run(ctx context.Context, run bench.Runner, watch bench.Watcher, now func() time.Time) error
	Describe(out io.Writer) error
	Create(root string, now time.Time) error
	Left() int
	Length() time.Duration
	Dir() string
	Close() error
}

func (f *benchFlags) run(cmd *cobra.Command, args []string) error {
	ctx, out, done := whileRead(cmd.Context(), cmd.OutOrStdout())
	defer done()
	var w benchWork
	var err error
	if f.resume != "" {
		w, err = f.goOn(cmd)
	} else {
		w, err = f.begin(cmd, args, out)
	}
	if err != nil || w == nil {
		return err
	}
	defer w.Close() // all is written by then
	defer sayWhenStopping(ctx, cmd.ErrOrStderr())()
	self, err := os.Executable()
	if err != nil {
		return broken(fmt.Errorf("finding this program: %w", err))
	}
	b := &bencher{work: w, self: self, out: out, errOut: cmd.ErrOrStderr(), progress: &bench.Progress{
		Out: out, Terminal: isTerminal(out) && !f.plain, Style: bench.Style{Color: colored(out), Width: width(out)},
	}}
	return b.all(ctx)
}

// begin works out a new campaign or suite; nil where nothing is to be run.
func (f *benchFlags) begin(cmd *cobra.Command, names []string, out io.Writer) (benchWork, error) {
	w, err := f.plan(cmd, names)
	if err != nil {
		return nil, usage(err)
	}
	if f.dryRun {
		return nil, w.Describe(out)
	}
	if err := w.Create(f.root, time.Now()); err != nil {
		return nil, broken(errors.Join(err, w.Close()))
	}
	return w, nil
}

// plan works out what the user named: a suite, several scenarios, or one.
func (f *benchFlags) plan(cmd *cobra.Command, names []string) (benchWork, error) {
	file, isSuite, err := findSuite(names)
	switch {
	case err != nil:
		return nil, err
	case isSuite:
		return f.suite(cmd, file)
	case len(names) > 1:
		return f.several(cmd, names)
	}
	return f.campaign(cmd, names[0])
}

// campaign works out the campaign of one scenario.
func (f *benchFlags) campaign(cmd *cobra.Command, name string) (*bench.Campaign, error) {
	source, err := benchSource(name)
	if err != nil {
		return nil, err
	}
	f.options.Keep = bench.Keep(f.keep)
	if cmd.Flags().Changed("seed") {
		f.options.Seed = &f.seed
	}
	var errs []error
	for _, text := range f.sweep {
		axis, err := bench.ParseAxis(text, source.Text)
		errs = append(errs, err)
		f.options.Sweep = append(f.options.Sweep, axis)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return bench.New(source, f.options)
}

// goOn opens the campaign that the user named: a directory, or its name below
// the folder of records.
func (f *benchFlags) goOn(cmd *cobra.Command) (benchWork, error) {
	for _, name := range makes() {
		if cmd.Flags().Changed(name) {
			return nil, usage(fmt.Errorf("--resume goes on with the campaign as it was begun; --%s cannot be changed", name))
		}
	}
	dir := filepath.Clean(f.resume)
	if _, err := os.Stat(dir); err != nil && !strings.ContainsRune(f.resume, filepath.Separator) {
		dir = filepath.Join(f.root, dir)
	}
	if bench.IsSuiteDir(dir) {
		s, err := bench.ResumeSuite(dir, buildVersion(), benchSource)
		if err != nil {
			return nil, usage(err)
		}
		return s, nil
	}
	header, err := bench.ReadHeader(dir)
	if err == nil {
		err = bench.SameVersion(dir, header.Version, buildVersion())
	}
	if err != nil {
		return nil, usage(err)
	}
	source, err := benchSource(header.Named)
	if err != nil {
		return nil, usage(fmt.Errorf("campaign %s cannot be gone on with: %w", dir, err))
	}
	c, err := bench.Resume(dir, source)
	if err != nil {
		return nil, usage(err)
	}
	return c, nil
}

// benchSource is a scenario by name or path, as a campaign needs it.
func benchSource(name string) (bench.Source, error) {
	src, err := open(name)
	if err != nil {
		return bench.Source{}, err
	}
	if isPath(name) {
		if name, err = filepath.Abs(name); err != nil {
			return bench.Source{}, err
		}
	}
	return bench.Source{
		Named: name, File: src.scenario.Source.Name, Text: src.text, System: src.system, Version: buildVersion(),
		Machine: machine(), Variants: src.scenario.VariantNames(),
	}, nil
}

func machine() string {
	return fmt.Sprintf("%s/%s, %d CPUs", runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
}

// bencher carries out a campaign or a suite.
type bencher struct {
	work        benchWork
	self        string // this program
	out, errOut io.Writer
	progress    *bench.Progress
}

// all carries out the runs that are left and writes what the campaign comes
// to, also when it was stopped.
func (b *bencher) all(ctx context.Context) error {
	if b.work.Left() > 0 {
		fmt.Fprintf(b.out, "%s to go, about %s; kept in %s\n", countOf(b.work.Left(), "run"), figure.Duration(b.work.Length().Round(time.Second)), b.work.Dir())
	}
	err := b.work.Run(ctx, b.carryOut, b.progress, time.Now)
	b.progress.Clear()
	r, files, reportErr := b.report()
	if reportErr != nil {
		return broken(errors.Join(err, reportErr))
	}
	if printErr := r.Print(b.out, b.progress.Style); printErr != nil && !errors.Is(printErr, syscall.EPIPE) {
		return broken(fmt.Errorf("writing the summary: %w", printErr))
	}
	fmt.Fprintln(b.out)
	for _, file := range files {
		fmt.Fprintf(b.out, "%-8s %s\n", strings.TrimPrefix(filepath.Ext(file), "."), filepath.Join(b.work.Dir(), file))
	}
	return b.conclude(err, r.Tally())
}

// reported is what the campaign comes to.
type reported interface {
	Print(out io.Writer, style bench.Style) error
	Tally() bench.Tally
}

// report works out and writes what the campaign comes to.
func (b *bencher) report() (reported, []string, error) {
	style := report.PageStyle()
	if s, isSuite := b.work.(*bench.Suite); isSuite {
		r, err := s.Analyse(style)
		if err == nil {
			err = s.Write(r, style)
		}
		return r, []string{bench.SuitePage, bench.SuiteCSV, bench.SuiteJSON}, err
	}
	c := b.work.(*bench.Campaign)
	r, err := c.Analyse()
	if err != nil {
		return nil, nil, err
	}
	files := []string{bench.PageFile, bench.CSVFile, bench.JSONFile}
	if r.Sweep != nil {
		files = append(files, bench.SweepFile)
	}
	return r, files, c.Write(r, style)
}

// conclude says how to go on where the campaign is not complete, and gives the
// exit code. What the variants show is no success or failure of the benchmark.
func (b *bencher) conclude(err error, total bench.Tally) error {
	left := b.work.Left()
	if left > 0 {
		fmt.Fprintf(b.out, "\n%s left; go on with: faultline bench --resume %s\n", countOf(left, "run"), b.work.Dir())
	}
	switch {
	case err != nil && !errors.Is(err, bench.ErrInterrupted):
		return broken(err)
	case left > 0 || total.Done == total.Void:
		return &codedError{code: exitInconclusive}
	}
	return nil
}

// carryOut is the campaign's Runner.
func (b *bencher) carryOut(ctx context.Context, task bench.Task) (string, *bench.Measured, error) {
	dir, err := run.Run(ctx, run.Config{
		Plan: task.Plan, System: task.System, Scenario: task.Scenario, Root: task.Root, Self: b.self, Bin: []string{filepath.Dir(b.self)},
		Version: buildVersion(), Watch: runProgress{b.progress},
		Log: slog.New(slog.NewTextHandler(b.errOut, &slog.HandlerOptions{Level: slog.LevelError})),
	})
	if err != nil {
		return dir, nil, err // the record stays whole: it says why
	}
	measured, err := b.measure(context.WithoutCancel(ctx), dir, task, ctx.Err() != nil)
	if err != nil {
		return dir, nil, fmt.Errorf("measuring %s: %w", dir, err)
	}
	left, err := bench.Slim(dir, task.Keep)
	if !left {
		dir = ""
	}
	return dir, measured, err
}

// measure judges a recorded run and takes its figures; nil where the run was
// interrupted.
func (b *bencher) measure(ctx context.Context, dir string, task bench.Task, stopping bool) (m *bench.Measured, err error) {
	j, err := report.Judge(ctx, dir)
	if err != nil {
		if stopping { // it was stopped before there was anything to judge
			return nil, nil
		}
		return nil, err
	}
	defer func() { err = errors.Join(err, j.Close()) }()
	if stopping && j.Run.Meta.Outcome == record.Interrupted {
		return nil, nil
	}
	archive, err := embedded.OpenArchive(dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, archive.Close()) }()
	if m, err = bench.Measure(ctx, task.Frame, j.Run, j.Verdict, archive); err != nil {
		return nil, err
	}
	if task.Keep == bench.KeepNone {
		return m, nil
	}
	return m, j.WriteFiles(ctx)
}

// runProgress passes the progress of a run on to that of the campaign.
type runProgress struct{ of *bench.Progress }

// Event is for the record alone.
func (runProgress) Event(record.Event) {}

// Progress draws how far the run is.
func (r runProgress) Progress(p run.Progress) { r.of.Step(p.Phase, p.At, p.Length) }
