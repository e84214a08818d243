package proxy

import (
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/Shopify/toxiproxy/v2/stream"
	"github.com/Shopify/toxiproxy/v2/toxics"
)

// The toxics here take the place of Toxiproxy's own of the same name and
// attributes, all but reset_peer. They differ in three ways:
//
//   - Each send can be interrupted. Toxiproxy's block in a bare channel send when the
//     receiver has gone or does not read, and with them every control call,
//     every new connection and the stopping of the proxy.
//   - What they do to real traffic is counted, which is the proof that a fault was felt.
//   - No attribute can make them panic or recurse without end.
//
// A chain looks like this, the meter being part of each from the start:
//
//	source > noop > meter > toxic > toxic > destination
//
// The noop is Toxiproxy's and cannot be replaced; because a meter always follows it,
// it is never the one that a control call has to interrupt.

// registerToxics makes the toxics known to Toxiproxy, whose registry belongs
// to the whole process; doing it again changes nothing.
func registerToxics() {
	toxics.Register("latency", new(latency))
	toxics.Register("bandwidth", new(bandwidth))
	toxics.Register("slow_close", new(slowClose))
	toxics.Register("timeout", new(timeout))
	toxics.Register("slicer", new(slicer))
	toxics.Register("limit_data", new(limitData))
	toxics.Register(meterType, new(meter))
}

// validator is implemented by toxics with attributes that can be wrong.
type validator interface{ validate() error }

// Effect is what a toxic has done so far.
type Effect struct {
	// Hits counts chunks delayed, held back, swallowed or cut; for slow_close and
	// limit_data, connections.
	Hits int64 `json:"hits"`
	// Seconds is how long chunks were held, in sum.
	Seconds float64 `json:"seconds"`
	// Cut counts connections that were cut to get rid of the toxic.
	Cut int64 `json:"cut"`
}

// effect counts what a toxic does, from many connections.
type effect struct {
	hits, nanos, cut atomic.Int64
}

func (e *effect) hit(held time.Duration) {
	e.hits.Add(1)
	e.nanos.Add(int64(held))
}

func (e *effect) read() Effect {
	return Effect{Hits: e.hits.Load(), Seconds: time.Duration(e.nanos.Load()).Seconds(), Cut: e.cut.Load()}
}

// effective is implemented by toxics that count what they do.
type effective interface{ read() Effect }

// link is what a toxic keeps for one connection and direction. It outlives an
// interruption, so that nothing is lost or reordered by one.
type link struct {
	pending *stream.StreamChunk // taken, not sent yet
	free    time.Time           // bandwidth: when the pipe is free again
	used    int64               // limit_data: bytes sent; timeout: chunks swallowed
	// Of meters only: their connection, and the removal that interrupted them last.
	connection *connection
	passed     *removing
}

func (l *link) take(stub *toxics.ToxicStub) (c *stream.StreamChunk, interrupted bool) {
	if l.pending != nil {
		c, l.pending = l.pending, nil
		return c, false
	}
	select {
	case <-stub.Interrupt:
		return nil, true
	case c = <-stub.Input:
		return c, false
	}
}

// send passes a chunk on, or keeps it and returns false when interrupted.
func (l *link) send(stub *toxics.ToxicStub, c *stream.StreamChunk) bool {
	select {
	case stub.Output <- c:
		return true
	case <-stub.Interrupt:
		l.pending = c
		return false
	}
}

// wait lets time pass, or keeps the chunk and returns false when interrupted.
func (l *link) wait(stub *toxics.ToxicStub, d time.Duration, c *stream.StreamChunk) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-stub.Interrupt:
		l.pending = c
		return false
	}
}

// Bounds on letting go of what a toxic holds when it is removed.
const (
	stuckAfter = 500 * time.Millisecond // nobody takes the next chunk: the connection is stuck
	flushAtAll = 1500 * time.Millisecond
)

// flush sends at once what a removed toxic still holds. A connection whose
// receiver takes nothing is cut: it would block the removal, and with it the edge.
func (l *link) flush(stub *toxics.ToxicStub, e *effect) {
	deadline := time.Now().Add(flushAtAll)
	for range cap(stub.Input) + 1 {
		c := l.pending
		l.pending = nil
		if c == nil {
			select {
			case c = <-stub.Input:
			default:
				return
			}
		}
		if c == nil { // the source has ended
			stub.Close()
			return
		}
		if stub.WriteOutput(c, min(stuckAfter, max(time.Until(deadline), time.Millisecond))) != nil {
			e.cut.Add(1)
			abandon(stub)
			return
		}
	}
}

// abandon ends a connection and drains what still comes, so that its source is not blocked
// for ever. The drain ends with the source, which ends with the connection.
func abandon(stub *toxics.ToxicStub) {
	input := stub.Input
	stub.Close()
	go drain(input)
}

func drain(input <-chan *stream.StreamChunk) {
	for c := range input {
		if c == nil {
			return
		}
	}
}

// latency delays each chunk by Latency +- Jitter.
type latency struct {
	Latency int64 `json:"latency"` // ms
	Jitter  int64 `json:"jitter"`  // ms
	effect
}

func (t *latency) validate() error {
	if t.Latency < 0 || t.Jitter < 0 || t.Jitter > t.Latency {
		return fmt.Errorf("latency %d ms with jitter %d ms: want 0 <= jitter <= latency", t.Latency, t.Jitter)
	}
	return nil
}

// GetBufferSize is Toxiproxy's: chunks under way at once, which a delay without loss of rate needs.
func (t *latency) GetBufferSize() int { return 1024 }

func (t *latency) NewState() any { return &link{} }

func (t *latency) delay() time.Duration {
	ms := t.Latency
	if t.Jitter > 0 {
		ms += rand.Int64N(2*t.Jitter+1) - t.Jitter
	}
	return time.Duration(ms) * time.Millisecond
}

func (t *latency) Pipe(stub *toxics.ToxicStub) {
	l := stub.State.(*link)
	for {
		c, interrupted := l.take(stub)
		if interrupted {
			return
		}
		if c == nil {
			stub.Close()
			return
		}
		arrived := c.Timestamp
		if !l.wait(stub, t.delay()-time.Since(arrived), c) {
			return
		}
		held := time.Since(arrived)
		if !l.send(stub, &stream.StreamChunk{Data: c.Data, Timestamp: arrived.Add(held)}) {
			l.pending = c // with its own time of arrival: it has waited enough
			return
		}
		t.hit(held)
	}
}

func (t *latency) Cleanup(stub *toxics.ToxicStub) { stub.State.(*link).flush(stub, &t.effect) }

// bandwidth lets Rate KB (1,000 bytes) a second through on each connection; 0 is no limit.
type bandwidth struct {
	Rate float64 `json:"rate"`
	effect
}

func (t *bandwidth) validate() error {
	if !(t.Rate >= 0 && t.Rate <= 1e9) {
		return fmt.Errorf("bandwidth of %v KB/s: want 0 to 1e9", t.Rate)
	}
	return nil
}

func (t *bandwidth) NewState() any { return &link{} }

func (t *bandwidth) Pipe(stub *toxics.ToxicStub) {
	l := stub.State.(*link)
	for {
		c, interrupted := l.take(stub)
		if interrupted {
			return
		}
		if c == nil {
			stub.Close()
			return
		}
		if !t.squeeze(stub, l, c) {
			return
		}
	}
}

// squeeze sends a chunk in pieces of 100 ms, each when the pipe has had time for it.
func (t *bandwidth) squeeze(stub *toxics.ToxicStub, l *link, c *stream.StreamChunk) bool {
	perSecond := t.Rate * 1000
	if perSecond < 1 {
		return l.send(stub, c)
	}
	start := time.Now()
	for rest := c; len(rest.Data) > 0; {
		size := min(len(rest.Data), max(1, int(perSecond/10)))
		if now := time.Now(); l.free.Before(now) {
			l.free = now
		}
		takes := time.Duration(float64(size) / perSecond * float64(time.Second))
		if !l.wait(stub, time.Until(l.free.Add(takes)), rest) {
			return false
		}
		l.free = l.free.Add(takes)
		piece := &stream.StreamChunk{Data: rest.Data[:size], Timestamp: rest.Timestamp}
		if !l.send(stub, piece) {
			l.pending = rest
			return false
		}
		rest = &stream.StreamChunk{Data: rest.Data[size:], Timestamp: rest.Timestamp}
	}
	t.hit(time.Since(start))
	return true
}

func (t *bandwidth) Cleanup(stub *toxics.ToxicStub) { stub.State.(*link).flush(stub, &t.effect) }

// slowClose passes the end of a connection on Delay later.
type slowClose struct {
	Delay int64 `json:"delay"` // ms
	effect
}

func (t *slowClose) validate() error { return notNegative("slow_close delay", t.Delay) }

func (t *slowClose) NewState() any { return &link{} }

func (t *slowClose) Pipe(stub *toxics.ToxicStub) {
	l := stub.State.(*link)
	for {
		c, interrupted := l.take(stub)
		if interrupted {
			return
		}
		if c == nil {
			delay := time.Duration(t.Delay) * time.Millisecond
			t.hit(delay)
			if l.wait(stub, delay, nil) {
				stub.Close()
			}
			return // when interrupted, the input is still at its end the next time
		}
		if !l.send(stub, c) {
			return
		}
	}
}

func (t *slowClose) Cleanup(stub *toxics.ToxicStub) { stub.State.(*link).flush(stub, &t.effect) }

// timeout swallows everything. With Timeout > 0 it closes the connection when nothing came for that long.
type timeout struct {
	Timeout int64 `json:"timeout"` // ms
	effect
}

func (t *timeout) validate() error { return notNegative("timeout", t.Timeout) }

func (t *timeout) NewState() any { return &link{} }

func (t *timeout) Pipe(stub *toxics.ToxicStub) {
	l := stub.State.(*link)
	var silence <-chan time.Time
	for {
		if t.Timeout > 0 {
			silence = time.After(time.Duration(t.Timeout) * time.Millisecond)
		}
		select {
		case <-stub.Interrupt:
			return
		case c := <-stub.Input:
			if c == nil {
				stub.Close()
				return
			}
			l.used++
			t.hit(0)
		case <-silence:
			stub.Close()
			drain(stub.Input)
			return
		}
	}
}

// Cleanup closes the connection if bytes of it were swallowed: its two ends no longer agree.
func (t *timeout) Cleanup(stub *toxics.ToxicStub) {
	if l := stub.State.(*link); l.used > 0 {
		abandon(stub)
	}
}

// slicer cuts chunks into slices of AverageSize +- SizeVariation bytes, with Delay after each.
type slicer struct {
	AverageSize   int `json:"average_size"`
	SizeVariation int `json:"size_variation"`
	Delay         int `json:"delay"` // µs
	effect
}

func (t *slicer) validate() error {
	if t.AverageSize < 1 || t.SizeVariation < 0 || t.SizeVariation >= t.AverageSize || t.Delay < 0 {
		return fmt.Errorf("slices of %d bytes +- %d, delay %d µs: want 0 <= size_variation < average_size and no negative delay", t.AverageSize, t.SizeVariation, t.Delay)
	}
	return nil
}

func (t *slicer) NewState() any { return &link{} }

func (t *slicer) Pipe(stub *toxics.ToxicStub) {
	l := stub.State.(*link)
	for {
		c, interrupted := l.take(stub)
		if interrupted {
			return
		}
		if c == nil {
			stub.Close()
			return
		}
		if !t.slice(stub, l, c) {
			return
		}
	}
}

func (t *slicer) slice(stub *toxics.ToxicStub, l *link, c *stream.StreamChunk) bool {
	start := time.Now()
	for first := true; ; first = false {
		size := min(t.size(), len(c.Data))
		rest := &stream.StreamChunk{Data: c.Data[size:], Timestamp: c.Timestamp}
		if !l.send(stub, &stream.StreamChunk{Data: c.Data[:size], Timestamp: c.Timestamp}) {
			l.pending = c
			return false
		}
		if len(rest.Data) == 0 {
			if !first {
				t.hit(time.Since(start))
			}
			return true
		}
		if !l.wait(stub, time.Duration(t.Delay)*time.Microsecond, rest) {
			return false
		}
		c = rest
	}
}

func (t *slicer) size() int {
	size := t.AverageSize
	if t.SizeVariation > 0 {
		size += rand.IntN(2*t.SizeVariation+1) - t.SizeVariation
	}
	return max(1, size)
}

func (t *slicer) Cleanup(stub *toxics.ToxicStub) { stub.State.(*link).flush(stub, &t.effect) }

// limitData closes each connection once Bytes have passed.
type limitData struct {
	Bytes int64 `json:"bytes"`
	effect
}

func (t *limitData) validate() error { return notNegative("limit_data bytes", t.Bytes) }

func (t *limitData) NewState() any { return &link{} }

func (t *limitData) Pipe(stub *toxics.ToxicStub) {
	l := stub.State.(*link)
	for {
		c, interrupted := l.take(stub)
		if interrupted {
			return
		}
		if c == nil {
			stub.Close()
			return
		}
		size := min(int64(len(c.Data)), max(0, t.Bytes-l.used))
		if size > 0 && !l.send(stub, &stream.StreamChunk{Data: c.Data[:size], Timestamp: c.Timestamp}) {
			l.pending = c
			return
		}
		l.used += size
		if l.used >= t.Bytes {
			t.hit(0)
			stub.Close()
			drain(stub.Input)
			return
		}
	}
}

func (t *limitData) Cleanup(stub *toxics.ToxicStub) { stub.State.(*link).flush(stub, &t.effect) }

func notNegative(what string, n int64) error {
	if n < 0 {
		return fmt.Errorf("%s is negative: %d", what, n)
	}
	return nil
}
