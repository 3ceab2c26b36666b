package queue

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// withLayout is a record of stream 7 with a layout.
func withLayout(data string, layout *Layout) Record {
	r := record(data, true)
	r.Stream, r.Layout = 7, layout
	return r
}

// kinds returns the records of a segment: L for a copy of a layout, r for a record that refers to the last copy before
// it, p for a record without a layout.
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
		got = append(got, kinds(t, fs.names[name].content))
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
			got := int64(len(fs.names[segments(fs)[0]].content))
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
	h, _ := parseHeader(d.content)
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
		if _, d := after.file(t, segmentSuffix); kinds(t, d.content) != "Lrr" {
			t.Errorf("segment %q", kinds(t, d.content))
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
			if _, d := fs.file(t, segmentSuffix); kinds(t, d.content) != "Lrrr" {
				t.Errorf("segment %q", kinds(t, d.content))
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

// TestDamagedLayoutCostsItsRecords: of three copies of a layout the second is damaged.
func TestDamagedLayoutCostsItsRecords(t *testing.T) {
	const n = 3 * layoutUses
	layout := &Layout{Data: []byte("layout")}
	files := backlog(t, quiet(), func(q *FIFO) {
		for i := range n {
			mustAppend(t, q, 0, withLayout(fmt.Sprintf("%03d", i), layout))
		}
	})
	name, _ := files.file(t, segmentSuffix)
	const perRecord = headerSize + 3 + layoutRefSize
	second := headerSize + len(layout.Data) + layoutUses*perRecord
	for _, at := range []int{second, second + headerSize, second + headerSize + len(layout.Data) - 1} {
		for _, requests := range []int{0, 10} { // in memory
			fs := files.kill()
			fs.names[name].content[at] ^= 1
			cfg := quiet()
			cfg.requests = requests
			got := reopen(t, fs, cfg)
			var want []string
			for i := range n {
				if i/layoutUses != 1 {
					want = append(want, fmt.Sprintf("%03d+layout", i))
				}
			}
			if !slices.Equal(got.requests, want) || got.lost.Samples != layoutUses {
				t.Errorf("byte %d: delivered %q, reported %+v", at, got.requests, got.lost)
			}
			if got.stats.CorruptRecords != layoutUses || got.stats.Samples != 0 {
				t.Errorf("byte %d: %+v", at, got.stats)
			}
		}
	}
}

// TestDamagedLayoutWhileRunning: a layout that is in memory is not read, so damage to its copy costs nothing.
func TestDamagedLayoutWhileRunning(t *testing.T) {
	for _, kept := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			var reported losses
			cfg := quiet()
			cfg.Lost = reported.take
			fs := newFakeFS()
			q := openQueue(t, openStore(t, "data", fs), "x", 1, cfg)
			layout := &Layout{Data: []byte("L")}
			waitsWith(t, q, 0, time.Hour, layout, "7a", "7b") // leave memory
			waits(t, q, 0, time.Hour, "9a")
			synctest.Wait()
			fs.mu.Lock()
			_, d := fs.file(t, segmentSuffix)
			d.content[headerSize] ^= 1
			fs.mu.Unlock()
			q.Flush(0)
			want, lost := []string{"7a+L 7b+L 9a"}, Loss{}
			if !kept {
				layout = nil
				runtime.GC()
				want, lost = []string{"9a"}, Loss{2, 2}
			}
			if got := groups(q, 0, Limit{}); !slices.Equal(got, want) || reported.of(Damaged) != lost {
				t.Errorf("layout in memory: %v: groups %q, reported %+v", kept, got, reported.of(Damaged))
			}
			runtime.KeepAlive(layout)
			mustClose(t, q)
		})
	}
}

// layoutStory is the requests "one" and "two" with a layout, "three" with another, and "four" without.
func layoutStory(t *testing.T) func(*FIFO) {
	return func(q *FIFO) {
		l, m := &Layout{Data: []byte("LL")}, &Layout{Data: []byte("M")}
		for _, r := range []Record{
			{Data: []byte("one"), Samples: 1, Layout: l}, {Data: []byte("two"), Samples: 20, Layout: l},
			{Data: []byte("three"), Samples: 300, Layout: m}, {Data: []byte("four"), Samples: 4000},
		} {
			r.First, r.Oldest, r.Newest = true, 10, 20
			mustAppend(t, q, 0, r)
		}
	}
}

// The parts of its segment.
const (
	oneEnd   = headerSize + 2 + headerSize + 3 + layoutRefSize
	twoEnd   = oneEnd + headerSize + 3 + layoutRefSize
	threeEnd = twoEnd + headerSize + 1 + headerSize + 5 + layoutRefSize
	fourEnd  = threeEnd + headerSize + 4
)

// TestEveryByteFlippedWithLayouts is TestEveryByteFlipped for records with layouts.
func TestEveryByteFlippedWithLayouts(t *testing.T) {
	files := backlog(t, quiet(), layoutStory(t))
	name, whole := files.file(t, segmentSuffix)
	if len(whole.content) != fourEnd || kinds(t, whole.content) != "LrrLrp" {
		t.Fatalf("%s has %d bytes: %q", name, len(whole.content), kinds(t, whole.content))
	}
	for at := range fourEnd {
		for _, flip := range []byte{1, 2, 0x80, 0xff} {
			fs := files.kill()
			fs.names[name].content[at] ^= flip
			got := reopen(t, fs, quiet())
			want, samples := []string{"three+M", "four"}, 21
			switch {
			case at >= threeEnd:
				want, samples = []string{"one+LL", "two+LL", "three+M"}, 4000
			case at >= twoEnd:
				want, samples = []string{"one+LL", "two+LL", "four"}, 300
			case at >= oneEnd:
				want, samples = []string{"one+LL", "three+M", "four"}, 20
			case at >= headerSize+2: // the layout is whole
				want, samples = []string{"two+LL", "three+M", "four"}, 1
			}
			if !slices.Equal(got.requests, want) || got.lost.Samples != samples {
				t.Errorf("byte %d ^ %#x: delivered %q, want %q; reported %+v, want %d samples",
					at, flip, got.requests, want, got.lost, samples)
			}
			if got.stats.CorruptRecords == 0 || got.stats.SkippedBytes == 0 || got.stats.Samples != 0 {
				t.Errorf("byte %d ^ %#x: not counted: %+v", at, flip, got.stats)
			}
			kept := false
			for name, d := range got.fs.names {
				kept = kept || strings.HasSuffix(name, corruptSuffix) &&
					bytes.Contains(d.content, []byte{whole.content[at] ^ flip})
			}
			if !kept {
				t.Errorf("byte %d ^ %#x was not kept aside", at, flip)
			}
		}
	}
}

// TestEveryLengthTruncatedWithLayouts is TestEveryLengthTruncated for records with layouts. A layout without the record
// behind it is cut off, too. After a stop in order all samples are counted, after a kill those in whole headers.
func TestEveryLengthTruncatedWithLayouts(t *testing.T) {
	files := backlog(t, quiet(), layoutStory(t))
	name, _ := files.file(t, segmentSuffix)
	position, _ := files.file(t, positionSuffix)
	for length := range fourEnd {
		var want []string
		good, left, next := 0, 0, oneEnd
		header := headerSize + 2 + headerSize // the end of the header that has the samples
		samples := []int{1, 20, 300, 4000}
		for i, end := range []int{oneEnd, twoEnd, threeEnd} {
			if length < end {
				break
			}
			want = append(want, []string{"one+LL", "two+LL", "three+M"}[i])
			good, left, next = end, left+samples[i], []int{twoEnd, threeEnd, fourEnd}[i]
			header = end + []int{headerSize, headerSize + 1 + headerSize, headerSize}[i]
		}
		for _, killed := range []bool{false, true} {
			fs := files.kill()
			fs.names[name].content = fs.names[name].content[:length]
			lost := 4321 - left
			if killed {
				delete(fs.names, position)
				if lost = 0; length >= header && length < next {
					lost = samples[len(want)]
				}
			}
			got := reopen(t, fs, quiet())
			if !slices.Equal(got.requests, want) || got.lost.Samples != lost {
				t.Errorf("length %d, killed %v: delivered %q, want %q; reported %+v, want %d samples",
					length, killed, got.requests, want, got.lost, lost)
			}
			if got.stats.TruncatedBytes != int64(length-good) || got.stats.CorruptRecords != 0 {
				t.Errorf("length %d: %+v, want %d bytes truncated, none corrupt", length, got.stats, length-good)
			}
		}
	}
}

// TestLayoutsThatNobodyWrites: headers are right, but the records are not as appendRecord writes them. That is damage.
func TestLayoutsThatNobodyWrites(t *testing.T) {
	before := uint32(0)
	put := func(kind kind, first bool, samples uint32, data string) []byte {
		h := header{
			first: first, kind: kind, length: uint32(len(data)), crc: checksum([]byte(data)), before: before,
			samples: samples, oldest: 1, newest: 1,
		}
		before += samples
		return h.append(nil, []byte(data))
	}
	to := func(at uint32, layout string) string {
		return string(layoutRef{at, checksum([]byte(layout))}.append(nil))
	}
	layout := func() []byte { return put(kindLayout, true, 0, "L") }
	const behind = headerSize + 1 // the layout
	for name, tc := range map[string]struct {
		segment func() [][]byte
		want    []string
		lost    int // samples
		corrupt int
	}{
		"as it is written": {func() [][]byte {
			return [][]byte{layout(), put(kindWithLayout, false, 1, "a"+to(0, "L"))}
		}, []string{"a+L"}, 0, 0},
		"a layout without its record": {func() [][]byte {
			return [][]byte{layout(), put(kindWithLayout, true, 1, "a"+to(0, "L"))}
		}, []string{"a+L"}, 0, 1},
		"a plain record behind a layout": {func() [][]byte {
			return [][]byte{layout(), put(kindPlain, false, 1, "a"), put(kindPlain, true, 1, "b")}
		}, []string{"b"}, 1, 1},
		"two layouts": {func() [][]byte {
			return [][]byte{layout(), layout(), put(kindWithLayout, false, 1, "a"+to(0, "L"))}
		}, []string{"a+L"}, 0, 1},
		"a request of two records": {func() [][]byte {
			return [][]byte{
				layout(), put(kindWithLayout, false, 1, "a"+to(0, "L")), put(kindWithLayout, false, 1, "b"+to(0, "L")),
				put(kindPlain, true, 1, "c"),
			}
		}, []string{"a+L", "c"}, 1, 1},
		"a plain record in its request": {func() [][]byte {
			return [][]byte{
				layout(), put(kindWithLayout, false, 1, "a"+to(0, "L")), put(kindPlain, false, 1, "b"),
				put(kindPlain, true, 1, "c"),
			}
		}, []string{"a+L", "c"}, 1, 1},
		"in the request of a plain record": {func() [][]byte {
			return [][]byte{
				layout(), put(kindWithLayout, false, 1, "a"+to(0, "L")), put(kindPlain, true, 1, "b"),
				put(kindWithLayout, false, 1, "c"+to(0, "L")), put(kindPlain, true, 1, "d"),
			}
		}, []string{"a+L", "b", "d"}, 1, 1},
		"a layout with samples": {func() [][]byte {
			return [][]byte{
				put(kindLayout, true, 3, "L"), put(kindWithLayout, false, 1, "a"+to(0, "L")),
				put(kindPlain, true, 1, "b"),
			}
		}, []string{"b"}, 4, 1},
		"a layout that is not first": {func() [][]byte {
			return [][]byte{
				put(kindPlain, true, 1, "a"), put(kindLayout, false, 0, "L"),
				put(kindWithLayout, false, 1, "b"+to(behind, "L")), put(kindPlain, true, 1, "c"),
			}
		}, []string{"a", "c"}, 1, 1},
		"no room for a reference": {func() [][]byte {
			return [][]byte{layout(), put(kindWithLayout, false, 1, "1234567"), put(kindPlain, true, 1, "b")}
		}, []string{"b"}, 1, 1},
		"a reference to another layout": {func() [][]byte {
			return [][]byte{layout(), put(kindWithLayout, false, 1, "a"+to(0, "M")), put(kindPlain, true, 1, "b")}
		}, []string{"b"}, 1, 1},
		"a reference to a plain record": {func() [][]byte {
			return [][]byte{put(kindPlain, true, 1, "a"), put(kindWithLayout, true, 1, "b"+to(0, "a"))}
		}, []string{"a"}, 1, 1},
		"a reference into a record": {func() [][]byte {
			return [][]byte{layout(), put(kindWithLayout, false, 1, "a"+to(3, "L"))}
		}, nil, 1, 1},
		"a reference behind the end": {func() [][]byte {
			return [][]byte{layout(), put(kindWithLayout, false, 1, "a"+to(1<<32-1, "L"))}
		}, nil, 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			before = 0
			fs := newFakeFS()
			file := join(join("data", queuePrefix+"x"), laneName{1, 1, 0}.segment(1))
			fs.names[file] = &fakeData{content: slices.Concat(tc.segment()...)}
			got := reopen(t, fs, quiet())
			if !slices.Equal(got.requests, tc.want) || got.lost.Samples != tc.lost ||
				got.stats.CorruptRecords != tc.corrupt || got.stats.Samples != 0 {
				t.Errorf("delivered %q, want %q; reported %+v, want %d samples; %d corrupt, want %d",
					got.requests, tc.want, got.lost, tc.lost, got.stats.CorruptRecords, tc.corrupt)
			}
		})
	}
}

// TestNewerFormatBesideLayouts: a header of a later version refuses the queue, also behind a layout. Records of
// version 1 have no other kind than 0.
func TestNewerFormatBesideLayouts(t *testing.T) {
	const record = headerSize + len("LL") // behind the layout
	for name, tc := range map[string]struct {
		at, offset int
		value      byte
		want       string
	}{
		"the layout":            {0, 6, 3, "kind 3"},
		"the layout, version 1": {0, 4, oldHeaderVersion, "kind 1"},
		"behind it, kind":       {record, 6, 3, "kind 3"},
		"behind it, version":    {record, 4, 3, "version 3"},
		"a later record":        {oneEnd, 4, 3, "version 3"},
	} {
		t.Run(name, func(t *testing.T) {
			fs := backlog(t, quiet(), layoutStory(t))
			_, d := fs.file(t, segmentSuffix)
			d.content[tc.at+tc.offset] = tc.value
			reseal(d.content[tc.at:])
			_, err := openStore(t, "data", fs).Open("x", 1, quiet())
			var format *FormatError
			if !errors.As(err, &format) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("opened: %v, want %s", err, tc.want)
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
			fs.evict = evict
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
				fs.mu.Lock()
				defer fs.mu.Unlock()
				return slices.Clone(fs.names[segments(fs)[0]].content)
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
		fs.mu.Lock()
		_, d := fs.file(t, segmentSuffix)
		clear(d.content[:headerSize]) // a bad sector
		fs.mu.Unlock()
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
		fs.mu.Lock()
		fs.fail = func(call, _ string, _ int) error {
			killed = append(killed, newFakeFS())
			for name, d := range fs.names {
				killed[len(killed)-1].names[name] = &fakeData{content: slices.Clone(d.content)}
			}
			if call == "sync" && !failed {
				failed = true
				return errShort
			}
			return nil
		}
		fs.mu.Unlock()
		pass(2 * maxBackoff)
		synctest.Wait()
		if fs.calls["rename"] == 0 || q.Stats().DiskError != "" {
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
	fs.names[name] = &fakeData{content: b}
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
	if kinds(t, d.content) != "ppp" || len(d.content) != endAt {
		t.Errorf("%q, %d bytes", kinds(t, d.content), len(d.content))
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
