package main

import (
	"bytes"
	"errors"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"

	"github.com/rogpeppe/go-internal/testscript"
)

// Commands of scripts that look at the machine or change it.

// process is a running process that descends from a script.
type process struct {
	pid     int
	command string
}

// processesOf finds the processes that carry a script's folder in their
// environment, which every child inherits. Only Linux shows environments.
func processesOf(ts *testscript.TestScript) []process {
	entries, err := os.ReadDir("/proc")
	ts.Check(err)
	mark := []byte("WORK=" + ts.Getenv("WORK") + "\x00")
	var out []process
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		env, err := os.ReadFile(filepath.Join("/proc", entry.Name(), "environ")) // empty for the dead that nobody waited for
		if err != nil || !bytes.Contains(env, mark) {
			continue
		}
		line, err := os.ReadFile(filepath.Join("/proc", entry.Name(), "cmdline"))
		if err == nil {
			out = append(out, process{pid, strings.TrimSpace(strings.ReplaceAll(string(line), "\x00", " "))})
		}
	}
	return out
}

// killProcess kills the one process whose command line matches: kill-process 'tiny back$'.
func killProcess(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: kill-process regexp")
	}
	pattern := regexp.MustCompile(args[0])
	var found []process
	all := processesOf(ts)
	for _, p := range all {
		if pattern.MatchString(p.command) {
			found = append(found, p)
		}
	}
	if len(found) != 1 {
		ts.Fatalf("%d processes match %s, want one of %v", len(found), args[0], all)
	}
	ts.Check(syscall.Kill(found[0].pid, syscall.SIGKILL))
}

// signalAll sends a signal to all processes whose command line matches: signal-all TERM faultline.
func signalAll(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 || signals[args[0]] == 0 {
		ts.Fatalf("usage: signal-all INT|TERM|KILL regexp")
	}
	pattern, sent := regexp.MustCompile(args[1]), 0
	for _, p := range processesOf(ts) {
		if pattern.MatchString(p.command) {
			ts.Check(syscall.Kill(p.pid, signals[args[0]]))
			sent++
		}
	}
	if sent == 0 {
		ts.Fatalf("no process matches %s", args[1])
	}
}

var serving = regexp.MustCompile(`tiny: serving (\S+)`)

// nothingLeft waits until none of the script's processes is left, and none
// of the addresses that its services said they served is served, and checks that no
// temporary files are left.
func nothingLeft(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: nothing-left")
	}
	await(ts, "the processes are gone", func() bool { return len(processesOf(ts)) == 0 })
	outputs, err := filepath.Glob(ts.MkAbs("runs/*/output/*.log"))
	ts.Check(err)
	for _, file := range outputs {
		text, err := os.ReadFile(file)
		ts.Check(err)
		for _, match := range serving.FindAllStringSubmatch(string(text), -1) {
			await(ts, match[1]+" is no longer served", func() bool { return !served(match[1]) }) // another script may have got the port
		}
	}
	left, err := os.ReadDir(ts.Getenv("TMPDIR"))
	ts.Check(err)
	if len(left) > 0 {
		ts.Fatalf("temporary files are left: %v", left)
	}
}

func served(addr string) bool {
	conn, err := net.Dial("tcp", addr)
	if err == nil {
		_ = conn.Close()
	}
	return err == nil
}

// takePort listens on a port until the script ends, and writes its number into a file in place of PORT.
func takePort(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: take-port file")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { _ = listener.Close() })
	_, port, err := net.SplitHostPort(listener.Addr().String())
	ts.Check(err)
	text := strings.ReplaceAll(ts.ReadFile(args[0]), "PORT", port)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text), 0o644))
}

// smallDisk mounts a disk of so many bytes on a folder: small-disk runs 8m.
func smallDisk(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: small-disk folder size")
	}
	folder := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(folder, 0o755))
	ts.Check(mount(folder, args[1]))
	ts.Defer(func() { ts.Check(unmount(folder)) })
}

// fillDisk writes until there is no room: fill-disk runs.
func fillDisk(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: fill-disk folder")
	}
	file, err := os.Create(filepath.Join(ts.MkAbs(args[0]), "filler"))
	ts.Check(err)
	for block := make([]byte, 4096); err == nil; {
		_, err = file.Write(block)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		ts.Fatalf("filling the disk: %v", err)
	}
	ts.Check(file.Close())
}
