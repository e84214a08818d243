package report

// Page is what the HTML report shows, in the shape that its script reads. Times
// are seconds from the start of the load, latencies milliseconds, shares 0 to
// 1; a pointer that is nil was not measured.
type Page struct {
	Scenario string    `json:"scenario"`
	System   string    `json:"system"`
	About    string    `json:"about"`
	Sources  []string  `json:"sources"`
	Outcome  string    `json:"outcome"`
	Version  string    `json:"version"`
	Machine  string    `json:"machine"`
	Started  string    `json:"started"`
	Runs     []PageRun `json:"runs"`
}

// PageRun is one variant's run.
type PageRun struct {
	ID       string        `json:"id"`
	Label    string        `json:"label"` // tells it from the other runs of the page
	Seed     uint64        `json:"seed"`
	About    string        `json:"about"`
	Entry    string        `json:"entry"`
	Outcome  string        `json:"outcome"`
	Says     string        `json:"says"` // the outcome in a sentence
	Reasons  []string      `json:"reasons"`
	Settings string        `json:"settings"` // what was set for the services; empty for most
	Findings []PageFinding `json:"findings"`
	Shares   []PageShares  `json:"shares"` // of loads with an experiment
	// Violations are the broken invariants, at most 30 of the Broken that the verdict names.
	Violations []PageViolation        `json:"violations"`
	Broken     int                    `json:"broken"`
	Policies   []PagePolicy           `json:"policies"`
	Phases     []PagePhase            `json:"phases"`
	Faults     []PageFault            `json:"faults"`
	Loads      []PageLoad             `json:"loads"`
	Spread     PageSpread             `json:"spread"`
	Services   []PageService          `json:"services"`
	Breakers   []PageBreaker          `json:"breakers"`
	Edges      []PageEdge             `json:"edges"`
	Slow       []PageSlow             `json:"slow"`
	Failures   []PageFailure          `json:"failures"`
	Failed     int                    `json:"failed"` // journeys that failed, all together
	Traces     map[string]PageTrace   `json:"traces"`
	Profiles   map[string]PageProfile `json:"profiles"` // that spans refer to
	Alerts     []PageAlert            `json:"alerts"`
	Events     []PageEvent            `json:"events"`
	Facts      []PageFact             `json:"facts"`
	Notes      []string               `json:"notes"`
	Processes  []PageProcess          `json:"processes"`
	Grafana    *PageGrafana           `json:"grafana,omitempty"`
}

// PageFinding is one expectation and what was measured, as text.
type PageFinding struct {
	That    string `json:"that"`  // as written
	What    string `json:"what"`  // in words: goodput of browse
	Wants   string `json:"wants"` // in words: below 50%
	In      string `json:"in"`
	Value   string `json:"value"`
	Outcome string `json:"outcome"`
	Why     string `json:"why"`
	Source  string `json:"source"`
	Meaning string `json:"meaning"` // of the measure, in a sentence
}

// PagePolicy is the chain of one edge or door, outermost first, as text.
type PagePolicy struct {
	On    string   `json:"on"`
	Chain []string `json:"chain"`
}

// PagePhase is a stretch of the run.
type PagePhase struct {
	Name  string  `json:"name"`
	Start float64 `json:"start"`
	End   float64 `json:"end"`
	Fault bool    `json:"fault"` // a fault acts in it
}

// PageFault is a fault and its window.
type PageFault struct {
	ID       string   `json:"id"`
	Kind     string   `json:"kind"`
	Target   string   `json:"target"`
	Params   string   `json:"params"` // in words
	Edges    []string `json:"edges"`
	Services []string `json:"services"`
	Load     string   `json:"load,omitempty"`
	Start    float64  `json:"start"`
	End      float64  `json:"end"`
}

// PageLoad is one load over time and by phase.
type PageLoad struct {
	Name     string          `json:"name"`
	About    string          `json:"about"`
	Service  string          `json:"service"`
	SLO      float64         `json:"slo"`
	Bins     []PageBin       `json:"bins"`
	Phases   []PageLoadPhase `json:"phases"`
	Recovery string          `json:"recovery"` // time until its goodput was back after the last fault, as text
}

// PageBin is one second of a load, by the second in which journeys were due.
type PageBin struct {
	T       float64  `json:"t"`
	Offered int      `json:"offered"`
	Good    int      `json:"good"`
	Slow    int      `json:"slow"`
	Failed  int      `json:"failed"`
	P50     *float64 `json:"p50"`
	P99     *float64 `json:"p99"`
}

// PageLoadPhase is a load's figures over one phase.
type PageLoadPhase struct {
	Name     string      `json:"name"`
	Offered  int         `json:"offered"`
	Goodput  *float64    `json:"goodput"`
	Success  *float64    `json:"success"`
	P50      *float64    `json:"p50"`
	P99      *float64    `json:"p99"`
	Max      *float64    `json:"max"`
	Failures []PageCount `json:"failures,omitempty"`
	Steps    []PageStep  `json:"steps,omitempty"`
}

// PageCount is how often something was seen.
type PageCount struct {
	Name string `json:"name"`
	N    int    `json:"n"`
}

// PageStep is one step of a journey over one phase.
type PageStep struct {
	Name     string   `json:"name"`
	Requests int      `json:"requests"`
	Success  *float64 `json:"success"`
	P50      *float64 `json:"p50"`
	P99      *float64 `json:"p99"`
}

// PageSpread is how the failure spread over services, from measured data alone.
type PageSpread struct {
	Text  string           `json:"text"` // empty where nothing can be said
	Steps []PageSpreadStep `json:"steps"`
}

// PageSpreadStep is a service that had no worker free any more.
type PageSpreadStep struct {
	Service string  `json:"service"`
	At      float64 `json:"at"`
}

// PageService is a service: how busy it was over time, and by phase. Of several replicas the
// busiest counts.
type PageService struct {
	Name       string              `json:"name"`
	About      string              `json:"about"`
	Protocol   string              `json:"protocol"`
	Replicas   int                 `json:"replicas"`
	Workers    int                 `json:"workers"` // of each replica; 0 means no limit
	QueueLimit int                 `json:"queue_limit"`
	Busy       [][2]float64        `json:"busy"`  // time, share of the workers
	Queue      [][2]float64        `json:"queue"` // time, requests waiting
	Shed       [][2]float64        `json:"shed"`  // time, requests turned away a second; without the zeros
	Phases     map[string]*float64 `json:"phases"`
}

// PageBreaker is the state of an edge's circuit breaker over time: 0 closed, 1 half open, 2 open.
type PageBreaker struct {
	Edge   string       `json:"edge"`
	States [][2]float64 `json:"states"` // time, state; where it changes
}

// PageEdge is an edge by phase, as its caller saw it.
type PageEdge struct {
	Caller string                  `json:"caller"`
	Callee string                  `json:"callee"`
	Faults []string                `json:"faults"`
	Exact  bool                    `json:"exact"` // percentiles come from single requests, not from a histogram's buckets
	Phases map[string]PageEdgeTime `json:"phases"`
}

// PageEdgeTime is an edge's figures over one phase.
type PageEdgeTime struct {
	Rate          *float64 `json:"rate"`
	Errors        *float64 `json:"errors"`
	Rejected      *float64 `json:"rejected"`
	P50           *float64 `json:"p50"`
	P99           *float64 `json:"p99"`
	Amplification *float64 `json:"amplification"`
	Why           string   `json:"why,omitempty"` // why there are none
}

// PageSlow is the slowest of a load's journeys that ended well.
type PageSlow struct {
	Load     string        `json:"load"`
	Requests []PageRequest `json:"requests"`
}

// PageFailure is a kind of failure: the journeys that failed in one step, with one
// error.
type PageFailure struct {
	Load     string        `json:"load"`
	Step     string        `json:"step"` // of a journey of several
	Error    string        `json:"error"`
	N        int           `json:"n"`
	First    float64       `json:"first"`
	Last     float64       `json:"last"`
	Looked   int           `json:"looked"` // at so many of their traces
	Causes   []PageCount   `json:"causes"` // of those, what their traces say
	Requests []PageRequest `json:"requests"`
}

// PageRequest is one journey in a list.
type PageRequest struct {
	Load   string  `json:"load"`
	Step   string  `json:"step"` // that decided its fate, of a journey of several
	Due    float64 `json:"due"`
	MS     float64 `json:"ms"`
	OK     bool    `json:"ok"`
	Status int     `json:"status"`
	Error  string  `json:"error"`
	Cause  string  `json:"cause"`
	Faults string  `json:"faults"`
	Trace  string  `json:"trace"`
}

// PageTrace is a trace: spans and logs, in milliseconds from its first span,
// which began At seconds after the start of the load.
type PageTrace struct {
	At      float64     `json:"at"`
	End     float64     `json:"end"` // of the request; what is later happened after the answer
	Client  *PageClient `json:"client,omitempty"`
	Spans   []PageSpan  `json:"spans"` // parents before their children
	Logs    []PageLog   `json:"logs"`
	Spent   []PageSpent `json:"spent"` // where the time of the critical path went, the most first
	Dropped int         `json:"dropped"`
}

// PageClient is the request as the load generator saw it.
type PageClient struct {
	Due  float64 `json:"due"`
	Sent float64 `json:"sent"`
	Done float64 `json:"done"`
}

// PageSpent is a part of the time of the critical path.
type PageSpent struct {
	What string  `json:"what"`
	MS   float64 `json:"ms"`
}

// PageSpan is one span.
type PageSpan struct {
	ID         string          `json:"id"`
	Depth      int             `json:"depth"`
	Name       string          `json:"name"`
	Kind       string          `json:"kind"`
	Service    string          `json:"service"`
	Instance   string          `json:"instance,omitempty"`
	Start      float64         `json:"start"`
	MS         float64         `json:"ms"`
	Wait       float64         `json:"wait,omitempty"` // of these, the time in the door's queue, at their beginning
	Critical   [][2]float64    `json:"critical,omitempty"`
	Later      bool            `json:"later,omitempty"` // began after the answer
	Fault      string          `json:"fault,omitempty"` // the fault that acted on its edge or on itself
	Error      bool            `json:"error,omitempty"`
	Message    string          `json:"message,omitempty"`
	Profile    string          `json:"profile,omitempty"` // of its service at its time, in the run's profiles
	Attributes map[string]any  `json:"attributes,omitempty"`
	Events     []PageSpanEvent `json:"events,omitempty"`
}

// PageSpanEvent is a moment within a span.
type PageSpanEvent struct {
	At         float64        `json:"at"`
	Name       string         `json:"name"`
	Attributes map[string]any `json:"attributes,omitempty"`
}

// PageLog is one log line of a trace.
type PageLog struct {
	At         float64        `json:"at"`
	Span       string         `json:"span,omitempty"`
	Severity   string         `json:"severity"`
	Service    string         `json:"service"`
	Body       string         `json:"body"`
	Attributes map[string]any `json:"attributes,omitempty"`
}

// PageAlert is one time that an alert fired.
type PageAlert struct {
	Name     string   `json:"name"`
	On       string   `json:"on"`
	Severity string   `json:"severity"`
	Start    float64  `json:"start"`
	End      *float64 `json:"end"` // nil: it still fired at the end
}

// PageEvent is something that happened.
type PageEvent struct {
	T      float64 `json:"t"`
	Kind   string  `json:"kind"`
	Name   string  `json:"name"`
	Text   string  `json:"text"`
	Detail string  `json:"detail,omitempty"`
}

// PageFact is a figure about the lab itself.
type PageFact struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// PageProcess is what a process of the run used: cores on average, memory at most.
type PageProcess struct {
	Name  string  `json:"name"`
	Cores float64 `json:"cores"`
	MB    float64 `json:"mb"`
}
