package queue

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// lives delivers everything that is due in a queue opened on files, as texts of groups.
func lives(t *testing.T, fs *fakeFS, cfg Config) (got []string, stats Stats) {
	t.Helper()
	q := openQueue(t, openStore(t, "data", fs), "x", 1, cfg)
	stats = q.Stats()
	got = groups(q, 0, Limit{})
	mustClose(t, q)
	return got, stats
}

// TestKilledBetweenGroups: streams leave the middle of a lane. After a kill exactly what was in flight is repeated, and
// marked; nothing that was acknowledged is, and nothing is counted as lost.
func TestKilledBetweenGroups(t *testing.T) {
	for name, tc := range map[string]struct {
		segment int64
		acks    int
		flying  bool
		want    []string
	}{
		"before the first":       {want: []string{"7a 7b 7c 9a 9b 9c 8a 8b"}},
		"the first in flight":    {flying: true, want: []string{"7a? 7b? 7c?", "9a 9b 9c 8a 8b"}},
		"one acknowledged":       {acks: 1, want: []string{"9a 9b 9c 8a 8b"}},
		"the second in flight":   {acks: 1, flying: true, want: []string{"9a? 9b? 9c?", "8a 8b"}},
		"two acknowledged":       {acks: 2, want: []string{"8a 8b"}},
		"the last in flight":     {acks: 2, flying: true, want: []string{"8a? 8b?"}},
		"all acknowledged":       {acks: 3},
		"segments of two":        {acks: 1, segment: 100, want: []string{"9a 9b 9c 8a 8b"}},
		"segments of two, later": {acks: 1, segment: 100, flying: true, want: []string{"9a? 9b? 9c?", "8a 8b"}},
		"segments of one":        {acks: 2, segment: 1, flying: true, want: []string{"8a? 8b?"}},
	} {
		for _, wait := range []time.Duration{0, time.Minute} { // data stays in memory or does not
			t.Run(fmt.Sprint(name, ", ", wait), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var reported losses
					cfg := quiet()
					cfg.segment, cfg.Lost = tc.segment, reported.take
					fs := newFakeFS()
					q := openQueue(t, openStore(t, "data", fs), "x", 1, cfg)
					waits(t, q, 0, wait, "7a", "9a", "8a", "7b", "9b", "8b", "7c", "9c")
					q.Flush(0)
					synctest.Wait()
					for range tc.acks {
						q.Next(0, Limit{Samples: 3})
						q.Ack(0)
					}
					if tc.flying {
						q.Next(0, Limit{Samples: 3})
					}
					synctest.Wait()
					after := fs.kill()
					_, _ = q.Close()
					again := fs.kill()
					got, stats := lives(t, after, cfg)
					if !slices.Equal(got, tc.want) || stats.Samples != samplesOf(tc.want) {
						t.Errorf("after a kill %q, %d samples, want %q", got, stats.Samples, tc.want)
					}
					if left := segments(after); len(left) > 0 {
						t.Errorf("left: %q", left)
					}
					q = openQueue(t, openStore(t, "data", again), "x", 1, cfg) // and killed at once
					third := again.kill()
					mustClose(t, q)
					if got, _ := lives(t, third, cfg); !slices.Equal(got, tc.want) {
						t.Errorf("after two kills %q, want %q", got, tc.want)
					}
					if reported.of(Damaged) != (Loss{}) {
						t.Errorf("reported %+v", reported.of(Damaged))
					}
				})
			})
		}
	}
}

func samplesOf(groups []string) int { return len(strings.Fields(strings.Join(groups, " "))) }

// TestKilledWhileARequestInFlightIsWritten ends the process before each call of the file system, from an Append until
// after the Ack: if a request is delivered again, it is marked.
func TestKilledWhileARequestInFlightIsWritten(t *testing.T) {
	for name, story := range map[string]killStory{
		"written, given out":                 func(next, ack, goOn func()) { synctest.Wait(); next() },
		"given out at once":                  func(next, ack, goOn func()) { next(); synctest.Wait() },
		"given out and acknowledged at once": func(next, ack, goOn func()) { next(); ack() },
		"given out while it is written":      func(next, ack, goOn func()) { synctest.Wait(); next(); goOn() },
		"acknowledged while it is written":   func(next, ack, goOn func()) { synctest.Wait(); next(); ack(); goOn() },
		"acknowledged while its end is written": func(next, ack, goOn func()) {
			synctest.Wait()
			next()
			ack()
			goOn()
		},
	} {
		for _, size := range []int{1, batchBytes * 2 / 3} { // the requests have two records each, in one batch or two
			t.Run(fmt.Sprint(name, ", ", size), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { killedAtEachCall(t, size, nil, story) })
			})
			t.Run(fmt.Sprint(name, ", with a layout, ", size), func(t *testing.T) {
				layout := &Layout{Data: make([]byte, size)}
				synctest.Test(t, func(t *testing.T) { killedAtEachCall(t, size, layout, story) })
			})
		}
	}
}

// killStory gives out and acknowledges a request. In the stories with "while" in their names, writes hang until goOn.
type killStory func(next, ack, goOn func())

// hang makes writes of segments wait until a channel is closed.
func (fs *fakeFS) hang(until chan struct{}) {
	fs.Mu.Lock()
	defer fs.Mu.Unlock()
	fs.Hold = waitsFor(until, "write", segmentSuffix)
}

func killedAtEachCall(t *testing.T, size int, layout *Layout, story killStory) {
	type end struct {
		fs    *fakeFS
		given int // requests
	}
	var ends []end
	given := 0
	fs := newFakeFS()
	q := openQueue(t, openStore(t, "data", fs), "x", 1, quiet())
	synctest.Wait()
	fs.Mu.Lock()
	fs.Fail = func(string, string, int) error {
		after := newFakeFS()
		after.Dirs = maps.Clone(fs.Dirs)
		for name, d := range fs.Names {
			after.Names[name] = &fakeData{Content: slices.Clone(d.Content)}
		}
		ends = append(ends, end{after, given})
		return nil
	}
	fs.Mu.Unlock()
	for i := range 3 {
		hanging := make(chan struct{})
		goOn := func() {
			fs.hang(nil)
			close(hanging)
			synctest.Wait()
		}
		next := func() {
			q.Next(0, Limit{})
			fs.Mu.Lock()
			given = i + 1
			fs.Mu.Unlock()
		}
		if while := strings.Contains(t.Name(), "while"); while && !strings.Contains(t.Name(), "its_end") {
			fs.hang(hanging)
		}
		for first := range 2 {
			if strings.Contains(t.Name(), "its_end") && first == 1 {
				synctest.Wait() // the first record is written
				fs.hang(hanging)
			}
			data := append(fmt.Append(nil, i), make([]byte, size)...)
			r := Record{Data: data, Samples: 1, Oldest: 1, Newest: 1, First: first == 0, Stream: 7, Layout: layout}
			if mustAppend(t, q, 0, r); layout != nil {
				break
			}
		}
		q.Seal(0)
		story(next, func() { q.Ack(0) }, goOn)
		synctest.Wait()
		q.Ack(0)
		synctest.Wait()
		if s := q.Stats(); s.Samples != 0 || s.Requests != 0 {
			t.Fatalf("%+v", s)
		}
		q.mu.Lock()
		l := q.newest().lanes[0]
		if a := l.active; a != nil && (!a.delivered() || a.taken != 0 || l.acked != l.end) {
			t.Errorf("all is delivered, the position is %v of %v: %+v", l.acked, l.end, a)
		}
		q.mu.Unlock()
	}
	after := fs.kill()
	_, _ = q.Close()
	ends = append(ends, end{after, given})
	if got, _ := lives(t, after, quiet()); len(got) > 0 {
		t.Errorf("delivered again: %d groups", len(got))
	}
	for i, e := range ends[:len(ends)-1] {
		var lost losses
		cfg := quiet()
		cfg.Lost = lost.take
		q := openQueue(t, openStore(t, "data", e.fs), "x", 1, cfg)
		for g, state, _ := q.Next(0, Limit{}); state == Ready; g, state, _ = q.Next(0, Limit{}) {
			for _, r := range g {
				if n := int(r.Records[0].Data[0] - '0'); n < e.given && !r.MayHaveArrived {
					t.Errorf("killed before call %d: request %d is not marked", i, n)
				}
			}
			q.Ack(0)
		}
		if got := lost.of(Damaged); got != (Loss{}) {
			t.Errorf("killed before call %d: reported %+v", i, got)
		}
		mustClose(t, q)
	}
}

// TestStoppedWithAGroupInFlight: a stop in order leaves what was in flight in doubt, and the count of the samples that
// it left is right.
func TestStoppedWithAGroupInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var reported losses
		cfg := quiet()
		cfg.Lost = reported.take
		fs := newFakeFS()
		s := openStore(t, "data", fs)
		q := openQueue(t, s, "x", 1, cfg)
		waits(t, q, 0, time.Minute, "7a", "9a", "8a", "7b", "9b", "8b")
		q.Flush(0)
		synctest.Wait()
		for _, want := range []string{"7a 7b", "9a 9b"} {
			if got := group(q, 0, Limit{Samples: 2}); got != want {
				t.Fatalf("group %q, want %q", got, want)
			}
			if want == "7a 7b" {
				q.Ack(0)
			}
		}
		mustClose(t, q)
		q = openQueue(t, s, "x", 1, cfg)
		if got := groups(q, 0, Limit{}); !slices.Equal(got, []string{"9a? 9b?", "8a 8b"}) {
			t.Errorf("groups %q", got)
		}
		mustClose(t, q)
		if reported.of(Damaged) != (Loss{}) {
			t.Errorf("reported %+v", reported.of(Damaged))
		}
	})
}

// TestNumbersOfDeliveredSegmentsAreNotUsedAgain: the newest segment is delivered and removed before older ones, and the
// position lists it. A new segment must not get its number, or it would be taken for delivered.
func TestNumbersOfDeliveredSegmentsAreNotUsedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := quiet()
		cfg.segment = 1
		fs := newFakeFS()
		q := openQueue(t, openStore(t, "data", fs), "x", 1, cfg)
		waits(t, q, 0, time.Hour, "7a")
		waits(t, q, 0, 0, "9a", "9b", "9c")
		synctest.Wait()
		if got := groups(q, 0, Limit{}); !slices.Equal(got, []string{"9a 9b 9c"}) {
			t.Fatalf("groups %q", got)
		}
		synctest.Wait()
		q.mu.Lock()
		if l := q.newest().lanes[0]; len(l.delivered) != 1 {
			t.Errorf("extents of segments that are removed: %v", l.delivered)
		}
		q.mu.Unlock()
		for i := range 4 {
			after := fs.kill()
			_, _ = q.Close()
			fs = after
			q = openQueue(t, openStore(t, "data", fs), "x", 1, cfg)
			if i > 0 { // else it removes the last delivered segment, and is killed
				waits(t, q, 0, 0, "8a", "8b", "8c")
			}
			synctest.Wait()
		}
		var got []string
		for _, g := range groups(q, 0, Limit{}) {
			got = append(got, strings.Fields(g)...)
		}
		if want := "7a 8a 8b 8c 8a 8b 8c 8a 8b 8c"; strings.Join(got, " ") != want {
			t.Errorf("delivered %q, want %s", got, want)
		}
		mustClose(t, q)
	})
}

// TestAnEmptiedSegmentKeepsThePosition: a dropped segment that could not be removed was emptied, and the process was
// killed before the position moved on. What is delivered behind it is not delivered again.
func TestAnEmptiedSegmentKeepsThePosition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := quiet()
		cfg.segment = headerSize + 3 // two requests each
		fs := newFakeFS()
		q := openQueue(t, openStore(t, "data", fs), "x", 1, cfg)
		waits(t, q, 0, 0, "9a")
		waits(t, q, 0, time.Hour, "7a")
		waits(t, q, 0, 0, "9b")
		waits(t, q, 0, time.Hour, "7b")
		synctest.Wait()
		if got := groups(q, 0, Limit{}); !slices.Equal(got, []string{"9a 9b"}) {
			t.Fatalf("groups %q", got)
		}
		after := fs.kill()
		_, _ = q.Close()
		after.Names[segments(after)[0]].Content = nil
		if got, _ := lives(t, after, cfg); !slices.Equal(got, []string{"7b"}) {
			t.Errorf("groups %q, want 7b", got)
		}
	})
}

// TestAnExtentThatFitsNoRequest: a position says that the first record of a request is delivered. The others depend on
// it, so they are not delivered either.
func TestAnExtentThatFitsNoRequest(t *testing.T) {
	fs := backlog(t, quiet(), threeRecords(t))
	_, d := fs.file(t, positionSuffix)
	d.Content = slot{counter: 9, delivered: extents{{1, span{oneAt, twoAt}}}}.append(nil)
	if got := reopen(t, fs, quiet()); !slices.Equal(got.requests, []string{"three"}) || got.lost != (Loss{}) {
		t.Errorf("delivered %q, reported %+v", got.requests, got.lost)
	}
}

// TestMoreExtentsThanASlotHas: what a position has no room for is delivered again after a kill, and is marked.
func TestMoreExtentsThanASlotHas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = maxExtents + 1000
		fs := newFakeFS()
		q := openQueue(t, openStore(t, "data", fs), "x", 1, quiet())
		delivered := 0
		for i := range n {
			waits(t, q, 0, time.Hour, fmt.Sprint("7", i))
			waits(t, q, 0, 0, fmt.Sprint("9", i))
			if i%500 < 499 && i < n-1 {
				continue
			}
			synctest.Wait()
			for {
				g, state, _ := q.Next(0, Limit{Samples: 1000})
				if state != Ready {
					break
				}
				delivered += len(g)
				q.Ack(0)
			}
		}
		after := fs.kill()
		_, _ = q.Close()
		q = openQueue(t, openStore(t, "data", after), "x", 1, quiet())
		count := map[string]int{}
		for {
			g, state, _ := q.Next(0, Limit{Samples: 100})
			if state != Ready {
				break
			}
			for _, r := range g {
				count[fmt.Sprint(text(r)[:1], r.MayHaveArrived)]++
			}
			q.Ack(0)
		}
		mustClose(t, q)
		if delivered != n || count["7true"]+count["7false"] != n || count["9false"] != 0 || count["9true"] == 0 ||
			count["9true"] > n/2 {
			t.Errorf("%d delivered, then %v of %d each", delivered, count, n)
		}
	})
}

// TestOldRecordsAreRead: records of version 1 are of stream 0, and the first may have arrived if no position says more.
func TestOldRecordsAreRead(t *testing.T) {
	for name, position := range map[string][]byte{
		"no position":       nil,
		"position":          oldSlot(1, 0, 3, 0),
		"a later position":  oldSlot(1, 49, 3, 0),
		"damaged positions": make([]byte, oldSlotStride),
	} {
		t.Run(name, func(t *testing.T) {
			fs := newFakeFS()
			dir := join("data", queuePrefix+"x")
			var b []byte
			for i, text := range []string{"a", "b", "c"} {
				b = append(b, oldRecord(text, i == 0 || i == 2, i, 1_700_000_000_000)...)
			}
			n := laneName{1, 1, 0}
			fs.Names[join(dir, n.segment(1))] = &fakeData{Content: append(oldRecord("0", true, 7, 5), b...)}
			if position != nil {
				fs.Names[join(dir, n.position())] = &fakeData{Content: position}
			}
			q := openQueue(t, openStore(t, "data", fs), "x", 1, quiet())
			want := []string{"0?", "ab", "c"}
			if name == "a later position" {
				want = []string{"ab?", "c"}
			}
			if got := q.Stats(); got.Samples != len(strings.Join(want, ""))-1 || got.CorruptRecords != 0 {
				t.Errorf("%+v", got)
			}
			var got []string
			for g, state, _ := q.Next(0, Limit{}); state == Ready; g, state, _ = q.Next(0, Limit{}) {
				if got = append(got, text(g[0])); g[0].MayHaveArrived {
					got[len(got)-1] += "?"
				}
				if len(g) != 1 || g[0].Stream != 0 || text(g[0]) != "0" && g[0].Newest != 1_700_000_000_000 {
					t.Errorf("%d requests, the first: %+v", len(g), g[0])
				}
				q.Ack(0)
			}
			if !slices.Equal(got, want) {
				t.Errorf("delivered %q, want %q", got, want)
			}
			mustClose(t, q)
		})
	}
}

// oldRecord returns a record of version 1 with one sample.
func oldRecord(data string, first bool, before int, at int64) []byte {
	b := make([]byte, headerSize)
	le := binary.LittleEndian
	copy(b, magic[:])
	if b[4] = 1; first {
		b[5] = flagFirst
	}
	le.PutUint32(b[8:], uint32(len(data)))
	le.PutUint32(b[12:], checksum([]byte(data)))
	le.PutUint64(b[16:], uint64(before))
	le.PutUint64(b[24:], uint64(at))
	le.PutUint64(b[32:], uint64(at))
	le.PutUint32(b[40:], 1)
	reseal(b)
	return append(b, data...)
}

// oldSlot returns a slot of version 1.
func oldSlot(seq uint32, offset int64, counter uint64, left uint32) []byte {
	b := make([]byte, oldSlotSize)
	le := binary.LittleEndian
	copy(b, positionMagic[:])
	b[4] = 1
	le.PutUint32(b[8:], seq)
	le.PutUint32(b[12:], left)
	le.PutUint64(b[16:], counter)
	le.PutUint64(b[24:], uint64(offset))
	le.PutUint32(b[36:], checksum(b[:36]))
	return b
}

// TestTheFirstSlotAfterAnUpgrade: the slots of version 1 are both in the place of the first slot of version 2, so the
// other place is written first. Torn, it leaves the old position.
func TestTheFirstSlotAfterAnUpgrade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := halfDelivered(t)
		_, d := fs.file(t, positionSuffix)
		old := append(oldSlot(1, 49, 2, 0), make([]byte, oldSlotStride-oldSlotSize)...)
		d.Content = append(old, oldSlot(1, 2*49, 3, 0)...)
		q := openQueue(t, openStore(t, "data", fs), "x", 1, quiet())
		if r, ok := next(q, 0); !ok || text(r) != "2" || !r.MayHaveArrived {
			t.Errorf("first is %+v", r)
		}
		_, d = fs.file(t, positionSuffix)
		if len(d.Content) <= slotStride || !slices.Equal(d.Content[:oldSlotSize], old[:oldSlotSize]) {
			t.Errorf("the old slots are overwritten first: %d bytes", len(d.Content))
		}
		after := fs.kill()
		mustClose(t, q)
		_, d = after.file(t, positionSuffix)
		d.Content = d.Content[:slotStride+7]
		if got := reopen(t, after, quiet()); !slices.Equal(got.requests, []string{"2", "3"}) {
			t.Errorf("delivered %q", got.requests)
		}
	})
}

// TestDamageInGroups: damage costs the requests that it hits, not the others of a group, and is counted once.
func TestDamageInGroups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var reported losses
		cfg := quiet()
		cfg.Lost = reported.take
		fs := newFakeFS()
		q := openQueue(t, openStore(t, "data", fs), "x", 1, cfg)
		waits(t, q, 0, time.Minute, "7a", "9a", "7b", "9b", "7c", "9c")
		synctest.Wait()
		const size = headerSize + 2
		fs.Mu.Lock()
		_, d := fs.file(t, segmentSuffix)
		d.Content[2*size+headerSize] ^= 1 // the data of 7b
		d.Content[3*size] ^= 1            // the header of 9b
		fs.Mu.Unlock()
		q.Flush(0)
		if got := group(q, 0, Limit{}); got != "7a 7c 9a 9c" || reported.of(Damaged) != (Loss{2, 2}) {
			t.Errorf("group %q, reported %+v", got, reported.of(Damaged))
		}
		after := fs.kill()
		_, _ = q.Close()
		if got, _ := lives(t, after, cfg); !slices.Equal(got, []string{"7a? 7c? 9a? 9c?"}) ||
			reported.of(Damaged) != (Loss{2, 2}) {
			t.Errorf("after a kill %q, reported %+v", got, reported.of(Damaged))
		}
	})
}

// TestReadErrorInAGroup: what is before the request that cannot be read is given out. The rest of its segment is given
// up in the end.
func TestReadErrorInAGroup(t *testing.T) {
	for _, heals := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			var reported losses
			cfg := quiet()
			cfg.segment, cfg.Lost = 100, reported.take // two requests each
			cfg.Wake = func(int) {}
			fs := newFakeFS()
			q := openQueue(t, openStore(t, "data", fs), "x", 1, cfg)
			waits(t, q, 0, time.Minute, "7a", "9a", "7b", "9b", "7c", "9c")
			synctest.Wait()
			bad := segments(fs)[1]
			fs.Mu.Lock()
			fs.Fail = func(call, name string, _ int) error {
				if call == "read" && name == bad {
					return syscall.EIO
				}
				return nil
			}
			fs.Mu.Unlock()
			q.Flush(0)
			var got []string
			for range 3 * maxReadTries {
				got = append(got, groups1(q)...)
				if pass(maxBackoff); heals {
					fs.heal()
				}
			}
			want, lost := []string{"7a", "9a", "7c 9c"}, Loss{2, 2}
			if heals {
				want, lost = []string{"7a", "9a 9b 9c 7b 7c"}, Loss{}
			}
			if !slices.Equal(got, want) || reported.of(Damaged) != lost {
				t.Errorf("heals %v: groups %q, reported %+v", heals, got, reported.of(Damaged))
			}
			if s := q.Stats(); s.Samples != 0 || s.Requests != 0 || s.Bytes != 0 {
				t.Errorf("at the end %+v", s)
			}
			mustClose(t, q)
		})
	}
}

func groups1(q *FIFO) (all []string) {
	for {
		g, state, _ := q.Next(0, Limit{})
		if state != Ready {
			return all
		}
		var texts []string
		for _, r := range g {
			texts = append(texts, text(r))
		}
		all = append(all, strings.Join(texts, " "))
		q.Ack(0)
	}
}

// TestDroppedSegmentsAndDeliveredOnes: a full disk drops the oldest segments, also those of which a part is delivered.
// What is counted as lost is not delivered after a kill, even if the file stays.
func TestDroppedSegmentsAndDeliveredOnes(t *testing.T) {
	for _, calls := range [][]string{{}, {"remove"}} {
		synctest.Test(t, func(t *testing.T) {
			var reported losses
			cfg := quiet()
			cfg.MaxBytes, cfg.segment, cfg.Lost = minSegmentBytes, 4<<10, reported.take
			fs := newFakeFS()
			q := openQueue(t, openStore(t, "data", fs), "x", 1, cfg)
			synctest.Wait()
			fs.breakWith(syscall.EPERM, calls...)
			pad := strings.Repeat(".", 1000)
			delivered := 0
			for i := range 200 {
				waits(t, q, 0, time.Hour, fmt.Sprint("7", i, pad))
				waits(t, q, 0, 0, fmt.Sprint("9", i, pad))
				synctest.Wait()
				delivered += samplesOf(groups(q, 0, Limit{}))
			}
			lost := reported.of(QueueFull)
			after := fs.kill()
			_, _ = q.Close()
			got, _ := lives(t, after, cfg)
			if n := samplesOf(got); delivered != 200 || n+lost.Samples != 200 || lost.Requests != lost.Samples {
				t.Errorf("%q: %d delivered, then %d, reported %+v", calls, delivered, n, lost)
			}
		})
	}
}

// TestRenewedWithDeliveredParts: a segment whose sync failed is written again. Delivered parts are not needed, and the
// offsets in the position stay right.
func TestRenewedWithDeliveredParts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := newFakeFS()
		cfg := quiet()
		q := openQueue(t, openStore(t, "data", fs), "x", 1, cfg)
		fs.failSyncs(segmentSuffix, 2)
		waits(t, q, 0, time.Hour, "7a")
		waits(t, q, 0, 0, "9a")
		waits(t, q, 0, time.Hour, "7b")
		synctest.Wait()
		if got := groups(q, 0, Limit{}); !slices.Equal(got, []string{"9a"}) {
			t.Errorf("groups %q", got)
		}
		pass(time.Minute)
		synctest.Wait()
		if s := q.Stats(); s.DiskError != "" || s.SyncErrors != 2 {
			t.Errorf("%+v", s)
		}
		after := fs.kill()
		_, _ = q.Close()
		if got, stats := lives(t, after, cfg); !slices.Equal(got, []string{"7a 7b"}) || stats.CorruptRecords != 0 {
			t.Errorf("after a kill %q, %+v", got, stats)
		}
	})
}
