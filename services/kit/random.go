package kit

import (
	"hash/fnv"
	"math/rand/v2"
	"sync"
)

// newRand returns randomness of its own for each purpose, repeatable by the
// seed and safe for concurrent use.
func newRand(seed uint64, purpose string) *rand.Rand {
	hash := fnv.New64a()
	_, _ = hash.Write([]byte(purpose)) // never fails
	return rand.New(&lockedSource{source: rand.NewPCG(seed, hash.Sum64())})
}

// lockedSource makes a rand.Rand safe for concurrent use: in math/rand/v2 all its state is its source.
type lockedSource struct {
	mu     sync.Mutex
	source rand.Source
}

func (s *lockedSource) Uint64() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.source.Uint64()
}
