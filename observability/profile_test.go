package observability

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/pprof/profile"
)

// ingest is a Pyroscope that keeps what it is sent.
type ingest struct {
	mu       sync.Mutex
	queries  []url.Values
	profiles []*profile.Profile
}

func (i *ingest) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	file, _, err := r.FormFile("profile")
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	parsed, err := profile.Parse(file)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.queries = append(i.queries, r.URL.Query())
	i.profiles = append(i.profiles, parsed)
}

func TestProfilesArePushedAtTheLatestOnShutdown(t *testing.T) {
	received := &ingest{}
	server := httptest.NewServer(received)
	defer server.Close()
	tel, err := setup(t.Context(), Config{Service: "orders", Instance: "orders-1", PyroscopeURL: server.URL}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if tel.profiler == nil {
		t.Fatal("no profiler")
	}
	second, err := setup(t.Context(), Config{Service: "bank", PyroscopeURL: server.URL}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if second.profiler != nil {
		t.Error("a second profiler in one process would stop the first")
	}
	if err := second.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := tel.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	received.mu.Lock()
	defer received.mu.Unlock()
	kinds := map[string]bool{}
	for i, p := range received.profiles {
		for _, kind := range p.SampleType {
			kinds[kind.Type] = true
		}
		name := received.queries[i].Get("name")
		if !strings.HasPrefix(name, "orders{") || !strings.Contains(name, "instance=orders-1") {
			t.Errorf("name = %q", name)
		}
	}
	for _, want := range []string{"cpu", "goroutine"} {
		if !kinds[want] {
			t.Errorf("no %s profile among %v", want, kinds)
		}
	}
}

func TestMissingPyroscope(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := "http://" + listener.Addr().String()
	listener.Close()
	var stderr bytes.Buffer
	tel, err := setup(t.Context(), Config{Service: "x", PyroscopeURL: nobody}, &stderr)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := tel.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	if strings.Count(stderr.String(), "\n") > 1 {
		t.Errorf("stderr:\n%s", stderr.String())
	}
}
