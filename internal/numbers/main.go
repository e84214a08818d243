// Command numbers measures what the lab itself costs and how exact it is, by running it as a user
// would, and prints what the recorded runs say in a table. It asserts nothing: the figures are
// those of the machine and of what else it does.
package main

import (
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"time"

	"github.com/faultline-lab/faultline/internal/check"
	"github.com/faultline-lab/faultline/internal/record"
)

//go:embed lag.yaml
var lagScenario []byte

func main() {
	faultline := flag.String("faultline", "bin/faultline", "the program to measure, with shop beside it")
	root := flag.String("runs", "runs/numbers", "folder for the records")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := measureAll(ctx, lab{program: *faultline, root: *root, progress: os.Stderr}, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "numbers: "+err.Error())
		os.Exit(1)
	}
}

// measureAll runs what has to be run and prints the table.
func measureAll(ctx context.Context, l lab, out io.Writer) error {
	if err := os.MkdirAll(l.root, 0o755); err != nil {
		return err
	}
	machine := fmt.Sprintf("%s/%s, %d CPUs, %s, %s", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version(), busy()) // before there is more to do
	cascade, err := l.run(ctx, "cascade-failure", "--variant", "contained")
	if err != nil {
		return err
	}
	rows, err := costs(ctx, cascade)
	if err != nil {
		return err
	}
	file := filepath.Join(l.root, "lag.yaml")
	if err := os.WriteFile(file, lagScenario, 0o644); err != nil {
		return err
	}
	fast, err := l.run(ctx, file)
	if err != nil {
		return err
	}
	row, err := lag(fast)
	if err != nil {
		return err
	}
	fmt.Fprintln(out, machine+"\n")
	table(out, append(rows, row))
	fmt.Fprintf(out, "\nrecords: %s, %s\n", cascade.dir, fast.dir)
	return nil
}

// busy words what else the machine does: the figures of a busy one say little. Only Linux tells.
func busy() string {
	text, err := os.ReadFile("/proc/loadavg")
	var one float64
	if _, scanErr := fmt.Sscan(string(text), &one); err != nil || scanErr != nil {
		return "load average unknown"
	}
	return fmt.Sprintf("load average %.1f in the minute before", one)
}

// lab runs the program under measurement.
type lab struct {
	program  string
	root     string
	progress io.Writer // takes what the program prints
}

// measured is a run with the times that only its caller knows.
type measured struct {
	dir     string
	command time.Time // when the command was given
	verdict time.Time // when it had ended, verdict and report written
}

// run runs a scenario to its verdict, whatever that is.
func (l lab) run(ctx context.Context, args ...string) (measured, error) {
	cmd := exec.CommandContext(ctx, l.program, append([]string{"run", "--runs", l.root}, args...)...)
	cmd.Stdout, cmd.Stderr = l.progress, l.progress
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // it takes everything down
	m := measured{command: time.Now()}
	err := cmd.Run()
	m.verdict = time.Now()
	var exit *exec.ExitError
	if errors.As(err, &exit) && (exit.ExitCode() == check.ExitFail || exit.ExitCode() == check.ExitInconclusive) {
		err = nil // the figures are there; what they are worth, the record says
	}
	if err == nil {
		m.dir, err = record.Find(l.root, record.LatestLink)
	}
	if err != nil {
		return m, fmt.Errorf("running %s: %w", args[0], err)
	}
	return m, ctx.Err()
}
