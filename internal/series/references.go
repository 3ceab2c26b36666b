package series

import "iter"

const (
	// sliceWork is how much work Retain and Release do before they let others have the lock. A unit is a series, a
	// label of a stem that is removed, a number that an index moves, or a stem whose labels move. 1,024 units take less
	// than a millisecond.
	sliceWork = 1024
	// sliceIDs is how many ids are collected before the lock is taken for them.
	sliceIDs = 512
)

// work counts the work under the table's lock, in units of sliceWork. Guarded by it.
type work struct {
	done  int // under this hold of the lock, without what has moved
	moved int // what had moved in indexes and in the arena before this hold
	most  int // the most work under one hold
}

// lock takes the lock for writing. Every writer takes it here.
func (t *Table) lock() {
	t.mu.Lock()
	t.work.done, t.work.moved = 0, t.moved()
}

func (t *Table) unlock() {
	t.work.most = max(t.work.most, t.worked())
	t.mu.Unlock()
}

// worked returns the work done under the present hold of the lock.
func (t *Table) worked() int { return t.work.done + t.moved() - t.work.moved }

func (t *Table) moved() int {
	stems := t.stems.index.Moved() + t.stems.plans.index.Moved() + t.stems.moved
	return t.index.Moved() + stems + t.metas.index.Moved() + t.byText.Moved()
}

// MostWork returns the most work done under one hold of the lock so far, in units of sliceWork. A test bounds by it how
// long others can have to wait.
func (t *Table) MostWork() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.work.most
}

// Retain takes one more reference of each id. The caller knows that each has a reference until Retain returns.
func (t *Table) Retain(ids iter.Seq[ID]) { t.inSlices(ids, 1) }

// Release takes one reference from each id. When an id has none left, the id and what only it used are free for reuse.
func (t *Table) Release(ids iter.Seq[ID]) { t.inSlices(ids, -1) }

// inSlices adds to the references of each id, under a lock that it gives up between slices. ids runs without the lock.
func (t *Table) inSlices(ids iter.Seq[ID], add int32) {
	slice := t.slices.Get().(*[]ID)
	for id := range ids {
		if *slice = append(*slice, id); len(*slice) == cap(*slice) {
			t.count(*slice, add)
			*slice = (*slice)[:0]
		}
	}
	if len(*slice) > 0 {
		t.count(*slice, add)
		*slice = (*slice)[:0]
	}
	t.slices.Put(slice)
}

// count adds to the references of each id.
func (t *Table) count(ids []ID, add int32) {
	t.lock()
	defer t.unlock()
	for _, id := range ids {
		if t.worked() >= t.sliceWork {
			t.unlock()
			t.lock()
		}
		e := t.entries.at(uint32(id))
		if e.refs += add; e.refs == 0 {
			t.remove(id, e)
		}
		t.work.done++
	}
}

// remove frees an id that has no references any more.
func (t *Table) remove(id ID, e *entry) {
	t.index.Remove(t.hashOf(uint32(id)), uint32(id), t.hashOf)
	t.release(e.name)
	t.release(e.le)
	t.releaseMeta(e.meta)
	if s := t.stems.at(e.stem); s.refs == 1 {
		own := t.stems.own(s)
		for _, p := range own {
			t.release(p.Name)
			t.release(p.Value)
		}
		t.work.done += len(own)
		t.stems.remove(e.stem)
	} else {
		s.refs--
	}
	t.entries.remove(uint32(id))
	t.changes++
}
