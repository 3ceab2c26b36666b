package queue

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	simdisk "github.com/envoy-scraper/envoy-scraper/internal/simulate/disk"
)

// withLayout is a record of stream 7 with a layout.
func withLayout(data string, layout *Layout) Record {
	r := record(data, true)
	r.Stream, r.Layout = 7, layout
	return r
}

// kinds returns the records of a segment: L for a copy of a layout, r for a record that refers to the last copy before
// it, p for a record without a layout, P for a copy of a layout of an earlier version.
func kinds(t *testing.T, segment []byte) (s string) {
	t.Helper()
	last := layoutRef{}
	for at := 0; at < len(segment); {
		h, ok := parseHeader(segment[at:])
		if !ok {
			t.Fatalf("no header at %d of %q", at, segment)
		}
		data := segment[at+headerSize:][:h.length]
		if !h.first && h.stream != 0 {
			t.Errorf("the record at %d is not first, and has stream %d", at, h.stream)
		}
		switch h.kind {
		case kindPackedLayout:
			s, last = s+"P", layoutRef{uint32(at), h.crc}
		case kindLayout:
			s, last = s+"L", layoutRef{uint32(at), h.crc}
		case kindWithLayout:
			if _, ref := cutLayoutRef(data); ref != last {
				t.Errorf("the record at %d refers to %+v, want %+v", at, ref, last)
			}
			s += "r"
		default:
			s += "p"
		}
		at += int(h.size())
	}
	return s
}

// TestLayoutIsWrittenOncePerSegment: a layout is written once to a segment, and again after layoutUses records.
func TestLayoutIsWrittenOncePerSegment(t *testing.T) {
	cfg := quiet()
	cfg.segment = 12_000
	layout := &Layout{Data: bytes.Repeat([]byte("L"), 1000)}
	const n = 200
	fs := backlog(t, cfg, func(q *FIFO) {
		for i := range n {
			mustAppend(t, q, 0, withLayout(fmt.Sprintf("%03d", i), layout))
		}
		eventually(t, "all is written", func() bool { return q.Stats().WrittenRecords == n })
		if s := q.Stats(); s.WrittenBytes != s.DiskBytes || s.Samples != n || s.Requests != n {
			t.Errorf("%+v", s)
		}
	})
	var got []string
	for _, name := range segments(fs) {
		got = append(got, kinds(t, fs.Names[name].Content))
	}
	r := strings.Repeat("r", layoutUses)
	if want := []string{"L" + r + "L" + r + "L" + r[:23], "L" + r[:n-2*layoutUses-23]}; !slices.Equal(got, want) {
		t.Errorf("segments %q, want %q", got, want)
	}
	store := openStore(t, "data", fs)
	if ids, err := store.Identities(); err != nil || len(ids) != 1 || ids[0].Requests != n || ids[0].Samples != n {
		t.Errorf("identities %+v, %v", ids, err)
	}
	q := openQueue(t, store, "x", 1, cfg)
	if s := q.Stats(); s.Requests != n || s.Samples != n {
		t.Errorf("after the start: %+v", s)
	}
	g, state, _ := q.Next(0, Limit{})
	if state != Ready || len(g) != n {
		t.Fatalf("%d requests, state %v", len(g), state)
	}
	for i, r := range g {
		rec := r.Records[0]
		if string(rec.Data) != fmt.Sprintf("%03d", i) || rec.Layout != g[0].Records[0].Layout || !rec.First ||
			len(r.Records) != 1 || r.Stream != 7 || r.Bytes != int64(len(rec.Data))+recordOverhead {
			t.Errorf("request %d: %+v", i, r)
		}
	}
	if got := g[0].Records[0].Layout; !bytes.Equal(got.Data, layout.Data) {
		t.Errorf("layout %q", got.Data)
	}
	if s := q.Stats(); s.MemoryBytes != n*(recordOverhead+3)+1000 || s.ReadRecords != n {
		t.Errorf("%+v", s)
	}
	q.Ack(0)
	if s := q.Stats(); s.MemoryBytes != 0 || s.Bytes != 0 {
		t.Errorf("after Ack: %+v", s)
	}
	mustClose(t, q)
}

// TestSegmentsWithManyLayoutsGrow: a segment ends at its usual size if layouts are at most a quarter of it, else later.
func TestSegmentsWithManyLayoutsGrow(t *testing.T) {
	const mib = 4
	usual, most := Config{MaxBytes: mib << 20}.segmentBytes()
	if usual != minSegmentBytes || most != mib<<20/16 {
		t.Fatalf("segments of %d bytes, at most %d", usual, most)
	}
	for name, tc := range map[string]struct {
		layout, data int
		want         int64 // of the first segment
	}{
		"no layout": {0, 1000, usual},
		"small":     {4000, 1000, usual},
		"large":     {30_000, 2000, 4 * (30_000 + headerSize)},
		"huge":      {100_000, 100, most},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := quiet()
			cfg.MaxBytes = mib << 20
			var layout *Layout
			if tc.layout > 0 {
				layout = &Layout{Data: make([]byte, tc.layout)}
			}
			fs := backlog(t, cfg, func(q *FIFO) {
				for range 400 {
					waitsWith(t, q, 0, 0, layout, "7"+strings.Repeat("x", tc.data))
				}
			})
			got := int64(len(fs.Names[segments(fs)[0]].Content))
			if last := int64(tc.layout + tc.data + 3*headerSize); got < tc.want || got > tc.want+last {
				t.Errorf("the first segment has %d bytes, want %d and a request at most", got, tc.want)
			}
		})
	}
}

// TestLayoutsOfManyStreamsAndRecordsWithout: each record gets its own layout back, whatever is between.
func TestLayoutsOfManyStreamsAndRecordsWithout(t *testing.T) {
	a, b := &Layout{Data: []byte("A")}, &Layout{Data: []byte{}}
	fs := backlog(t, quiet(), func(q *FIFO) {
		waitsWith(t, q, 0, 0, a, "7a")
		waitsWith(t, q, 0, 0, b, "9b")
		waits(t, q, 0, 0, "7c")
		waitsWith(t, q, 0, 0, b, "7d")
		waitsWith(t, q, 0, 0, a, "9e")
	})
	_, d := fs.file(t, segmentSuffix)
	h, _ := parseHeader(d.Content)
	if h.stream != 7 || h.kind != kindLayout {
		t.Errorf("the first header: %+v", h)
	}
	got, _ := lives(t, fs, quiet())
	if want := []string{"7a+A 7c 7d+ 9b+ 9e+A"}; !slices.Equal(got, want) {
		t.Errorf("groups %q, want %q", got, want)
	}
}

// TestLimitInBytesWithLayouts: requests that a start found are as large as they were before, without their layouts.
func TestLimitInBytesWithLayouts(t *testing.T) {
	layout := &Layout{Data: make([]byte, 1000)}
	fill := func(q *FIFO) { waitsWith(t, q, 0, 0, layout, "7a", "7b", "7c") }
	most := Limit{Bytes: 2 * (recordOverhead + 2)}
	found := openQueue(t, openStore(t, "data", backlog(t, quiet(), fill)), "x", 1, quiet())
	appended := NewMemory(quiet(), 1)
	fill(appended)
	for _, q := range []*FIFO{found, appended} {
		for _, want := range []int{2, 1} {
			if g, _, _ := q.Next(0, most); len(g) != want {
				t.Errorf("%d requests, want %d", len(g), want)
			}
			q.Ack(0)
		}
		mustClose(t, q)
	}
}

// TestLayoutDeliveredWhileItIsWritten: the next record refers to the copy of a request that was acknowledged before its
// write ended.
func TestLayoutDeliveredWhileItIsWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := newFakeFS()
		q := openQueue(t, openStore(t, "data", fs), "x", 1, quiet())
		synctest.Wait()
		hanging := make(chan struct{})
		fs.hang(hanging)
		layout := &Layout{Data: []byte("L")}
		waitsWith(t, q, 0, 0, layout, "7a")
		synctest.Wait()
		if got := groups(q, 0, Limit{}); !slices.Equal(got, []string{"7a+L"}) {
			t.Errorf("groups %q", got)
		}
		fs.hang(nil)
		close(hanging)
		synctest.Wait()
		waitsWith(t, q, 0, time.Hour, layout, "7b")
		synctest.Wait()
		after := fs.kill()
		_, _ = q.Close()
		if _, d := after.file(t, segmentSuffix); kinds(t, d.Content) != "Lrr" {
			t.Errorf("segment %q", kinds(t, d.Content))
		}
		if got, _ := lives(t, after, quiet()); !slices.Equal(got, []string{"7b+L"}) {
			t.Errorf("after a kill %q", got)
		}
	})
}

// TestDeliveredLayoutIsStillRead: the request that has the copy of a layout is delivered before the process ends.
func TestDeliveredLayoutIsStillRead(t *testing.T) {
	for _, killed := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			fs := newFakeFS()
			layout := &Layout{Data: []byte("L")}
			s := openStore(t, "data", fs)
			q := openQueue(t, s, "x", 1, quiet())
			waitsWith(t, q, 0, 0, layout, "9a")
			synctest.Wait()
			if got := groups(q, 0, Limit{}); !slices.Equal(got, []string{"9a+L"}) {
				t.Errorf("groups %q", got)
			}
			waitsWith(t, q, 0, time.Hour, layout, "7b", "7c")
			synctest.Wait()
			if _, d := fs.file(t, segmentSuffix); kinds(t, d.Content) != "Lrrr" {
				t.Errorf("segment %q", kinds(t, d.Content))
			}
			after := fs
			if killed {
				after = fs.kill()
				_, _ = q.Close()
			} else {
				mustClose(t, q)
				mustDo(t, s.Close())
			}
			if got, stats := lives(t, after, quiet()); !slices.Equal(got, []string{"7b+L 7c+L"}) || stats.Samples != 2 {
				t.Errorf("killed %v: groups %q, %+v", killed, got, stats)
			}
		})
	}
}

// TestRenewedLayouts: a sync fails and takes what was written from readers, including a layout whose request is
// delivered. The new file has it, from memory, and a record that refers to it, whether or not the segment is sealed.
func TestRenewedLayouts(t *testing.T) {
	for i := range 8 {
		evict, kept, isSealed := i&1 > 0, i&2 > 0, i&4 > 0 // kept: 7b, in memory
		synctest.Test(t, func(t *testing.T) {
			fs := newFakeFS()
			fs.Evict = evict
			cfg := quiet()
			if isSealed {
				cfg.segment = 120 // two requests
			}
			q := openQueue(t, openStore(t, "data", fs), "x", 1, cfg)
			layout := &Layout{Data: []byte("layout")}
			waitsWith(t, q, 0, 0, layout, "9a")
			synctest.Wait()
			if got := groups(q, 0, Limit{}); !slices.Equal(got, []string{"9a+layout"}) {
				t.Errorf("groups %q", got)
			}
			fs.failSyncs(segmentSuffix, 2)
			wait := time.Duration(0)
			if !kept {
				wait = time.Hour
			}
			waitsWith(t, q, 0, wait, layout, "7b")
			synctest.Wait()
			if isSealed {
				waits(t, q, 0, 0, "8c")
				synctest.Wait()
			}
			first := func() []byte { // the segment
				fs.Mu.Lock()
				defer fs.Mu.Unlock()
				return slices.Clone(fs.Names[segments(fs)[0]].Content)
			}
			before := first()
			pass(time.Minute)
			synctest.Wait()
			if s := q.Stats(); s.DiskError != "" || s.SyncErrors != 2 {
				t.Errorf("%+v", s)
			}
			runtime.KeepAlive(layout)
			same := bytes.Equal(first(), before)
			after := fs.cutPower(rand.New(rand.NewPCG(1, 2)))
			_, _ = q.Close()
			got, _ := lives(t, after, cfg)
			var want []string
			if kept || !evict { // else only the layout is there
				want = append(want, "7b+layout")
			}
			if isSealed {
				want = append(want, "8c")
			}
			got = strings.Fields(strings.Join(got, " "))
			switch {
			case !slices.Equal(got, want):
				t.Errorf("evict %v, kept %v, sealed %v: delivered %q, want %q", evict, kept, isSealed, got, want)
			case !evict && !same:
				t.Error("the new file is not as the old one")
			}
		})
	}
}

// TestRenewedWithoutALayout: a layout whose request is delivered left memory, and a failed sync took it from the disk.
// The record that refers to it left memory, too, but was synced. It is counted as lost.
func TestRenewedWithoutALayout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := newFakeFS()
		cfg := quiet()
		q := openQueue(t, openStore(t, "data", fs), "x", 1, cfg)
		waitsWith(t, q, 0, time.Hour, &Layout{Data: []byte("layout")}, "7a", "7b")
		synctest.Wait()
		runtime.GC() // the layout
		pass(2 * cfg.FsyncInterval)
		fs.Mu.Lock()
		_, d := fs.file(t, segmentSuffix)
		clear(d.Content[:headerSize]) // a bad sector
		fs.Mu.Unlock()
		fs.failSyncs(segmentSuffix, 1)
		waits(t, q, 0, time.Hour, "7c")
		synctest.Wait()
		pass(time.Minute)
		synctest.Wait()
		if s := q.Stats(); s.DiskError != "" || s.SyncErrors != 1 {
			t.Errorf("%+v", s)
		}
		after := fs.kill()
		_, _ = q.Close()
		if got := reopen(t, after, cfg); !slices.Equal(got.requests, []string{"7c"}) || got.lost.Samples != 2 {
			t.Errorf("delivered %q, reported %+v", got.requests, got.lost)
		}
	})
}

// TestKilledWhileLayoutsAreRenewed ends the process before each call of the file system: everything is delivered once.
func TestKilledWhileLayoutsAreRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := newFakeFS()
		q := openQueue(t, openStore(t, "data", fs), "x", 1, quiet())
		layout := &Layout{Data: []byte("L")}
		var want []string
		for i := range 2 * layoutUses {
			mustAppend(t, q, 0, withLayout(fmt.Sprint(i), layout))
			want = append(want, fmt.Sprint(i, "+L"))
		}
		synctest.Wait()
		q.Next(0, Limit{Requests: 1})
		q.Ack(0)
		var killed []*fakeFS
		failed := false
		fs.Mu.Lock()
		fs.Fail = func(call, _ string, _ int) error {
			killed = append(killed, newFakeFS())
			for name, d := range fs.Names {
				killed[len(killed)-1].Names[name] = &fakeData{Content: slices.Clone(d.Content)}
			}
			if call == "sync" && !failed {
				failed = true
				return simdisk.ErrShort
			}
			return nil
		}
		fs.Mu.Unlock()
		pass(2 * maxBackoff)
		synctest.Wait()
		if fs.Calls["rename"] == 0 || q.Stats().DiskError != "" {
			t.Fatalf("no segment was renewed: %+v", q.Stats())
		}
		killed = append(killed, fs.kill())
		_, _ = q.Close()
		for i, fs := range killed {
			if got := reopen(t, fs, quiet()); !slices.Equal(got.requests, want[1:]) || got.lost != (Loss{}) {
				t.Errorf("killed before call %d: %q, reported %+v", i, got.requests, got.lost)
			}
		}
	})
}

// TestEarlierDirectoryIsDrained: a directory that has only records of kind 0 is delivered before anything that this
// process appends. doc.go has the bytes.
func TestEarlierDirectoryIsDrained(t *testing.T) {
	drawn := "45737152 02 01 0000 04000000 d17dd8ae e8030000 " +
		"00a8da769b01 98e2da769b01 efcdab8967452301 07000000 25d739d6"
	b, err := hex.DecodeString(strings.ReplaceAll(drawn, " ", ""))
	mustDo(t, err)
	b = append(b, "data"...)
	fs := newFakeFS()
	name := join(join("data", queuePrefix+"x"), laneName{1, 1, 0}.segment(1))
	fs.Names[name] = &fakeData{Content: b}
	q := openQueue(t, openStore(t, "data", fs), "x", 1, quiet())
	mustAppend(t, q, 0, withLayout("new", &Layout{Data: []byte("L")}))
	if got := drained(q, 0); !slices.Equal(got, []string{"data", "new+L"}) {
		t.Errorf("delivered %q", got)
	}
	mustClose(t, q)
}

// TestRecordsWithoutLayoutAreAsBefore: an earlier version reads a segment that has no layout.
func TestRecordsWithoutLayoutAreAsBefore(t *testing.T) {
	fs := backlog(t, quiet(), threeRecords(t))
	_, d := fs.file(t, segmentSuffix)
	if kinds(t, d.Content) != "ppp" || len(d.Content) != endAt {
		t.Errorf("%q, %d bytes", kinds(t, d.Content), len(d.Content))
	}
}

// TestMemoryCountsALayoutOnce: a layout counts in each lane that has a record with it in memory.
func TestMemoryCountsALayoutOnce(t *testing.T) {
	eachKind(t, func(t *testing.T, q *FIFO) {
		const size = 1000
		layout := &Layout{Data: make([]byte, size)}
		want := int64(0)
		check := func(when string) {
			t.Helper()
			if got := q.Stats().MemoryBytes; got != want {
				t.Errorf("%s: %d bytes in memory, want %d", when, got, want)
			}
			q.checkState(t.Errorf)
		}
		for i, text := range []string{"7a", "7b", "7c"} {
			waitsWith(t, q, 0, 0, layout, text)
			if want += recordOverhead + 2; i == 0 {
				want += size
			}
			check(text)
		}
		q.Next(0, Limit{Requests: 2})
		check("in flight")
		q.Ack(0)
		want -= 2 * (recordOverhead + 2)
		check("acknowledged")
		q.Resize(2)
		waitsWith(t, q, 1, 0, layout, "9a")
		want += recordOverhead + 2 + size
		check("in another lane")
		q.Next(0, Limit{})
		q.Ack(0)
		want -= recordOverhead + 2 + size
		check("the first lane is empty")
		q.Next(1, Limit{})
		q.Ack(1)
		want = 0
		check("at the end")
	})
}

// TestMemoryLimitWithLayouts: a queue in memory drops the oldest requests, and their layouts with them.
func TestMemoryLimitWithLayouts(t *testing.T) {
	const size = 1000
	q := NewMemory(Config{MaxBytes: 2*size + 4*(recordOverhead+1)}, 1)
	a, b, c := &Layout{Data: make([]byte, size)}, &Layout{Data: make([]byte, size)}, &Layout{Data: make([]byte, size)}
	for i, layout := range []*Layout{a, a, b, b} {
		if loss := mustAppend(t, q, 0, withLayout(fmt.Sprint(i), layout)); loss != (Loss{}) {
			t.Errorf("record %d: lost %+v", i, loss)
		}
	}
	if loss := mustAppend(t, q, 0, withLayout("4", c)); loss != (Loss{2, 2}) { // both, since only that frees a layout
		t.Errorf("lost %+v", loss)
	}
	q.checkState(t.Errorf)
	if got := q.Stats().MemoryBytes; got != 2*size+3*(recordOverhead+1) {
		t.Errorf("%d bytes in memory", got)
	}
}

// TestLayoutsLeaveMemory: a request that is not due soon leaves memory when it is written, and its layout with it.
func TestLayoutsLeaveMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := openQueue(t, openStore(t, "data", newFakeFS()), "x", 1, quiet())
		waitsWith(t, q, 0, time.Minute, &Layout{Data: make([]byte, 1000)}, "7a", "7b")
		synctest.Wait()
		if s := q.Stats(); s.MemoryBytes != 0 {
			t.Errorf("%d bytes in memory", s.MemoryBytes)
		}
		q.checkState(t.Errorf)
		mustClose(t, q)
	})
}

// TestLayoutsAreForgottenWithTheirSegment: what a segment knows of its layouts is gone when it is sealed and synced.
func TestLayoutsAreForgottenWithTheirSegment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := quiet()
		cfg.segment = 120 // two requests
		q := openQueue(t, openStore(t, "data", newFakeFS()), "x", 1, cfg)
		waitsWith(t, q, 0, time.Hour, &Layout{Data: []byte("layout")}, "7a", "7b", "7c")
		synctest.Wait()
		copies := func() (n []int) {
			q.mu.Lock()
			defer q.mu.Unlock()
			for _, s := range q.newest().lanes[0].segments {
				n = append(n, len(s.layouts.copies))
			}
			return n
		}
		if got := copies(); !slices.Equal(got, []int{1, 1}) {
			t.Errorf("written: %d copies", got)
		}
		pass(2 * cfg.FsyncInterval)
		synctest.Wait()
		if got := copies(); !slices.Equal(got, []int{0, 1}) {
			t.Errorf("synced: %d copies", got)
		}
		mustClose(t, q)
	})
}

// TestDiskIsBoundedWithLayouts: the limit in bytes holds for copies of layouts, too.
func TestDiskIsBoundedWithLayouts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := quiet()
		cfg.MaxBytes, cfg.segment = minSegmentBytes, 4096
		fs := newFakeFS()
		q := openQueue(t, openStore(t, "data", fs), "x", 1, cfg)
		for range 40 {
			waitsWith(t, q, 0, time.Hour, &Layout{Data: make([]byte, 5000)}, "7a")
			synctest.Wait()
			if n := fs.segmentBytes(); n > cfg.MaxBytes {
				t.Fatalf("%d bytes on disk", n)
			}
		}
		mustClose(t, q)
	})
}

// TestALayoutInMemoryIsNotRead: a record that left memory comes back with the layout that it was appended with.
func TestALayoutInMemoryIsNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := openQueue(t, openStore(t, "data", newFakeFS()), "x", 1, quiet())
		layout := &Layout{Data: []byte("L")}
		waitsWith(t, q, 0, time.Hour, layout, "7a", "7b")
		synctest.Wait()
		q.Flush(0)
		g, _, _ := q.Next(0, Limit{})
		if len(g) != 2 || g[0].Records[0].Layout != layout || g[1].Records[0].Layout != layout {
			t.Errorf("%+v", g)
		}
		if s := q.Stats(); s.ReadRecords != 2 {
			t.Errorf("%d records were read", s.ReadRecords)
		}
		mustClose(t, q)
	})
}

// TestEqualLayoutsOfAGroupAreOne: whether they come from two segments, from two copies, or from memory.
func TestEqualLayoutsOfAGroupAreOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := quiet()
		cfg.segment = 150 // a layout and a record
		q := openQueue(t, openStore(t, "data", newFakeFS()), "x", 1, cfg)
		equal := func() *Layout { return &Layout{Data: []byte("equal")} }
		waitsWith(t, q, 0, time.Hour, equal(), "7a", "9b", "7c")
		synctest.Wait()
		waitsWith(t, q, 0, 0, equal(), "7d")
		waitsWith(t, q, 0, 0, &Layout{Data: []byte("other")}, "7e")
		waitsWith(t, q, 0, 0, equal(), "9f")
		q.Flush(0)
		g, state, _ := q.Next(0, Limit{})
		if state != Ready || len(g) != 6 {
			t.Fatalf("%d requests, state %v", len(g), state)
		}
		for _, r := range g {
			layout := r.Records[0].Layout
			if other := strings.HasPrefix(text(r), "7e"); (layout == g[0].Records[0].Layout) == other {
				t.Errorf("%s has layout %p, the first %p", text(r), layout, g[0].Records[0].Layout)
			}
		}
		q.checkState(t.Errorf)
		q.Ack(0)
		if s := q.Stats(); s.MemoryBytes != 0 {
			t.Errorf("%d bytes in memory", s.MemoryBytes)
		}
		mustClose(t, q)
	})
}

// TestARecordWithALayoutIsAlone: Append seals its request.
func TestARecordWithALayoutIsAlone(t *testing.T) {
	eachKind(t, func(t *testing.T, q *FIFO) {
		layout := &Layout{Data: []byte("L")}
		mustAppend(t, q, 0, record("a", true))
		r := withLayout("b", layout)
		r.First = false
		if _, err := q.Append(0, r); err == nil {
			t.Error("a record with a layout joined a request")
		}
		mustAppend(t, q, 0, record("c", false))
		mustAppend(t, q, 0, withLayout("d", layout))
		if _, err := q.Append(0, record("e", false)); err == nil {
			t.Error("a record joined the request of a record with a layout")
		}
		if got := drained(q, 0); !slices.Equal(got, []string{"ac", "d+L"}) {
			t.Errorf("delivered %q", got)
		}
		r = withLayout("f", &Layout{Data: make([]byte, maxRecordBytes+1)})
		if _, err := q.Append(0, r); err == nil {
			t.Error("a layout was taken that is too large to come back")
		}
	})
}

// TestLayoutsAreReadOnce: one call of Next reads a copy once, and does not read it for records in memory.
func TestLayoutsAreReadOnce(t *testing.T) {
	layout := &Layout{Data: make([]byte, 10_000)}
	fs := backlog(t, quiet(), func(q *FIFO) {
		for i := range layoutUses {
			mustAppend(t, q, 0, withLayout(fmt.Sprint(i), layout))
		}
	})
	counting := &countingFS{FS: fs}
	s := openStore(t, "data", counting)
	q := openQueue(t, s, "x", 1, quiet())
	if g, _, _ := q.Next(0, Limit{}); len(g) != layoutUses {
		t.Errorf("%d requests", len(g))
	}
	if counting.read > 4*10_000+layoutUses*1000 {
		t.Errorf("%d bytes were read", counting.read)
	}
	mustClose(t, q)
}

// BenchmarkLayouts appends scrapes of 2,000 series, each with the layout of its target, and takes them in groups of
// three of a target. Layouts have 28 KB, as the fragment of a whole scrape has, and columns 2 bytes a sample.
func BenchmarkLayouts(b *testing.B) {
	const samples, targets = 2000, 250
	for _, mib := range []int64{1024, 512, 256, 64} { // of the disk
		b.Run(fmt.Sprint(mib, " MiB"), func(b *testing.B) {
			cfg := DefaultConfig()
			cfg.MaxBytes = mib << 20
			s, err := OpenStore(b.TempDir(), OS())
			if err != nil {
				b.Fatal(err)
			}
			q, err := s.Open("x", 1, cfg)
			if err != nil {
				b.Fatal(err)
			}
			shared := make([]*Layout, targets)
			for i := range shared {
				shared[i] = &Layout{Data: make([]byte, 28<<10)}
			}
			data := make([]byte, 2*samples)
			b.ReportAllocs()
			n := 0
			for ; b.Loop(); n++ {
				at := time.Now().UnixMilli()
				target := n % targets
				r := Record{
					Data: data, Samples: samples, Oldest: at, Newest: at, First: true, Stream: uint64(target + 1),
					Layout: shared[target],
				}
				if n/targets%3 < 2 {
					r.Due = time.Now().Add(time.Hour)
				}
				if _, err := q.Append(0, r); err != nil {
					b.Fatal(err)
				}
				for q.Stats().WrittenRecords < n-targets { // an Ack before would spare the write
					runtime.Gosched()
				}
				if r.Due.IsZero() {
					q.Next(0, Limit{Requests: 3})
					q.Ack(0)
				}
			}
			st := q.Stats()
			b.ReportMetric(float64(st.WrittenBytes)/float64(st.WrittenRecords*samples), "disk-B/sample")
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n*samples), "ns/sample")
			if _, err := q.Close(); err != nil {
				b.Error(err)
			}
		})
	}
}

// TestBothPartsOfALayoutNeedRoom: the room that is made on disk for a record includes the part of its layout that is
// shared in memory.
func TestBothPartsOfALayoutNeedRoom(t *testing.T) {
	data, shared := bytes.Repeat([]byte{1}, 100), bytes.Repeat([]byte{2}, 5000)
	l := newLane("", laneName{lanes: 1})
	r := &request{}
	r.add(Record{Data: []byte{3}, First: true, Layout: NewLayout(data, shared)})
	l.requests.insert(nil, r)
	l.unwritten = r
	want := int64(2*headerSize + 1 + layoutRefSize + len(data) + len(shared))
	if got := l.pendingBytes(1 << 20); got != want {
		t.Errorf("%d bytes to be written, want %d", got, want)
	}
}

// TestALayoutOfTwoPartsIsReadBack compares what is read back from disk with what was appended.
func TestALayoutOfTwoPartsIsReadBack(t *testing.T) {
	a, b := NewLayout([]byte("own a, "), []byte("rows")), NewLayout([]byte("own a, "), []byte("rows"))
	if !a.equal(b) || !a.equal(&Layout{Data: []byte("own a, rows")}) || a.equal(NewLayout([]byte("own a, "), nil)) ||
		a.equal(NewLayout([]byte("own b, "), []byte("rows"))) {
		t.Error("layouts are compared by something else than their bytes")
	}
	whole := &Layout{Data: a.Append(nil)}
	if got, want := a.checksum(), whole.checksum(); got != want {
		t.Errorf("checksum %x in two parts, %x in one", got, want)
	}
	rec := Record{Data: []byte("x"), Samples: 1, First: true, Layout: a}
	c := (&layouts{}).copyFor(rec, 0, 0)
	file := appendRecord(nil, rec, 0, 0, c)
	addChecksums(file)
	got, err := readRequest(bytes.NewReader(file), 0, int64(len(file)), nil, foundLayouts{},
		func(n int) []byte { return make([]byte, 0, n) })
	if err != nil || len(got.records) != 1 || !a.equal(got.records[0].Layout) {
		t.Errorf("read back: %v, %+v", err, got.records)
	}
}

// TestPackedLayoutsStayPacked: a layout of an earlier version is read as such, and written again as such.
func TestPackedLayoutsStayPacked(t *testing.T) {
	layout := &Layout{Data: []byte("packed"), Packed: true}
	b := layoutSample(nil, layout, "one", "two")
	if got := kinds(t, b); got != "Prr" {
		t.Errorf("records %s, want Prr", got)
	}
	h, _ := parseHeader(b)
	read, err := foundLayouts{}.read(bytes.NewReader(b), layoutRef{crc: h.crc})
	if err != nil || read == nil || !read.equal(layout) {
		t.Fatalf("read %+v, error %v", read, err)
	}
	if read.equal(&Layout{Data: layout.Data}) {
		t.Error("a layout equals one of another form")
	}
}

// TestLayoutsAreComparedWithoutACopy: one that was read from disk has all its bytes in Data.
func TestLayoutsAreComparedWithoutACopy(t *testing.T) {
	const text = "symbols rows"
	for _, x := range []struct {
		a, b  *Layout
		equal bool
	}{
		{&Layout{Data: []byte("symbols "), Shared: "rows"}, &Layout{Data: []byte(text)}, true},
		{&Layout{Data: []byte("symbols "), Shared: "rows"}, &Layout{Data: []byte("symbols "), Shared: "rows"}, true},
		{&Layout{Data: []byte("symbols "), Shared: "rows"}, &Layout{Data: []byte("symb"), Shared: "ols rows"}, true},
		{&Layout{Shared: text}, &Layout{Data: []byte(text)}, true},
		{&Layout{Data: []byte("symbols "), Shared: "rows"}, &Layout{Data: []byte("symbols_rows")}, false},
		{&Layout{Data: []byte("symbols "), Shared: "rows"}, &Layout{Data: []byte("symbols rowx")}, false},
		{&Layout{Data: []byte("symbols "), Shared: "rows"}, &Layout{Data: []byte("symbols rows ")}, false},
		{&Layout{Data: []byte("symbols "), Shared: "rowx"}, &Layout{Data: []byte("symb"), Shared: "ols rows"}, false},
		{&Layout{Data: []byte(text)}, &Layout{Data: []byte(text), Packed: true}, false},
	} {
		var got bool
		if n := testing.AllocsPerRun(10, func() { got = x.a.equal(x.b) && x.b.equal(x.a) }); n > 0 {
			t.Errorf("%q, %q: %v allocations", x.a.Append(nil), x.b.Append(nil), n)
		}
		if got != x.equal || x.b.equal(x.a) != x.equal {
			t.Errorf("%q and %q: equal is %v", x.a.Append(nil), x.b.Append(nil), got)
		}
	}
}
