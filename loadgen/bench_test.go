//go:build linux

package loadgen

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// BenchmarkLoad runs a worker process against a server in another and prints what the
// generator itself costs: its lag (sent - due), its CPU time a request and its memory. One
// iteration is one arrival:
//
//	go test ./loadgen -run '^$' -bench Load -benchtime 5000x
func BenchmarkLoad(b *testing.B) {
	get := Step{Path: "/products/p-{{rand 1 500}}"}
	call := Step{RPC: unaryCall, Body: `{"payload": {"body": "aGVsbG8="}}`}
	for _, bench := range []struct {
		name string
		rate float64
		step Step
		spin time.Duration
	}{
		{"http/500", 500, get, 0},
		{"http/500/spin", 500, get, 150 * time.Microsecond},
		{"http/2000", 2000, get, 0},
		{"grpc/500", 500, call, 0},
	} {
		b.Run(bench.name, func(b *testing.B) {
			web, rpc := startServer(b)
			share := once("http", web, bench.step)
			if bench.step.RPC != "" {
				share = once("grpc", rpc, bench.step)
			}
			share.at(time.Duration(float64(b.N)/bench.rate*float64(time.Second)), bench.rate)
			share.Spin, share.Loads[0].Arrivals = bench.spin, Poisson
			measureLoad(b, share)
		})
	}
}

func measureLoad(b *testing.B, share Share) {
	lag, latency := NewHistogram(), NewHistogram()
	b.Setenv(processEnv, "worker")
	b.ResetTimer()
	w, err := Start(b.Context(), []string{os.Args[0]}, share, func(r Result) {
		if !r.OK {
			b.Errorf("row %+v", r)
		}
		lag.Record(r.Lag())
		latency.Record(r.Latency())
	})
	if err != nil {
		b.Fatal(err)
	}
	w.Begin(time.Now().Add(10 * time.Millisecond))
	if err := w.Wait(); err != nil {
		b.Fatal(err)
	}
	state := w.cmd.ProcessState
	b.ReportMetric(float64(lag.Quantile(0.5).Microseconds()), "lag-p50-µs")
	b.ReportMetric(float64(lag.Quantile(0.99).Microseconds()), "lag-p99-µs")
	b.ReportMetric(float64(latency.Quantile(0.5).Microseconds()), "p50-µs")
	b.ReportMetric(float64((state.UserTime()+state.SystemTime()).Microseconds())/float64(lag.Count()), "cpu-µs/request")
	b.ReportMetric(float64(state.SysUsage().(*syscall.Rusage).Maxrss)/1024, "resident-MB")
}

func startServer(b *testing.B) (web, rpc string) {
	b.Helper()
	b.Setenv(processEnv, "serves")
	server := exec.Command(os.Args[0])
	stdin, err := server.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	stdout, err := server.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := server.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = stdin.Close(); _ = server.Wait() })
	if _, err := fmt.Fscanln(stdout, &web, &rpc); err != nil {
		b.Fatal(err)
	}
	return web, rpc
}
