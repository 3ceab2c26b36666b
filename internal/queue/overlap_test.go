package queue

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// hookFS calls a function before a file is opened or locked.
type hookFS struct {
	*fakeFS
	onOpen func(name string, create bool)
	onLock func(name string) error
}

func (h *hookFS) Open(name string, create bool) (File, error) {
	if h.onOpen != nil {
		h.onOpen(name, create)
	}
	return h.fakeFS.Open(name, create)
}

func (h *hookFS) Lock(name string) (io.Closer, error) {
	if h.onLock != nil {
		if err := h.onLock(name); err != nil {
			return nil, err
		}
	}
	return h.fakeFS.Lock(name)
}

// TestARenewedSegmentIsOpenedOnce: after a renewal the writer opens the segment that may grow, and a reader does not
// keep a file of its own for it.
func TestARenewedSegmentIsOpenedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := newFakeFS()
		h := &hookFS{fakeFS: fs}
		cfg := quiet()
		cfg.MaxMemory = 2 * (recordOverhead + 1)
		q := openQueue(t, openStore(t, "data", h), "x", 1, cfg)
		fs.failSyncs(segmentSuffix, 1)
		sealed(t, q, 0, numbered(10)...)
		synctest.Wait()
		pass(time.Minute)
		synctest.Wait()
		if s := q.Stats(); s.SyncErrors != 1 || s.DiskError != "" {
			t.Fatalf("%+v", s)
		}
		go1 := make(chan struct{})
		opens := 0
		h.onOpen = func(name string, create bool) {
			if !strings.HasSuffix(name, segmentSuffix) {
				return
			}
			if opens++; opens == 1 {
				<-go1
			}
		}
		mustAppend(t, q, 0, record("a", true))
		synctest.Wait() // the writer is in Open, after it saw file == nil
		if opens != 1 {
			t.Fatalf("opens %d", opens)
		}
		q.Next(0, Limit{}) // reads from disk
		close(go1)
		synctest.Wait()
		n := 0
		for f := range fs.Handles {
			if strings.HasSuffix(f.Name, segmentSuffix) {
				n++
			}
		}
		mustClose(t, q)
		n = 0
		for f := range fs.Handles {
			if strings.HasSuffix(f.Name, segmentSuffix) {
				n++
			}
		}
		if n > 0 {
			t.Errorf("%d segment handles are open after Close", n)
		}
	})
}

// TestARefusedRenameChangesNothing: the other queue stays, with its .corrupt files.
func TestARefusedRenameChangesNothing(t *testing.T) {
	dir := t.TempDir()
	s, err := OpenStore(dir, OS())
	if err != nil {
		t.Fatal(err)
	}
	q, err := s.Open("prod", 1, DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	mustClose(t, q)
	corrupt := filepath.Join(dir, "q-prod", "00000001-0001-0000-00000001-00000000.corrupt")
	if err := os.WriteFile(corrupt, []byte("evidence"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Rename("nothing", "prod"); err == nil {
		t.Error("a queue that is not there was renamed")
	}
	if _, err := os.Stat(filepath.Join(dir, "q-prod")); err != nil {
		t.Errorf("a refused rename removed the other queue and what was kept aside of it: %v", err)
	}
	q, err = s.Open("same", 1, DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	mustClose(t, q)
	if err := s.Rename("same", "same"); err == nil {
		t.Error("a queue was renamed to its own name")
	}
	if _, err := os.Stat(filepath.Join(dir, "q-same")); err != nil {
		t.Errorf("rename to the same name removed it: %v", err)
	}
}

// TestADroppedUnreadSegmentIsCountedOnce: of two segments that could not be read at the start, one is dropped because
// the disk is full. The samples of the other one are delivered, and not counted as lost.
func TestADroppedUnreadSegmentIsCountedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs, cfg := manySegments(t, 4)
		var reported losses
		cfg.Lost = reported.take
		names := segments(fs)
		fs.failing("", syscall.EIO, func(c string, _ int) bool { return false })
		fs.Mu.Lock()
		fs.Fail = func(call, name string, _ int) error {
			if call == "open" && (name == names[1] || name == names[2]) {
				return syscall.EIO
			}
			return nil
		}
		fs.Mu.Unlock()
		q := openQueue(t, openStore(t, "data", fs), "x", 1, cfg)
		fs.heal()
		q.mu.Lock()
		l := q.gens[0].lanes[0]
		for _, s := range l.segments {
			if s.name == filepath.Base(names[1]) {
				q.dropSegment(l, s, QueueFull)
				break
			}
		}
		q.unlock()
		got := patient(q, 0)
		lost := reported.of(QueueFull).Samples + reported.of(Damaged).Samples
		if len(got)+lost != 4 {
			t.Errorf("%d delivered and %d reported as lost, of 4", len(got), lost)
		}
		mustClose(t, q)
	})
}

func TestScratchFileIsRemovedWithItsQueue(t *testing.T) {
	dir := t.TempDir()
	s, err := OpenStore(dir, OS())
	if err != nil {
		t.Fatal(err)
	}
	q, err := s.Open("x", 1, DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	mustClose(t, q)
	if err := os.WriteFile(filepath.Join(dir, "q-x", scratchName), make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := s.DropOrphans(time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	names, _ := s.Names()
	if slices.Contains(names, "x") {
		t.Errorf("reported as dropped, and still there: %v", names)
	}
	if q, err = s.Open("y", 1, DefaultConfig()); err != nil {
		t.Fatal(err)
	}
	mustClose(t, q)
	if err := s.Rename("y", "x"); err != nil {
		t.Errorf("%v", err)
	}
}

// noRoomFS is too full for the lock of a queue.
type noRoomFS struct{ FS }

func (fs noRoomFS) Lock(name string) (io.Closer, error) {
	if strings.Contains(name, queuePrefix) {
		return nil, syscall.ENOSPC
	}
	return fs.FS.Lock(name)
}

// TestAQueueWithoutALockIsInUse: the disk was full when a queue was opened, so it has no lock. Another process treats
// it as in use while the store is.
func TestAQueueWithoutALockIsInUse(t *testing.T) {
	dir := t.TempDir()
	s, err := OpenStore(dir, noRoomFS{OS()})
	if err != nil {
		t.Fatal(err)
	}
	q, err := s.Open("x", 1, DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().UnixMilli()
	mustAppend(t, q, 0, Record{Data: []byte("data"), Samples: 7, Oldest: now, Newest: now, First: true})
	eventually(t, "written", func() bool { return q.Stats().WrittenRecords == 1 })
	v, err := Visit(dir, OS())
	if err != nil {
		t.Fatal(err)
	}
	id, err := v.Drop("x")
	if err == nil {
		t.Errorf("a visitor dropped an open queue of a running process: %+v", id)
	}
	mustClose(t, q)
}

// TestOrphansAreCheckedAgainBeforeTheyAreRemoved: another process gives an empty queue a backlog after DropOrphans has
// read it.
func TestOrphansAreCheckedAgainBeforeTheyAreRemoved(t *testing.T) {
	fs := newFakeFS()
	h := &hookFS{fakeFS: fs}
	s := openStore(t, "data", h)
	q := openQueue(t, s, "a", 1, quiet())
	sealed(t, q, 0, "1", "2")
	mustClose(t, q)
	mustClose(t, openQueue(t, s, "b", 1, quiet()))
	v, err := Visit("data", fs)
	if err != nil {
		t.Fatal(err)
	}
	done := false
	h.onLock = func(name string) error { // the lock of b: after all looks
		if !done && strings.Contains(name, queuePrefix+"b") {
			done = true
			if err := v.Rename("a", "b"); err != nil {
				t.Fatal(err)
			}
		}
		return nil
	}
	gone, err := s.DropOrphans(0)
	if err != nil {
		t.Fatal(err)
	}
	names, _ := s.Names()
	if len(gone) > 0 && gone[0].Samples == 0 && !slices.Contains(names, "b") {
		t.Errorf("2 samples were removed and %+v reported", gone)
	}
}
