package disk

import (
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
)

// Kill returns the disk as another process finds it after this one was killed with kill -9: writes survive, locks end.
// A later power cut still takes what was not synced. All later calls of d fail and change nothing. Faults and capacity
// stay.
func (d *Disk) Kill() *Disk {
	d.Mu.Lock()
	defer d.Mu.Unlock()
	after := d.next()
	after.Special = maps.Clone(d.Special)
	copies := map[any]any{}
	for name, data := range d.Names {
		after.Names[name] = copyOf(data, copies).(*Data)
	}
	for name, dir := range d.Dirs {
		after.Dirs[name] = copyOf(dir, copies).(*Dir)
	}
	return after
}

// copyOf copies a file, or a directory with its entries, once.
func copyOf(what any, copies map[any]any) any {
	if known := copies[what]; known != nil {
		return known
	}
	switch x := what.(type) {
	case *Data:
		c := &Data{Content: slices.Clone(x.Content), Synced: slices.Clone(x.Synced), Writes: slices.Clone(x.Writes)}
		copies[what] = c
		return c
	case *Dir:
		c := &Dir{synced: entries{}}
		copies[what] = c
		for name, e := range x.synced {
			c.synced[name] = copyOf(e, copies)
		}
		for _, one := range x.changes {
			to := change{}
			for name, e := range one {
				to[name] = copyOf(e, copies)
			}
			c.changes = append(c.changes, to)
		}
		return c
	}
	return what
}

// CutPower returns the disk as it is after a power cut. Of each file it has the first of the writes that were not
// synced, the last of these torn, or sectors of all of them in any order. Of the changes to a directory that was not
// synced it has the first ones.
func (d *Disk) CutPower(rnd *rand.Rand) *Disk {
	return d.restore(func(data *Data) []byte { return data.torn(rnd) }, func(changes int) int {
		return rnd.IntN(changes + 1)
	})
}

// LoseUnsynced returns the disk as it is after a power cut that took everything that was not synced.
func (d *Disk) LoseUnsynced() *Disk {
	return d.restore(func(data *Data) []byte { return slices.Clone(data.Synced) }, func(int) int { return 0 })
}

// End is how a process ends at one of its next calls of the disk.
type End struct {
	Call  int                          // from now on, 1 is the next; 0: it does not end
	Of    func(call, name string) bool // the calls that count; nil: all
	With  error                        // ErrPowerLost or ErrKilled
	Ended func()                       // called at that call, with Mu held; nil: not called
}

// EndAt has the process end at a call: that call and all later ones fail. If it is a write, CutPower finds any part of
// it, and Kill its beginning.
func (d *Disk) EndAt(e End) {
	d.Mu.Lock()
	defer d.Mu.Unlock()
	if e.Of == nil {
		e.Of = func(string, string) bool { return true }
	}
	d.endAt = e
}

// CutAt has the power go at a call from now on.
func (d *Disk) CutAt(call int) { d.EndAt(End{Call: call, With: ErrPowerLost}) }

// end ends the process. The caller holds Mu.
func (d *Disk) end() error {
	if d.endAt.With == ErrPowerLost {
		d.powerLost = true
	} else {
		d.Dead = true
	}
	if d.endAt.Ended != nil {
		d.endAt.Ended()
	}
	return d.endAt.With
}

// Ended reports whether the process has ended: all calls fail.
func (d *Disk) Ended() bool {
	d.Mu.Lock()
	defer d.Mu.Unlock()
	return d.Dead || d.powerLost
}

// next ends the process and returns a disk for the next one, without names. The caller holds Mu.
func (d *Disk) next() *Disk {
	d.Dead = true
	after := NewWithChance(d.rnd)
	after.faults, after.capacity, after.Repeats = d.faults.Clone(), d.capacity, d.Repeats
	return after
}

// restore returns the disk after a power cut. content returns the bytes of a file. kept returns how many of the changes
// to a directory are there.
func (d *Disk) restore(content func(*Data) []byte, kept func(changes int) int) *Disk {
	d.Mu.Lock()
	defer d.Mu.Unlock()
	after := d.next()
	seen := map[any]bool{} // a directory that was moved may be found in two places: a repaired file system has it once
	var walk func(name string, dir *Dir)
	walk = func(name string, dir *Dir) {
		all := maps.Clone(dir.synced)
		if all == nil {
			all = entries{}
		}
		for _, c := range dir.changes[:kept(len(dir.changes))] {
			c.apply(all)
		}
		after.Dirs[name] = &Dir{synced: entries{}}
		for _, base := range slices.Sorted(maps.Keys(all)) {
			path, what := filepath.Join(name, base), all[base]
			if seen[what] {
				continue
			}
			switch what := what.(type) {
			case *Data:
				seen[what] = true
				c := content(what)
				after.Names[path] = &Data{Content: c, Synced: slices.Clone(c)}
				after.Dirs[name].synced[base] = after.Names[path]
			case *Dir:
				seen[what] = true
				walk(path, what)
				after.Dirs[name].synced[base] = after.Dirs[path]
			default:
				after.Special[path] = true
				after.Dirs[name].synced[base] = what
			}
		}
	}
	walk(".", d.Dirs["."])
	return after
}

// sector is what a disk writes whole.
const sector = 512

// torn returns what a power cut leaves of a file.
func (d *Data) torn(rnd *rand.Rand) []byte {
	n := rnd.IntN(len(d.Writes) + 1)
	if n == 0 {
		return slices.Clone(d.Synced)
	}
	if rnd.IntN(2) == 0 {
		return d.tornWrite(n, rnd)
	}
	content := d.onDisk(n)
	for at := 0; at < len(content); at += sector {
		part := content[at:min(at+sector, len(content))]
		if rnd.IntN(2) == 0 {
			clear(part)
			copy(part, d.Synced[min(at, len(d.Synced)):])
		}
	}
	return content
}

// tornWrite returns a file with the first n writes, of which the last is torn. It is not part of torn, since a build of
// go1.26.8 with -race then always took its branch.
func (d *Data) tornWrite(n int, rnd *rand.Rand) []byte {
	last := d.Writes[n-1]
	last.data = last.data[:rnd.IntN(len(last.data)+1)]
	return last.apply(d.onDisk(n - 1))
}

// Damage changes a random bit of a file for which is returns true, as a disk may do at rest. It returns the name;
// empty: there is no such file with a content.
func (d *Disk) Damage(rnd *rand.Rand, is func(name string) bool) (damaged string) {
	d.Mu.Lock()
	defer d.Mu.Unlock()
	name := d.pick(rnd, func(name string) bool { return is(name) && len(d.Names[name].Content) > 0 })
	if name == "" {
		return ""
	}
	data := d.Names[name]
	at, bit := rnd.IntN(len(data.Content)), byte(1)<<rnd.IntN(8)
	data.Content[at] ^= bit
	if at < len(data.Synced) {
		data.Synced[at] ^= bit
	}
	return name
}

// Lose removes a random file for which is returns true, as a person may do. It returns the name; empty: there is no
// such file.
func (d *Disk) Lose(rnd *rand.Rand, is func(name string) bool) (lost string) {
	d.Mu.Lock()
	defer d.Mu.Unlock()
	name := d.pick(rnd, is)
	if name != "" {
		d.remove(name)
	}
	return name
}

// pick returns a random file for which is returns true, or nothing. The caller holds Mu.
func (d *Disk) pick(rnd *rand.Rand, is func(name string) bool) string {
	all := slices.DeleteFunc(slices.Sorted(maps.Keys(d.Names)), func(name string) bool { return !is(name) })
	if len(all) == 0 {
		return ""
	}
	return all[rnd.IntN(len(all))]
}
