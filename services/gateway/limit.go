package gateway

import (
	"container/list"
	"math"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// limiter allows each client a number of requests a second: token buckets by
// client, as many as fit. When there is no room, the client longest unseen is
// forgotten, who then starts with a full bucket: a flood from many addresses
// costs no memory, but is not held back either.
type limiter struct {
	perSecond float64 // 0 means no limit
	most      int     // clients remembered
	now       func() time.Time

	mu      sync.Mutex
	clients map[string]*list.Element // of *bucket
	recent  *list.List               // most recently seen first
}

type bucket struct {
	client string
	tokens *rate.Limiter
}

func newLimiter(perSecond float64, most int, now func() time.Time) *limiter {
	return &limiter{perSecond: perSecond, most: most, now: now, clients: map[string]*list.Element{}, recent: list.New()}
}

// check takes a token of the client, or returns a 429.
func (l *limiter) check(client string) error {
	if l.perSecond == 0 {
		return nil
	}
	now := l.now()
	tokens := l.bucket(client)
	if tokens.AllowN(now, 1) {
		return nil
	}
	missing := 1 - tokens.TokensAt(now)
	p := refuse(http.StatusTooManyRequests, "more than %g requests a second", l.perSecond)
	p.retryAfter = strconv.Itoa(max(1, int(math.Ceil(missing/l.perSecond))))
	return p
}

// bucket finds or makes the client's bucket. It holds a second's worth.
func (l *limiter) bucket(client string) *rate.Limiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	if seen, ok := l.clients[client]; ok {
		l.recent.MoveToFront(seen)
		return seen.Value.(*bucket).tokens
	}
	if l.recent.Len() >= l.most {
		oldest := l.recent.Back()
		delete(l.clients, l.recent.Remove(oldest).(*bucket).client)
	}
	fresh := &bucket{client: client, tokens: rate.NewLimiter(rate.Limit(l.perSecond), max(1, int(l.perSecond)))}
	l.clients[client] = l.recent.PushFront(fresh)
	return fresh.tokens
}

// address names a client who has not logged in. Headers such as X-Forwarded-For
// are not looked at: anybody can write them.
func address(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}
