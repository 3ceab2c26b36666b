// Package disk is a file system in memory, for tests and simulations. Calls fail, wait, or find it full. A power cut
// loses what was not synced, and tears the last write.
package disk

import (
	"errors"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/envoy-scraper/envoy-scraper/internal/queue/filesystem"
	"github.com/envoy-scraper/envoy-scraper/internal/simulate/faultlist"
)

const separator = string(filepath.Separator)

// Disk implements filesystem.FS. Its fields are for tests that look at files, spoil them or make calls fail.
type Disk struct {
	// Mu guards the following. Calls hold it while they change something, never while they wait.
	Mu      sync.Mutex
	Names   map[string]*Data
	Durable map[string]*Data // names that a power cut keeps
	Dirs    map[string]bool  // directories; true: a power cut keeps the name
	Special map[string]bool  // names that are neither a file nor a directory: symbolic links, pipes
	Locks   map[string]bool
	Handles map[*File]bool // open files
	Calls   map[string]int // counts, by call: "write", "sync", "open", …
	N       int            // all calls, without those of a disk whose process is dead
	Dead    bool           // its process was killed: it changes nothing any more

	Fail func(call, name string, n int) error            // n counts the calls that can fail, from 1; may be nil
	Hold func(call, name string) (until <-chan struct{}) // a call waits for the channel, unless it is nil; may be nil

	KeepsOpen bool // as Windows: a directory in which a file is open cannot be renamed
	Evict     bool // a failed sync takes what was written from readers, too, as XFS and Btrfs may; else as ext4

	faults    faultlist.List[Fault]
	rnd       *rand.Rand // draws for the faults
	capacity  int64      // 0: unlimited
	cutIn     int        // calls until the power goes; 0: it stays
	powerLost bool
	moments   int64 // delays so far
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
		Names: map[string]*Data{}, Durable: map[string]*Data{}, Dirs: map[string]bool{".": true},
		Special: map[string]bool{}, Locks: map[string]bool{}, Handles: map[*File]bool{}, Calls: map[string]int{},
		rnd: rnd,
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
	if d.cutIn > 0 {
		if d.cutIn--; d.cutIn == 0 {
			d.powerLost = true
			return ErrPowerLost
		}
	}
	if d.Fail != nil {
		if err := d.Fail(call, name, d.N); err != nil {
			return err
		}
	}
	return d.faulty(call)
}

// Mkdir implements filesystem.FS.
func (d *Disk) Mkdir(dir string) error {
	err := d.begin("mkdir", dir)
	defer d.Mu.Unlock()
	if err != nil {
		return err
	}
	if _, ok := d.Dirs[dir]; ok || d.taken(dir) {
		return &os.PathError{Op: "mkdir", Path: dir, Err: os.ErrExist}
	}
	if _, ok := d.Dirs[filepath.Dir(dir)]; !ok {
		return &os.PathError{Op: "mkdir", Path: dir, Err: os.ErrNotExist}
	}
	d.Dirs[dir] = false
	return nil
}

// taken reports whether something has a name. The caller holds Mu.
func (d *Disk) taken(name string) bool {
	_, dir := d.Dirs[name]
	return dir || d.Special[name] || d.Names[name] != nil
}

// ReadDir implements filesystem.FS.
func (d *Disk) ReadDir(dir string) ([]filesystem.Entry, error) {
	err := d.begin("readdir", dir)
	defer d.Mu.Unlock()
	if err != nil {
		return nil, err
	}
	var entries []filesystem.Entry
	for name, data := range d.Names {
		rest, ok := strings.CutPrefix(name, dir+separator)
		if !ok {
			continue
		}
		if sub, _, deeper := strings.Cut(rest, separator); deeper {
			if e := (filesystem.Entry{Name: sub, Dir: true}); !slices.Contains(entries, e) {
				entries = append(entries, e)
			}
			continue
		}
		entries = append(entries, filesystem.Entry{Name: rest, Size: int64(len(data.Content))})
	}
	for name := range d.Dirs {
		e := filesystem.Entry{Name: filepath.Base(name), Dir: true}
		if filepath.Dir(name) == dir && !slices.Contains(entries, e) {
			entries = append(entries, e)
		}
	}
	for name := range d.Special {
		if filepath.Dir(name) == dir {
			entries = append(entries, filesystem.Entry{Name: filepath.Base(name), Special: true})
		}
	}
	if _, made := d.Dirs[dir]; !made && len(entries) == 0 {
		return nil, &os.PathError{Op: "open", Path: dir, Err: os.ErrNotExist}
	}
	slices.SortFunc(entries, func(a, b filesystem.Entry) int { return strings.Compare(a.Name, b.Name) })
	return entries, nil
}

// Open implements filesystem.FS.
func (d *Disk) Open(name string, create bool) (filesystem.File, error) {
	err := d.begin("open", name)
	defer d.Mu.Unlock()
	if err != nil {
		return nil, err
	}
	data := d.Names[name]
	switch {
	case create && d.taken(name):
		return nil, &os.PathError{Op: "open", Path: name, Err: os.ErrExist}
	case create:
		data = &Data{}
		d.Names[name] = data
	case data == nil && d.taken(name):
		return nil, &os.PathError{Op: "open", Path: name, Err: filesystem.ErrNotRegular}
	case data == nil:
		return nil, &os.PathError{Op: "open", Path: name, Err: os.ErrNotExist}
	}
	f := &File{disk: d, Name: name, data: data}
	d.Handles[f] = true
	return f, nil
}

// Remove implements filesystem.FS.
func (d *Disk) Remove(name string) error {
	err := d.begin("remove", name)
	defer d.Mu.Unlock()
	if err != nil {
		return err
	}
	if d.Names[name] == nil && !d.taken(name) {
		return &os.PathError{Op: "remove", Path: name, Err: os.ErrNotExist}
	}
	delete(d.Names, name)
	delete(d.Special, name)
	delete(d.Dirs, name)
	return nil
}

// Rename implements filesystem.FS.
func (d *Disk) Rename(from, to string) error {
	err := d.begin("rename", from)
	defer d.Mu.Unlock()
	if err != nil {
		return err
	}
	for f := range d.Handles {
		if d.KeepsOpen && strings.HasPrefix(f.Name, from) {
			return &os.PathError{Op: "rename", Path: from, Err: os.ErrPermission}
		}
	}
	if data := d.Names[from]; data != nil {
		d.Names[to] = data
		delete(d.Names, from)
		return nil
	}
	for _, name := range slices.Collect(maps.Keys(d.Names)) {
		if rest, ok := strings.CutPrefix(name, from+separator); ok {
			d.Names[filepath.Join(to, rest)] = d.Names[name]
			delete(d.Names, name)
		}
	}
	if _, ok := d.Dirs[from]; ok {
		delete(d.Dirs, from)
		d.Dirs[to] = false
	}
	return nil
}

// SyncDir implements filesystem.FS.
func (d *Disk) SyncDir(dir string) error {
	err := d.begin("syncdir", dir)
	defer d.Mu.Unlock()
	if err != nil {
		return err
	}
	in := func(name string) bool { return filepath.Dir(name) == dir }
	maps.DeleteFunc(d.Durable, func(name string, _ *Data) bool { return in(name) })
	for name, data := range d.Names {
		if in(name) {
			d.Durable[name] = data
		}
	}
	for name := range d.Dirs {
		if in(name) {
			d.Dirs[name] = true
		}
	}
	return nil
}

type lock struct {
	disk *Disk
	name string
}

// Close implements io.Closer.
func (l lock) Close() error {
	l.disk.Mu.Lock()
	defer l.disk.Mu.Unlock()
	delete(l.disk.Locks, l.name)
	return nil
}

// Lock implements filesystem.FS.
func (d *Disk) Lock(name string) (io.Closer, error) {
	d.Mu.Lock()
	defer d.Mu.Unlock()
	if d.Locks[name] {
		return nil, filesystem.ErrLocked
	}
	d.Locks[name] = true
	return lock{d, name}, nil
}
