package main

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// The test binary plays the lab, with all the processes that it starts of
// itself, and the services of the systems in the scripts.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"faultline": main, "tiny": tiny})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		Setup:               setUp,
		Condition:           condition,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       os.Getenv("UPDATE_SCRIPTS") != "",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":        exits,
			"lab":          startLab,
			"signal":       signalLab,
			"ends":         labEnds,
			"until":        until,
			"kill-process": killProcess,
			"signal-all":   signalAll,
			"nothing-left": nothingLeft,
			"run-name":     runName,
			"take-port":    takePort,
			"small-disk":   smallDisk,
			"fill-disk":    fillDisk,
		},
	})
}

// setUp gives every script a small system and a scenario for it, unless it brings its own.
func setUp(env *testscript.Env) error {
	for _, name := range []string{"system.yaml", "tiny.yaml"} {
		if _, err := os.Stat(filepath.Join(env.WorkDir, name)); err == nil {
			continue
		}
		text, err := os.ReadFile(filepath.Join("testdata", "tiny", name))
		if err == nil {
			err = os.WriteFile(filepath.Join(env.WorkDir, name), text, 0o644)
		}
		if err != nil {
			return err
		}
	}
	l := &lab{vars: env.Vars, dir: env.WorkDir}
	env.Values[labKey{}] = l
	env.Defer(l.end)
	return nil
}

func condition(name string) (bool, error) {
	switch name {
	case "proc": // processes and their environments can be looked at
		return runtime.GOOS == "linux", nil
	case "mount": // a file system of its own can be mounted
		return runtime.GOOS == "linux" && os.Getuid() == 0, nil
	}
	return false, errors.New("unknown condition " + name)
}

// exits runs a program and checks its exit code: exits 64 faultline rnu.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits code program [args]")
	}
	var exit *exec.ExitError
	code := 0
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
		code = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	checkCode(ts, code, args[0])
}

func checkCode(ts *testscript.TestScript, code int, wanted string) {
	want, err := strconv.Atoi(wanted)
	ts.Check(err)
	if code != want {
		ts.Fatalf("exit code %d, want %d", code, want)
	}
}

// lab is the faultline of a script that runs beside it. Its output goes to the
// files lab.out and lab.err.
type lab struct {
	vars []string
	dir  string
	cmd  *exec.Cmd
}

type labKey struct{}

func labOf(ts *testscript.TestScript) *lab {
	l, _ := ts.Value(labKey{}).(*lab)
	return l
}

// startLab starts faultline beside the script: lab run tiny.yaml.
func startLab(ts *testscript.TestScript, neg bool, args []string) {
	l := labOf(ts)
	if neg || l.cmd != nil {
		ts.Fatalf("usage: lab [args], once")
	}
	program, err := exec.LookPath("faultline")
	ts.Check(err)
	if err := os.Remove(filepath.Join(l.dir, "runs", "latest")); !errors.Is(err, fs.ErrNotExist) { // or until would look at the run before
		ts.Check(err)
	}
	cmd := exec.Command(program, args...)
	cmd.Env, cmd.Dir = l.vars, l.dir
	out, err := os.Create(filepath.Join(l.dir, "lab.out"))
	ts.Check(err)
	defer out.Close() // the process has its own handle
	errOut, err := os.Create(filepath.Join(l.dir, "lab.err"))
	ts.Check(err)
	defer errOut.Close()
	cmd.Stdout, cmd.Stderr = out, errOut
	ts.Check(cmd.Start())
	l.cmd = cmd
}

// end kills what a failed script left.
func (l *lab) end() {
	if l.cmd != nil {
		_ = l.cmd.Process.Kill()
		_ = l.cmd.Wait()
	}
}

var signals = map[string]syscall.Signal{"INT": syscall.SIGINT, "TERM": syscall.SIGTERM, "KILL": syscall.SIGKILL}

// signalLab sends the lab a signal: signal INT.
func signalLab(ts *testscript.TestScript, neg bool, args []string) {
	if l := labOf(ts); neg || len(args) != 1 || signals[args[0]] == 0 || l.cmd == nil {
		ts.Fatalf("usage: signal INT|TERM|KILL, to a lab that runs")
	}
	ts.Check(labOf(ts).cmd.Process.Signal(signals[args[0]]))
}

// labEnds waits for the lab and checks its exit code, -1 when a signal killed it: ends 3.
func labEnds(ts *testscript.TestScript, neg bool, args []string) {
	l := labOf(ts)
	if neg || len(args) != 1 || l.cmd == nil {
		ts.Fatalf("usage: ends code, of a lab that runs")
	}
	var exit *exec.ExitError
	code := 0
	if err := l.cmd.Wait(); errors.As(err, &exit) {
		code = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	l.cmd = nil
	for _, name := range []string{"lab.out", "lab.err"} {
		ts.Logf("[%s]\n%s", name, ts.ReadFile(name))
	}
	checkCode(ts, code, args[0])
}

// await tries until it succeeds, for at most a minute.
func await(ts *testscript.TestScript, what string, try func() bool) {
	deadline := time.NewTimer(time.Minute)
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !try() {
		select {
		case <-tick.C:
		case <-deadline.C:
			ts.Fatalf("waited in vain: %s", what)
		}
	}
}

// until waits for a text in a file: until runs/latest/events.jsonl '"name":"fault"'.
func until(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: until file regexp")
	}
	file, pattern := ts.MkAbs(args[0]), regexp.MustCompile(args[1])
	await(ts, args[1]+" in "+args[0], func() bool {
		text, err := os.ReadFile(file)
		return err == nil && pattern.Match(text)
	})
}

// runName puts the name of the newest run into a variable: run-name RUN.
func runName(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: run-name VARIABLE")
	}
	name, err := os.Readlink(ts.MkAbs(filepath.Join("runs", "latest")))
	ts.Check(err)
	ts.Setenv(args[0], name)
}
