//go:build unix

package loadgen

import (
	"os/exec"
	"syscall"
)

// ownGroup keeps the terminal's Ctrl-C from the worker: its parent stops it in
// order.
func ownGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }
