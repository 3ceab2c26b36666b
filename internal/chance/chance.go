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

// Of returns the Source of an owner, who may give parts of it to others. Each name gives other numbers.
func (s Source) Of(owner string) Source {
	if !s.seeded {
		return s
	}
	h := fnv.New64a()
	_, _ = h.Write(binary.LittleEndian.AppendUint64(nil, s.seed))
	_, _ = h.Write([]byte(owner))
	return Seeded(h.Sum64())
}

// Rand returns the numbers of s from the first one on. It is for one goroutine at a time if s follows from a seed.
func (s Source) Rand() *rand.Rand {
	if s.seeded {
		return rand.New(rand.NewPCG(s.seed, s.seed)) //nolint:gosec // spreading load needs no secrecy
	}
	return rand.New(ofRuntime{}) //nolint:gosec // as above
}

// ofRuntime is the source of the functions of math/rand/v2, which has no name there. Safe for concurrent use.
type ofRuntime struct{}

// Uint64 implements rand.Source.
func (ofRuntime) Uint64() uint64 { return rand.Uint64() } //nolint:gosec // as above
