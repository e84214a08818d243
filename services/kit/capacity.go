package kit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"time"
)

// Capacity is the model of a service's door: how many requests it works on at
// once, how many may wait, and how long it takes over each beside its real work.
type Capacity struct {
	Workers     int           `json:"workers"` // 0 means no limit
	Queue       int           `json:"queue"`
	ServiceTime *Distribution `json:"service_time,omitempty"`
}

// Distribution is what service times are drawn from. One of its fields is set.
type Distribution struct {
	Constant    Duration   `json:"constant,omitempty"`
	Exponential Duration   `json:"exponential,omitempty"` // the mean
	Lognormal   *Lognormal `json:"lognormal,omitempty"`
}

// Lognormal is given by two of its quantiles.
type Lognormal struct {
	Median Duration `json:"median"`
	P99    Duration `json:"p99"`
}

// Duration is a time.Duration that is written as in Go ("4ms") in JSON.
type Duration time.Duration

// UnmarshalJSON reads a duration.
func (d *Duration) UnmarshalJSON(data []byte) error {
	var text string
	if err := json.Unmarshal(data, &text); err != nil {
		return fmt.Errorf("%s is not a duration, such as \"4ms\"", data)
	}
	parsed, err := time.ParseDuration(text)
	if err != nil || parsed < 0 {
		return fmt.Errorf("%q is not a duration, such as \"4ms\"", text)
	}
	*d = Duration(parsed)
	return nil
}

// MarshalJSON writes a duration.
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(time.Duration(d).String()) }

// ParseCapacity reads a capacity from JSON. Empty data mean no limits.
func ParseCapacity(data []byte) (Capacity, error) {
	var c Capacity
	if len(bytes.TrimSpace(data)) == 0 {
		return c, nil
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&c); err != nil {
		return Capacity{}, fmt.Errorf("reading capacity: %w", err)
	}
	if err := c.check(); err != nil {
		return Capacity{}, fmt.Errorf("reading capacity: %w", err)
	}
	return c, nil
}

func (c Capacity) check() error {
	if c.Workers < 0 || c.Queue < 0 {
		return fmt.Errorf("workers and queue must not be negative")
	}
	d := c.ServiceTime
	if d == nil {
		return nil
	}
	set := 0
	for _, is := range []bool{d.Constant != 0, d.Exponential != 0, d.Lognormal != nil} {
		if is {
			set++
		}
	}
	if set > 1 {
		return fmt.Errorf("service_time: want one of constant, exponential and lognormal, got %d", set)
	}
	if l := d.Lognormal; l != nil && (l.Median <= 0 || l.P99 < l.Median) {
		return fmt.Errorf("service_time: lognormal: want 0 < median <= p99")
	}
	return nil
}

// p99Normal is the 99th percentile of the standard normal distribution.
const p99Normal = 2.3263478740408408

// draw returns one service time.
//
//	lognormal: exp(mu + sigma z), z standard normal; the median is exp(mu), the
//	99th percentile exp(mu + 2.326 sigma), which gives both parameters.
func (d *Distribution) draw(random *rand.Rand) time.Duration {
	switch {
	case d == nil:
		return 0
	case d.Lognormal != nil:
		median, p99 := float64(d.Lognormal.Median), float64(d.Lognormal.P99)
		sigma := math.Log(p99/median) / p99Normal
		return time.Duration(median * math.Exp(sigma*random.NormFloat64()))
	case d.Exponential > 0:
		return time.Duration(float64(d.Exponential) * random.ExpFloat64())
	}
	return time.Duration(d.Constant)
}
