package oracle

import (
	"strings"
	"testing"

	"github.com/faultline-lab/faultline/internal/figure"
)

func TestVerdict(t *testing.T) {
	wide := &Interval{0.5, 2}
	for _, c := range []struct {
		row  Row
		want string
	}{
		{Row{Predicted: 1, Measured: 1.09}, Near},
		{Row{Predicted: 1, Measured: 0.91, Interval: wide}, Near},
		{Row{Predicted: 1, Measured: 1.11}, Wrong},
		{Row{Predicted: 1, Measured: 1.11, Interval: wide}, Inside},
		{Row{Predicted: 1, Measured: 2.01, Interval: wide}, Wrong},
		{Row{Predicted: 1, Measured: 1, Void: "it lagged"}, Void},
		{Row{Fate: &Fate{comesBack, comesBack}}, AsSaid},
		{Row{Fate: &Fate{comesBack, undecided}}, Wrong},
	} {
		if got := c.row.Verdict(); got != c.want {
			t.Errorf("%+v: %q, want %q", c.row, got, c.want)
		}
	}
}

func TestTable(t *testing.T) {
	var out strings.Builder
	err := Table(&out, []Row{
		{What: "p50", Premises: "280/s", Unit: figure.Seconds, Predicted: 0.039, Measured: 0.0405, Interval: &Interval{0.03, 0.05}, How: "interval: played"},
		{What: "p99", Premises: "280/s", Unit: figure.Seconds, Predicted: 0.235, Measured: 0.4, Interval: &Interval{0.15, 0.35}, How: "interval: played"},
		{What: "1 retry", Premises: "utilisation 0.46", Fate: &Fate{comesBack, comesBack}},
	})
	want := `  WHAT     PREMISES          PREDICTED   MEASURED    OFF      INTERVAL       VERDICT
  p50      280/s             39ms        40.5ms      +3.8 %   30ms to 50ms   within 10 %
  p99      280/s             235ms       400ms       +70.2 %  150ms to 350ms WRONG
  1 retry  utilisation 0.46  comes back  comes back           none           as predicted
  interval: played
`
	if got := out.String(); err != nil || strings.Join(strings.Fields(got), " ") != strings.Join(strings.Fields(want), " ") {
		t.Errorf("%v\n%s", err, got)
	}
}

// With one worker and evenly spaced arrivals the times are known.
func TestPlay(t *testing.T) {
	times := make([]float64, 4)
	play([]float64{0, 1, 2, 10}, []float64{1.5, 1.5, 1.5, 1}, 1, times)
	for i, want := range []float64{1.5, 2, 2.5, 1} {
		near(t, "time", times[i], want, 1e-12)
	}
	play([]float64{0, 0, 0, 1}, []float64{3, 1, 1, 1}, 2, times)
	for i, want := range []float64{3, 1, 2, 2} {
		near(t, "time", times[i], want, 1e-12)
	}
}

func TestQuantileOf(t *testing.T) {
	values := []float64{1, 2, 3, 4, 5}
	near(t, "median", quantileOf(0.5)(values), 3, 0)
	near(t, "p99", quantileOf(0.99)(values), 5, 0)
}
