package accounts

import (
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
)

// rounds of PBKDF2 for new passwords. This is far below what a service with
// real customers needs (OWASP asks for 600,000): the cost of a login is modelled by
// the door's service time, and 1,000 seeded passwords must not delay a start. The
// stored form carries its rounds, so raising this number leaves old hashes good.
const rounds = 64

// maxRounds bounds what a stored form may ask for.
const maxRounds = 10_000_000

const (
	scheme     = "pbkdf2-sha256"
	saltBytes  = 16
	hashBytes  = 32
	maxLetters = 256 // bytes of a password that are accepted at all
)

// hashPassword returns scheme$rounds$salt$hash with a fresh salt.
func hashPassword(password string) (string, error) {
	salt := make([]byte, saltBytes)
	rand.Read(salt) // never fails, by its documentation
	hash, err := pbkdf2.Key(sha256.New, password, salt, rounds, hashBytes)
	if err != nil {
		return "", fmt.Errorf("hashing password: %w", err)
	}
	encode := base64.RawStdEncoding.EncodeToString
	return strings.Join([]string{scheme, strconv.Itoa(rounds), encode(salt), encode(hash)}, "$"), nil
}

// passwordMatches checks a password against its stored form, in a time that
// does not depend on how much of it is right. A form that cannot be read is an error.
func passwordMatches(stored, password string) (bool, error) {
	parts := strings.Split(stored, "$")
	if len(parts) != 4 || parts[0] != scheme {
		return false, fmt.Errorf("reading password hash: not of the form %s$rounds$salt$hash", scheme)
	}
	n, err := strconv.Atoi(parts[1])
	if err != nil || n < 1 || n > maxRounds {
		return false, fmt.Errorf("reading password hash: %q rounds", parts[1])
	}
	salt, err := base64.RawStdEncoding.DecodeString(parts[2])
	if err != nil {
		return false, fmt.Errorf("reading password hash: salt: %w", err)
	}
	want, err := base64.RawStdEncoding.DecodeString(parts[3])
	if err != nil || len(want) != hashBytes {
		return false, fmt.Errorf("reading password hash: %d bytes of hash, want %d", len(want), hashBytes)
	}
	got, err := pbkdf2.Key(sha256.New, password, salt, n, hashBytes)
	if err != nil {
		return false, fmt.Errorf("hashing password: %w", err)
	}
	return subtle.ConstantTimeCompare(got, want) == 1, nil
}
