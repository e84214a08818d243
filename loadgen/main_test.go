package loadgen

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/reflection"
)

// processEnv makes the test binary a worker process, or something worse.
const processEnv = "LOADGEN_TEST_PROCESS"

func TestMain(m *testing.M) {
	switch os.Getenv(processEnv) {
	case "":
		goleak.VerifyTestMain(m)
	case "worker":
		if err := Main(context.Background(), os.Stdin, os.Stdout); err != nil {
			os.Exit(1) // the parent has been told
		}
	case "dies":
		fmt.Fprintln(os.Stderr, "the first line\nsomething broke")
		os.Exit(7)
	case "serves":
		serveUntilEOF()
	case "mute", "stays": // neither looks at stdin
		e := newEncoder(os.Stdout)
		_ = e.ready()
		if os.Getenv(processEnv) == "stays" {
			_ = e.done()
		}
		_ = e.flush()
		<-time.After(time.Minute)
	case "prints":
		fmt.Println("usage: program [flags]")
	}
}

// serve runs an HTTP server and returns its address.
func serve(t testing.TB, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// unusedAddr is an address on which nobody listens.
func unusedAddr(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// once is a share with one load of one request, due at once.
func once(protocol, addr string, steps ...Step) Share {
	return Share{
		Targets: map[string]Target{"shop": {Protocol: protocol, Addrs: []string{addr}}},
		Loads: []Load{{
			Name: "browse", Service: "shop", Steps: steps, Arrivals: Constant,
			Stages: stages(steady(10*time.Millisecond, 1)), Timeout: 5 * time.Second, Seed: 1,
		}},
	}
}

// at sends the share's only load at a rate instead.
func (s Share) at(length time.Duration, rate float64) Share {
	s.Loads[0].Stages = stages(steady(length, rate))
	return s
}

func collect(t testing.TB, ctx context.Context, share Share) []Result {
	t.Helper()
	var rows []Result
	if err := Run(ctx, share, func(r Result) { rows = append(rows, r) }); err != nil {
		t.Fatal(err)
	}
	return rows
}

// one runs a share that makes a single row.
func one(t *testing.T, share Share) Result {
	t.Helper()
	rows := collect(t, t.Context(), share)
	if len(rows) != 1 {
		t.Fatalf("%d rows: %+v", len(rows), rows)
	}
	return rows[0]
}
func baggageOf(header string) map[string]string {
	members := map[string]string{}
	for _, member := range strings.Split(header, ",") {
		key, text, _ := strings.Cut(member, "=")
		members[key] = text
	}
	return members
}

// serveUntilEOF answers HTTP and gRPC until stdin closes, so that a benchmark has a
// server that does not share its process. It prints the two addresses.
func serveUntilEOF() {
	web, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	rpc, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	go func() {
		panic(http.Serve(web, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"id": "p-1"}`) })))
	}()
	go func() {
		server := grpc.NewServer()
		pb.RegisterTestServiceServer(server, &testService{})
		reflection.Register(server)
		panic(server.Serve(rpc))
	}()
	fmt.Println(web.Addr(), rpc.Addr())
	_, _ = io.Copy(io.Discard, os.Stdin)
}
