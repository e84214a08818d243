package console

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/faultline-lab/faultline/internal/system"
	"github.com/faultline-lab/faultline/observability/names"
	"github.com/faultline-lab/faultline/observability/telemetry"
)

// measured is what the backend said last.
type measured struct {
	services map[string]serviceTick
	edges    map[string]edgeTick
	policies []policyTick
	logs     []logLine
	trouble  string
}

// Over how long rates look back, and how much later than it was written a log
// line may arrive: services send theirs once a second.
const (
	rateWindow = "[5s]"
	logDelay   = 1500 * time.Millisecond
	logsATick  = 60
)

// ask asks the backend for what a tick needs. What cannot be answered is missing, with the reason told.
func (l *live) ask(ctx context.Context, now time.Time) {
	a := &asking{ctx: ctx, now: now, query: l.control.Archive().Query}
	m := measured{services: a.services(), edges: a.edges(), policies: a.policies()}
	l.mu.Lock()
	from := l.logsTo
	l.mu.Unlock()
	if from.IsZero() {
		from = l.control.Start().Add(-time.Second)
	}
	to := now.Add(-logDelay)
	records, err := l.control.Archive().Logs(ctx, telemetry.LogQuery{From: from.Add(1), To: to, Limit: logsATick})
	if err = errors.Join(a.err, err); err != nil && ctx.Err() == nil {
		m.trouble = shorten("the backend did not answer: " + err.Error())
	}
	for _, r := range records {
		m.logs = append(m.logs, l.line(r))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	m.logs = append(l.metrics.logs, m.logs...)
	if load, ok := l.fromLoad(now); ok {
		m.edges[system.LoadCaller+"->"+l.shape.Entry] = load
	}
	l.logs = last(append(l.logs, m.logs[len(l.metrics.logs):]...), keptLogs)
	l.metrics, l.logsTo = m, to
}

func (l *live) line(r telemetry.LogRecord) logLine {
	more := map[string]any{}
	for name, value := range r.Attributes {
		if text, is := value.(string); is {
			value = shorten(text)
		}
		more[name] = value
	}
	return logLine{T: l.at(r.Time), Severity: r.Severity, Service: r.Service, Body: shorten(r.Body), Trace: r.TraceID, More: more}
}

// fromLoad is the edge to the entry, which no service sees: from the last whole seconds of all loads.
func (l *live) fromLoad(now time.Time) (edgeTick, bool) {
	const seconds = 5
	until := int(math.Floor(now.Sub(l.control.Start()).Seconds()))
	all, failed := 0, 0
	for _, of := range l.seconds {
		for i := until - seconds; i < until; i++ {
			if s := of[i]; s != nil {
				all, failed = all+len(s.took), failed+s.failed
			}
		}
	}
	if all == 0 {
		return edgeTick{}, false
	}
	rate, errs, p99, one := round(float64(all)/seconds), round(float64(failed)/float64(all)), l.p99(until-seconds, until), 1.0
	return edgeTick{Rate: &rate, Errors: &errs, P99: p99, Amplification: &one}, true
}

// p99 is that of all journeys due in some seconds.
func (l *live) p99(from, to int) *float64 {
	var took []float32
	for _, of := range l.seconds {
		for i := from; i < to; i++ {
			if s := of[i]; s != nil {
				took = append(took, s.took...)
			}
		}
	}
	if len(took) == 0 {
		return nil
	}
	slices.Sort(took)
	return quantile(took, 0.99)
}

// asking is one round of questions; it goes on past errors.
type asking struct {
	ctx   context.Context
	now   time.Time
	query func(context.Context, string, time.Time) ([]telemetry.Series, error)
	err   error
}

// each asks, and hands over each value that is a number.
func (a *asking) each(expr string, take func(labels map[string]string, v float64)) {
	series, err := a.query(a.ctx, expr, a.now)
	if err != nil {
		a.err = errors.Join(a.err, fmt.Errorf("%s: %w", expr, err))
		return
	}
	for _, s := range series {
		if len(s.Points) == 0 {
			continue
		}
		if v := s.Points[len(s.Points)-1].Value; !math.IsNaN(v) && !math.IsInf(v, 0) {
			take(s.Labels, v)
		}
	}
}

func (a *asking) services() map[string]serviceTick {
	values := map[string]map[string]float64{}
	// One question for all of them: what a question costs beyond its answer is most of what it costs.
	asked := strings.Join([]string{names.DoorBusy, names.DoorWorkers, names.DoorQueueDepth, names.DoorQueueLimit, "up"}, "|")
	a.each(fmt.Sprintf("sum by (__name__, %s) ({__name__=~%q})", names.Service, asked), func(labels map[string]string, v float64) {
		if values[labels[names.Service]] == nil {
			values[labels[names.Service]] = map[string]float64{}
		}
		values[labels[names.Service]][labels["__name__"]] = v
	})
	out := map[string]serviceTick{}
	for service, of := range values {
		var s serviceTick
		s.Busy = share(of, names.DoorBusy, names.DoorWorkers)
		s.Queue = share(of, names.DoorQueueDepth, names.DoorQueueLimit)
		if up, known := of["up"]; known {
			s.Up = &up
		}
		out[service] = s
	}
	return out
}

func share(of map[string]float64, part, whole string) *float64 {
	if p, known := of[part]; known && of[whole] > 0 {
		v := round(p / of[whole])
		return &v
	}
	return nil
}

// edges asks for the calls of the last seconds as their callers saw them.
func (a *asking) edges() map[string]edgeTick {
	out := map[string]edgeTick{}
	name := func(labels map[string]string) string { return labels[names.Caller] + "->" + labels[names.Callee] }
	by := fmt.Sprintf("sum by (%s, %s", names.Caller, names.Callee)
	calls, bad, rejected := map[string]float64{}, map[string]float64{}, map[string]float64{}
	a.each(by+", "+names.Outcome+") (rate("+names.EdgeCalls+rateWindow+"))", func(labels map[string]string, v float64) {
		edge := name(labels)
		calls[edge] += v
		switch labels[names.Outcome] {
		case "rejected":
			rejected[edge] += v
			bad[edge] += v
		case "error", "timeout":
			bad[edge] += v
		}
	})
	for edge, v := range calls {
		rate := round(v)
		e := edgeTick{Rate: &rate}
		if v > 0 {
			e.Errors, e.Rejected = share(map[string]float64{"a": bad[edge], "b": v}, "a", "b"), share(map[string]float64{"a": rejected[edge], "b": v}, "a", "b")
		}
		out[edge] = e
	}
	a.each(by+") (rate("+names.EdgeAttempts+rateWindow+"))", func(labels map[string]string, v float64) {
		if e, known := out[name(labels)]; known && calls[name(labels)] > 0 {
			times := round(v / calls[name(labels)])
			e.Amplification = &times
			out[name(labels)] = e
		}
	})
	a.each("histogram_quantile(0.99, "+by+", le) (rate("+names.EdgeCallDuration+"_bucket"+rateWindow+"))) * 1000", func(labels map[string]string, v float64) {
		e, p99 := out[name(labels)], round(v)
		e.P99 = &p99
		out[name(labels)] = e
	})
	return out
}

// policies asks what policies say of themselves, and how much they refuse.
func (a *asking) policies() []policyTick {
	var out []policyTick
	index := map[[2]string]int{}
	find := func(labels map[string]string) *policyTick {
		key := [2]string{labels[names.On], labels[names.Policy]}
		i, known := index[key]
		if !known {
			i = len(out)
			index[key], out = i, append(out, policyTick{On: key[0], Policy: key[1]})
		}
		return &out[i]
	}
	a.each(fmt.Sprintf("max by (%s, %s) (%s)", names.On, names.Policy, names.PolicyState), func(labels map[string]string, v float64) {
		v = round(v)
		find(labels).State = &v
	})
	a.each(fmt.Sprintf("sum by (%s, %s) (rate(%s%s))", names.On, names.Policy, names.PolicyRejections, rateWindow), func(labels map[string]string, v float64) {
		v = round(v)
		find(labels).Rejected = &v
	})
	sortPolicies(out)
	return out
}

func sortPolicies(list []policyTick) {
	slices.SortFunc(list, func(a, b policyTick) int { return cmp.Or(cmp.Compare(a.On, b.On), cmp.Compare(a.Policy, b.Policy)) })
}
