// Command shop serves the bundled system, one service a process:
//
//	shop gateway        serves one service, as its environment says
//	shop all            serves every service and the broker in one process
//	shop broker         serves the message broker
//	shop node           serves a node of any other system, see services/node
//	shop help [what]    explains
//
// It exits with 0 after SIGTERM or Ctrl-C, once requests under way are done;
// with 64 when it is called wrongly and 70 when a service fails.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"

	"github.com/faultline-lab/faultline/parameter"
	"github.com/faultline-lab/faultline/services/bug"
	"github.com/faultline-lab/faultline/services/kit"
)

// Exit codes, after sysexits.h.
const (
	exitOK     = 0
	exitUsage  = 64
	exitFailed = 70
)

// version is set by the linker.
var version string

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], kit.OSEnv(), os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// usageError is a call that cannot be meant.
type usageError struct{ message string }

func (e *usageError) Error() string { return e.message }

func misused(format string, args ...any) error {
	return &usageError{message: fmt.Sprintf(format, args...)}
}

// run is main without the process around it.
func run(ctx context.Context, args []string, env kit.Env, stdout, stderr io.Writer) int {
	err := dispatch(ctx, args, env, stdout)
	var misuse *usageError
	switch {
	case errors.As(err, &misuse):
		fmt.Fprintf(stderr, "shop: %s\n'shop help' lists what there is.\n", err)
		return exitUsage
	case err != nil:
		fmt.Fprintf(stderr, "shop: %s\n", err)
		return exitFailed
	}
	return exitOK
}

func dispatch(ctx context.Context, args []string, env kit.Env, stdout io.Writer) error {
	if len(args) == 0 {
		return misused("what shall be served?")
	}
	name, rest := args[0], args[1:]
	switch name {
	case "help", "-h", "-help", "--help":
		return help(rest, stdout)
	case "bugs":
		if len(rest) > 0 {
			return misused("bugs takes no arguments, got %q", rest[0])
		}
		return bugs(stdout)
	case "version", "-version", "--version":
		if len(rest) > 0 {
			return misused("version takes no arguments, got %q", rest[0])
		}
		_, err := fmt.Fprintln(stdout, "shop", versionText())
		return err
	}
	if name != "node" { // which is no part of the shop
		if _, err := bug.Find(env.Get(bug.Variable)); err != nil {
			return misused("%s", err)
		}
	}
	if name == "all" {
		return all(ctx, rest, env, stdout)
	}
	m := find(name)
	if m == nil {
		return unknown(name)
	}
	if len(rest) > 0 {
		if isHelp(rest[0]) {
			return help([]string{name}, stdout)
		}
		return misused("%s takes no arguments, got %q: it is set up by its environment", name, rest[0])
	}
	return one(ctx, m, env, stdout)
}

func isHelp(arg string) bool {
	return slices.Contains([]string{"help", "-h", "-help", "--help"}, arg)
}

// unknown says what a mistyped word may have meant.
func unknown(word string) error {
	if strings.HasPrefix(word, "-") {
		return misused("unknown flag %q", word)
	}
	words := append(memberNames(), "all", "help", "bugs", "version")
	if near := parameter.Nearest(word, words); near != "" {
		return misused("unknown service %q; did you mean %q?", word, near)
	}
	return misused("unknown service %q", word)
}

func versionText() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}
