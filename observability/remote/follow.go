package remote

import (
	"math"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/faultline-lab/faultline/observability/telemetry"
)

// How long a series may be without a new sample before it has ended, or a target before its
// silence counts as scrapes that failed. Targets are scraped once a second; a scrape may take one.
const (
	scrapeEvery = time.Second
	silentAfter = 3 * time.Second
)

// Follower turns what a Prometheus is asked again and again, with windows that overlap, into each
// sample once, and into what a scraper would have recorded of a series' end: an instant query of another
// Prometheus shows neither. It has no clock.
type Follower struct {
	lines map[string]*line
}

// line is one series as far as it is known.
type line struct {
	labels map[string]string
	last   time.Time
	ended  bool
}

// NewFollower returns a Follower that knows of no series.
func NewFollower() *Follower { return &Follower{lines: map[string]*line{}} }

// Stale is the value of a series' end (Prometheus' stale marker).
func Stale() float64 { return math.Float64frombits(0x7ff0000000000002) }

// Add takes an answer as of a time, and returns the samples that are new. A series that has
// been silent ends. A target that has been silent, not even said to be down, counts as not scraped (up is
// 0) for each second of it: so a Prometheus that was itself away leaves a hole that can be seen.
func (f *Follower) Add(answer []telemetry.Series, at time.Time) []telemetry.Series {
	var out []telemetry.Series
	for _, series := range answer {
		l := f.line(series.Labels)
		fresh := slices.DeleteFunc(slices.Clone(series.Points), func(p telemetry.Point) bool { return !p.Time.After(l.last) })
		if len(fresh) == 0 {
			continue
		}
		l.last, l.ended = fresh[len(fresh)-1].Time, false
		out = append(out, telemetry.Series{Labels: series.Labels, Points: fresh})
	}
	for _, l := range f.lines {
		if points := l.silence(at); len(points) > 0 {
			out = append(out, telemetry.Series{Labels: l.labels, Points: points})
		}
	}
	return out
}

// silence is what a series' not going on means.
func (l *line) silence(at time.Time) []telemetry.Point {
	if at.Sub(l.last) < silentAfter {
		return nil
	}
	if l.labels["__name__"] != "up" {
		if l.ended {
			return nil
		}
		l.ended = true
		return []telemetry.Point{{Time: l.last.Add(scrapeEvery / 2), Value: Stale()}} // where no sample is, should it go on
	}
	var out []telemetry.Point
	for at.Sub(l.last) >= silentAfter {
		l.last = l.last.Add(scrapeEvery)
		out = append(out, telemetry.Point{Time: l.last})
	}
	return out
}

func (f *Follower) line(labels map[string]string) *line {
	key := keyOf(labels)
	l := f.lines[key]
	if l == nil {
		l = &line{labels: labels}
		f.lines[key] = l
	}
	return l
}

func keyOf(labels map[string]string) string {
	pairs := make([]string, 0, len(labels))
	for name, value := range labels {
		pairs = append(pairs, name+"\xff"+value)
	}
	sort.Strings(pairs)
	return strings.Join(pairs, "\xfe")
}
