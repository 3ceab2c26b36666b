// Package chance gives random numbers to those who spread load: pauses before another try, times at which instances ask
// an API server, a choice among addresses.
//
// A rand.Rand is not safe for concurrent use, so each owner has one of its own. Numbers that follow from a seed depend
// on the seed and on the name of the owner alone. So an owner that draws more often changes nothing for the others.
package chance

import (
	"encoding/binary"
	"hash/fnv"
	"math/rand/v2"
)

// Source makes the sources of owners. The zero Source makes sources that nobody can predict. Immutable.
type Source struct {
	seeded bool
	seed   uint64
}

// Seeded returns a Source whose numbers follow from seed.
func Seeded(seed uint64) Source { return Source{seeded: true, seed: seed} }

// Of returns the Source of an owner. Its numbers depend on the seed and on all names on the way. Another name gives
// other numbers.
func (s Source) Of(owner string) Source {
	if !s.seeded {
		return s
	}
	h := fnv.New64a()
	_, _ = h.Write(binary.LittleEndian.AppendUint64(nil, s.seed))
	_, _ = h.Write([]byte(owner))
	return Seeded(h.Sum64())
}

// Rand returns a generator that starts at the first number of s. If s has a seed, one goroutine at a time may use it.
func (s Source) Rand() *rand.Rand {
	if s.seeded {
		return rand.New(rand.NewPCG(s.seed, s.seed)) //nolint:gosec // spreading load needs no secrecy
	}
	return rand.New(globalSource{}) //nolint:gosec // as above
}

// globalSource draws from the global generator of math/rand/v2, which that package does not export as a Source. Safe
// for concurrent use.
type globalSource struct{}

// Uint64 implements rand.Source.
func (globalSource) Uint64() uint64 { return rand.Uint64() } //nolint:gosec // as above
