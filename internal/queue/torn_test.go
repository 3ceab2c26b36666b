package queue

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	simdisk "github.com/envoy-scraper/envoy-scraper/internal/simulate/disk"
)

// torn is a queue whose first segment holds the request "a", the record "b" of the next one, and half of its record
// "c", which the disk would not cut off. end closes it.
func torn(t *testing.T) (fs *fakeFS, q *FIFO, end func()) {
	t.Helper()
	fs = newFakeFS()
	store := openStore(t, "data", fs)
	q = openQueue(t, store, "x", 1, quiet())
	sealed(t, q, 0, "a")
	mustAppend(t, q, 0, record("b", true))
	synctest.Wait()
	fs.Mu.Lock()
	fs.Fail = func(call, _ string, _ int) error {
		if call == "write" || call == "truncate" {
			return simdisk.ErrShort
		}
		return nil
	}
	fs.Mu.Unlock()
	mustAppend(t, q, 0, record("c", false))
	q.Seal(0)
	synctest.Wait()
	fs.Mu.Lock()
	fs.Fail = nil
	fs.Mu.Unlock()
	return fs, q, func() {
		if loss := mustClose(t, q); loss != (Loss{}) {
			t.Errorf("Close = %+v", loss)
		}
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestTornSegmentIsAbandoned: the request that began in a torn segment is written whole to the next one, and delivered
// once.
func TestTornSegmentIsAbandoned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs, q, _ := torn(t)
		if s := q.Stats(); s.WriteErrors != 1 || s.Samples != 3 {
			t.Fatalf("stats after the torn write: %+v", s)
		}
		pass(2 * minBackoff)
		synctest.Wait()
		if s := q.Stats(); s.Segments != 2 || s.WrittenRecords != 4 || s.DiskBytes != 3*(headerSize+1) {
			t.Errorf("stats: %+v, want b and c in a second segment", s)
		}
		want := []string{"a", "bc"}
		after := fs.kill()
		if _, err := q.Close(); err != nil {
			t.Error(err)
		}
		// Killed before Close could cut the first segment: only b is there twice.
		got := reopen(t, after, quiet())
		if !slices.Equal(got.requests, []string{"a", "b", "bc"}) || got.lost != (Loss{}) {
			t.Errorf("after a kill: %q, lost %+v", got.requests, got.lost)
		}

		fs, q, end := torn(t)
		pass(2 * minBackoff)
		synctest.Wait()
		if got := drained(q, 0); !slices.Equal(got, want) {
			t.Errorf("delivered %q, want %q", got, want)
		}
		end()
		if got := reopen(t, fs, quiet()); len(got.requests) > 0 {
			t.Errorf("delivered again: %q", got.requests)
		}
	})
}

// TestTornRequestIsNotDeliveredAgain: a request that waits keeps the torn segment. The beginning of the request that
// was delivered from the next segment is still in it. A killed process repeats it only if it was in flight, and marks
// it.
func TestTornRequestIsNotDeliveredAgain(t *testing.T) {
	for _, flying := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			fs := newFakeFS()
			q := openQueue(t, openStore(t, "data", fs), "x", 1, quiet())
			waits(t, q, 0, time.Hour, "7a")
			r := record("9b", true)
			r.Stream = 9
			mustAppend(t, q, 0, r)
			synctest.Wait()
			fs.breakWith(simdisk.ErrShort, "write", "truncate")
			mustAppend(t, q, 0, record("c", false))
			q.Seal(0)
			synctest.Wait()
			fs.heal()
			pass(2 * minBackoff)
			synctest.Wait()
			if got := group(q, 0, Limit{}); got != "9bc" {
				t.Errorf("group %q, want 9bc", got)
			}
			want := []string{"9b? 9bc?", "7a"}
			if !flying {
				q.Ack(0)
				want = []string{"7a"}
			}
			after := fs.kill()
			_, _ = q.Close()
			got, _ := lives(t, after, quiet())
			slices.Sort(want)
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Errorf("in flight %v: after a kill %q, want %q", flying, got, want)
			}
		})
	}
}

// TestCloseCutsATornSegment: the next process finds neither the half record nor the request that began before it twice.
func TestCloseCutsATornSegment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs, _, end := torn(t)
		end()
		got := reopen(t, fs, quiet())
		if !slices.Equal(got.requests, []string{"a", "bc"}) || got.lost != (Loss{}) || got.stats.TruncatedBytes != 0 {
			t.Errorf("%q, lost %+v, truncated %d bytes", got.requests, got.lost, got.stats.TruncatedBytes)
		}
	})
}

// TestCloseThatGaveUpKeepsTheBeginningOfARequest: the disk hangs for longer than Close waits, and then tears a segment
// behind the first record of a request. Close has counted only the second record as lost, so the first one stays.
func TestCloseThatGaveUpKeepsTheBeginningOfARequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := newFakeFS()
		q := openQueue(t, openStore(t, "data", fs), "x", 1, quiet())
		sealed(t, q, 0, "a")
		mustAppend(t, q, 0, record("b", true))
		synctest.Wait()
		hang, cut := make(chan struct{}), false
		fs.Mu.Lock()
		fs.Hold = waitsFor(hang, "write", segmentSuffix)
		fs.Fail = func(call, name string, _ int) error {
			first := call == "truncate" && !cut
			cut = cut || first
			if strings.HasSuffix(name, segmentSuffix) && (call == "write" || first) {
				return simdisk.ErrShort
			}
			return nil
		}
		fs.Mu.Unlock()
		mustAppend(t, q, 0, record("c", false))
		q.Seal(0)
		synctest.Wait()
		if loss, err := q.Close(); !errors.Is(err, errSlowDisk) || loss != (Loss{1, 1}) {
			t.Errorf("Close = %+v, %v", loss, err)
		}
		close(hang)
		synctest.Wait()
		fs.Mu.Lock()
		fs.Fail, fs.Hold = nil, nil
		fs.Mu.Unlock()
		got := reopen(t, fs.kill(), quiet())
		if !slices.Equal(got.requests, []string{"a", "b"}) || got.lost != (Loss{}) {
			t.Errorf("after the restart: %q, lost %+v; want a and b", got.requests, got.lost)
		}
	})
}
