package resilience

import (
	"testing"
	"time"
)

func TestRolling(t *testing.T) {
	within(t, func(t *testing.T) {
		r := newRolling(10 * time.Second)
		check := func(want float64) {
			t.Helper()
			if got := r.sum(time.Now()).calls; got != want {
				t.Errorf("after %s: %v calls, want %v", time.Since(r.began), got, want)
			}
		}
		for range 20 { // one each half second
			r.current(time.Now()).calls++
			pass(500 * time.Millisecond)
		}
		check(18) // the first second has just fallen out
		pass(1500 * time.Millisecond)
		check(16)
		pass(7 * time.Second)
		check(2)
		pass(time.Second)
		check(0)
		r.current(time.Now()).calls++
		pass(time.Hour) // far more than the window
		check(0)
	})
}
