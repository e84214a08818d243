package local

import (
	"os"
	"os/exec"
	"syscall"
	"testing"
)

func TestStopped(t *testing.T) {
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		t.Skip("NOT CHECKED: there is no /proc here")
	}
	if stopped(os.Getpid()) {
		t.Error("this process runs")
	}
	child := exec.Command("sleep", "60")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = child.Process.Kill(); _ = child.Wait() }()
	if stopped(child.Process.Pid) {
		t.Error("a process that sleeps may run on")
	}
	if err := child.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if awaitStopped(child.Process.Pid); !stopped(child.Process.Pid) {
		t.Error("it was stopped and does not stand still")
	}
}
