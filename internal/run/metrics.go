package run

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/faultline-lab/faultline/internal/measure"
	"github.com/faultline-lab/faultline/internal/plan"
	"github.com/faultline-lab/faultline/internal/system/local"
	"github.com/faultline-lab/faultline/loadgen"
	"github.com/faultline-lab/faultline/observability/names"
)

// labMetrics are the lab's own metrics: what any dashboard needs to tell
// faults, phases and load apart from what the system made of them.
type labMetrics struct {
	phase        *prometheus.GaugeVec
	planned      *prometheus.GaugeVec
	offered      *prometheus.CounterVec
	done         *prometheus.CounterVec
	latency      *prometheus.HistogramVec
	lag          *prometheus.HistogramVec
	cpu          *prometheus.GaugeVec
	resident     *prometheus.GaugeVec
	proportional *prometheus.GaugeVec
	slo          map[string]time.Duration
}

func newLabMetrics(registerer prometheus.Registerer, p *plan.Plan, run string) *labMetrics {
	latencies := []float64{.005, .01, .02, .035, .05, .075, .1, .15, .2, .3, .5, .75, 1, 1.5, 2, 3, 5, 10, 30}
	m := &labMetrics{
		phase: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: names.PhaseActive, Help: "Whether the phase is on."}, []string{names.Phase}),
		planned: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: names.LoadPlanned,
			Help: "Journeys per second that are to come due now."}, []string{names.Load}),
		offered: prometheus.NewCounterVec(prometheus.CounterOpts{Name: names.LoadOffered,
			Help: "Journeys that came due and whose end is known."}, []string{names.Load}),
		done: prometheus.NewCounterVec(prometheus.CounterOpts{Name: names.LoadDone,
			Help: "Journeys that ended, by outcome: good, slow (well, but later than the slo) or failed."}, []string{names.Load, names.Outcome}),
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: names.LoadLatency,
			Help: "Time from when a journey was due until it ended.", Buckets: latencies}, []string{names.Load}),
		lag: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: names.LoadLag,
			Help:    "The generator's own delay: time from when a journey was due until it was sent.",
			Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .5}}, []string{names.Load}),
		cpu: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: names.ProcessCPU,
			Help: "CPU time that a process of the run used so far, user and system."}, []string{names.Process}),
		resident: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: names.ProcessResident,
			Help: "Resident memory of a process of the run."}, []string{names.Process}),
		proportional: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: names.ProcessProportional,
			Help: "Resident memory of a process of the run, shared pages counted by their share."}, []string{names.Process}),
		slo: map[string]time.Duration{},
	}
	registerer.MustRegister(m.phase, m.planned, m.offered, m.done, m.latency, m.lag, m.cpu, m.resident, m.proportional)
	registerRun(registerer, p, run)
	for _, phase := range p.Phases {
		m.phase.WithLabelValues(phase.Name).Set(0)
	}
	for _, load := range p.Loads {
		m.slo[load.Name] = load.SLO
		for _, outcome := range []string{"good", "slow", "failed"} {
			m.done.WithLabelValues(load.Name, outcome)
		}
	}
	return m
}

// registerRun tells which run this is, what it is to be held to, and that nothing of it is judged yet: judging comes
// after the metrics have ended, so whoever sends a run on to other programs adds the verdict.
func registerRun(registerer prometheus.Registerer, p *plan.Plan, run string) {
	which := prometheus.Labels{names.Run: run, names.Scenario: p.Scenario, names.Variant: p.Variant}
	info := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: names.RunInfo, Help: "Always 1; the labels say which run this is.",
		ConstLabels: which}, []string{names.System})
	slo := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: names.LoadSLO,
		Help: "The slo of a load: a journey that takes longer counts as slow."}, []string{names.Load})
	verdict := prometheus.NewGauge(prometheus.GaugeOpts{Name: names.RunVerdict,
		Help: "The verdict: 0 not judged yet, 1 pass, 2 fail, 3 inconclusive.", ConstLabels: which})
	findings := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: names.Finding,
		Help:        "What one expectation came to: 0 not judged yet, 1 pass, 2 fail, 3 inconclusive.",
		ConstLabels: which}, []string{names.That, names.In})
	registerer.MustRegister(info, slo, verdict, findings)
	info.WithLabelValues(p.System).Set(1)
	for _, load := range p.Loads {
		slo.WithLabelValues(load.Name).Set(load.SLO.Seconds())
	}
	for _, e := range p.Expect {
		findings.WithLabelValues(e.That, e.In).Set(0)
	}
}

// rates sets what is to come due per second; a closed loop has no such rate.
func (m *labMetrics) rates(perSecond map[string]float64) {
	for load, rate := range perSecond {
		m.planned.WithLabelValues(load).Set(rate)
	}
}

func (m *labMetrics) result(r loadgen.Result) {
	if r.Step != "" {
		return
	}
	m.offered.WithLabelValues(r.Load).Inc()
	outcome := "failed"
	if r.OK {
		outcome = "slow"
		if measure.Good(r, m.slo[r.Load]) {
			outcome = "good"
		}
	}
	m.done.WithLabelValues(r.Load, outcome).Inc()
	m.lag.WithLabelValues(r.Load).Observe(r.Lag().Seconds())
	latency := m.latency.WithLabelValues(r.Load)
	if exemplars, ok := latency.(prometheus.ExemplarObserver); ok && r.TraceID != "" {
		exemplars.ObserveWithExemplar(r.Latency().Seconds(), prometheus.Labels{"trace_id": r.TraceID})
		return
	}
	latency.Observe(r.Latency().Seconds())
}

// usage sets the figures of processes. The proportional size costs the kernel a walk over
// each process's pages, so it is asked for only when wanted.
func (m *labMetrics) usage(all []local.Usage, proportional bool) {
	for _, u := range all {
		if bytes, ok := uint64(0), false; proportional {
			if bytes, ok = local.ProportionalBytes(u.PID); ok {
				m.proportional.WithLabelValues(u.Process).Set(float64(bytes))
			}
		}
		m.cpu.WithLabelValues(u.Process).Set(u.CPUSeconds)
		m.resident.WithLabelValues(u.Process).Set(float64(u.ResidentBytes))
	}
}
