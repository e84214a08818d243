package measure_test

import (
	"errors"
	"testing"

	"github.com/faultline-lab/faultline/observability/names"

	"github.com/faultline-lab/faultline/internal/measure"
)

// system records two services with doors, one of them twice, and the CPU of
// all their processes and of the lab's own.
func recordedSystem() *fakeMetrics {
	m := &fakeMetrics{}
	door := func(metric, service, instance string, by float64) {
		m.add(labelled(metric, names.Service, service, names.Instance, instance), 0, line(46, 0, by)...)
	}
	door(names.DoorServiceTime+"_sum", "gateway", "gateway", 10)
	door(names.DoorServiceTime+"_sum", "payments", "payments-1", 6)
	door(names.DoorServiceTime+"_sum", "payments", "payments-2", 4)
	door(names.DoorWastedSeconds, "gateway", "gateway", 1)
	door(names.DoorWastedSeconds, "payments", "payments-2", 4)
	for process, cores := range map[string]float64{
		"gateway": 0.5, "payments-1": 0.25, "payments-2": 0.125, "bank": 0.0625, "proxy": 9, "load": 9, "faultline": 9, "payments-x": 9, "bankers": 9,
	} {
		m.add(labelled(names.ProcessCPU, names.Process, process), 0, line(46, 1, cores)...)
	}
	return m
}

func TestWholeSystem(t *testing.T) {
	run := newRun()
	set := measure.New(run, recordedSystem())
	w, err := set.Window("fault")
	if err != nil {
		t.Fatal(err)
	}
	expect(t, "wasted", set.Wasted(t.Context(), w), 4.0/10, "") // of payments, whose workers are limited
	expect(t, "cpu", set.CPU(t.Context(), w), 0.9375, "")
}

func TestWholeSystemWithoutNumbers(t *testing.T) {
	partly := &fakeMetrics{}
	partly.add(labelled(names.ProcessCPU, names.Process, "gateway"), 0, line(46, 1, 1)...)
	missed := recordedSystem()
	missed.add(labelled("up", names.Service, "payments", names.Instance, "payments-1"), 15*second, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1)
	for _, test := range []struct {
		name        string
		m           measure.Metrics
		wasted, cpu string
	}{
		{"no metrics", nil, "the run has no metrics", "the run has no metrics"},
		{"damaged", &fakeMetrics{err: errors.New("gone")}, `querying door_service_time_seconds_sum: gone`, `querying faultline_process_cpu_seconds: gone`},
		{"some", partly, "no service with a capacity did work in the window, or none recorded it", "the CPU of payments was not recorded"},
	} {
		set := measure.New(newRun(), test.m)
		w := set.Whole()
		expect(t, test.name, set.Wasted(t.Context(), w), 0, test.wasted)
		expect(t, test.name, set.CPU(t.Context(), w), 0, test.cpu)
	}
	set := measure.New(newRun(), missed)
	w, err := set.Window("fault")
	if err != nil {
		t.Fatal(err)
	}
	expect(t, "missed scrapes", set.Wasted(t.Context(), w), 0, "67 % of the scrapes of payments failed in the window")
}

// A scrape falls between the counting of work and of wasted work.
func TestNoMoreThanAllIsWasted(t *testing.T) {
	m := &fakeMetrics{}
	m.add(labelled(names.DoorServiceTime+"_sum", names.Service, "payments", names.Instance, "payments-1"), 0, line(46, 0, 4)...)
	m.add(labelled(names.DoorWastedSeconds, names.Service, "payments", names.Instance, "payments-1"), 0, line(46, 0, 4.01)...)
	expect(t, "of a service", value(t, newRun(), m, "wasted(payments) < 1", "fault"), 1, "")
}
