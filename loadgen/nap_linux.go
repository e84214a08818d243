package loadgen

import (
	"syscall"
	"time"
)

// nap blocks its thread in nanosleep, which wakes about 60 µs late. Go's
// timers are served by epoll, whose timeout has a granularity of a millisecond.
func nap(d time.Duration) {
	spec := syscall.NsecToTimespec(int64(d))
	_ = syscall.Nanosleep(&spec, nil) // an interrupted nap is short; the caller looks at the clock again
}
