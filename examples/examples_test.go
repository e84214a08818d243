// Package examples_test puts the systems in this folder to work: they are read,
// built, started, called and ended as a run would do it.
package examples_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"

	"github.com/faultline-lab/faultline/internal/golden"
	"github.com/faultline-lab/faultline/internal/plan"
	"github.com/faultline-lab/faultline/internal/scenario"
	"github.com/faultline-lab/faultline/internal/system"
	"github.com/faultline-lab/faultline/internal/system/local"
	"github.com/faultline-lab/faultline/loadgen"
)

func TestScenariosCompile(t *testing.T) {
	files, err := filepath.Glob("*/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	compiled := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(text, []byte("\nsystem: ")) { // it is one
			continue
		}
		t.Run(file, func(t *testing.T) {
			sc, err := scenario.Load(file, text)
			if err != nil {
				t.Fatal(err)
			}
			sys, err := system.LoadFile(filepath.Join(filepath.Dir(file), sc.System))
			if err != nil {
				t.Fatal(err)
			}
			for _, variant := range sc.VariantNames() {
				if _, err := plan.Compile(sc, sys, variant, plan.Options{}); err != nil {
					t.Errorf("variant %s: %v", variant, err)
				}
			}
		})
		compiled++
	}
	if compiled == 0 {
		t.Error("there is no scenario")
	}
}

// The example of docs/topologies.md is a system.
func TestDocumentedTopology(t *testing.T) {
	read := 0
	for _, block := range golden.Blocks(t, "../docs/topologies.md") {
		if block.Info != "yaml" {
			continue
		}
		read++
		if _, err := system.Load("system.yaml", []byte(block.Text), nil); err != nil {
			t.Errorf("line %d: %v", block.Line, err)
		}
	}
	if read == 0 {
		t.Error("there is no example")
	}
}

// build copies the polyglot system to a folder of the test's and builds it there.
func build(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("builds programs")
	}
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("there is no python3 on PATH")
	}
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(dir, "bin")+string(filepath.Separator), "./web", "./ledger")
	cmd.Dir = "polyglot"
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building: %v\n%s", err, out)
	}
	for _, name := range []string{"system.yaml", "quotes.py"} {
		text, err := os.ReadFile(filepath.Join("polyglot", name))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestPolyglotsOwnTests runs the tests of the module, which the repository's do not reach.
func TestPolyglotsOwnTests(t *testing.T) {
	if testing.Short() {
		t.Skip("builds programs")
	}
	cmd := exec.CommandContext(t.Context(), "go", "test", "./...")
	cmd.Dir = "polyglot"
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// traces is an OTLP receiver that notes which service was part of which trace.
type traces struct {
	collector.UnimplementedTraceServiceServer
	mu   sync.Mutex
	seen map[string][]string // service -> trace ids
}

func (c *traces) Export(_ context.Context, in *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, group := range in.GetResourceSpans() {
		service := ""
		for _, attribute := range group.GetResource().GetAttributes() {
			if attribute.GetKey() == "service.name" {
				service = attribute.GetValue().GetStringValue()
			}
		}
		for _, scope := range group.GetScopeSpans() {
			for _, span := range scope.GetSpans() {
				c.seen[service] = append(c.seen[service], fmt.Sprintf("%x", span.GetTraceId()))
			}
		}
	}
	return &collector.ExportTraceServiceResponse{}, nil
}

func receiveTraces(t *testing.T) (*traces, string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &traces{seen: map[string][]string{}}
	server := grpc.NewServer()
	collector.RegisterTraceServiceServer(server, c)
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) })
	t.Cleanup(func() { server.Stop(); serving.Wait() })
	return c, "http://" + listener.Addr().String()
}

// TestPolyglot starts the system, sends its journey and ends it.
func TestPolyglot(t *testing.T) {
	dir := build(t)
	sys, err := system.LoadFile(filepath.Join(dir, "system.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	received, endpoint := receiveTraces(t)
	launcher := local.New(local.Config{System: sys, Dir: t.TempDir()})
	if err := launcher.Allot(); err != nil {
		t.Fatal(err)
	}
	addrs := map[string]string{}
	for _, instance := range launcher.Instances() {
		addrs[instance.Service] = instance.Addr
	}
	stop := sync.OnceValue(func() error { return launcher.Stop(context.WithoutCancel(t.Context())) })
	t.Cleanup(func() { _ = stop() })
	err = launcher.Start(t.Context(),
		func(_, callee string) []string { return []string{addrs[callee]} },
		func(service string, _ int) map[string]string {
			return map[string]string{"OTEL_SERVICE_NAME": service, "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}
		})
	if err != nil {
		t.Fatal(err)
	}
	bought := buy(t, sys, addrs["web"])
	if got := get(t, "http://"+addrs["ledger"]+"/metrics"); !strings.Contains(got, fmt.Sprintf("\nledger_entries_total %d\n", len(bought))) {
		t.Errorf("%d bought, the ledger says\n%s", len(bought), got)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	received.mu.Lock()
	defer received.mu.Unlock()
	known := " " + strings.Join(received.seen["ledger"], " ") + " "
	for _, id := range bought {
		if !strings.Contains(known, " "+id+" ") {
			t.Errorf("the ledger's trace %s did not arrive; %d others did", id, len(received.seen["ledger"]))
		}
	}
}

// buy sends the journey for a second and returns the traces of what was bought.
func buy(t *testing.T, sys *system.System, web string) (traces []string) {
	t.Helper()
	share := loadgen.Share{
		Targets: map[string]loadgen.Target{"web": {Protocol: "http", Addrs: []string{web}}},
		Loads: []loadgen.Load{{
			Name: "purchases", Service: "web", Steps: sys.Journeys["buy"], Timeout: 10 * time.Second, Seed: 1,
			Stages: []loadgen.Stage{{For: time.Second, From: 20, To: 20}},
		}},
	}
	whole := 0
	err := loadgen.Run(t.Context(), share, func(r loadgen.Result) {
		switch {
		case !r.OK:
			t.Errorf("row %+v", r)
		case r.Step == "":
			whole++
		case r.Step == "buy":
			traces = append(traces, r.TraceID)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if whole == 0 || whole != len(traces) {
		t.Fatalf("%d journeys, %d bought", whole, len(traces))
	}
	return traces
}

func get(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// TestProgramsEndWhenAsked holds each program to SIGTERM while a connection is kept open.
func TestProgramsEndWhenAsked(t *testing.T) {
	dir := build(t)
	for name, argv := range map[string][]string{
		"web": {"./bin/web"}, "ledger": {"./bin/ledger"}, "quotes": {"python3", "quotes.py"},
	} {
		t.Run(name, func(t *testing.T) {
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			addr := listener.Addr().String()
			_ = listener.Close()
			_, port, _ := net.SplitHostPort(addr)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			program := exec.CommandContext(ctx, argv[0], argv[1:]...)
			program.Dir, program.Env, program.Stderr = dir, append(os.Environ(), "PORT="+port), os.Stderr
			if err := program.Start(); err != nil {
				t.Fatal(err)
			}
			conn := awaitHealthy(t, ctx, addr)
			defer conn.Close()
			if err := program.Process.Signal(syscall.SIGTERM); err != nil {
				t.Error(err)
			}
			if err := program.Wait(); err != nil {
				t.Errorf("ended with %v", err)
			}
		})
	}
}

// awaitHealthy asks for /healthz until it answers, and leaves the connection open.
func awaitHealthy(t *testing.T, ctx context.Context, addr string) net.Conn {
	t.Helper()
	for {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			fmt.Fprint(conn, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
			line, err := bufio.NewReader(conn).ReadString('\n')
			if err != nil || line != "HTTP/1.1 200 OK\r\n" {
				t.Errorf("answered %q, error %v", line, err)
			}
			return conn
		}
		select {
		case <-ctx.Done():
			t.Fatal("the program does not listen")
		case <-time.After(20 * time.Millisecond):
		}
	}
}
