package proxy

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestLease(t *testing.T) {
	tests := []struct {
		name  string
		renew func(l *lease)
		lifts int32
		held  bool
	}{
		{"never taken, never lapses", func(l *lease) { time.Sleep(48 * time.Hour) }, 0, false},
		{"renewed in time, stays", func(l *lease) {
			for range 100 {
				l.renew(3 * time.Second)
				time.Sleep(2 * time.Second)
			}
		}, 0, true},
		{"not renewed, lapses once", func(l *lease) {
			l.renew(3 * time.Second)
			time.Sleep(time.Hour)
		}, 1, false},
		{"taken again, lapses again", func(l *lease) {
			for range 3 {
				l.renew(3 * time.Second)
				time.Sleep(4 * time.Second)
			}
			l.renew(3 * time.Second)
		}, 3, true},
		{"the last ttl counts", func(l *lease) {
			l.renew(time.Hour)
			l.renew(time.Second)
			time.Sleep(2 * time.Second)
		}, 1, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // time.Sleep takes no time in here
				ctx, cancel := context.WithCancel(t.Context())
				l := newLease()
				var lifts atomic.Int32
				go l.keep(ctx, func(context.Context) { lifts.Add(1) })
				test.renew(l)
				synctest.Wait()
				if got := l.state(); lifts.Load() != test.lifts || got.Held != test.held || got.Lapsed != int(test.lifts) {
					t.Errorf("lifted %d times, state %+v; want %d times, held %v", lifts.Load(), got, test.lifts, test.held)
				}
				cancel()
			})
		})
	}
}

// process runs Main, and gives its notices and its end.
type process struct {
	stdin   *io.PipeWriter
	notices chan Notice
	ended   chan error
	api     string
}

func start(t *testing.T, ctx context.Context) *process {
	t.Helper()
	in, stdin := io.Pipe()
	out, stdout := io.Pipe()
	p := &process{stdin: stdin, notices: make(chan Notice, 10), ended: make(chan error, 1)}
	go func() {
		p.ended <- Main(ctx, in, stdout, Config{})
		stdout.Close()
	}()
	go func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			var notice Notice
			if err := json.Unmarshal(lines.Bytes(), &notice); err != nil {
				t.Errorf("%s: %v", lines.Bytes(), err)
			}
			p.notices <- notice
		}
		close(p.notices)
	}()
	t.Cleanup(func() { stdin.Close() })
	ready := p.notice(t)
	if ready.Event != NoticeReady || ready.PID != os.Getpid() || !strings.HasPrefix(ready.API, "http://127.0.0.1:") {
		t.Fatalf("the first notice is %+v", ready)
	}
	p.api = ready.API
	return p
}

func (p *process) notice(t *testing.T) Notice {
	t.Helper()
	select {
	case notice := <-p.notices:
		return notice
	case <-time.After(15 * time.Second):
		t.Fatal("no notice")
		return Notice{}
	}
}

func (p *process) end(t *testing.T) {
	t.Helper()
	select {
	case err := <-p.ended:
		if err != nil {
			t.Errorf("it ended with %v", err)
		}
	case <-time.After(15 * time.Second):
		t.Error("it does not end")
	}
}

func post(t *testing.T, url, body string) string {
	t.Helper()
	answer, err := http.Post(url, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode >= 300 {
		t.Fatalf("posting %s to %s: %d %s, %v", body, url, answer.StatusCode, text, err)
	}
	http.DefaultClient.CloseIdleConnections()
	return string(text)
}

func TestMainEndsWithItsInput(t *testing.T) {
	p := start(t, t.Context())
	p.stdin.Close()
	p.end(t)
}

func TestMainEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	p := start(t, ctx)
	cancel()
	p.end(t)
}

func TestMainSaysThatItsAddressIsTaken(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	err = Main(t.Context(), strings.NewReader(""), io.Discard, Config{Listen: taken.Addr().String()})
	if err == nil || !strings.Contains(err.Error(), "listening for the proxy's api") {
		t.Errorf("got %v", err)
	}
}

func TestALapsedLeaseLiftsEveryFault(t *testing.T) {
	p := start(t, t.Context())
	upstream := serve(t, echo)
	var slow, down proxyView2
	for name, view := range map[string]*proxyView2{"slow": &slow, "down": &down} {
		if err := json.Unmarshal([]byte(post(t, p.api+"/proxies", `{"name":"`+name+`","upstream":"`+upstream+`"}`)), view); err != nil {
			t.Fatal(err)
		}
	}
	post(t, p.api+"/lease", `{"ttl":"10m"}`)
	post(t, p.api+"/proxies/slow/toxics", `{"type":"timeout"}`)
	post(t, p.api+"/proxies/down", `{"enabled":false}`)
	if got := post(t, p.api+"/lease", `{"ttl":"100ms"}`); !strings.Contains(got, `"held":true`) {
		t.Errorf("the lease is %s", got)
	}
	if notice := p.notice(t); notice.Event != NoticeLapsed || notice.Toxics != 1 || notice.Error != "" {
		t.Errorf("the notice is %+v", notice)
	}
	ask(t, dial(t, slow.Listen), "ping")
	ask(t, dial(t, down.Listen), "ping")
	if got := post(t, p.api+"/lease", `{"ttl":"10m"}`); !strings.Contains(got, `"lapsed":1`) {
		t.Errorf("the lease is %s", got)
	}
	p.stdin.Close()
	p.end(t)
}

func TestProcess(t *testing.T) {
	t.Setenv("PROXY_TEST_ROLE", "proxy")
	notices := make(chan Notice, 1)
	p, err := Start(t.Context(), []string{os.Args[0]}, os.Stderr, func(n Notice) { notices <- n })
	if err != nil {
		t.Fatal(err)
	}
	post(t, p.API+"/lease", `{"ttl":"100ms"}`)
	select {
	case notice := <-notices:
		if notice.Event != NoticeLapsed {
			t.Errorf("the notice is %+v", notice)
		}
	case <-time.After(15 * time.Second):
		t.Error("no notice of the lapsed lease")
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.Stop(cancelled); err != nil {
		t.Errorf("stopping gave %v", err)
	}
	<-p.Exited()
}

func TestProcessThatDoesNotStart(t *testing.T) {
	if _, err := Start(t.Context(), nil, nil, nil); err == nil {
		t.Error("no command is an error")
	}
	if _, err := Start(t.Context(), []string{"/does/not/exist"}, nil, nil); err == nil {
		t.Error("no such program is an error")
	}
	t.Setenv("PROXY_TEST_ROLE", "broken")
	_, err := Start(t.Context(), []string{os.Args[0]}, nil, nil)
	if err == nil || !strings.Contains(err.Error(), "before it was ready: exit status 7") {
		t.Errorf("got %v", err)
	}
}

func TestProcessThatDoesNotEndIsKilled(t *testing.T) {
	t.Setenv("PROXY_TEST_ROLE", "deaf")
	var stderr bytes.Buffer
	p, err := Start(t.Context(), []string{os.Args[0]}, &stderr, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := p.Stop(ctx); err == nil || !strings.Contains(err.Error(), "was killed") {
		t.Errorf("stopping gave %v; it wrote %s", err, &stderr)
	}
}
