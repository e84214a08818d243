package token

import (
	"crypto/ed25519"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func key(t testing.TB, fill byte) ed25519.PrivateKey {
	t.Helper()
	return ed25519.NewKeyFromSeed([]byte(strings.Repeat(string(rune(fill)), ed25519.SeedSize)))
}

func public(private ed25519.PrivateKey) ed25519.PublicKey {
	return private.Public().(ed25519.PublicKey)
}

func TestSignedTokenVerifies(t *testing.T) {
	private := key(t, 'a')
	raw, expires, err := NewSigner(private, time.Hour).Sign("customer-7", noon)
	if err != nil {
		t.Fatal(err)
	}
	if want := noon.Add(time.Hour); !expires.Equal(want) {
		t.Errorf("expires %v, want %v", expires, want)
	}
	account, err := Verify(raw, public(private), noon.Add(59*time.Minute), Leeway)
	if err != nil || account != "customer-7" {
		t.Errorf("verify = %q, %v", account, err)
	}
	keyID, err := SignedWith(raw)
	if err != nil || keyID != KeyID(public(private)) {
		t.Errorf("signed with %q, %v; want %q", keyID, err, KeyID(public(private)))
	}
}

// claims that pass, for tests that spoil one of them.
func goodClaims() jwt.RegisteredClaims {
	return jwt.RegisteredClaims{
		Issuer: issuer, Audience: jwt.ClaimStrings{audience}, Subject: "customer-7",
		ExpiresAt: jwt.NewNumericDate(noon.Add(time.Hour)),
	}
}

func TestVerifyRefuses(t *testing.T) {
	private := key(t, 'a')
	sign := func(method jwt.SigningMethod, with any, spoil func(*jwt.RegisteredClaims)) string {
		claims := goodClaims()
		spoil(&claims)
		raw, err := jwt.NewWithClaims(method, claims).SignedString(with)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	keep := func(*jwt.RegisteredClaims) {}
	good := sign(jwt.SigningMethodEdDSA, private, keep)
	if _, err := Verify(good, public(private), noon, Leeway); err != nil {
		t.Fatalf("the token that the others are made from: %v", err)
	}
	cases := []struct {
		name string
		raw  string
		want error
	}{
		{"nothing", "", ErrInvalid},
		{"garbage", "a.b.c", ErrInvalid},
		{"another key", sign(jwt.SigningMethodEdDSA, key(t, 'b'), keep), ErrInvalid},
		{"algorithm none", sign(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, keep), ErrInvalid},
		{"public key as an HMAC secret", sign(jwt.SigningMethodHS256, []byte(public(private)), keep), ErrInvalid},
		{"cut", good[:len(good)-4], ErrInvalid},
		{"other issuer", sign(jwt.SigningMethodEdDSA, private, func(c *jwt.RegisteredClaims) { c.Issuer = "bank" }), ErrInvalid},
		{"other audience", sign(jwt.SigningMethodEdDSA, private, func(c *jwt.RegisteredClaims) { c.Audience = jwt.ClaimStrings{"forum"} }), ErrInvalid},
		{"no subject", sign(jwt.SigningMethodEdDSA, private, func(c *jwt.RegisteredClaims) { c.Subject = "" }), ErrInvalid},
		{"no expiry", sign(jwt.SigningMethodEdDSA, private, func(c *jwt.RegisteredClaims) { c.ExpiresAt = nil }), ErrInvalid},
		{"expired", sign(jwt.SigningMethodEdDSA, private, func(c *jwt.RegisteredClaims) { c.ExpiresAt = jwt.NewNumericDate(noon.Add(-time.Minute)) }), ErrExpired},
		{"too long", good + strings.Repeat("x", maxLength), ErrInvalid},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if account, err := Verify(c.raw, public(private), noon, Leeway); !errors.Is(err, c.want) || account != "" {
				t.Errorf("verify = %q, %v; want %v", account, err, c.want)
			}
		})
	}
}

func TestSignedWithRefuses(t *testing.T) {
	withoutKeyID, err := jwt.NewWithClaims(jwt.SigningMethodEdDSA, goodClaims()).SignedString(key(t, 'a'))
	if err != nil {
		t.Fatal(err)
	}
	for name, raw := range map[string]string{
		"nothing": "", "garbage": "a.b.c", "no key id": withoutKeyID, "too long": strings.Repeat("x", maxLength+1),
	} {
		t.Run(name, func(t *testing.T) {
			if id, err := SignedWith(raw); !errors.Is(err, ErrInvalid) || id != "" {
				t.Errorf("signed with = %q, %v", id, err)
			}
		})
	}
}

func FuzzVerify(f *testing.F) {
	private := key(f, 'a')
	good, _, err := NewSigner(private, time.Hour).Sign("customer-7", noon)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:len(good)-1])
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	f.Add("..")
	f.Fuzz(func(t *testing.T, raw string) {
		SignedWith(raw)
		account, err := Verify(raw, public(private), noon, Leeway)
		if err == nil && account != "customer-7" {
			t.Errorf("%q verified as %q", raw, account)
		}
		if err != nil && !errors.Is(err, ErrInvalid) && !errors.Is(err, ErrExpired) {
			t.Errorf("%q: error %v is neither of the two", raw, err)
		}
	})
}
