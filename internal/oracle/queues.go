package oracle

import (
	"context"
	"fmt"
	"slices"

	"github.com/faultline-lab/faultline/internal/figure"
	"github.com/faultline-lab/faultline/observability/names"
)

const replayed = "interval: the run's own arrivals, played 400 times through an ideal queue of the measured mean service time"

// queue is what a run showed of a queue that is called without policies.
type queue struct {
	MMc
	path     float64   // seconds that a request spends outside of the door: generator, proxy, network
	arrivals []float64 // in steady state
	times    []float64 // in system, as the load generator saw them
}

// observe reads the queue of a service that one load of the same name calls. Waiting and
// service are taken from the door's own metrics; what is left of the latency that
// the generator saw is the path, on which no request waits for another.
func observe(ctx context.Context, e *evidence, service string) (queue, error) {
	steady, err := e.phase("steady")
	if err != nil {
		return queue{}, err
	}
	q := queue{}
	if q.Workers, err = e.workers(service); err != nil {
		return queue{}, err
	}
	if q.Service, _, err = e.mean(ctx, names.DoorServiceTime, service, steady); err != nil {
		return queue{}, err
	}
	wait, _, err := e.mean(ctx, names.DoorWait, service, steady)
	if err != nil {
		return queue{}, err
	}
	for _, r := range e.requests(service, steady.Start, steady.End) {
		if !r.ok {
			return queue{}, fmt.Errorf("a request of %s failed; the queue is not what it should be", service)
		}
		q.arrivals, q.times = append(q.arrivals, r.due), append(q.times, r.latency())
	}
	if len(q.times) == 0 {
		return queue{}, fmt.Errorf("no request of %s was due in steady state", service)
	}
	q.Arrivals = float64(len(q.times)) / (steady.End - steady.Start).Seconds()
	q.path = max(0, meanOf(q.times)-wait-q.Service)
	return q, nil
}

func (q queue) premises() string {
	return fmt.Sprintf("%s, service %s, path %s, utilisation %.3f",
		figure.PerSecond.Text(q.Arrivals), figure.Seconds.Text(q.Service), figure.Seconds.Text(q.path), q.Utilisation())
}

// row compares a statistic of the times in system with its form.
func (q queue) row(what string, form, measured float64, interval Interval) Row {
	return Row{
		What: what, Premises: q.premises(), Unit: figure.Seconds, Predicted: form + q.path, Measured: measured,
		Interval: &Interval{interval.Low + q.path, interval.High + q.path}, How: replayed,
	}
}

func judgeUtilisation(ctx context.Context, e *evidence) ([]Row, error) {
	var rows []Row
	for _, svc := range e.run.System.Services {
		q, err := observe(ctx, e, svc.Name)
		if err != nil {
			return nil, err
		}
		interval := replay(q.arrivals, q.Workers, q.Service, meanOf)[0]
		rows = append(rows, q.row("mean time in M/M/1", q.Mean(), meanOf(q.times), interval))
	}
	return rows, nil
}

func judgeTail(ctx context.Context, e *evidence) ([]Row, error) {
	q, err := observe(ctx, e, "queue")
	if err != nil {
		return nil, err
	}
	statistics := []func([]float64) float64{quantileOf(0.50), quantileOf(0.99)}
	intervals := replay(q.arrivals, q.Workers, q.Service, statistics...)
	times := slices.Sorted(slices.Values(q.times))
	return []Row{
		q.row("p50 of M/M/3", q.Quantile(0.50), statistics[0](times), intervals[0]),
		q.row("p99 of M/M/3", q.Quantile(0.99), statistics[1](times), intervals[1]),
	}, nil
}
