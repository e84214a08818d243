package system_test

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/faultline-lab/faultline/chaos"
	"github.com/faultline-lab/faultline/internal/golden"
	"github.com/faultline-lab/faultline/internal/system"
	"github.com/faultline-lab/faultline/loadgen"
)

const rules = "groups: [{name: g, rules: [{alert: HighErrorRate, expr: up}, {record: x, expr: up}, {alert: Slow, expr: up}]}]"

func readRules(name string) ([]byte, error) {
	switch name {
	case "rules.yaml":
		return []byte(rules), nil
	case "broken.yaml":
		return []byte("groups: ["), nil
	}
	return nil, errors.New("no such file")
}

func load(t *testing.T, name string) *system.System {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	sys, err := system.Load(name, data, readRules)
	if err != nil {
		t.Fatal(err)
	}
	return sys
}

func TestLoadServices(t *testing.T) {
	sys := load(t, "plain.yaml")
	want := []*system.Service{
		{
			Name: "front", Run: []string{"python3", "./front.py", "--port", "{{port}}", "--back", `{{addr "back"}}`},
			Env:      map[string]string{"LOG_LEVEL": "debug", "WORKERS": "4", "SELF": "front-{{replica}}"},
			Protocol: "http", Replicas: 1, Calls: []string{"back", "queue"},
			Health:  system.Health{Check: "http", Port: "main", Path: "/ping", Within: 30 * time.Second},
			Metrics: system.Endpoint{Port: "main", Path: "/stats"},
		},
		{
			Name: "back", Run: []string{"./back", "{{admin_port}}", "{{data_dir}}"},
			Protocol: "grpc", Replicas: 2, Calls: []string{"front"}, Store: true,
			Capacity: &system.Capacity{Workers: 4},
			Health:   system.Health{Check: "grpc", Port: "main", Within: 15 * time.Second},
		},
		{
			Name: "queue", Run: []string{"queue"}, Protocol: "tcp", Replicas: 1,
			Capacity: &system.Capacity{Workers: 2, Queue: 8, ServiceTime: &system.Distribution{Exponential: 20 * time.Millisecond}},
			Health:   system.Health{Check: "tcp", Port: "main", Within: 15 * time.Second},
		},
	}
	for i, svc := range sys.Services {
		if !reflect.DeepEqual(svc, want[i]) {
			t.Errorf("got  %+v\nwant %+v", svc, want[i])
		}
	}
	if sys.Service("back") != sys.Services[1] || sys.Service("none") != nil {
		t.Error("Service finds another one, or one that is not there")
	}
	edges := []chaos.Edge{
		{Caller: "load", Callee: "front"}, {Caller: "front", Callee: "back"},
		{Caller: "front", Callee: "queue"}, {Caller: "back", Callee: "front"},
	}
	if !slices.Equal(sys.Edges(), edges) {
		t.Errorf("got %v", sys.Edges())
	}
}

func TestLoadJourneys(t *testing.T) {
	sys := load(t, "plain.yaml")
	want := map[string][]loadgen.Step{
		"look": {{Name: "GET /", Method: "GET", Path: "/"}},
		"buy": {
			{Name: "POST /login", Method: "POST", Path: "/login", Body: `{"user": "u-{{rand 1 9}}"}`, Extract: map[string]string{"token": "session.token"}},
			{
				Name: "buy", Method: "POST", Path: "/orders?key={{uuid}}", Accept: []int{409},
				Headers: map[string]string{"Authorization": "Bearer {{.token}}", "X-Seq": "{{seq}}"},
			},
		},
		"call": {{Name: "shop.v1.Back/Get", RPC: "shop.v1.Back/Get", Body: "{}", Accept: []int{5}}},
	}
	if !reflect.DeepEqual(sys.Journeys, want) {
		t.Errorf("got  %+v\nwant %+v", sys.Journeys, want)
	}
	if got := *sys.Probes.Invariants; !reflect.DeepEqual(got, system.Probe{Service: "back", Get: "/audit", Also: []string{"front"}}) {
		t.Errorf("got %+v", got)
	}
	if string(sys.Alerts) != rules || !slices.Equal(sys.AlertNames(), []string{"HighErrorRate", "Slow"}) {
		t.Errorf("got %q, %q", sys.Alerts, sys.AlertNames())
	}
}

func TestDefaults(t *testing.T) {
	sys := load(t, "defaults.yaml")
	a, b := sys.Services[0], sys.Services[1]
	if a.Health != (system.Health{Check: "http", Port: "admin", Path: "/readyz", Within: 15 * time.Second}) {
		t.Errorf("a: %+v", a.Health)
	}
	if a.Metrics != (system.Endpoint{Port: "admin", Path: "/metrics"}) {
		t.Errorf("a: %+v", a.Metrics)
	}
	if want := map[string]string{"COMMON": "{{port}}", "BOTH": "own"}; !reflect.DeepEqual(a.Env, want) {
		t.Errorf("a: %v", a.Env)
	}
	if b.Health != (system.Health{Check: "tcp", Port: "main", Within: 15 * time.Second}) {
		t.Errorf("b: %+v: a block of its own replaces the default whole", b.Health)
	}
	if b.Metrics != (system.Endpoint{}) {
		t.Errorf("b: %+v", b.Metrics)
	}
}

func TestBadSystems(t *testing.T) {
	golden.Errors(t, "testdata/bad", func(t *testing.T, name string, data []byte) error {
		sys, err := system.Load(name, data, readRules)
		if sys != nil {
			t.Error("a system was returned all the same")
		}
		return err
	})
}

func TestLoadFile(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("rules.yaml", rules)
	path := write("system.yaml", "name: x\nentry: a\nservices: {a: {run: [./a], protocol: http}}\nalerts: rules.yaml\n")
	sys, err := system.LoadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if sys.Dir != dir || len(sys.AlertNames()) != 2 {
		t.Errorf("got %+v", sys)
	}
	if _, err := system.LoadFile(filepath.Join(dir, "none.yaml")); err == nil || !strings.HasPrefix(err.Error(), "reading system: ") {
		t.Errorf("got %v", err)
	}
	if _, err := system.LoadFile(write("bad.yaml", "name: x")); err == nil {
		t.Error("nothing was found wrong")
	}
}

func TestSchemaIsCurrent(t *testing.T) {
	schema, err := system.Schema()
	if err != nil {
		t.Fatal(err)
	}
	golden.Equal(t, "../../services/system.schema.json", string(schema))
}

func FuzzLoad(f *testing.F) {
	for _, pattern := range []string{"testdata/*.yaml", "testdata/bad/*.yaml", "../../services/shop.yaml"} {
		files, _ := filepath.Glob(pattern)
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		sys, err := system.Load("x.yaml", data, readRules)
		if err != nil {
			return
		}
		if sys.Service(sys.Entry) == nil {
			t.Error("there is no entry")
		}
		for _, edge := range sys.Edges() {
			if sys.Service(edge.Callee) == nil {
				t.Errorf("edge %s leads nowhere", edge)
			}
		}
		for name, steps := range sys.Journeys {
			load := loadgen.Load{Name: name, Steps: steps, Stages: []loadgen.Stage{{For: 1, To: 1}}}
			if load.Validate("http") != nil && load.Validate("grpc") != nil {
				t.Errorf("journey %s cannot be sent", name)
			}
		}
	})
}
