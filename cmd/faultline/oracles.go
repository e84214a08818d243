package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/faultline-lab/faultline/internal/check"
	"github.com/faultline-lab/faultline/internal/oracle"
	"github.com/faultline-lab/faultline/internal/record"
	"github.com/faultline-lab/faultline/parameter"
)

type oracleFlags struct {
	root  string
	judge []string
}

func oraclesCommand() *cobra.Command {
	var flags oracleFlags
	cmd := &cobra.Command{
		Use: "oracles [NAME...]", Short: "Hold the lab itself to closed forms: predicted, measured, verdict", GroupID: "learn", Args: between(0, -1),
		Long: "Hold the lab itself to closed forms, by real runs: predicted, measured, interval, verdict.\n" +
			"Exit codes: 0 all hold, 1 one does not, 3 a run says nothing.\n\n" + oracleList() +
			"\nAll of them take about five minutes; let nothing else run meanwhile.",
		Example: "  faultline oracles\n  faultline oracles tail outage\n  faultline oracles --judge runs/oracles/latest",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(flags.judge) > 0 {
				return judgeOracles(cmd.Context(), flags, args, cmd.OutOrStdout())
			}
			chosen, err := chooseOracles(args)
			if err != nil {
				return usage(err)
			}
			return runOracles(cmd.Context(), chosen, flags, cmd.OutOrStdout())
		},
	}
	cmd.Flags().StringVar(&flags.root, "runs", filepath.Join("runs", "oracles"), "folder for the records")
	cmd.Flags().StringSliceVar(&flags.judge, "judge", nil, "judge these recorded runs again and run nothing")
	return cmd
}

func oracleList() string {
	var list strings.Builder
	for _, o := range oracle.All() {
		fmt.Fprintf(&list, "  %-12s %s\n", o.Name, o.About)
	}
	return list.String()
}

func chooseOracles(names []string) ([]oracle.Oracle, error) {
	if len(names) == 0 {
		return oracle.All(), nil
	}
	var chosen []oracle.Oracle
	for _, name := range names {
		o, found := oracle.Find(name)
		if !found {
			return nil, unknownOracle(name)
		}
		chosen = append(chosen, o)
	}
	return chosen, nil
}

func unknownOracle(name string) error {
	var known []string
	for _, o := range oracle.All() {
		known = append(known, o.Name)
	}
	if near := parameter.Nearest(name, known); near != "" {
		return fmt.Errorf("no oracle %q; did you mean %q?", name, near)
	}
	return fmt.Errorf("no oracle %q; there are: %s", name, strings.Join(known, ", "))
}

// runOracles runs one after the other, and shows each when it is done.
func runOracles(ctx context.Context, chosen []oracle.Oracle, flags oracleFlags, out io.Writer) error {
	self, err := os.Executable()
	if err != nil {
		return broken(fmt.Errorf("finding this program: %w", err))
	}
	cfg := oracle.Config{
		Root: flags.root, Self: self, Bin: []string{filepath.Dir(self)}, Version: buildVersion(),
		Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})),
	}
	var all []oracle.Row
	for _, o := range chosen {
		p, _, _, err := o.Plan()
		if err != nil {
			return broken(err)
		}
		fmt.Fprintf(out, "%s: %s (%s)\n", o.Name, o.About, p.Length().Round(time.Second))
		rows, dir, err := o.Run(ctx, cfg)
		if err != nil {
			return broken(err)
		}
		if err := oracle.Table(out, rows); err != nil {
			return broken(err)
		}
		fmt.Fprintf(out, "  record %s\n\n", dir)
		all = append(all, rows...)
	}
	return concludeOracles(all, out)
}

// judgeOracles reads recorded runs.
func judgeOracles(ctx context.Context, flags oracleFlags, args []string, out io.Writer) error {
	if len(args) > 0 {
		return usage(fmt.Errorf("--judge takes the runs, got the name %q beside them", args[0]))
	}
	var all []oracle.Row
	for _, name := range flags.judge {
		dir, err := record.Find(flags.root, name)
		if err != nil {
			return usage(err)
		}
		run, err := record.Open(dir)
		if err != nil {
			return broken(err)
		}
		o, found := oracle.Find(run.Meta.Scenario)
		if !found {
			return usage(fmt.Errorf("%s is a run of %s, which is no oracle", dir, run.Meta.Scenario))
		}
		rows, err := o.Judge(ctx, dir)
		if err != nil {
			return broken(err)
		}
		fmt.Fprintf(out, "%s: %s\n", o.Name, o.About)
		if err := oracle.Table(out, rows); err != nil {
			return broken(err)
		}
		all = append(all, rows...)
	}
	return concludeOracles(all, out)
}

// concludeOracles counts, and lets the worst verdict decide the exit code.
func concludeOracles(rows []oracle.Row, out io.Writer) error {
	wrong, void := 0, 0
	for _, r := range rows {
		switch r.Verdict() {
		case oracle.Wrong:
			wrong++
		case oracle.Void:
			void++
		}
	}
	fmt.Fprintf(out, "%d of %d predictions hold, %d wrong, %d void\n", len(rows)-wrong-void, len(rows), wrong, void)
	switch {
	case wrong > 0:
		return &codedError{code: check.ExitFail}
	case void > 0:
		return &codedError{code: check.ExitInconclusive}
	case len(rows) == 0:
		return broken(errors.New("nothing was predicted"))
	}
	return nil
}
