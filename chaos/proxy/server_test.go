package proxy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2/toxics"
	"go.uber.org/goleak"
)

// TestMain lets the test binary be the proxy process too, for TestProcess.
func TestMain(m *testing.M) {
	switch os.Getenv("PROXY_TEST_ROLE") {
	case "proxy":
		if err := Main(context.Background(), os.Stdin, os.Stdout, Config{}); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	case "broken":
		os.Exit(7)
	case "leaks": // see ownProcess
		os.Exit(m.Run())
	case "deaf":
		fmt.Println(`{"event":"ready","api":"http://127.0.0.1:1"}`)
		select {}
	}
	goleak.VerifyTestMain(m)
}

// lab is a Server with its API, and helpers that fail the test.
type lab struct {
	*Server
	t   testing.TB
	api *httptest.Server
}

func newLab(t testing.TB, config Config) *lab {
	t.Helper()
	s := NewServer(config)
	l := &lab{Server: s, t: t, api: httptest.NewServer(s.Handler())}
	t.Cleanup(func() {
		l.api.Close()
		_ = s.Close() // tests that make it hang check it themselves
	})
	return l
}

// do calls the API and decodes the answer into out, unless that is nil.
func (l *lab) do(method, path, body string, out any) (int, http.Header) {
	l.t.Helper()
	r, err := http.NewRequest(method, l.api.URL+path, strings.NewReader(body))
	if err != nil {
		l.t.Fatal(err)
	}
	answer, err := l.api.Client().Do(r)
	if err != nil {
		l.t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		l.t.Fatal(err)
	}
	if out != nil {
		if err := json.Unmarshal(text, out); err != nil {
			l.t.Fatalf("%s %s: %s: %v", method, path, text, err)
		}
	}
	return answer.StatusCode, answer.Header
}

// proxy creates a proxy and returns its address.
func (l *lab) proxy(name, upstream string) string {
	l.t.Helper()
	var view proxyView2
	if status, _ := l.do("POST", "/proxies", fmt.Sprintf(`{"name":%q,"upstream":%q}`, name, upstream), &view); status != http.StatusCreated {
		l.t.Fatalf("creating %s: status %d", name, status)
	}
	return view.Listen
}

// proxyView2 is what a client decodes.
type proxyView2 struct {
	Name, Listen, Upstream string
	Enabled                bool
	Toxics                 []struct {
		Name, Type, Stream string
		Toxicity           float64
		Attributes         map[string]any
	}
}

func (l *lab) toxic(proxy, body string) {
	l.t.Helper()
	var answer any
	if status, _ := l.do("POST", "/proxies/"+proxy+"/toxics", body, &answer); status != http.StatusOK {
		l.t.Fatalf("adding %s: status %d, %v", body, status, answer)
	}
}

func (l *lab) traffic(name string) Traffic {
	l.t.Helper()
	for _, t := range l.Traffic() {
		if t.Name == name {
			return t
		}
	}
	l.t.Fatalf("no proxy %s", name)
	return Traffic{}
}

// serve runs handle for each connection to a new listener, until the test ends.
func serve(t testing.TB, handle func(net.Conn)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var open []net.Conn
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, conn)
			mu.Unlock()
			serving.Go(func() {
				defer conn.Close()
				handle(conn)
			})
		}
	})
	t.Cleanup(func() {
		listener.Close()
		mu.Lock()
		for _, conn := range open {
			conn.Close()
		}
		mu.Unlock()
		serving.Wait()
	})
	return listener.Addr().String()
}

func echo(conn net.Conn) { _, _ = io.Copy(conn, conn) }

func dial(t testing.TB, address string) *net.TCPConn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return conn.(*net.TCPConn)
}

// ask sends text over an echoing connection and returns how long the echo took.
func ask(t testing.TB, conn net.Conn, text string) time.Duration {
	t.Helper()
	start := time.Now()
	if _, err := conn.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(text))
	if _, err := io.ReadFull(conn, got); err != nil {
		t.Fatal(err)
	}
	if string(got) != text {
		t.Fatalf("sent %q, got %q", text, got)
	}
	return time.Since(start)
}

// eventually waits until the condition holds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	timeout := time.After(15 * time.Second)
	for !holds() {
		select {
		case <-ticker.C:
		case <-timeout:
			t.Fatalf("it never came true that %s", what)
		}
	}
}

func TestNames(t *testing.T) {
	for _, test := range []struct {
		name    string
		edge    string
		replica int
		ok      bool
	}{
		{"payments->bank#1", "payments->bank", 1, true},
		{"gateway->catalog#12", "gateway->catalog", 12, true},
		{"payments->bank", "", 0, false},
		{"payments->bank#0", "", 0, false},
		{"redis", "", 0, false},
		{"", "", 0, false},
	} {
		edge, replica, ok := ParseName(test.name)
		if ok != test.ok || ok && (edge.String() != test.edge || replica != test.replica || Name(edge, replica) != test.name) {
			t.Errorf("ParseName(%q) = %v, %d, %v", test.name, edge, replica, ok)
		}
	}
}

func TestTrafficIsCountedWhileConnectionsAreOpen(t *testing.T) {
	l := newLab(t, Config{})
	address := l.proxy("a->b#1", serve(t, echo))
	first, second := dial(t, address), dial(t, address)
	ask(t, first, "four")
	ask(t, second, "sixteen bytes...")
	got := l.traffic("a->b#1")
	if got.Accepted != 2 || got.Open != 2 || got.UpstreamBytes != 20 || got.DownstreamBytes != 20 {
		t.Errorf("traffic is %+v", got)
	}
	first.Close()
	eventually(t, "the closed connection is no longer counted", func() bool { return l.traffic("a->b#1").Open == 1 })

	answer, err := http.Get(l.api.URL + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, _ := io.ReadAll(answer.Body)
	for _, want := range []string{
		`faultline_proxy_connections{caller="a",callee="b",replica="1"} 1`,
		`faultline_proxy_bytes{caller="a",callee="b",replica="1",direction="upstream"} 20`,
		"go_goroutines", "toxiproxy_proxy_received_bytes_total",
	} {
		if !bytes.Contains(text, []byte(want)) {
			t.Errorf("the metrics lack %s:\n%s", want, text)
		}
	}
}

func TestPortsAreBelowTheRangeOfOutgoingConnections(t *testing.T) {
	l := newLab(t, Config{})
	_, port, err := net.SplitHostPort(l.proxy("a->b#1", "127.0.0.1:1"))
	if err != nil || len(port) != 5 || port < "20000" || port >= "32000" {
		t.Errorf("the port is %s, %v", port, err)
	}
}

func TestDownRefusesAndComesBackAtTheSamePort(t *testing.T) {
	l := newLab(t, Config{})
	address := l.proxy("a->b#1", serve(t, echo))
	conn := dial(t, address)
	ask(t, conn, "hello")
	l.do("POST", "/proxies/a-%3Eb%231", `{"enabled":false}`, nil)
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("the open connection was not cut")
	}
	if conn, err := net.Dial("tcp", address); err == nil {
		conn.Close()
		t.Error("a connection was accepted")
	}
	if got := l.traffic("a->b#1"); got.Open != 0 || got.Cut != 1 {
		t.Errorf("traffic is %+v", got)
	}
	l.do("POST", "/proxies/a-%3Eb%231", `{"enabled":true}`, nil)
	ask(t, dial(t, address), "back")
}

// stuckReader returns a connection whose client asked for much and reads
// nothing, so that everything on the way to it is full.
func stuckReader(t testing.TB, l *lab, name, address string) *net.TCPConn {
	t.Helper()
	conn := dial(t, address)
	if err := conn.SetReadBuffer(4096); err != nil {
		t.Fatal(err)
	}
	last, same := int64(-1), 0
	eventually(t, "the connection is stuck", func() bool {
		now := l.traffic(name).DownstreamBytes
		if now == last && now > 0 {
			same++
		} else {
			last, same = now, 0
		}
		return same > 10
	})
	return conn
}

// flood writes to each connection until it is closed.
func flood(conn net.Conn) {
	chunk := make([]byte, 32<<10)
	for {
		if _, err := conn.Write(chunk); err != nil {
			return
		}
	}
}

func TestAReaderThatDoesNotReadBlocksNoControlCall(t *testing.T) {
	l := newLab(t, Config{CallWithin: 10 * time.Second})
	address := l.proxy("a->b#1", serve(t, flood))
	stuckReader(t, l, "a->b#1", address)
	start := time.Now()
	l.toxic("a-%3Eb%231", `{"type":"latency","attributes":{"latency":10}}`)
	dial(t, address)
	_, header := l.do("DELETE", "/proxies/a-%3Eb%231/toxics/latency_downstream", "", nil)
	if cut, why := ConnectionsCut(header); cut != 1 || why == "" {
		t.Errorf("%d connections were cut, why: %q; want the stuck one", cut, why)
	}
	l.do("POST", "/proxies/a-%3Eb%231", `{"enabled":false}`, nil)
	if took := time.Since(start); took > 8*time.Second {
		t.Errorf("it took %s", took)
	}
}

// ownProcess runs the test in a process of its own, in which goroutines may be left
// behind. It returns true in there.
func ownProcess(t *testing.T) bool {
	t.Helper()
	if os.Getenv("PROXY_TEST_ROLE") == "leaks" {
		return true
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), "PROXY_TEST_ROLE=leaks")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	return false
}

// plainLatency is Toxiproxy's own latency toxic, to show what it does.
const plainLatency = "plain_latency"

func TestAProxyThatHangsIsReplaced(t *testing.T) {
	if !ownProcess(t) {
		return
	}
	toxics.Register(plainLatency, new(toxics.LatencyToxic))
	l := newLab(t, Config{CallWithin: 300 * time.Millisecond})
	address := l.proxy("a->b#1", serve(t, func(conn net.Conn) {
		word := make([]byte, 4)
		if _, err := io.ReadFull(conn, word); err != nil {
			return
		}
		if string(word) == "much" {
			flood(conn)
			return
		}
		_, _ = conn.Write(word)
		echo(conn)
	}))
	l.toxic("a-%3Eb%231", `{"type":"slow_close","attributes":{"delay":1}}`)
	l.toxic("a-%3Eb%231", `{"type":"latency","name":"bad","attributes":{"latency":1}}`)
	asker := dial(t, address)
	if _, err := asker.Write([]byte("much")); err != nil {
		t.Fatal(err)
	}
	last, same := int64(-1), 0
	eventually(t, "the connection is stuck", func() bool {
		now := l.traffic("a->b#1").DownstreamBytes
		if now != last || now == 0 {
			last, same = now, 0
		}
		same++
		return same > 20
	})

	status, header := l.do("DELETE", "/proxies/a-%3Eb%231/toxics/bad", "", nil)
	if cut, why := ConnectionsCut(header); status != http.StatusNoContent || cut != 1 || !strings.Contains(why, "did not end within 300ms") {
		t.Errorf("status %d, %d connections cut, why: %q; want the removal to hang and the connection to be cut", status, cut, why)
	}
	ask(t, dial(t, address), "ping")
	var view proxyView2
	l.do("GET", "/proxies/a-%3Eb%231", "", &view)
	if len(view.Toxics) != 1 || view.Toxics[0].Type != "slow_close" || !view.Enabled || view.Listen != address {
		t.Errorf("in the place of the proxy that hung stands %+v", view)
	}
	asker.Close() // and with it ends what hung
}

// generous answers each request of four bytes with 20 KB.
func generous(conn net.Conn) {
	request := make([]byte, 4)
	for {
		if _, err := io.ReadFull(conn, request); err != nil {
			return
		}
		if _, err := conn.Write(make([]byte, 20<<10)); err != nil {
			return
		}
	}
}

// TestRemovingEndsWhenClientsCloseDownloads is the worst for Toxiproxy: of
// twenty trials with its own latency, four to nineteen hang.
func TestRemovingEndsWhenClientsCloseDownloads(t *testing.T) {
	if !ownProcess(t) {
		return
	}
	for range 6 {
		l := newLab(t, Config{CallWithin: 30 * time.Second}) // what hangs hangs for good; a busy machine is slow
		address := l.proxy("a->b#1", serve(t, flood))
		stop := impatientClients(address)
		l.toxic("a-%3Eb%231", `{"type":"latency","attributes":{"latency":30,"jitter":10}}`)
		eventually(t, "it flows", func() bool { return l.traffic("a->b#1").Accepted > 60 })
		_, header := l.do("DELETE", "/proxies/a-%3Eb%231/toxics/latency_downstream", "", nil)
		if _, why := ConnectionsCut(header); strings.Contains(why, "did not end") {
			t.Error(why)
		}
		stop()
	}
}

func TestRemovingUnderClosingClientsEndsAndCutsNobody(t *testing.T) {
	l := newLab(t, Config{CallWithin: 30 * time.Second})
	address := l.proxy("a->b#1", serve(t, generous))
	stop := impatientClients(address)
	patient := dial(t, address)
	for range 15 {
		l.toxic("a-%3Eb%231", `{"type":"latency","attributes":{"latency":30,"jitter":10}}`)
		before := l.traffic("a->b#1").Toxics[0].Hits
		eventually(t, "answers were delayed", func() bool { return l.traffic("a->b#1").Toxics[0].Hits > before+10 })
		status, header := l.do("DELETE", "/proxies/a-%3Eb%231/toxics/latency_downstream", "", nil)
		if cut, why := ConnectionsCut(header); status != http.StatusNoContent || cut > 0 {
			t.Errorf("removing answered %d and cut %d connections: %s", status, cut, why)
		}
		if _, err := patient.Write([]byte("more")); err != nil {
			t.Fatalf("the patient client was cut: %v", err)
		}
		if _, err := io.ReadFull(patient, make([]byte, 20<<10)); err != nil {
			t.Fatalf("the patient client was cut: %v", err)
		}
	}
	stop()
}

// impatientClients keep opening connections and closing them with answers under way.
func impatientClients(address string) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var clients sync.WaitGroup
	for range 20 {
		clients.Go(func() {
			for ctx.Err() == nil {
				impatient(address)
			}
		})
	}
	return func() {
		cancel()
		clients.Wait()
	}
}

// impatient asks, waits for a moment only, and closes with the answer under way.
func impatient(address string) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Millisecond))
	_, _ = conn.Write([]byte("more"))
	_, _ = io.ReadFull(conn, make([]byte, 20<<10))
}

func TestNothingIsLostOrReorderedByAddingAndRemoving(t *testing.T) {
	l := newLab(t, Config{})
	address := l.proxy("a->b#1", serve(t, echo))
	conn := dial(t, address)
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	var echoing sync.WaitGroup
	var last atomic.Int64 // the first number of the last chunk; 0 while there is none
	enough := make(chan struct{})
	echoing.Go(func() {
		for i := 1024; last.Load() == 0; i += 1024 {
			select {
			case <-enough:
				last.Store(int64(i)) // before it is sent, so that whoever has it knows
			default:
			}
			if _, err := conn.Write(numbers(i, 1024)); err != nil {
				t.Errorf("sending: %v", err)
				return
			}
		}
	})
	echoing.Go(func() {
		got := make([]byte, 4096)
		for i := 1024; last.Load() == 0 || int64(i) <= last.Load(); i += 1024 {
			if _, err := io.ReadFull(conn, got); err != nil || !bytes.Equal(got, numbers(i, 1024)) {
				t.Errorf("what came at %d is not what was sent: %v", 4*i, err)
				conn.Close() // the sender, too, is to end
				return
			}
		}
	})
	kinds := []string{
		`{"type":"latency","name":"x","stream":%q,"attributes":{"latency":2,"jitter":2}}`,
		`{"type":"slicer","name":"x","stream":%q,"attributes":{"average_size":700,"size_variation":600,"delay":5}}`,
		`{"type":"bandwidth","name":"x","stream":%q,"attributes":{"rate":20000}}`,
		`{"type":"slow_close","name":"x","stream":%q,"attributes":{"delay":2}}`,
		`{"type":"limit_data","name":"x","stream":%q,"attributes":{"bytes":99999999}}`,
	}
	for i := range 6 * len(kinds) {
		l.toxic("a-%3Eb%231", fmt.Sprintf(kinds[i%len(kinds)], []string{"upstream", "downstream"}[i/len(kinds)%2]))
		l.do("DELETE", "/proxies/a-%3Eb%231/toxics/x", "", nil)
	}
	close(enough)
	echoing.Wait()
}

func numbers(from, n int) []byte {
	var out []byte
	for i := range n {
		k := from + i
		out = append(out, byte(k>>24), byte(k>>16), byte(k>>8), byte(k))
	}
	return out
}

// takes checks how long the echo of some bytes takes.
func takes(bytes int, least, most time.Duration) func(*testing.T, *net.TCPConn) {
	return func(t *testing.T, conn *net.TCPConn) {
		if took := ask(t, conn, strings.Repeat("x", bytes)); took < least || took > most {
			t.Errorf("the echo took %s, want %s to %s", took, least, most)
		}
	}
}

// closes checks that the connection is closed after a word, without an answer.
func closes(t *testing.T, conn *net.TCPConn) {
	if _, err := conn.Write([]byte("ping")); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(conn); len(got) > 0 || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}

// lingers checks that the other side learns of the end only later.
func lingers(least time.Duration) func(*testing.T, *net.TCPConn) {
	return func(t *testing.T, conn *net.TCPConn) {
		ask(t, conn, "ping")
		start := time.Now()
		if err := conn.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(conn); err != nil || time.Since(start) < least {
			t.Errorf("the end came after %s, %v", time.Since(start), err)
		}
	}
}

// swallows checks that what is said gets no answer, and the connection stays.
func swallows(t *testing.T, conn *net.TCPConn) {
	if _, err := conn.Write([]byte("ping")); err != nil {
		t.Fatal(err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(300 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	var timeout net.Error
	if _, err := conn.Read(make([]byte, 1)); !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("reading gave %v", err)
	}
}

// closesAt checks that a connection carries so many bytes and no more.
func closesAt(bytes int) func(*testing.T, *net.TCPConn) {
	return func(t *testing.T, conn *net.TCPConn) {
		if _, err := conn.Write(make([]byte, bytes+500)); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(conn); len(got) != bytes || err != nil {
			t.Errorf("got %d bytes, %v", len(got), err)
		}
	}
}

func TestToxicsDoWhatTheySay(t *testing.T) {
	tests := []struct {
		name, toxic string
		check       func(*testing.T, *net.TCPConn)
	}{
		{"latency", `{"type":"latency","attributes":{"latency":200}}`, takes(4, 200*time.Millisecond, 30*time.Second)},
		{"latency upstream", `{"type":"latency","stream":"upstream","attributes":{"latency":200,"jitter":50}}`, takes(4, 150*time.Millisecond, 30*time.Second)},
		{"bandwidth", `{"type":"bandwidth","attributes":{"rate":100}}`, takes(50_000, 450*time.Millisecond, 30*time.Second)},
		{"slicer", `{"type":"slicer","attributes":{"average_size":10,"size_variation":9,"delay":1000}}`, takes(1000, 50*time.Millisecond, 30*time.Second)},
		{"timeout as a black hole", `{"type":"timeout","attributes":{"timeout":0}}`, swallows},
		{"timeout that closes", `{"type":"timeout","stream":"downstream","attributes":{"timeout":100}}`, closes},
		{"limit_data", `{"type":"limit_data","attributes":{"bytes":1500}}`, closesAt(1500)},
		{"slow_close", `{"type":"slow_close","stream":"upstream","attributes":{"delay":300}}`, lingers(300 * time.Millisecond)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			l := newLab(t, Config{})
			address := l.proxy("a->b#1", serve(t, echo))
			l.toxic("a-%3Eb%231", test.toxic)
			test.check(t, dial(t, address))
			eventually(t, "the toxic counted what it did", func() bool { return l.traffic("a->b#1").Toxics[0].Hits > 0 })
			l.do("POST", "/reset", "", nil)
			takes(4, 0, time.Second)(t, dial(t, address))
		})
	}
}

func TestRemovingATimeoutClosesOnlyConnectionsThatLostBytes(t *testing.T) {
	l := newLab(t, Config{})
	address := l.proxy("a->b#1", serve(t, echo))
	idle, loser := dial(t, address), dial(t, address)
	ask(t, idle, "one")
	ask(t, loser, "two")
	l.toxic("a-%3Eb%231", `{"type":"timeout","attributes":{"timeout":0}}`)
	_, _ = loser.Write([]byte("lost"))
	eventually(t, "bytes were swallowed", func() bool { return l.traffic("a->b#1").Toxics[0].Hits > 0 })
	l.do("DELETE", "/proxies/a-%3Eb%231/toxics/timeout_downstream", "", nil)
	ask(t, idle, "still here")
	if _, err := loser.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("reading from the connection that lost bytes gave %v", err)
	}
}

func TestCloseEndsEverything(t *testing.T) {
	l := newLab(t, Config{})
	address := l.proxy("a->b#1", serve(t, echo))
	conn := dial(t, address)
	ask(t, conn, "hello")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("the connection lives on")
	}
}
