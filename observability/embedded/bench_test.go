package embedded

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/shirou/gopsutil/v4/process"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/faultline-lab/faultline/observability"
)

// sendersURL is set in a process that plays fifteen services for a backend.
const sendersURL = "FAULTLINE_TEST_SENDERS_URL"

const (
	senders        = 15
	spansPerSecond = 2000
)

// BenchmarkBackend runs a backend as a busy lab does, one iteration a second:
// fifteen services scraped each second, 2,000 spans and 200 log records a
// second through the real SDK, alert rules evaluated each second. The services
// live in a process of their own, so that the figures are the backend's.
//
//	go test ./observability/embedded -run '^$' -bench Backend -benchtime 60x
func BenchmarkBackend(b *testing.B) {
	dir := b.TempDir()
	begin := time.Now()
	backend, err := Start(b.Context(), Config{Dir: dir, Rules: []byte(alertRules)})
	if err != nil {
		b.Fatal(err)
	}
	started := time.Since(begin)
	stop := startSenders(b, backend)
	used := cpuTime(b)
	tick := time.NewTicker(time.Second)
	for b.Loop() {
		<-tick.C
	}
	tick.Stop()
	b.ReportMetric(milliseconds(started), "ms-to-start")
	b.ReportMetric(100*(cpuTime(b)-used).Seconds()/b.Elapsed().Seconds(), "%-of-a-core")
	b.ReportMetric(residentMB(b), "MB-resident")
	backend.StopScraping()
	stop()
	begin = time.Now()
	loss := closeBackend(b, backend)
	b.ReportMetric(milliseconds(time.Since(begin)), "ms-to-close")
	b.ReportMetric(float64(loss.SpansReceived)/b.Elapsed().Seconds(), "spans/s")
	if loss.SpansDropped > 0 || loss.LogsDropped > 0 {
		b.Errorf("loss = %+v", loss)
	}
	begin = time.Now()
	archive, err := OpenArchive(dir)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(milliseconds(time.Since(begin)), "ms-to-open")
	if err := archive.Close(); err != nil {
		b.Error(err)
	}
}

func milliseconds(d time.Duration) float64 { return d.Seconds() * 1000 }

func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func residentMB(b *testing.B) float64 {
	b.Helper()
	self, err := process.NewProcess(int32(os.Getpid()))
	if err != nil {
		b.Fatal(err)
	}
	memory, err := self.MemoryInfo()
	if err != nil {
		b.Fatal(err)
	}
	return float64(memory.RSS) / 1e6
}

// startSenders starts the services' process and has them scraped; stop ends
// them as services end, with their last spans sent.
func startSenders(b *testing.B, backend *Backend) (stop func()) {
	b.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), sendersURL+"="+backend.Endpoints().OTLP)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		stdin.Close()
		if err := cmd.Wait(); err != nil {
			b.Errorf("senders: %v", err)
		}
	})
	b.Cleanup(stop)
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	var targets []Target
	for i, url := range strings.Fields(line) {
		targets = append(targets, Target{Service: fmt.Sprint("service", i), Instance: fmt.Sprintf("service%d-1", i), URL: url})
	}
	if err := backend.SetTargets(targets); err != nil {
		b.Fatal(err)
	}
	return stop
}

// beSenders plays the services until stdin closes.
func beSenders(url string) {
	ctx, cancel := context.WithCancel(context.Background())
	var wait sync.WaitGroup
	var urls []string
	for i := range senders {
		tel, err := observability.Setup(ctx, observability.Config{Service: fmt.Sprint("service", i), Instance: fmt.Sprintf("service%d-1", i), Endpoint: url})
		if err != nil {
			panic(err)
		}
		urls = append(urls, httptest.NewServer(tel.MetricsHandler()).URL)
		wait.Go(func() { serveRequests(ctx, tel) })
	}
	fmt.Println(strings.Join(urls, " "))
	_, _ = io.Copy(io.Discard, os.Stdin)
	cancel()
	wait.Wait()
	os.Exit(0)
}

// serveRequests leaves the traces of requests: a server's span, a client's
// span, a latency with an exemplar, now and then a log record.
func serveRequests(ctx context.Context, tel *observability.Telemetry) {
	latency := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "http_server_request_duration_seconds"}, []string{"route"})
	tel.Registry.MustRegister(latency)
	tick := time.NewTicker(time.Second * senders * 2 / spansPerSecond)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			_ = tel.Shutdown(context.WithoutCancel(ctx)) // what it lost is in the backend's figures
			return
		case <-tick.C:
		}
		serverCtx, server := tel.Tracer().Start(ctx, "GET /products/{id}", trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(
			attribute.String("http.request.method", "GET"), attribute.String("http.route", "/products/{id}"), attribute.Int("http.response.status_code", 200),
			attribute.String("server.address", "127.0.0.1"), attribute.Int("server.port", 41234),
			attribute.Float64("door.wait_ms", 1.25), attribute.Float64("door.held_ms", 4.5)))
		_, client := tel.Tracer().Start(serverCtx, "List", trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(
			attribute.String("edge", "gateway->catalog"), attribute.Int("edge.replica", 2), attribute.Int("retry.attempt", 1)))
		client.End()
		if n%5 == 0 {
			tel.Log.InfoContext(serverCtx, "served", "n", n)
		}
		latency.WithLabelValues(fmt.Sprintf("/r%d", n%20)).(prometheus.ExemplarObserver).
			ObserveWithExemplar(0.01*float64(n%30), prometheus.Labels{"trace_id": server.SpanContext().TraceID().String()})
		server.End()
	}
}
