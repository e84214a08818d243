package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"sync"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/rules"
)

// The states of an alert.
const (
	AlertPending  = "pending"
	AlertFiring   = "firing"
	AlertResolved = "resolved" // also said of one that was only pending
)

// Alert is a change of one alert's state.
type Alert struct {
	Name        string
	State       string
	Labels      map[string]string // without the alert's name
	Annotations map[string]string
	Since       time.Time // when the state began, by the rules' clock
}

// ruleLoader gives the rule manager rules from memory.
type ruleLoader struct {
	parser parser.Parser
	groups *rulefmt.RuleGroups
}

// rulesName stands where the rule manager expects a file's name.
const rulesName = "rules"

func (l ruleLoader) Load(string, bool, model.ValidationScheme) (*rulefmt.RuleGroups, []error) {
	return l.groups, nil
}

func (l ruleLoader) Parse(query string) (parser.Expr, error) { return l.parser.ParseExpr(query) }

// parseRules reads a Prometheus rule file. All its mistakes come at once, each
// with line and column.
func parseRules(text []byte, p parser.Parser, log *slog.Logger) (*rulefmt.RuleGroups, error) {
	groups, errs := rulefmt.Parse(text, false, model.UTF8Validation, p, log)
	if len(errs) > 0 {
		return nil, fmt.Errorf("alert rules: %w", errors.Join(errs...))
	}
	for i := range groups.Groups {
		groups.Groups[i].Interval = 0 // all at the backend's pace
	}
	return groups, nil
}

// newRules makes a rule manager that evaluates from now on, until stopped.
func newRules(m *metrics, interval time.Duration, groups *rulefmt.RuleGroups, onAlert func(Alert)) (*rules.Manager, error) {
	manager := rules.NewManager(&rules.ManagerOptions{
		NameValidationScheme:   model.UTF8Validation,
		ExternalURL:            &url.URL{},
		QueryFunc:              rules.EngineQueryFunc(m.engine, m.db),
		NotifyFunc:             func(context.Context, string, ...*rules.Alert) {}, // transitions are told by watcher
		Context:                context.Background(),
		AppendableV2:           m.db,
		Queryable:              m.db,
		Logger:                 m.log,
		Registerer:             m.registry,
		GroupLoader:            ruleLoader{parser: m.parser, groups: groups},
		DefaultRuleQueryOffset: func() time.Duration { return 0 },
		Parser:                 m.parser,
	})
	watch := &watcher{tell: onAlert, known: make(map[*rules.AlertingRule]map[uint64]Alert)}
	evaluate := func(ctx context.Context, group *rules.Group, at time.Time) {
		rules.DefaultEvalIterationFunc(ctx, group, at)
		watch.look(group, at)
	}
	if err := manager.Update(interval, []string{rulesName}, labels.EmptyLabels(), "", evaluate); err != nil {
		manager.Stop()
		return nil, fmt.Errorf("alert rules: %w", err)
	}
	return manager, nil
}

// watcher tells each change of an alert's state once.
type watcher struct {
	mu    sync.Mutex
	tell  func(Alert)
	known map[*rules.AlertingRule]map[uint64]Alert // by rule and hash of labels
}

// look compares a group's alerts with those of the evaluation before.
func (w *watcher) look(group *rules.Group, at time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, rule := range group.AlertingRules() {
		before, now := w.known[rule], make(map[uint64]Alert)
		for _, active := range rule.ActiveAlerts() {
			key, alert := active.Labels.Hash(), newAlert(rule, active)
			now[key] = alert
			if before[key].State != alert.State {
				w.tell(alert)
			}
			delete(before, key)
		}
		for _, gone := range before {
			gone.State, gone.Since = AlertResolved, at
			w.tell(gone)
		}
		w.known[rule] = now
	}
}

func newAlert(rule *rules.AlertingRule, active *rules.Alert) Alert {
	alert := Alert{Name: rule.Name(), State: AlertPending, Since: active.ActiveAt, Annotations: active.Annotations.Map()}
	if active.State == rules.StateFiring {
		alert.State, alert.Since = AlertFiring, active.FiredAt
	}
	alert.Labels = active.Labels.Map()
	delete(alert.Labels, labels.AlertName)
	return alert
}
