package simulate

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/envoy-scraper/envoy-scraper/internal/chance"
	"github.com/envoy-scraper/envoy-scraper/internal/simulate/disk"
	"github.com/envoy-scraper/envoy-scraper/internal/simulate/oracle"
)

// diskKinds are the faults of an agent's disk, and what ends a process at one of its calls of the disk.
func diskKinds() []kind {
	return append(failingDiskKinds(), kind{
		name: "disk: quota", weight: 2, lasts: true,
		begin: func(w *world, f scheduledFault, chance *rand.Rand) func() {
			r := w.anyAgent(chance)
			r.fragile(f)
			r.disk.SetCapacity(r.disk.Used() + chance.Int64N(64<<10)) // a segment is larger
			return func() { r.disk.SetCapacity(0) }
		},
	}, kind{
		name: "disk: slow", weight: 2, lasts: true,
		begin: func(w *world, f scheduledFault, chance *rand.Rand) func() {
			r := w.anyAgent(chance)
			r.fragile(f)
			slow := disk.Fault{Calls: slowCalls, Until: time.Now().Add(f.For),
				Delay: 100*time.Millisecond + time.Duration(chance.Int64N(int64(4900*time.Millisecond)))}
			r.slow.begin(slow)
			r.disk.Begin(f.name(), slow)
			return func() { r.disk.End(f.name()) }
		},
	}, damageKind("a bit flips", 0, func(d *disk.Disk, rnd *rand.Rand) {
		for range 1 + rnd.IntN(5) {
			d.Damage(rnd, isQueueFile)
		}
	}), damageKind("a segment is removed", writtenOn, func(d *disk.Disk, rnd *rand.Rand) {
		d.Lose(rnd, func(name string) bool { return strings.HasSuffix(name, ".seg") })
	}),
		endKind("kill -9", oracle.Killed), endKind("power cut", oracle.PowerCut))
}

// failingDiskKinds are the faults that make calls of the disk fail.
func failingDiskKinds() []kind {
	of := func(name string, fault disk.Fault) kind {
		return kind{name: "disk: " + name, weight: 2, lasts: true,
			begin: func(w *world, f scheduledFault, chance *rand.Rand) func() {
				r := w.anyAgent(chance)
				r.fragile(f)
				r.disk.Begin(f.name(), fault)
				return func() { r.disk.End(f.name()) }
			}}
	}
	names := []string{"create", "mkdir", "remove", "rename"}
	return []kind{
		of("full", disk.Fault{Calls: []string{"write"}, Err: syscall.ENOSPC}),
		of("fails", disk.Fault{Calls: []string{"write", "sync", "open"}, Err: syscall.EIO, Chance: 0.3}),
		of("torn writes", disk.Fault{Calls: []string{"write"}, Err: syscall.EIO, Chance: 0.2, Torn: true}),
		of("does not sync", disk.Fault{Calls: []string{"sync"}, Err: syscall.EIO}),
		of("directory is read-only", disk.Fault{Calls: names, Err: syscall.EACCES}),
		of("read-only", disk.Fault{Calls: append(names, "write", "truncate"), Err: syscall.EROFS}),
	}
}

// slowCalls are the calls of the disk that a slow disk delays. The kernel answers the others from memory: it knows the
// names and sizes of files.
var slowCalls = []string{"write", "sync", "syncdir", "create", "read", "remove", "rename", "truncate"}

// slowDisk says how slow the disk of an agent is.
type slowDisk struct {
	delay time.Duration // of a call
	until time.Time
}

// begin adds a fault, which may overlap with another one.
func (s *slowDisk) begin(f disk.Fault) {
	if time.Now().After(s.until) {
		s.delay = 0
	}
	s.delay += f.Delay
	if f.Until.After(s.until) {
		s.until = f.Until
	}
}

// longest returns how much longer the stop of a process may take that began at a time. The queue waits for the disk for
// 3 s. A sender ends after its last position is written, and other writes of that position may be before it: two, or
// more if the disk fails, too.
func (s slowDisk) longest(began time.Time) time.Duration {
	if began.After(s.until) {
		return 0
	}
	return 3*time.Second + 20*s.delay
}

// exit ends what a process leaves behind when it exits on a slow disk: the kernel closes its files, and its locks end.
// On any other disk a process has closed everything by itself.
func (r *runner) exit() {
	if time.Now().Before(r.slow.until.Add(r.slow.delay)) && !r.disk.Ended() {
		r.disk = r.disk.Kill()
	}
}

func isQueueFile(name string) bool {
	return strings.HasSuffix(name, ".seg") || strings.HasSuffix(name, ".pos")
}

// writtenOn is how long a process may write to a segment after it was removed. It does not notice that, and a segment
// is large.
const writtenOn = 24 * time.Hour

// damageKind is damage to files, which happens at once. Samples that are scraped until some time later are in them,
// too.
func damageKind(name string, later time.Duration, do func(d *disk.Disk, rnd *rand.Rand)) kind {
	return kind{name: "disk: " + name, weight: 2, begin: func(w *world, _ scheduledFault, chance *rand.Rand) func() {
		r := w.anyAgent(chance)
		w.oracle.Damaged(agentAddress(r.n), time.Now().Add(later))
		do(r.disk, chance)
		return nil
	}}
}

// fragile says to the oracle that what is scraped during a fault may be in memory only.
func (r *runner) fragile(f scheduledFault) { r.world.oracle.Fragile(time.Now(), time.Now().Add(f.For)) }

// endKind ends the process of an agent at one of its next calls of the disk, and starts another one at once. That one
// may end the same way, also while it starts.
func endKind(name string, how oracle.End) kind {
	return kind{name: "agent: " + name + " at a call of the disk", weight: 3, lasts: true,
		begin: func(w *world, _ scheduledFault, chance *rand.Rand) func() {
			r := w.anyAgent(chance)
			r.endAt(chance, how, 1+chance.IntN(300), chance.IntN(3))
			return func() { r.disk.EndAt(disk.End{}) }
		}}
}

// endAt ends the process at a call of the disk from now on, and some of the processes after it at one of their first
// calls.
func (r *runner) endAt(chance *rand.Rand, how oracle.End, call, more int) {
	w, with := r.world, disk.ErrKilled
	if how == oracle.PowerCut {
		with = disk.ErrPowerLost
	}
	r.disk.EndAt(disk.End{Call: call, Of: repeats, With: with, Ended: func() {
		w.oracle.Ended(agentAddress(r.n), how)
		w.urgent <- func() {
			w.trace.add("agent %d ends at a call of the disk", r.n)
			if r.process != nil {
				r.kill(how)
			} else {
				r.crash(how) // it was stopping or starting
			}
			if more > 0 {
				r.endAt(chance, how, 1+chance.IntN(100), more-1)
			}
			w.start(r)
		}
	}})
}

// repeats reports whether a call of the disk is made again when the run is repeated. How many layouts are written to
// the new file of a segment depends on the garbage collector.
func repeats(call, name string) bool { return call != "write" || filepath.Base(name) != "probe" }

// crash ends all calls of the disk by the process, and gives the next process what is left.
func (r *runner) crash(how oracle.End) {
	if how == oracle.PowerCut {
		r.crashes++
		r.disk = r.disk.CutPower(chance.Seeded(r.world.opts.Seed).Of(fmt.Sprintf("power %d %d", r.n, r.crashes)).Rand())
	} else {
		r.disk = r.disk.Kill()
	}
}

// calmDisks lets no process end at a call of its disk any more.
func (w *world) calmDisks() {
	for _, r := range w.agents {
		r.disk.EndAt(disk.End{})
	}
	for len(w.urgent) > 0 {
		(<-w.urgent)()
	}
}
