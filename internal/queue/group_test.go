package queue

import (
	"fmt"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// TestDamageOfFoundRequestsEndsTheBarrier: what was appended waits for what the start found. When that turns out to be
// damaged, Next gives what was appended, also after a Resize.
func TestDamageOfFoundRequestsEndsTheBarrier(t *testing.T) {
	for _, resize := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			fs := newFakeFS()
			s := openStore(t, "data", fs)
			q := openQueue(t, s, "x", 1, quiet())
			waits(t, q, 0, 0, "7a")
			mustClose(t, q)
			fs.flip(t, "-00000001")
			q = openQueue(t, s, "x", 1, quiet())
			waits(t, q, 0, 0, "7b")
			if resize {
				q.Resize(1)
			}
			if got := group(q, 0, Limit{}); got != "7b" {
				t.Errorf("group %q, want 7b", got)
			}
			q.Ack(0)
			mustClose(t, q)
		})
	}
}

// TestWhatIsDueDoesNotWaitForColdRequests: a stream is due, but hidden behind requests that are on disk only. Nothing
// in its lane waits then.
func TestWhatIsDueDoesNotWaitForColdRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		woken := 0
		cfg := quiet()
		cfg.requests, cfg.Wake = 8, func(int) { woken++ }
		q := openQueue(t, openStore(t, "data", newFakeFS()), "x", 1, cfg)
		for i := range 12 {
			waits(t, q, 0, time.Hour, fmt.Sprint(1+i%5, "x"))
			synctest.Wait()
		}
		if woken == 0 {
			t.Error("not woken")
		}
		waits(t, q, 0, 0, "9a")
		synctest.Wait()
		if got := samplesOf(groups(q, 0, Limit{})); got != 13 {
			t.Errorf("%d samples are due, want 13", got)
		}
		waits(t, q, 0, time.Hour, "9b")
		if got := group(q, 0, Limit{}); got != "-" {
			t.Errorf("group %q, want none: few requests wait", got)
		}
		mustClose(t, q)
	})
}

// TestADropWakesReaders: a stream is due, but hidden behind requests that are on disk only and cannot be read now. When
// those are dropped, its reader is woken.
func TestADropWakesReaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		woken := 0
		cfg := quiet()
		cfg.requests, cfg.segment, cfg.Wake = 8, 1, func(int) { woken++ }
		fs := newFakeFS()
		q := openQueue(t, openStore(t, "data", fs), "x", 1, cfg)
		for i := range 12 {
			waits(t, q, 0, time.Hour, fmt.Sprint(1+i%5, "x"))
			synctest.Wait()
		}
		fs.breakWith(syscall.ENOSPC, "open", "write")
		waits(t, q, 0, 0, "9a")
		synctest.Wait()
		if got := group(q, 0, Limit{}); got != "read error" {
			t.Fatalf("group %q", got)
		}
		woken = 0
		q.mu.Lock()
		for l := range q.lanes {
			for _, s := range slices.Clone(l.segments) {
				if l.mayDrop(s) {
					q.dropSegment(l, s, TooOld)
				}
			}
		}
		q.unlock()
		if got := group(q, 0, Limit{}); got != "9a" || woken == 0 {
			t.Errorf("group %q, woken %d times", got, woken)
		}
		q.Ack(0)
		fs.heal()
		mustClose(t, q)
	})
}
