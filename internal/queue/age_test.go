package queue

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

const century = 100 * 365 * 24 * time.Hour

// TestSampleFromTheFutureDoesNotKeepItsSegment: a segment with such a sample is dropped with its time, before a restart
// and after one.
func TestSampleFromTheFutureDoesNotKeepItsSegment(t *testing.T) {
	for name, tc := range map[string]struct {
		oldest time.Duration // of the record with a sample from the future
		waits  bool          // after the restart: what is all from the future is as old as the process
	}{
		"one sample":   {oldest: 0},
		"a whole page": {oldest: century, waits: true},
	} {
		for _, restart := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				var reported losses
				cfg := quiet()
				cfg.MaxAge, cfg.Lost = time.Hour, reported.take
				s := openStore(t, "data", newFakeFS())
				q := openQueue(t, s, "x", 1, cfg)
				now := time.Now()
				for i := range 10 {
					at := now.UnixMilli()
					r := Record{Data: fmt.Append(nil, i), Samples: 1, Oldest: at, Newest: at, First: true}
					if i == 5 {
						r.Oldest, r.Newest = now.Add(tc.oldest).UnixMilli(), now.Add(century).UnixMilli()
					}
					mustAppend(t, q, 0, r)
					q.Seal(0)
				}
				pass(50 * time.Minute)
				if restart {
					mustClose(t, q)
					q = openQueue(t, s, "x", 1, cfg)
				}
				pass(9 * time.Minute)
				next(q, 1) // looks for old segments
				if got := reported.of(TooOld); got != (Loss{}) {
					t.Errorf("%s: reported %+v before max_age", name, got)
				}
				pass(5 * time.Minute)
				if restart && tc.waits {
					pass(50 * time.Minute)
				}
				next(q, 0)
				if got := reported.of(TooOld); got != (Loss{10, 10}) {
					t.Errorf("%s, restart %v: reported %+v after max_age", name, restart, got)
				}
				mustClose(t, q)
			})
		}
	}
}

// TestClockThatIsSetDropsNothing: the age of samples follows the time that passes, not a clock that is set forward.
func TestClockThatIsSetDropsNothing(t *testing.T) {
	for _, step := range []time.Duration{10 * 24 * time.Hour, -10 * 24 * time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			var reported losses
			cfg := quiet()
			cfg.MaxAge, cfg.segment, cfg.Lost = 7*24*time.Hour, 1, reported.take
			q := openQueue(t, openStore(t, "data", newFakeFS()), "x", 1, cfg)
			shift := time.Duration(0)
			set := func(d time.Duration) {
				q.mu.Lock()
				defer q.mu.Unlock()
				shift = d
				q.disk.clock.wall = func() time.Time { return time.Now().Add(shift) }
			}
			add := func(text string) {
				at := time.Now().Add(shift).UnixMilli()
				mustAppend(t, q, 0, Record{Data: []byte(text), Samples: 1, Oldest: at, Newest: at, First: true})
				q.Seal(0)
				synctest.Wait()
			}
			set(0)
			add("before")
			set(step)
			pass(time.Hour)
			add("after")
			pass(time.Hour)
			set(0)
			pass(time.Hour)
			add("again")
			pass(time.Hour)
			next(q, 0)
			if got := reported.of(TooOld); got != (Loss{}) {
				t.Errorf("a clock that is set by %v, and back, drops %+v", step, got)
			}
			if got := drained(q, 0); !slices.Equal(got, []string{"before", "after", "again"}) {
				t.Errorf("delivered %q", got)
			}
			add("late")
			pass(cfg.MaxAge + 2*ageInterval)
			next(q, 0)
			if got := reported.of(TooOld); got != (Loss{1, 1}) {
				t.Errorf("reported %+v after max_age", got)
			}
			mustClose(t, q)
		})
	}
}
