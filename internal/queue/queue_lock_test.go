package queue

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// fillStore makes a store with a queue that has one request, and closes it.
func fillStore(t *testing.T, dir, identity string) {
	t.Helper()
	s, err := OpenStore(dir, OS())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close() //nolint:errcheck // the test goes on with the directory
	q, err := s.Open(identity, 1, DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().UnixMilli()
	mustAppend(t, q, 0, Record{Data: []byte("data"), Samples: 7, Oldest: now, Newest: now, First: true})
	if _, err := q.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestVisitorsSpareQueuesInUse: while a process has the store, another one can list its queues. It can rename and drop
// only queues that are not open.
func TestVisitorsSpareQueuesInUse(t *testing.T) {
	dir := t.TempDir()
	fillStore(t, dir, "orphan")
	fillStore(t, dir, "old")
	owner, err := OpenStore(dir, OS())
	if err != nil {
		t.Fatal(err)
	}
	defer owner.Close() //nolint:errcheck // the end of the test
	used, err := owner.Open("used", 1, DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	visitor, err := Visit(dir, OS())
	if err != nil {
		t.Fatal(err)
	}
	all, err := visitor.Identities()
	if err != nil || len(all) != 3 || all[0].Samples != 7 || all[0].Open || !all[2].Open {
		t.Errorf("queues: %+v, %v", all, err)
	}
	inUse := func(what string, err error) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), "queue used is in use by process ") {
			t.Errorf("%s: %v, want a refusal", what, err)
		}
	}
	_, err = visitor.Drop("used")
	inUse("drop", err)
	inUse("rename from", visitor.Rename("used", "other"))
	inUse("rename to", visitor.Rename("orphan", "used"))
	if err := visitor.Rename("nothing", "other"); err == nil {
		t.Error("a queue that is not there was renamed")
	}
	if _, err := os.Stat(filepath.Join(dir, "q-other")); !os.IsNotExist(err) {
		t.Errorf("a refused rename left something: %v", err)
	}
	if err := visitor.Rename("orphan", "other"); err != nil {
		t.Error(err)
	}
	if id, err := visitor.Drop("old"); err != nil || id.Samples != 7 {
		t.Errorf("drop: %+v, %v", id, err)
	}
	adopted, err := owner.Open("other", 1, DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	if n := adopted.Stats().Samples; n != 7 {
		t.Errorf("%d samples in the renamed queue, want 7", n)
	}
	// A queue that is renamed while it is open stays in use under its new name, until it is closed.
	if err := owner.Rename("used", "moved"); err != nil {
		t.Error(err)
	}
	if _, err := visitor.Drop("moved"); err == nil {
		t.Error("a queue in use was dropped")
	}
	if _, err := used.Close(); err != nil {
		t.Error(err)
	}
	if _, err := visitor.Drop("moved"); err != nil {
		t.Error(err)
	}
	if _, err := adopted.Close(); err != nil {
		t.Error(err)
	}
}

// TestLockedQueueIsNeitherOpenedNorDropped: a queue whose lock another process has is not opened, nor removed for its
// age.
func TestLockedQueueIsNeitherOpenedNorDropped(t *testing.T) {
	dir := t.TempDir()
	fillStore(t, dir, "a")
	owner, err := OpenStore(dir, OS())
	if err != nil {
		t.Fatal(err)
	}
	defer owner.Close() //nolint:errcheck // the end of the test
	visitor, err := Visit(dir, OS())
	if err != nil {
		t.Fatal(err)
	}
	lock, err := visitor.lockQueue("a")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := owner.Open("a", 1, DefaultConfig()); err == nil {
		t.Error("opened")
	}
	if gone, err := owner.DropOrphans(1); err != nil || len(gone) != 0 {
		t.Errorf("dropped: %+v, %v", gone, err)
	}
	if err := lock.Close(); err != nil {
		t.Error(err)
	}
	if gone, err := owner.DropOrphans(1); err != nil || len(gone) != 1 {
		t.Errorf("dropped: %+v, %v, want the queue", gone, err)
	}
}

// TestLockFileIsNotReportedAsForeign: a start logs no warning for the lock of a queue.
func TestLockFileIsNotReportedAsForeign(t *testing.T) {
	dir := t.TempDir()
	fillStore(t, dir, "a")
	owner, err := OpenStore(dir, OS())
	if err != nil {
		t.Fatal(err)
	}
	defer owner.Close() //nolint:errcheck // the end of the test
	core, logs := observer.New(zapcore.WarnLevel)
	cfg := DefaultConfig()
	cfg.Log = zap.New(core)
	q, err := owner.Open("a", 1, cfg)
	if err != nil {
		t.Fatal(err)
	}
	if logs.Len() > 0 {
		t.Errorf("warnings: %v", logs.All())
	}
	if _, err := q.Close(); err != nil {
		t.Error(err)
	}
}

// readOnly is a directory in which nothing can be written or locked.
type readOnly struct{ FS }

func (readOnly) Lock(string) (io.Closer, error) { return nil, syscall.EROFS }

// TestReadOnlyQueuesAreNotInUse: a failed call of Lock does not mean that another process has the lock. The queues are
// listed with what waits in them, and cannot be changed.
func TestReadOnlyQueuesAreNotInUse(t *testing.T) {
	dir := t.TempDir()
	fillStore(t, dir, "a")
	visitor, err := Visit(dir, readOnly{OS()})
	if err != nil {
		t.Fatal(err)
	}
	if all, err := visitor.Identities(); err != nil || len(all) != 1 || all[0].Open || all[0].Samples != 7 {
		t.Errorf("queues: %+v, %v", all, err)
	}
	var inUse *InUseError
	if _, err := visitor.Drop("a"); !errors.Is(err, syscall.EROFS) || errors.As(err, &inUse) {
		t.Errorf("drop: %v, want an error of the file system", err)
	}
}

// TestTheProcessIsNamedOnlyIfItHasTheQueue: lock.pid names the process that has the store, not always the one that has
// a queue.
func TestTheProcessIsNamedOnlyIfItHasTheQueue(t *testing.T) {
	dir := t.TempDir()
	fillStore(t, dir, "a")
	visit := func() *Store {
		visitor, err := Visit(dir, OS())
		if err != nil {
			t.Fatal(err)
		}
		return visitor
	}
	lock, err := visit().lockQueue("a")
	if err != nil {
		t.Fatal(err)
	}
	refused := func(who string, err error) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), "in use by another process") {
			t.Errorf("%s: %v, want that another process has it", who, err)
		}
	}
	_, err = visit().Drop("a") // the process of lock.pid has ended
	refused("visitor", err)
	owner, err := OpenStore(dir, OS())
	if err != nil {
		t.Fatal(err)
	}
	_, err = owner.Open("a", 1, DefaultConfig()) // lock.pid names the owner itself
	refused("owner", err)
	if err := errors.Join(lock.Close(), owner.Close()); err != nil {
		t.Error(err)
	}
}
