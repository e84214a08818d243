package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/faultline-lab/faultline/internal/check"
	"github.com/faultline-lab/faultline/internal/plan"
	"github.com/faultline-lab/faultline/internal/record"
	"github.com/faultline-lab/faultline/internal/report"
	"github.com/faultline-lab/faultline/internal/run"
)

type runFlags struct {
	planFlags
	root  string
	plain bool
}

func runCommand() *cobra.Command {
	var flags runFlags
	cmd := &cobra.Command{
		Use: "run SCENARIO", Short: "Run a scenario: every variant once, side by side", GroupID: "run", Args: cobra.ExactArgs(1),
		Long: `Run a scenario, by name ('faultline list') or by path: start its system, send its
load, bring its faults about, and judge what was measured. Every variant runs once,
one after the other. The records stay in runs/.

  faultline run cascade-failure
  faultline run ./mine.yaml --variant naive --seed 7`,
		RunE: func(cmd *cobra.Command, args []string) error {
			flags.read(cmd)
			worked, err := compile(args[0], flags.planFlags)
			if err != nil {
				return usage(err)
			}
			return runAll(cmd.Context(), worked, flags, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	flags.register(cmd)
	cmd.Flags().StringVar(&flags.root, "runs", "runs", "folder for the records")
	cmd.Flags().BoolVar(&flags.plain, "plain", false, "plain lines of progress, as when there is no terminal")
	return cmd
}

// runAll runs each plan, judges each run, and writes the reports.
func runAll(ctx context.Context, worked *plans, flags runFlags, out, errOut io.Writer) error {
	self, err := os.Executable()
	if err != nil {
		return broken(fmt.Errorf("finding this program: %w", err))
	}
	var judged []*report.Judged
	defer func() {
		for _, j := range judged {
			_ = j.Close() // it was read only
		}
	}()
	fmt.Fprintf(out, "%s: %s, %s each\n", worked.scenario.Name, countOf(len(worked.plans), "variant"), worked.plans[0].Length())
	for _, p := range worked.plans {
		dir, runErr := runOne(ctx, worked, p, self, flags, out)
		if dir == "" {
			return broken(runErr)
		}
		j, err := judge(context.WithoutCancel(ctx), dir)
		if err != nil {
			return broken(errors.Join(runErr, err))
		}
		judged = append(judged, j)
		if runErr != nil && !errors.Is(runErr, context.Canceled) {
			return broken(fmt.Errorf("variant %s: %w (the record: %s)", p.Variant, runErr, dir))
		}
		if ctx.Err() != nil {
			break
		}
	}
	return conclude(context.WithoutCancel(ctx), judged, flags.root, out, errOut)
}

func runOne(ctx context.Context, worked *plans, p *plan.Plan, self string, flags runFlags, out io.Writer) (string, error) {
	live := report.NewLive(report.LiveConfig{
		Out: out, Title: p.Scenario + ", " + p.Variant, Width: width(out), Terminal: isTerminal(out) && !flags.plain, Color: colored(out),
	})
	fmt.Fprintf(out, "\n%s, %s: starting %s\n", p.Scenario, p.Variant, countOf(len(worked.system.Services), "service"))
	dir, err := run.Run(ctx, run.Config{
		Plan: p, System: worked.system, Scenario: worked.text, Root: flags.root, Self: self, Bin: []string{filepath.Dir(self)},
		Version: buildVersion(), Watch: live, Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})),
	})
	live.Clear()
	return dir, err
}

// judge reads a recorded run, judges it, and writes what machines read beside it.
func judge(ctx context.Context, dir string) (*report.Judged, error) {
	j, err := report.Judge(ctx, dir)
	if err != nil {
		return nil, fmt.Errorf("judging %s: %w", dir, err)
	}
	if err := j.WriteFiles(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("writing the verdict of %s: %w", dir, err), j.Close())
	}
	return j, nil
}

// conclude prints the comparison and the verdict, and writes the report of all variants in one file.
func conclude(ctx context.Context, judged []*report.Judged, root string, out, errOut io.Writer) error {
	if err := report.Summary(out, judged, report.Style{Color: colored(out), Width: width(out)}); err != nil {
		return broken(err)
	}
	page, err := report.WritePage(ctx, judged, root)
	if err != nil {
		return broken(fmt.Errorf("writing the report: %w", err))
	}
	fmt.Fprintf(out, "\nreport   %s\n", page)
	for _, j := range judged {
		fmt.Fprintf(out, "record   %s\n", j.Run.Dir)
	}
	return exitFor(judged)
}

// exitFor is the exit code of several runs: the worst outcome decides.
func exitFor(judged []*report.Judged) error {
	verdicts := make([]*check.Verdict, 0, len(judged))
	for _, j := range judged {
		verdicts = append(verdicts, j.Verdict)
	}
	if code := check.ExitCode(verdicts...); code != exitPass {
		return &codedError{code: code}
	}
	return nil
}

func isTerminal(out io.Writer) bool {
	file, ok := out.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// colored follows https://no-color.org.
func colored(out io.Writer) bool { return isTerminal(out) && os.Getenv("NO_COLOR") == "" }

func checkCommand() *cobra.Command {
	return &cobra.Command{
		Use: "check RUN...", Short: "Judge recorded runs again, from their files alone", GroupID: "run", Args: cobra.MinimumNArgs(1),
		Long: "Judge recorded runs again. The same files give the same verdict, on any machine.\nRUN is a directory below runs/, or its name; runs/latest is the newest.",
		RunE: func(cmd *cobra.Command, args []string) error {
			judged, err := judgeAll(cmd.Context(), args)
			defer closeAll(judged)
			if err != nil {
				return err
			}
			if err := report.Summary(cmd.OutOrStdout(), judged, report.Style{Color: colored(cmd.OutOrStdout()), Width: width(cmd.OutOrStdout())}); err != nil {
				return broken(err)
			}
			return exitFor(judged)
		},
	}
}

func reportCommand() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use: "report RUN...", Short: "Write the HTML report of recorded runs, side by side", GroupID: "run", Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			judged, err := judgeAll(cmd.Context(), args)
			defer closeAll(judged)
			if err != nil {
				return err
			}
			if err := report.WritePageTo(cmd.Context(), judged, output); err != nil {
				return broken(err)
			}
			fmt.Fprintln(cmd.OutOrStdout(), output)
			return nil
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "report.html", "the file to write")
	return cmd
}

func judgeAll(ctx context.Context, names []string) ([]*report.Judged, error) {
	var judged []*report.Judged
	for _, name := range names {
		dir, err := record.Find("runs", name)
		if err != nil {
			return judged, usage(err)
		}
		j, err := judge(ctx, dir)
		if err != nil {
			return judged, broken(err)
		}
		judged = append(judged, j)
	}
	return judged, nil
}

func closeAll(judged []*report.Judged) {
	for _, j := range judged {
		_ = j.Close() // it was read only
	}
}

func runsCommand() *cobra.Command {
	var root string
	cmd := &cobra.Command{
		Use: "runs", Short: "List the recorded runs, the newest first", GroupID: "run", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return report.ListRuns(cmd.OutOrStdout(), root)
		},
	}
	cmd.Flags().StringVar(&root, "runs", "runs", "folder with the records")
	return cmd
}
