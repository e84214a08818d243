package store

import (
	"database/sql"
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/faultline-lab/faultline/observability/names"
)

// newTimed makes the histogram of statements.
func newTimed() prometheus.Histogram {
	return prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: names.StoreStatement, Help: "Time of a statement or a commit, without the wait for a connection.",
		Buckets: []float64{.0001, .0003, .001, .003, .01, .02, .03, .05, .1, .2, .3, .5, 1, 3, 10},
	})
}

// register registers the figures of both pools.
func (db *DB) register(registry prometheus.Registerer, timed prometheus.Collector) error {
	collectors := []prometheus.Collector{timed}
	for pool, stats := range db.pools() {
		labels := prometheus.Labels{names.Pool: pool}
		collectors = append(collectors,
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: names.StoreConnections, Help: "Connections that there may be.", ConstLabels: labels},
				func() float64 { return float64(stats().MaxOpenConnections) }),
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: names.StoreBusy, Help: "Connections at work.", ConstLabels: labels},
				func() float64 { return float64(stats().InUse) }),
			prometheus.NewCounterFunc(prometheus.CounterOpts{Name: names.StoreWaits, Help: "How often somebody had to wait for a connection.", ConstLabels: labels},
				func() float64 { return float64(stats().WaitCount) }),
			prometheus.NewCounterFunc(prometheus.CounterOpts{Name: names.StoreWaitSeconds, Help: "Time waited for connections.", ConstLabels: labels},
				func() float64 { return stats().WaitDuration.Seconds() }),
		)
	}
	var errs []error
	for _, c := range collectors {
		errs = append(errs, registry.Register(c))
	}
	return errors.Join(errs...)
}

// pools are the pools by name; PostgreSQL has one for all.
func (db *DB) pools() map[string]func() sql.DBStats {
	pools := map[string]func() sql.DBStats{"write": db.write.Stats}
	if db.read != db.write {
		pools["read"] = db.read.Stats
	}
	return pools
}
