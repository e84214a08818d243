package local

// GuardPID is the process id of the guard.
func (l *Launcher) GuardPID() int { return l.guard.cmd.Process.Pid }
