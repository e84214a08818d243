package kit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

// running is a service under test.
type running struct {
	main, admin string // host:port
	stop        context.CancelFunc
	done        chan error
}

// start runs a service until the test ends and waits until it answers.
func start(t *testing.T, svc Service, env Env) *running {
	t.Helper()
	r := &running{main: freeAddr(t), admin: freeAddr(t), done: make(chan error, 1)}
	all := Env{"PORT": portOf(r.main), "ADMIN_PORT": portOf(r.admin), "DATA_DIR": ":memory:"}
	for k, v := range env {
		all[k] = v
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	r.stop = cancel
	go func() { r.done <- Run(ctx, svc, all) }()
	t.Cleanup(func() {
		cancel()
		if err, ok := <-r.done; ok && err != nil {
			t.Errorf("%s: %v", svc.Name, err)
		}
	})
	eventually(t, func() error {
		status, body := get(t, "http://"+r.admin+"/readyz")
		if status != http.StatusOK {
			return fmt.Errorf("not ready: %d %s", status, body)
		}
		return nil
	})
	return r
}

// end stops the service and returns what Run returned.
func (r *running) end() error {
	r.stop()
	err := <-r.done
	close(r.done)
	return err
}

// eventually tries until check returns nil, for what happens on real sockets.
func eventually(t *testing.T, check func() error) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(10 * time.Second)
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-limit:
			t.Fatal(err)
		case <-tick.C:
		}
	}
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

func portOf(addr string) string {
	_, port, _ := net.SplitHostPort(addr)
	return port
}

// get returns status 0 when nobody answers.
func get(t *testing.T, url string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(body)
}

// metric returns the value of the one series whose line has all the given parts, or fails.
func (r *running) metric(t *testing.T, parts ...string) float64 {
	t.Helper()
	_, body := get(t, "http://"+r.admin+"/metrics")
	for line := range strings.Lines(body) {
		has := true
		for _, part := range parts {
			has = has && strings.Contains(line, part)
		}
		if has && !strings.HasPrefix(line, "#") {
			fields := strings.Fields(line)
			value, err := strconv.ParseFloat(fields[len(fields)-1], 64)
			if err != nil {
				t.Fatal(err)
			}
			return value
		}
	}
	t.Fatalf("no series with %q in\n%s", parts, body)
	return 0
}

func TestHTTPService(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /things/{id}", func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "thing "+r.PathValue("id")) })
	mux.HandleFunc("POST /things", func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.ReadAll(r.Body); err != nil {
			http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
		}
	})
	mux.HandleFunc("GET /panic", func(http.ResponseWriter, *http.Request) { panic("here") })
	closed, background := false, make(chan struct{})
	r := start(t, Service{Name: "things", Protocol: HTTP, Build: func(ctx context.Context, rt *Runtime) (*Parts, error) {
		return &Parts{
			HTTP:  mux,
			Admin: map[string]http.Handler{"GET /audit": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, rt.Instance) })},
			Background: []func(context.Context) error{func(ctx context.Context) error {
				<-ctx.Done()
				close(background)
				return ctx.Err()
			}},
			Close: func() error { closed = true; return nil },
		}, nil
	}}, Env{"OTEL_RESOURCE_ATTRIBUTES": "service.instance.id=things-2"})

	tests := []struct {
		url    string
		status int
		body   string
	}{
		{r.main + "/things/7", 200, "thing 7"},
		{r.main + "/nothing", 404, "404 page not found\n"},
		{r.main + "/panic", 500, `{"title":"Internal Server Error","status":500,"detail":"internal error"`},
		{r.main + "/readyz", 200, "ok\n"},
		{r.admin + "/healthz", 200, "ok\n"},
		{r.admin + "/audit", 200, "things-2"},
	}
	for _, test := range tests {
		if status, body := get(t, "http://"+test.url); status != test.status || (status != 500 && body != test.body) || !strings.HasPrefix(body, test.body) {
			t.Errorf("%s: got %d %q, want %d %q", test.url, status, body, test.status, test.body)
		}
	}
	resp, err := http.Post("http://"+r.main+"/things", "text/plain", strings.NewReader(strings.Repeat("x", maxBody+1)))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("a body over the limit: %s", resp.Status)
	}
	if n := r.metric(t, "http_server_request_duration_seconds_count", `http_route="/things/{id}"`, `http_response_status_code="200"`); n != 1 {
		t.Errorf("counted %v requests", n)
	}
	if n := r.metric(t, "door_requests_total", `outcome="served"`); n != 4 {
		t.Errorf("the door counted %v requests", n)
	}
	if err := r.end(); err != nil {
		t.Fatal(err)
	}
	<-background
	if !closed {
		t.Error("Close was not called")
	}
}

func TestRunRefuses(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	broken := errors.New("broken")
	good := func(context.Context, *Runtime) (*Parts, error) { return &Parts{}, nil }
	tests := []struct {
		name string
		svc  Service
		env  Env
		want string
	}{
		{"bad settings", Service{Name: "s", Protocol: HTTP, Build: good}, Env{"PORT": "http", "SEED": "-1", "CAPACITY": `{"workers": "many"}`, "RESILIENCE_POLICIES": "{", "DRAIN_TIMEOUT": "5"},
			`running s: PORT: "http" is not a whole number from 0 to 65535
SEED: "-1" is not a whole number from 0 to 18446744073709551615
CAPACITY: reading capacity: json: cannot unmarshal string into Go struct field Capacity.workers of type int
RESILIENCE_POLICIES: reading policies: unexpected EOF
DRAIN_TIMEOUT: "5" is not a duration, such as 5s`},
		{"port in use", Service{Name: "s", Protocol: HTTP, Build: good}, Env{"PORT": portOf(taken.Addr().String())},
			"running s: listen tcp " + taken.Addr().String() + ": bind: address already in use"},
		{"build fails", Service{Name: "s", Protocol: HTTP, Build: func(context.Context, *Runtime) (*Parts, error) { return nil, broken }}, nil,
			"running s: building: broken"},
		{"no such protocol", Service{Name: "s", Protocol: "smtp", Build: good}, nil, `running s: unknown protocol "smtp"`},
		{"a callee without address", Service{Name: "s", Protocol: GRPC, Build: func(_ context.Context, rt *Runtime) (*Parts, error) {
			_, err := rt.GRPC("price-list")
			return nil, err
		}}, nil, "running s: building: no address of price-list: PRICE_LIST_ADDR is not set"},
		{"background fails", Service{Name: "s", Protocol: HTTP, Build: func(context.Context, *Runtime) (*Parts, error) {
			return &Parts{Background: []func(context.Context) error{func(context.Context) error { return broken }}}, nil
		}}, nil, "running s: background work: broken"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			err := Run(t.Context(), test.svc, test.env)
			if err == nil || err.Error() != test.want {
				t.Fatalf("got  %v\nwant %s", err, test.want)
			}
		})
	}
}
