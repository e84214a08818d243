package gateway

import (
	"context"
	"crypto/ed25519"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/faultline-lab/faultline/services/token"
)

// signer is accounts as the keyring sees it.
type signer struct {
	mu    sync.Mutex
	key   ed25519.PrivateKey
	asked int
	hold  chan struct{} // answers wait for it
	err   error
}

func newSigner(fill string) *signer {
	return &signer{key: ed25519.NewKeyFromSeed([]byte(strings.Repeat(fill, ed25519.SeedSize)))}
}

func (s *signer) publicKey(ctx context.Context) (ed25519.PublicKey, error) {
	s.mu.Lock()
	s.asked++
	hold, err, key := s.hold, s.err, s.key
	s.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			return nil, status.FromContextError(ctx.Err()).Err()
		}
	}
	return key.Public().(ed25519.PublicKey), err
}

func (s *signer) sign(t *testing.T, ttl time.Duration) string {
	t.Helper()
	raw, _, err := token.NewSigner(s.key, ttl).Sign("customer-7", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func wantStatus(t *testing.T, err error, want int) {
	t.Helper()
	var p *problem
	if !errors.As(err, &p) || p.Status != want {
		t.Errorf("got %v, want a %d", err, want)
	}
}

func TestKeyringAsksOnceForManyAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSigner("a")
		s.hold = make(chan struct{})
		k := &keyring{fetch: s.publicKey, now: time.Now}
		raw := s.sign(t, time.Hour)
		var callers sync.WaitGroup
		for range 10 {
			callers.Go(func() {
				if account, err := k.verify(t.Context(), raw); err != nil || account != "customer-7" {
					t.Errorf("verify = %q, %v", account, err)
				}
			})
		}
		synctest.Wait()
		close(s.hold)
		callers.Wait()
		if s.asked != 1 {
			t.Errorf("asked %d times, want once", s.asked)
		}
	})
}

func TestKeyringGivesUpOnASilentAccounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSigner("a")
		s.hold = make(chan struct{}) // never closed
		k := &keyring{fetch: s.publicKey, now: time.Now}
		start := time.Now()
		_, err := k.verify(t.Context(), s.sign(t, time.Hour))
		wantStatus(t, err, http.StatusGatewayTimeout)
		if took := time.Since(start); took != fetchWithin {
			t.Errorf("gave up after %s, want %s", took, fetchWithin)
		}
		impatient, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start = time.Now()
		_, err = k.verify(impatient, s.sign(t, time.Hour))
		wantStatus(t, err, http.StatusGatewayTimeout)
		if took := time.Since(start); took != time.Second {
			t.Errorf("held a caller for %s, whose time was over after a second", took)
		}
		synctest.Wait()
		time.Sleep(fetchWithin) // let the last question end
	})
}

func TestKeyringTriesAgainAfterAFailure(t *testing.T) {
	s := newSigner("a")
	s.err = status.Error(codes.Unavailable, "down")
	k := &keyring{fetch: s.publicKey, now: time.Now}
	raw := s.sign(t, time.Hour)
	_, err := k.verify(t.Context(), raw)
	wantStatus(t, err, http.StatusServiceUnavailable)
	s.err = nil
	if account, err := k.verify(t.Context(), raw); err != nil || account != "customer-7" {
		t.Errorf("after accounts came back: %q, %v", account, err)
	}
}

func TestKeyringFollowsANewKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSigner("a")
		k := &keyring{fetch: s.publicKey, now: time.Now}
		old := s.sign(t, time.Hour)
		if _, err := k.verify(t.Context(), old); err != nil {
			t.Fatal(err)
		}
		s.key = newSigner("b").key
		fresh := s.sign(t, time.Hour)
		_, err := k.verify(t.Context(), fresh)
		wantStatus(t, err, http.StatusUnauthorized) // asked a moment ago
		time.Sleep(fetchEvery)                      // of the bubble's clock
		if _, err := k.verify(t.Context(), fresh); err != nil {
			t.Errorf("the new key was not fetched: %v", err)
		}
		_, err = k.verify(t.Context(), old)
		wantStatus(t, err, http.StatusUnauthorized)
	})
}

func TestKeyringIsNotFloodedByMadeUpKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, forger := newSigner("a"), newSigner("f")
		k := &keyring{fetch: s.publicKey, now: time.Now}
		forged := forger.sign(t, time.Hour)
		for range 100 {
			_, err := k.verify(t.Context(), forged)
			wantStatus(t, err, http.StatusUnauthorized)
		}
		if s.asked != 1 {
			t.Errorf("accounts was asked %d times within a second, want once", s.asked)
		}
	})
}

func TestKeyringRefusesExpiredTokensAndShortKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSigner("a")
		k := &keyring{fetch: s.publicKey, now: time.Now}
		raw := s.sign(t, time.Minute)
		time.Sleep(2 * time.Minute)
		_, err := k.verify(t.Context(), raw)
		wantStatus(t, err, http.StatusUnauthorized)
		if !strings.Contains(err.Error(), "expired") {
			t.Errorf("%v does not say that the token has expired", err)
		}
	})
	short := &keyring{fetch: func(context.Context) (ed25519.PublicKey, error) { return ed25519.PublicKey("short"), nil }, now: time.Now}
	_, err := short.verify(t.Context(), newSigner("a").sign(t, time.Hour))
	wantStatus(t, err, http.StatusBadGateway)
}
