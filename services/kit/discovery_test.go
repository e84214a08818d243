package kit

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestListed(t *testing.T) {
	for name, c := range map[string]struct {
		believe bool
		answers [][]int // nil is an error
		want    []bool
	}{
		"before the first answer":           {true, nil, []bool{true, true, true}},
		"some":                              {false, [][]int{{1, 3}}, []bool{true, false, true}},
		"numbers that mean nobody here":     {true, [][]int{{2, 4, 0}}, []bool{false, true, false}},
		"an empty one that is not believed": {false, [][]int{{2}, {}}, []bool{false, true, false}},
		"an empty one that is believed":     {true, [][]int{{2}, {}}, []bool{false, false, false}},
		"an error says nothing":             {true, [][]int{{2}, nil}, []bool{false, true, false}},
		"back again":                        {true, [][]int{{}, {1, 2, 3}}, []bool{true, true, true}},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := newListed("backend", 3, c.believe, prometheus.NewPedanticRegistry())
			if err != nil {
				t.Fatal(err)
			}
			changes := 0
			l.onChange(func() { changes++ })
			before, changed := slices.Clone(l.there), 0
			for _, answer := range c.answers {
				if answer == nil {
					l.take(nil, errors.New("away"))
				} else {
					l.take(answer, nil)
				}
				if !slices.Equal(before, l.there) {
					changed++
				}
				before = slices.Clone(l.there)
			}
			if !slices.Equal(l.there, c.want) || changes != changed {
				t.Errorf("there are %v after %d changes told of %d, want %v", l.there, changes, changed, c.want)
			}
			if got, want := testutil.ToFloat64(l.metrics.replicas), strings.Count(fmt.Sprint(c.want), "true"); int(got) != want {
				t.Errorf("the gauge says %v, want %d", got, want)
			}
			if nobody := !slices.Contains(c.want, true); l.nobody() != nobody {
				t.Errorf("nobody is there: %v", l.nobody())
			}
			for i, there := range c.want {
				at, err := l.near(i)
				if l.has(i) != there || (err != nil) != l.nobody() || err == nil && !c.want[at] {
					t.Errorf("replica %d: there %v, near it %d, %v", i, l.has(i), at, err)
				}
			}
		})
	}
}

// TestCallersFollowTheRegistry runs a caller of a backend, over HTTP and gRPC, with a registry that says what the test wants.
func TestCallersFollowTheRegistry(t *testing.T) {
	var says atomic.Value
	says.Store(`{"replicas": [1]}`)
	registry := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/services/backend" {
			t.Errorf("asked for %s", r.URL.Path)
		}
		fmt.Fprint(w, says.Load())
	}))
	defer registry.Close()
	var asked [2]atomic.Int32
	var addrs []string
	for i := range asked {
		backend := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked[i].Add(1) }))
		defer backend.Close()
		addrs = append(addrs, strings.TrimPrefix(backend.URL, "http://"))
	}
	rt, _ := caller(t, Env{
		"REGISTRY_ADDR": strings.TrimPrefix(registry.URL, "http://"), "BACKEND_ADDR": strings.Join(addrs, ","),
		"DISCOVER": "backend", "DISCOVER_EVERY": "5ms", "DISCOVER_EMPTY": "believe",
	})
	client, err := rt.HTTP("backend")
	if err != nil {
		t.Fatal(err)
	}
	get := func() error {
		resp, err := client.Get("http://backend/")
		if err == nil {
			resp.Body.Close()
		}
		return err
	}
	become := func(what string, met func() bool) {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); !met(); {
			if time.Now().After(deadline) {
				t.Fatal("it never became so: " + what)
			}
		}
	}
	become("only the first is asked", func() bool {
		before := asked[1].Load()
		for range 10 {
			if err := get(); err != nil {
				t.Fatal(err)
			}
		}
		return asked[1].Load() == before
	})
	says.Store(`{"replicas": []}`)
	become("nobody is there", func() bool { return errors.Is(get(), errNobody) })
	says.Store(`{"replicas": [2, 1]}`)
	become("both are there", func() bool {
		before := asked[1].Load()
		_, _ = get(), get()
		return asked[1].Load() > before
	})
}
