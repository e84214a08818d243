package embedded

import (
	"fmt"
	"strings"
	"testing"
)

func TestNamesIn(t *testing.T) {
	for expr, want := range map[string]string{
		`sum by (caller) (rate(calls_total{outcome!="ok"}[5s])) / on (caller) group_left (callee) up`: "[calls_total up] [callee caller outcome]",
		`histogram_quantile(0.9, sum by (le) (rate(x_bucket[5s]))) > bool 1`:                          "[x_bucket] [le]",
		`max_over_time((a unless b{c=~"d"})[1m:1s] offset 5s)`:                                        "[a b] [c]",
		`{__name__=~"x.*", y="z"}`: "[] [y]",
		`time() - 1`:               "[] []",
	} {
		got, err := NamesIn(expr)
		if text := fmt.Sprint(got.Metrics, " ", got.Labels); err != nil || text != want {
			t.Errorf("%s: %s, %v; want %s", expr, text, err, want)
		}
	}
	if _, err := NamesIn("sum(x"); err == nil || !strings.Contains(err.Error(), `query "sum(x"`) {
		t.Errorf("a broken query: %v", err)
	}
}
