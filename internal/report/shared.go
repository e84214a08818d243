package report

import (
	"fmt"

	"github.com/faultline-lab/faultline/internal/record"
	"github.com/faultline-lab/faultline/observability/telemetry"
)

// TraceOf is a trace with its logs as the page draws it, for whoever serves a page of a
// run while it goes on: the run has its plan, its system and when the load began.
func TraceOf(run *record.Run, trace telemetry.Trace, logs []telemetry.LogRecord) PageTrace {
	b := &pageBuilder{run: run}
	return b.pageTrace(trace, logs)
}

// PageFile returns a part of the page: its style page.css, or one of the scripts that
// draw, such as topology.js. They share one scope, each uses what stands before it.
func PageFile(name string) ([]byte, error) {
	text, err := pageFiles.ReadFile("page/" + name)
	if err != nil {
		return nil, fmt.Errorf("reading a part of the page: %w", err)
	}
	return text, nil
}
