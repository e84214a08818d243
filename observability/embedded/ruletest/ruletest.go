// Package ruletest runs tests of Prometheus rules: the files that 'promtool
// test rules' takes, evaluated by the same libraries. It exists because
// promtool is a program of its own, which a test of this module cannot have.
//
// Of promtool's format it knows rule_files, evaluation_interval and, of each test, name, interval,
// input_series, alert_rule_test and promql_expr_test. Anything else is refused.
package ruletest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/rules"
)

type file struct {
	RuleFiles          []string       `yaml:"rule_files"`
	EvaluationInterval model.Duration `yaml:"evaluation_interval"`
	Tests              []test         `yaml:"tests"`
}

type test struct {
	Name        string         `yaml:"name"`
	Interval    model.Duration `yaml:"interval"`
	InputSeries []struct {
		Series string `yaml:"series"`
		Values string `yaml:"values"`
	} `yaml:"input_series"`
	Alerts      []alertTest `yaml:"alert_rule_test"`
	Expressions []exprTest  `yaml:"promql_expr_test"`
}

type alertTest struct {
	EvalTime  model.Duration `yaml:"eval_time"`
	Alertname string         `yaml:"alertname"`
	ExpAlerts []struct {
		Labels      map[string]string `yaml:"exp_labels"`
		Annotations map[string]string `yaml:"exp_annotations"`
	} `yaml:"exp_alerts"`
}

type exprTest struct {
	Expr       string         `yaml:"expr"`
	EvalTime   model.Duration `yaml:"eval_time"`
	ExpSamples []struct {
		Labels string  `yaml:"labels"`
		Value  float64 `yaml:"value"`
	} `yaml:"exp_samples"`
}

// Report is what was tested.
type Report struct {
	Tests  []string // by name
	Alerts []string // the names of those that fired where a test wanted them to, sorted
}

// Run carries out the tests in a file and returns everything that was not as it says.
func Run(ctx context.Context, name string) (Report, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return Report{}, fmt.Errorf("reading the tests: %w", err)
	}
	var f file
	if err := yaml.UnmarshalWithOptions(data, &f, yaml.Strict()); err != nil {
		return Report{}, fmt.Errorf("%s: %w", name, err)
	}
	for i, rules := range f.RuleFiles {
		f.RuleFiles[i] = filepath.Join(filepath.Dir(name), rules)
	}
	if f.EvaluationInterval == 0 {
		f.EvaluationInterval = model.Duration(time.Minute)
	}
	report, fired := Report{}, map[string]bool{}
	var errs []error
	for _, t := range f.Tests {
		report.Tests = append(report.Tests, t.Name)
		if err := t.run(ctx, f, fired); err != nil {
			errs = append(errs, fmt.Errorf("%s: %s: %w", name, t.Name, err))
		}
	}
	report.Alerts = slices.Sorted(maps.Keys(fired))
	return report, errors.Join(errs...)
}

// input is what promqltest loads.
func (t test) input() string {
	var out strings.Builder
	fmt.Fprintf(&out, "load %s\n", t.Interval)
	for _, s := range t.InputSeries {
		fmt.Fprintf(&out, "  %s %s\n", s.Series, s.Values)
	}
	return out.String()
}

// until is how long the rules have to be evaluated.
func (t test) until() time.Time {
	last := model.Duration(0)
	for _, a := range t.Alerts {
		last = max(last, a.EvalTime)
	}
	for _, e := range t.Expressions {
		last = max(last, e.EvalTime)
	}
	return at(last)
}

func at(d model.Duration) time.Time { return time.Unix(0, 0).UTC().Add(time.Duration(d)) }

// run evaluates the rules step by step, and looks at the alerts when a test wants it.
func (t test) run(ctx context.Context, f file, fired map[string]bool) (err error) {
	if t.Interval == 0 {
		t.Interval = f.EvaluationInterval
	}
	p := parser.NewParser(parser.Options{})
	suite, err := promqltest.NewLazyLoader(t.input(), promqltest.LazyLoaderOpts{EnableAtModifier: true, EnableNegativeOffset: true, Parser: p})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, suite.Close()) }()
	suite.SubqueryInterval = time.Duration(f.EvaluationInterval)
	manager := rules.NewManager(&rules.ManagerOptions{
		QueryFunc: rules.EngineQueryFunc(suite.QueryEngine(), suite.Storage()), AppendableV2: suite.Storage(), Context: ctx,
		NotifyFunc: func(context.Context, string, ...*rules.Alert) {}, Logger: slog.New(slog.DiscardHandler), Parser: p,
	})
	loaded, errs := manager.LoadGroups(time.Duration(t.Interval), labels.EmptyLabels(), "", nil, false, f.RuleFiles...)
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	groups := make([]*rules.Group, 0, len(loaded))
	for _, key := range slices.Sorted(maps.Keys(loaded)) {
		groups = append(groups, loaded[key])
	}
	return t.evaluate(ctx, time.Duration(f.EvaluationInterval), suite, groups, fired)
}

func (t test) evaluate(ctx context.Context, interval time.Duration, suite *promqltest.LazyLoader, groups []*rules.Group, fired map[string]bool) error {
	for _, rule := range alerting(groups) {
		rule.SetRestored(true) // or it would wait for the past, which there is none of
	}
	var errs []error
	for now := at(0); !now.After(t.until()); now = now.Add(interval) {
		var failed error
		suite.WithSamplesTill(now, func(err error) { failed = errors.Join(err, step(suite.Context(), groups, now)) })
		if failed != nil { // a rule that cannot be evaluated; what follows would be noise
			return errors.Join(append(errs, failed)...)
		}
		for _, a := range t.Alerts {
			if when := at(a.EvalTime); !when.Before(now) && when.Before(now.Add(interval)) {
				errs = append(errs, a.check(alerting(groups), fired))
			}
		}
	}
	for _, e := range t.Expressions {
		errs = append(errs, e.check(ctx, suite))
	}
	return errors.Join(errs...)
}

// step evaluates every rule at one time.
func step(ctx context.Context, groups []*rules.Group, now time.Time) error {
	var errs []error
	for _, g := range groups {
		g.Eval(ctx, now)
		for _, r := range g.Rules() {
			if err := r.LastError(); err != nil {
				errs = append(errs, fmt.Errorf("%s at %s: %w", r.Name(), now.Sub(at(0)), err))
			}
		}
	}
	return errors.Join(errs...)
}

func alerting(groups []*rules.Group) []*rules.AlertingRule {
	var out []*rules.AlertingRule
	for _, g := range groups {
		out = append(out, g.AlertingRules()...)
	}
	return out
}

// check compares the alerts of one name that fire now with those wanted.
func (a alertTest) check(all []*rules.AlertingRule, fired map[string]bool) error {
	var got, want []string
	for _, rule := range all {
		if rule.Name() != a.Alertname {
			continue
		}
		for _, active := range rule.ActiveAlerts() {
			if active.State == rules.StateFiring {
				got = append(got, describe(active.Labels.Map(), active.Annotations.Map()))
			}
		}
	}
	for _, e := range a.ExpAlerts {
		with := maps.Clone(e.Labels)
		if with == nil {
			with = map[string]string{}
		}
		with[labels.AlertName] = a.Alertname
		want = append(want, describe(with, e.Annotations))
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		return fmt.Errorf("%s at %s:\nwanted %s\ngot    %s", a.Alertname, a.EvalTime, list(want), list(got))
	}
	if len(want) > 0 {
		fired[a.Alertname] = true
	}
	return nil
}

// describe is an alert as the test file would have it.
func describe(with, annotations map[string]string) string {
	var out strings.Builder
	for _, part := range []struct {
		name   string
		values map[string]string
	}{{"exp_labels", with}, {"exp_annotations", annotations}} {
		fmt.Fprintf(&out, "\n  %s:", part.name)
		for _, key := range slices.Sorted(maps.Keys(part.values)) {
			fmt.Fprintf(&out, "\n    %s: %q", key, part.values[key])
		}
	}
	return out.String()
}

func list(alerts []string) string {
	if len(alerts) == 0 {
		return "none"
	}
	return strings.Join(alerts, "")
}

// check compares what an expression gives with what it is to give.
func (e exprTest) check(ctx context.Context, suite *promqltest.LazyLoader) error {
	query, err := suite.QueryEngine().NewInstantQuery(ctx, suite.Queryable(), nil, e.Expr, at(e.EvalTime))
	if err != nil {
		return fmt.Errorf("%s: %w", e.Expr, err)
	}
	defer query.Close()
	result := query.Exec(ctx)
	vector, err := result.Vector()
	if err != nil {
		if scalar, errScalar := result.Scalar(); errScalar == nil {
			vector, err = promql.Vector{{F: scalar.V}}, nil
		}
	}
	if err != nil {
		return fmt.Errorf("%s: %w", e.Expr, err)
	}
	var got, want []string
	for _, s := range vector {
		got = append(got, fmt.Sprintf("%s %v", s.Metric, s.F))
	}
	for _, s := range e.ExpSamples {
		with, err := parser.NewParser(parser.Options{}).ParseMetric(s.Labels)
		if err != nil {
			return fmt.Errorf("%s: labels %s: %w", e.Expr, s.Labels, err)
		}
		want = append(want, fmt.Sprintf("%s %v", with, s.Value))
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		return fmt.Errorf("%s at %s: wanted %v, got %v", e.Expr, e.EvalTime, want, got)
	}
	return nil
}
