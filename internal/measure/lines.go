package measure

import (
	"context"
	"math"
	"sort"
	"time"

	"github.com/faultline-lab/faultline/loadgen"
	"github.com/faultline-lab/faultline/observability/telemetry"
)

// Point is a value at an offset from the start of the load.
type Point struct {
	At    time.Duration
	Value float64
}

// Line is a series over the run; where nothing was recorded, points are
// missing.
type Line []Point

// Bin is what became of the journeys that were due in one second.
type Bin struct {
	Start   time.Duration
	Offered int           // came due
	Good    int           // ended with success within the slo
	Slow    int           // ended with success, but too late
	Failed  int           // the rest
	P50     time.Duration // of those that finished; 0 of none
	P99     time.Duration
}

// PerSecond gives a load's time line, one bin for each second of the run with
// its warmup; seconds without arrivals are there too, with zeros.
func (s *Set) PerSecond(load string) []Bin {
	slo, _ := s.slo(load)
	length := s.all().End
	bins := make([]Bin, (length+time.Second-1)/time.Second)
	journeys := s.journeys[load]
	for i := range bins {
		start := time.Duration(i) * time.Second
		w := Window{Start: start, End: min(start+time.Second, length)}
		bins[i] = bin(start, s.due(journeys, w), slo)
	}
	return bins
}

func bin(start time.Duration, due []loadgen.Result, slo time.Duration) Bin {
	b := Bin{Start: start, Offered: len(due)}
	var took []float64
	for _, r := range due {
		switch {
		case Good(r, slo):
			b.Good++
		case r.OK && Finished(r):
			b.Slow++
		default:
			b.Failed++
		}
		if Finished(r) {
			took = append(took, r.Latency().Seconds())
		}
	}
	sort.Float64s(took)
	b.P50, b.P99 = duration(Quantile(took, 0.5)), duration(Quantile(took, 0.99))
	return b
}

func duration(seconds float64) time.Duration {
	if math.IsNaN(seconds) {
		return 0
	}
	return time.Duration(math.Round(seconds * 1e9))
}

// all is the whole run with its warmup, as far as it went.
func (s *Set) all() Window { return Window{Kind: Whole, End: s.end} }

// lines reads an expression over the whole run, turns each series into a line,
// and joins the lines that have the same key: replicas of one service, outcomes
// of one edge.
func (s *Set) lines(ctx context.Context, expr string, line func([]Point) Line, join func(a, b float64) float64,
	key func(map[string]string) string,
) (map[string]Line, error) {
	series, err := s.samples(ctx, s.all(), expr, time.Second)
	if err != nil {
		return nil, err
	}
	joined := map[string]map[time.Duration]float64{}
	for _, one := range series {
		k := key(one.Labels)
		if joined[k] == nil {
			joined[k] = map[time.Duration]float64{}
		}
		for _, p := range line(s.offsets(one.Points)) {
			if old, found := joined[k][p.At]; found {
				p.Value = join(old, p.Value)
			}
			joined[k][p.At] = p.Value
		}
	}
	out := map[string]Line{}
	for k, points := range joined {
		out[k] = inOrder(points)
	}
	return out, nil
}

// offsets undoes that recorded series know whole milliseconds only, rounded
// down, so that the first point is at 0 and not a little before.
func (s *Set) offsets(points []telemetry.Point) []Point {
	out := make([]Point, len(points))
	for i, p := range points {
		at := p.Time.Sub(s.run.Meta.Load) + time.Millisecond - 1
		out[i] = Point{At: at.Truncate(time.Millisecond), Value: p.Value}
	}
	return out
}

func inOrder(points map[time.Duration]float64) Line {
	out := make(Line, 0, len(points))
	for at, value := range points {
		out = append(out, Point{At: at, Value: value})
	}
	sort.Slice(out, func(i, j int) bool { return out[i].At < out[j].At })
	return out
}

// asIs is the line of a gauge.
func asIs(points []Point) Line { return points }

// perSecond is the line of a counter: by how much it grew in the second before.
// After a gap, its growth is spread over the gap.
func perSecond(points []Point) Line {
	out := make(Line, 0, len(points))
	for i, p := range points {
		last := Point{At: p.At - time.Second}
		switch {
		case i > 0:
			last = points[i-1]
		case p.At <= 0:
			continue // what was counted before the load began
		}
		grown := p.Value - last.Value
		if grown < 0 {
			grown = p.Value // restarted
		}
		if length := (p.At - last.At).Seconds(); length > 0 {
			out = append(out, Point{At: p.At, Value: grown / length})
		}
	}
	return out
}
