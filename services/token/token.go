// Package token owns the form of the shop's access tokens: JSON Web Tokens
// signed with Ed25519 (RFC 7519, RFC 8037). Accounts signs them; whoever has the
// public key checks them without asking.
//
// It keeps no keys and knows nothing of accounts beyond their id.
package token

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	issuer   = "accounts"
	audience = "shop"

	// maxLength bounds what is parsed at all: a token of ours has about 300 bytes.
	maxLength = 2048
)

// ErrInvalid says that a token is malformed, signed with another key, or not meant for the shop.
var ErrInvalid = errors.New("token is not valid")

// ErrExpired says that a token was good once.
var ErrExpired = errors.New("token has expired")

// Signer makes tokens.
type Signer struct {
	key   ed25519.PrivateKey
	keyID string
	ttl   time.Duration
}

// NewSigner returns a signer whose tokens are good for ttl.
func NewSigner(key ed25519.PrivateKey, ttl time.Duration) *Signer {
	return &Signer{key: key, keyID: KeyID(key.Public().(ed25519.PublicKey)), ttl: ttl}
}

// Sign makes a token for an account and says until when it is good.
func (s *Signer) Sign(accountID string, now time.Time) (raw string, expires time.Time, err error) {
	expires = now.Add(s.ttl).Truncate(time.Second)
	unsigned := jwt.NewWithClaims(jwt.SigningMethodEdDSA, jwt.RegisteredClaims{
		Issuer:    issuer,
		Audience:  jwt.ClaimStrings{audience},
		Subject:   accountID,
		IssuedAt:  jwt.NewNumericDate(now),
		ExpiresAt: jwt.NewNumericDate(expires),
	})
	unsigned.Header["kid"] = s.keyID
	raw, err = unsigned.SignedString(s.key)
	if err != nil {
		return "", time.Time{}, fmt.Errorf("signing token: %w", err)
	}
	return raw, expires, nil
}

// KeyID names a public key in the header of the tokens signed with it. It is
// derived from the key, so that both sides know it without agreeing on it.
func KeyID(key ed25519.PublicKey) string {
	sum := sha256.Sum256(key)
	return hex.EncodeToString(sum[:8])
}

// SignedWith says which key a token claims to be signed with. Nothing of the
// token is verified. The error is ErrInvalid.
func SignedWith(raw string) (keyID string, err error) {
	if len(raw) > maxLength {
		return "", ErrInvalid
	}
	parsed, _, err := jwt.NewParser().ParseUnverified(raw, &jwt.RegisteredClaims{})
	if err != nil {
		return "", ErrInvalid
	}
	keyID, ok := parsed.Header["kid"].(string)
	if !ok || keyID == "" {
		return "", ErrInvalid
	}
	return keyID, nil
}

// Leeway is what two clocks of one network are usually apart at most.
const Leeway = time.Second

// Verify checks signature, issuer, audience and times of a token and returns
// the account that it stands for. leeway is how far the signer's clock may be from the one
// that says now; RFC 7519 proposes some minutes at most. The error is ErrInvalid or ErrExpired.
func Verify(raw string, key ed25519.PublicKey, now time.Time, leeway time.Duration) (accountID string, err error) {
	if len(raw) > maxLength {
		return "", ErrInvalid
	}
	parser := jwt.NewParser(
		jwt.WithValidMethods([]string{jwt.SigningMethodEdDSA.Alg()}),
		jwt.WithIssuer(issuer),
		jwt.WithAudience(audience),
		jwt.WithExpirationRequired(),
		jwt.WithTimeFunc(func() time.Time { return now }),
		jwt.WithLeeway(leeway),
	)
	claims := &jwt.RegisteredClaims{}
	_, err = parser.ParseWithClaims(raw, claims, func(*jwt.Token) (any, error) { return key, nil })
	switch {
	case errors.Is(err, jwt.ErrTokenExpired):
		return "", ErrExpired
	case err != nil || claims.Subject == "":
		return "", ErrInvalid
	}
	return claims.Subject, nil
}
