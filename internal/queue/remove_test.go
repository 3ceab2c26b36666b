package queue

import (
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// segmentBytes returns the bytes of all segments on disk.
func (fs *fakeFS) segmentBytes() (sum int64) {
	fs.Mu.Lock()
	defer fs.Mu.Unlock()
	for name, d := range fs.Names {
		if strings.HasSuffix(name, segmentSuffix) {
			sum += int64(len(d.Content))
		}
	}
	return sum
}

// TestRemovalFails: a file that cannot be removed is emptied. If that fails, too, no more is written than max_bytes
// allows, and removals are tried again at intervals.
func TestRemovalFails(t *testing.T) {
	for _, calls := range [][]string{{"remove"}, {"remove", "truncate"}} {
		synctest.Test(t, func(t *testing.T) {
			const n = 1000
			fs := newFakeFS()
			var reported losses
			cfg := quiet()
			cfg.MaxBytes, cfg.MaxMemory, cfg.segment, cfg.Lost = minSegmentBytes, 32<<10, 4<<10, reported.take
			s := openStore(t, "data", fs)
			q := openQueue(t, s, "x", 1, cfg)
			defer func() { _, _ = q.Close() }()
			synctest.Wait()
			fs.breakWith(syscall.EPERM, calls...)
			for range n {
				sealed(t, q, 0, strings.Repeat("x", 1000))
				synctest.Wait()
				if got := fs.segmentBytes(); got > cfg.MaxBytes {
					t.Fatalf("without %q: %d bytes on disk, %d are allowed", calls, got, cfg.MaxBytes)
				}
				if got := q.Stats(); got.DiskBytes != fs.segmentBytes() {
					t.Fatalf("without %q: DiskBytes is %d, want %d", calls, got.DiskBytes, fs.segmentBytes())
				}
			}
			st := q.Stats()
			if st.DiskError == "" || st.RemoveErrors == 0 || fs.Calls["remove"] > n/2 {
				t.Errorf("without %q: stats %+v after %d removals", calls, st, fs.Calls["remove"])
			}
			if full := reported.of(DiskFull).Samples; len(calls) == 1 && full != 0 || len(calls) == 2 && full == 0 {
				t.Errorf("without %q: %d samples are reported as lost since the disk is full", calls, full)
			}
			fs.breakWith(nil)
			pass(maxBackoff)
			synctest.Wait()
			if st := q.Stats(); st.DiskError != "" || len(segments(fs)) > st.Segments {
				t.Errorf("removals work again: stats %+v, %d files", st, len(segments(fs)))
			}
			lost := reported.of(QueueFull).Samples + reported.of(DiskFull).Samples
			lost += mustClose(t, q).Samples
			q = openQueue(t, s, "x", 1, cfg)
			if got := len(drained(q, 0)); got+lost != n {
				t.Errorf("without %q: %d delivered and %d reported as lost, of %d", calls, got, lost, n)
			}
			mustClose(t, q)
		})
	}
}

// TestDroppedSegmentIsNotDeliveredAfterAKill: a segment that cannot be removed is counted as lost, and the process is
// killed.
func TestDroppedSegmentIsNotDeliveredAfterAKill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := newFakeFS()
		var reported losses
		cfg := quiet()
		cfg.MaxBytes, cfg.segment, cfg.Lost = minSegmentBytes, 4<<10, reported.take
		q := openQueue(t, openStore(t, "data", fs), "x", 1, cfg)
		synctest.Wait()
		fs.breakWith(syscall.EPERM, "remove")
		for range 100 {
			sealed(t, q, 0, strings.Repeat("x", 1000))
			synctest.Wait()
		}
		lost := reported.of(QueueFull).Samples
		after := fs.kill()
		_, _ = q.Close()
		if got := reopen(t, after, cfg); lost == 0 || len(got.requests)+lost != 100 {
			t.Errorf("%d reported as lost, %d delivered after a kill, of 100", lost, len(got.requests))
		}
	})
}

// TestReadOnlyDiskInTheLog: the log has a line when a kind of call begins to fail, and one when it works again.
func TestReadOnlyDiskInTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := newFakeFS()
		core, logs := observer.New(zap.InfoLevel)
		cfg := quiet()
		cfg.Log, cfg.segment = zap.New(core), 100
		q := openQueue(t, openStore(t, "data", fs), "x", 2, cfg)
		long := strings.Repeat("x", 100)
		for range 5 {
			sealed(t, q, 0, long)
			sealed(t, q, 1, long)
			synctest.Wait()
		}
		fs.breakWith(syscall.EROFS, "write", "remove", "truncate", "sync", "syncdir", "rename", "open")
		for range 600 {
			sealed(t, q, 0, "x")
			sealed(t, q, 1, "x")
			synctest.Wait()
			drained(q, 0)
			drained(q, 1)
			pass(time.Second)
		}
		lines := map[string]int{}
		for _, e := range logs.TakeAll() {
			lines[e.Message]++
		}
		for message, n := range lines {
			if n > 1 {
				t.Errorf("%d lines %q in ten minutes", n, message)
			}
		}
		if len(lines) < 2 || len(lines) > 4 {
			t.Errorf("lines of the log: %v", lines)
		}
		if s := q.Stats(); s.DiskError == "" || s.WriteErrors == 0 || s.RemoveErrors == 0 {
			t.Errorf("stats: %+v", s)
		}
		fs.breakWith(nil)
		for range 2 {
			sealed(t, q, 0, "x")
			synctest.Wait() // it is written, and so has a position
			drained(q, 0)
			pass(maxBackoff)
			synctest.Wait()
		}
		if s := q.Stats(); s.DiskError != "" {
			t.Errorf("the disk works, and DiskError is %q", s.DiskError)
		}
		again := logs.FilterMessageSnippet("works again").Len()
		if again != len(lines) {
			t.Errorf("%d kinds of calls work again, %d failed: %v", again, len(lines), logs.All())
		}
		mustClose(t, q)
	})
}

// TestDiskErrorEndsWithTheNextWrite: the lane that failed has nothing more to write; a write of another
// lane shows that the disk works.
func TestDiskErrorEndsWithTheNextWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := newFakeFS()
		q := openQueue(t, openStore(t, "data", fs), "x", 2, quiet())
		synctest.Wait()
		fs.breakWith(syscall.ENOSPC, "write")
		sealed(t, q, 0, "a")
		sealed(t, q, 1, "b")
		synctest.Wait()
		drained(q, 0) // from memory
		drained(q, 1)
		fs.breakWith(nil)
		if s := q.Stats(); s.DiskError == "" {
			t.Error("DiskError is empty, and nothing was written since the error")
		}
		pass(maxBackoff)
		sealed(t, q, 0, "more")
		synctest.Wait()
		if s := q.Stats(); s.DiskError != "" || s.WrittenRecords != 1 {
			t.Errorf("after a write: %+v", s)
		}
		fs.breakWith(syscall.ENOSPC, "write")
		sealed(t, q, 1, "c")
		synctest.Wait()
		fs.breakWith(nil)
		sealed(t, q, 0, "d")
		synctest.Wait()
		if s := q.Stats(); s.DiskError == "" {
			t.Error("DiskError is empty, and a lane waits to be written")
		}
		pass(maxBackoff)
		synctest.Wait()
		if s := q.Stats(); s.DiskError != "" {
			t.Errorf("all lanes are written: %+v", s)
		}
		if got := slices.Concat(drained(q, 0), drained(q, 1)); !slices.Equal(got, []string{"more", "d", "c"}) {
			t.Errorf("delivered %q", got)
		}
		mustClose(t, q)
	})
}

// TestBytesOnDiskOfASegmentThatIsGivenUp: a segment that cannot be read leaves the queue once.
func TestBytesOnDiskOfASegmentThatIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := quiet()
		cfg.segment = 100 // two requests each
		cfg.Wake = func(int) {}
		fs := newFakeFS()
		q := openQueue(t, openStore(t, "data", fs), "x", 1, cfg)
		waits(t, q, 0, time.Minute, "7a", "9a", "7b", "9b", "7c", "9c")
		synctest.Wait()
		bad := segments(fs)[0]
		fs.failing(bad, syscall.EIO, func(call string, _ int) bool { return call == "read" })
		q.Flush(0)
		for range 2 * maxReadTries {
			group(q, 0, Limit{})
			pass(maxBackoff)
		}
		synctest.Wait()
		if got, want := q.Stats().DiskBytes, fs.segmentBytes(); got != want {
			t.Errorf("%d bytes on disk, want %d", got, want)
		}
		fs.heal()
		groups(q, 0, Limit{})
		mustClose(t, q)
	})
}

// TestBytesOnDiskOfAGenerationThatEndsWhileItIsWritten: the last request of a generation is acknowledged while it is
// being written. Its segment leaves the queue once.
func TestBytesOnDiskOfAGenerationThatEndsWhileItIsWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := newFakeFS()
		q := openQueue(t, openStore(t, "data", fs), "x", 1, quiet())
		waits(t, q, 0, 0, "7a")
		synctest.Wait()
		if got := groups(q, 0, Limit{}); !slices.Equal(got, []string{"7a"}) {
			t.Fatalf("groups %q", got)
		}
		arrived, hold := make(chan bool), make(chan bool)
		done := false
		fs.Mu.Lock()
		fs.Fail = func(call, name string, _ int) error {
			if call == "write" && strings.HasSuffix(name, segmentSuffix) && !done {
				done = true
				fs.Mu.Unlock()
				arrived <- true
				<-hold
				fs.Mu.Lock()
			}
			return nil
		}
		fs.Mu.Unlock()
		waits(t, q, 0, 0, "7b")
		<-arrived
		if got := group(q, 0, Limit{}); got != "7b" {
			t.Errorf("group %q, want 7b", got)
		}
		q.Resize(1)
		q.Ack(0)
		close(hold)
		synctest.Wait()
		if got, want := q.Stats().DiskBytes, fs.segmentBytes(); got != want || got != 0 {
			t.Errorf("%d bytes on disk, want %d", got, want)
		}
		mustClose(t, q)
	})
}
