package console

import "github.com/faultline-lab/faultline/internal/report"

// What the page gets. Times are seconds from the start of the load, latencies
// milliseconds; a pointer that is nil was not measured. Names are those of the report's page where
// it has the same, so that both draw with the same code.

// state is everything that a page needs that has just connected.
type state struct {
	Server string    `json:"server"` // tells this server from one that was started before
	Run    *runShape `json:"run"`    // nil while nothing runs
	// Tick is what the page would have got by now.
	Tick *tick `json:"tick,omitempty"`
}

type runShape struct {
	ID       string             `json:"id"`
	Scenario string             `json:"scenario"`
	Variant  string             `json:"variant"`
	About    string             `json:"about"`
	Bench    bool               `json:"bench"`
	Length   float64            `json:"length"`
	Entry    string             `json:"entry"`
	Phases   []report.PagePhase `json:"phases"`
	Policies []policyShape      `json:"policies"`
	Loads    []loadShape        `json:"loads"`
	Services []serviceShape     `json:"services"`
	Edges    []edgeShape        `json:"edges"`
	Buckets  []float64          `json:"buckets"` // upper bounds of the heat map's rows, in ms
}

// policyShape is a policy of an edge or a door, as it is set.
type policyShape struct {
	On     string `json:"on"`
	Policy string `json:"policy"`
	About  string `json:"about"` // its parameters, as JSON
}

type loadShape struct {
	Name  string  `json:"name"`
	About string  `json:"about"`
	SLO   float64 `json:"slo"`
	Open  bool    `json:"open"` // has a rate that can be set
}

type serviceShape struct {
	Name       string `json:"name"`
	About      string `json:"about"`
	Protocol   string `json:"protocol"`
	Replicas   int    `json:"replicas"`
	Workers    int    `json:"workers"`
	QueueLimit int    `json:"queue_limit"`
}

type edgeShape struct {
	Caller string `json:"caller"`
	Callee string `json:"callee"`
	// NoRequests says why faults of single requests cannot act on it; "" where they can.
	NoRequests string `json:"no_requests,omitempty"`
}

// tick is what is new since the one before, and what is now.
type tick struct {
	T        float64                `json:"t"`
	Over     bool                   `json:"over"`
	Loads    map[string]loadTick    `json:"loads"`
	Services map[string]serviceTick `json:"services"`
	Edges    map[string]edgeTick    `json:"edges"`
	Policies []policyTick           `json:"policies"`
	Faults   []faultTick            `json:"faults"`
	Requests []report.PageRequest   `json:"requests"` // new ones that failed or were slow
	Events   []report.PageEvent     `json:"events"`   // new ones
	Logs     []logLine              `json:"logs"`     // new ones
	Trouble  string                 `json:"trouble,omitempty"`
}

// loadTick is a load now, and those of its seconds that have changed.
type loadTick struct {
	Rate float64 `json:"rate"`
	Bins []bin   `json:"bins"`
}

// bin is what became of the journeys that were due in one second.
type bin struct {
	report.PageBin
	Heat []int `json:"heat"` // how many took how long, by bucket
}

type serviceTick struct {
	Busy  *float64 `json:"busy"`  // share of the workers
	Queue *float64 `json:"queue"` // share of the queue
	Up    *float64 `json:"up"`    // replicas that answer
}

type edgeTick struct {
	Rate          *float64 `json:"rate"`
	Errors        *float64 `json:"errors"`
	Rejected      *float64 `json:"rejected"`
	P99           *float64 `json:"p99"`
	Amplification *float64 `json:"amplification"`
}

// policyTick is what a policy says of itself, over all replicas.
type policyTick struct {
	On       string   `json:"on"`
	Policy   string   `json:"policy"`
	State    *float64 `json:"state"`    // the highest of the replicas
	Rejected *float64 `json:"rejected"` // a second
}

type faultTick struct {
	report.PageFault
	Active bool   `json:"active"`
	State  string `json:"state"` // planned | injected | felt | not felt | recovered | not recovered
	Who    string `json:"who"`
	Load   string `json:"load"`
}

type logLine struct {
	T        float64        `json:"t"`
	Severity string         `json:"severity"`
	Service  string         `json:"service"`
	Body     string         `json:"body"`
	Trace    string         `json:"trace,omitempty"`
	More     map[string]any `json:"attributes,omitempty"`
}
