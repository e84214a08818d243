package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/faultline-lab/faultline/internal/check"
	"github.com/faultline-lab/faultline/internal/record"
	"github.com/faultline-lab/faultline/internal/report"
)

func checkCommand() *cobra.Command {
	var root string
	cmd := &cobra.Command{
		Use: "check RUN...", Short: "Judge recorded runs again, from their files alone", GroupID: "run", Args: between(1, -1),
		Long: `Judge recorded runs again, and write verdict.json, verdict.md, junit.xml and
report.html beside each record anew. The same files give the same verdict, on any machine.
RUN is a directory, or its name below runs/; runs/latest is the newest.`,
		Example: `  faultline check runs/latest`,
		RunE: func(cmd *cobra.Command, args []string) error {
			judged, err := judgeAll(cmd.Context(), root, args)
			defer func() { closeAll(judged) }()
			if err != nil {
				return err
			}
			if err := summarize(cmd.OutOrStdout(), judged); err != nil {
				return err
			}
			for _, j := range judged { // last: a record that cannot be written to has a verdict all the same
				if err := write(cmd.Context(), j); err != nil {
					return err
				}
			}
			return exitFor(judged)
		},
	}
	rootFlag(cmd, &root)
	return cmd
}

func reportCommand() *cobra.Command {
	var root, output string
	cmd := &cobra.Command{
		Use: "report RUN...", Short: "Write the HTML report of recorded runs, side by side", GroupID: "run", Args: between(1, -1),
		Long: `Write the HTML report of recorded runs, side by side, into one file.
RUN is a directory, or its name below runs/; runs/latest is the newest.`,
		Example: `  faultline report runs/latest
  faultline report 20260301-115958-cascade-failure-naive runs/latest -o both.html`,
		RunE: func(cmd *cobra.Command, args []string) error {
			judged, err := judgeAll(cmd.Context(), root, args)
			defer func() { closeAll(judged) }()
			if err != nil {
				return err
			}
			if err := report.WritePageTo(cmd.Context(), judged, output); err != nil {
				return broken(fmt.Errorf("writing the report: %w", err))
			}
			fmt.Fprintln(cmd.OutOrStdout(), output)
			return nil
		},
	}
	rootFlag(cmd, &root)
	cmd.Flags().StringVarP(&output, "output", "o", "report.html", "the file to write")
	return cmd
}

func runsCommand() *cobra.Command {
	var root string
	cmd := &cobra.Command{
		Use: "runs", Short: "List the recorded runs, the newest first", GroupID: "run", Args: between(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := report.ListRuns(cmd.OutOrStdout(), root); err != nil {
				return broken(err)
			}
			return nil
		},
	}
	rootFlag(cmd, &root)
	return cmd
}

// judgeAll judges the runs that a user named, with an error for every one that cannot be.
func judgeAll(ctx context.Context, root string, names []string) ([]*report.Judged, error) {
	dirs := make([]string, 0, len(names))
	var errs []error
	for _, name := range names {
		dir, err := record.Find(root, name)
		errs = append(errs, err)
		dirs = append(dirs, dir)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, usage(err)
	}
	var judged []*report.Judged
	for _, dir := range dirs {
		j, err := judge(ctx, dir)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		judged = append(judged, j)
	}
	if err := errors.Join(errs...); err != nil {
		return judged, broken(err)
	}
	return judged, nil
}

// judge reads a recorded run and judges it.
func judge(ctx context.Context, dir string) (*report.Judged, error) {
	j, err := report.Judge(ctx, dir)
	if err != nil {
		return nil, broken(fmt.Errorf("judging %s: %w", dir, err))
	}
	return j, nil
}

// write puts what people and machines read beside the record.
func write(ctx context.Context, j *report.Judged) error {
	if err := j.WriteFiles(ctx); err != nil {
		return broken(fmt.Errorf("writing the verdict of %s: %w", j.Run.Dir, err))
	}
	return nil
}

func closeAll(judged []*report.Judged) {
	for _, j := range judged {
		if j != nil {
			_ = j.Close() // it was read only
		}
	}
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
