package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

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
		Long: `Check scenarios, by name or by path, and their systems, without starting anything.
Every error of a file is told at once, with its place.`,
		Example: `  faultline validate cascade-failure ./mine.yaml`,
		Args:    between(1, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var errs []error
			for _, name := range args {
				worked, err := compile(name, planFlags{})
				if err != nil {
					errs = append(errs, err)
					continue
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s: ok, %s\n", name, countOf(len(worked.plans), "variant"))
			}
			if err := errors.Join(errs...); err != nil {
				return usage(err)
			}
			return nil
		},
	}
}

func planCommand() *cobra.Command {
	var flags planFlags
	cmd := &cobra.Command{
		Use: "plan SCENARIO", Short: "Print the timeline of a scenario, without running it", GroupID: "learn", Args: between(1, 1),
		Example: `  faultline plan cascade-failure --variant naive`,
		RunE: func(cmd *cobra.Command, args []string) error {
			flags.read(cmd)
			worked, err := compile(args[0], flags)
			if err != nil {
				return usage(err)
			}
			out := cmd.OutOrStdout()
			for i, p := range worked.plans {
				if i > 0 {
					fmt.Fprintln(out)
				}
				if err := plan.Describe(out, p, worked.system, width(out)); err != nil {
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
	var long bool
	cmd := &cobra.Command{
		Use: "list", Short: "List the scenarios: those bundled, and those in ./scenarios", GroupID: "learn", Args: between(0, 0),
		Example: `  faultline list --long`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			out := cmd.OutOrStdout()
			names := scenarioNames()
			longest := 0
			for _, name := range names {
				longest = max(longest, len(name))
			}
			for _, name := range names {
				variants, about, more := "-", "not valid; 'faultline validate "+name+"' says why", ""
				if src, err := open(name); err == nil {
					variants = countOf(len(src.scenario.VariantNames()), "variant")
					about = strings.Join(strings.Fields(src.scenario.About), " ")
					more = whatToLookFor(src.scenario)
				}
				line := fmt.Sprintf("%-*s  %-11s  ", longest, name, variants)
				if !long {
					line, more = line+shorten(about, width(out)-len(line)), ""
				} else {
					line += about
				}
				if _, err := fmt.Fprint(out, line+"\n"+more); err != nil {
					return broken(err)
				}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&long, "long", false, "with the mechanism of each, the signal to look at, and the pattern that contains it")
	return cmd
}

// whatToLookFor is what a scenario says of itself beside its story, a line each.
func whatToLookFor(sc *scenario.Scenario) string {
	var out strings.Builder
	for _, entry := range [][2]string{{"mechanism", sc.Mechanism}, {"signal", sc.Signal}, {"pattern", sc.Pattern}} {
		if entry[1] != "" {
			fmt.Fprintf(&out, "    %-11s%s\n", entry[0]+":", strings.Join(strings.Fields(entry[1]), " "))
		}
	}
	return out.String()
}

// shorten cuts text to so many columns, unless they are too few to be of use.
func shorten(text string, columns int) string {
	runes := []rune(text)
	if columns < 10 || len(runes) <= columns {
		return text
	}
	return string(runes[:columns-1]) + "…"
}

// catalogCommand prints a catalog for a terminal of some width.
func catalogCommand(use, short string, describe func(out io.Writer, width int) error) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, GroupID: "learn", Args: between(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := describe(cmd.OutOrStdout(), width(cmd.OutOrStdout())); err != nil {
				return broken(err)
			}
			return nil
		},
	}
}

func faultsCommand() *cobra.Command {
	return catalogCommand("faults", "List the kinds of fault, with parameters and examples", func(out io.Writer, width int) error {
		return chaos.Describe(out, chaos.Catalog(), width)
	})
}

func policiesCommand() *cobra.Command {
	return catalogCommand("policies", "List the resilience policies, with parameters and examples", func(out io.Writer, width int) error {
		return resilience.Describe(out, resilience.Catalog(), width)
	})
}

func measuresCommand() *cobra.Command {
	return catalogCommand("measures", "List what expectations can measure", grammar.Describe)
}

func schemaCommand() *cobra.Command {
	schemas := map[string]func() ([]byte, error){"scenario": scenario.Schema, "system": system.Schema}
	return &cobra.Command{
		Use: "schema scenario|system", Short: "Print the JSON schema of scenario or system files, for editors", GroupID: "learn",
		Args: between(1, 1), ValidArgs: []string{"scenario", "system"},
		RunE: func(cmd *cobra.Command, args []string) error {
			schema := schemas[args[0]]
			if schema == nil {
				return usage(fmt.Errorf("no schema of %q; there are: scenario, system", args[0]))
			}
			text, err := schema()
			if err != nil {
				return broken(err)
			}
			if _, err := cmd.OutOrStdout().Write(text); err != nil {
				return broken(err)
			}
			return nil
		},
	}
}
