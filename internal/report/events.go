package report

import (
	"encoding/json"
	"fmt"
	"sort"
	"time"

	"github.com/faultline-lab/faultline/internal/record"
)

// Bounds of what happened, on a page.
const (
	listedEvents = 200
	listedAlerts = 300
)

// alerts pairs the firing of alerts with their end.
func (b *pageBuilder) alerts() {
	b.out.Alerts = []PageAlert{}
	open := map[string]int{}
	for _, e := range b.run.Events {
		if e.Kind != record.EventAlert {
			continue
		}
		key := e.Name + " " + jsonOf(e.Data)
		i, fires := open[key]
		switch {
		case e.Text == firing && !fires && len(b.out.Alerts) < listedAlerts:
			open[key] = len(b.out.Alerts)
			b.out.Alerts = append(b.out.Alerts, PageAlert{
				Name: shorten(e.Name), On: shorten(aboutWhat(e.Data, "")), Severity: text(e.Data["severity"]), Start: b.at(e.Time),
			})
		case e.Text == resolved && fires:
			end := b.at(e.Time)
			b.out.Alerts[i].End = &end
			delete(open, key)
		}
	}
	sort.SliceStable(b.out.Alerts, func(i, j int) bool { return b.out.Alerts[i].Start < b.out.Alerts[j].Start })
}

func jsonOf(data map[string]any) string {
	text, err := json.Marshal(data) // it sorts the keys
	if err != nil {
		return ""
	}
	return string(text)
}

// events lists what happened, without the alerts, which have a picture of their
// own, and without what is the same in every run: the start of the processes before
// the load, and their end after it.
func (b *pageBuilder) events() {
	b.out.Events = []PageEvent{}
	left := 0
	for _, e := range b.run.Events {
		switch {
		case e.Kind == record.EventAlert, e.Kind == record.EventProcess && b.ofEveryRun(e):
			continue
		case e.Kind == record.EventPhase && e.Text != started:
			continue // the next one starts
		case len(b.out.Events) == listedEvents:
			left++
			continue
		}
		b.out.Events = append(b.out.Events, PageEvent{T: b.at(e.Time), Kind: e.Kind, Name: shorten(e.Name), Text: shorten(e.Text), Detail: shorten(eventDetail(e))})
	}
	if left > 0 {
		b.out.Events = append(b.out.Events, PageEvent{T: b.out.Events[listedEvents-1].T, Kind: record.EventNote, Name: "more", Text: counted(left, "event") + " left out; events.jsonl has them all"})
	}
}

func (b *pageBuilder) ofEveryRun(e record.Event) bool {
	load := b.run.Meta.Load
	if e.Text == started || e.Text == ready {
		return !load.IsZero() && e.Time.Before(load)
	}
	return !load.IsZero() && e.Time.After(load.Add(b.run.Plan.Length()+time.Second))
}

// eventDetail is the proof of a fault, what an audit looked at, or the data as
// they are.
func eventDetail(e record.Event) string {
	if proof := proofOf(e.Effect); proof != "" {
		if e.Effect.Detail != "" {
			proof += " (" + e.Effect.Detail + ")"
		}
		return proof
	}
	if e.Kind == record.EventAudit {
		if checked, is := e.Data["checked"].(map[string]any); is {
			broken, _ := e.Data["violations"].([]any)
			return fmt.Sprintf("checked %s: %s", describeParams(checked), counted(len(broken), "violation"))
		}
	}
	if note := text(e.Data["note"]); note != "" && len(e.Data) == 1 {
		return note
	}
	if len(e.Data) == 0 {
		return ""
	}
	return jsonOf(e.Data)
}
