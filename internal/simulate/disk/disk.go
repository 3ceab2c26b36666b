// Package disk is a file system in memory, for tests and simulations. Its calls have the results and errors of a real
// one. They also fail, wait, or find it full. A power cut loses parts of what was not synced.
package disk

import (
	"errors"
	"math/rand/v2"
	"path/filepath"
	"sync"

	"github.com/envoy-scraper/envoy-scraper/internal/simulate/faultlist"
)

const separator = string(filepath.Separator)

// Disk implements filesystem.FS. Its fields are for tests that look at files, spoil them or make calls fail.
type Disk struct {
	// Mu guards the following. Calls hold it while they change something, never while they wait.
	Mu      sync.Mutex
	Names   map[string]*Data
	Dirs    map[string]*Dir // directories; the parents of other names need not be there
	Special map[string]bool // names that are neither a file nor a directory: symbolic links, pipes
	Locks   map[*Data]bool
	Handles map[*File]bool // open files
	Calls   map[string]int // counts, by call: "write", "sync", "open", …
	N       int            // all calls, without those of a disk whose process is dead
	Dead    bool           // its process was killed: it changes nothing any more

	Fail func(call, name string, n int) error            // n counts the calls that can fail, from 1; may be nil
	Hold func(call, name string) (until <-chan struct{}) // a call waits for the channel, unless it is nil; may be nil

	KeepsOpen bool // as Windows: a directory in which a file is open cannot be renamed
	Evict     bool // a failed sync takes what was written from readers, too, as XFS and Btrfs may; else as ext4

	// Repeats makes two runs of a simulation alike, whatever Go's scheduler does: each call takes some microseconds,
	// which follow from the call, its name, and how often it was made. It returns false for calls that may be more or
	// fewer when the run is repeated. These take no time, and share their fate until the file is opened again. nil: no
	// call takes time.
	Repeats func(call, name string) bool

	faults    faultlist.List[Fault]
	rnd       *rand.Rand // draws for the faults
	capacity  int64      // 0: unlimited
	endAt     End
	powerLost bool
	made      map[[2]string]uint64 // calls so far, by call and name
}

// Data is the content of a file, shared by its handles.
type Data struct {
	Content []byte
	Synced  []byte
	Writes  []Write // since the last sync
}

// Write is a write, or cuts the file off at an offset.
type Write struct {
	at   int64
	data []byte
	cut  bool
}

func (w Write) apply(content []byte) []byte {
	if w.cut {
		return content[:min(len(content), int(w.at))]
	}
	return overwrite(content, w.data, w.at)
}

// File is an open file. It implements filesystem.File.
type File struct {
	Name string
	disk *Disk
	data *Data
	shut bool
}

// ErrKilled is the error of all calls after the process of a disk was killed.
var ErrKilled = errors.New("killed")

// ErrPowerLost is the error of all calls after the power of a disk went.
var ErrPowerLost = errors.New("power lost")

// ErrShort makes a write fail after it wrote half of its bytes.
var ErrShort = errors.New("short write")

// New returns an empty disk. Faults with a chance draw from a source of their own, always the same.
func New() *Disk { return NewWithChance(rand.New(rand.NewPCG(1, 1))) }

// NewWithChance returns an empty disk whose faults draw from rnd.
func NewWithChance(rnd *rand.Rand) *Disk {
	return &Disk{
		Names: map[string]*Data{}, Dirs: map[string]*Dir{".": {}}, Special: map[string]bool{},
		Locks: map[*Data]bool{}, Handles: map[*File]bool{}, Calls: map[string]int{}, rnd: rnd,
		made: map[[2]string]uint64{},
	}
}

// begin waits if it has to, and then takes Mu, which the caller unlocks. It returns the error with which the call
// fails, or nil.
func (d *Disk) begin(call, name string) error {
	d.wait(call, name)
	d.Mu.Lock()
	return d.call(call, name)
}

// call counts a call and returns the error with which it fails, or nil. The caller holds Mu.
func (d *Disk) call(call, name string) error {
	switch {
	case d.Dead:
		return ErrKilled
	case d.powerLost:
		return ErrPowerLost
	}
	d.Calls[call]++
	d.N++
	if d.endAt.Call > 0 && d.endAt.Of(call, name) {
		if d.endAt.Call--; d.endAt.Call == 0 {
			return d.end()
		}
	}
	if d.Fail != nil {
		if err := d.Fail(call, name, d.N); err != nil {
			return err
		}
	}
	return d.faulty(call, name)
}
