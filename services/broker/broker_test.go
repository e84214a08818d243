package broker

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

var quiet = slog.New(slog.DiscardHandler)

func startTest(t *testing.T, dir string) *server.Server {
	t.Helper()
	srv, err := start(t.Context(), "", "0", dir, quiet)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		srv.Shutdown()
		srv.WaitForShutdown()
	})
	return srv
}

func connect(t *testing.T, srv *server.Server) jetstream.JetStream {
	t.Helper()
	conn, err := nats.Connect(srv.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func publish(t *testing.T, js jetstream.JetStream, subject string) {
	t.Helper()
	if _, err := js.Publish(t.Context(), subject, []byte("hello")); err != nil {
		t.Fatal(err)
	}
}

func TestMessagesOutliveTheServer(t *testing.T) {
	dir := t.TempDir()
	first := startTest(t, dir)
	js := connect(t, first)
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "orders", Subjects: []string{"orders.>"}}); err != nil {
		t.Fatal(err)
	}
	publish(t, js, "orders.confirmed")
	first.Shutdown()
	first.WaitForShutdown()

	stream, err := connect(t, startTest(t, dir)).Stream(t.Context(), "orders")
	if err != nil {
		t.Fatal(err)
	}
	if n := stream.CachedInfo().State.Msgs; n != 1 {
		t.Errorf("%d messages after the restart, want 1", n)
	}
}

// A client that learns the server's own address reconnects to it, past the
// proxy on the edge, and faults on the edge no longer reach it.
func TestServerDoesNotAdvertiseItself(t *testing.T) {
	srv := startTest(t, t.TempDir())
	conn, err := net.Dial("tcp", srv.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	hello, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	var info struct {
		ConnectURLs []string `json:"connect_urls"`
		JetStream   bool     `json:"jetstream"`
	}
	if err := json.Unmarshal([]byte(strings.TrimPrefix(hello, "INFO ")), &info); err != nil {
		t.Fatalf("reading %q: %v", hello, err)
	}
	if len(info.ConnectURLs) > 0 || !info.JetStream {
		t.Errorf("advertises %q, jetstream %v", info.ConnectURLs, info.JetStream)
	}
	if host, _, _ := net.SplitHostPort(srv.Addr().String()); host != defaultHost {
		t.Errorf("listens on %s, want only %s", host, defaultHost)
	}
}

func TestMetrics(t *testing.T) {
	srv := startTest(t, t.TempDir())
	js := connect(t, srv)
	stream, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "orders", Subjects: []string{"orders.>"}})
	if err != nil {
		t.Fatal(err)
	}
	consumer, err := stream.CreateConsumer(t.Context(), jetstream.ConsumerConfig{Durable: "shipping", AckPolicy: jetstream.AckExplicitPolicy})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		publish(t, js, "orders.confirmed")
	}
	if _, err := consumer.Next(); err != nil { // delivered, not acknowledged
		t.Fatal(err)
	}
	want := `
# HELP broker_connections Clients connected.
# TYPE broker_connections gauge
broker_connections 1
# HELP broker_consumer_pending Messages not yet delivered to a consumer.
# TYPE broker_consumer_pending gauge
broker_consumer_pending{consumer="shipping",stream="orders"} 2
# HELP broker_consumer_unacked Messages delivered to a consumer and not yet acknowledged.
# TYPE broker_consumer_unacked gauge
broker_consumer_unacked{consumer="shipping",stream="orders"} 1
# HELP broker_stored_messages Messages that a stream keeps.
# TYPE broker_stored_messages gauge
broker_stored_messages{stream="orders"} 3
`
	compare := func(f figures) error {
		return testutil.CollectAndCompare(newCollector(f), strings.NewReader(want),
			"broker_connections", "broker_consumer_pending", "broker_consumer_unacked", "broker_stored_messages")
	}
	// The server tells a consumer of new messages beside answering the publisher.
	soon := time.Now().Add(10 * time.Second)
	for err = compare(srv); err != nil && time.Now().Before(soon); err = compare(srv) {
		runtime.Gosched()
	}
	if err != nil {
		t.Error(err)
	}
	// Another program is asked over its monitoring port, and says the same.
	other := monitor{base: monitored(t, srv), client: http.DefaultClient}
	if err := compare(other); err != nil {
		t.Errorf("over the monitoring port: %v", err)
	}
	if n := testutil.CollectAndCount(newCollector(other)); n != 9 {
		t.Errorf("%d metrics over the monitoring port, want 9", n)
	}
	if n := testutil.CollectAndCount(newCollector(srv)); n != 9 {
		t.Errorf("%d metrics, want 9", n)
	}
}

// monitored is the address of a server's monitoring port, which it opens.
func monitored(t *testing.T, srv *server.Server) string {
	t.Helper()
	ts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/varz":
			srv.HandleVarz(w, r)
		case "/jsz":
			srv.HandleJsz(w, r)
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(ts.Close)
	return ts.URL
}

// TestWatcher: what watches a server fails with it, so that a scrape does.
func TestWatcher(t *testing.T) {
	good := monitored(t, startTest(t, t.TempDir()))
	broken := httptest.NewServer(http.NotFoundHandler())
	defer broken.Close()
	garbled := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) }))
	defer garbled.Close()
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	for _, test := range []struct {
		name, base string
		status     int
		holds      string
	}{
		{"a server", good + "/", 200, "broker_connections 0\n"},
		{"an error", broken.URL, 500, "404"},
		{"no JSON", garbled.URL, 500, "reading the nats server's answer"},
		{"nobody", gone.URL, 500, "asking the nats server"},
	} {
		t.Run(test.name, func(t *testing.T) {
			handler, err := newWatcher(test.base, prometheus.NewRegistry())
			if err != nil {
				t.Fatal(err)
			}
			for path, want := range map[string]int{"/metrics": test.status, "/readyz": 200} {
				answer := httptest.NewRecorder()
				handler.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, path, nil))
				if answer.Code != want {
					t.Errorf("%s answered %d, want %d", path, answer.Code, want)
				}
				if path == "/metrics" && !strings.Contains(answer.Body.String(), test.holds) {
					t.Errorf("%s says nothing of %q:\n%s", path, test.holds, answer.Body)
				}
			}
		})
	}
	if err := Watch(t.Context(), map[string]string{}); err == nil || !strings.Contains(err.Error(), "MONITOR_URL is not set") {
		t.Errorf("without an address: %v", err)
	}
}

type silent struct{}

func (silent) Varz(*server.VarzOptions) (*server.Varz, error) { return nil, errors.New("no figures") }
func (silent) Jsz(*server.JSzOptions) (*server.JSInfo, error) { return nil, errors.New("no figures") }

func TestMetricsSayWhenThereAreNone(t *testing.T) {
	err := testutil.CollectAndCompare(newCollector(silent{}), strings.NewReader(""))
	if err == nil || !strings.Contains(err.Error(), "no figures") {
		t.Errorf("collecting = %v, want the server's error", err)
	}
}

func TestAdmin(t *testing.T) {
	srv := startTest(t, t.TempDir())
	admin := newAdmin(srv, http.NotFoundHandler())
	get := func(path string) int {
		w := httptest.NewRecorder()
		admin.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		return w.Code
	}
	for _, path := range []string{"/healthz", "/readyz", "/debug/pprof/"} {
		if code := get(path); code != http.StatusOK {
			t.Errorf("%s: %d", path, code)
		}
	}
	srv.Shutdown()
	if code := get("/readyz"); code != http.StatusServiceUnavailable {
		t.Errorf("/readyz of a server that is down: %d", code)
	}
}

func TestAdminPublishes(t *testing.T) {
	srv := startTest(t, t.TempDir())
	js := connect(t, srv)
	stream, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders.>"}})
	if err != nil {
		t.Fatal(err)
	}
	admin := newAdmin(srv, http.NotFoundHandler())
	for path, want := range map[string]int{"/messages/orders.shipped": 200, "/messages/nobody.listens": 502, "/messages/": 404} {
		answer := httptest.NewRecorder()
		admin.ServeHTTP(answer, httptest.NewRequest(http.MethodPost, path, strings.NewReader("{half")))
		if answer.Code != want {
			t.Errorf("%s: %d, want %d: %s", path, answer.Code, want, answer.Body)
		}
	}
	stored, err := stream.GetMsg(t.Context(), 1)
	if err != nil || stored.Subject != "orders.shipped" || string(stored.Data) != "{half" {
		t.Errorf("stored %+v, %v", stored, err)
	}
}

func TestStartRefuses(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := strconv.Itoa(taken.Addr().(*net.TCPAddr).Port)
	for _, c := range []struct{ name, port, want string }{
		{"a port that is taken", port, "address already in use"},
		{"no port", "", `reading PORT: "" is not a port`},
		{"no number", "nats", `reading PORT: "nats" is not a port`},
		{"too large", "70000", `reading PORT: "70000" is not a port`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := start(t.Context(), "", c.port, t.TempDir(), quiet); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("start = %v, want %q", err, c.want)
			}
		})
	}
}

func TestStartFailsAtOnceWhenItsFolderIsNone(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), startWithin/2)
	defer cancel()
	_, err := start(ctx, "", "0", file, quiet)
	if err == nil || errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "starting nats server: ") {
		t.Errorf("start = %v", err)
	}
}

func TestStartEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := start(ctx, "", "0", t.TempDir(), quiet); !errors.Is(err, context.Canceled) {
		t.Errorf("start = %v", err)
	}
}

func TestDataDir(t *testing.T) {
	kept := t.TempDir()
	dir, remove, err := dataDir(kept)
	if err != nil || dir != filepath.Join(kept, "jetstream") {
		t.Fatalf("data dir = %q, %v", dir, err)
	}
	if err := remove(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(kept); err != nil {
		t.Errorf("the given folder is gone: %v", err)
	}
	passing, remove, err := dataDir(":memory:")
	if err != nil {
		t.Fatal(err)
	}
	if err := remove(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(passing); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the passing folder is still there: %v", err)
	}
}

func TestRunServesUntilItsContextEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	admin := freePort(t)
	go func() {
		ended <- Run(ctx, map[string]string{"PORT": freePort(t), "ADMIN_PORT": admin, "DATA_DIR": t.TempDir()})
	}()
	body := poll(t, "http://127.0.0.1:"+admin+"/metrics", ended)
	if !strings.Contains(body, "broker_connections 0") {
		t.Errorf("metrics have no connections: %.500s", body)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("run = %v", err)
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return strconv.Itoa(listener.Addr().(*net.TCPAddr).Port)
}

// poll asks until there is an answer, or the server has ended.
func poll(t *testing.T, url string, ended <-chan error) string {
	t.Helper()
	for {
		select {
		case err := <-ended:
			t.Fatalf("ended early: %v", err)
		default:
		}
		resp, err := http.Get(url)
		if err != nil {
			continue
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(body)
	}
}
