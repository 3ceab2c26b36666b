package queue

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
)

// fakeFS is a file system in memory that makes calls fail, blocks syncs, and loses what was not synced.
type fakeFS struct {
	mu      sync.Mutex // guards the following
	names   map[string]*fakeData
	durable map[string]*fakeData // names that a power cut keeps
	dirs    map[string]bool      // directories; true: a power cut keeps the name
	special map[string]bool      // names that are neither a file nor a directory: symbolic links, pipes
	locks   map[string]bool
	calls   map[string]int
	fail    func(call, name string, n int) error // n counts the calls that can fail, from 1
	n       int
	syncing chan struct{} // a sync waits for it to be closed; nil: it does not
	writing chan struct{} // the same for writes of segments
	dead    bool          // the process of this one was killed: it changes nothing any more

	keepsOpen bool // as Windows: a directory in which a file is open cannot be renamed
	handles   map[*fakeFile]bool
	evict     bool // a failed sync takes what was written from readers as well, as XFS and Btrfs may; else as ext4
}

// fakeData is the content of a file, shared by its handles.
type fakeData struct {
	content []byte
	synced  []byte
	writes  []fakeWrite // since the last sync
}

// fakeWrite is a write, or cuts the file off at an offset.
type fakeWrite struct {
	at   int64
	data []byte
	cut  bool
}

func (w fakeWrite) apply(content []byte) []byte {
	if w.cut {
		return content[:min(len(content), int(w.at))]
	}
	return overwrite(content, w.data, w.at)
}

type fakeFile struct {
	fs   *fakeFS
	name string
	d    *fakeData
	shut bool
}

var errDead = errors.New("killed")

func newFakeFS() *fakeFS {
	return &fakeFS{
		names: map[string]*fakeData{}, durable: map[string]*fakeData{},
		locks: map[string]bool{}, calls: map[string]int{},
		dirs: map[string]bool{".": true}, special: map[string]bool{}, handles: map[*fakeFile]bool{},
	}
}

// call counts a call and returns the error with which it fails, or nil. The caller holds mu.
func (fs *fakeFS) call(call, name string) error {
	if fs.dead {
		return errDead
	}
	fs.calls[call]++
	fs.n++
	if fs.fail != nil {
		return fs.fail(call, name, fs.n)
	}
	return nil
}

func (fs *fakeFS) Mkdir(dir string) error {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if err := fs.call("mkdir", dir); err != nil {
		return err
	}
	if _, ok := fs.dirs[dir]; ok || fs.taken(dir) {
		return &os.PathError{Op: "mkdir", Path: dir, Err: os.ErrExist}
	}
	if _, ok := fs.dirs[filepath.Dir(dir)]; !ok {
		return &os.PathError{Op: "mkdir", Path: dir, Err: os.ErrNotExist}
	}
	fs.dirs[dir] = false
	return nil
}

// taken reports whether something has a name. The caller holds mu.
func (fs *fakeFS) taken(name string) bool {
	_, dir := fs.dirs[name]
	return dir || fs.special[name] || fs.names[name] != nil
}

func (fs *fakeFS) ReadDir(dir string) ([]Entry, error) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if err := fs.call("readdir", dir); err != nil {
		return nil, err
	}
	var entries []Entry
	for name, d := range fs.names {
		rest, ok := strings.CutPrefix(name, dir+string(filepath.Separator))
		if !ok {
			continue
		}
		if sub, _, deeper := strings.Cut(rest, string(filepath.Separator)); deeper {
			if e := (Entry{Name: sub, Dir: true}); !slices.Contains(entries, e) {
				entries = append(entries, e)
			}
			continue
		}
		entries = append(entries, Entry{Name: rest, Size: int64(len(d.content))})
	}
	for name := range fs.dirs {
		e := Entry{Name: filepath.Base(name), Dir: true}
		if filepath.Dir(name) == dir && !slices.Contains(entries, e) {
			entries = append(entries, e)
		}
	}
	for name := range fs.special {
		if filepath.Dir(name) == dir {
			entries = append(entries, Entry{Name: filepath.Base(name), Special: true})
		}
	}
	if _, made := fs.dirs[dir]; !made && len(entries) == 0 {
		return nil, &os.PathError{Op: "open", Path: dir, Err: os.ErrNotExist}
	}
	slices.SortFunc(entries, func(a, b Entry) int { return strings.Compare(a.Name, b.Name) })
	return entries, nil
}

func (fs *fakeFS) Open(name string, create bool) (File, error) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if err := fs.call("open", name); err != nil {
		return nil, err
	}
	d := fs.names[name]
	switch {
	case create && fs.taken(name):
		return nil, &os.PathError{Op: "open", Path: name, Err: os.ErrExist}
	case create:
		d = &fakeData{}
		fs.names[name] = d
	case d == nil && fs.taken(name):
		return nil, &os.PathError{Op: "open", Path: name, Err: errNotRegular}
	case d == nil:
		return nil, &os.PathError{Op: "open", Path: name, Err: os.ErrNotExist}
	}
	f := &fakeFile{fs: fs, name: name, d: d}
	fs.handles[f] = true
	return f, nil
}

func (fs *fakeFS) Remove(name string) error {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if err := fs.call("remove", name); err != nil {
		return err
	}
	if fs.names[name] == nil && !fs.taken(name) {
		return &os.PathError{Op: "remove", Path: name, Err: os.ErrNotExist}
	}
	delete(fs.names, name)
	delete(fs.special, name)
	delete(fs.dirs, name)
	return nil
}

func (fs *fakeFS) Rename(from, to string) error {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if err := fs.call("rename", from); err != nil {
		return err
	}
	for f := range fs.handles {
		if fs.keepsOpen && strings.HasPrefix(f.name, from) {
			return &os.PathError{Op: "rename", Path: from, Err: os.ErrPermission}
		}
	}
	if d := fs.names[from]; d != nil {
		fs.names[to] = d
		delete(fs.names, from)
		return nil
	}
	for _, name := range slices.Collect(maps.Keys(fs.names)) {
		if rest, ok := strings.CutPrefix(name, from+string(filepath.Separator)); ok {
			fs.names[join(to, rest)] = fs.names[name]
			delete(fs.names, name)
		}
	}
	if _, ok := fs.dirs[from]; ok {
		delete(fs.dirs, from)
		fs.dirs[to] = false
	}
	return nil
}

func (fs *fakeFS) SyncDir(dir string) error {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if err := fs.call("syncdir", dir); err != nil {
		return err
	}
	in := func(name string) bool { return filepath.Dir(name) == dir }
	maps.DeleteFunc(fs.durable, func(name string, _ *fakeData) bool { return in(name) })
	for name, d := range fs.names {
		if in(name) {
			fs.durable[name] = d
		}
	}
	for name := range fs.dirs {
		if in(name) {
			fs.dirs[name] = true
		}
	}
	return nil
}

type fakeLock struct {
	fs   *fakeFS
	name string
}

func (l fakeLock) Close() error {
	l.fs.mu.Lock()
	defer l.fs.mu.Unlock()
	delete(l.fs.locks, l.name)
	return nil
}

func (fs *fakeFS) Lock(name string) (io.Closer, error) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fs.locks[name] {
		return nil, errLocked
	}
	fs.locks[name] = true
	return fakeLock{fs, name}, nil
}

func (f *fakeFile) do(call string) error {
	if f.shut {
		return os.ErrClosed
	}
	return f.fs.call(call, f.name)
}

func (f *fakeFile) ReadAt(b []byte, at int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.do("read"); err != nil {
		return 0, err
	}
	if at >= int64(len(f.d.content)) {
		return 0, io.EOF
	}
	n := copy(b, f.d.content[at:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt writes half of b if the call fails with errShort.
func (f *fakeFile) WriteAt(b []byte, at int64) (int, error) {
	f.fs.mu.Lock()
	wait := f.fs.writing
	f.fs.mu.Unlock()
	if wait != nil && strings.HasSuffix(f.name, segmentSuffix) {
		<-wait
	}
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	err := f.do("write")
	if err != nil {
		if !errors.Is(err, errShort) {
			return 0, err
		}
		b = b[:len(b)/2]
	}
	f.d.content = overwrite(f.d.content, b, at)
	f.d.writes = append(f.d.writes, fakeWrite{at: at, data: slices.Clone(b)})
	return len(b), err
}

var errShort = errors.New("short write")

func overwrite(content, b []byte, at int64) []byte {
	if more := at + int64(len(b)) - int64(len(content)); more > 0 {
		content = append(content, make([]byte, more)...)
	}
	copy(content[at:], b)
	return content
}

func (f *fakeFile) Close() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	f.shut = true
	delete(f.fs.handles, f)
	return nil
}

func (f *fakeFile) Data(at int64) int64 { return at }

func (f *fakeFile) Size() (int64, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	return int64(len(f.d.content)), f.do("size")
}

func (f *fakeFile) Truncate(size int64) error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.do("truncate"); err != nil {
		return err
	}
	if more := size - int64(len(f.d.content)); more > 0 {
		zeros := fakeWrite{at: size - more, data: make([]byte, more)}
		f.d.content = zeros.apply(f.d.content)
		f.d.writes = append(f.d.writes, zeros)
	} else if more < 0 {
		f.d.content = f.d.content[:size:size]
		f.d.writes = append(f.d.writes, fakeWrite{at: size, cut: true})
	}
	return nil
}

// Sync behaves as on Linux: a failed sync leaves the pages clean, so that the next sync succeeds without writing them.
func (f *fakeFile) Sync() error {
	f.fs.mu.Lock()
	wait := f.fs.syncing
	f.fs.mu.Unlock()
	if wait != nil {
		<-wait
	}
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	err := f.do("sync")
	switch {
	case errors.Is(err, errDead), errors.Is(err, os.ErrClosed):
		return err
	case err == nil:
		f.d.synced = f.d.onDisk(len(f.d.writes))
	case f.fs.evict:
		f.d.content = slices.Clone(f.d.synced)
	}
	f.d.writes = nil
	return err
}

// onDisk returns what the disk has after the first n writes since the last sync.
func (d *fakeData) onDisk(n int) []byte {
	content := slices.Clone(d.synced)
	for _, w := range d.writes[:n] {
		content = w.apply(content)
	}
	return content
}

// kill returns the file system as another process finds it after this one was killed.
func (fs *fakeFS) kill() *fakeFS {
	return fs.crash(func(d *fakeData) []byte { return slices.Clone(d.content) }, fs.names)
}

// lasts reports whether a power cut keeps the directories above a name. The caller holds mu.
func (fs *fakeFS) lasts(name string) bool {
	for dir := filepath.Dir(name); dir != "."; dir = filepath.Dir(dir) {
		if synced, made := fs.dirs[dir]; made && !synced {
			return false
		}
	}
	return true
}

// cutPower returns the file system as it is after a power cut: it has some of the writes that were not synced, the last
// of them torn.
func (fs *fakeFS) cutPower(rnd *rand.Rand) *fakeFS {
	return fs.crash(func(d *fakeData) []byte {
		n := rnd.IntN(len(d.writes) + 1)
		if n == 0 {
			return slices.Clone(d.synced)
		}
		last := d.writes[n-1]
		last.data = last.data[:rnd.IntN(len(last.data)+1)]
		return last.apply(d.onDisk(n - 1))
	}, fs.durableNames())
}

// durableNames returns what a power cut keeps: names that were synced, in directories whose names were synced.
func (fs *fakeFS) durableNames() map[string]*fakeData {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	names := maps.Clone(fs.durable)
	maps.DeleteFunc(names, func(name string, _ *fakeData) bool { return !fs.lasts(name) })
	maps.DeleteFunc(fs.dirs, func(name string, synced bool) bool { return !synced || !fs.lasts(name) })
	return names
}

func (fs *fakeFS) crash(content func(*fakeData) []byte, names map[string]*fakeData) *fakeFS {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	after := newFakeFS()
	after.dirs, after.special = maps.Clone(fs.dirs), maps.Clone(fs.special)
	fs.dead = true
	for name, d := range names {
		c := content(d)
		after.names[name] = &fakeData{content: c, synced: slices.Clone(c)}
		after.durable[name] = after.names[name]
	}
	return after
}
