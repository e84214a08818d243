// Package loadgen owns the load: when requests are due (arrivals), what they
// are (steps of a journey), sending them through vegeta, and what became of
// each one (results). It knows nothing of scenarios, faults or verdicts.
package loadgen

import (
	"math"
	"time"
)

// Arrivals names the process that draws the times at which requests are due.
type Arrivals string

// The arrival processes. Poisson draws independent exponential gaps, as
// independent users do; Constant spaces arrivals evenly.
const (
	Poisson  Arrivals = "poisson"
	Constant Arrivals = "constant"
)

// Load is one stream of journeys sent at a given rate. It is open loop: an
// arrival is due at its time, whatever became of the ones before. With Users > 0 the
// load is closed loop: that many users each start the next journey when the last ended,
// and Stages give its length only.
type Load struct {
	Name     string        `json:"name"`
	Service  string        `json:"service"` // whom it calls; a key of Share.Targets
	Steps    []Step        `json:"steps"`   // one step is a request, more are a journey
	Stages   []Stage       `json:"stages"`
	Arrivals Arrivals      `json:"arrivals"` // empty means Poisson
	Users    int           `json:"users,omitempty"`
	SLO      time.Duration `json:"slo"`     // a journey that ends well within it counts as good; 0 means no limit
	Timeout  time.Duration `json:"timeout"` // of each step; the client gives up after it; 0 means 30 s
	Seed     uint64        `json:"seed"`
	// Baggage is sent as W3C baggage with every request of this load, beside and above the share's: what kind of
	// requests they are, such as their priority. Names that begin with "faultline." are the lab's own.
	Baggage map[string]string `json:"baggage,omitempty"`
	// Experiment is the share of the journeys whose requests carry faultline.share=experiment in their baggage, exact to one
	// journey; as many others carry faultline.share=control. 0 marks none; at most a half.
	Experiment float64 `json:"experiment,omitempty"`
}

// The shares of a load with an experiment. Journeys of neither are part of the load only.
const (
	ShareExperiment = "experiment"
	ShareControl    = "control"
)

// ShareOf returns the share that the load's seq-th journey belongs to, or "". Of any n journeys in a row,
// Experiment times n, give or take one, are of the one and as many of the other:
//
//	x = frac(seq*r)    0 ......... 1/2-r   1/2 ......... 1-r    1
//	                               |control|             |experiment|
func (l Load) ShareOf(seq uint64) string {
	if l.Experiment <= 0 {
		return ""
	}
	at := math.Mod(float64(seq)*l.Experiment, 1)
	const rounding = 1e-9 // of the product: 10*0.1 may come out below 1
	switch {
	case at+rounding >= 1-l.Experiment && at+rounding < 1:
		return ShareExperiment
	case at+rounding >= 0.5-l.Experiment && at+rounding < 0.5:
		return ShareControl
	}
	return ""
}

// Stage is a stretch of time over which the rate goes linearly From -> To,
// in arrivals per second.
type Stage struct {
	For  time.Duration `json:"for"`
	From float64       `json:"from"`
	To   float64       `json:"to"`
}

// Step is one request of a journey. Path, header values and Body are
// templates: {{rand 1 500}} is a whole number from 1 to 500, {{uuid}} a random
// UUID, {{seq}} the number of the arrival, and {{.name}} what an earlier step
// extracted. All of them follow from Load.Seed and the arrival's number, so the
// same seed sends the same requests whatever the timing. A text that was
// extracted is escaped where Body is JSON.
type Step struct {
	Name    string            `json:"name"`
	Method  string            `json:"method,omitempty"` // HTTP
	Path    string            `json:"path,omitempty"`   // HTTP
	RPC     string            `json:"rpc,omitempty"`    // gRPC: package.Service/Method, body as JSON
	Headers map[string]string `json:"headers,omitempty"`
	Body    string            `json:"body,omitempty"`
	// Extract maps a name to a dotted path into the JSON answer ("items.0.id").
	Extract map[string]string `json:"extract,omitempty"`
	// Operation names the extracted value that identifies what the step asked for. It is set on a step that changes
	// something, where the answer yes is a promise that an audit may be held to; results carry the value as their ID.
	Operation string `json:"operation,omitempty"`
	// Accept lists the statuses that count as success besides 2xx (HTTP) and OK (gRPC).
	Accept []int `json:"accept,omitempty"`
}

// Target says where a service is reached.
type Target struct {
	Protocol string   `json:"protocol"` // http | grpc
	Addrs    []string `json:"addrs"`    // host:port; more than one are used in turn
}

// Share is what one worker is to send: the whole plan's load, or its part of it
// when there are more workers.
type Share struct {
	Start   time.Time         `json:"start"` // when time zero of every load is due; zero means as soon as all is prepared
	Targets map[string]Target `json:"targets"`
	Loads   []Load            `json:"loads"`
	Worker  int               `json:"worker"`  // 0-based
	Workers int               `json:"workers"` // 0 means 1
	// MaxInFlight bounds the memory that waiting requests may hold; an arrival beyond
	// it is recorded as a result with Error ErrorNotSent. 0 means 20,000. A waiting HTTP
	// request holds a connection and about 30 KB.
	MaxInFlight int `json:"max_in_flight,omitempty"`
	// Drain is how long requests under way may take to end once no more are started, because
	// the schedule is over or the run was stopped; after it they are recorded as failed with
	// ErrorCutOff. 0 means 3 s, or the largest SLO where that is longer.
	Drain time.Duration `json:"drain,omitempty"`
	// Spin is the last stretch before an arrival that the generator spends in a busy loop rather than
	// asleep. 0 spins not at all: an arrival is then late by about 0.1 ms on Linux and 0.6 ms
	// elsewhere. 150 µs brings that to a few µs and costs so much CPU time an arrival.
	Spin time.Duration `json:"spin,omitempty"`
	// Baggage is sent as W3C baggage with every request.
	Baggage map[string]string `json:"baggage,omitempty"`
}

// Result says what became of one step, or, where Step is empty, of a whole
// journey (of a single-step load only the journey's row exists). Latency
// counts from Due: what the generator lost is part of it. A later step is due
// when the step before it is done. A journey has the status and the trace of the
// step that decided its fate: the one that failed, or else the slowest.
type Result struct {
	Load    string    `json:"load" parquet:"load,dict"`
	Step    string    `json:"step,omitempty" parquet:"step,dict"`
	Seq     uint64    `json:"seq" parquet:"seq"` // number of the arrival within its load
	Due     time.Time `json:"due" parquet:"due,timestamp(nanosecond)"`
	Sent    time.Time `json:"sent" parquet:"sent,timestamp(nanosecond)"`
	Done    time.Time `json:"done" parquet:"done,timestamp(nanosecond)"`
	Status  int       `json:"status" parquet:"status"`                       // HTTP status or gRPC code; 0 when there was no answer
	OK      bool      `json:"ok" parquet:"ok"`                               // answered, and with success
	Error   string    `json:"error,omitempty" parquet:"error,dict"`          // why not, in few words and of few kinds
	Bytes   int64     `json:"bytes" parquet:"bytes"`                         // of the answer's body
	TraceID string    `json:"trace_id" parquet:"trace_id"`                   // 32 hex digits; of a journey, the trace of the step that decided its fate
	Share   string    `json:"share,omitempty" parquet:"share,optional,dict"` // of the journey, in a load with an experiment
	ID      string    `json:"id,omitempty" parquet:"id,optional"`            // what the answer called that which was done; of steps with an Operation
	Faults  string    `json:"faults,omitempty" parquet:"faults,dict"`        // ids of the faults active at Due, comma-separated; filled in by the record
}

// Latency is the time from due to done.
func (r Result) Latency() time.Duration { return r.Done.Sub(r.Due) }

// Lag is the generator's own delay, from due to sent.
func (r Result) Lag() time.Duration { return r.Sent.Sub(r.Due) }
