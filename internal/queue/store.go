package queue

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/queue/filesystem"
)

const (
	queuePrefix = "q-" // keeps identities apart from device names as on Windows
	lockName    = "lock"
	pidName     = "lock.pid"
)

// Store is a directory of queues. One process has it at a time.
type Store struct {
	fs   FS
	dir  string
	lock io.Closer

	mu      diskLock                // guards the following; held over calls of the file system
	open    map[string]*renamableFS // by identity
	changed []string                // directories in which a name was made that is not synced yet
}

// OpenStore locks a directory, and makes it if it is missing. If another process has it, the error names that process.
func OpenStore(dir string, fs FS) (*Store, error) {
	changed, err := makeDir(fs, filepath.Clean(dir))
	if err != nil {
		return nil, fmt.Errorf("storage: %w", err)
	}
	lock, err := fs.Lock(join(dir, lockName))
	if errors.Is(err, filesystem.ErrLocked) {
		who := ""
		if pid := readPID(fs, join(dir, pidName)); pid != "" {
			who = " by process " + pid
		}
		return nil, fmt.Errorf("storage: %s is in use%s: %w", dir, who, err)
	}
	if err != nil {
		return nil, fmt.Errorf("storage: %w", err)
	}
	s := newStore(dir, fs, lock)
	s.changed = append(changed, dir)
	if err := ignoreFull(writePID(fs, join(dir, pidName))); err != nil {
		return nil, errors.Join(fmt.Errorf("storage: %w", err), lock.Close())
	}
	return s, nil
}

func newStore(dir string, fs FS, lock io.Closer) *Store {
	return &Store{fs: fs, dir: dir, lock: lock, mu: newDiskLock(), open: map[string]*renamableFS{}}
}

func readPID(fs FS, name string) string {
	f, err := fs.Open(name, false)
	if err != nil {
		return ""
	}
	defer f.Close()
	b := make([]byte, 16)
	n, _ := f.ReadAt(b, 0)
	return strings.TrimSpace(string(b[:n]))
}

func writePID(fs FS, name string) error {
	f, err := createAgain(fs, name)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(fmt.Appendf(nil, "%-15d\n", os.Getpid()), 0)
	return errors.Join(err, f.Close())
}

// Close releases the lock of the directory. Close its queues before. If one of them still waits for a disk that does
// not answer, Close fails and the lock is kept until the process ends.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.open) > 0 {
		return fmt.Errorf("storage: %s stays locked until the process ends: queue %s is not closed yet", s.dir,
			strings.Join(slices.Sorted(maps.Keys(s.open)), ", "))
	}
	return s.lock.Close()
}

// checkIdentity accepts names that are safe for a directory on all systems.
func checkIdentity(identity string) error {
	bad := func(r rune) bool { return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyz0123456789-_.", r) }
	if identity == "" || len(identity) > 128 || strings.HasSuffix(identity, ".") ||
		strings.ContainsFunc(identity, bad) {
		return fmt.Errorf("queue identity %q: only 1 to 128 of a-z, 0-9, -, _ and . (not last) may be in it", identity)
	}
	return nil
}

func (s *Store) path(identity string) string { return join(s.dir, queuePrefix+identity) }

// Open opens a queue, and makes it if there is none. A queue cannot be opened again until its last write has ended. A
// *FormatError leaves it as it was.
func (s *Store) Open(identity string, lanes int, cfg Config) (*FIFO, error) {
	if err := errors.Join(append(cfg.impossible(), checkIdentity(identity))...); err != nil {
		return nil, err
	}
	if lanes < 1 || lanes > MaxLanes {
		return nil, fmt.Errorf("queue %s: %d lanes, 1 to %d are possible", identity, lanes, MaxLanes)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[identity] != nil {
		return nil, fmt.Errorf("queue %s is open, or still being closed because the disk does not answer: "+
			"try again later", identity)
	}
	files := &renamableFS{FS: s.fs, dir: s.path(identity), now: s.path(identity)}
	if _, err := makeDir(s.fs, files.dir); err != nil { // its name is synced below
		return nil, fmt.Errorf("queue %s: %w", identity, err)
	}
	lock, err := s.lockQueue(identity)
	if err != nil {
		return nil, err
	}
	q, err := openFIFO(files, files.dir, lanes, cfg, func() { s.closed(files, lock) })
	if err != nil {
		return nil, errors.Join(fmt.Errorf("queue %s: %w", identity, err), lock.Close())
	}
	s.open[identity] = files
	if !slices.Contains(s.changed, s.dir) {
		s.changed = append(s.changed, s.dir)
	}
	s.changed = slices.DeleteFunc(s.changed, func(dir string) bool {
		err := s.fs.SyncDir(dir)
		if err != nil {
			q.syncFailed(syncingNames, err)
		}
		return err == nil
	})
	return q, nil
}

func (s *Store) closed(files *renamableFS, lock io.Closer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = lock.Close()
	maps.DeleteFunc(s.open, func(_ string, other *renamableFS) bool { return other == files })
}

// Identity is a queue in the store.
type Identity struct {
	Name     string
	Open     bool  // by this process or another
	Problem  error // why the numbers below are incomplete: a segment cannot be read, or a *FormatError
	Requests int
	Samples  int
	Bytes    int64     // on disk
	Newest   time.Time // of a sample; zero: nothing waits
}

// Names lists the identities of the queues in the store.
func (s *Store) Names() ([]string, error) {
	entries, err := s.fs.ReadDir(s.dir)
	if err != nil {
		return nil, fmt.Errorf("storage: %w", err)
	}
	var names []string
	for _, e := range entries {
		if name, ok := strings.CutPrefix(e.Name, queuePrefix); ok && e.Dir && checkIdentity(name) == nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// Identities lists the queues of the store by name, except some. Queues that are not open are read to count what waits
// in them.
func (s *Store) Identities(but ...string) ([]Identity, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.identities(but)
}

// identities is Identities. The caller holds mu.
func (s *Store) identities(but []string) ([]Identity, error) {
	names, err := s.Names()
	if err != nil {
		return nil, err
	}
	var all []Identity
	for _, name := range names {
		if slices.Contains(but, name) {
			continue
		}
		id := Identity{Name: name, Open: s.open[name] != nil || s.isLocked(name)}
		if !id.Open {
			s.inspect(&id)
		}
		all = append(all, id)
	}
	return all, nil
}

// inspect fills in what waits in a queue that is not open.
func (s *Store) inspect(id *Identity) {
	r := &recovery{fs: s.fs, dir: s.path(id.Name), log: zap.NewNop()}
	if err := r.run(); err != nil {
		id.Problem = fmt.Errorf("queue %s: %w", id.Name, err)
	} else if r.readError != nil {
		id.Problem = fmt.Errorf("queue %s: %w", id.Name, r.readError)
	}
	id.Bytes = r.bytes
	newest := int64(0)
	for _, g := range r.gens {
		for _, l := range g.lanes {
			for _, seg := range l.segments {
				id.Requests += seg.cold.requests
				id.Samples += seg.cold.samples
				newest = max(newest, seg.newest)
			}
		}
	}
	if newest > 0 {
		id.Newest = time.UnixMilli(newest)
	}
}

// Rename gives a queue, with its backlog, another identity. The queue may be open. A queue that has the new identity is
// removed; it must not be open, and nothing may wait in it.
func (s *Store) Rename(from, to string) error {
	if err := errors.Join(checkIdentity(from), checkIdentity(to)); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if from == to {
		return fmt.Errorf("rename queue %s: it has that name", from)
	}
	if s.open[to] != nil {
		return fmt.Errorf("rename queue %s to %s: that one is open", from, to)
	}
	rename := func(to string) error { return s.fs.Rename(s.path(from), to) }
	files := s.open[from]
	if files != nil {
		rename = files.rename
	} else if s.has(from) {
		lock, err := s.lockQueue(from)
		if err != nil {
			return fmt.Errorf("rename: %w", err)
		}
		defer lock.Close() //nolint:errcheck // it was only held
	} else {
		return fmt.Errorf("queue %s: there is none in %s", from, s.dir)
	}
	if s.has(to) {
		if err := s.removeDelivered(from, to); err != nil {
			return err
		}
	}
	if err := rename(s.path(to)); err != nil {
		return fmt.Errorf("rename queue: %w", err)
	}
	if files != nil {
		delete(s.open, from)
		s.open[to] = files
	}
	return s.fs.SyncDir(s.dir)
}

// removeDelivered removes the queue whose identity another queue gets. Nothing may wait in it.
func (s *Store) removeDelivered(from, to string) error {
	lock, err := s.lockQueue(to)
	if err != nil {
		return fmt.Errorf("rename queue %s: %w", from, err)
	}
	defer lock.Close() //nolint:errcheck // of a file that is gone
	there := Identity{Name: to}
	switch s.inspect(&there); {
	case there.Problem != nil:
		return fmt.Errorf("rename queue %s to %s: %w", from, to, there.Problem)
	case there.Samples > 0:
		return fmt.Errorf("rename queue %s to %s: that one has a backlog", from, to)
	}
	return s.remove(to)
}

// DropOrphans removes queues that are not open and in which nothing is newer than maxAge, and returns them with what
// was lost. With a maxAge of 0 it removes only queues in which nothing waits. Queues in spare and queues with a Problem
// stay.
func (s *Store) DropOrphans(maxAge time.Duration, spare ...string) ([]Identity, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all, err := s.identities(spare)
	if err != nil {
		return nil, err
	}
	oldest := time.Now().Add(-maxAge)
	var gone []Identity
	for _, id := range all {
		waits := id.Samples > 0 && (maxAge == 0 || id.Newest.After(oldest))
		if id.Open || id.Problem != nil || waits {
			continue
		}
		lock, err := s.lockQueue(id.Name)
		if err != nil {
			continue // another process renames it
		}
		now := Identity{Name: id.Name} // another process may have given it a backlog meanwhile
		if s.inspect(&now); now.Problem != nil || now.Samples != id.Samples {
			_ = lock.Close()
			continue
		}
		if err := errors.Join(s.remove(id.Name), lock.Close()); err != nil {
			return gone, err
		}
		gone = append(gone, id)
	}
	return gone, nil
}

// remove removes the files of a queue and its directory. Foreign files stay, and then the directory does.
func (s *Store) remove(identity string) error {
	dir := s.path(identity)
	entries, err := s.fs.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("remove queue: %w", err)
	}
	foreign := false
	remove := func(segments bool) {
		for _, e := range entries {
			if e.Name == queueLockName {
				continue
			}
			_, _, isSegment, ok := parseName(e.Name)
			if e.Dir || e.Special || !ok && e.Name != scratchName && !strings.HasSuffix(e.Name, corruptSuffix) {
				foreign = true
			} else if isSegment == segments {
				err = errors.Join(err, s.fs.Remove(join(dir, e.Name)))
			}
		}
	}
	remove(true)
	remove(false) // the positions last
	if err != nil {
		return fmt.Errorf("remove queue: %w", err)
	}
	if foreign {
		return nil
	}
	if err := s.fs.Remove(join(dir, queueLockName)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove queue: %w", err)
	}
	return s.fs.Remove(dir)
}
