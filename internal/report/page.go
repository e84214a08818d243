package report

// Page is what the HTML report shows, in the shape that page.js reads. Times
// are seconds from the start of the load, latencies milliseconds; a pointer
// that is nil was not measured.
type Page struct {
	Scenario string    `json:"scenario"`
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
	ID          string               `json:"id"`
	Variant     string               `json:"variant"`
	About       string               `json:"about"`
	Entry       string               `json:"entry"`
	Outcome     string               `json:"outcome"`
	Reasons     []string             `json:"reasons"`
	Findings    []PageFinding        `json:"findings"`
	Policies    []PagePolicy         `json:"policies"`
	Phases      []PagePhase          `json:"phases"`
	Faults      []PageFault          `json:"faults"`
	Loads       []PageLoad           `json:"loads"`
	Services    []PageService        `json:"services"`
	Edges       []PageEdge           `json:"edges"`
	Slow        []PageRequest        `json:"slow"`
	Failed      []PageRequest        `json:"failed"`
	FailedTotal int                  `json:"failed_total"`
	Traces      map[string]PageTrace `json:"traces"`
	Events      []PageEvent          `json:"events"`
	Facts       []PageFact           `json:"facts"`
	Processes   []PageProcess        `json:"processes"`
}

// PageFinding is one expectation and what was measured, as text.
type PageFinding struct {
	That    string `json:"that"`
	In      string `json:"in"`
	Value   string `json:"value"`
	Outcome string `json:"outcome"`
	Why     string `json:"why"`
}

// PagePolicy is the chain of one edge or door, as text.
type PagePolicy struct {
	On    string `json:"on"`
	Chain string `json:"chain"`
}

// PagePhase is a stretch of the run.
type PagePhase struct {
	Name  string  `json:"name"`
	Start float64 `json:"start"`
	End   float64 `json:"end"`
}

// PageFault is a fault and its window.
type PageFault struct {
	ID       string   `json:"id"`
	Kind     string   `json:"kind"`
	Target   string   `json:"target"`
	Edges    []string `json:"edges"`
	Services []string `json:"services"`
	Start    float64  `json:"start"`
	End      float64  `json:"end"`
}

// PageLoad is one load over time and by phase.
type PageLoad struct {
	Name   string          `json:"name"`
	About  string          `json:"about"`
	SLO    float64         `json:"slo"`
	Bins   []PageBin       `json:"bins"`
	Phases []PageLoadPhase `json:"phases"`
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
	Name    string   `json:"name"`
	Offered int      `json:"offered"`
	Goodput *float64 `json:"goodput"`
	Success *float64 `json:"success"`
	P50     *float64 `json:"p50"`
	P99     *float64 `json:"p99"`
	Max     *float64 `json:"max"`
}

// PageService is a service: how busy it was over time, and by phase.
type PageService struct {
	Name       string                      `json:"name"`
	About      string                      `json:"about"`
	Protocol   string                      `json:"protocol"`
	Replicas   int                         `json:"replicas"`
	Workers    int                         `json:"workers"`
	QueueLimit int                         `json:"queue_limit"`
	Busy       [][2]float64                `json:"busy"`  // time, share of the workers
	Queue      [][2]float64                `json:"queue"` // time, share of the queue
	Phases     map[string]PageServicePhase `json:"phases"`
}

// PageServicePhase is a service's mean over one phase.
type PageServicePhase struct {
	Busy *float64 `json:"busy"`
}

// PageEdge is an edge by phase, as its caller saw it.
type PageEdge struct {
	Caller string                   `json:"caller"`
	Callee string                   `json:"callee"`
	Faults []string                 `json:"faults"`
	Phases map[string]PageEdgePhase `json:"phases"`
}

// PageEdgePhase is an edge's figures over one phase.
type PageEdgePhase struct {
	Rate          *float64 `json:"rate"`
	Errors        *float64 `json:"errors"`
	Rejected      *float64 `json:"rejected"`
	P50           *float64 `json:"p50"`
	P99           *float64 `json:"p99"`
	Amplification *float64 `json:"amplification"`
}

// PageRequest is one request in a list.
type PageRequest struct {
	Load   string  `json:"load"`
	Step   string  `json:"step"`
	Due    float64 `json:"due"`
	MS     float64 `json:"ms"`
	OK     bool    `json:"ok"`
	Status int     `json:"status"`
	Error  string  `json:"error"`
	Faults string  `json:"faults"`
	Trace  string  `json:"trace"`
}

// PageTrace is a trace: spans and logs, in milliseconds from its first span,
// which began At seconds after the start of the load.
type PageTrace struct {
	At      float64    `json:"at"`
	Spans   []PageSpan `json:"spans"`
	Logs    []PageLog  `json:"logs"`
	Dropped int        `json:"dropped"`
}

// PageSpan is one span.
type PageSpan struct {
	ID         string          `json:"id"`
	Parent     string          `json:"parent"`
	Name       string          `json:"name"`
	Kind       string          `json:"kind"`
	Service    string          `json:"service"`
	Instance   string          `json:"instance"`
	Start      float64         `json:"start"`
	MS         float64         `json:"ms"`
	Error      bool            `json:"error,omitempty"`
	Message    string          `json:"message,omitempty"`
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
	Severity   string         `json:"severity"`
	Service    string         `json:"service"`
	Body       string         `json:"body"`
	Attributes map[string]any `json:"attributes,omitempty"`
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
