package queue

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// killed returns the files of a killed process with n requests in one segment, the first of them delivered.
func killed(t *testing.T, n int) *fakeFS {
	t.Helper()
	fs := newFakeFS()
	q := openQueue(t, openStore(t, "data", fs), "x", 1, quiet())
	for i := range n {
		sealed(t, q, 0, fmt.Sprint(i))
	}
	eventually(t, "all is written", func() bool { return q.Stats().WrittenRecords == n })
	q.Next(0, Limit{})
	q.Ack(0)
	after := fs.kill()
	if _, err := q.Close(); err != nil {
		t.Fatal(err)
	}
	return after
}

// failing makes calls on existing files with a suffix fail while on returns true.
func (fs *fakeFS) failing(suffix string, kind error, on func(call string, n int) bool) {
	fs.Mu.Lock()
	defer fs.Mu.Unlock()
	n := 0
	fs.Fail = func(call, name string, _ int) error {
		if !strings.HasSuffix(name, suffix) || call == "open" && fs.Names[name] == nil {
			return nil
		}
		if n++; on(call, n) {
			return kind
		}
		return nil
	}
}

func (fs *fakeFS) heal() {
	fs.Mu.Lock()
	defer fs.Mu.Unlock()
	fs.Fail = nil
}

// patient takes all requests of a lane, and waits while reads are tried again.
func patient(q *FIFO, lane int) (texts []string) {
	for range 2 * maxReadTries {
		texts = append(texts, drained(q, lane)...)
		pass(maxBackoff)
	}
	return texts
}

// TestErrorAtStartCostsNothing: a call on a segment or a position fails once while the queue is opened. All samples are
// delivered, and nothing is counted as lost.
func TestErrorAtStartCostsNothing(t *testing.T) {
	want := []string{"1", "2", "3", "4", "5", "6", "7", "8", "9"}
	for _, suffix := range []string{segmentSuffix, positionSuffix} {
		for _, kind := range []error{syscall.EIO, syscall.EACCES, syscall.EMFILE} {
			for nth, reached := 1, true; reached; nth++ {
				reached = false
				synctest.Test(t, func(t *testing.T) {
					fs := killed(t, 10)
					fs.failing(suffix, kind, func(call string, n int) bool {
						reached = reached || n == nth && (call == "open" || call == "read" || call == "truncate")
						return n == nth
					})
					var reported losses
					cfg := quiet()
					cfg.Lost = reported.take
					q := openQueue(t, openStore(t, "data", fs), "x", 1, cfg)
					fs.heal()
					if s := q.Stats(); s.Requests == 0 || s.Bytes == 0 || s.Oldest == 0 {
						t.Errorf("%s, call %d fails with %v: nothing waits: %+v", suffix, nth, kind, s)
					}
					got := patient(q, 0)
					if suffix == positionSuffix && slices.Equal(got, append([]string{"0"}, want...)) {
						got = got[1:] // delivered again
					}
					if !slices.Equal(got, want) || reported.of(Damaged) != (Loss{}) {
						t.Errorf("%s, call %d fails with %v: delivered %q, reported %+v",
							suffix, nth, kind, got, reported.of(Damaged))
					}
					if s := q.Stats(); s.Requests != 0 || s.Samples != 0 || s.Bytes != 0 || s.DiskBytes != 0 {
						t.Errorf("%s, call %d fails with %v: at the end %+v", suffix, nth, kind, s)
					}
					mustClose(t, q)
					if left := segments(fs); len(left) != 0 {
						t.Errorf("%s, call %d fails with %v: left %q", suffix, nth, kind, left)
					}
				})
			}
		}
	}
}

// TestUnreadableAtStartAndStoppedAgain: a segment that could not be read is unchanged, so the next process delivers it.
func TestUnreadableAtStartAndStoppedAgain(t *testing.T) {
	for _, call := range []string{"open", "read"} {
		for name, stop := range map[string]func(*fakeFS, *FIFO) *fakeFS{
			"closed": func(fs *fakeFS, q *FIFO) *fakeFS { _, _ = q.Close(); return fs },
			"killed": func(fs *fakeFS, q *FIFO) *fakeFS { after := fs.kill(); _, _ = q.Close(); return after },
		} {
			synctest.Test(t, func(t *testing.T) {
				fs, _ := manySegments(t, 3)
				fs.failing(segmentSuffix, syscall.EIO, func(c string, _ int) bool { return c == call })
				q := openQueue(t, openStore(t, "data", fs), "x", 1, quiet())
				if s := q.Stats(); s.ReadErrors == 0 || s.Samples != 3 {
					t.Errorf("%s fails: %+v, want errors of reading, and the 3 samples that the stop noted", call, s)
				}
				if got := drained(q, 0); len(got) != 0 {
					t.Errorf("%s fails: delivered %q", call, got)
				}
				sealed(t, q, 0, "new")
				synctest.Wait()
				after := stop(fs, q)
				after.heal()
				clear(after.Locks)
				got := reopen(t, after, quiet())
				if !slices.Equal(got.requests, []string{"0", "1", "2", "new"}) || got.lost != (Loss{}) {
					t.Errorf("%s fails, %s: then delivered %q, reported %+v", call, name, got.requests, got.lost)
				}
			})
		}
	}
}

// TestUnreadableForGoodIsKept: after three minutes the lane goes on without a segment. The samples that the last stop
// counted are reported as lost, and the file gets a .corrupt name.
func TestUnreadableForGoodIsKept(t *testing.T) {
	for _, call := range []string{"open", "read"} {
		for _, atStart := range []bool{true, false} {
			synctest.Test(t, func(t *testing.T) {
				fs, cfg := manySegments(t, 4)
				var reported losses
				cfg.Lost = reported.take
				names := segments(fs)
				content := string(fs.Names[names[1]].Content)
				broken := atStart
				fs.failing(names[1], syscall.EACCES, func(c string, _ int) bool { return broken && c == call })
				q := openQueue(t, openStore(t, "data", fs), "x", 1, cfg)
				fs.Mu.Lock()
				broken = true
				fs.Mu.Unlock()
				got := patient(q, 0)
				if !slices.Equal(got, []string{"0", "2", "3"}) || reported.of(Damaged) != (Loss{1, 1}) {
					t.Errorf("%s fails: delivered %q, reported %+v", call, got, reported.of(Damaged))
				}
				s := q.Stats()
				if s.CorruptRecords != 1 || s.SkippedBytes != int64(len(content)) ||
					s.Samples != 0 || s.DiskBytes != 0 {
					t.Errorf("%s fails: %+v", call, s)
				}
				mustClose(t, q)
				if _, kept := fs.file(t, corruptSuffix); string(kept.Content) != content {
					t.Errorf("%s fails: %q was kept, want %q", call, kept.Content, content)
				}
				if left := segments(fs); len(left) != 0 {
					t.Errorf("%s fails: left %q", call, left)
				}
			})
		}
	}
}

// TestGivenUpSegmentIsNotDeliveredAfterAKill: a segment is given up and counted as lost, but cannot be renamed. Later
// segments are delivered and removed, and the process is killed. The next one can read the segment and does not deliver
// it.
func TestGivenUpSegmentIsNotDeliveredAfterAKill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs, cfg := manySegments(t, 4)
		var reported losses
		cfg.Lost = reported.take
		first := segments(fs)[0]
		fs.failing(first, syscall.EIO, func(c string, _ int) bool { return c == "open" || c == "rename" })
		q := openQueue(t, openStore(t, "data", fs), "x", 1, cfg)
		if got := patient(q, 0); !slices.Equal(got, []string{"1", "2", "3"}) || reported.of(Damaged) != (Loss{1, 1}) {
			t.Errorf("delivered %q, reported %+v", got, reported.of(Damaged))
		}
		after := fs.kill()
		if left := segments(after); !slices.Equal(left, []string{first}) {
			t.Errorf("left %q, want %q", left, first)
		}
		_, _ = q.Close()
		if got := reopen(t, after, quiet()); len(got.requests) != 0 || got.lost != (Loss{}) {
			t.Errorf("after a kill: delivered %q, reported %+v", got.requests, got.lost)
		}
	})
}

// TestBadSectorLosesWhatIsBehindIt: the first half of a segment can be read, the rest never. It is not delivered later
// either.
func TestBadSectorLosesWhatIsBehindIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n, size = 8, 3000
		fs := backlog(t, quiet(), func(q *FIFO) {
			for i := range n {
				sealed(t, q, 0, fmt.Sprint(i, strings.Repeat(".", size)))
			}
		})
		name, _ := fs.file(t, segmentSuffix)
		var reported losses
		cfg := quiet()
		cfg.Lost = reported.take
		bad := &badSector{fakeFS: fs, name: name, at: n / 2 * (size + 1 + headerSize)}
		fs.breakWith(syscall.EIO, "rename") // so the file keeps its name
		q := openQueue(t, openStore(t, "data", bad), "x", 1, cfg)
		got := patient(q, 0)
		if len(got) != n/2 {
			t.Errorf("%d requests were delivered, want the %d before the bad sector", len(got), n/2)
		}
		if lost := reported.of(Damaged); lost.Samples != n-len(got) {
			t.Errorf("reported %+v, with %d of %d delivered", lost, len(got), n)
		}
		after := fs.kill()
		_, _ = q.Close()
		if got := reopen(t, after, quiet()); len(got.requests) != 0 { // the sector can be read again
			t.Errorf("after a kill: %d requests were delivered that were counted as lost", len(got.requests))
		}
	})
}

// badSector fails to read a file from an offset on.
type badSector struct {
	*fakeFS
	name string
	at   int64
}

type badFile struct {
	File
	at int64
}

func (fs *badSector) Open(name string, create bool) (File, error) {
	f, err := fs.fakeFS.Open(name, create)
	if err == nil && name == fs.name {
		f = badFile{f, fs.at}
	}
	return f, err
}

func (f badFile) ReadAt(b []byte, at int64) (int, error) {
	if at+int64(len(b)) > f.at {
		return 0, syscall.EIO
	}
	return f.File.ReadAt(b, at)
}

// TestUnreadableQueuesAreNoOrphans: it is not known what waits in an unreadable queue, so it stays at any age.
func TestUnreadableQueuesAreNoOrphans(t *testing.T) {
	fs, _ := manySegments(t, 2)
	s := openStore(t, "data", fs)
	mustClose(t, openQueue(t, s, "empty", 1, quiet()))
	for _, call := range []string{"open", "read", "readdir"} {
		before := maps.Clone(fs.Names)
		fs.failing("", syscall.EIO, func(c string, _ int) bool {
			return c == call && call != "readdir"
		})
		if call == "readdir" {
			fs.failing(queuePrefix+"x", syscall.EIO, func(c string, _ int) bool { return c == call })
		}
		gone, err := s.DropOrphans(time.Hour, "empty")
		if err != nil || len(gone) != 0 {
			t.Errorf("%s fails: dropped %+v, %v", call, gone, err)
		}
		if err := s.Rename("empty", "x"); err == nil {
			t.Errorf("%s fails: a queue took the place of one that cannot be read", call)
		}
		if ids, err := s.Identities("empty"); err != nil || len(ids) != 1 || ids[0].Problem == nil {
			t.Errorf("%s fails: %+v, %v", call, ids, err)
		}
		fs.heal()
		if !maps.Equal(fs.Names, before) {
			t.Errorf("%s fails: there is %v, was %v", call, fs.Names, before)
		}
	}
	if got := reopenIn(t, s, quiet()); !slices.Equal(got, []string{"0", "1"}) {
		t.Errorf("delivered %q", got)
	}
}

func reopenIn(t *testing.T, s *Store, cfg Config) []string {
	t.Helper()
	q := openQueue(t, s, "x", 1, cfg)
	defer mustClose(t, q)
	return drained(q, 0)
}

// TestUnreadablePositionHidesNothing: a position that could not be read is behind segments with higher numbers.
// Records appended meanwhile must not be taken for delivered when the position can be read again.
func TestUnreadablePositionHidesNothing(t *testing.T) {
	for _, stays := range []bool{false, true} { // it cannot be removed either
		synctest.Test(t, func(t *testing.T) {
			cfg := quiet()
			cfg.segment = 1
			fs := newFakeFS()
			s := openStore(t, "data", fs)
			q := openQueue(t, s, "x", 1, cfg)
			for i := range 6 {
				sealed(t, q, 0, fmt.Sprint(i))
				synctest.Wait()
				drained(q, 0)
			}
			mustClose(t, q)
			mustClose(t, openQueue(t, s, "x", 1, cfg))
			if left := segments(fs); len(left) != 0 {
				t.Fatalf("left: %q", left)
			}
			fs.failing(positionSuffix, syscall.EIO, func(c string, _ int) bool {
				return c == "read" || c == "remove" && stays
			})
			q = openQueue(t, s, "x", 1, cfg)
			fs.heal()
			want := []string{"a", "b", "c", "d", "e", "f", "g", "h"}
			for _, text := range want {
				sealed(t, q, 0, text)
				synctest.Wait()
			}
			after := fs.kill()
			if _, err := q.Close(); err != nil {
				t.Error(err)
			}
			if got := reopen(t, after, cfg); !slices.Equal(got.requests, want) {
				t.Errorf("delivered %q, want %q", got.requests, want)
			}
		})
	}
}

// TestModelUnreadable has starts and deliveries during which segments and positions cannot be read at times.
func TestModelUnreadable(t *testing.T) {
	cfg := smallConfig()
	overSeeds(t, cfg, 300, func(w *world, _ int) {
		kinds := []error{syscall.EIO, syscall.EACCES, syscall.EMFILE}
		rnd := rand.New(rand.NewPCG(w.rnd.Uint64(), 1))
		flaky := func(call, name string, _ int) error {
			ours := strings.HasSuffix(name, segmentSuffix) || strings.HasSuffix(name, positionSuffix)
			if !ours || call != "read" && (call != "open" || w.fs.Names[name] == nil) || rnd.IntN(2) == 0 {
				return nil
			}
			return kinds[rnd.IntN(len(kinds))]
		}
		switch w.rnd.IntN(40) {
		case 0:
			lanes := 1 + w.rnd.IntN(4)
			w.stop()
			w.breakDisk(flaky)
			w.start(lanes)
		case 1:
			w.breakDisk(flaky)
		case 2, 3:
			w.breakDisk(nil)
			pass(maxBackoff)
		}
	}, func(w *world) {
		if w.missing() != 0 || w.lost != (Loss{}) {
			w.t.Errorf("%d samples missing, reported %+v", w.missing(), w.lost)
		}
	})
}
