package oracle

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/faultline-lab/faultline/internal/plan"
	"github.com/faultline-lab/faultline/internal/record"
	"github.com/faultline-lab/faultline/internal/system"
	"github.com/faultline-lab/faultline/loadgen"
	"github.com/faultline-lab/faultline/observability/telemetry"
)

func TestOraclesCompile(t *testing.T) {
	for _, o := range All() {
		p, sys, text, err := o.Plan()
		if err != nil {
			t.Errorf("%s: %v", o.Name, err)
			continue
		}
		if p.Scenario != o.Name || len(sys.Services) == 0 || len(text) == 0 {
			t.Errorf("%s: the plan is of %q", o.Name, p.Scenario)
		}
		if found, ok := Find(o.Name); !ok || found.Name != o.Name {
			t.Errorf("%s is not found", o.Name)
		}
	}
	if _, ok := Find("delphi"); ok {
		t.Error("there is no oracle delphi")
	}
}

var began = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// counters answers queries with the values that counters reached at each second.
type counters map[string]func(second float64) float64

func (c counters) Query(_ context.Context, expr string, at time.Time) ([]telemetry.Series, error) {
	value, found := c[expr]
	if !found {
		return nil, nil
	}
	return []telemetry.Series{{Points: []telemetry.Point{{Time: at, Value: value(at.Sub(began).Seconds())}}}}, nil
}

func (c counters) QueryRange(context.Context, string, time.Time, time.Time, time.Duration) ([]telemetry.Series, error) {
	return nil, fmt.Errorf("nobody asks for ranges")
}

// perSecond is a counter that grows evenly.
func perSecond(v float64) func(float64) float64 {
	return func(second float64) float64 { return v * second }
}

// recorded is the evidence of an oracle's run without results and metrics.
func recorded(t *testing.T, name string) *evidence {
	t.Helper()
	o, _ := Find(name)
	p, sys, _, err := o.Plan()
	if err != nil {
		t.Fatal(err)
	}
	return &evidence{run: &record.Run{Meta: record.Meta{Load: began}, Plan: p, System: sys}, metrics: counters{}}
}

func (e *evidence) add(load string, due, latency float64, ok bool) {
	at := began.Add(time.Duration(due * 1e9))
	e.run.Results = append(e.run.Results, loadgen.Result{Load: load, Due: at, Sent: at, Done: at.Add(time.Duration(latency * 1e9)), OK: ok})
}

// fill plays the load of a service through an ideal queue whose service takes
// factor times as long as its metrics say, and writes the record of that.
func (e *evidence) fill(service string, seed uint64, factor float64) {
	load := loadOf(e.run.Plan, service)
	random := rand.New(rand.NewPCG(seed, 0))
	const mean = 0.01
	var arrivals, drawn []float64
	for _, due := range load.Schedule() {
		arrivals, drawn = append(arrivals, due.Seconds()), append(drawn, mean*factor*random.ExpFloat64())
	}
	times := make([]float64, len(arrivals))
	play(arrivals, drawn, e.run.System.Service(service).Capacity.Workers, times)
	held, waited := 0.0, 0.0
	for i, at := range arrivals {
		e.add(service, at, times[i], true)
		held, waited = held+drawn[i]/factor, waited+times[i]-drawn[i]
	}
	metrics, length, n := e.metrics.(counters), load.Length().Seconds(), float64(len(arrivals))
	metrics[fmt.Sprintf("sum(door_service_time_seconds_sum{service=%q})", service)] = perSecond(held / length)
	metrics[fmt.Sprintf("sum(door_service_time_seconds_count{service=%q})", service)] = perSecond(n / length)
	metrics[fmt.Sprintf("sum(door_wait_seconds_sum{service=%q})", service)] = perSecond(waited / length)
	metrics[fmt.Sprintf("sum(door_wait_seconds_count{service=%q})", service)] = perSecond(n / length)
}

func loadOf(p *plan.Plan, name string) loadgen.Load {
	for _, load := range p.Loads {
		if load.Name == name {
			return load
		}
	}
	return loadgen.Load{}
}

func verdicts(rows []Row) string {
	var all []string
	for _, r := range rows {
		all = append(all, r.Verdict())
	}
	return strings.Join(all, ", ")
}

// An ideal queue is recognised, and one whose service takes 15 % longer than its
// metrics say is not: the judge can say no.
func TestJudgeQueues(t *testing.T) {
	good, bad := recorded(t, "utilisation"), recorded(t, "utilisation")
	for _, svc := range good.run.System.Services {
		good.fill(svc.Name, 1, 1)
		bad.fill(svc.Name, 1, 1.15)
	}
	rows, err := judgeUtilisation(t.Context(), good)
	if err != nil || len(rows) != 4 || strings.Contains(verdicts(rows), Wrong) {
		t.Errorf("an ideal queue: %q, %v", verdicts(rows), err)
	}
	rows, err = judgeUtilisation(t.Context(), bad)
	if err != nil || strings.Count(verdicts(rows), Wrong) < 2 {
		t.Errorf("a queue that lies: %q, %v", verdicts(rows), err)
	}
}

func TestJudgeTail(t *testing.T) {
	good, bad := recorded(t, "tail"), recorded(t, "tail")
	good.fill("queue", 1, 1)
	bad.fill("queue", 1, 1.06) // of a utilisation of 0.93 this makes one of 0.99
	rows, err := judgeTail(t.Context(), good)
	if err != nil || len(rows) != 2 || strings.Contains(verdicts(rows), Wrong) {
		t.Errorf("an ideal queue: %q, %v", verdicts(rows), err)
	}
	rows, err = judgeTail(t.Context(), bad)
	if err != nil || verdicts(rows) != Wrong+", "+Wrong {
		t.Errorf("a queue that lies: %q, %v", verdicts(rows), err)
	}
	good.run.Results[len(good.run.Results)/2].OK = false
	if _, err = judgeTail(t.Context(), good); err == nil || !strings.Contains(err.Error(), "failed") {
		t.Errorf("a failed request: error %v", err)
	}
}

// The arrivals of the labs come from a fixed seed. They must be ordinary ones,
// where an ideal queue is found near the form and not only inside the interval.
func TestArrivalsAreOrdinary(t *testing.T) {
	e := recorded(t, "tail")
	e.fill("queue", 1, 1)
	q, err := observe(t.Context(), e, "queue")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []float64{0.50, 0.99} {
		interval := replay(q.arrivals, q.Workers, q.Service, quantileOf(p))[0]
		if form := q.Quantile(p); !interval.Holds(form) {
			t.Errorf("quantile %g: the form says %g, the run's arrivals lead to %g to %g: take another seed", p, form, interval.Low, interval.High)
		}
	}
}

func (e *evidence) fillFate(caller string, rate, service float64, ok bool) {
	end := e.run.Plan.Length().Seconds()
	for at := 0.0; at < end; at += 1 / rate {
		e.add(caller, at, 0.02, ok)
	}
	metrics := e.metrics.(counters)
	metrics[fmt.Sprintf("sum(door_service_time_seconds_sum{service=%q})", caller+"-queue")] = perSecond(service * rate)
	metrics[fmt.Sprintf("sum(door_service_time_seconds_count{service=%q})", caller+"-queue")] = perSecond(rate)
}

// The measured service time decides what is predicted: at 54/s a queue that
// takes 18 ms for each is below the boundary of one retry.
func TestJudgeRetries(t *testing.T) {
	e := recorded(t, "retries")
	e.fillFate("one-below", 46, 0.020, true)
	e.fillFate("one-above", 54, 0.018, true)
	e.fillFate("two-below", 30.7, 0.020, false)
	e.fillFate("two-above", 36, 0.020, false)
	rows, err := judgeRetries(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := verdicts(rows), strings.Join([]string{AsSaid, AsSaid, Wrong, AsSaid}, ", "); got != want {
		t.Errorf("verdicts %q, want %q", got, want)
	}
	if rows[1].Fate.Predicted != comesBack || rows[3].Fate.Measured != staysDown {
		t.Errorf("rows %+v, %+v", rows[1].Fate, rows[3].Fate)
	}
}

func TestFateOfHalf(t *testing.T) {
	if got, err := fate([]request{{ok: true}, {}}); err != nil || got != undecided {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := fate(nil); err == nil {
		t.Error("no request, and no error")
	}
}

// ideal are the requests of a queue that stands still for a time: 2 workers,
// service 20 ms, arrivals evenly.
func ideal(rate, from, outage, until float64) []request {
	var out []request
	free := [2]float64{}
	for at := 0.0; at < until; at += 1 / rate {
		w := 0
		if free[1] < free[0] {
			w = 1
		}
		begin := max(at, free[w])
		if begin+0.02 > from && begin < from+outage {
			begin = from + outage
		}
		free[w] = begin + 0.02
		out = append(out, request{due: at, done: free[w], ok: true})
	}
	return out
}

func TestMeasureDrain(t *testing.T) {
	for _, c := range []struct{ rate, outage float64 }{{80, 2.5}, {80, 1}, {60, 2.5}, {90, 1.5}} {
		d, err := measureDrain(ideal(c.rate, 7, c.outage, 40))
		if err != nil {
			t.Fatal(err)
		}
		near(t, "outage", d.outage, c.outage, 0.05)
		near(t, fmt.Sprintf("drain at %g/s", c.rate), d.drained, Drain(c.outage, c.rate/100), 0.03*Drain(c.outage, c.rate/100))
	}
}

func TestMeasureDrainNeedsAnOutage(t *testing.T) {
	failed := ideal(80, 7, 2.5, 40)
	failed[900].ok = false
	for name, requests := range map[string][]request{"none": nil, "no outage": ideal(80, 7, 0, 40), "one failed": failed, "it ends too early": ideal(80, 7, 2.5, 9.6)} {
		if d, err := measureDrain(requests); err == nil {
			t.Errorf("%s: %+v", name, d)
		}
	}
}

func TestJudgeOutage(t *testing.T) {
	e := recorded(t, "outage")
	e.fillFate("safe", 80, 0.020, true)
	e.fillFate("unsafe", 94, 0.020, true)
	for _, r := range ideal(80, 7, 2.5, e.run.Plan.Length().Seconds()) {
		e.add("drain", r.due, r.latency(), true)
	}
	metrics := e.metrics.(counters)
	metrics[`sum(door_service_time_seconds_sum{service="drain"})`] = perSecond(80 * 0.02)
	metrics[`sum(door_service_time_seconds_count{service="drain"})`] = perSecond(80)
	rows, err := judgeOutage(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := verdicts(rows), strings.Join([]string{AsSaid, Wrong, Near}, ", "); got != want {
		t.Errorf("verdicts %q, want %q", got, want)
	}
}

func TestJudgeShapes(t *testing.T) {
	e := recorded(t, "shapes")
	for n := range 200 {
		latency := 0.02
		if n%3 > 0 { // two in three, of 63.4 %
			latency = 0.55
		}
		e.add("wide", 3+float64(n)/5, latency, true)
	}
	metrics := e.metrics.(counters)
	metrics[`sum(door_service_time_seconds_sum{service="leaf"})`] = perSecond(5)
	metrics[`sum(door_service_time_seconds_count{service="leaf"})`] = perSecond(500)
	metrics[`sum(door_service_time_seconds_bucket{service="leaf",le="0.35"})`] = perSecond(495)
	metrics[`sum(door_requests_total{service="top"})`] = perSecond(2)
	metrics[`sum(door_requests_total{service="bottom"})`] = perSecond(54)
	rows, err := judgeShapes(t.Context(), e)
	if err != nil || verdicts(rows) != Near+", "+Near {
		t.Fatalf("%q, %v", verdicts(rows), err)
	}
	near(t, "predicted", rows[0].Predicted, 0.634, 0.001)
	metrics[`sum(door_requests_total{service="bottom"})`] = perSecond(6)
	metrics[`sum(door_service_time_seconds_bucket{service="leaf",le="0.35"})`] = perSecond(499)
	rows, err = judgeShapes(t.Context(), e)
	if err != nil || verdicts(rows) != Wrong+", "+Wrong {
		t.Errorf("of other shapes: %q, %v", verdicts(rows), err)
	}
}

func TestWhatIsNotRecordedIsAnError(t *testing.T) {
	for _, o := range All() {
		if rows, err := o.judge(t.Context(), recorded(t, o.Name)); err == nil {
			t.Errorf("%s: %q of nothing", o.Name, verdicts(rows))
		}
	}
	none := &evidence{run: &record.Run{Plan: &plan.Plan{}, System: &system.System{}}, metrics: counters{}}
	for _, o := range All() {
		if _, err := o.judge(t.Context(), none); err == nil && o.Name != "utilisation" { // which has no service to ask
			t.Errorf("%s: no error without phases", o.Name)
		}
	}
}

func TestLag(t *testing.T) {
	e := recorded(t, "tail")
	e.add("queue", 1, 0.01, true)
	e.run.Results[0].Sent = e.run.Results[0].Due.Add(40 * time.Millisecond)
	if lag := e.lag(); lag < 39*time.Millisecond || lag > 41*time.Millisecond {
		t.Errorf("lag %s", lag)
	}
}

// Nothing is right or wrong in a run whose generator was late, and nothing is an error.
func TestLateRunsAreVoid(t *testing.T) {
	o, _ := Find("tail")
	e := recorded(t, "tail")
	e.fill("queue", 1, 1)
	if rows, err := o.rows(t.Context(), e); err != nil || strings.Contains(verdicts(rows), Void) {
		t.Errorf("in time: %q, %v", verdicts(rows), err)
	}
	for i := range e.run.Results {
		e.run.Results[i].Sent = e.run.Results[i].Due.Add(time.Second)
	}
	if rows, err := o.rows(t.Context(), e); err != nil || verdicts(rows) != Void+", "+Void || !strings.Contains(rows[0].Void, "p99 1s, at most 10ms") {
		t.Errorf("late: %q, %v", verdicts(rows), err)
	}
	e.run.Results[len(e.run.Results)/2].OK = false
	if rows, err := o.rows(t.Context(), e); err != nil || verdicts(rows) != Void || !strings.Contains(rows[0].Fate.Measured, "failed") {
		t.Errorf("late, with a failure: %q, %v", verdicts(rows), err)
	}
}

func TestJudgeRefusesWhatIsNoRunOfIt(t *testing.T) {
	for _, o := range All() {
		if _, err := o.Judge(t.Context(), t.TempDir()); err == nil {
			t.Errorf("%s judged an empty folder", o.Name)
		}
	}
}
