package local

import "github.com/shirou/gopsutil/v4/process"

// Usage is what one process has used so far.
type Usage struct {
	Process       string
	PID           int
	CPUSeconds    float64 // user and system
	ResidentBytes uint64
}

// Usage returns the figures of every running instance. Processes that an
// instance started itself are not counted.
func (l *Launcher) Usage() []Usage {
	var out []Usage
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
