// Package record owns what a run leaves behind: its directory, the files in
// it, and reading them back. One clock: every time is wall-clock time of the
// machine that ran the lab.
//
// Nothing that was written is lost when the lab dies: an event is a line
// of events.jsonl as soon as Event returns, a result a line of results.jsonl
// (the spool) as soon as Result returns. Closing the Writer turns the spool
// into results.parquet, row group by row group, notes that file's checksum in
// run.json, and then removes the spool. So while there is a spool, Open reads it, up to
// its last whole line; else the Parquet file, which must be the one that was
// written: its reader trusts what a damaged header says and would ask for any
// amount of memory. What a power failure takes from events and spool is not
// guarded against; the other files are synced to the disk.
package record

import (
	"time"

	"github.com/faultline-lab/faultline/chaos"
	"github.com/faultline-lab/faultline/loadgen"
	"github.com/faultline-lab/faultline/observability/telemetry"

	"github.com/faultline-lab/faultline/internal/plan"
	"github.com/faultline-lab/faultline/internal/system"
)

// The files of a run's directory.
const (
	ScenarioFile  = "scenario.yaml"
	PlanFile      = "plan.json"
	SystemFile    = "system.json"
	MetaFile      = "run.json"
	EventsFile    = "events.jsonl"
	ResultsFile   = "results.parquet"
	SpoolFile     = "results.jsonl" // while the run goes on, and after a crash
	TelemetryFile = "telemetry.db"
	MetricsDir    = "metrics"
	ProfilesDir   = "profiles"
	LogsDir       = "output" // what the processes printed
	VerdictFile   = "verdict.json"
	JUnitFile     = "junit.xml"
	MarkdownFile  = "verdict.md"
	ReportFile    = "report.html"
)

// Meta is what a run is, on one page.
type Meta struct {
	Format   int            `json:"format"` // of the directory; FormatVersion when it was written
	ID       string         `json:"id"`     // the directory's name
	Scenario string         `json:"scenario"`
	Variant  string         `json:"variant"`
	System   string         `json:"system"`
	Seed     uint64         `json:"seed"`
	Version  string         `json:"version"` // of faultline
	Machine  string         `json:"machine"` // "linux/amd64, 2 CPUs"
	Started  time.Time      `json:"started"` // the command
	Load     time.Time      `json:"load"`    // time zero of the plan; zero when the load never started
	Ended    time.Time      `json:"ended"`
	Outcome  string         `json:"outcome"` // Completed | Aborted | Interrupted | Broken
	Reason   string         `json:"reason,omitempty"`
	Loss     telemetry.Loss `json:"loss"`
	// ResultsSHA256 is the checksum of results.parquet, in hex; "" while there is none.
	ResultsSHA256 string `json:"results_sha256,omitempty"`
	// Events is how many events.jsonl holds, written by Close; 0 while the run goes on, and in records of before that was written.
	Events int `json:"events,omitempty"`
	// Grafana is the base URL of a Grafana whose programs hold the run's telemetry as well; "" where there is none.
	Grafana string `json:"grafana,omitempty"`
}

// How a run ended. A directory says interrupted from its making on, until its
// Writer is closed: that is what a run is whose lab was killed.
const (
	Completed   = "completed"
	Aborted     = "aborted"     // an abort condition held
	Interrupted = "interrupted" // by the user, or the lab died
	Broken      = "broken"      // the lab or the system could not go on
)

// FormatVersion is the version of the run directory that this code writes.
const FormatVersion = 1

// The kinds of event.
const (
	EventPhase   = "phase"   // Name: the phase; Text: started | ended
	EventFault   = "fault"   // Name: the fault's id; Text: injected | felt | not felt | recovered | not recovered; Effect is set on all but the first
	EventHealth  = "health"  // Name: the service or edge; Text: healthy | unhealthy
	EventAlert   = "alert"   // Name: the alert; Text: pending | firing | resolved; Data: labels
	EventProcess = "process" // Name: the process; Text: started | ready | exited | killed | paused | restarted
	EventAudit   = "audit"   // Name: invariants; Data: the probe's answer
	EventAbort   = "abort"   // Name: the reason
	EventLoad    = "load"    // Name: the load; Text: rate set; Data: rate, at_ms, who
	EventNote    = "note"    // Name: a topic; anything else worth keeping, such as connections cut by a fallback
)

// LeaseLapsed is the text of a note of the proxy process: it lifted the faults
// by itself, because the lab had stood still for too long. Data: toxics, how many it lifted.
const LeaseLapsed = "lease lapsed"

// Who is the key in an event's Data that says who did it, where it was somebody's
// hand and not the plan.
const Who = "who"

// Event is one thing that happened.
type Event struct {
	Time   time.Time      `json:"time"`
	Kind   string         `json:"kind"`
	Name   string         `json:"name"`
	Text   string         `json:"text,omitempty"`
	Effect *chaos.Effect  `json:"effect,omitempty"`
	Data   map[string]any `json:"data,omitempty"`
}

// Run is a recorded run, in memory: all that judging needs but the telemetry.
type Run struct {
	Dir     string
	Meta    Meta
	Plan    *plan.Plan
	System  *system.System
	Events  []Event
	Results []loadgen.Result
}
