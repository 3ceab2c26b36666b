package scrape

import (
	"slices"

	"github.com/prometheus/prometheus/model/labels"
)

// leavers are loops of a job that have lost their target, or have been replaced, and have not ended yet. A target's
// series are made of its labels, so a new target with the same labels inherits from one of them, even if its URL is
// another: markers that the old loop would send later would be older than the new loop's samples, and so be dropped.
type leavers map[uint64][]*loop // by hash of the target's labels

func (ls leavers) add(l *loop) {
	h := l.target.labels.Hash()
	ls[h] = append(ls[h], l)
}

// remove takes a loop out. Nothing happens if it is not there.
func (ls leavers) remove(l *loop) {
	h := l.target.labels.Hash()
	rest := slices.DeleteFunc(ls[h], func(other *loop) bool { return other == l })
	if len(rest) == 0 {
		delete(ls, h)
	} else {
		ls[h] = rest
	}
}

// all returns the loops as they are now.
func (ls leavers) all() (all []*loop) {
	for _, same := range ls {
		all = append(all, same...)
	}
	return all
}

// find returns a loop whose target has these labels, and the same URL where samePage asks for it; nil: there is none.
func (ls leavers) find(t *target, samePage bool) *loop {
	for _, l := range ls[t.labels.Hash()] {
		if labels.Equal(l.target.labels, t.labels) && (!samePage || l.target.url == t.url && l.target.socket == t.socket) {
			return l
		}
	}
	return nil
}

// predecessors takes out the loops that new targets of a job inherit from: for each target one or nil. A loop of the
// same URL comes first, so that each of several targets with the same labels is followed by its own.
func (ps *Pools) predecessors(p *pool, targets []*target) []*loop {
	before := make([]*loop, len(targets))
	take := func(from leavers, samePage bool) {
		ps.inTurns(len(targets), func(i int) {
			if len(from) == 0 || before[i] != nil {
				return
			}
			if before[i] = from.find(targets[i], samePage); before[i] != nil {
				from.remove(before[i])
			}
		})
	}
	take(p.ending, true)
	take(p.handed, true)
	take(p.ending, false)
	return before
}
