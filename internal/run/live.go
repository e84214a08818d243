package run

import (
	"time"

	"github.com/faultline-lab/faultline/internal/measure"
	"github.com/faultline-lab/faultline/internal/measure/grammar"
	"github.com/faultline-lab/faultline/loadgen"
)

// LoadNow is the state of one load over the last measure.LiveWindow.
type LoadNow struct {
	Name    string
	Offered float64       // journeys due per second, as planned
	Ended   measure.Value // journeys per second
	Goodput measure.Value // share of the ended journeys that ended well and within the slo
	P99     measure.Value // of the ended journeys, from due
}

// loadsNow asks for the live figures of each load.
func loadsNow(live *measure.Live, loads []loadgen.Load, now time.Time, offset time.Duration) []LoadNow {
	out := make([]LoadNow, 0, len(loads))
	for _, load := range loads {
		of := func(name string) measure.Value {
			m, _ := grammar.Find(name)
			return live.Measure(&grammar.Comparison{Measure: m, Argument: load.Name}, now)
		}
		out = append(out, LoadNow{Name: load.Name, Offered: load.Rate(offset), Ended: of("rate"), Goodput: of("goodput"), P99: of("p99")})
	}
	return out
}
