package report

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/faultline-lab/faultline/chaos"
	"github.com/faultline-lab/faultline/internal/figure"
	"github.com/faultline-lab/faultline/internal/record"
	"github.com/faultline-lab/faultline/observability/names"
)

// What events of faults, alerts and processes say.
const (
	injected     = "injected"
	recovered    = "recovered"
	notFelt      = "not felt"
	notRecovered = "not recovered"
	firing       = "firing"
	resolved     = "resolved"
	started      = "started"
	ready        = "ready"
	settled      = "settled"
)

// describe says an event in one line for the terminal; the text is empty where it is
// no news.
func (l *Live) describe(e record.Event) (mark cell, text string) {
	switch e.Kind {
	case record.EventPhase:
		if e.Text == started {
			return cell{markPhase, bold}, e.Name
		}
	case record.EventFault:
		return describeFault(e)
	case record.EventAlert:
		if e.Text == firing && !l.alerted[e.Name] {
			l.alerted[e.Name] = true // once is news; every replica and edge of it is in the record
			return cell{markAlert, yellow}, strings.TrimSpace("alert " + e.Name + " fires " + aboutWhat(e.Data, " on "))
		}
	case record.EventProcess:
		if e.Text != started && e.Text != ready {
			return processMark(e.Text), e.Name + " " + e.Text
		}
	case record.EventHealth:
		return cell{markBad, red}, e.Name + " " + e.Text
	case record.EventAbort:
		return cell{markBad, red}, "aborted: " + e.Name
	case record.EventNote:
		return cell{markNote, yellow}, e.Name + ": " + e.Text
	case record.EventAudit:
		return describeAudit(e)
	}
	return cell{}, ""
}

// describeAudit says an audit that found something, or came to nothing.
func describeAudit(e record.Event) (mark cell, text string) {
	if e.Text != settled {
		return cell{markDoubt, yellow}, e.Name + ": " + e.Text
	}
	if broken, is := e.Data["violations"].([]any); is && len(broken) > 0 {
		return cell{markBad, red}, fmt.Sprintf("%s: %s", e.Name, counted(len(broken), "violation"))
	}
	return cell{}, ""
}

func counted(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return figure.Count.Text(float64(n)) + " " + noun
}

// processMark is red for what nobody asked for.
func processMark(text string) cell {
	if strings.HasPrefix(text, "exited") {
		return cell{markBad, red}
	}
	return cell{markNote, yellow}
}

func describeFault(e record.Event) (mark cell, text string) {
	text = e.Name + " " + e.Text
	if proof := proofOf(e.Effect); proof != "" {
		text += ": " + proof
	}
	switch e.Text {
	case recovered:
		return cell{markGood, green}, text
	case notFelt, notRecovered:
		return cell{markDoubt, yellow}, text
	}
	return cell{markFault, red}, text
}

// proofOf words what showed that a fault was felt, or gone.
func proofOf(e *chaos.Effect) string {
	if e == nil || e.Measure == "" {
		return ""
	}
	return fmt.Sprintf("%s %s -> %s", e.Measure, measured(e.Before, e.Unit), measured(e.During, e.Unit))
}

// measured writes a number of an effect. Milliseconds become a time, so that 3,192 ms
// and 18.8 ms read as 3.19s and 18.8ms.
func measured(v float64, unit string) string {
	switch unit {
	case "ms":
		return figure.Seconds.Text(v / 1000)
	case "bytes/s":
		return figure.Bytes.Text(v) + "/s"
	}
	return strings.TrimSpace(figure.Count.Text(v) + " " + unit)
}

// labelsOfPlace say where something was scraped, not what it is about.
var labelsOfPlace = []string{"alertname", "severity", "job", names.Service, names.Instance, names.Policy}

// aboutWhat names what an alert is about, as far as its labels tell, after a
// word such as "on"; empty where they do not.
func aboutWhat(labels map[string]any, before string) string {
	if caller, is := labels[names.Caller]; is {
		return before + fmt.Sprintf("%v->%v", caller, labels[names.Callee])
	}
	if on, is := labels[names.On]; is && on != "" {
		return before + fmt.Sprint(on)
	}
	var rest []string
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		if value := fmt.Sprint(labels[name]); value != "" && !slices.Contains(labelsOfPlace, name) {
			rest = append(rest, value)
		}
	}
	for _, label := range []string{names.Instance, names.Service} {
		if value, is := labels[label]; is && value != "" {
			return before + strings.Join(append([]string{fmt.Sprint(value)}, rest...), " ")
		}
	}
	if len(rest) == 0 {
		return ""
	}
	return before + strings.Join(rest, " ")
}
