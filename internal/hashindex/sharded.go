package hashindex

const shardBits = 8

// Sharded is an Index in 256 parts. Each part grows and shrinks alone, so that a lock around it is never held while all
// numbers move: with a million numbers a part has 4,000. The zero value is empty. Not safe for concurrent use.
//
// Cost: that of an Index, and 8 KiB.
type Sharded struct {
	shards [1 << shardBits]Index
	n      int
	moved  int
}

func (x *Sharded) shard(hash uint64) *Index { return &x.shards[spread(hash)>>(64-shardBits)] }

// Find returns the number with this hash that equal accepts.
func (x *Sharded) Find(hash uint64, equal func(n uint32) bool) (n uint32, ok bool) {
	return x.shard(hash).Find(hash, equal)
}

// Add puts in a number that is not there. hashOf returns the hash of every number that is.
func (x *Sharded) Add(hash uint64, n uint32, hashOf func(n uint32) uint64) {
	x.moved += x.shard(hash).add(hash, n, hashOf)
	x.n++
}

// Remove takes out a number that is there.
func (x *Sharded) Remove(hash uint64, n uint32, hashOf func(n uint32) uint64) {
	x.moved += x.shard(hash).remove(hash, n, hashOf)
	x.n--
}

// Len is how many numbers are there.
func (x *Sharded) Len() int { return x.n }

// Moved is how many numbers Add and Remove have looked at so far besides their own: the work that is not seen from
// outside.
func (x *Sharded) Moved() int { return x.moved }
