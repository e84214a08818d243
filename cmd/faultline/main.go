// Command faultline runs chaos experiments on a system of services, and says with
// evidence whether the system held. `faultline --help` explains.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/faultline-lab/faultline/internal/check"
	"github.com/faultline-lab/faultline/internal/strictyaml"
)

// version is set by the linker; go install leaves it to the build information.
var version string

// The exit codes. They are part of the interface: scripts depend on them.
const (
	exitPass         = check.ExitPass
	exitInconclusive = check.ExitInconclusive
	exitUsage        = 64
	exitBroken       = 70
)

// codedError is an error that decides the exit code.
type codedError struct {
	code int
	err  error // nil when everything was said already
}

// Error is the message, or the bare code where everything was said.
func (e *codedError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

// Unwrap returns the error itself.
func (e *codedError) Unwrap() error { return e.err }

func usage(err error) error  { return &codedError{exitUsage, err} }
func broken(err error) error { return &codedError{exitBroken, err} }

func main() {
	os.Exit(Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// Main runs the command line and returns the exit code.
func Main(args []string, in io.Reader, out, errOut io.Writer) int {
	ctx, stop := interruptible(context.Background())
	defer stop()
	root := newRoot()
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errOut)
	err := root.ExecuteContext(ctx)
	var coded *codedError
	switch {
	case err == nil:
		return exitPass
	case errors.As(err, &coded):
		var placed strictyaml.Errors
		switch {
		case coded.err == nil:
		case errors.As(coded.err, &placed): // file:line first, where editors look for it
			fmt.Fprintln(errOut, coded.err)
		default:
			fmt.Fprintln(errOut, "faultline: "+coded.err.Error())
		}
		return coded.code
	default: // cobra's own: unknown commands and flags
		fmt.Fprintln(errOut, "faultline: "+err.Error())
		return exitUsage
	}
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "faultline",
		Short: "Break a system of services on purpose, and learn whether it holds",
		Long: `Faultline starts an instrumented system of services, drives it with scripted
load, breaks it on a timeline, and says, with evidence, whether the system held.

  faultline run cascade-failure     watch a failure spread, and be contained
  faultline plan cascade-failure    what would happen, and when
  faultline list                    the scenarios there are

Exit codes: 0 pass, 1 fail, 3 inconclusive, 64 usage or a bad scenario,
70 the lab itself failed.`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       buildVersion(),
		Args:          command,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },

		DisableFlagsInUseLine: true,
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetFlagErrorFunc(flagError)
	root.SetHelpCommand(helpCommand())
	root.AddGroup(&cobra.Group{ID: "run", Title: "Run and judge:"}, &cobra.Group{ID: "learn", Title: "Look things up:"})
	root.AddCommand(runCommand(), crashCommand(), benchCommand(), upCommand(), checkCommand(), reportCommand(), replayCommand(), runsCommand(),
		validateCommand(), planCommand(), listCommand(), faultsCommand(), policiesCommand(), measuresCommand(), schemaCommand(),
		oraclesCommand(), proxyCommand(), loadCommand(), guardCommand(), backendCommand())
	return root
}

// buildVersion is the linker's version, or what go install recorded.
func buildVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}
