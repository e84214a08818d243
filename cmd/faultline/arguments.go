package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/faultline-lab/faultline/parameter"
)

// between asks for least to most arguments (most < 0: any number), and says
// what is missing in the words of the usage line.
func between(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		help := fmt.Sprintf("usage: %s ('%s --help' says more)", cmd.UseLine(), cmd.CommandPath())
		switch {
		case len(args) < least:
			_, wanted, _ := strings.Cut(strings.TrimSuffix(cmd.Use, "..."), " ")
			return fmt.Errorf("%s: no %s given; %s", cmd.Name(), wanted, help)
		case most == 0 && len(args) > 0:
			return fmt.Errorf("%s takes no arguments, got %q; %s", cmd.Name(), args[0], help)
		case most >= 0 && len(args) > most:
			return fmt.Errorf("%s: one argument too many: %q; %s", cmd.Name(), args[most], help)
		}
		return nil
	}
}

// command refuses what is no command, and says what was probably meant.
func command(root *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	var names []string
	for _, cmd := range root.Commands() {
		if !cmd.Hidden {
			names = append(names, cmd.Name())
		}
	}
	if near := parameter.Nearest(args[0], names); near != "" {
		return fmt.Errorf("unknown command %q; did you mean %q?", args[0], near)
	}
	return fmt.Errorf("unknown command %q; 'faultline --help' lists them", args[0])
}

func helpCommand() *cobra.Command {
	return &cobra.Command{
		Use: "help [COMMAND]", Short: "Explain a command", GroupID: "learn", Args: between(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			if len(args) == 0 {
				return help(root)
			}
			for _, named := range root.Commands() {
				if named.Name() == args[0] {
					return help(named)
				}
			}
			return command(root, args)
		},
	}
}

// help prints the same as --help does: cobra adds these flags only to a command that is executed.
func help(cmd *cobra.Command) error {
	cmd.InitDefaultHelpFlag()
	cmd.InitDefaultVersionFlag()
	return cmd.Help()
}

// flagError words what is wrong with a flag, and says what was probably meant.
func flagError(cmd *cobra.Command, err error) error {
	var invalid *pflag.InvalidValueError
	var unknown *pflag.NotExistError
	switch {
	case errors.As(err, &invalid) && invalid.GetFlag().Value.Type() == "uint64":
		return fmt.Errorf("--%s takes a whole number, got %q", invalid.GetFlag().Name, invalid.GetValue())
	case !errors.As(err, &unknown):
		return err
	}
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	if near := parameter.Nearest(unknown.GetSpecifiedName(), names); near != "" {
		return fmt.Errorf("%w; did you mean --%s?", err, near)
	}
	return fmt.Errorf("%w; '%s --help' lists the flags", err, cmd.CommandPath())
}
