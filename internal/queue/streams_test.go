package queue

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// waits appends sealed requests of one record. Their texts have the stream and a letter: "7a" is of stream 7. They may
// wait for that long; 0: not at all.
func waits(t testing.TB, q *FIFO, lane int, wait time.Duration, texts ...string) {
	t.Helper()
	waitsWith(t, q, lane, wait, nil, texts...)
}

// waitsWith is waits for requests with a layout.
func waitsWith(t testing.TB, q *FIFO, lane int, wait time.Duration, layout *Layout, texts ...string) {
	t.Helper()
	for _, text := range texts {
		r := record(text, true)
		r.Stream, r.Layout = uint64(text[0]-'0'), layout
		if wait > 0 {
			r.Due = time.Now().Add(wait)
		}
		if _, err := q.Append(lane, r); err != nil {
			t.Fatal(err)
		}
		q.Seal(lane)
	}
}

// group takes a group and returns its texts, with ? for those that may have arrived; "-" if nothing is due, "" if
// nothing is there.
func group(q *FIFO, lane int, most Limit) string {
	g, state, wait := q.Next(lane, most)
	switch {
	case state == Empty:
		return ""
	case state == Later && wait > 0:
		return "-"
	case state == Later:
		return "read error"
	}
	var texts []string
	for _, r := range g {
		s := text(r)
		if r.MayHaveArrived {
			s += "?"
		}
		texts = append(texts, s)
	}
	return strings.Join(texts, " ")
}

// groups delivers all groups that are due.
func groups(q *FIFO, lane int, most Limit) (all []string) {
	for g := group(q, lane, most); g != "" && g != "-"; g = group(q, lane, most) {
		all = append(all, g)
		q.Ack(lane)
	}
	return all
}

// eachKind runs a test with a queue in memory and one on disk.
func eachKind(t *testing.T, run func(t *testing.T, q *FIFO)) {
	for _, kind := range []string{"memory", "disk"} {
		t.Run(kind, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q := NewMemory(quiet(), 1)
				if kind == "disk" {
					q = openQueue(t, openStore(t, "data", newFakeFS()), "x", 1, quiet())
				}
				run(t, q)
				if _, err := q.Close(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func TestGroups(t *testing.T) {
	for name, tc := range map[string]struct {
		now   []string // due at once
		later []string // appended before
		most  Limit
		want  []string
	}{
		"one stream":          {now: []string{"7a", "7b"}, want: []string{"7a 7b"}},
		"stream after stream": {now: []string{"7a", "9a", "7b", "9b"}, want: []string{"7a 7b 9a 9b"}},
		"nothing is due":      {later: []string{"7a", "7b"}},
		"one makes its stream due": {
			later: []string{"7a", "9a", "7b"}, now: []string{"7c"}, want: []string{"7a 7b 7c"},
		},
		"the oldest stream first": {
			later: []string{"7a", "9a"}, now: []string{"9b", "7b"}, want: []string{"7a 7b 9a 9b"},
		},
		"stream 0 is alone":     {now: []string{"0a", "0b", "7a", "0c"}, want: []string{"0a", "0b", "7a", "0c"}},
		"stream 0 ends a group": {now: []string{"7a", "0a", "9a"}, want: []string{"7a", "0a", "9a"}},
		"limit of requests": {
			now: []string{"7a", "7b", "7c", "9a"}, most: Limit{Requests: 2}, want: []string{"7a 7b 9a", "7c"},
		},
		"limit of samples": { // not of the first stream
			now: []string{"7a", "7b", "7c", "9a"}, most: Limit{Samples: 2}, want: []string{"7a 7b 7c", "9a"},
		},
		"limit of bytes": {
			now: []string{"7a", "7b", "7c"}, most: Limit{Bytes: 2*recordOverhead + 4}, want: []string{"7a 7b", "7c"},
		},
		"at least one": {now: []string{"7a", "7b"}, most: Limit{Samples: 1, Bytes: 1}, want: []string{"7a", "7b"}},
		"a further stream comes whole": {
			now: []string{"7a", "7b", "9a", "9b"}, most: Limit{Samples: 3}, want: []string{"7a 7b", "9a 9b"},
		},
		"a further one within its limit": {
			now: []string{"7a", "7b", "9a", "9b"}, most: Limit{Requests: 1, Samples: 3},
			want: []string{"7a 9a", "7b 9b"},
		},
		"the rest waits": {later: []string{"7a", "7b", "7c"}, most: Limit{Requests: 2}},
	} {
		t.Run(name, func(t *testing.T) {
			eachKind(t, func(t *testing.T, q *FIFO) {
				waits(t, q, 0, time.Minute, tc.later...)
				waits(t, q, 0, 0, tc.now...)
				if got := groups(q, 0, tc.most); !slices.Equal(got, tc.want) {
					t.Errorf("groups %q, want %q", got, tc.want)
				}
			})
		})
	}
}

// TestDueTimes: Next says when the next stream is due, a later Due makes earlier requests of the stream due, and Flush
// makes all due.
func TestDueTimes(t *testing.T) {
	eachKind(t, func(t *testing.T, q *FIFO) {
		waits(t, q, 0, 30*time.Second, "7a")
		waits(t, q, 0, 20*time.Second, "9a", "7b")
		if _, state, wait := q.Next(0, Limit{}); state != Later || wait != 20*time.Second {
			t.Errorf("state %d, wait %v; want 20s", state, wait)
		}
		pass(20 * time.Second)
		if got := groups(q, 0, Limit{Requests: 1}); !slices.Equal(got, []string{"7a 9a", "7b"}) {
			t.Errorf("groups %q", got)
		}
		waits(t, q, 0, 30*time.Second, "8a")
		later := time.Now().Add(time.Hour)
		mustAppend(t, q, 0, Record{Data: []byte("8b"), Samples: 1, First: true, Stream: 8, Due: later})
		if got := group(q, 0, Limit{}); got != "-" {
			t.Errorf("group %q, and nothing is due", got)
		}
		q.Flush(0)
		if got := groups(q, 0, Limit{}); !slices.Equal(got, []string{"8a"}) {
			t.Errorf("groups %q, want what was sealed when Flush was called", got)
		}
		q.Seal(0)
		if got := group(q, 0, Limit{}); got != "-" {
			t.Errorf("group %q: it was open when Flush was called", got)
		}
		q.Flush(noReader)
		if got := group(q, 0, Limit{}); got != "8b" || group(q, 0, Limit{Samples: 1}) != "8b" {
			t.Errorf("group %q, want 8b until Ack", got)
		}
	})
}

// TestMemoryPressureMakesDue: a queue in memory gives out what waits before it drops anything, and wakes its readers.
func TestMemoryPressureMakesDue(t *testing.T) {
	size := int64(recordOverhead + 2)
	woken := 0
	q := NewMemory(Config{MaxBytes: 8 * size, Wake: func(int) { woken++ }}, 1)
	waits(t, q, 0, time.Hour, "1a", "2a", "3a", "1b", "2b", "3b")
	if got := group(q, 0, Limit{}); got != "-" || woken != 0 {
		t.Errorf("group %q with three quarters in use, woken %d times", got, woken)
	}
	waits(t, q, 0, time.Hour, "4a")
	if got := group(q, 0, Limit{}); got != "1a 1b 2a 2b 3a 3b" || woken == 0 {
		t.Errorf("group %q, woken %d times", got, woken)
	}
}

// TestResizeMakesDue: what is queued is delivered before what is appended later, so it must not wait.
func TestResizeMakesDue(t *testing.T) {
	eachKind(t, func(t *testing.T, q *FIFO) {
		waits(t, q, 0, time.Hour, "7a", "9a")
		q.Resize(2)
		waits(t, q, 0, 0, "7b")
		if got := groups(q, 0, Limit{}); !slices.Equal(got, []string{"7a 9a", "7b"}) {
			t.Errorf("groups %q", got)
		}
	})
}

// TestOldestLanes: the number of lanes of the oldest requests is known, also to the next process.
func TestOldestLanes(t *testing.T) {
	s := openStore(t, "data", newFakeFS())
	q := openQueue(t, s, "x", 3, quiet())
	oldest := func(when string, want int) {
		if got := q.Stats().OldestLanes; got != want {
			t.Errorf("%s: %d lanes, want %d", when, got, want)
		}
	}
	waits(t, q, 2, 0, "7a")
	q.Resize(1)
	oldest("after a change", 3)
	mustClose(t, q)
	q = openQueue(t, s, "x", 2, quiet())
	oldest("after a restart", 3)
	if got := groups(q, 0, Limit{}); !slices.Equal(got, []string{"7a"}) {
		t.Errorf("groups %q", got)
	}
	oldest("when they are delivered", 2)
	mustClose(t, q)
}

// TestResizeWakes: readers that wait until a request is due learn that a Resize has made it due.
func TestResizeWakes(t *testing.T) {
	woken := 0
	q := NewMemory(Config{Wake: func(int) { woken++ }}, 1)
	q.Resize(1)
	if woken = 0; len(q.gens) != 1 {
		t.Fatal("an empty generation is left")
	}
	waits(t, q, 0, time.Hour, "7a")
	if got := group(q, 0, Limit{}); got != "-" || woken != 0 {
		t.Errorf("group %q, woken %d times", got, woken)
	}
	q.Resize(2)
	if got := group(q, 0, Limit{}); got != "7a" || woken == 0 {
		t.Errorf("group %q, woken %d times", got, woken)
	}
}

// TestWhatWaitsLeavesMemory: the data of requests that are not due soon is on disk only, and is read back for its
// group. That of requests which are due stays.
func TestWhatWaitsLeavesMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := openQueue(t, openStore(t, "data", newFakeFS()), "x", 1, quiet())
		waits(t, q, 0, time.Minute, "7a", "7b", "9a")
		waits(t, q, 0, dueSoon/2, "8a")
		synctest.Wait()
		if s := q.Stats(); s.MemoryBytes != recordOverhead+2 || s.Requests != 4 || s.Samples != 4 ||
			s.Bytes != s.MemoryBytes+3*(headerSize+2) {
			t.Errorf("while they wait: %+v", s)
		}
		waits(t, q, 0, 0, "7c")
		synctest.Wait()
		if got := groups(q, 0, Limit{}); !slices.Equal(got, []string{"7a 7b 7c"}) || q.Stats().ReadRecords != 2 {
			t.Errorf("groups %q, %+v", got, q.Stats())
		}
		if s := q.Stats(); s.ReplayedRecords != 0 {
			t.Errorf("%d records of this process count as replayed", s.ReplayedRecords)
		}
		mustClose(t, q)
	})
}

// TestManyRequestsAreCold: a lane keeps a bounded number of requests in memory, if only by their headers, and finds the
// requests of a stream within a window.
func TestManyRequestsAreCold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 400
		cfg := quiet()
		cfg.requests, cfg.segment = 40, 1000
		fs := newFakeFS()
		q := openQueue(t, openStore(t, "data", fs), "x", 1, cfg)
		inMemory := func() int {
			q.mu.Lock()
			defer q.mu.Unlock()
			return q.newest().lanes[0].requests.n
		}
		check := func(q *FIFO) {
			last := map[byte]string{}
			delivered := 0
			for {
				g, state, _ := q.Next(0, Limit{Requests: 2, Samples: 8})
				if state != Ready {
					break
				}
				delivered += len(g)
				for _, r := range g {
					if s := text(r); s <= last[s[0]] {
						t.Errorf("%s came after %s", s, last[s[0]])
					} else {
						last[s[0]] = s
					}
				}
				if got := q.Stats().Samples; got < n-delivered {
					t.Fatalf("%d samples in the queue, %d delivered", got, delivered)
				}
				q.Ack(0)
			}
			if s := q.Stats(); delivered != n || s.Samples != 0 || s.Requests != 0 || s.Bytes != 0 {
				t.Errorf("%d delivered, %+v", delivered, s)
			}
		}
		fill := func() {
			for i := range n {
				waits(t, q, 0, time.Hour, fmt.Sprintf("%d-%05d", 1+i%5, i))
				if synctest.Wait(); inMemory() > cfg.requests+1 {
					t.Fatalf("%d requests in memory", inMemory())
				}
			}
			q.Flush(0)
		}
		fill()
		if q.Stats().Requests != n {
			t.Errorf("%+v", q.Stats())
		}
		check(q)
		fill()
		after := fs.kill()
		mustClose(t, q)
		q = openQueue(t, openStore(t, "data", after), "x", 1, cfg)
		check(q)
		mustClose(t, q)
	})
}

// TestFoundRequestsAreABarrier: what a start found is due, and is delivered before anything newer of its lane.
func TestFoundRequestsAreABarrier(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := newFakeFS()
		s := openStore(t, "data", fs)
		q := openQueue(t, s, "x", 1, quiet())
		waits(t, q, 0, time.Hour, "7a", "9a", "7b")
		mustClose(t, q)
		q = openQueue(t, s, "x", 1, quiet())
		waits(t, q, 0, 0, "5a", "7c")
		var got []string
		for g := group(q, 0, Limit{Requests: 1, Samples: 1}); g != ""; g = group(q, 0, Limit{Requests: 1, Samples: 1}) {
			got = append(got, g)
			q.Ack(0)
		}
		if want := []string{"7a", "9a", "7b", "5a", "7c"}; !slices.Equal(got, want) {
			t.Errorf("groups %q, want %q", got, want)
		}
		mustClose(t, q)
	})
}

// BenchmarkWaiting has about 3,000 waiting requests of 1,000 streams in a lane. Each step appends a request and calls
// Next; each sixth request of a stream makes it due, and its group is delivered.
func BenchmarkWaiting(b *testing.B) {
	const streams, together, size = 1000, 6, 1 << 10
	for _, kind := range []string{"memory", "disk"} {
		b.Run(kind, func(b *testing.B) {
			q := NewMemory(DefaultConfig(), 1)
			if kind == "disk" {
				s, err := OpenStore(b.TempDir(), OS())
				if err != nil {
					b.Fatal(err)
				}
				if q, err = s.Open("x", 1, DefaultConfig()); err != nil {
					b.Fatal(err)
				}
			}
			n, delivered := 0, 0
			step := func() {
				stream := n % streams
				now := time.Now()
				r := Record{
					Data: make([]byte, size), Samples: 1, Oldest: now.UnixMilli(), Newest: now.UnixMilli(),
					First: true, Stream: uint64(1 + stream),
				}
				if (n/streams+stream)%together > 0 {
					r.Due = now.Add(time.Hour)
				}
				n++
				if _, err := q.Append(0, r); err != nil {
					b.Fatal(err)
				}
				q.Seal(0)
				for kind == "disk" && n%100 == 0 && pendingRecords(q) > 0 {
					runtime.Gosched()
				}
				if g, state, _ := q.Next(0, Limit{Requests: together}); state == Ready {
					delivered += len(g)
					q.Ack(0)
				}
			}
			for range streams * together {
				step()
			}
			b.ReportAllocs()
			for b.Loop() {
				step()
			}
			b.ReportMetric(float64(n-delivered), "waiting")
			if _, err := q.Close(); err != nil {
				b.Error(err)
			}
		})
	}
}

// pendingRecords returns how many records of the first lane are not written.
func pendingRecords(q *FIFO) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.newest().lanes[0].pending
}
