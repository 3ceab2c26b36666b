package queue

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

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
			fs.Names[name].Content[at] ^= 1
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
			fs.Mu.Lock()
			_, d := fs.file(t, segmentSuffix)
			d.Content[headerSize] ^= 1
			fs.Mu.Unlock()
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
	if len(whole.Content) != fourEnd || kinds(t, whole.Content) != "LrrLrp" {
		t.Fatalf("%s has %d bytes: %q", name, len(whole.Content), kinds(t, whole.Content))
	}
	for at := range fourEnd {
		for _, flip := range []byte{1, 2, 0x80, 0xff} {
			fs := files.kill()
			fs.Names[name].Content[at] ^= flip
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
			for name, d := range got.fs.Names {
				kept = kept || strings.HasSuffix(name, corruptSuffix) &&
					bytes.Contains(d.Content, []byte{whole.Content[at] ^ flip})
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
			fs.Names[name].Content = fs.Names[name].Content[:length]
			lost := 4321 - left
			if killed {
				delete(fs.Names, position)
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
			fs.Names[file] = &fakeData{Content: slices.Concat(tc.segment()...)}
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
		"the layout":            {0, 6, 4, "kind 4"},
		"the layout, version 1": {0, 4, oldHeaderVersion, "kind 3"},
		"behind it, kind":       {record, 6, 4, "kind 4"},
		"behind it, version":    {record, 4, 3, "version 3"},
		"a later record":        {oneEnd, 4, 3, "version 3"},
	} {
		t.Run(name, func(t *testing.T) {
			fs := backlog(t, quiet(), layoutStory(t))
			_, d := fs.file(t, segmentSuffix)
			d.Content[tc.at+tc.offset] = tc.value
			reseal(d.Content[tc.at:])
			_, err := openStore(t, "data", fs).Open("x", 1, quiet())
			var format *FormatError
			if !errors.As(err, &format) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("opened: %v, want %s", err, tc.want)
			}
		})
	}
}
