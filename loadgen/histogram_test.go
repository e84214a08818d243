package loadgen

import (
	"math"
	"testing"
	"time"
)

func TestHistogram(t *testing.T) {
	h := NewHistogram()
	if h.Count() != 0 || h.Max() != 0 || h.Quantile(0.99) != 0 {
		t.Error("an empty histogram has values")
	}
	for i := 1; i <= 1000; i++ {
		h.Record(time.Duration(i) * time.Millisecond)
	}
	for q, want := range map[float64]time.Duration{
		0: time.Millisecond, 0.5: 500 * time.Millisecond, 0.99: 990 * time.Millisecond, 0.999: 999 * time.Millisecond, 1: time.Second,
	} {
		if got := h.Quantile(q); math.Abs(float64(got-want)) > float64(want)/1000 {
			t.Errorf("quantile %v: got %v, want %v to three digits", q, got, want)
		}
	}
	if h.Count() != 1000 || h.Max() != time.Second {
		t.Errorf("count %d, max %v", h.Count(), h.Max())
	}
}

// TestHistogramDoesNotInterpolate has a gap in which a t-digest would invent values.
func TestHistogramDoesNotInterpolate(t *testing.T) {
	h := NewHistogram()
	for i := range 1000 {
		if i < 991 {
			h.Record(10 * time.Millisecond)
		} else {
			h.Record(5 * time.Second)
		}
	}
	if got := h.Quantile(0.99); got > 11*time.Millisecond {
		t.Errorf("p99 %v of 0.9 %% slow requests", got)
	}
	if got := h.Quantile(0.999); got < 4990*time.Millisecond {
		t.Errorf("p99.9 %v of 0.9 %% slow requests", got)
	}
}

func TestHistogramRange(t *testing.T) {
	h := NewHistogram()
	for _, d := range []time.Duration{-time.Second, 0, time.Nanosecond} {
		h.Record(d)
	}
	if h.Count() != 3 || h.Max() != time.Microsecond || h.Quantile(1) != time.Microsecond {
		t.Errorf("below the range: count %d, max %v", h.Count(), h.Max())
	}
	h.Record(48 * time.Hour)
	if h.Count() != 4 || h.Max() != time.Hour || h.Quantile(1) != time.Hour {
		t.Errorf("above the range: count %d, max %v, p100 %v", h.Count(), h.Max(), h.Quantile(1))
	}
}

func TestHistogramMerge(t *testing.T) {
	all, odd, even := NewHistogram(), NewHistogram(), NewHistogram()
	for i := range 5000 {
		d := time.Duration(i*i) * time.Microsecond
		all.Record(d)
		if i%2 == 0 {
			even.Record(d)
		} else {
			odd.Record(d)
		}
	}
	even.Merge(odd)
	if even.Count() != all.Count() || even.Max() != all.Max() {
		t.Errorf("merged: count %d, max %v; want %d, %v", even.Count(), even.Max(), all.Count(), all.Max())
	}
	for q := 0.0; q <= 1; q += 0.01 {
		if got, want := even.Quantile(q), all.Quantile(q); got != want {
			t.Errorf("quantile %v: merged %v, whole %v", q, got, want)
		}
	}
}
