package run

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/faultline-lab/faultline/loadgen"
	"github.com/faultline-lab/faultline/observability/remote"
)

// What Tempo has comes into the record, some questions at a time; what it does not have counts as lost.
func TestTracesOfAStack(t *testing.T) {
	var underWay, most atomic.Int64
	together := make(chan struct{})
	once := sync.OnceFunc(func() { close(together) })
	tempo := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		now := underWay.Add(1)
		defer underWay.Add(-1)
		most.Store(max(most.Load(), now))
		if now == tracesAtOnce {
			once()
		}
		select {
		case <-together: // so many are asked for at once
		case <-r.Context().Done():
		}
		if strings.HasSuffix(r.URL.Path, "7") {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		_, _ = w.Write(protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), []byte("spans")))
	}))
	defer tempo.Close()
	var recorded atomic.Int64
	own := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/traces" {
			recorded.Add(1)
		}
	}))
	defer own.Close()

	f := &feed{client: remote.New(remote.Config{Tempo: tempo.URL}), tempo: true, told: map[string]bool{}}
	defer f.client.Close()
	for i := range 20 { // of which 7 and 17 are not there
		f.result(loadgen.Result{TraceID: fmt.Sprintf("%032d", i)})
	}
	f.takeTraces(t.Context(), own.URL)
	if recorded.Load() != 18 || f.lost.SpansDropped != 2 || most.Load() > tracesAtOnce {
		t.Errorf("%d recorded, %d lost, %d at once; want 18, 2 and at most %d", recorded.Load(), f.lost.SpansDropped, most.Load(), tracesAtOnce)
	}
}
