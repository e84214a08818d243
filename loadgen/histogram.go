package loadgen

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// The range of a Histogram; what lies outside counts as the nearer end.
const (
	histogramMin    = time.Microsecond
	histogramMax    = time.Hour
	histogramDigits = 3
)

// Histogram counts durations from 1 µs to 1 h to three significant digits (an
// HDR histogram, about 190 KB). Histograms merge without loss; percentiles of several
// are those of the merged one, never an average. It is not safe for concurrent use.
type Histogram struct {
	counts *hdrhistogram.Histogram
	max    time.Duration
}

// NewHistogram returns an empty histogram.
func NewHistogram() *Histogram {
	return &Histogram{counts: hdrhistogram.New(
		int64(histogramMin/time.Microsecond), int64(histogramMax/time.Microsecond), histogramDigits)}
}

// Record counts one duration.
func (h *Histogram) Record(d time.Duration) {
	d = min(max(d, histogramMin), histogramMax)
	h.max = max(h.max, d)
	// A value within the range is always counted.
	_ = h.counts.RecordValue(int64(d / time.Microsecond))
}

// Merge adds all that other counted.
func (h *Histogram) Merge(other *Histogram) {
	h.counts.Merge(other.counts)
	h.max = max(h.max, other.max)
}

// Quantile is the duration that a share q, from 0 to 1, of all that was
// counted does not exceed (to the nearest observation, and never more than Max);
// 0 of an empty histogram.
func (h *Histogram) Quantile(q float64) time.Duration {
	value := time.Duration(h.counts.ValueAtPercentile(100*q)) * time.Microsecond
	return min(value, h.max)
}

// Max is the longest duration counted, exactly.
func (h *Histogram) Max() time.Duration { return h.max }

// Count is the number of durations counted.
func (h *Histogram) Count() int64 { return h.counts.TotalCount() }
