package figure_test

import (
	"math"
	"testing"
	"time"

	"github.com/faultline-lab/faultline/internal/figure"
)

func TestText(t *testing.T) {
	for _, test := range []struct {
		unit figure.Unit
		v    float64
		want string
	}{
		{figure.Ratio, 0.99, "99%"},
		{figure.Ratio, 0.995, "99.5%"},
		{figure.Ratio, 0.12345, "12.35%"},
		{figure.Ratio, 1, "100%"},
		{figure.Ratio, 0, "0%"},
		{figure.Ratio, 0.999999, "99.99%"},
		{figure.Ratio, 0.0000001, "<0.01%"},
		{figure.Ratio, 1.0000001, "100.01%"},
		{figure.Ratio, 2.5, "250%"},
		{figure.Seconds, 0, "0s"},
		{figure.Seconds, 0.8, "800ms"},
		{figure.Seconds, 0.0123456, "12.3ms"},
		{figure.Seconds, 0.9996, "1s"},
		{figure.Seconds, 0.0000052, "5.2µs"},
		{figure.Seconds, 3e-9, "3ns"},
		{figure.Seconds, 1.2345, "1.23s"},
		{figure.Seconds, 65, "65s"},
		{figure.Seconds, 119.96, "120s"},
		{figure.Seconds, 120, "2m"},
		{figure.Seconds, 150, "2m30s"},
		{figure.Seconds, 3600, "1h"},
		{figure.Seconds, 3900, "1h5m"},
		{figure.Seconds, 600, "10m"},
		{figure.Seconds, 1e12, "1000000000000s"},
		{figure.Seconds, -0.5, "-500ms"},
		{figure.Seconds, math.Inf(1), "never"},
		{figure.Seconds, math.Inf(-1), "minus infinite"},
		{figure.Times, 1.2, "1.2x"},
		{figure.Times, 3.04999, "3.05x"},
		{figure.Times, math.Inf(1), "infinite"},
		{figure.PerSecond, 80, "80/s"},
		{figure.PerSecond, 19.876, "19.9/s"},
		{figure.PerSecond, 12345.6, "12,346/s"},
		{figure.Count, 0, "0"},
		{figure.Count, 12345678, "12,345,678"},
		{figure.Count, -1234, "-1,234"},
		{figure.Count, 1e18, "1e+18"},
		{figure.Plain, 0.12345, "0.123"},
		{figure.Plain, 1234.6, "1,235"},
		{figure.Plain, 1e-9, "1e-09"},
		{figure.Bytes, 100, "100 B"},
		{figure.Bytes, 1536, "1.5 KB"},
		{figure.Bytes, 700 << 20, "700 MB"},
		{figure.Bytes, 3 << 50, "3072 TB"},
		{figure.Cores, 1, "1 core"},
		{figure.Cores, 0.25, "0.25 cores"},
		{figure.Ratio, math.NaN(), "unknown"},
	} {
		if got := test.unit.Text(test.v); got != test.want {
			t.Errorf("%s of %v: got %q, want %q", test.unit, test.v, got, test.want)
		}
	}
}

func TestApartShowsEveryDifference(t *testing.T) {
	for _, test := range []struct {
		unit         figure.Unit
		a, b         float64
		textA, textB string
	}{
		{figure.Seconds, 0.8, 0.8, "800ms", "800ms"},
		{figure.Seconds, 0.80012, 0.8, "800.1ms", "800ms"},
		{figure.Ratio, 0.989999, 0.99, "98.9999%", "99%"},
		{figure.Times, 1.2000001, 1.2, "1.2000001x", "1.2x"},
		{figure.Seconds, 300.0001, 300, "5m0.0001s", "5m"},
		{figure.Count, 3, 4, "3", "4"},
	} {
		a, b := test.unit.Apart(test.a, test.b)
		if a != test.textA || b != test.textB {
			t.Errorf("%v and %v: got %q and %q, want %q and %q", test.a, test.b, a, b, test.textA, test.textB)
		}
	}
}

func TestDuration(t *testing.T) {
	if got := figure.Duration(1500 * time.Microsecond); got != "1.5ms" {
		t.Errorf("got %q, want 1.5ms", got)
	}
}

func FuzzText(f *testing.F) {
	f.Add(0.99, 0.98)
	f.Add(math.Inf(1), -1e300)
	f.Add(1e-320, 5e-324)
	f.Fuzz(func(t *testing.T, a, b float64) {
		for _, unit := range []figure.Unit{
			figure.Plain, figure.Ratio, figure.Seconds, figure.Times, figure.PerSecond, figure.Count, figure.Bytes, figure.Cores,
		} {
			if unit.Text(a) == "" {
				t.Errorf("%s of %v is written as nothing", unit, a)
			}
			unit.Apart(a, b)
		}
	})
}
