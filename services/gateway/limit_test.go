package gateway

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"
)

func TestLimiterRefills(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(5, 10, time.Now)
		allowed := func() (n int) {
			for range 20 {
				if l.check("a") == nil {
					n++
				}
			}
			return n
		}
		if n := allowed(); n != 5 {
			t.Errorf("%d of a burst, want 5", n)
		}
		time.Sleep(400 * time.Millisecond) // of the bubble's clock
		if n := allowed(); n != 2 {
			t.Errorf("%d after 400 ms, want 2", n)
		}
		if err := l.check("b"); err != nil {
			t.Errorf("another client: %v", err)
		}
	})
}

func TestLimiterForgetsWhoWasLongestUnseen(t *testing.T) {
	l := newLimiter(0.001, 3, time.Now)
	for _, client := range []string{"a", "b", "c"} {
		l.check(client)
	}
	l.check("a") // refused, but seen
	l.check("d") // takes the place of b
	if l.check("a") == nil {
		t.Error("a was forgotten, though it was seen again")
	}
	if l.check("b") != nil {
		t.Error("b was not forgotten")
	}
	for i := range 1000 {
		l.check(fmt.Sprint(i))
	}
	if len(l.clients) != 3 || l.recent.Len() != 3 {
		t.Errorf("%d and %d clients are remembered, want 3", len(l.clients), l.recent.Len())
	}
}

func TestLimiterOff(t *testing.T) {
	l := newLimiter(0, 3, time.Now)
	for range 1000 {
		if err := l.check("a"); err != nil {
			t.Fatal(err)
		}
	}
	if len(l.clients) != 0 {
		t.Error("a limiter that is off remembers clients")
	}
}

func TestAddress(t *testing.T) {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("X-Forwarded-For", "10.0.0.1")
	for remote, want := range map[string]string{"192.0.2.1:1234": "192.0.2.1", "[2001:db8::1]:80": "2001:db8::1", "@": "@"} {
		r.RemoteAddr = remote
		if got := address(r); got != want {
			t.Errorf("address of %s = %s, want %s", remote, got, want)
		}
	}
}
