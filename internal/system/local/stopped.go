package local

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// stopsWithin bounds the wait for a process to stand still. A thread that waits for a disk stops when it has what it waits for.
const stopsWithin = time.Second

// awaitStopped waits until every thread of a process that was sent SIGSTOP stands still: a signal is sent at once, but a
// thread that runs on another processor goes on until it takes notice. Where there is no /proc it does not wait.
func awaitStopped(pid int) {
	deadline := time.NewTimer(stopsWithin)
	defer deadline.Stop()
	again := time.NewTicker(time.Millisecond)
	defer again.Stop()
	for !stopped(pid) {
		select {
		case <-deadline.C:
			return
		case <-again.C:
		}
	}
}

// stopped tells whether no thread of a process can run, by the states in /proc (proc(5), stat: the field after the name).
func stopped(pid int) bool {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	if err != nil {
		return true
	}
	for _, thread := range threads {
		stat, err := os.ReadFile(thread)
		if err != nil { // it has ended
			continue
		}
		_, after, found := bytes.Cut(stat[max(0, bytes.LastIndexByte(stat, ')')):], []byte(") "))
		if found && len(after) > 0 && !bytes.ContainsRune([]byte("TtXZ"), rune(after[0])) {
			return false
		}
	}
	return true
}
