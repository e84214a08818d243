package run

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/faultline-lab/faultline/internal/check"
	"github.com/faultline-lab/faultline/internal/measure"
	"github.com/faultline-lab/faultline/internal/plan"
	"github.com/faultline-lab/faultline/internal/record"
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
			r.progress(r.state(now.Sub(start), now))
			if that := aborts.Step(now.Sub(start), r.live.At(ctx, now, running)); that != "" {
				r.event(record.Event{Kind: record.EventAbort, Name: that})
				r.abort(fmt.Errorf("%w: %s", errAborted, that))
				return
			}
		}
	}
}

func (r *runner) state(at time.Duration, now time.Time) Progress {
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

// How long the system may take to come to rest after the load, and how often it is asked.
const (
	auditWithin = 15 * time.Second
	auditEvery  = 200 * time.Millisecond
)

// audit asks the system for its invariants until it says that it has settled,
// and records the last answer.
func (r *runner) audit(ctx context.Context) {
	probe := r.cfg.System.Probes.Invariants
	if probe == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, auditWithin)
	defer cancel()
	tick := time.NewTicker(auditEvery)
	defer tick.Stop()
	addr := r.rig.adminAddr(probe.Service)
	var last map[string]any
	var failed error
	for {
		answer, err := ask(ctx, "http://"+addr+probe.Get)
		switch {
		case err == nil:
			last, failed = answer, nil
		case ctx.Err() == nil || last == nil: // an answer that was cut off takes nothing from the one before
			failed = err
		}
		if settled, _ := last["settled"].(bool); settled {
			r.event(record.Event{Kind: record.EventAudit, Name: "invariants", Text: "settled", Data: last})
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			r.unsettled(last, failed)
			return
		}
	}
}

// unsettled records an audit whose time is up.
func (r *runner) unsettled(last map[string]any, failed error) {
	text := "not settled"
	if failed != nil {
		text = "no answer: " + failed.Error()
	}
	r.event(record.Event{Kind: record.EventAudit, Name: "invariants", Text: text, Data: last})
}

// ask gets a JSON object from a service.
func ask(ctx context.Context, url string) (map[string]any, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	request.Close = true // a kept connection would outlive the service
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 8<<20))
	if err != nil {
		return nil, fmt.Errorf("reading the answer of %s: %w", url, err)
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answered %s", url, response.Status)
	}
	var answer map[string]any
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, fmt.Errorf("reading the answer of %s: %w", url, err)
	}
	return answer, nil
}
