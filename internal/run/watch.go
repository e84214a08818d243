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
			r.rig.metrics.rates(r.ratesAt(now.Sub(start)))
			r.progress(r.state(now.Sub(start), now))
			if that := aborts.Step(now.Sub(start), r.live.At(ctx, now, running)); that != "" {
				r.event(record.Event{Kind: record.EventAbort, Name: that})
				r.abort(fmt.Errorf("%w: %s", errAborted, that))
				return
			}
		}
	}
}

// ratesAt is what each load is to send per second, by hand or by plan. A closed loop has no rate.
func (r *runner) ratesAt(offset time.Duration) map[string]float64 {
	if c := r.control.Load(); c != nil {
		return c.Rates()
	}
	out := map[string]float64{}
	for _, load := range r.cfg.Plan.Loads {
		if load.Users == 0 {
			out[load.Name] = load.Rate(offset)
		}
	}
	return out
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

// audit asks the system for its invariants, and records the answer.
func (r *runner) audit(ctx context.Context) {
	probe := r.cfg.System.Probes.Invariants
	if probe == nil {
		return
	}
	question := func(service string) (map[string]any, string) {
		ctx, cancel := context.WithTimeout(ctx, auditWithin)
		defer cancel()
		return settled(ctx, r.rig.client(), "http://"+r.rig.adminAddr(service)+probe.Get, auditEvery)
	}
	answer, text := question(probe.Service)
	for _, service := range probe.Also {
		if answer == nil {
			break // it says already that the audit came to nothing
		}
		more, said := question(service)
		if !addAnswer(answer, service, more) {
			text = service + ": " + said
		}
	}
	r.event(record.Event{Kind: record.EventAudit, Name: "invariants", Text: text, Data: answer})
}

// addAnswer adds what a further service found to an audit's answer, and says whether that service had an answer, and had settled.
// Without it the whole has not settled: what is broken stays so, and what is not may be yet.
func addAnswer(answer map[string]any, service string, more map[string]any) bool {
	if found, ok := more["violations"].([]any); ok {
		all, _ := answer["violations"].([]any)
		answer["violations"] = append(all, found...)
	}
	checked, _ := answer["checked"].(map[string]any)
	if checked == nil {
		checked = map[string]any{}
		answer["checked"] = checked
	}
	if counts, ok := more["checked"].(map[string]any); ok {
		for what, n := range counts {
			checked[service+" "+what] = n
		}
	}
	done, _ := more["settled"].(bool)
	if !done {
		answer["settled"] = false
	}
	return done
}

// settled asks until the answer says that the system has come to rest, or ctx
// ends, and returns the last answer and what to make of it.
func settled(ctx context.Context, client *http.Client, url string, every time.Duration) (last map[string]any, text string) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		answer, err := ask(ctx, client, url)
		switch {
		case err == nil:
			last, text = answer, "not settled"
		case ctx.Err() == nil || text == "": // a question that was cut off takes nothing from what came before
			text = "no answer: " + err.Error()
		}
		if done, _ := last["settled"].(bool); done {
			return last, "settled"
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return last, text
		}
	}
}

// ask gets a JSON object from a service.
func ask(ctx context.Context, client *http.Client, url string) (map[string]any, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	request.Close = true // a kept connection would outlive the service
	response, err := client.Do(request)
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
