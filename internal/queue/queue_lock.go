package queue

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/envoy-scraper/envoy-scraper/internal/queue/filesystem"
)

// queueLockName is the lock of one queue, in the queue's directory. A process has it while the queue is open. A visitor
// takes it to rename or remove the queue: it can do that with queues that are not open, while another process has the
// store.
const queueLockName = "lock"

// noLock stands for a lock that is not taken: the store of a visitor, or a queue on a disk that is full.
type noLock struct{}

func (noLock) Close() error { return nil }

// Visit returns a store in which queues can be listed, renamed and dropped while another process has the store. The
// caller, a visitor, must not open queues.
func Visit(dir string, fs FS) (*Store, error) {
	if _, err := fs.ReadDir(dir); err != nil {
		return nil, fmt.Errorf("storage: %w", err)
	}
	return newStore(dir, fs, noLock{}), nil
}

// InUseError says that another process has the lock of a queue.
type InUseError struct{ Queue, By string }

func (e *InUseError) Error() string { return fmt.Sprintf("queue %s is in use by %s", e.Queue, e.By) }

// lockQueue takes the lock of a queue whose directory is there.
func (s *Store) lockQueue(identity string) (io.Closer, error) {
	name := join(s.path(identity), queueLockName)
	_, visitor := s.lock.(noLock)
	if visitor && !s.isThere(name) {
		// The owner of the store may have opened the queue without a lock when its disk was full. So a visitor takes
		// the lock of the store.
		name = join(s.dir, lockName)
	}
	lock, err := s.fs.Lock(name)
	switch {
	case err == nil:
		return lock, nil
	case errors.Is(err, filesystem.ErrLocked):
		return nil, s.inUse(identity)
	case !visitor && !s.isThere(name):
		return noLock{}, nil // the disk is full
	}
	return nil, fmt.Errorf("queue %s: lock: %w", identity, err)
}

// isThere reports whether a file exists, even if it cannot be opened.
func (s *Store) isThere(name string) bool {
	f, err := s.fs.Open(name, false)
	if err == nil {
		_ = f.Close()
	}
	return !errors.Is(err, os.ErrNotExist)
}

// inUse returns the error for a queue whose lock is taken. lock.pid names the owner of the store. It is named to a
// visitor while the store is locked. To the owner itself it is not: the lock must be a visitor's.
func (s *Store) inUse(identity string) *InUseError {
	if _, visitor := s.lock.(noLock); !visitor {
		return &InUseError{identity, "another process"}
	}
	if lock, err := s.fs.Lock(join(s.dir, lockName)); err == nil {
		_ = lock.Close()
		return &InUseError{identity, "another process"}
	}
	if pid := readPID(s.fs, join(s.dir, pidName)); pid != "" {
		return &InUseError{identity, "process " + pid}
	}
	return &InUseError{identity, "another process"}
}

// isLocked reports whether another process is known to have the lock of a queue. It makes no lock where there is none.
func (s *Store) isLocked(identity string) bool {
	if !s.isThere(join(s.path(identity), queueLockName)) {
		return false
	}
	lock, err := s.lockQueue(identity)
	if err == nil {
		_ = lock.Close()
	}
	var inUse *InUseError
	return errors.As(err, &inUse)
}

// has reports whether there is a queue of an identity.
func (s *Store) has(identity string) bool {
	names, err := s.Names()
	return err == nil && slices.Contains(names, identity)
}

// Drop removes a queue that is not open, with what waits in it, and returns what that was.
func (s *Store) Drop(identity string) (Identity, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.has(identity) {
		return Identity{}, fmt.Errorf("queue %s: there is none in %s", identity, s.dir)
	}
	if s.open[identity] != nil {
		return Identity{}, fmt.Errorf("queue %s is open", identity)
	}
	lock, err := s.lockQueue(identity)
	if err != nil {
		return Identity{}, err
	}
	id := Identity{Name: identity}
	s.inspect(&id)
	err = id.Problem // a queue that cannot be read is not dropped
	if err == nil {
		err = s.remove(identity)
	}
	return id, errors.Join(err, lock.Close())
}
