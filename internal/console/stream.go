package console

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// subscriber is a page that is connected.
type subscriber struct {
	messages chan []byte
	gone     chan struct{}
	once     sync.Once
}

// behind is how many messages a page may lag behind before it has to connect anew.
const behind = 8

func (s *subscriber) send(text []byte) {
	select {
	case s.messages <- text:
	default:
		s.leave()
	}
}

func (s *subscriber) leave() { s.once.Do(func() { close(s.gone) }) }

// message is a server-sent event. JSON has no line breaks, so one line of data holds it.
func message(kind string, v any) []byte {
	data, err := json.Marshal(v)
	if err != nil { // NaN, where somebody forgot to ask
		kind, data = "trouble", []byte(`{}`)
	}
	var out bytes.Buffer
	fmt.Fprintf(&out, "event: %s\ndata: %s\n\n", kind, data)
	return out.Bytes()
}

// Every second, and how long asking the backend may take.
const (
	tickEvery = time.Second
	askWithin = 900 * time.Millisecond
)

// tickRegularly feeds the pages. While none is connected it asks nothing.
func (s *Server) tickRegularly(ctx context.Context) {
	ticker := time.NewTicker(tickEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			s.tick(ctx, now)
		}
	}
}

func (s *Server) tick(ctx context.Context, now time.Time) {
	s.mu.Lock()
	l, watched := s.live, len(s.subscribers) > 0
	s.mu.Unlock()
	if l == nil || !watched {
		return
	}
	if !l.over() {
		asking, cancel := context.WithTimeout(ctx, askWithin)
		l.ask(asking, now)
		cancel()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.live == l {
		s.broadcast(message("tick", l.tick(now, false)))
	}
}

func (l *live) over() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ended
}

// broadcast sends to every page. The caller holds s.mu.
func (s *Server) broadcast(text []byte) {
	for sub := range s.subscribers {
		sub.send(text)
	}
}

// restart sends every page everything anew. The caller holds s.mu.
func (s *Server) restart() { s.broadcast(message("state", s.state())) }

// state is what a page needs that has just connected. The caller holds s.mu.
func (s *Server) state() state {
	if s.live == nil {
		return state{Server: s.id}
	}
	return state{Server: s.id, Run: &s.live.shape, Tick: s.live.tick(time.Now(), true)}
}

// settle gives the pages that are connected what is new, so that it is not new a second
// time to one that connects now and gets everything. The caller holds s.mu.
func (s *Server) settle() {
	if s.live != nil {
		s.broadcast(message("tick", s.live.tick(time.Now(), false)))
	}
}

// stream serves one page until it leaves or the server ends.
func (s *Server) stream(w http.ResponseWriter, r *http.Request) {
	sub := &subscriber{messages: make(chan []byte, behind), gone: make(chan struct{})}
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		http.Error(w, "it is over", http.StatusServiceUnavailable)
		return
	}
	s.settle()
	first := message("state", s.state())
	s.subscribers[sub] = true
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.subscribers, sub)
		s.mu.Unlock()
	}()
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	flush := http.NewResponseController(w)
	write := func(text []byte) bool {
		_ = flush.SetWriteDeadline(time.Now().Add(10 * time.Second))
		_, err := w.Write(text)
		return err == nil && flush.Flush() == nil
	}
	if !write(append([]byte("retry: 1000\n\n"), first...)) {
		return
	}
	for {
		select {
		case text := <-sub.messages:
			if !write(text) {
				return
			}
		case <-sub.gone:
			for len(sub.messages) > 0 { // the last words
				if !write(<-sub.messages) {
					return
				}
			}
			return
		case <-r.Context().Done():
			return
		}
	}
}
