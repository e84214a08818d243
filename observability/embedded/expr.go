package embedded

import (
	"fmt"
	"maps"
	"slices"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// Names are the metrics and labels that a PromQL expression speaks of, each once and sorted.
type Names struct {
	Metrics []string
	Labels  []string // that it selects or groups by; not those that it makes (label_replace)
}

// NamesIn reads a PromQL expression and tells which names it uses. A selector
// without a metric's name adds none.
func NamesIn(expr string) (Names, error) {
	parsed, err := parser.NewParser(parser.Options{}).ParseExpr(expr)
	if err != nil {
		return Names{}, fmt.Errorf("query %q: %w", expr, err)
	}
	metrics, used := map[string]bool{}, map[string]bool{}
	add := func(names []string) {
		for _, name := range names {
			used[name] = true
		}
	}
	parser.Inspect(parsed, func(node parser.Node, _ []parser.Node) error {
		switch n := node.(type) {
		case *parser.VectorSelector:
			for _, m := range n.LabelMatchers {
				switch {
				case m.Name != model.MetricNameLabel:
					used[m.Name] = true
				case m.Type == labels.MatchEqual:
					metrics[m.Value] = true
				}
			}
		case *parser.AggregateExpr:
			add(n.Grouping)
		case *parser.BinaryExpr:
			if n.VectorMatching != nil {
				add(n.VectorMatching.MatchingLabels)
				add(n.VectorMatching.Include)
			}
		}
		return nil
	})
	return Names{Metrics: slices.Sorted(maps.Keys(metrics)), Labels: slices.Sorted(maps.Keys(used))}, nil
}
