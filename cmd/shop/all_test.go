package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/faultline-lab/faultline/services"
	"github.com/faultline-lab/faultline/services/kit"
)

// output is written by a program under test and read beside it.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{} // gets a token at each write
}

func newOutput() *output { return &output{more: make(chan struct{}, 1)} }

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	select {
	case o.more <- struct{}{}:
	default:
	}
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// program is a run of shop in this process.
type program struct {
	t              *testing.T
	stdout, stderr *output
	stop           context.CancelFunc
	code           chan int
}

func start(t *testing.T, env kit.Env, args ...string) *program {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	p := &program{t: t, stdout: newOutput(), stderr: newOutput(), stop: stop, code: make(chan int, 1)}
	go func() { p.code <- run(ctx, args, env, p.stdout, p.stderr) }()
	t.Cleanup(stop)
	return p
}

// await waits until the output matches, and returns the match.
func (p *program) await(pattern string) []string {
	p.t.Helper()
	wanted := regexp.MustCompile(pattern)
	for {
		if found := wanted.FindStringSubmatch(p.stdout.String()); found != nil {
			return found
		}
		select {
		case <-p.stdout.more:
		case code := <-p.code:
			p.t.Fatalf("exit code %d before %q was printed\n%s%s", code, pattern, p.stdout, p.stderr)
		}
	}
}

// end stops the program and checks that it ends well.
func (p *program) end() {
	p.t.Helper()
	p.stop()
	if code := <-p.code; code != exitOK {
		p.t.Errorf("exit code %d\n%s", code, p.stderr)
	}
}

func (p *program) call(method, url, token, body string) (code int, answer map[string]any) {
	p.t.Helper()
	req, err := http.NewRequestWithContext(p.t.Context(), method, "http://"+url, strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Idempotency-Key", "k-1")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	if err := json.Unmarshal(data, &answer); err != nil {
		p.t.Fatalf("%s %s answered %d %q", method, url, resp.StatusCode, data)
	}
	return resp.StatusCode, answer
}

func TestAllSellsSomething(t *testing.T) {
	data := t.TempDir()
	p := start(t, kit.Env{}, "all", "--data", data)
	gateway := p.await(`gateway +(127\.0\.0\.1:\d+) +http`)[1]
	bank := p.await(`bank +(127\.0\.0\.1:\d+) +http`)[1]

	code, session := p.call("POST", gateway+"/sessions", "", `{"email": "customer-5@example.com", "password": "correct horse"}`)
	token, _ := session["token"].(string)
	if code != http.StatusOK || token == "" {
		t.Fatalf("session: %d %v", code, session)
	}
	code, page := p.call("GET", gateway+"/products/p-17", "", "")
	if code != http.StatusOK || page["stock"] == nil || page["recommendations"] == nil || page["degraded"] != nil {
		t.Errorf("product: %d %v", code, page)
	}
	code, order := p.call("POST", gateway+"/orders", token, `{"lines": [{"product_id": "p-17", "quantity": 2}], "card": "4242-0000-0000-0001"}`)
	if code != http.StatusCreated || order["state"] != "confirmed" {
		t.Errorf("order: %d %v", code, order)
	}
	code, books := p.call("GET", bank+"/ledger", "", "")
	if captures, _ := books["captures"].([]any); code != http.StatusOK || len(captures) != 1 {
		t.Errorf("ledger: %d %v", code, books)
	}
	p.end()
	for _, file := range []string{"orders/orders.db", "bank/bank.db", "broker/jetstream"} {
		if _, err := os.Stat(filepath.Join(data, file)); err != nil {
			t.Errorf("not kept: %v", err)
		}
	}
}

func TestAllLeavesNothingBehindUnlessAsked(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	p := start(t, kit.Env{}, "all")
	p.await("Ctrl-C ends it")
	p.end()
	if left, err := os.ReadDir(os.TempDir()); err != nil || len(left) > 0 {
		t.Errorf("left in the folder for passing files: %v, %v", left, err)
	}
}

func TestAllEndsWhenOneFails(t *testing.T) {
	p := start(t, kit.Env{"CACHE_TTL": "soon"}, "all")
	if code := <-p.code; code != exitFailed {
		t.Errorf("exit code %d, want %d", code, exitFailed)
	}
	if got := p.stderr.String(); !strings.HasPrefix(got, "shop: running catalog: building: reading CACHE_TTL") {
		t.Errorf("stderr %q", got)
	}
}

func TestOneSaysWhereItIs(t *testing.T) {
	for _, name := range []string{"bank", "catalog", "broker"} {
		t.Run(name, func(t *testing.T) {
			p := start(t, kit.Env{"DATA_DIR": t.TempDir()}, name)
			admin := p.await(`^` + name + ` speaks \w+ at 127\.0\.0\.1:\d+, admin at (127\.0\.0\.1:\d+), ready after \d+ ms\n$`)[1]
			for _, path := range []string{"/healthz", "/readyz", "/metrics", "/debug/pprof/"} {
				resp, err := http.Get("http://" + admin + path)
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
				if resp.StatusCode != http.StatusOK {
					t.Errorf("%s: %s", path, resp.Status)
				}
			}
			p.end()
			if got := p.stderr.String(); got != "" {
				t.Errorf("stderr %q", got)
			}
		})
	}
}

// TestMembersAreThoseOfTheSystemFile holds the binary to shop.yaml.
func TestMembersAreThoseOfTheSystemFile(t *testing.T) {
	data, err := services.FS.ReadFile("shop.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Services map[string]struct {
			Run      []string
			Protocol string
			Calls    []string
		}
	}
	if err := yaml.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	for _, m := range members() {
		svc, ok := file.Services[m.name]
		if !ok {
			t.Errorf("shop.yaml has no %s", m.name)
			continue
		}
		if want := []string{"shop", m.name}; !slices.Equal(svc.Run, want) {
			t.Errorf("%s is run as %q, want %q", m.name, svc.Run, want)
		}
		slices.Sort(svc.Calls)
		calls := slices.Sorted(slices.Values(m.calls))
		if !slices.Equal(svc.Calls, calls) {
			t.Errorf("%s calls %q in shop.yaml and %q here", m.name, svc.Calls, calls)
		}
		if m.protocol != "nats" && m.protocol != svc.Protocol {
			t.Errorf("%s speaks %s in shop.yaml and %s here", m.name, svc.Protocol, m.protocol)
		}
		delete(file.Services, m.name)
	}
	for name := range file.Services {
		t.Errorf("shop.yaml has %s, which shop cannot serve", name)
	}
}

func TestPlaceEnv(t *testing.T) {
	places, err := allot(t.Context(), members(), 7000)
	if err != nil {
		t.Fatal(err)
	}
	given := kit.Env{"PORT": "1", "SEED": "9", "PYROSCOPE_URL": "http://127.0.0.1:4040", "CATALOG_ADDR": "elsewhere:1"}
	got := placeEnv(given, places, places[2], "/data")
	for variable, want := range map[string]string{
		"PORT": "7004", "ADMIN_PORT": "7005", "HOST": "127.0.0.1", "DATA_DIR": filepath.Join("/data", "catalog"), "SEED": "9",
		"OTEL_SERVICE_NAME": "catalog", "CATALOG_ADDR": "127.0.0.1:7004", "GATEWAY_ADDR": "127.0.0.1:7000", "BROKER_ADDR": "127.0.0.1:7020", "PYROSCOPE_URL": "",
	} {
		if got[variable] != want {
			t.Errorf("%s=%s, want %s", variable, got[variable], want)
		}
	}
	if given["PORT"] != "1" {
		t.Error("the given environment was changed")
	}
}

func TestFreePortsAreDifferent(t *testing.T) {
	ports := make([]int, 40)
	if err := freePorts(t.Context(), ports); err != nil {
		t.Fatal(err)
	}
	slices.Sort(ports)
	if distinct := slices.Compact(slices.Clone(ports)); len(distinct) != len(ports) || ports[0] == 0 {
		t.Errorf("ports %v", ports)
	}
}
