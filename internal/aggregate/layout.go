package aggregate

import (
	"slices"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// slotRef says where a sample of a page goes: 0, on to the next sink; otherwise to a slot of a group. Slot 5 of the
// second group of a feed is 2<<28 | 5.
type slotRef uint32

const (
	groupShift = 28
	slotBits   = 27
	belowNext  = 1 << slotBits          // a bucket; the next one of its histogram is in the next row
	maxGroups  = 1<<(32-groupShift) - 1 // of a feed
)

func refOf(group int, slot uint32) slotRef { return slotRef(group+1)<<groupShift | slotRef(slot) }

// isBelowNext reports whether the next row is that of the next bucket of the same histogram.
func (r slotRef) isBelowNext() bool { return r&belowNext != 0 }

// group returns the place of the group in the feed, from 1; 0: the sample is not summed.
func (r slotRef) group() uint32 { return uint32(r) >> groupShift }

func (r slotRef) slot() uint32 { return uint32(r) & (1<<slotBits - 1) }

// layout says for each series of a page to which aggregate it belongs. Only users changes after it is made. It holds a
// reference of each of its series.
type layout struct {
	ids    []series.ID
	refs   []slotRef // parallel to ids
	summed int       // how many refs are not 0
	hash   uint64    // of ids
	users  int       // sources; guarded by the locks of the feed
}

// places returns for each row where source.last has its value; -1: nowhere, it is not summed.
func (l *layout) places() []int32 {
	places, k := make([]int32, len(l.refs)), int32(0)
	for i, ref := range l.refs {
		if places[i] = -1; ref != 0 {
			places[i] = k
			k++
		}
	}
	return places
}

// hashOf returns a hash of the series of a page, in order.
func hashOf(ids []series.ID) uint64 {
	h := uint64(len(ids))
	for _, id := range ids {
		h = (h ^ uint64(id)) * 0xff51afd7ed558ccd
		h ^= h >> 32
	}
	return h
}

// feed is the list of groups that the pages of some targets go to, with the layouts of these pages. Two targets have
// the same feed if all their labels that aggregates keep are equal.
type feed struct {
	key    feedKey
	groups []*group // one for each block, in the order of blocks
	blocks []*block // of the job
	locks  []*group // the groups in the order in which they are locked, each once
	users  int      // sources; guarded by Aggregates.mu

	// The following are guarded by the locks of the feed.
	layouts map[uint64]*layout
	newest  *layout // the one made last, if it still has users
}

func (f *feed) lock() {
	for _, g := range f.locks {
		g.mu.Lock()
	}
}

func (f *feed) unlock() {
	for _, g := range slices.Backward(f.locks) {
		g.mu.Unlock()
	}
}

// slot returns the slot that a sample goes to. ref is not 0.
func (f *feed) slot(ref slotRef) *slot { return &f.groups[ref.group()-1].slots[ref.slot()] }

// find returns the layout of a page; nil: it has none yet.
func (f *feed) find(ids []series.ID, hash uint64) *layout {
	if l := f.layouts[hash]; l != nil && slices.Equal(l.ids, ids) {
		return l
	}
	return nil
}

// keep makes a layout known to other sources.
func (f *feed) keep(l *layout) {
	f.newest = l
	if f.layouts[l.hash] == nil { // otherwise another page has the same hash, and this one is not shared
		f.layouts[l.hash] = l
	}
}

// use counts one more source of a layout.
func (f *feed) use(l *layout) {
	l.users++
	for _, ref := range l.refs {
		if ref != 0 {
			f.slot(ref).sources++
		}
	}
}

// leave counts one source of a layout less. now is when.
func (f *feed) leave(l *layout, table *series.Table, now int64) {
	for _, ref := range l.refs {
		if ref != 0 {
			f.groups[ref.group()-1].loseSource(ref.slot(), now)
		}
	}
	if l.users--; l.users > 0 {
		return
	}
	if f.layouts[l.hash] == l {
		delete(f.layouts, l.hash)
	}
	if f.newest == l {
		f.newest = nil
	}
	table.Release(slices.Values(l.ids))
}

// finder finds the rows of a layout by series. Series that are asked for in the order of the layout cost a comparison.
type finder struct {
	ids  []series.ID
	next int
	rows map[series.ID]int32 // made when a series is not the next one
}

// row returns the row of a series; -1: it has none.
func (f *finder) row(id series.ID) int {
	if f.next < len(f.ids) && f.ids[f.next] == id {
		f.next++
		return f.next - 1
	}
	if f.rows == nil {
		f.rows = make(map[series.ID]int32, len(f.ids))
		for i, id := range f.ids {
			f.rows[id] = int32(i)
		}
	}
	i, ok := f.rows[id]
	if !ok {
		return -1
	}
	f.next = int(i) + 1
	return int(i)
}
