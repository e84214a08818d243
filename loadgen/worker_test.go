package loadgen

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// inProcess runs work with pipes for its stdin and stdout.
type inProcess struct {
	stdin   *io.PipeWriter
	frames  *decoder
	running sync.WaitGroup
	err     error
}

func startInProcess(t *testing.T, ctx context.Context) *inProcess {
	in, stdin := io.Pipe()
	stdout, out := io.Pipe()
	p := &inProcess{stdin: stdin, frames: newDecoder(stdout)}
	p.running.Go(func() {
		p.err = work(ctx, in, out)
		_ = out.Close()
		_ = in.Close()
	})
	t.Cleanup(func() { _ = stdin.Close(); _ = stdout.Close(); p.running.Wait() })
	return p
}

func (p *inProcess) tell(t *testing.T, v any) {
	t.Helper()
	if err := json.NewEncoder(p.stdin).Encode(v); err != nil {
		t.Fatal(err)
	}
}

// until reads messages up to the first of a kind and returns the results before it.
func (p *inProcess) until(t *testing.T, k kind) (rows []Result, m message) {
	t.Helper()
	for {
		m, err := p.frames.next()
		if err != nil {
			t.Fatalf("waiting for a message of kind %d: %v", k, err)
		}
		if m.kind == k {
			return rows, m
		}
		if m.kind != kindResult {
			t.Fatalf("waiting for a message of kind %d: %+v", k, m)
		}
		rows = append(rows, m.result)
	}
}

// earliest is the row that was due first; rows come in the order in which they were done.
func earliest(rows []Result) (first Result) {
	for i, row := range rows {
		if i == 0 || row.Due.Before(first.Due) {
			first = row
		}
	}
	return first
}

func TestWork(t *testing.T) {
	p := startInProcess(t, t.Context())
	p.tell(t, once("http", serve(t, func(http.ResponseWriter, *http.Request) {}), Step{Path: "/"}).at(100*time.Millisecond, 100))
	p.until(t, kindReady)
	at := time.Now().Add(50 * time.Millisecond)
	p.tell(t, command{Start: at})
	p.tell(t, command{Start: at.Add(time.Hour)}) // it has begun
	rows, m := p.until(t, kindDone)
	if first := earliest(rows); len(rows) != 10 || m.count != 10 || !first.Due.Equal(at.Round(0)) {
		t.Errorf("%d rows, count %d, start %v, first %+v", len(rows), m.count, at, first)
	}
	_ = p.stdin.Close()
	if p.running.Wait(); p.err != nil {
		t.Error(p.err)
	}
}

func TestWorkStops(t *testing.T) {
	p := startInProcess(t, t.Context())
	share := once("http", serve(t, func(http.ResponseWriter, *http.Request) {}), Step{Path: "/"}).at(time.Minute, 100)
	share.Start = time.Now()
	p.tell(t, share)
	p.until(t, kindReady)
	p.until(t, kindResult)
	p.tell(t, command{Stop: true})
	p.until(t, kindDone)
}

func TestWorkStopsBeforeItsStart(t *testing.T) {
	p := startInProcess(t, t.Context())
	p.tell(t, once("http", "127.0.0.1:80", Step{Path: "/"}))
	p.until(t, kindReady)
	p.tell(t, command{Stop: true})
	if rows, _ := p.until(t, kindDone); len(rows) != 0 {
		t.Errorf("rows %+v", rows)
	}
}

// TestWorkEndsWithStdin has a request that would take an hour.
func TestWorkEndsWithStdin(t *testing.T) {
	asked := make(chan struct{}, 100)
	addr := serve(t, func(_ http.ResponseWriter, r *http.Request) { asked <- struct{}{}; <-r.Context().Done() })
	p := startInProcess(t, t.Context())
	share := once("http", addr, Step{Path: "/"}).at(time.Minute, 10)
	share.Start, share.Drain, share.Loads[0].Timeout = time.Now(), time.Hour, time.Hour
	p.tell(t, share)
	p.until(t, kindReady)
	<-asked
	_ = p.stdin.Close()
	rows, _ := p.until(t, kindDone)
	if len(rows) == 0 || earliest(rows).Error != ErrorCutOff {
		t.Errorf("rows %+v", rows)
	}
}

func TestWorkIsInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	p := startInProcess(t, ctx)
	share := once("http", serve(t, func(http.ResponseWriter, *http.Request) {}), Step{Path: "/"}).at(time.Minute, 100)
	share.Start = time.Now()
	p.tell(t, share)
	p.until(t, kindReady)
	cancel()
	if _, m := p.until(t, kindFailed); m.text != "interrupted" {
		t.Errorf("said %q", m.text)
	}
	_ = p.stdin.Close()
	if p.running.Wait(); p.err == nil || p.err.Error() != "interrupted" {
		t.Errorf("error %v", p.err)
	}
}

func TestWorkRefuses(t *testing.T) {
	for name, test := range map[string]struct{ stdin, want string }{
		"nothing":     {"", "reading the share: EOF"},
		"not JSON":    {"go", "reading the share: invalid character 'g' looking for beginning of value"},
		"a bad share": {"{}", "there is no load"},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			err := work(t.Context(), strings.NewReader(test.stdin), &out)
			messages, _ := decodeAll(&out)
			if err == nil || err.Error() != test.want || len(messages) != 1 || messages[0].text != test.want {
				t.Errorf("error %v, messages %+v; want %s", err, messages, test.want)
			}
		})
	}
}

type fullPipe struct{}

func (fullPipe) Write([]byte) (int, error) { return 0, errors.New("nobody reads") }

func TestWorkWithoutAReader(t *testing.T) {
	share, err := json.Marshal(once("http", "127.0.0.1:80", Step{Path: "/"}))
	if err != nil {
		t.Fatal(err)
	}
	if err := work(t.Context(), bytes.NewReader(share), fullPipe{}); err == nil || !strings.Contains(err.Error(), "reporting: nobody reads") {
		t.Errorf("error %v", err)
	}
}

// process starts this test binary as a worker.
func process(t *testing.T, ctx context.Context, what string, share Share, sink func(Result)) (*Worker, error) {
	t.Helper()
	t.Setenv(processEnv, what)
	return Start(ctx, []string{os.Args[0]}, share, sink)
}

func TestProcessThatDoesNotStop(t *testing.T) {
	share := once("http", "127.0.0.1:80", Step{Path: "/"})
	share.Drain = time.Millisecond
	t.Setenv(processEnv, "mute")
	w, err := start(t.Context(), []string{os.Args[0]}, share, nil, 100*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	w.Stop()
	if err := w.Wait(); err == nil || err.Error() != "load worker: it did not stop within 101ms and was killed" {
		t.Errorf("error %v", err)
	}
}

// TestProcessThatDoesNotExit has a worker that says it is done and stays.
func TestProcessThatDoesNotExit(t *testing.T) {
	t.Setenv(processEnv, "stays")
	w, err := start(t.Context(), []string{os.Args[0]}, once("http", "127.0.0.1:80", Step{Path: "/"}), nil, 100*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Wait(); err == nil || err.Error() != "load worker: it ended before its load did: signal: killed" {
		t.Errorf("error %v", err)
	}
}

func TestProcess(t *testing.T) {
	var rows []Result
	share := once("http", serve(t, func(http.ResponseWriter, *http.Request) {}), Step{Path: "/"}).at(200*time.Millisecond, 100)
	w, err := process(t, t.Context(), "worker", share, func(r Result) { rows = append(rows, r) })
	if err != nil {
		t.Fatal(err)
	}
	at := time.Now().Add(20 * time.Millisecond)
	w.Begin(at)
	if err := errors.Join(w.Wait(), w.Wait()); err != nil {
		t.Fatal(err)
	}
	if first := earliest(rows); len(rows) != 20 || !first.Due.Equal(at.Round(0)) {
		t.Errorf("%d rows, start %v, first %+v", len(rows), at, first)
	}
	for _, row := range rows {
		if !row.OK {
			t.Errorf("row %+v", row)
		}
	}
}

func TestProcessIsStopped(t *testing.T) {
	for name, stop := range map[string]func(w *Worker, cancel func()){
		"by Stop": func(w *Worker, _ func()) { w.Stop(); w.Stop() },
		"by ctx":  func(_ *Worker, cancel func()) { cancel() },
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			share := once("http", serve(t, func(http.ResponseWriter, *http.Request) {}), Step{Path: "/"}).at(time.Minute, 100)
			share.Start = time.Now()
			first := make(chan struct{})
			var once sync.Once
			w, err := process(t, ctx, "worker", share, func(Result) { once.Do(func() { close(first) }) })
			if err != nil {
				t.Fatal(err)
			}
			<-first
			stop(w, cancel)
			if err := w.Wait(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestProcessIsAbandoned has requests that would take an hour.
func TestProcessIsAbandoned(t *testing.T) {
	asked := make(chan struct{}, 100)
	addr := serve(t, func(_ http.ResponseWriter, r *http.Request) { asked <- struct{}{}; <-r.Context().Done() })
	share := once("http", addr, Step{Path: "/"}).at(time.Minute, 10)
	share.Start, share.Drain, share.Loads[0].Timeout = time.Now(), time.Hour, time.Hour
	var rows []Result
	w, err := process(t, t.Context(), "worker", share, func(r Result) { rows = append(rows, r) })
	if err != nil {
		t.Fatal(err)
	}
	<-asked
	w.Abandon()
	w.Abandon()
	if err := w.Wait(); err != nil {
		t.Error(err)
	}
	if len(rows) == 0 || earliest(rows).Error != ErrorCutOff {
		t.Errorf("rows %+v", rows)
	}
	w.Abandon() // too late, and without harm
}

func TestProcessIsKilled(t *testing.T) {
	share := once("http", serve(t, func(http.ResponseWriter, *http.Request) {}), Step{Path: "/"}).at(time.Minute, 100)
	share.Start = time.Now()
	var count atomic.Int64
	first := make(chan struct{})
	w, err := process(t, t.Context(), "worker", share, func(Result) {
		if count.Add(1) == 1 {
			close(first)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	<-first
	if err := syscall.Kill(w.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := w.Wait(); err == nil || err.Error() != "load worker: it ended before its load did: signal: killed" {
		t.Errorf("error %v", err)
	}
	w.Stop()
	w.Begin(time.Now()) // too late, and without harm
}

func TestProcessDoesNotStart(t *testing.T) {
	share := once("http", "127.0.0.1:80", Step{Path: "/"})
	reflectionless := once("grpc", serveGRPC(t, &testService{}, false), Step{RPC: unaryCall})
	tests := map[string]struct {
		what  string
		share Share
		want  string
	}{
		"a worker that dies":    {"dies", share, "load worker: it ended before its load did: exit status 7; its last lines were:\nthe first line\nsomething broke"},
		"another program":       {"prints", share, `load worker: reading its results: "usage: program [f" is not what a load worker says`},
		"a share that is wrong": {"worker", Share{}, "there is no load"},
		"a share that fails":    {"worker", reflectionless, `load worker: load "browse": service "shop": asking `},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := process(t, t.Context(), test.what, test.share, nil)
			if err == nil || !strings.HasPrefix(err.Error(), test.want) {
				t.Errorf("got error %v\nwant %s", err, test.want)
			}
		})
	}
	for name, argv := range map[string][]string{"no command": nil, "no such program": {"/no/such/program"}} {
		if _, err := Start(t.Context(), argv, share, nil); err == nil || !strings.HasPrefix(err.Error(), "starting the load worker: ") {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func TestProcessIsStoppedWhilePreparing(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer time.AfterFunc(100*time.Millisecond, cancel).Stop()
	began := time.Now()
	_, err := process(t, ctx, "worker", once("grpc", unusedAddr(t), Step{RPC: unaryCall}), nil)
	if err == nil || err.Error() != "starting the load worker: context canceled" || time.Since(began) > killAfter {
		t.Errorf("after %v: error %v", time.Since(began), err)
	}
}

func TestLastLines(t *testing.T) {
	var l lastLines
	if got := l.String(); got != "" {
		t.Errorf("nothing is %q", got)
	}
	for range 1000 {
		_, _ = l.Write([]byte("a line that is not the last\n"))
	}
	_, _ = l.Write([]byte("one\ntwo\n"))
	if got := l.String(); !strings.HasSuffix(got, "last\none\ntwo") || strings.Count(got, "\n") != keepLines-1 || len(l.text) > keepBytes {
		t.Errorf("kept %q", got)
	}
}
