package aggregate

import (
	"slices"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// Apply replaces the blocks. Aggregates of a block that stays as it is go on. Those of other blocks end with staleness
// markers, and begin at 0 under the new blocks: the next page of each target counts as its first. A job has at most 15
// blocks, and there are at most MaxBlocks in all; further ones have no effect.
func (a *Aggregates) Apply(blocks []Block) {
	a.changing.Lock()
	defer a.changing.Unlock()
	before := a.blocks
	a.blocks = a.plan(blocks)
	for _, s := range a.sources { // changing is locked, so nobody else uses them
		if !slices.Equal(before.byJob[s.job], a.blocks.byJob[s.job]) {
			a.retire(s)
		}
	}
	for _, b := range before.all {
		if !slices.Contains(a.blocks.all, b) {
			a.end(b)
		}
	}
	a.setNone()
}

// plan returns the list of blocks, with those that stay as they are.
func (a *Aggregates) plan(blocks []Block) blockList {
	next := blockList{byJob: map[string][]*block{}}
	taken := map[uint8]bool{}
	var added []*block
	for i := range blocks[:min(len(blocks), MaxBlocks)] {
		n := slices.IndexFunc(a.blocks.all, func(b *block) bool {
			return b.equal(&blocks[i]) && !slices.Contains(next.all, b)
		})
		b := &block{Block: blocks[i], since: a.clock()}
		if n >= 0 {
			b = a.blocks.all[n]
			taken[b.number] = true
		} else {
			added = append(added, b)
		}
		next.all = append(next.all, b)
		for _, job := range b.Jobs {
			if len(next.byJob[job]) < maxGroups {
				next.byJob[job] = append(next.byJob[job], b)
			}
		}
	}
	for _, b := range a.blocks.all { // its aggregates are taken away later
		taken[b.number] = true
	}
	number := uint8(0)
	for _, b := range added {
		for taken[number] {
			number++
		}
		b.number, taken[number] = number, true
	}
	return next
}

// retire takes a source out of its feed, and keeps its last page for the feed that it will have under other blocks.
func (a *Aggregates) retire(s *source) {
	if s.feed == nil {
		return
	}
	a.keepFormer(s)
	a.detach(s)
	a.leaveFeed(s)
	s.interval = 0
}

// keepFormer keeps what is to be known of the last good page of a source that is about to lose its layout.
func (a *Aggregates) keepFormer(s *source) {
	was := s.former()
	if was != s.was {
		a.table.Retain(slices.Values(was.ids))
		s.forgetFormer(a.table)
		s.was = was
	}
}

// end takes the aggregates of a block away. What was counted after the last tick is lost.
func (a *Aggregates) end(old *block) {
	now := a.clock().UnixMilli()
	for _, g := range a.allGroups() {
		b := a.batches.Get().(*series.Batch)
		at := max(now, g.ticked+1)
		if freed := g.markAll(b, at, old.number); len(freed) > 0 {
			g.ticked, g.next = at, tickAfter(at, g.interval)
			a.hand(g, b, freed)
		}
		a.batches.Put(b)
		a.dropIfEmpty(g)
	}
}
