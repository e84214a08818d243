package loadgen

import (
	"cmp"
	"context"
	"math/rand/v2"
	"time"
)

// sender carries a step to the system and brings back what came of it.
type sender interface {
	protocol() string
	send(ctx context.Context, r request, traceparent, bag string) answer
	close()
}

// journeys walks the journeys of one load.
type journeys struct {
	load    Load
	steps   []*step
	pacer   *openPacer // nil for a closed loop
	sender  sender
	baggage string // all but the journey's number
}

// walk sends the steps of one journey, each when the one before it ended well,
// and returns a row for each step sent and the journey's own as the last.
func (j *journeys) walk(ctx context.Context, seq uint64, due time.Time) []Result {
	env := &environment{
		random: rand.New(rand.NewPCG(j.load.Seed^requestStream, scatter(seq))),
		seq:    seq,
		values: map[string]value{},
	}
	bag, share := journeyBaggage(j.baggage, seq), j.load.ShareOf(seq)
	if share != "" {
		bag += "," + ownBaggage + "share=" + share
	}
	rows := make([]Result, 0, len(j.steps)+1)
	stepDue := due
	for i, s := range j.steps {
		row := j.take(ctx, s, s.render(env, seq+uint64(i)), bag, env)
		row.Seq, row.Due, row.Share = seq, stepDue, share
		rows = append(rows, row)
		if !row.OK {
			break
		}
		stepDue = row.Done
	}
	whole := summarize(rows)
	if len(j.steps) == 1 {
		return []Result{whole}
	}
	return append(rows, whole)
}

// take sends one step and judges its answer.
func (j *journeys) take(ctx context.Context, s *step, r request, bag string, env *environment) Result {
	ctx, cancel := context.WithTimeout(ctx, j.load.timeout())
	defer cancel()
	traceID, parent := newTrace()
	a := j.sender.send(ctx, r, parent, bag)
	row := Result{
		Load: j.load.Name, Step: s.name, Sent: a.sent, Done: a.done,
		Status: a.status, Bytes: a.bytes, TraceID: traceID,
	}
	switch {
	case a.err != nil:
		row.Error = failure(ctx, a.err)
	case !s.accepts(j.sender.protocol(), a.status):
		row.Error = badStatus(j.sender.protocol(), a.status)
	default:
		missing := extract(a.body, s.extract, env.values)
		switch refused := s.operation != "" && !succeeded(j.sender.protocol(), a.status); {
		case refused: // as it may be; there is nothing to extract
		case missing != "":
			row.Error = "extraction failed: " + missing
		case s.operation != "":
			row.ID = env.values[s.operation].raw
		}
	}
	row.OK = row.Error == ""
	return row
}

// summarize makes the journey's row out of those of its steps.
func summarize(rows []Result) Result {
	decisive := rows[0]
	var bytes int64
	for _, row := range rows {
		bytes += row.Bytes
		if !row.OK || row.Latency() > decisive.Latency() {
			decisive = row // only the last row can have failed
		}
	}
	whole := decisive
	whole.Step, whole.Bytes = "", bytes
	for _, row := range rows {
		whole.ID = cmp.Or(row.ID, whole.ID)
	}
	whole.Due, whole.Sent, whole.Done = rows[0].Due, rows[0].Sent, rows[len(rows)-1].Done
	return whole
}

// notSent is the row of an arrival for which there was no room.
func (j *journeys) notSent(seq uint64, due time.Time) Result {
	now := time.Now()
	return Result{Load: j.load.Name, Seq: seq, Due: due, Sent: now, Done: now, Error: ErrorNotSent, Share: j.load.ShareOf(seq)}
}

// scatter spreads consecutive numbers over all 64 bits (the finalizer of
// SplitMix64, G. Steele, D. Lea and C. Flood, Fast Splittable Pseudorandom Number
// Generators, 2014), so that neighbouring journeys draw unrelated values.
func scatter(n uint64) uint64 {
	n += 0x9e3779b97f4a7c15
	n = (n ^ n>>30) * 0xbf58476d1ce4e5b9
	n = (n ^ n>>27) * 0x94d049bb133111eb
	return n ^ n>>31
}
