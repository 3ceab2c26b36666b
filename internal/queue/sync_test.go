package queue

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// failSyncs makes the next n syncs of files with a suffix fail; -1: all.
func (fs *fakeFS) failSyncs(suffix string, n int) {
	fs.Mu.Lock()
	defer fs.Mu.Unlock()
	fs.Fail = func(call, name string, _ int) error {
		if call != "sync" || !strings.HasSuffix(name, suffix) && !strings.HasSuffix(name, scratchName) || n == 0 {
			return nil
		}
		n--
		return syscall.EIO
	}
}

func numbered(n int) (texts []string) {
	for i := range n {
		texts = append(texts, fmt.Sprint(i))
	}
	return texts
}

// TestFailedSyncIsNotTrusted: the kernel does not write again what a sync could not write. The records in memory are
// written to a new file, until the disk has it.
func TestFailedSyncIsNotTrusted(t *testing.T) {
	for _, interval := range []time.Duration{0, time.Second} {
		for _, evict := range []bool{false, true} {
			for _, failures := range []int{1, 2, 5} {
				synctest.Test(t, func(t *testing.T) {
					name := fmt.Sprintf("interval %v, evict %v, %d failures", interval, evict, failures)
					fs := newFakeFS()
					fs.Evict = evict
					cfg := quiet()
					cfg.FsyncInterval = interval
					q := openQueue(t, openStore(t, "data", fs), "x", 1, cfg)
					fs.failSyncs(segmentSuffix, failures)
					sealed(t, q, 0, numbered(10)...)
					synctest.Wait()
					pass(interval)
					synctest.Wait()
					if s := q.Stats(); failures > 1 && s.DiskError == "" || s.SyncErrors == 0 {
						t.Errorf("%s: DiskError %q, %d SyncErrors", name, s.DiskError, s.SyncErrors)
					}
					pass(5 * maxBackoff)
					synctest.Wait()
					if s := q.Stats(); s.DiskError != "" || s.SyncErrors != failures {
						t.Errorf("%s: DiskError %q, %d SyncErrors", name, s.DiskError, s.SyncErrors)
					}
					got := reopen(t, fs.cutPower(rand.New(rand.NewPCG(1, 2))), quiet())
					if !slices.Equal(got.requests, numbered(10)) || got.lost != (Loss{}) {
						t.Errorf("%s: after a power cut %q, reported %+v", name, got.requests, got.lost)
					}
					_, _ = q.Close()
				})
			}
		}
	}
}

// TestFailedSyncOfCloseIsNotTrusted: the last sync fails once. After the stop everything is on the disk nevertheless.
func TestFailedSyncOfCloseIsNotTrusted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := newFakeFS()
		q := openQueue(t, openStore(t, "data", fs), "x", 2, quiet())
		fs.failSyncs(segmentSuffix, 1)
		sealed(t, q, 0, numbered(10)...)
		mustClose(t, q)
		got := reopen(t, fs.cutPower(rand.New(rand.NewPCG(1, 2))), quiet())
		if !slices.Equal(got.requests, numbered(10)) {
			t.Errorf("after a power cut %q", got.requests)
		}
	})
}

// TestWritesAndReadsGoOnWhileSyncsFail: the kernel has what is written, so a kill loses nothing and repeats nothing.
// Records that are not in memory are read back.
func TestWritesAndReadsGoOnWhileSyncsFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := newFakeFS()
		cfg := quiet()
		cfg.MaxMemory = 4 * (recordOverhead + 1)
		q := openQueue(t, openStore(t, "data", fs), "x", 1, cfg)
		fs.failSyncs(segmentSuffix, -1)
		sealed(t, q, 0, numbered(10)...)
		synctest.Wait()
		pass(10 * time.Second)
		mustAppend(t, q, 0, record("a", true))
		synctest.Wait()
		pass(time.Minute)
		mustAppend(t, q, 0, record("b", false)) // of the same request, and so in the same segment
		q.Seal(0)
		synctest.Wait()
		for i := range 5 {
			if r, ok := next(q, 0); !ok || text(r) != fmt.Sprint(i) {
				t.Errorf("request %d is %q", i, text(r))
			}
			q.Ack(0)
		}
		pass(time.Minute)
		synctest.Wait()
		if s := q.Stats(); s.DiskError == "" || s.WriteErrors != 0 || s.ReadErrors != 0 {
			t.Errorf("stats: %+v", s)
		}
		fs.Mu.Lock()
		for name, d := range fs.Names {
			if strings.HasSuffix(name, positionSuffix) && len(d.Synced) > 0 {
				t.Error("a position is synced, and the segment that it passes is not")
			}
		}
		fs.Mu.Unlock()
		after := fs.kill()
		_, _ = q.Close()
		if got := reopen(t, after, quiet()); !slices.Equal(got.requests, []string{"5", "6", "7", "8", "9", "ab"}) {
			t.Errorf("after a kill: %q", got.requests)
		}
	})
}

// TestKilledWhileASegmentIsRenewed ends the process before each call of the file system: everything is delivered once.
func TestKilledWhileASegmentIsRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := newFakeFS()
		q := openQueue(t, openStore(t, "data", fs), "x", 1, quiet())
		sealed(t, q, 0, numbered(10)...)
		synctest.Wait()
		var killed []*fakeFS
		var calls []string
		fs.Mu.Lock()
		fs.Fail = func(call, name string, _ int) error {
			calls = append(calls, call)
			killed = append(killed, newFakeFS())
			for name, d := range fs.Names {
				killed[len(killed)-1].Names[name] = &fakeData{Content: slices.Clone(d.Content)}
			}
			if call == "sync" && len(calls) == slices.Index(calls, "sync")+1 {
				return syscall.EIO // the first one
			}
			return nil
		}
		fs.Mu.Unlock()
		pass(2 * maxBackoff)
		synctest.Wait()
		if !slices.Contains(calls, "rename") || q.Stats().DiskError != "" {
			t.Fatalf("no segment was renewed: %q, %+v", calls, q.Stats())
		}
		for i, fs := range killed {
			if got := reopen(t, fs, quiet()); !slices.Equal(got.requests, numbered(10)) || got.lost != (Loss{}) {
				t.Errorf("killed before call %d, %s: %q, reported %+v", i, calls[i], got.requests, got.lost)
			}
		}
		_, _ = q.Close()
	})
}

// TestRenewedWithoutTheOldFile: the old file of a segment cannot be opened. The records in memory are written to the
// new one nevertheless, and delivered ones are not needed. Records that only the old file has are given up after ten
// tries, and counted.
func TestRenewedWithoutTheOldFile(t *testing.T) {
	const n = 10
	for name, tc := range map[string]struct {
		memory    int // requests that memory may hold; 0: all
		delivered int
		within    time.Duration
		lost      bool
	}{
		"all in memory":      {within: 2 * minBackoff},
		"some delivered":     {delivered: 4, within: 2 * minBackoff},
		"some on disk alone": {memory: 4, within: 10 * maxBackoff, lost: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fs := newFakeFS()
				cfg := quiet()
				if tc.memory > 0 {
					cfg.MaxMemory = int64(tc.memory * (recordOverhead + 1))
				}
				q := openQueue(t, openStore(t, "data", fs), "x", 1, cfg)
				sealed(t, q, 0, numbered(n)...)
				synctest.Wait()
				for range tc.delivered {
					next(q, 0)
					q.Ack(0)
				}
				segment, _ := fs.file(t, segmentSuffix)
				fs.Mu.Lock()
				fs.Fail = func(call, name string, _ int) error {
					if name == segment && (call == "open" || call == "sync") {
						return syscall.EIO
					}
					return nil
				}
				fs.Mu.Unlock()
				pass(cfg.FsyncInterval + tc.within)
				synctest.Wait()
				if s := q.Stats(); s.DiskError != "" {
					t.Errorf("not renewed after %v: %s", tc.within, s.DiskError)
				}
				pass(2 * cfg.FsyncInterval) // the position
				synctest.Wait()
				got := reopen(t, fs.cutPower(rand.New(rand.NewPCG(1, 2))), quiet())
				want := n - tc.delivered - got.lost.Samples
				if len(got.requests) != want || (got.lost != Loss{}) != tc.lost {
					t.Errorf("after a power cut: %q, reported %+v", got.requests, got.lost)
				}
				_, _ = q.Close()
			})
		})
	}
}

// TestRenewedAfterCloseGaveUp: the disk hangs for longer than Close waits, with a segment whose sync failed. Close
// counts what the disk did not take. The rest is still written from memory when the disk answers.
func TestRenewedAfterCloseGaveUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := newFakeFS()
		fs.Evict = true
		cfg := quiet()
		q := openQueue(t, openStore(t, "data", fs), "x", 1, cfg)
		fs.failSyncs(segmentSuffix, 2) // of the segment, and of the file that was to replace it
		sealed(t, q, 0, numbered(10)...)
		synctest.Wait()
		hang := make(chan struct{})
		fs.Mu.Lock()
		fs.Hold = waitsFor(hang, "write", segmentSuffix)
		fs.Mu.Unlock()
		pass(cfg.FsyncInterval + minBackoff/2)
		sealed(t, q, 0, "in the writer's hands", "never written")
		synctest.Wait()
		given, _ := next(q, 0)
		time.AfterFunc(closeTimeout/2, func() {
			q.Ack(0)
			clear(given.Records[0].Data) // it belongs to the reader now
		})
		loss, err := q.Close()
		if !errors.Is(err, errSlowDisk) || loss != (Loss{2, 2}) {
			t.Errorf("Close = %+v, %v", loss, err)
		}
		close(hang)
		synctest.Wait()
		after := fs.cutPower(rand.New(rand.NewPCG(1, 2)))
		got := reopen(t, after, quiet())
		if want := append(numbered(10), "in the writer's hands"); !slices.Equal(got.requests, want) {
			t.Errorf("after a power cut %q, reported %+v", got.requests, got.lost)
		}
	})
}

// TestWriterSleepsWhileAFailedSegmentIsInUse: the end of the use wakes the writer, so the writer does not poll.
func TestWriterSleepsWhileAFailedSegmentIsInUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := newFakeFS()
		q := openQueue(t, openStore(t, "data", fs), "x", 1, quiet())
		sealed(t, q, 0, "a")
		synctest.Wait()
		fs.failSyncs(segmentSuffix, 2)
		pass(3 * time.Second / 2)
		synctest.Wait()
		q.mu.Lock()
		s := q.newest().lanes[0].segments[0]
		s.uses++
		later := time.Now().Add(time.Hour)
		failed, inUse := s.failed, q.retryIn(later)
		s.uses--
		free := q.retryIn(later)
		q.mu.Unlock()
		if !failed || inUse != 0 || free == 0 {
			t.Errorf("failed %v: the writer waits %v while the segment is in use, then %v", failed, inUse, free)
		}
		mustClose(t, q)
	})
}

// TestFailedSyncOfAPosition: the position is written again, since a second sync alone would do nothing.
func TestFailedSyncOfAPosition(t *testing.T) {
	for _, interval := range []time.Duration{0, time.Second} {
		synctest.Test(t, func(t *testing.T) {
			fs := newFakeFS()
			cfg := quiet()
			cfg.FsyncInterval = interval
			q := openQueue(t, openStore(t, "data", fs), "x", 1, cfg)
			sealed(t, q, 0, numbered(10)...)
			synctest.Wait()
			fs.failSyncs(positionSuffix, 2)
			for range 5 {
				next(q, 0)
				q.Ack(0)
			}
			pass(maxBackoff)
			synctest.Wait()
			if s := q.Stats(); s.SyncErrors != 2 || s.DiskError != "" {
				t.Errorf("stats: %+v", s)
			}
			got := reopen(t, fs.cutPower(rand.New(rand.NewPCG(1, 2))), quiet())
			if want := numbered(10)[5:]; !slices.Equal(got.requests, want) {
				t.Errorf("interval %v: after a power cut %q, want %q", interval, got.requests, want)
			}
			_, _ = q.Close()
		})
	}
}

// TestModelSyncsFail: what is written when Stats reports no failing sync survives a power cut.
func TestModelSyncsFail(t *testing.T) {
	overSeeds(t, smallConfig(), 300, func(w *world, _ int) {
		switch w.rnd.IntN(30) {
		case 0, 1:
			calls := []string{"sync", "syncdir", "sync syncdir", "sync rename", "sync open"}[w.rnd.IntN(5)]
			likely := 1 + w.rnd.IntN(3)
			rnd := rand.New(rand.NewPCG(w.rnd.Uint64(), 1))
			w.breakDisk(func(call, name string, _ int) error {
				if call == "open" && !strings.HasSuffix(name, scratchName) {
					return nil // writes do not fail here
				}
				if slices.Contains(strings.Fields(calls), call) && rnd.IntN(3) < likely {
					return syscall.EIO
				}
				return nil
			})
		case 2, 3:
			w.breakDisk(nil)
			pass(maxBackoff)
			w.settle(true)
		case 4:
			w.breakDisk(nil)
			w.cutPower(1 + w.rnd.IntN(4))
		case 5:
			w.breakDisk(nil)
			w.kill(1 + w.rnd.IntN(4))
		}
	}, func(w *world) {
		if w.missing() != 0 {
			w.t.Errorf("%d samples missing that were synced before the power cut, reported %+v", w.missing(), w.lost)
		}
	})
}
