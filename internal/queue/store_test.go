package queue

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// eventually waits until ok returns true, since files are written by goroutines.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

func openStore(t *testing.T, dir string, fs FS) *Store {
	t.Helper()
	s, err := OpenStore(dir, fs)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func openQueue(t *testing.T, s *Store, identity string, lanes int, cfg Config) *FIFO {
	t.Helper()
	q, err := s.Open(identity, lanes, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func mustClose(t *testing.T, q *FIFO) Loss {
	t.Helper()
	loss, err := q.Close()
	if err != nil {
		t.Fatal(err)
	}
	return loss
}

// sealed appends requests of one record to a lane.
func sealed(t *testing.T, q *FIFO, lane int, texts ...string) {
	t.Helper()
	for _, text := range texts {
		mustAppend(t, q, lane, record(text, true))
		q.Seal(lane)
	}
}

// drained takes all requests of a lane and returns their texts.
func drained(q *FIFO, lane int) (texts []string) {
	for r, ok := next(q, lane); ok; r, ok = next(q, lane) {
		texts = append(texts, text(r))
		q.Ack(lane)
	}
	return texts
}

func TestStoreOnRealFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	s := openStore(t, dir, OS())
	cfg := DefaultConfig()
	cfg.MaxAge = 0 // the samples are of 1970
	q := openQueue(t, s, "a", 2, cfg)
	mustAppend(t, q, 0, record("a", true))
	mustAppend(t, q, 0, record("b", false))
	sealed(t, q, 0, "c")
	sealed(t, q, 1, "d")
	if r, ok := next(q, 0); !ok || text(r) != "ab" || r.MayHaveArrived {
		t.Errorf("Next = %+v", r)
	}
	q.Ack(0)
	if loss := mustClose(t, q); loss != (Loss{}) {
		t.Errorf("Close = %+v", loss)
	}
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		want := os.FileMode(0o600)
		if info.IsDir() {
			want = 0o700
		}
		if runtime.GOOS != "windows" && info.Mode().Perm() != want {
			t.Errorf("%s is %v, want %v", path, info.Mode().Perm(), want)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	s = openStore(t, dir, OS())
	q = openQueue(t, s, "a", 2, cfg)
	if st := q.Stats(); st.Samples != 2 || st.Requests != 2 || st.Oldest != 10 {
		t.Errorf("after the start: %+v", st)
	}
	for lane, want := range []string{"c", "d"} {
		r, ok := next(q, lane)
		if !ok || text(r) != want || r.MayHaveArrived || r.Samples != 1 || r.Newest != 20 {
			t.Errorf("lane %d: %+v, want %s, which was never given out", lane, r, want)
		}
		q.Ack(lane)
	}
	if st := q.Stats(); st.ReplayedRecords != 2 || st.ReadRecords != 2 || st.Samples != 0 {
		t.Errorf("after the replay: %+v", st)
	}
	mustClose(t, q)
}

// TestOnlyWhatWasInFlightMayHaveArrived: a sender has one group of a lane in flight, so after a kill that one is in
// doubt.
func TestOnlyWhatWasInFlightMayHaveArrived(t *testing.T) {
	fs := newFakeFS()
	q := openQueue(t, openStore(t, "data", fs), "x", 2, quiet())
	sealed(t, q, 0, "a", "b", "c")
	sealed(t, q, 1, "d", "e")
	eventually(t, "it is written", func() bool { return q.Stats().WrittenRecords == 5 })
	if _, ok := next(q, 0); !ok {
		t.Fatal("nothing to deliver")
	}
	q.Ack(0)
	next(q, 0)
	for _, life := range []struct {
		lanes int
		want  string // texts of the requests of lane 0, then of lane 1; ? marks those that may have arrived
	}{
		{2, "b?c de"},
		{1, "b?cde"}, // another number of lanes: the old lanes fall to one reader
	} {
		fs := fs.kill()
		q := openQueue(t, openStore(t, "data", fs), "x", life.lanes, quiet())
		var lanes []string
		for lane := range life.lanes {
			got := ""
			for r, ok := next(q, lane); ok; r, ok = next(q, lane) {
				if got += text(r); r.MayHaveArrived {
					got += "?"
				}
				q.Ack(lane)
			}
			lanes = append(lanes, got)
		}
		if got := strings.Join(lanes, " "); got != life.want {
			t.Errorf("%d lanes give %q, want %q", life.lanes, got, life.want)
		}
		mustClose(t, q)
	}
	mustClose(t, q)
}

func TestStoreIsOfOneProcess(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, OS())
	_, err := OpenStore(dir, OS())
	pid := fmt.Sprint("process ", os.Getpid())
	if text := fmt.Sprint(err); !strings.Contains(text, pid) || !strings.Contains(text, dir) {
		t.Errorf("second OpenStore = %v, want one that names the process and the directory", err)
	}
	q := openQueue(t, s, "a", 1, DefaultConfig())
	if _, err := s.Open("a", 1, DefaultConfig()); err == nil {
		t.Error("a queue was opened twice")
	}
	mustClose(t, q)
	mustClose(t, openQueue(t, s, "a", 1, DefaultConfig()))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := openStore(t, dir, OS()).Close(); err != nil {
		t.Fatal(err)
	}
}

func TestStoreRefuses(t *testing.T) {
	fs := newFakeFS()
	s := openStore(t, "data", fs)
	for _, identity := range []string{"", "a/b", `a\b`, "..", "A", "a.", strings.Repeat("a", 129), "ä"} {
		if _, err := s.Open(identity, 1, DefaultConfig()); err == nil {
			t.Errorf("identity %q was taken", identity)
		}
	}
	if _, err := s.Open("a", 0, DefaultConfig()); err == nil {
		t.Error("a queue without lanes was opened")
	}
	_, err := s.Open("a", 1, Config{MaxBytes: 1, MaxAge: -1})
	if err == nil || !strings.Contains(err.Error(), "max_age") {
		t.Errorf("a bad configuration: %v", err)
	}
	fs.Fail = func(call, _ string, _ int) error {
		if call == "open" {
			return os.ErrPermission
		}
		return nil
	}
	if _, err := s.Open("a", 1, DefaultConfig()); !errors.Is(err, os.ErrPermission) {
		t.Errorf("a directory that cannot be written: %v", err)
	}
	if _, err := OpenStore(filepath.Join(t.TempDir(), "file", "x"), failingDir{OS()}); err == nil {
		t.Error("a directory that cannot be made was taken")
	}
}

type failingDir struct{ FS }

func (failingDir) Mkdir(string) error { return os.ErrPermission }

func TestOrphans(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, OS())
	now := time.Now().UnixMilli()
	fill := func(identity string, at int64) {
		q := openQueue(t, s, identity, 1, DefaultConfig())
		mustAppend(t, q, 0, Record{Data: []byte(identity), Samples: 3, Oldest: at, Newest: at, First: true})
		mustClose(t, q)
	}
	fill("old", now-2*time.Hour.Milliseconds())
	fill("older", now-3*time.Hour.Milliseconds())
	fill("young", now)
	live := openQueue(t, s, "live", 1, DefaultConfig())
	defer live.Close()

	ids, err := s.Identities()
	if err != nil || len(ids) != 4 {
		t.Fatalf("identities = %+v, %v", ids, err)
	}
	want := Identity{Name: "young", Samples: 3, Requests: 1, Newest: time.UnixMilli(now), Bytes: 53}
	if id := ids[3]; id != want {
		t.Errorf("young = %+v", id)
	}
	if !ids[0].Open || ids[0].Name != "live" {
		t.Errorf("live = %+v", ids[0])
	}
	if gone, err := s.DropOrphans(0); err != nil || len(gone) != 0 {
		t.Errorf("with no limit to their age dropped %+v, %v", gone, err)
	}
	gone, err := s.DropOrphans(time.Hour, "older")
	if err != nil || len(gone) != 1 || gone[0].Name != "old" || gone[0].Samples != 3 {
		t.Errorf("dropped %+v, %v", gone, err)
	}
	if err := s.Rename("older", "young"); err == nil {
		t.Error("a backlog was replaced by another")
	}
	if err := s.Rename("older", "live"); err == nil {
		t.Error("an open queue was replaced")
	}
	mustClose(t, openQueue(t, s, "new", 1, DefaultConfig())) // there, but nothing waits
	for _, to := range []string{"new", "newer"} {
		if err := s.Rename("older", to); err != nil {
			t.Fatal(err)
		}
		if err := s.Rename(to, "older"); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Rename("older", "new"); err != nil {
		t.Fatal(err)
	}
	q := openQueue(t, s, "new", 1, DefaultConfig())
	if got := drained(q, 0); len(got) != 1 || got[0] != "older" {
		t.Errorf("the adopted queue gives %q", got)
	}
	mustClose(t, q)
}

// TestRenameWhileOpen: an open queue goes on under another identity, and its old one is free.
func TestRenameWhileOpen(t *testing.T) {
	s, err := OpenStore(t.TempDir(), OS())
	if err != nil {
		t.Fatal(err)
	}
	cfg := DefaultConfig()
	cfg.MaxAge, cfg.segment, cfg.FsyncInterval = 0, 200, time.Millisecond // a segment for every few records
	q := openQueue(t, s, "one", 1, cfg)
	put := func(q *FIFO, from, to int) {
		t.Helper()
		for i := from; i < to; i++ {
			mustAppend(t, q, 0, Record{Data: fmt.Appendf(nil, "%03d", i), Samples: 1, First: true})
			q.Seal(0)
		}
	}
	put(q, 0, 50)
	if err := s.Rename("one", "two"); err != nil {
		t.Fatal(err)
	}
	put(q, 50, 100)
	other := openQueue(t, s, "one", 1, cfg)
	put(other, 500, 510)
	if err := s.Rename("two", "one"); err == nil {
		t.Error("an open queue was replaced by another")
	}
	if err := s.Rename("other", "two"); err == nil {
		t.Error("an open queue was replaced by one that is not there")
	}
	mustClose(t, q)
	mustClose(t, other)
	for identity, want := range map[string]int{"one": 10, "two": 100} {
		q := openQueue(t, s, identity, 1, cfg)
		got := drained(q, 0)
		if len(got) != want || !slices.IsSorted(got) {
			t.Errorf("%s gives %d requests %q, want %d in order", identity, len(got), got, want)
		}
		mustClose(t, q)
	}
	if names, err := s.Names(); err != nil || len(names) != 2 {
		t.Errorf("queues %q, %v", names, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// TestConcurrentUse is for the race detector: it runs everything at once that may run at once, on real files.
func TestConcurrentUse(t *testing.T) {
	const lanes, each = 3, 400
	cfg := quiet()
	cfg.MaxMemory, cfg.segment, cfg.FsyncInterval = 50_000, 30_000, time.Millisecond
	cfg.Lost = func(r Reason, l Loss) { t.Errorf("reported %s %+v", r, l) }
	s := openStore(t, t.TempDir(), OS())
	q := openQueue(t, s, "x", lanes, cfg)
	var all sync.WaitGroup
	for lane := range lanes {
		all.Go(func() {
			for i := range each {
				for q.Stats().MemoryBytes > cfg.MaxMemory {
					runtime.Gosched() // the disk is only slow
				}
				data := append(fmt.Appendf(nil, "%d ", i), make([]byte, 700)...)
				r := Record{Data: data, Samples: 1, Oldest: 1, Newest: 1, First: i%3 == 0}
				if _, err := q.Append(lane, r); err != nil {
					t.Error(err)
					return
				}
			}
			q.Seal(lane)
		})
		all.Go(func() {
			for i := 0; i < each; {
				r, ok := next(q, lane)
				if !ok {
					runtime.Gosched()
					continue
				}
				for _, rec := range r.Records {
					if !strings.HasPrefix(string(rec.Data), fmt.Sprint(i, " ")) {
						t.Errorf("lane %d: %q instead of %d", lane, rec.Data[:5], i)
						return
					}
					i++
				}
				q.Ack(lane)
				for _, rec := range r.Records {
					clear(rec.Data)
				}
			}
		})
	}
	all.Wait()
	if loss := mustClose(t, q); loss != (Loss{}) {
		t.Errorf("Close = %+v", loss)
	}
	q = openQueue(t, s, "x", lanes, cfg)
	if st := q.Stats(); st.Samples != 0 {
		t.Errorf("after the next start: %+v", st)
	}
	mustClose(t, q)
}

// TestQueueStaysOpenUntilItsWriterEnds: after a Close that did not wait for the disk the writer still runs, and nothing
// else may write to its files.
func TestQueueStaysOpenUntilItsWriterEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := newFakeFS()
		s := openStore(t, "data", fs)
		q := openQueue(t, s, "x", 1, quiet())
		sealed(t, q, 0, "a")
		synctest.Wait()
		hang := make(chan struct{})
		fs.Mu.Lock()
		fs.Hold = waitsFor(hang, "write", segmentSuffix)
		fs.Mu.Unlock()
		sealed(t, q, 0, "b", "c")
		synctest.Wait()
		if loss, err := q.Close(); !errors.Is(err, errSlowDisk) || loss != (Loss{2, 2}) {
			t.Errorf("Close = %+v, %v", loss, err)
		}
		if _, err := s.Open("x", 1, quiet()); err == nil || !strings.Contains(err.Error(), "does not answer") {
			t.Errorf("opened beside its writer: %v", err)
		}
		if gone, err := s.DropOrphans(time.Nanosecond); err != nil || len(gone) != 0 {
			t.Errorf("dropped beside its writer: %+v, %v", gone, err)
		}
		if err := s.Close(); err == nil || !strings.Contains(err.Error(), "x") {
			t.Errorf("the directory is free beside a writer: %v", err)
		}
		if _, err := OpenStore("data", fs); err == nil {
			t.Error("another process has the directory beside a writer")
		}
		close(hang)
		synctest.Wait()
		fs.Mu.Lock()
		fs.Hold = nil
		fs.Mu.Unlock()
		if got := reopenIn(t, s, quiet()); !slices.Equal(got, []string{"a", "b"}) { // b was in the writer's hands
			t.Errorf("delivered %q", got)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestNewDirectoriesOutlastAPowerCut: the names of new directories are synced.
func TestNewDirectoriesOutlastAPowerCut(t *testing.T) {
	for _, dir := range []string{"data", join("a", "data"), join(join("a", "b"), "data")} {
		for _, failing := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				fs := newFakeFS()
				if above := filepath.Dir(dir); failing {
					fs.Fail = func(call, name string, _ int) error {
						if call == "syncdir" && name == above {
							return syscall.EIO
						}
						return nil
					}
				}
				s := openStore(t, dir, fs)
				cfg := quiet()
				q := openQueue(t, s, "x", 1, cfg)
				if reported := q.Stats().SyncErrors > 0; reported != failing {
					t.Errorf("%s: an error of a sync: %v, reported: %v", dir, failing, reported)
				}
				fs.heal()
				if failing { // the next queue makes up for it
					openQueue(t, s, "y", 1, cfg).Close()
				}
				sealed(t, q, 0, "a", "b")
				pass(2 * cfg.FsyncInterval)
				synctest.Wait()
				after := fs.cutPower(rand.New(rand.NewPCG(1, 2)))
				_, _ = q.Close()
				if got := reopenIn(t, openStore(t, dir, after), cfg); !slices.Equal(got, []string{"a", "b"}) {
					t.Errorf("%s: delivered %q", dir, got)
				}
			})
		}
	}
}

// TestRenameOfOpenFilesRefused: the system refuses to rename a directory with open files, as Windows does. The queue
// keeps its identity, and can be renamed when it is closed.
func TestRenameOfOpenFilesRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := newFakeFS()
		fs.KeepsOpen = true
		s := openStore(t, "data", fs)
		q := openQueue(t, s, "x", 1, quiet())
		sealed(t, q, 0, "a")
		synctest.Wait()
		if err := s.Rename("x", "y"); !errors.Is(err, os.ErrPermission) {
			t.Errorf("Rename = %v", err)
		}
		sealed(t, q, 0, "b")
		synctest.Wait()
		if loss := mustClose(t, q); loss != (Loss{}) {
			t.Errorf("Close = %+v", loss)
		}
		if err := s.Rename("x", "y"); err != nil {
			t.Fatal(err)
		}
		q = openQueue(t, s, "y", 1, quiet())
		if got := drained(q, 0); !slices.Equal(got, []string{"a", "b"}) {
			t.Errorf("delivered %q", got)
		}
		mustClose(t, q)
	})
}

// closingFS calls a function while a directory is read.
type closingFS struct {
	FS
	during func(dir string)
}

func (fs *closingFS) ReadDir(dir string) ([]Entry, error) {
	fs.during(dir)
	return fs.FS.ReadDir(dir)
}

// TestQueueClosedDuringDropOrphansStays: a queue that is closed while DropOrphans runs was not read, so it stays.
func TestQueueClosedDuringDropOrphansStays(t *testing.T) {
	for range 20 {
		fs := &closingFS{newFakeFS(), func(string) {}}
		s := openStore(t, "data", fs)
		mustClose(t, openQueue(t, s, "z", 1, quiet()))
		q := openQueue(t, s, "x", 1, quiet())
		sealed(t, q, 0, "a")
		closed := make(chan struct{})
		var once sync.Once
		fs.during = func(dir string) {
			if dir != s.path("z") {
				return
			}
			once.Do(func() {
				go func() {
					defer close(closed)
					_, _ = q.Close()
				}()
				<-q.disk.closing
				q.disk.loops.Wait()
			})
		}
		gone, err := s.DropOrphans(0)
		if err != nil || len(gone) != 1 || gone[0].Name != "z" {
			t.Fatalf("dropped %+v, %v", gone, err)
		}
		<-closed
		fs.during = func(string) {}
		if got := reopenIn(t, s, quiet()); !slices.Equal(got, []string{"a"}) {
			t.Fatalf("delivered %q", got)
		}
	}
}
