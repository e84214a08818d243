// Package system owns the description of the system under test: its services,
// the edges between them, its journeys and probes, as read from a system file;
// and what it takes to run one (Launcher). The packages below it start a system:
// local/ as processes of this machine.
//
// It knows nothing of scenarios, faults or verdicts.
package system

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/faultline-lab/faultline/chaos"
	"github.com/faultline-lab/faultline/loadgen"
	"github.com/faultline-lab/faultline/parameter"
)

// System is a checked system file.
type System struct {
	Name     string                    `json:"name"`
	About    string                    `json:"about,omitempty"`
	Entry    string                    `json:"entry"`             // the service that load calls by default
	Observe  string                    `json:"observe,omitempty"` // who measures the edges: services, also when empty, or proxy
	Services []*Service                `json:"services"`
	Journeys map[string][]loadgen.Step `json:"journeys,omitempty"`
	Probes   Probes                    `json:"probes"`
	// Settings are variables of the environment that whoever runs the lab may set.
	Settings []Setting `json:"settings,omitempty"`
	// Alerts is the content of the Prometheus rule file that the system file names; nil without one.
	Alerts []byte `json:"-"`
	// Dir is the folder of the system file: relative commands and files start there. Empty for a bundled system.
	Dir string `json:"-"`
}

// Setting is a variable of the environment that whoever runs the lab may set. It goes to every service.
type Setting struct {
	Name    string   `json:"name"`
	About   string   `json:"about,omitempty"`
	Allowed []string `json:"allowed,omitempty"` // its values; empty means any
}

// Check says why a value is none that the setting may have.
func (s Setting) Check(value string) error {
	if len(s.Allowed) == 0 || slices.Contains(s.Allowed, value) {
		return nil
	}
	text := fmt.Sprintf("%s=%s: unknown value", s.Name, value)
	if near := parameter.Nearest(value, s.Allowed); near != "" {
		text += fmt.Sprintf("; did you mean %q", near)
	}
	return fmt.Errorf("%s; permitted: %s", text, strings.Join(s.Allowed, ", "))
}

// Service is one service of a system.
type Service struct {
	Name     string            `json:"name"`
	About    string            `json:"about,omitempty"`
	Run      []string          `json:"run"` // argv, templates: {{port}}, {{admin_port}}, {{addr "orders"}}, {{data_dir}}, {{replica}}
	Env      map[string]string `json:"env,omitempty"`
	Protocol string            `json:"protocol"` // http | grpc | tcp
	Replicas int               `json:"replicas"` // at least 1
	Calls    []string          `json:"calls,omitempty"`
	Capacity *Capacity         `json:"capacity,omitempty"`
	Store    bool              `json:"store,omitempty"` // gets a directory of its own, which outlives a restart within the run
	Health   Health            `json:"health"`
	Metrics  Endpoint          `json:"metrics"` // Port "" means that it has none
}

// HasAdmin tells whether the service is known to serve its admin port: its health or its metrics are there.
func (s *Service) HasAdmin() bool { return s.Health.Port == AdminPort || s.Metrics.Port == AdminPort }

// AdminPort is what an Endpoint's port is called that is not the main one.
const AdminPort = "admin"

// Capacity is the model of a service's door: how many requests it works on at
// once, how many may wait, and how long the work takes at least. Passed to the service as CAPACITY, in JSON.
type Capacity struct {
	Workers     int           `json:"workers"`
	Queue       int           `json:"queue"`
	ServiceTime *Distribution `json:"service_time,omitempty"`
}

// Distribution is one of: constant, exponential (by its mean), lognormal (by its median and p99).
type Distribution struct {
	Constant    time.Duration `json:"constant,omitempty"`
	Exponential time.Duration `json:"exponential,omitempty"`
	Lognormal   *Lognormal    `json:"lognormal,omitempty"`
}

// Lognormal is given by two quantiles.
type Lognormal struct {
	Median time.Duration `json:"median"`
	P99    time.Duration `json:"p99"`
}

// Endpoint is an HTTP address of a service.
type Endpoint struct {
	Port string `json:"port,omitempty"` // main | admin
	Path string `json:"path,omitempty"`
}

// Health says when a service is ready: HTTP 2xx at Path, gRPC health SERVING, or an accepted TCP connection.
type Health struct {
	Check  string        `json:"check"` // http | grpc | tcp
	Port   string        `json:"port"`  // main | admin
	Path   string        `json:"path,omitempty"`
	Within time.Duration `json:"within"` // how long starting may take
}

// Probes are questions that the lab asks the system itself.
type Probes struct {
	Invariants *Probe `json:"invariants,omitempty"`
}

// Probe is an HTTP GET on a service's admin port. The answer to invariants is
// {"violations": [{"invariant": "…", "detail": "…", "keys": ["…"]}], "checked": {"orders": 120}, "settled": true}.
type Probe struct {
	Service string `json:"service"`
	Get     string `json:"get"`
	// Also are services that are asked the same for their own part; what they answer is added.
	Also []string `json:"also,omitempty"`
}

// Service returns the named service, or nil.
func (s *System) Service(name string) *Service {
	for _, svc := range s.Services {
		if svc.Name == name {
			return svc
		}
	}
	return nil
}

// Edges returns every edge, in the order of the file, LoadCaller's edge to the entry first.
func (s *System) Edges() []chaos.Edge {
	edges := []chaos.Edge{{Caller: LoadCaller, Callee: s.Entry}}
	for _, svc := range s.Services {
		for _, callee := range svc.Calls {
			edges = append(edges, chaos.Edge{Caller: svc.Name, Callee: callee})
		}
	}
	return edges
}

// LoadCaller is the name that the load generator has as a caller.
const LoadCaller = "load"
