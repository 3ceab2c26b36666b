package disk

import (
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
)

// Kill returns the disk as another process finds it after this one was killed with kill -9: writes survive, locks end.
// All later calls of d fail and change nothing. Faults and capacity stay.
func (d *Disk) Kill() *Disk {
	return d.Crash(func(data *Data) []byte { return slices.Clone(data.Content) }, nil)
}

// CutPower returns the disk as it is after a power cut: it has some of the writes that were not synced, the last of
// them torn, and none of the names that were not.
func (d *Disk) CutPower(rnd *rand.Rand) *Disk {
	return d.Crash(func(data *Data) []byte {
		n := rnd.IntN(len(data.Writes) + 1)
		if n == 0 {
			return slices.Clone(data.Synced)
		}
		last := data.Writes[n-1]
		last.data = last.data[:rnd.IntN(len(last.data)+1)]
		return last.apply(data.onDisk(n - 1))
	}, d.durableNames())
}

// CutAt has the power go at a call from now on, 1 is the next: it and all later ones fail. If it is a write, CutPower
// may find any part of it.
func (d *Disk) CutAt(call int) {
	d.Mu.Lock()
	defer d.Mu.Unlock()
	d.cutIn = call
}

// hasPower reports whether the power is still there.
func (d *Disk) hasPower() bool {
	d.Mu.Lock()
	defer d.Mu.Unlock()
	return !d.powerLost
}

// lasts reports whether a power cut keeps the directories above a name. The caller holds Mu.
func (d *Disk) lasts(name string) bool {
	for dir := filepath.Dir(name); dir != "."; dir = filepath.Dir(dir) {
		if synced, made := d.Dirs[dir]; made && !synced {
			return false
		}
	}
	return true
}

// durableNames returns what a power cut keeps: names that were synced, in directories whose names were synced.
func (d *Disk) durableNames() map[string]*Data {
	d.Mu.Lock()
	defer d.Mu.Unlock()
	names := maps.Clone(d.Durable)
	maps.DeleteFunc(names, func(name string, _ *Data) bool { return !d.lasts(name) })
	maps.DeleteFunc(d.Dirs, func(name string, synced bool) bool { return !synced || !d.lasts(name) })
	return names
}

// Crash returns a disk with the given names (nil: all) of d, and kills d. content returns the bytes of each file; it is
// called in the order of names.
func (d *Disk) Crash(content func(*Data) []byte, names map[string]*Data) *Disk {
	d.Mu.Lock()
	defer d.Mu.Unlock()
	if names == nil {
		names = d.Names
	}
	after := NewWithChance(d.rnd)
	after.Dirs, after.Special = maps.Clone(d.Dirs), maps.Clone(d.Special)
	after.faults, after.capacity, after.moments = d.faults.Clone(), d.capacity, d.moments
	d.Dead = true
	for _, name := range slices.Sorted(maps.Keys(names)) {
		c := content(names[name])
		after.Names[name] = &Data{Content: c, Synced: slices.Clone(c)}
		after.Durable[name] = after.Names[name]
	}
	return after
}
