package queue

import (
	"bytes"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	simdisk "github.com/envoy-scraper/envoy-scraper/internal/simulate/disk"
)

// TestErrorAtEachCall makes one call fail, then that call and all after it for a while: the queue goes on, and nothing
// is lost.
func TestErrorAtEachCall(t *testing.T) {
	for _, failure := range []error{syscall.ENOSPC, syscall.EIO, simdisk.ErrShort} {
		for i := range 6 {
			lasting, segment := i%2 == 1, []int64{100, 100, 400}[i/2]
			layout := []*Layout{nil, {Data: []byte("L")}}[min(i/2, 1)]
			for n, reached := 1, true; reached; n++ {
				reached = false
				synctest.Test(t, func(t *testing.T) {
					fs := newFakeFS()
					broken := true
					fs.Fail = func(_, _ string, i int) error {
						if broken && (i == n || lasting && i > n) {
							reached = true
							return failure
						}
						return nil
					}
					heal := func() {
						fs.Mu.Lock()
						defer fs.Mu.Unlock()
						broken = false
					}
					doing := fmt.Sprintf("%v at call %d, lasting: %v, layout %v", failure, n, lasting, layout)
					errorStory(t, fs, heal, layout, segment, doing)
				})
			}
		}
	}
}

// errorStory appends, delivers, stops and starts. The disk fails somewhere until heal is called. The requests have one
// record with a layout, or two records without.
func errorStory(t *testing.T, fs *fakeFS, heal func(), layout *Layout, segment int64, doing string) {
	cfg := quiet()
	cfg.segment = segment
	cfg.Lost = func(r Reason, l Loss) { t.Errorf("%s: reported %s %+v", doing, r, l) }
	open := func() (*Store, *FIFO) {
		s, err := OpenStore("data", fs)
		if err != nil {
			heal() // the caller has decided
			s = openStore(t, "data", fs)
		}
		q, err := s.Open("x", 1, cfg)
		if err != nil {
			heal()
			q = openQueue(t, s, "x", 1, cfg)
		}
		return s, q
	}
	var got []string
	deliver := func(q *FIFO) {
		r, ok := next(q, 0)
		if !ok { // not readable now
			heal()
			pass(2 * maxBackoff)
			if r, ok = next(q, 0); !ok {
				t.Fatalf("%s: nothing to deliver after %q", doing, got)
			}
		}
		if s := text(r); !slices.Contains(got, s) {
			got = append(got, s)
		}
		q.Ack(0)
	}
	s, q := open()
	for i := range 3 {
		r := record(fmt.Sprint(i, "a"), true)
		r.Layout = layout
		mustAppend(t, q, 0, r)
		synctest.Wait()
		if layout == nil {
			mustAppend(t, q, 0, record(fmt.Sprint(i, "b"), false))
		}
		q.Seal(0)
		synctest.Wait()
		pass(cfg.FsyncInterval)
	}
	deliver(q)
	pass(5 * time.Second)
	heal()
	pass(2 * maxBackoff)
	synctest.Wait()
	if st := q.Stats(); st.DiskError != "" {
		t.Errorf("%s: still %q", doing, st.DiskError)
	}
	if loss := mustClose(t, q); loss != (Loss{}) {
		t.Errorf("%s: Close lost %+v", doing, loss)
	}
	_ = s.Close()
	s, q = open()
	for q.Stats().Requests > 0 {
		deliver(q)
	}
	want := []string{"0a0b", "1a1b", "2a2b"}
	if layout != nil {
		want = []string{"0a+L", "1a+L", "2a+L"}
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s: delivered %q", doing, got)
	}
	mustClose(t, q)
	_ = s.Close()
}

func TestErrorsAreCountedAndEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := newFakeFS()
		var reported losses
		cfg := quiet()
		cfg.MaxMemory, cfg.Lost = 5*(recordOverhead+1), reported.take
		q := openQueue(t, openStore(t, "data", fs), "x", 1, cfg)
		synctest.Wait()
		fs.Mu.Lock()
		fs.Fail = func(call, _ string, _ int) error {
			if call == "write" {
				return syscall.ENOSPC
			}
			return nil
		}
		fs.Mu.Unlock()
		for i := range 10 {
			sealed(t, q, 0, fmt.Sprint(i))
			synctest.Wait()
			pass(10 * time.Second)
		}
		s := q.Stats()
		if !strings.Contains(s.DiskError, "no space") || s.WriteErrors < 2 || s.MemoryBytes > cfg.MaxMemory {
			t.Errorf("stats: %+v", s)
		}
		if got := reported.of(DiskFull); got != (Loss{5, 5}) {
			t.Errorf("reported %+v, want the oldest 5", got)
		}
		if r, ok := next(q, 0); !ok || text(r) != "5" {
			t.Errorf("the first is %q", text(r))
		}
		q.Ack(0) // from memory
		fs.Mu.Lock()
		fs.Fail = nil
		fs.Mu.Unlock()
		pass(maxBackoff)
		synctest.Wait()
		if s := q.Stats(); s.DiskError != "" || s.WrittenRecords != 4 {
			t.Errorf("stats when there is room again: %+v", s)
		}
		if got := drained(q, 0); !slices.Equal(got, []string{"6", "7", "8", "9"}) {
			t.Errorf("delivered %q", got)
		}
		mustClose(t, q)
	})
}

func TestBlockedSyncBlocksNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := newFakeFS()
		cfg := quiet()
		cfg.MaxMemory = 200
		q := openQueue(t, openStore(t, "data", fs), "x", 2, cfg)
		blocked := make(chan struct{})
		fs.Mu.Lock()
		fs.Hold = waitsFor(blocked, "sync", "")
		fs.Mu.Unlock()
		sealed(t, q, 0, "a", "b")
		synctest.Wait()
		pass(2 * cfg.FsyncInterval) // now a sync hangs
		for i := range 20 {
			sealed(t, q, i%2, fmt.Sprint(i))
			synctest.Wait()
		}
		if s := q.Stats(); s.WrittenRecords != 22 {
			t.Errorf("%d records are written, want 22", s.WrittenRecords)
		}
		if got := drained(q, 0); len(got) != 12 {
			t.Errorf("lane 0 gives %q", got)
		}
		if got := drained(q, 1); len(got) != 10 {
			t.Errorf("lane 1 gives %q", got)
		}
		began := time.Now()
		if _, err := q.Close(); err == nil || time.Since(began) > closeTimeout {
			t.Errorf("Close took %v: %v", time.Since(began), err)
		}
		close(blocked)
	})
}

// TestDeliveredBeforeItIsWritten: a slow write delays no delivery. A request that is delivered meanwhile is not
// delivered again, and one that was not begun is not written at all.
func TestDeliveredBeforeItIsWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := newFakeFS()
		q := openQueue(t, openStore(t, "data", fs), "x", 1, quiet())
		synctest.Wait()
		hang := make(chan struct{})
		fs.Mu.Lock()
		fs.Hold = waitsFor(hang, "write", segmentSuffix)
		fs.Mu.Unlock()
		sealed(t, q, 0, "a")
		synctest.Wait() // a is being written
		sealed(t, q, 0, "b", "c")
		for _, want := range []string{"a", "b"} {
			if r, ok := next(q, 0); !ok || text(r) != want {
				t.Errorf("Next = %q, want %q", text(r), want)
			} else {
				clear(r.Records[0].Data)
			}
			q.Ack(0)
		}
		close(hang)
		synctest.Wait()
		if s := q.Stats(); s.WrittenRecords != 2 || s.Samples != 1 {
			t.Errorf("stats: %+v, want a and c written", s)
		}
		after := fs.kill()
		if _, err := q.Close(); err != nil {
			t.Error(err)
		}
		if got := reopen(t, after, quiet()); !slices.Equal(got.requests, []string{"c"}) {
			t.Errorf("after a kill: %q", got.requests)
		}
	})
}

// TestCloseReturnsWhatTheDiskDoesNotHave: nothing was written, so nothing survives.
func TestCloseReturnsWhatTheDiskDoesNotHave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := newFakeFS()
		q := openQueue(t, openStore(t, "data", fs), "x", 1, quiet())
		sealed(t, q, 0, "a")
		synctest.Wait()
		fs.Mu.Lock()
		fs.Fail = func(call, _ string, _ int) error {
			if call == "write" {
				return syscall.EIO
			}
			return nil
		}
		fs.Mu.Unlock()
		sealed(t, q, 0, "b")
		mustAppend(t, q, 0, record("c", true))
		if loss := mustClose(t, q); loss != (Loss{2, 2}) {
			t.Errorf("Close = %+v", loss)
		}
		if _, ok := next(q, 0); ok {
			t.Error("a closed queue gives requests")
		}
		q.Ack(0)
		if loss := mustClose(t, q); loss != (Loss{}) {
			t.Errorf("second Close = %+v", loss)
		}
	})
}

func TestSyncIntervalZero(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := newFakeFS()
		cfg := quiet()
		cfg.FsyncInterval = 0
		q := openQueue(t, openStore(t, "data", fs), "x", 1, cfg)
		sealed(t, q, 0, "a")
		synctest.Wait()
		if _, d := fs.file(t, segmentSuffix); len(d.Synced) != len(d.Content) || len(d.Content) == 0 {
			t.Errorf("%d of %d bytes are synced", len(d.Synced), len(d.Content))
		}
		mustClose(t, q)
	})
}

func TestNothingIsSyncedWithoutAWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := newFakeFS()
		q := openQueue(t, openStore(t, "data", fs), "x", 1, quiet())
		sealed(t, q, 0, "a")
		drained(q, 0)
		pass(time.Minute)
		synctest.Wait()
		before := fs.N
		pass(time.Hour)
		synctest.Wait()
		if fs.N != before {
			t.Errorf("%d calls of the file system in an idle hour", fs.N-before)
		}
		mustClose(t, q)
	})
}

func TestDiskIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := newFakeFS()
		var reported losses
		cfg := quiet()
		cfg.MaxBytes, cfg.MaxMemory, cfg.segment, cfg.Lost = minSegmentBytes, 2048, 4096, reported.take
		q := openQueue(t, openStore(t, "data", fs), "x", 2, cfg)
		const n, size = 200, 1000
		for i := range n {
			data := append(fmt.Appendf(nil, "%d ", i), bytes.Repeat([]byte("."), size)...)
			at := int64(i)
			mustAppend(t, q, i%2, Record{Data: data, Samples: 1, Oldest: at, Newest: at, First: true})
			q.Seal(i % 2)
			synctest.Wait()
			if i == 1 {
				q.Next(0, Limit{}) // stays in flight
			}
			var onDisk int64
			fs.Mu.Lock()
			for _, d := range fs.Names {
				onDisk += int64(len(d.Content))
			}
			fs.Mu.Unlock()
			if onDisk > cfg.MaxBytes+4096 {
				t.Fatalf("%d bytes on disk after %d", onDisk, i)
			}
			if s := q.Stats(); s.MemoryBytes > cfg.MaxMemory+2*(size+recordOverhead+4) {
				t.Fatalf("%d bytes in memory after %d", s.MemoryBytes, i)
			}
		}
		var got []int
		for lane := range 2 {
			for _, s := range drained(q, lane) {
				var id int
				if _, err := fmt.Sscan(s, &id); err != nil {
					t.Fatal(err)
				}
				got = append(got, id)
			}
		}
		if got[0] != 0 {
			t.Errorf("what was in flight is gone; first is %d", got[0])
		}
		slices.Sort(got)
		loss := reported.of(QueueFull)
		if loss.Samples+len(got) != n || loss.Requests != loss.Samples || loss.Samples < n/2 {
			t.Errorf("%d delivered, reported %+v", len(got), loss)
		}
		if got[len(got)-1] != n-1 || n-got[4] > len(got) { // the first segment, 4 requests, holds the one in flight
			t.Errorf("delivered %v: not the newest", got)
		}
		mustClose(t, q)
	})
}

func TestOldSegmentsAreDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := newFakeFS()
		var reported losses
		cfg := quiet()
		cfg.MaxAge, cfg.segment, cfg.Lost = time.Hour, 1, reported.take
		s := openStore(t, "data", fs)
		add := func(q *FIFO, s string) {
			at := time.Now().UnixMilli()
			mustAppend(t, q, 0, Record{Data: []byte(s), Samples: 1, Oldest: at, Newest: at, First: true})
			q.Seal(0)
			synctest.Wait()
		}
		q := openQueue(t, s, "x", 1, cfg)
		add(q, "a")
		q.Next(0, Limit{}) // stays in flight
		add(q, "b")
		pass(50 * time.Minute)
		add(q, "c")
		pass(20 * time.Minute)
		add(q, "d")
		if got := reported.of(TooOld); got != (Loss{1, 1}) {
			t.Errorf("reported %+v while running, want b", got)
		}
		mustClose(t, q)
		pass(59 * time.Minute)
		q = openQueue(t, s, "x", 1, cfg)
		synctest.Wait()
		if got := reported.of(TooOld); got != (Loss{3, 3}) {
			t.Errorf("reported %+v after the start, want a and c, too", got)
		}
		if got := drained(q, 0); !slices.Equal(got, []string{"d"}) {
			t.Errorf("delivered %q", got)
		}
		mustClose(t, q)
	})
}

func TestLanesChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := newFakeFS()
		woken := 0
		cfg := quiet()
		cfg.Wake = func(lane int) {
			if lane == -1 {
				woken++
			}
		}
		s := openStore(t, "data", fs)
		q := openQueue(t, s, "x", 3, cfg)
		for _, disk := range []bool{true, false} {
			if !disk {
				q = NewMemory(cfg, 3)
			}
			for lane := range 3 {
				sealed(t, q, lane, fmt.Sprint("old", lane))
			}
			mustAppend(t, q, 2, record("open", true))
			if _, ok := next(q, 1); !ok { // in flight over the change
				t.Fatal("nothing in lane 1")
			}
			q.Resize(2)
			q.Resize(2)
			sealed(t, q, 0, "new0")
			sealed(t, q, 1, "new1")
			if got := drained(q, 0); !slices.Equal(got, []string{"old0", "old2", "open"}) {
				t.Errorf("lane 0 gives %q before lane 1 is through", got)
			}
			if woken != 0 {
				t.Error("woken with old data in flight")
			}
			if got := drained(q, 1); !slices.Equal(got, []string{"old1", "new1"}) {
				t.Errorf("lane 1 gives %q", got)
			}
			if woken == 0 {
				t.Error("nobody reported lane 0 that it may go on")
			}
			if got := drained(q, 0); !slices.Equal(got, []string{"new0"}) {
				t.Errorf("lane 0 gives %q", got)
			}
			woken = 0
			synctest.Wait()
			mustClose(t, q)
		}
		for name := range fs.Names {
			if strings.Contains(name, "00000001-") {
				t.Errorf("%s of the first generation is left", name)
			}
		}
	})
}

// TestFewerLanesWithOneInFlight: a reader whose lane was removed acknowledges its request.
func TestFewerLanesWithOneInFlight(t *testing.T) {
	woken := 0
	q := NewMemory(Config{Wake: func(int) { woken++ }}, 3)
	sealed(t, q, 2, "a", "b")
	q.Next(2, Limit{})
	q.Resize(1)
	if r, ok := next(q, 0); ok {
		t.Errorf("lane 0 gives %q, whose forerunner is in flight", text(r))
	}
	if r, ok := next(q, 2); !ok || text(r) != "a" {
		t.Errorf("the old reader gets %q", text(r))
	}
	q.Ack(2)
	if woken == 0 {
		t.Error("nobody reported lane 0 that it may go on")
	}
	if _, ok := next(q, 2); ok {
		t.Error("a lane that is no more gives requests")
	}
	if got := drained(q, 0); !slices.Equal(got, []string{"b"}) {
		t.Errorf("lane 0 gives %q", got)
	}
}

func TestReplayStreams(t *testing.T) {
	const n, size = 3000, 1000
	cfg := quiet()
	cfg.MaxMemory = 100_000
	fs := backlog(t, cfg, func(q *FIFO) {
		for i := range n {
			data := bytes.Repeat([]byte{byte(i)}, size)
			mustAppend(t, q, 0, Record{Data: data, Samples: 1, Oldest: 1, Newest: 1, First: i%2 == 0})
			if i%20 == 0 {
				eventually(t, "it is written", func() bool { return q.Stats().WrittenRecords == i+1 })
			}
		}
	})
	q := openQueue(t, openStore(t, "data", fs), "x", 1, cfg)
	defer q.Close()
	if s := q.Stats(); s.MemoryBytes != 0 || s.Requests != n/2 || s.Samples != n || s.Bytes != n*(size+headerSize) {
		t.Errorf("after the start: %+v", s)
	}
	for i := 0; i < n; i += 2 {
		r, ok := next(q, 0)
		if !ok || len(r.Records) != 2 || r.Records[0].Data[0] != byte(i) {
			t.Fatalf("request %d: %d records", i/2, len(r.Records))
		}
		if s := q.Stats(); s.MemoryBytes != 2*(size+recordOverhead) {
			t.Fatalf("%d bytes in memory", s.MemoryBytes)
		}
		q.Ack(0)
	}
}

// TestWhatMemoryHoldsIsNotRead: nothing is read back while the receiver keeps up or the backlog fits into memory.
func TestWhatMemoryHoldsIsNotRead(t *testing.T) {
	fs := newFakeFS()
	freed := 0
	cfg := quiet()
	cfg.MaxMemory = 20 * (recordOverhead + 1)
	cfg.Free = func([]byte) { freed++ }
	q := openQueue(t, openStore(t, "data", fs), "x", 1, cfg)
	defer q.Close()
	for i := range 1000 {
		sealed(t, q, 0, "x")
		if i%15 == 0 {
			eventually(t, "it is written", func() bool { return q.Stats().WrittenRecords == i+1 })
			drained(q, 0)
		}
	}
	drained(q, 0)
	if s := q.Stats(); s.ReadRecords != 0 || freed != 0 {
		t.Errorf("%d records were read, %d freed", s.ReadRecords, freed)
	}
	fs.Mu.Lock()
	defer fs.Mu.Unlock()
	if fs.Calls["read"] > 0 {
		t.Errorf("%d reads", fs.Calls["read"])
	}
}

// TestOldestStayInMemory: above the limit the newest requests leave memory, and are read back later.
func TestOldestStayInMemory(t *testing.T) {
	freed := 0
	cfg := quiet()
	cfg.MaxMemory = 10 * (recordOverhead + 1)
	cfg.Free = func([]byte) { freed++ }
	q := openQueue(t, openStore(t, "data", newFakeFS()), "x", 1, cfg)
	defer q.Close()
	for i := range 50 {
		sealed(t, q, 0, string(rune('A'+i)))
		eventually(t, "it is written", func() bool { return q.Stats().WrittenRecords == i+1 })
	}
	if freed != 40 {
		t.Errorf("%d records were freed, want 40", freed)
	}
	for i := range 50 {
		r, ok := next(q, 0)
		if !ok || text(r) != string(rune('A'+i)) || r.MayHaveArrived {
			t.Fatalf("request %d is %q", i, text(r))
		}
		if read := q.Stats().ReadRecords; read != min(40, max(0, i-8)) {
			t.Fatalf("request %d: %d were read", i, read)
		}
		q.Ack(0)
	}
}

func TestReadErrorsPass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := backlog(t, quiet(), threeRecords(t))
		woken := make(chan int, 10)
		cfg := quiet()
		cfg.Wake = func(lane int) { woken <- lane }
		q := openQueue(t, openStore(t, "data", fs), "x", 1, cfg)
		fs.Mu.Lock()
		fs.Fail = func(call, _ string, _ int) error {
			if call == "read" {
				return syscall.EIO
			}
			return nil
		}
		fs.Mu.Unlock()
		if _, ok := next(q, 0); ok {
			t.Error("a request was read from a broken disk")
		}
		if lane := <-woken; lane != 0 {
			t.Errorf("woken: %d", lane)
		}
		fs.Mu.Lock()
		fs.Fail = nil
		fs.Mu.Unlock()
		if got := drained(q, 0); !slices.Equal(got, []string{"onetwo", "three"}) || q.Stats().ReadErrors != 1 {
			t.Errorf("delivered %q, %+v", got, q.Stats())
		}
		mustClose(t, q)
	})
}

func TestUnreadableSegmentIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs, cfg := manySegments(t, 3)
		var reported losses
		cfg.Lost = reported.take
		woken := make(chan int, 10)
		cfg.Wake = func(lane int) { woken <- lane }
		q := openQueue(t, openStore(t, "data", fs), "x", 1, cfg)
		bad := segments(fs)[0]
		fs.Mu.Lock()
		fs.Fail = func(call, name string, _ int) error {
			if call == "read" && name == bad {
				return syscall.EIO
			}
			return nil
		}
		fs.Mu.Unlock()
		for range maxReadTries {
			if _, ok := next(q, 0); ok {
				t.Fatal("a request was read from a broken disk")
			}
			<-woken
		}
		if got := drained(q, 0); !slices.Equal(got, []string{"1", "2"}) || reported.of(Damaged) != (Loss{1, 1}) {
			t.Errorf("delivered %q, reported %+v", got, reported.of(Damaged))
		}
		mustClose(t, q)
	})
}

func TestSegmentRemovedByOthers(t *testing.T) {
	fs, cfg := manySegments(t, 3)
	var reported losses
	cfg.Lost = reported.take
	q := openQueue(t, openStore(t, "data", fs), "x", 1, cfg)
	defer q.Close()
	if err := fs.Remove(segments(fs)[1]); err != nil {
		t.Fatal(err)
	}
	if got := drained(q, 0); !slices.Equal(got, []string{"0", "2"}) || reported.of(Damaged) != (Loss{1, 1}) {
		t.Errorf("delivered %q, reported %+v", got, reported.of(Damaged))
	}
}

func BenchmarkAppendAck(b *testing.B) {
	const size, samples = 28 << 10, 2000
	for _, kind := range []string{"memory", "disk"} {
		b.Run(kind, func(b *testing.B) {
			cfg := DefaultConfig()
			q := NewMemory(cfg, 4)
			if kind == "disk" {
				s, err := OpenStore(b.TempDir(), OS())
				if err != nil {
					b.Fatal(err)
				}
				if q, err = s.Open("x", 4, cfg); err != nil {
					b.Fatal(err)
				}
			}
			data := make([]byte, size)
			b.SetBytes(size)
			b.ReportAllocs()
			const together = 20 // as a second of a small mesh
			for n := 0; b.Loop(); n++ {
				at := time.Now().UnixMilli()
				r := Record{Data: data, Samples: samples, Oldest: at, Newest: at, First: true}
				if _, err := q.Append(n%4, r); err != nil {
					b.Fatal(err)
				}
				q.Seal(n % 4)
				if n%together != together-1 {
					continue
				}
				for kind == "disk" && q.Stats().WrittenRecords <= n { // an Ack before would spare the write
					runtime.Gosched()
				}
				for i := range together {
					q.Next(i%4, Limit{})
					q.Ack(i % 4)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*samples), "ns/sample")
			if _, err := q.Close(); err != nil {
				b.Error(err)
			}
		})
	}
}
