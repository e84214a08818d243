// Package chaos owns faults: what kinds there are (Catalog), and bringing one
// about and taking it back on time, always (Controller). The packages below
// it do the work: network/ through Toxiproxy, request/ through layer-7 hops,
// process/ through whoever runs the services, proxy/ is the process that holds
// the proxies and hops.
//
// It knows nothing of scenarios, load or verdicts.
package chaos

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/faultline-lab/faultline/parameter"
)

// Fault is one thing that goes wrong.
type Fault struct {
	ID   string `json:"id"`   // unique within a run; the name given in the scenario
	Kind string `json:"kind"` // a key of the catalog
	// Edges are the edges acted on, for kinds of the network and of requests; Services the services acted on, for process kinds.
	Edges    []Edge           `json:"edges,omitempty"`
	Services []string         `json:"services,omitempty"`
	Replica  int              `json:"replica,omitempty"` // 1-based; 0 means every replica
	Params   parameter.Values `json:"params,omitempty"`
}

// Edge is one service calling another.
type Edge struct {
	Caller string `json:"caller"`
	Callee string `json:"callee"`
}

// String returns the edge as it is written everywhere: caller->callee.
func (e Edge) String() string { return e.Caller + "->" + e.Callee }

// ParseEdge reads "caller->callee".
func ParseEdge(s string) (Edge, error) {
	caller, callee, found := strings.Cut(s, "->")
	if !found || caller == "" || callee == "" || strings.Contains(callee, "->") {
		return Edge{}, fmt.Errorf("%q is not an edge; write it as caller->callee", s)
	}
	return Edge{Caller: caller, Callee: callee}, nil
}

// Effect is the proof that a fault is, or is no longer, felt: one quantity
// measured before and during.
type Effect struct {
	Felt    bool    `json:"felt"`
	Measure string  `json:"measure"` // what was measured, in words: "probe latency of payments->bank"
	Unit    string  `json:"unit"`    // "ms", "errors", "connections", "bytes/s", ""
	Before  float64 `json:"before"`
	During  float64 `json:"during"`
	Detail  string  `json:"detail,omitempty"`
}

// Target names what the fault acts on, for people and labels: "payments->bank",
// "catalog#2", several joined by ", ".
func (f Fault) Target() string {
	targets := slices.Clone(f.Services)
	for _, edge := range f.Edges {
		targets = append(targets, edge.String())
	}
	suffix := ""
	if f.Replica > 0 {
		suffix = "#" + strconv.Itoa(f.Replica)
	}
	return strings.Join(targets, suffix+", ") + suffix
}
