package embedded

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// quietHandler passes on warnings and errors only, and each of them once a
// minute: the parts are made for servers, tell of every step, and repeat each
// second what is wrong with a target.
type quietHandler struct {
	slog.Handler
	said *said
}

// said remembers when a message was last passed on.
type said struct {
	mu   sync.Mutex
	when map[string]time.Time
}

const (
	repeatAfter = time.Minute
	maxSaid     = 256 // messages are constants of the code: there are not so many
)

func newQuietHandler(next slog.Handler) quietHandler {
	return quietHandler{next, &said{when: make(map[string]time.Time)}}
}

// Enabled implements slog.Handler.
func (h quietHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn && h.Handler.Enabled(ctx, level)
}

// Handle implements slog.Handler.
func (h quietHandler) Handle(ctx context.Context, record slog.Record) error {
	if !h.said.again(record.Message, record.Time) {
		return nil
	}
	return h.Handler.Handle(ctx, record)
}

// WithAttrs implements slog.Handler.
func (h quietHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return quietHandler{h.Handler.WithAttrs(attrs), h.said}
}

// WithGroup implements slog.Handler.
func (h quietHandler) WithGroup(name string) slog.Handler {
	return quietHandler{h.Handler.WithGroup(name), h.said}
}

// again says whether a message may be passed on now.
func (s *said) again(message string, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if last, ok := s.when[message]; ok && now.Sub(last) < repeatAfter {
		return false
	}
	if len(s.when) >= maxSaid {
		clear(s.when)
	}
	s.when[message] = now
	return true
}
