package embedded

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

func TestRulesRefused(t *testing.T) {
	tests := []struct {
		name, rules string
		want        []string
	}{
		{"not YAML", "groups: [", []string{"alert rules: yaml: line 1"}},
		{"an unknown field", "groups:\n- name: g\n  rulez: []\n", []string{"line 3: field rulez not found"}},
		{"two mistakes at once", `groups:
- name: g
  rules:
  - alert: High
    expr: sum(rate(x[5s])) by
  - alert: Low
    expr: nonsense(x)
`, []string{`5:11: group "g", rule 1, "High": could not parse expression`, `7:11: group "g", rule 2, "Low": could not parse expression`, `unknown function with name "nonsense"`}},
		{"a group twice", "groups: [{name: g}, {name: g}]", []string{`groupname: "g" is repeated in the same file`}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b, err := Start(t.Context(), Config{Dir: t.TempDir(), Rules: []byte(test.rules)})
			if err == nil {
				closeBackend(t, b)
				t.Fatal("want an error")
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error:\n%v\nwant %q in it", err, want)
				}
			}
		})
	}
}

// told collects what OnAlert is told.
type told struct {
	mu     sync.Mutex
	alerts []Alert
}

func (l *told) tell(a Alert) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.alerts = append(l.alerts, a)
}

func (l *told) all() []Alert {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.alerts)
}

func (l *told) states(name string) string {
	var states []string
	for _, a := range l.all() {
		if a.Name == name {
			states = append(states, a.State)
		}
	}
	return strings.Join(states, " ")
}

const alertRules = `
groups:
- name: lab
  interval: 1h  # the backend's own pace counts
  rules:
  - record: queue:max
    expr: max(queue)
  - alert: QueueFull
    expr: queue:max > 10
    for: 300ms
    labels: {severity: page}
    annotations: {summary: "depth is {{ $value }}"}
  - alert: QueueNotEmpty
    expr: queue > 0
  - alert: Patient
    expr: queue > 10
    for: 1h
`

func TestAlerts(t *testing.T) {
	lab := prometheus.NewRegistry()
	queue := prometheus.NewGauge(prometheus.GaugeOpts{Name: "queue"})
	lab.MustRegister(queue)
	var log told
	b := startBackend(t, Config{Lab: lab, Rules: []byte(alertRules), OnAlert: log.tell})
	wantValue(t, b.Archive(), "queue:max", 0)
	if got := log.all(); len(got) != 0 {
		t.Fatalf("told of %v while nothing is wrong", got)
	}
	begin := time.Now()
	queue.Set(20)
	wantStates := func(name, want string) {
		t.Helper()
		eventually(t, func() string {
			if got := log.states(name); got != want {
				return fmt.Sprintf("%s was %q, want %q", name, got, want)
			}
			return ""
		})
	}
	wantStates("QueueNotEmpty", "firing")
	wantStates("QueueFull", "pending firing")
	wantStates("Patient", "pending")
	wantValue(t, b.Archive(), `ALERTS{alertname="QueueFull",alertstate="firing",severity="page"}`, 1)
	queue.Set(0)
	wantStates("QueueNotEmpty", "firing resolved")
	wantStates("QueueFull", "pending firing resolved")
	wantStates("Patient", "pending resolved")
	eventually(t, func() string {
		if _, ok := value(t, b.Archive(), `ALERTS{alertname="QueueFull"}`); ok {
			return "the series of a resolved alert goes on"
		}
		return ""
	})

	var full []Alert
	for _, a := range log.all() {
		if a.Name == "QueueFull" {
			full = append(full, a)
		}
	}
	pending, firing, resolved := full[0], full[1], full[2]
	if firing.Labels["severity"] != "page" || firing.Labels["alertname"] != "" || firing.Annotations["summary"] != "depth is 20" {
		t.Errorf("firing = %+v", firing)
	}
	if pending.Since.Before(begin.Add(-time.Second)) || firing.Since.Sub(pending.Since) < 300*time.Millisecond || !resolved.Since.After(firing.Since) {
		t.Errorf("pending since %v, firing since %v, resolved since %v", pending.Since, firing.Since, resolved.Since)
	}
}
