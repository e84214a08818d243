package ruletest

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery"
	_ "github.com/prometheus/prometheus/discovery/file" // what a configuration may say
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
)

// Prometheus is what a prometheus.yml comes to, as far as tests ask.
type Prometheus struct {
	ScrapeInterval   time.Duration
	OutOfOrder       time.Duration       // how old samples may be that are written to it
	NativeHistograms bool                // whether they are scraped
	Exemplars        int64               // how many are kept
	RuleFiles        []string            // patterns, relative ones made absolute
	Targets          map[string][]string // the instances of each job that are listed one by one: "service instance address"
}

// Config reads a prometheus.yml with Prometheus' own code, which refuses what it does not know.
func Config(name string) (Prometheus, error) {
	cfg, err := config.LoadFile(name, false, slog.New(slog.DiscardHandler))
	if err != nil {
		return Prometheus{}, err
	}
	out := Prometheus{
		ScrapeInterval: time.Duration(cfg.GlobalConfig.ScrapeInterval), RuleFiles: cfg.RuleFiles, Targets: map[string][]string{},
		NativeHistograms: cfg.GlobalConfig.ScrapeNativeHistograms != nil && *cfg.GlobalConfig.ScrapeNativeHistograms,
	}
	if tsdb := cfg.StorageConfig.TSDBConfig; tsdb != nil {
		out.OutOfOrder = time.Duration(tsdb.OutOfOrderTimeWindow) * time.Millisecond
	}
	if exemplars := cfg.StorageConfig.ExemplarsConfig; exemplars != nil {
		out.Exemplars = exemplars.MaxExemplars
	}
	jobs, err := cfg.GetScrapeConfigs()
	if err != nil {
		return out, err
	}
	for _, job := range jobs {
		for _, found := range job.ServiceDiscoveryConfigs {
			static, ok := found.(discovery.StaticConfig)
			if !ok {
				continue
			}
			for _, group := range static {
				for _, target := range group.Targets {
					out.Targets[job.JobName] = append(out.Targets[job.JobName],
						fmt.Sprintf("%s %s %s", group.Labels["service"], group.Labels["instance"], target[model.AddressLabel]))
				}
			}
		}
	}
	return out, nil
}

// Rules reads a file of rules with Prometheus' own code and returns every mistake, and the expressions by what they make.
func Rules(name string) (map[string][]string, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("reading the rules: %w", err)
	}
	groups, errs := rulefmt.Parse(data, false, model.UTF8Validation, parser.NewParser(parser.Options{}), slog.New(slog.DiscardHandler))
	if len(errs) > 0 {
		return nil, fmt.Errorf("%s: %w", name, errors.Join(errs...))
	}
	out := map[string][]string{}
	for _, group := range groups.Groups {
		for _, rule := range group.Rules {
			made := rule.Record + rule.Alert
			out[made] = append(out[made], rule.Expr)
		}
	}
	return out, nil
}
