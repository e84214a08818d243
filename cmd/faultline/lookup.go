package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/faultline-lab/faultline/chaos"
	"github.com/faultline-lab/faultline/internal/measure/grammar"
	"github.com/faultline-lab/faultline/internal/plan"
	"github.com/faultline-lab/faultline/internal/scenario"
	"github.com/faultline-lab/faultline/internal/system"
	"github.com/faultline-lab/faultline/resilience"
)

func validateCommand() *cobra.Command {
	return &cobra.Command{
		Use: "validate SCENARIO...", Short: "Check scenarios, and say everything that is wrong with them", GroupID: "learn",
		Long: "Check scenarios, by name or by path, and their systems, without starting anything.\nEvery error of a file is told at once, with its place.",
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var errs []error
			for _, name := range args {
				plans, err := compile(name, planFlags{})
				if err != nil {
					errs = append(errs, err)
					continue
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s: ok, %s\n", name, countOf(len(plans.plans), "variant"))
			}
			if err := errors.Join(errs...); err != nil {
				return usage(err)
			}
			return nil
		},
	}
}

func countOf(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// planFlags are the flags that change what is planned.
type planFlags struct {
	variants []string
	seed     uint64
	seedSet  bool
}

func (f *planFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringSliceVar(&f.variants, "variant", nil, "only these variants (default: all, in the file's order)")
	cmd.Flags().Uint64Var(&f.seed, "seed", 0, "another seed than the scenario's")
}

func (f *planFlags) read(cmd *cobra.Command) { f.seedSet = cmd.Flags().Changed("seed") }

// plans is a scenario worked out for each variant that was asked for.
type plans struct {
	*sources
	plans []*plan.Plan
}

func compile(name string, flags planFlags) (*plans, error) {
	src, err := open(name)
	if err != nil {
		return nil, err
	}
	out := &plans{sources: src}
	variants := flags.variants
	if len(variants) == 0 {
		variants = src.scenario.VariantNames()
	}
	var options plan.Options
	if flags.seedSet {
		options.Seed = &flags.seed
	}
	for _, variant := range variants {
		p, err := plan.Compile(src.scenario, src.system, variant, options)
		if err != nil {
			return nil, err // it names every error of the file already
		}
		out.plans = append(out.plans, p)
	}
	return out, nil
}

func planCommand() *cobra.Command {
	var flags planFlags
	cmd := &cobra.Command{
		Use: "plan SCENARIO", Short: "Print the timeline of a scenario, without running it", GroupID: "learn", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			flags.read(cmd)
			worked, err := compile(args[0], flags)
			if err != nil {
				return usage(err)
			}
			for i, p := range worked.plans {
				if i > 0 {
					fmt.Fprintln(cmd.OutOrStdout())
				}
				if err := plan.Describe(cmd.OutOrStdout(), p, worked.system, width(cmd.OutOrStdout())); err != nil {
					return broken(err)
				}
			}
			return nil
		},
	}
	flags.register(cmd)
	return cmd
}

func listCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the bundled scenarios", GroupID: "learn", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			table := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 4, 2, ' ', 0)
			for _, name := range bundledScenarios() {
				src, err := open(name)
				if err != nil {
					return usage(err)
				}
				about := strings.Join(strings.Fields(src.scenario.About), " ")
				fmt.Fprintf(table, "%s\t%s\t%s\n", name, countOf(len(src.scenario.VariantNames()), "variant"), shorten(about, width(cmd.OutOrStdout())-len(name)-14))
			}
			return table.Flush()
		},
	}
}

func shorten(text string, columns int) string {
	runes := []rune(text)
	if columns < 10 || len(runes) <= columns {
		return text
	}
	return string(runes[:columns-1]) + "…"
}

func faultsCommand() *cobra.Command {
	return &cobra.Command{
		Use: "faults", Short: "List the kinds of fault, with parameters and examples", GroupID: "learn", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return chaos.Describe(cmd.OutOrStdout(), chaos.Catalog(), width(cmd.OutOrStdout()))
		},
	}
}

func policiesCommand() *cobra.Command {
	return &cobra.Command{
		Use: "policies", Short: "List the resilience policies, with parameters and examples", GroupID: "learn", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return resilience.Describe(cmd.OutOrStdout(), resilience.Catalog(), width(cmd.OutOrStdout()))
		},
	}
}

func measuresCommand() *cobra.Command {
	return &cobra.Command{
		Use: "measures", Short: "List what expectations can measure", GroupID: "learn", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return grammar.Describe(cmd.OutOrStdout(), width(cmd.OutOrStdout()))
		},
	}
}

func schemaCommand() *cobra.Command {
	return &cobra.Command{
		Use: "schema scenario|system", Short: "Print the JSON schema of scenario or system files, for editors", GroupID: "learn",
		Args: cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs), ValidArgs: []string{"scenario", "system"},
		RunE: func(cmd *cobra.Command, args []string) error {
			schema := scenario.Schema
			if args[0] == "system" {
				schema = system.Schema
			}
			text, err := schema()
			if err != nil {
				return broken(err)
			}
			_, err = cmd.OutOrStdout().Write(text)
			return err
		},
	}
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
