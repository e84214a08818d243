package local

import (
	"bufio"
	"fmt"
	"os"
	"strings"

	"github.com/shirou/gopsutil/v4/process"
)

// Usage is what one process has used so far.
type Usage struct {
	Process       string
	PID           int
	CPUSeconds    float64 // user and system
	ResidentBytes uint64
}

// Usage returns the figures of every running instance, and of the guard.
// Processes that an instance started itself are not counted.
func (l *Launcher) Usage() []Usage {
	var out []Usage
	if l.guard != nil {
		if usage, ok := ProcessUsage("guard", l.guard.cmd.Process.Pid); ok {
			out = append(out, usage)
		}
	}
	for _, inst := range l.instances {
		if d := inst.describe(); d.PID != 0 {
			if usage, ok := ProcessUsage(d.Name, d.PID); ok {
				out = append(out, usage)
			}
		}
	}
	return out
}

// ProcessUsage returns the figures of any process; false when it is gone.
func ProcessUsage(name string, pid int) (Usage, bool) {
	proc, err := process.NewProcess(int32(pid))
	if err != nil {
		return Usage{}, false
	}
	times, err := proc.Times()
	if err != nil {
		return Usage{}, false
	}
	memory, err := proc.MemoryInfo()
	if err != nil {
		return Usage{}, false
	}
	return Usage{Process: name, PID: pid, CPUSeconds: times.User + times.System, ResidentBytes: memory.RSS}, true
}

// ProportionalBytes is a process's resident memory with each shared page
// counted by its share (PSS), so that the sum over many processes of one
// program is what they really take. False where the system does not tell: only Linux does.
func ProportionalBytes(pid int) (uint64, bool) {
	file, err := os.Open(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, false
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		rest, found := strings.CutPrefix(lines.Text(), "Pss:")
		var kilobytes uint64
		if found {
			_, err := fmt.Sscanf(strings.TrimSpace(rest), "%d kB", &kilobytes)
			return kilobytes << 10, err == nil
		}
	}
	return 0, false
}
