package measure

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/faultline-lab/faultline/internal/figure"
	"github.com/faultline-lab/faultline/internal/record"
)

// The states of an alert, as its events carry them.
const (
	firing   = "firing"
	resolved = "resolved"
)

// detected is the time from the first fault's start until the alert fired.
func (s *Set) detected(alert string, w Window) Value {
	fault, found := s.firstFault(w)
	if !found {
		return unknown(figure.Seconds, "no fault started in %s", w)
	}
	if fault.Start >= s.end {
		return unknown(figure.Seconds, "the run was cut short at %s, before the fault %s began", round(s.end), fault.ID)
	}
	begin := s.at(fault.Start)
	on := map[string]bool{} // by the alert's labels
	for _, e := range s.events {
		if e.Kind != record.EventAlert || e.Name != alert {
			continue
		}
		if e.Time.Before(begin) {
			on[labelsKey(e.Data)] = e.Text == firing || on[labelsKey(e.Data)] && e.Text != resolved
			continue
		}
		if anyOn(on) {
			break
		}
		if e.Text == firing {
			return known(e.Time.Sub(begin).Seconds(), figure.Seconds, 0)
		}
	}
	if anyOn(on) {
		return unknown(figure.Seconds, "%s was firing already when the fault %s began", alert, fault.ID)
	}
	return known(math.Inf(1), figure.Seconds, 0)
}

// labelsKey tells the alerts of one name apart. JSON sorts the keys of a map.
func labelsKey(labels map[string]any) string {
	key, err := json.Marshal(labels)
	if err != nil {
		return ""
	}
	return string(key)
}

func anyOn(on map[string]bool) bool {
	for _, is := range on {
		if is {
			return true
		}
	}
	return false
}

// Violation is a broken invariant: of the system's audit, or of the lab, which holds it against what clients were told.
type Violation struct {
	Invariant       string   `json:"invariant"`
	Detail          string   `json:"detail"`
	Keys            []string `json:"keys,omitempty"`             // what it is about: orders, products
	IdempotencyKeys []string `json:"idempotency_keys,omitempty"` // of the clients' requests
	Traces          []string `json:"traces,omitempty"`
}

// String writes the violation in one line, with all that it names.
func (v Violation) String() string {
	text := v.Invariant + ": " + v.Detail
	var named []string
	for _, part := range []struct {
		what string
		of   []string
	}{{"", v.Keys}, {"key ", v.IdempotencyKeys}, {"trace ", v.Traces}} {
		if len(part.of) > 0 {
			named = append(named, part.what+strings.Join(part.of, " "))
		}
	}
	if len(named) > 0 {
		text += " (" + strings.Join(named, ", ") + ")"
	}
	return text
}

// Audit is the system's answer to the question whether its data is right.
type Audit struct {
	At         time.Duration  `json:"-"`
	Violations []Violation    `json:"violations"`
	Checked    map[string]any `json:"checked"` // how many of what was looked at
	Settled    bool           `json:"settled"` // whether the system had come to rest
	Problem    string         `json:"-"`       // why the answer cannot be used; "" when it can
	// Operations are what the system was asked to do, as it knows it; nil when it does not tell.
	Operations []Operation `json:"operations"`
	// History counts what clients asked for; nil when Operations is.
	History *History `json:"-"`
}

// Audit returns the run's last audit, and whether there was one.
func (s *Set) Audit() (Audit, bool) {
	for _, e := range slices.Backward(s.events) {
		if e.Kind == record.EventAudit {
			a := readAudit(e)
			a.At = e.Time.Sub(s.run.Meta.Load)
			if a.Operations != nil {
				s.holdToAnswers(&a)
			}
			return a, true
		}
	}
	return Audit{}, false
}

func readAudit(e record.Event) Audit {
	var a Audit
	data, err := json.Marshal(e.Data)
	if err == nil {
		err = json.Unmarshal(data, &a)
	}
	_, answered := e.Data["violations"]
	switch {
	case err != nil:
		a.Problem = "the audit's answer cannot be read: " + err.Error()
	case !answered && e.Text != "":
		a.Problem = "the audit came to nothing: " + e.Text
	case !answered:
		a.Problem = "the audit's answer says nothing of violations"
	case !a.Settled:
		a.Problem = "the system had not settled when it was audited"
	}
	return a
}

func (s *Set) violations() Value {
	a, found := s.Audit()
	if !found {
		return unknown(figure.Count, "there was no audit: the system has no probe for its invariants, or the run ended before it")
	}
	if a.Problem != "" && (a.Settled || len(a.Violations) == 0) { // what is broken stays broken, settled or not
		return unknown(figure.Count, "%s", a.Problem)
	}
	checked := 0.0
	for _, n := range a.Checked {
		if f, ok := n.(float64); ok {
			checked += f
		}
	}
	return known(float64(len(a.Violations)), figure.Count, int64(checked))
}
