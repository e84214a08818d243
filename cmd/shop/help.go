package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/faultline-lab/faultline/services/bug"
)

const intro = `shop serves a web shop of ten services, made to be watched and broken.

  shop all [--base-port N] [--data DIR]   every service in one process, for a debugger
  shop SERVICE                            one service, set up by its environment
  shop help SERVICE                       what a service takes
  shop bugs                               the seeded bugs that BUG=NAME switches on
  shop version

Services:
`

const environment = `
Environment of every service:
  PORT                          port of the service, on HOST (127.0.0.1); 0 or unset: any that is free
  ADMIN_PORT                    port of /metrics, /healthz, /readyz, /debug/pprof, on 127.0.0.1
  <CALLEE>_ADDR                 host:port of a service that it calls; several, for replicas, by commas
  DATA_DIR                      folder of its SQLite database; unset or ":memory:" keeps nothing
  DATABASE_URL                  PostgreSQL instead: postgres://user:password@host/database
  CAPACITY                      its door, as JSON: {"workers": 16, "queue": 64,
                                "service_time": {"lognormal": {"median": "4ms", "p99": "20ms"}}}
  RESILIENCE_POLICIES           policies of its edges and its door, as JSON:
                                {"payments->bank": [{"timeout": "500ms"}]}
  OTEL_EXPORTER_OTLP_ENDPOINT   where traces and logs go, OTLP over gRPC: http://127.0.0.1:4317
  OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES, OTEL_TRACES_SAMPLER_ARG
  PYROSCOPE_URL                 where profiles go
  SEED, REPLICA                 make its randomness repeatable, and different for each replica
  STORE_DELAY, STORE_READERS    how much of the store's time each statement takes beside its own (0s);
                                connections that may read at once (4)
  DISCOVER                      callees of which the registry at REGISTRY_ADDR names the replicas; with
                                DISCOVER_EVERY (500ms) and DISCOVER_EMPTY (keep; believe)
  DRAIN_TIMEOUT                 how long requests under way may take after SIGTERM (5s)
  BUG                           a bug to go wrong with, on purpose; off by default, see 'shop bugs'
`

const examples = `
Examples:
  shop all --base-port 8000
  curl 127.0.0.1:8000/products/p-17
  curl -d '{"email": "customer-1@example.com", "password": "correct horse"}' \
       -H 'Content-Type: application/json' 127.0.0.1:8000/sessions

  PORT=7001 DATA_DIR=/tmp/catalog shop catalog &
  PORT=7002 CATALOG_ADDR=127.0.0.1:7001 shop recommendations
`

// help explains everything, or one service.
func help(args []string, w io.Writer) error {
	switch {
	case len(args) > 1:
		return misused("help takes one service, got %q", args)
	case len(args) == 1 && args[0] == "all":
		_, err := fmt.Fprint(w, allUsage)
		return err
	case len(args) == 1:
		m := find(args[0])
		if m == nil {
			return unknown(args[0])
		}
		return m.help(w)
	}
	return overview(w)
}

// bugs lists the seeded bugs.
func bugs(w io.Writer) error {
	fmt.Fprint(w, "Bugs that BUG=NAME switches on, one at a time, and the scenario that brings each out:\n")
	for _, b := range bug.Catalog() {
		fmt.Fprintf(w, "\n  %s, in %s\n      %s\n      BUG=%s make scenario NAME=%s\n      breaks the invariant %s\n", b.Name, b.Service, b.About, b.Name, b.Scenario, b.Broken)
	}
	return nil
}

func overview(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprint(table, intro)
	for _, m := range members() {
		fmt.Fprintf(table, "  %s\t%s\t%s\n", m.name, m.protocol, m.about)
	}
	fmt.Fprint(table, "\nNot of the shop:\n")
	for _, m := range []*member{nodeMember(), registryMember(), watcherMember()} {
		fmt.Fprintf(table, "  %s\t%s\t%s\n", m.name, m.protocol, m.about)
	}
	fmt.Fprint(table, environment, examples)
	return table.Flush()
}

func (m *member) help(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintf(table, "shop %s: %s. Speaks %s.\n", m.name, m.about, m.protocol)
	if len(m.calls)+len(m.env) > 0 {
		fmt.Fprint(table, "\nEnvironment of its own:\n")
	}
	for _, callee := range m.calls {
		fmt.Fprintf(table, "  %s\thost:port of %s; required\n", addrVariable(callee), callee)
	}
	for _, variable := range m.env {
		fmt.Fprintf(table, "  %s\t%s\n", variable[0], variable[1])
	}
	fmt.Fprint(table, environment)
	return table.Flush()
}

// addrVariable names the variable that holds a service's addresses.
func addrVariable(service string) string {
	return strings.ToUpper(strings.ReplaceAll(service, "-", "_")) + "_ADDR"
}
