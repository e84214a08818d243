package gateway

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/faultline-lab/faultline/services/token"
)

const (
	// fetchWithin bounds one question for the key, which callers wait for together.
	fetchWithin = 5 * time.Second
	// fetchEvery keeps tokens with made-up key ids from becoming questions to accounts.
	fetchEvery = time.Second
)

// keyring checks tokens offline. It asks for the public key when the first
// token comes, and again when a token names another key; a start needs nobody.
type keyring struct {
	fetch  func(context.Context) (ed25519.PublicKey, error)
	now    func() time.Time
	leeway time.Duration // at least token.Leeway

	mu      sync.Mutex
	key     ed25519.PublicKey // nil until fetched
	keyID   string
	fetched time.Time
	flight  singleflight.Group
}

// verify returns the account of a token, or a 401; or the callee's problem
// when there is no key to be had.
func (k *keyring) verify(ctx context.Context, raw string) (accountID string, err error) {
	keyID, err := token.SignedWith(raw)
	if err != nil {
		return "", unauthorized("the token is not valid")
	}
	key, err := k.find(ctx, keyID)
	if err != nil {
		return "", err
	}
	accountID, err = token.Verify(raw, key, k.now(), max(k.leeway, token.Leeway))
	if errors.Is(err, token.ErrExpired) {
		return "", unauthorized("the token has expired")
	}
	if err != nil {
		return "", unauthorized("the token is not valid")
	}
	return accountID, nil
}

// find returns the key of an id, fetching it when it is not the one at hand.
// For an id that stays unknown it returns the key at hand, which then does not fit.
func (k *keyring) find(ctx context.Context, keyID string) (ed25519.PublicKey, error) {
	k.mu.Lock()
	key, fits := k.key, k.keyID == keyID
	fresh := key != nil && k.now().Sub(k.fetched) < fetchEvery
	k.mu.Unlock()
	if fits || fresh {
		return key, nil
	}
	flight := k.flight.DoChan("", func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchWithin)
		defer cancel()
		return k.refresh(ctx)
	})
	select {
	case <-ctx.Done():
		return nil, upstream("accounts", ctx.Err())
	case result := <-flight:
		if result.Err != nil {
			return nil, upstream("accounts", result.Err)
		}
		return result.Val.(ed25519.PublicKey), nil
	}
}

func (k *keyring) refresh(ctx context.Context) (ed25519.PublicKey, error) {
	key, err := k.fetch(ctx)
	if err != nil {
		return nil, err
	}
	if len(key) != ed25519.PublicKeySize {
		return nil, fmt.Errorf("public key has %d bytes, want %d", len(key), ed25519.PublicKeySize)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.key, k.keyID, k.fetched = key, token.KeyID(key), k.now()
	return key, nil
}

// bearer takes the token out of the Authorization header (RFC 6750).
func bearer(r *http.Request) (string, error) {
	given := r.Header.Get("Authorization")
	if given == "" {
		return "", unauthorized("a token is needed: POST /sessions gives one")
	}
	scheme, raw, ok := strings.Cut(given, " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return "", unauthorized("the Authorization header must be: Bearer <token>")
	}
	return strings.TrimSpace(raw), nil
}
