package disk

import (
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/envoy-scraper/envoy-scraper/internal/queue/filesystem"
)

// Dir is a directory as the disk has it. A power cut keeps what was synced, and the first of the changes since.
type Dir struct {
	synced  entries
	changes []change // since the last sync
}

// entries are the names of a directory. Each is a *Data, a *Dir, or special{}.
type entries map[string]any

type special struct{}

// change is what one call did to the entries of a directory: names with what they are now; nil: nothing.
type change entries

// apply makes a change. A rename within a directory is one change.
func (c change) apply(to entries) {
	for name, what := range c {
		if what == nil {
			delete(to, name)
		} else {
			to[name] = what
		}
	}
}

// note adds a change to the directory of a name. The caller holds Mu.
func (d *Disk) note(name string, what any) {
	d.noteAll(filepath.Dir(name), change{filepath.Base(name): what})
}

func (d *Disk) noteAll(dir string, c change) {
	if at := d.Dirs[dir]; at != nil {
		at.changes = append(at.changes, c)
	}
}

// what returns what has a name: a *Data, a *Dir, special{}, or nil. The caller holds Mu.
func (d *Disk) what(name string) any {
	switch {
	case d.Names[name] != nil:
		return d.Names[name]
	case d.Special[name]:
		return special{}
	case d.Dirs[name] != nil:
		return d.Dirs[name]
	}
	for other := range d.Names { // a test made a file without its directory
		if strings.HasPrefix(other, name+separator) {
			return &Dir{}
		}
	}
	return nil
}

// checkParents returns an error if the directory of a name is missing. The caller holds Mu.
func (d *Disk) checkParents(name string) error {
	dir := filepath.Dir(name)
	what := d.what(dir)
	for ; what == nil; what = d.what(dir) {
		dir = filepath.Dir(dir)
	}
	_, isDir := what.(*Dir)
	switch {
	case !isDir:
		return syscall.ENOTDIR
	case dir != filepath.Dir(name):
		return syscall.ENOENT
	}
	return nil
}

// look is what for a name whose directory must be there.
func (d *Disk) look(name string) (any, error) {
	if err := d.checkParents(name); err != nil {
		return nil, err
	}
	what := d.what(name)
	if what == nil {
		return nil, syscall.ENOENT
	}
	return what, nil
}

// Mkdir implements filesystem.FS.
func (d *Disk) Mkdir(dir string) error {
	err := d.begin("mkdir", dir)
	defer d.Mu.Unlock()
	if err != nil {
		return err
	}
	if err := d.checkParents(dir); err != nil {
		return &os.PathError{Op: "mkdir", Path: dir, Err: err}
	}
	if d.what(dir) != nil {
		return &os.PathError{Op: "mkdir", Path: dir, Err: syscall.EEXIST}
	}
	d.Dirs[dir] = &Dir{}
	d.note(dir, d.Dirs[dir])
	return nil
}

// ReadDir implements filesystem.FS.
func (d *Disk) ReadDir(dir string) ([]filesystem.Entry, error) {
	err := d.begin("readdir", dir)
	defer d.Mu.Unlock()
	if err != nil {
		return nil, err
	}
	what, err := d.look(dir)
	if _, isDir := what.(*Dir); err == nil && !isDir {
		err = syscall.ENOTDIR
	}
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	var list []filesystem.Entry
	for name := range d.below(dir) {
		e := filesystem.Entry{Name: name}
		switch what := d.what(filepath.Join(dir, name)).(type) {
		case *Data:
			e.Size = int64(len(what.Content))
		case *Dir:
			e.Dir = true
		default:
			e.Special = true
		}
		list = append(list, e)
	}
	slices.SortFunc(list, func(a, b filesystem.Entry) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

// below returns the names in a directory. The caller holds Mu.
func (d *Disk) below(dir string) map[string]bool {
	found := map[string]bool{}
	add := func(name string) {
		rest, ok := name, dir == "."
		if !ok {
			rest, ok = strings.CutPrefix(name, dir+separator)
		}
		if first, _, _ := strings.Cut(rest, separator); ok && name != "." {
			found[first] = true
		}
	}
	for name := range d.Names {
		add(name)
	}
	for name := range d.Dirs {
		add(name)
	}
	for name := range d.Special {
		add(name)
	}
	return found
}

// Open implements filesystem.FS.
func (d *Disk) Open(name string, create bool) (filesystem.File, error) {
	if create {
		d.wait("create", name)
	}
	err := d.begin("open", name)
	defer d.Mu.Unlock()
	if err == nil && create {
		err = d.faulty("create", name)
	}
	if err != nil {
		return nil, err
	}
	f, err := d.open(name, create)
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (d *Disk) open(name string, create bool) (*File, error) {
	what, err := d.look(name)
	data, isFile := what.(*Data)
	switch {
	case err == nil && create:
		err = syscall.EEXIST
	case create && err == syscall.ENOENT && d.checkParents(name) == nil:
		data, err = &Data{}, nil
		d.Names[name] = data
		d.note(name, data)
	case err == nil && !isFile:
		err = filesystem.ErrNotRegular
	}
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
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
	what, err := d.look(name)
	if _, isDir := what.(*Dir); isDir && len(d.below(name)) > 0 {
		err = syscall.ENOTEMPTY
	}
	if err != nil {
		return &os.PathError{Op: "remove", Path: name, Err: err}
	}
	d.remove(name)
	return nil
}

func (d *Disk) remove(name string) {
	delete(d.Names, name)
	delete(d.Special, name)
	delete(d.Dirs, name)
	d.note(name, nil)
}

// Rename implements filesystem.FS.
func (d *Disk) Rename(from, to string) error {
	err := d.begin("rename", from)
	defer d.Mu.Unlock()
	if err != nil {
		return err
	}
	what, err := d.mayRename(from, to)
	if err != nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
	if from == to {
		return nil
	}
	delete(d.Names, to)
	delete(d.Special, to)
	moveAll(d.Names, from, to)
	moveAll(d.Dirs, from, to)
	moveAll(d.Special, from, to)
	if dir := filepath.Dir(from); dir == filepath.Dir(to) {
		d.noteAll(dir, change{filepath.Base(from): nil, filepath.Base(to): what})
	} else {
		d.note(to, what)
		d.note(from, nil)
	}
	return nil
}

// mayRename returns what has the old name, or the error of os.Rename.
func (d *Disk) mayRename(from, to string) (any, error) {
	for f := range d.Handles {
		if d.KeepsOpen && strings.HasPrefix(f.Name, from) {
			return nil, os.ErrPermission
		}
	}
	what, fromErr := d.look(from)
	there, toErr := d.look(to)
	_, fromDir := what.(*Dir)
	_, toDir := there.(*Dir)
	switch parents := d.checkParents(to); {
	case d.checkParents(from) != nil || toDir && fromErr != nil:
		return nil, fromErr
	case toDir:
		return nil, syscall.EEXIST
	case parents != nil:
		return nil, parents
	case fromErr != nil:
		return nil, fromErr
	case fromDir && strings.HasPrefix(to, from+separator):
		return nil, syscall.EINVAL
	case fromDir && toErr == nil:
		return nil, syscall.ENOTDIR
	}
	return what, nil
}

// moveAll renames a name, and everything below it.
func moveAll[T any](names map[string]T, from, to string) {
	for _, name := range slices.Collect(maps.Keys(names)) {
		if rest, ok := strings.CutPrefix(name, from); ok && (rest == "" || strings.HasPrefix(rest, separator)) {
			names[to+rest] = names[name]
			delete(names, name)
		}
	}
}

// SyncDir implements filesystem.FS.
func (d *Disk) SyncDir(dir string) error {
	err := d.begin("syncdir", dir)
	defer d.Mu.Unlock()
	if err != nil {
		return err
	}
	if _, err := d.look(dir); err != nil {
		return &os.PathError{Op: "open", Path: dir, Err: err}
	}
	if at := d.Dirs[dir]; at != nil {
		at.synced, at.changes = entries{}, nil
		for name := range d.below(dir) {
			at.synced[name] = d.what(filepath.Join(dir, name))
		}
	}
	return nil
}

type lock struct {
	disk *Disk
	data *Data
}

// Close implements io.Closer.
func (l lock) Close() error {
	l.disk.Mu.Lock()
	defer l.disk.Mu.Unlock()
	delete(l.disk.Locks, l.data)
	return nil
}

// Lock implements filesystem.FS. It makes the file if it is missing.
func (d *Disk) Lock(name string) (io.Closer, error) {
	err := d.begin("lock", name)
	defer d.Mu.Unlock()
	if err != nil {
		return nil, err
	}
	f, err := d.open(name, false)
	if what, _ := d.look(name); what == nil {
		if err = d.faulty("create", name); err == nil {
			f, err = d.open(name, true)
		}
	}
	if err != nil {
		return nil, err
	}
	delete(d.Handles, f)
	if d.Locks[f.data] {
		return nil, filesystem.ErrLocked
	}
	d.Locks[f.data] = true
	return lock{d, f.data}, nil
}
