package system

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/faultline-lab/faultline/internal/strictyaml"
)

// CapacityFile is a capacity as files write it.
type CapacityFile struct {
	Workers     int               `yaml:"workers,required" min:"1" max:"100000" about:"how many requests it works on at once"`
	Queue       int               `yaml:"queue" min:"0" max:"1000000" about:"how many may wait for a worker; 0 when left out: none"`
	ServiceTime *DistributionFile `yaml:"service_time" about:"how long a worker is held, at least"`
}

// DistributionFile is a distribution as files write it: one of its fields.
type DistributionFile struct {
	Constant    *time.Duration `yaml:"constant" about:"always the same" example:"20ms"`
	Exponential *time.Duration `yaml:"exponential" about:"exponential, by its mean" example:"20ms"`
	Lognormal   *LognormalFile `yaml:"lognormal" about:"lognormal, by its median and p99"`
}

// LognormalFile is a lognormal distribution as files write it.
type LognormalFile struct {
	Median time.Duration `yaml:"median,required" about:"half of the requests take less"`
	P99    time.Duration `yaml:"p99,required" about:"1 % of the requests take more"`
}

// Check returns the capacity, and adds what is wrong with it to the errors of the source.
func (c *CapacityFile) Check(src *strictyaml.Source, path string) *Capacity {
	out := &Capacity{Workers: c.Workers, Queue: c.Queue}
	if c.ServiceTime != nil {
		out.ServiceTime = c.ServiceTime.check(src, path+".service_time")
	}
	return out
}

func (d *DistributionFile) check(src *strictyaml.Source, path string) *Distribution {
	out := &Distribution{}
	given := 0
	positive := func(at string, value time.Duration) {
		if value == 0 && !src.Failed(at) {
			src.Fail(at, "the time is zero", "leave service_time out where there is none")
		}
	}
	if d.Constant != nil {
		given++
		out.Constant = *d.Constant
		positive(path+".constant", out.Constant)
	}
	if d.Exponential != nil {
		given++
		out.Exponential = *d.Exponential
		positive(path+".exponential", out.Exponential)
	}
	if l := d.Lognormal; l != nil {
		given++
		out.Lognormal = &Lognormal{Median: l.Median, P99: l.P99}
		positive(path+".lognormal.median", l.Median)
		if l.P99 < l.Median {
			src.Fail(path+".lognormal.p99", fmt.Sprintf("a p99 of %s is below the median, %s", l.P99, l.Median), "")
		}
	}
	if given != 1 && !src.Failed(path) {
		src.Fail(path, fmt.Sprintf("want one distribution, got %d", given), "permitted: constant, exponential, lognormal")
	}
	return out
}

// JSON writes a capacity as services read it from CAPACITY: durations as text, only what is set.
func (c *Capacity) JSON() string {
	out := map[string]any{"workers": c.Workers, "queue": c.Queue}
	if d := c.ServiceTime; d != nil {
		switch {
		case d.Lognormal != nil:
			out["service_time"] = map[string]any{"lognormal": map[string]string{"median": d.Lognormal.Median.String(), "p99": d.Lognormal.P99.String()}}
		case d.Exponential > 0:
			out["service_time"] = map[string]string{"exponential": d.Exponential.String()}
		case d.Constant > 0:
			out["service_time"] = map[string]string{"constant": d.Constant.String()}
		}
	}
	text, err := json.Marshal(out)
	if err != nil { // maps of texts and numbers always marshal
		panic(err)
	}
	return string(text)
}
