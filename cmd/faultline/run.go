package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/faultline-lab/faultline/internal/console"
	"github.com/faultline-lab/faultline/internal/plan"
	"github.com/faultline-lab/faultline/internal/report"
	"github.com/faultline-lab/faultline/internal/run"
	"github.com/faultline-lab/faultline/internal/system/compose"
)

func runCommand() *cobra.Command {
	var flags planFlags
	r := &runs{}
	var plain, noPage bool
	var listen, target, project string
	cmd := &cobra.Command{
		Use: "run SCENARIO", Short: "Run a scenario: every variant once, side by side", GroupID: "run", Args: between(1, 1),
		Long: `Run a scenario, by name ('faultline list') or by path: start its system, send its
load, bring its faults about, and judge what was measured. Every variant runs once,
one after the other. The records stay in runs/.

Ctrl-C ends a run early: faults are lifted, everything is taken down, and what was
recorded is judged inconclusive.
A second Ctrl-C ends everything at once.`,
		Example: `  faultline run cascade-failure
  faultline run ./mine.yaml --variant naive --seed 7`,
		RunE: func(cmd *cobra.Command, args []string) error {
			flags.read(cmd)
			worked, err := compile(args[0], flags)
			if err != nil {
				return usage(err)
			}
			if r.stack, err = findStack(cmd.Context(), target, project, worked); err != nil {
				return err
			}
			ctx, out, done := whileRead(cmd.Context(), cmd.OutOrStdout())
			defer done()
			r.plans, r.out, r.errOut, r.lines = worked, out, &aside{out: cmd.ErrOrStderr()}, plain || !isTerminal(out)
			defer sayWhenStopping(ctx, r.errOut)()
			if noPage {
				return r.all(ctx)
			}
			return r.allWithPage(ctx, listen)
		},
	}
	flags.register(cmd)
	rootFlag(cmd, &r.root)
	listenFlag(cmd, &listen)
	cmd.Flags().StringVar(&target, "target", targetLocal, "where the system runs: local (processes of this machine) or compose (a stack that is up, see docs/full-stack.md)")
	cmd.Flags().StringVar(&project, "project", compose.DefaultProject, "the compose project of the stack")
	cmd.Flags().BoolVar(&noPage, "no-page", false, "serve no page")
	cmd.Flags().BoolVar(&plain, "plain", false, "plain lines of progress, as when there is no terminal")
	return cmd
}

// rootFlag is the flag that says where records are.
func rootFlag(cmd *cobra.Command, root *string) {
	cmd.Flags().StringVar(root, "runs", "runs", "folder of the records")
}

// runs carries out the plans of a scenario, one after the other.
type runs struct {
	*plans
	root   string // folder of the records
	self   string // this program
	lines  bool   // progress in plain lines
	out    io.Writer
	errOut *aside
	judged []*report.Judged
	page   *console.Server        // nil without one
	after  func([]*report.Judged) // says what else there is to say at the end; nil for nothing
	stack  *compose.Stack         // nil for processes of this machine
}

// allWithPage runs each plan with the page beside it.
func (r *runs) allWithPage(ctx context.Context, listen string) error {
	var err error
	if r.page, err = startPage(ctx, r.sources, pageFlags{root: r.root, listen: listen}, r.errOut); err != nil {
		return err
	}
	err = r.all(ctx)
	if closed := r.page.Close(context.WithoutCancel(ctx), "Faultline has ended. The records and reports are below "+r.root+"."); err == nil && closed != nil {
		return broken(fmt.Errorf("ending the page: %w", closed))
	}
	return err
}

// all runs each plan, judges each run, and writes the report of all.
func (r *runs) all(ctx context.Context) error {
	var err error
	if r.self, err = os.Executable(); err != nil {
		return broken(fmt.Errorf("finding this program: %w", err))
	}
	defer func() { closeAll(r.judged) }()
	fmt.Fprintf(r.out, "%s: %s, %s each\n", r.scenario.Name, countOf(len(r.plans.plans), "variant"), r.plans.plans[0].Length())
	var failed error
	for _, p := range r.plans.plans {
		if failed = r.one(ctx, p); failed != nil || ctx.Err() != nil {
			break
		}
	}
	if len(r.judged) == 0 {
		return failed
	}
	concluded := r.conclude(context.WithoutCancel(ctx))
	switch {
	case failed != nil:
		return failed
	case concluded == nil && len(r.judged) < len(r.plans.plans): // what was not run proves nothing
		return &codedError{code: exitInconclusive}
	}
	return concluded
}

// one runs a plan and judges its record. A run that the lab could not go on
// with is an error; its record is judged too, for 'faultline runs' to list, but is no result.
func (r *runs) one(ctx context.Context, p *plan.Plan) error {
	live := report.NewLive(report.LiveConfig{
		Out: r.out, Title: p.Scenario + ", " + p.Variant, Width: width(r.out), Terminal: !r.lines, Color: colored(r.out),
	})
	fmt.Fprintf(r.out, "\n%s, %s: starting %s\n", p.Scenario, p.Variant, countOf(len(r.system.Services), "service"))
	if r.page != nil && p == r.plans.plans[0] {
		sayPage(r.out, r.page)
	}
	cfg := run.Config{
		Plan: p, System: r.system, Scenario: r.text, Root: r.root, Self: r.self, Bin: []string{filepath.Dir(r.self)},
		Version: buildVersion(), Watch: live, Log: labLog(r.errOut), Stack: r.stack,
	}
	if r.page != nil {
		cfg.Console = r.page
	}
	back := func() {}
	if !r.lines && isTerminal(r.errOut.out) {
		back = r.errOut.through(live)
	}
	dir, err := run.Run(ctx, cfg)
	live.Clear()
	back()
	if dir == "" {
		return broken(err)
	}
	j, judgeErr := judge(context.WithoutCancel(ctx), dir)
	if judgeErr == nil {
		judgeErr = write(context.WithoutCancel(ctx), j)
	}
	if err == nil && judgeErr == nil {
		r.judged = append(r.judged, j)
		return nil
	}
	closeAll([]*report.Judged{j})
	fmt.Fprintf(r.out, "\nrecord   %s\n", dir)
	switch {
	case err != nil: // if judging failed too, this is why
		return broken(fmt.Errorf("variant %s: %w", p.Variant, err))
	case ctx.Err() != nil: // ended before there was anything to judge
		return &codedError{code: exitInconclusive}
	}
	return judgeErr
}

// conclude prints the comparison and the verdict, and writes the report of all variants in one file.
func (r *runs) conclude(ctx context.Context) error {
	if err := summarize(r.out, r.judged); err != nil {
		return err
	}
	page, err := report.WritePage(ctx, r.judged, r.root)
	if err != nil {
		return broken(fmt.Errorf("writing the report: %w", err))
	}
	fmt.Fprintf(r.out, "\nreport   %s\n", page)
	for _, j := range r.judged {
		fmt.Fprintf(r.out, "record   %s\n", j.Run.Dir)
	}
	for _, p := range r.plans.plans[len(r.judged):] {
		fmt.Fprintf(r.out, "not run  %s\n", p.Variant)
	}
	if r.after != nil {
		r.after(r.judged)
	}
	return exitFor(r.judged)
}

// summarize prints the runs side by side, and the verdict. That nobody reads
// it any more is no error.
func summarize(out io.Writer, judged []*report.Judged) error {
	err := report.Summary(out, judged, report.Style{Color: colored(out), Width: width(out)})
	if err != nil && !errors.Is(err, syscall.EPIPE) {
		return broken(fmt.Errorf("writing the summary: %w", err))
	}
	return nil
}

func countOf(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func isTerminal(out io.Writer) bool {
	file, ok := out.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// width is the terminal's, at most 100 columns; 80 elsewhere.
func width(out io.Writer) int {
	if file, ok := out.(*os.File); ok {
		if columns, _, err := term.GetSize(int(file.Fd())); err == nil && columns > 0 {
			return min(columns, 100)
		}
	}
	return 80
}

// colored follows https://no-color.org.
func colored(out io.Writer) bool { return isTerminal(out) && os.Getenv("NO_COLOR") == "" }
