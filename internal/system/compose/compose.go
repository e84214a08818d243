// Package compose owns how a system runs as containers: which container each
// replica is, on which port the proxy process stands for each edge, and what
// compose.yaml says of it; and starting, changing, killing and watching those
// containers through the engine's own command line (docker compose), so that
// contexts, remote engines and rootless ones work as they do for their user.
//
// It knows the system file and the engine: not faults, load or telemetry.
package compose

//go:generate go test . -run TestGenerated -update

import (
	"encoding/json"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/faultline-lab/faultline/chaos"
	"github.com/faultline-lab/faultline/chaos/proxy"
	"github.com/faultline-lab/faultline/internal/system"
	"github.com/faultline-lab/faultline/observability/embedded"
)

// The ports within the network of the stack. Every container has an address of
// its own, so all services may have the same.
const (
	MainPort      = 8080
	AdminPort     = 8081
	ProxyAPIPort  = 8474
	FirstEdgePort = 20000 // of the proxy container; one for each edge and replica, counted on
)

// ProxyHost is the name of the proxy container.
const ProxyHost = "proxy"

// Labels of containers, by which the lab finds them and knows what it may do to them.
const (
	ServiceLabel = "faultline.service" // the service of the system that it is a replica of
	SystemLabel  = "faultline.system"  // of the proxy's container: which system the stack runs
	ReplicaLabel = "faultline.replica" // counted from 1
	ReadyLabel   = "faultline.ready"   // path of its health check on the admin port, where that is not the system file's
	ChaosLabel   = "faultline.chaos"   // "allowed": the lab may kill, pause and restart it
)

// ChaosAllowed is what ChaosLabel says of a container that the lab may break.
const ChaosAllowed = "allowed"

// Containers lists every replica of every service in the order of the system
// file, with its addresses within the stack.
func Containers(sys *system.System) []system.Instance {
	var out []system.Instance
	for _, svc := range sys.Services {
		for replica := 1; replica <= max(1, svc.Replicas); replica++ {
			name := system.InstanceName(svc, replica)
			out = append(out, system.Instance{
				Service: svc.Name, Replica: replica, Name: name,
				Addr: at(name, MainPort), AdminAddr: at(name, AdminPort),
			})
		}
	}
	return out
}

func at(host string, port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }

// Edge is the proxy of one edge and replica of its callee.
type Edge struct {
	chaos.Edge
	Replica  int    // of the callee
	Port     int    // where it listens, in the proxy container
	Upstream string // the replica's main port
}

// Addr is where it is reached within the stack.
func (e Edge) Addr() string { return at(ProxyHost, e.Port) }

// Edges lists the proxies of a system's edges, the load's to its entry first. The
// order, and with it the ports, follow from the system file alone.
func Edges(sys *system.System) []Edge {
	containers := Containers(sys)
	var out []Edge
	for _, edge := range sys.Edges() {
		for _, c := range containers {
			if c.Service == edge.Callee {
				out = append(out, Edge{Edge: edge, Replica: c.Replica, Port: FirstEdgePort + len(out), Upstream: c.Addr})
			}
		}
	}
	return out
}

// Addrs returns where a caller reaches the replicas of a callee.
func Addrs(edges []Edge, caller, callee string) []string {
	var out []string
	for _, e := range edges {
		if e.Caller == caller && e.Callee == callee {
			out = append(out, e.Addr())
		}
	}
	return out
}

// Environment is what a container gets besides telemetry, policies and where to listen,
// which is the same for all.
func Environment(sys *system.System, c system.Instance) map[string]string {
	svc := sys.Service(c.Service)
	edges := Edges(sys)
	env := map[string]string{
		"REPLICA":                  strconv.Itoa(c.Replica),
		"OTEL_SERVICE_NAME":        c.Service,
		"OTEL_RESOURCE_ATTRIBUTES": "service.instance.id=" + c.Name,
	}
	for _, callee := range svc.Calls {
		env[system.AddressVariable(callee)] = strings.Join(Addrs(edges, svc.Name, callee), ",")
	}
	if svc.Capacity != nil {
		env["CAPACITY"] = svc.Capacity.JSON()
	}
	if svc.Store {
		env["DATABASE_URL"] = DatabaseURL(svc.Name)
	}
	for key, value := range svc.Env {
		env[key] = value
	}
	return env
}

// DatabaseURL is a service's database: each has its own, which its replicas share. The
// password is no secret: the server is reached from within the stack only, and its data goes with it.
func DatabaseURL(service string) string {
	return fmt.Sprintf("postgres://shop:shop@postgres:5432/%s?sslmode=disable", Database(service))
}

// Database is the name of a service's database.
func Database(service string) string { return strings.ReplaceAll(service, "-", "_") }

// ProxyFile is the proxies of a system in the format of Toxiproxy's own
// configuration file.
func ProxyFile(sys *system.System) ([]byte, error) {
	type entry struct {
		Name     string `json:"name"`
		Listen   string `json:"listen"`
		Upstream string `json:"upstream"`
	}
	var list []entry
	for _, e := range Edges(sys) {
		list = append(list, entry{proxy.Name(e.Edge, e.Replica), at("0.0.0.0", e.Port), e.Upstream})
	}
	text, err := json.MarshalIndent(list, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("writing the proxies of %s: %w", sys.Name, err)
	}
	return append(text, '\n'), nil
}

// DatabaseFile is the SQL that makes the databases of a system's stores.
func DatabaseFile(sys *system.System) []byte {
	var out strings.Builder
	out.WriteString("-- generated: the databases of " + sys.Name + ", one for each service with a store\n")
	for _, svc := range sys.Services {
		if svc.Store && !foreign(svc) {
			fmt.Fprintf(&out, "CREATE DATABASE %s OWNER shop;\n", Database(svc.Name))
		}
	}
	return []byte(out.String())
}

// foreign tells whether the stack runs somebody else's program for a service: the broker is the
// real NATS there, and its entry in compose.yaml is written by hand.
func foreign(svc *system.Service) bool { return svc.Protocol == "tcp" }

// metricsOf is where a foreign service's metrics are: it knows nothing of them, and a container of ours beside it does.
func metricsOf(service string) string { return at(service+"-metrics", AdminPort) }

// Targets lists what a Prometheus within the stack scrapes, with the lab's labels.
func Targets(sys *system.System) []embedded.Target {
	out := []embedded.Target{{Service: "proxy", Instance: "proxy", URL: "http://" + at(ProxyHost, ProxyAPIPort) + "/metrics"}}
	for _, c := range Containers(sys) {
		svc := sys.Service(c.Service)
		addr := c.Addr
		if svc.Metrics.Port == system.AdminPort {
			addr = c.AdminAddr
		}
		if foreign(svc) {
			addr = metricsOf(c.Name)
		}
		if svc.Metrics.Port != "" {
			out = append(out, embedded.Target{Service: c.Service, Instance: c.Name, URL: "http://" + addr + svc.Metrics.Path})
		}
	}
	return out
}
