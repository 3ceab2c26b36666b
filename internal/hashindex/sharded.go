package hashindex

const shardBits = 8

// Sharded is an Index in 256 parts, chosen by the top 8 bits of the spread hash. Each part grows and shrinks alone, so
// that the caller's lock is never held while all numbers move: with a million numbers a part has 4,000. The zero value
// is empty. Not safe for concurrent use.
//
// Cost: that of an Index, and 8 KiB.
type Sharded struct {
	shards [1 << shardBits]Index
	n      int
	moved  int
}

func (x *Sharded) shard(hash uint64) *Index { return &x.shards[spread(hash)>>(64-shardBits)] }

// Find returns the number whose entry has this hash and which equal accepts.
func (x *Sharded) Find(hash uint64, equal func(n uint32) bool) (n uint32, ok bool) {
	return x.shard(hash).Find(hash, equal)
}

// Add adds a number that is not in the index. hashOf returns the hash of every number that is.
func (x *Sharded) Add(hash uint64, n uint32, hashOf func(n uint32) uint64) {
	x.moved += x.shard(hash).add(hash, n, hashOf)
	x.n++
}

// Remove removes a number that is in the index.
func (x *Sharded) Remove(hash uint64, n uint32, hashOf func(n uint32) uint64) {
	x.moved += x.shard(hash).remove(hash, n, hashOf)
	x.n--
}

// Len returns how many numbers there are.
func (x *Sharded) Len() int { return x.n }

// Moved returns how many other numbers Add and Remove have looked at so far. The caller bounds by it how long it holds
// a lock.
func (x *Sharded) Moved() int { return x.moved }
