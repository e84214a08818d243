package observability

import (
	"context"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/grafana/pyroscope-go"

	"github.com/faultline-lab/faultline/observability/names"
)

// uploadInterval is how much time one profile covers; a CPU profile covers twice
// that, because pyroscope-go skips a tick that comes a moment early.
const uploadInterval = 5 * time.Second

// profilerTaken says that this process has a profiler. A process has one CPU
// profile, whoever asks: a second profiler would stop the first one's.
var profilerTaken atomic.Bool

// profiler pushes this process's profiles.
type profiler struct {
	*pyroscope.Profiler
	client *http.Client
	taken  *atomic.Bool
}

// startProfiler returns nil if the process has a profiler already.
func startProfiler(cfg Config, complain *complaint) (*profiler, error) {
	if !profilerTaken.CompareAndSwap(false, true) {
		return nil, nil
	}
	client := &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{MaxIdleConns: 2, IdleConnTimeout: 2 * uploadInterval}}
	p, err := pyroscope.Start(pyroscope.Config{
		ApplicationName: cfg.Service,
		Tags:            map[string]string{names.Service: cfg.Service, names.Instance: cfg.Instance},
		ServerAddress:   cfg.PyroscopeURL,
		UploadRate:      uploadInterval,
		Logger:          profilerLog{complain},
		HTTPClient:      client,
		DisableGCRuns:   true, // a heap profile is not worth a forced collection
		ProfileTypes: []pyroscope.ProfileType{
			pyroscope.ProfileCPU,
			pyroscope.ProfileAllocObjects, pyroscope.ProfileAllocSpace,
			pyroscope.ProfileInuseObjects, pyroscope.ProfileInuseSpace,
			pyroscope.ProfileGoroutines,
		},
	})
	if err != nil {
		profilerTaken.Store(false)
		return nil, fmt.Errorf("profiler: %w", err)
	}
	return &profiler{Profiler: p, client: client, taken: &profilerTaken}, nil
}

// stop pushes what was profiled since the last upload and ends the profiler.
// It gives up waiting when ctx ends; uploads under way then end by their own
// limit of two seconds.
func (p *profiler) stop(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.Flush(true)
		_ = p.Stop() // never fails
		p.client.CloseIdleConnections()
		p.taken.Store(false)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("stopping the profiler: %w", context.Cause(ctx))
	}
}

// profilerLog says only errors, and those as the rest of telemetry does.
type profilerLog struct{ *complaint }

func (profilerLog) Infof(string, ...any)  {}
func (profilerLog) Debugf(string, ...any) {}
func (l profilerLog) Errorf(format string, args ...any) {
	l.say("profiles", 1, fmt.Errorf(format, args...))
}
