package disk

import (
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"slices"
	"time"
)

// Fault is what happens to calls while it lasts.
type Fault struct {
	// Calls are "write", "sync", "syncdir", "open", "read", "truncate", "rename", …; empty: all. "create" is an "open"
	// that makes a file.
	Calls  []string
	Err    error         // such as syscall.EIO; nil: none
	Chance float64       // probability from 0 to 1 that a call fails; 0: each call fails
	Torn   bool          // a write that fails writes a part
	Delay  time.Duration // how long each call takes, until Until
	Until  time.Time     // zero: as long as the fault lasts

	salt uint64 // for the draws
}

func (f Fault) concerns(call string) bool {
	return len(f.Calls) == 0 && call != "create" || slices.Contains(f.Calls, call)
}

// tornError makes a write fail after it wrote a part of its bytes.
type tornError struct {
	error
	part float64 // from 0 to 1, not included
}

func (e *tornError) Unwrap() error { return e.error }

// Begin begins a fault. An earlier one of the same name ends.
//
// A delay makes the caller sleep. In a bubble of testing/synctest a program must not hold a mutex meanwhile for which
// others wait: they would not count as blocked, so the clock would stand.
func (d *Disk) Begin(name string, f Fault) {
	d.Mu.Lock()
	defer d.Mu.Unlock()
	f.salt = d.rnd.Uint64()
	d.faults.Begin(name, f)
}

// End ends the fault with a name. It does nothing if there is none.
func (d *Disk) End(name string) {
	d.Mu.Lock()
	defer d.Mu.Unlock()
	d.faults.End(name)
}

// faulty returns the error that the faults give a call, or nil. The caller holds Mu.
func (d *Disk) faulty(call, name string) error {
	for f := range d.faults.All() {
		if f.Err == nil || !f.concerns(call) || f.Chance > 0 && d.draw(f.salt, call, name) >= f.Chance {
			continue
		}
		if f.Torn && call == "write" {
			return &tornError{f.Err, d.draw(f.salt+1, call, name)}
		}
		return f.Err
	}
	return nil
}

// wait waits as long as a call takes.
func (d *Disk) wait(call, name string) {
	d.Mu.Lock()
	var held <-chan struct{}
	if d.Hold != nil && call != "create" {
		held = d.Hold(call, name)
	}
	delay := time.Duration(0)
	for f := range d.faults.All() {
		if f.concerns(call) && (f.Until.IsZero() || time.Now().Before(f.Until)) && !d.Dead {
			delay += f.Delay
		}
	}
	d.made[[2]string{call, name}]++
	if d.Repeats != nil && !d.Dead && d.Repeats(call, name) {
		delay += d.latency(call, name)
	}
	d.Mu.Unlock()
	if held != nil {
		<-held
	}
	if delay > 0 {
		time.Sleep(delay)
	}
}

// draw returns a number from 0 to 1, 1 not included. It follows from a call, its name, and how often it was made, and
// not from the order of calls on other names. The caller holds Mu.
func (d *Disk) draw(salt uint64, call, name string) float64 {
	n := d.made[[2]string{call, name}]
	if d.Repeats != nil && !d.Repeats(call, name) {
		n = d.made[[2]string{"open", name}]
	}
	h := fnv.New64a()
	_, _ = fmt.Fprint(h, salt, call, name, n)
	return rand.New(rand.NewPCG(salt, h.Sum64())).Float64()
}

// latency returns how long a call takes without a fault, from the beginning of this microsecond: the nanoseconds at
// which a call begins may differ between two runs of a simulation. The caller holds Mu.
func (d *Disk) latency(call, name string) time.Duration {
	took := time.Microsecond + time.Duration(d.draw(0, call, name)*float64(50*time.Microsecond))
	return took - time.Duration(time.Now().Nanosecond()%1000)
}

// SetCapacity sets how many bytes all files have room for. Writes beyond it write what fits, and fail with ENOSPC.
// 0: there is no limit.
func (d *Disk) SetCapacity(bytes int64) {
	d.Mu.Lock()
	defer d.Mu.Unlock()
	d.capacity = bytes
}

// Used returns the bytes of all files.
func (d *Disk) Used() int64 {
	d.Mu.Lock()
	defer d.Mu.Unlock()
	return d.used()
}

func (d *Disk) used() (sum int64) {
	for _, data := range d.Names {
		sum += int64(len(data.Content))
	}
	return sum
}

// roomFor returns what is left when a file grows by some bytes; below 0: how much is missing. The caller holds Mu.
func (d *Disk) roomFor(more int64) int64 {
	if d.capacity == 0 || more <= 0 {
		return math.MaxInt64
	}
	return d.capacity - d.used() - more
}

// OpenFiles returns the number of open files and of locks, for checks that nothing is left.
func (d *Disk) OpenFiles() (files, locks int) {
	d.Mu.Lock()
	defer d.Mu.Unlock()
	return len(d.Handles), len(d.Locks)
}
