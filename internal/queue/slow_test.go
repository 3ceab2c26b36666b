package queue

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	simdisk "github.com/envoy-scraper/envoy-scraper/internal/simulate/disk"
)

// TestSlowDisk: each call of the disk takes two seconds. Appends and Stats do not wait for it, a lane waits for its own
// calls only, and everything is delivered once and in order, while the queue is renamed and others are looked for.
func TestSlowDisk(t *testing.T) {
	const lanes, each = 3, 20
	synctest.Test(t, func(t *testing.T) {
		fs := newFakeFS()
		s := openStore(t, "data", fs)
		cfg := quiet()
		cfg.segment = 400
		q := openQueue(t, s, "x", lanes, cfg)
		fs.Begin("slow", simdisk.Fault{Delay: 2 * time.Second})
		began := time.Now()
		for i := range each {
			for lane := range lanes {
				sealed(t, q, lane, fmt.Sprintf("%03d", i))
			}
			q.Stats()
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("appends and Stats took %v", took)
		}
		var readers sync.WaitGroup
		for lane := range lanes {
			readers.Go(func() {
				var got []string
				for len(got) < each {
					got = append(got, drained(q, lane)...)
				}
				// Next and Ack write the position, after a write of it by the writer and one by the syncer.
				if took := time.Since(began); took > each*3*2*2*time.Second {
					t.Errorf("lane %d took %v", lane, took)
				}
				if len(got) != each || !slices.IsSorted(got) {
					t.Errorf("lane %d gives %q", lane, got)
				}
			})
		}
		pass(3 * time.Second)
		if err := s.Rename("x", "y"); err != nil {
			t.Error(err)
		}
		if _, err := s.DropOrphans(time.Hour); err != nil {
			t.Error(err)
		}
		readers.Wait()
		fs.End("slow")
		mustClose(t, q)
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestSlowReads: a reader waits for a slow disk for readTime and a few calls, and gets what was read. All requests of a
// stream are delivered in order.
func TestSlowReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := newFakeFS()
		s := openStore(t, "data", fs)
		q := openQueue(t, s, "x", 1, quiet())
		want := ""
		for i := range 20 {
			waits(t, q, 0, 0, fmt.Sprintf("7%c", 'a'+i))
			want += fmt.Sprintf(" 7%c", 'a'+i)
		}
		mustClose(t, q)
		q = openQueue(t, s, "x", 1, quiet())
		const call = 400 * time.Millisecond
		fs.Begin("slow", simdisk.Fault{Calls: []string{"read"}, Delay: call})
		got := ""
		for len(got) < len(want) {
			began := time.Now()
			texts := group(q, 0, Limit{})
			if took := time.Since(began); texts == "" || took > readTime+4*call {
				t.Fatalf("the group %q takes %v", texts, took)
			}
			got += " " + texts
			q.Ack(0)
		}
		if got != want {
			t.Errorf("delivered%s", got)
		}
		fs.End("slow")
		mustClose(t, q)
	})
}

// TestSlowDiskAtTheEnd: a disk that is slow while a queue is closed delays Close by at most closeTimeout. The queue
// counts what memory alone has, and the next start has the rest.
func TestSlowDiskAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := newFakeFS()
		s := openStore(t, "data", fs)
		q := openQueue(t, s, "x", 2, quiet())
		synctest.Wait()
		fs.Begin("slow", simdisk.Fault{Delay: 2 * time.Second})
		for i := range 10 {
			sealed(t, q, i%2, fmt.Sprint(i))
		}
		began := time.Now()
		loss, err := q.Close()
		if took := time.Since(began); err == nil || took != closeTimeout {
			t.Errorf("Close took %v: %v", took, err)
		}
		after := fs.kill()
		after.End("slow")
		if got := reopen(t, after, quiet()); len(got.requests)+loss.Samples < 10 {
			t.Errorf("Close counts %d of 10 samples as lost, and the next start has %q", loss.Samples, got.requests)
		}
		pass(time.Minute) // until the closed queue has ended
	})
}

// TestPowerCutAfterAKill: a process is killed before it has synced what it wrote. The next one syncs it, so that a
// later power cut does not take it.
func TestPowerCutAfterAKill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := newFakeFS()
		q := openQueue(t, openStore(t, "data", fs), "x", 2, quiet())
		pass(quiet().FsyncInterval)
		sealed(t, q, 0, "a", "b")
		sealed(t, q, 1, "c")
		synctest.Wait() // written
		second := fs.kill()
		_, _ = q.Close()
		second.Fail = func(call, name string, n int) error { // for a while
			if call == "open" && strings.HasSuffix(name, segmentSuffix) {
				return syscall.EIO
			}
			return nil
		}
		q = openQueue(t, openStore(t, "data", second), "x", 2, quiet())
		pass(2 * quiet().FsyncInterval)
		second.Mu.Lock()
		second.Fail = nil
		second.Mu.Unlock()
		pass(maxBackoff)
		if s := q.Stats(); s.DiskError != "" {
			t.Errorf("stats: %+v", s)
		}
		after := &fakeFS{second.LoseUnsynced()}
		_, _ = q.Close()
		if got := reopen(t, after, quiet()); !slices.Equal(got.requests, []string{"a", "b", "c"}) {
			t.Errorf("after the power cut %q", got.requests)
		}
	})
}
