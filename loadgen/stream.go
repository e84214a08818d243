package loadgen

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"
)

// The stream from a worker to its parent is a line that names it and a sequence of frames:
//
//	frame  = length(uvarint) kind(1 byte) payload
//	ready  = kind 1, no payload: prepared, waits for time zero
//	result = kind 2, see appendResult
//	failed = kind 3, text: the worker gives up
//	done   = kind 4, number of results sent (uvarint)
//
// A result takes about 40 bytes and 0.3 µs to write and read; gob takes 3 times the
// bytes and the time, JSON 6 times the bytes and 11 times the time (BenchmarkStream).
type kind byte

// preamble is what the stream begins with.
const preamble = "faultline load 1\n"

const (
	kindReady  kind = 1
	kindResult kind = 2
	kindFailed kind = 3
	kindDone   kind = 4
)

const (
	maxFrame = 64 << 10
	maxTexts = 4096 // distinct texts that each side remembers
	maxText  = 4096 // bytes of one text
)

// message is a decoded frame.
type message struct {
	kind   kind
	result Result
	text   string
	count  uint64
}

// encoder writes frames. It is not safe for concurrent use.
type encoder struct {
	w     *bufio.Writer
	frame []byte
	texts map[string]uint64
	due   int64 // of the result before, in ns
	count uint64
}

func newEncoder(w io.Writer) *encoder {
	e := &encoder{w: bufio.NewWriterSize(w, 32<<10), texts: map[string]uint64{}}
	_, _ = e.w.WriteString(preamble) // fits the buffer
	return e
}

func (e *encoder) ready() error { return e.write(kindReady, nil) }

func (e *encoder) failed(reason string) error {
	return e.write(kindFailed, []byte(reason[:min(len(reason), maxFrame-1)]))
}

func (e *encoder) done() error {
	return e.write(kindDone, binary.AppendUvarint(nil, e.count))
}

func (e *encoder) result(r Result) error {
	e.count++
	e.frame = e.appendResult(e.frame[:0], r)
	return e.write(kindResult, e.frame)
}

func (e *encoder) flush() error { return e.w.Flush() }

func (e *encoder) write(k kind, payload []byte) error {
	var head [binary.MaxVarintLen64 + 1]byte
	n := binary.PutUvarint(head[:], uint64(len(payload)+1))
	head[n] = byte(k)
	if _, err := e.w.Write(head[:n+1]); err != nil {
		return err
	}
	_, err := e.w.Write(payload)
	return err
}

const (
	flagOK    = 1 << iota
	flagTrace // a trace id of 16 bytes follows
	flagID    // an id follows, with its length
	flagShare // a share follows
)

// appendResult writes flags, texts (load, step, error, faults), seq, due as the
// difference to the result before, sent - due, done - sent, status, bytes, and what
// the flags say that follows.
func (e *encoder) appendResult(b []byte, r Result) []byte {
	var flags byte
	if r.OK {
		flags |= flagOK
	}
	var trace [16]byte
	if n, err := hex.Decode(trace[:], []byte(r.TraceID[:min(len(r.TraceID), 32)])); err == nil && n == 16 {
		flags |= flagTrace
	}
	if r.ID != "" {
		flags |= flagID
	}
	if r.Share != "" {
		flags |= flagShare
	}
	b = append(b, flags)
	for _, text := range [...]string{r.Load, r.Step, r.Error, r.Faults} {
		b = e.appendText(b, text)
	}
	due := r.Due.UnixNano()
	b = binary.AppendUvarint(b, r.Seq)
	b = binary.AppendVarint(b, due-e.due)
	b = binary.AppendVarint(b, int64(r.Sent.Sub(r.Due)))
	b = binary.AppendVarint(b, int64(r.Done.Sub(r.Sent)))
	b = binary.AppendVarint(b, int64(r.Status))
	b = binary.AppendVarint(b, r.Bytes)
	e.due = due
	if flags&flagTrace != 0 {
		b = append(b, trace[:]...)
	}
	if flags&flagID != 0 { // no two are alike: they have no place in the table of texts
		id := r.ID[:min(len(r.ID), maxText)]
		b = append(binary.AppendUvarint(b, uint64(len(id))), id...)
	}
	if flags&flagShare != 0 {
		b = e.appendText(b, r.Share)
	}
	return b
}

// appendText writes the number of a text that was sent before; of a new one
// the next number and the text; once the table is full, 0 and the text.
func (e *encoder) appendText(b []byte, text string) []byte {
	text = text[:min(len(text), maxText)]
	n, known := e.texts[text]
	if known {
		return binary.AppendUvarint(b, n)
	}
	if len(e.texts) < maxTexts {
		n = uint64(len(e.texts) + 1)
		e.texts[text] = n
	}
	b = binary.AppendUvarint(b, n)
	b = binary.AppendUvarint(b, uint64(len(text)))
	return append(b, text...)
}

// decoder reads frames.
type decoder struct {
	r     *bufio.Reader
	begun bool
	frame []byte
	texts []string
	due   int64
}

func newDecoder(r io.Reader) *decoder { return &decoder{r: bufio.NewReaderSize(r, 32<<10)} }

// next returns the next message; io.EOF at the end of the stream, an error that
// wraps io.ErrUnexpectedEOF when it ends within a frame.
func (d *decoder) next() (message, error) {
	if !d.begun {
		if err := d.begin(); err != nil {
			return message{}, err
		}
	}
	length, err := binary.ReadUvarint(d.r)
	if err != nil {
		return message{}, err
	}
	if length == 0 || length > maxFrame {
		return message{}, fmt.Errorf("a frame of %d bytes", length)
	}
	if uint64(cap(d.frame)) < length {
		d.frame = make([]byte, maxFrame)
	}
	d.frame = d.frame[:length]
	if _, err := io.ReadFull(d.r, d.frame); err != nil {
		return message{}, fmt.Errorf("reading a frame: %w", io.ErrUnexpectedEOF)
	}
	return d.decode(kind(d.frame[0]), d.frame[1:])
}

// begin reads the preamble. Another program's output is quoted, as far as it is there.
func (d *decoder) begin() error {
	head, err := d.r.Peek(len(preamble))
	if len(head) == 0 {
		return err
	}
	if string(head) != preamble {
		return fmt.Errorf("%q is not what a load worker says", head)
	}
	d.begun = true
	_, err = d.r.Discard(len(preamble))
	return err
}

func (d *decoder) decode(k kind, payload []byte) (message, error) {
	m := message{kind: k}
	c := &cursor{rest: payload}
	switch k {
	case kindReady:
	case kindResult:
		m.result = d.result(c)
	case kindFailed:
		m.text, c.rest = string(payload), nil
	case kindDone:
		m.count = c.uvarint()
	default:
		return m, fmt.Errorf("a frame of unknown kind %d", k)
	}
	if c.bad || len(c.rest) > 0 {
		return m, fmt.Errorf("a frame of kind %d: %w", k, errMalformed)
	}
	return m, nil
}

var errMalformed = errors.New("malformed")

func (d *decoder) result(c *cursor) Result {
	var r Result
	flags := c.bytes(1)
	for _, text := range [...]*string{&r.Load, &r.Step, &r.Error, &r.Faults} {
		*text = d.text(c)
	}
	r.Seq = c.uvarint()
	d.due += c.varint()
	r.Due = time.Unix(0, d.due)
	r.Sent = r.Due.Add(time.Duration(c.varint()))
	r.Done = r.Sent.Add(time.Duration(c.varint()))
	r.Status, r.Bytes = int(c.varint()), c.varint()
	if c.bad || flags[0] >= flagShare<<1 {
		c.bad = true
		return r
	}
	r.OK = flags[0]&flagOK != 0
	if flags[0]&flagTrace != 0 {
		r.TraceID = hex.EncodeToString(c.bytes(16))
	}
	if flags[0]&flagID != 0 {
		length := c.uvarint()
		if c.bad = c.bad || length > maxText; c.bad {
			return r
		}
		r.ID = string(c.bytes(int(length)))
	}
	if flags[0]&flagShare != 0 {
		r.Share = d.text(c)
	}
	return r
}

func (d *decoder) text(c *cursor) string {
	n := c.uvarint()
	if n > 0 && n <= uint64(len(d.texts)) {
		return d.texts[n-1]
	}
	isNext := n == uint64(len(d.texts)+1) && len(d.texts) < maxTexts
	length := c.uvarint()
	if n != 0 && !isNext || length > maxText {
		c.bad = true
		return ""
	}
	text := string(c.bytes(int(length)))
	if isNext && !c.bad {
		d.texts = append(d.texts, text)
	}
	return text
}

// cursor takes values off the front of a payload; bad once one is not there.
type cursor struct {
	rest []byte
	bad  bool
}

func (c *cursor) take(n int) {
	if n <= 0 {
		c.bad, c.rest = true, nil
		return
	}
	c.rest = c.rest[n:]
}

func (c *cursor) uvarint() uint64 {
	v, n := binary.Uvarint(c.rest)
	c.take(n)
	return v
}

func (c *cursor) varint() int64 {
	v, n := binary.Varint(c.rest)
	c.take(n)
	return v
}

func (c *cursor) bytes(n int) []byte {
	if n > len(c.rest) {
		c.bad, c.rest = true, nil
		return make([]byte, n)
	}
	taken := c.rest[:n]
	c.rest = c.rest[n:]
	return taken
}
