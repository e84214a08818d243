package run

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/faultline-lab/faultline/internal/check"
	"github.com/faultline-lab/faultline/internal/measure"
	"github.com/faultline-lab/faultline/internal/plan"
	"github.com/faultline-lab/faultline/internal/record"
	"github.com/faultline-lab/faultline/internal/system"
)

// watch once a second reports progress, samples what the processes use, and
// ends the run when an abort condition has held for its time.
func (r *runner) watch(ctx context.Context, start time.Time) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	aborts := check.NewAborts(r.cfg.Plan)
	running := measure.New(&record.Run{
		Meta: record.Meta{Load: start, Outcome: record.Completed}, Plan: r.cfg.Plan, System: r.cfg.System,
	}, r.rig.backend.Archive())
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			r.rig.sample()
			progress := r.progress(now.Sub(start), now)
			if r.cfg.Watch != nil && now.After(start) {
				r.cfg.Watch.Progress(progress)
			}
			if that := aborts.Step(now.Sub(start), r.live.At(ctx, now, running)); that != "" {
				r.event(record.Event{Kind: record.EventAbort, Name: that})
				r.abort(fmt.Errorf("%w: %s", errAborted, that))
				return
			}
		}
	}
}

func (r *runner) progress(at time.Duration, now time.Time) Progress {
	phase, left := phaseAt(r.cfg.Plan, at)
	return Progress{Phase: phase, Left: left, At: at, Length: r.cfg.Plan.Length(),
		Loads: loadsNow(r.live, r.cfg.Plan.Loads, now, at), Faults: activeAt(r.cfg.Plan, at)}
}

func activeAt(p *plan.Plan, at time.Duration) []string {
	var out []string
	for _, w := range p.Faults {
		if at >= w.Start && at < w.End {
			out = append(out, w.ID+" ("+describeWindow(w)+")")
		}
	}
	return out
}

// auditWithin bounds the wait for the system to come to rest after the load.
const auditWithin = 15 * time.Second

// audit asks the system for its invariants until it says that it has settled,
// and records the last answer.
func (r *runner) audit(ctx context.Context) {
	probe := r.cfg.System.Probes.Invariants
	if probe == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, auditWithin)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		answer, err := r.ask(ctx, probe)
		if settled, _ := answer["settled"].(bool); err == nil && settled {
			r.event(record.Event{Kind: record.EventAudit, Name: "invariants", Text: "settled", Data: answer})
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			text := "not settled"
			if err != nil {
				text = "no answer: " + err.Error()
			}
			r.event(record.Event{Kind: record.EventAudit, Name: "invariants", Text: text, Data: answer})
			return
		}
	}
}

func (r *runner) ask(ctx context.Context, probe *system.Probe) (map[string]any, error) {
	addr := r.rig.adminAddr(probe.Service)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+probe.Get, nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 8<<20))
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answered %s", probe.Get, response.Status)
	}
	var answer map[string]any
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, fmt.Errorf("reading the answer of %s: %w", probe.Get, err)
	}
	return answer, nil
}

func stack() string { return string(debug.Stack()) }
