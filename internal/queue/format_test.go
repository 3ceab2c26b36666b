package queue

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// reseal sets the checksum of a header.
func reseal(header []byte) { binary.LittleEndian.PutUint32(header[44:], checksum(header[:44])) }

// content returns the files of a directory.
func content(fs *fakeFS, dir string) map[string]string {
	files := map[string]string{}
	for name, d := range fs.Names {
		if strings.HasPrefix(name, dir) {
			files[name] = string(d.Content)
		}
	}
	return files
}

// TestNewerFormatIsRefused: files of a later version are not delivered, changed or removed by any call.
func TestNewerFormatIsRefused(t *testing.T) {
	record := func(at, offset int, value byte) func([]byte) {
		return func(segment []byte) { segment[at+offset] = value; reseal(segment[at:]) }
	}
	for name, tc := range map[string]struct {
		suffix string
		spoil  func([]byte)
		want   string
	}{
		"version":         {segmentSuffix, record(oneAt, 4, 3), "version 3"},
		"version 0":       {segmentSuffix, record(oneAt, 4, 0), "version 0"},
		"flag":            {segmentSuffix, record(oneAt, 5, flagFirst|0x80), "flags 0x81"},
		"kind of data":    {segmentSuffix, record(oneAt, 6, 4), "kind 4"},
		"kind, high byte": {segmentSuffix, record(oneAt, 7, 1), "kind 256"},
		"second record":   {segmentSuffix, record(twoAt, 4, 3), "version 3"},
		"last record":     {segmentSuffix, record(threeAt, 4, 3), "version 3"},
		"behind damage": {segmentSuffix, func(b []byte) {
			b[oneAt] ^= 1
			record(threeAt, 4, 3)(b)
		}, "version 3"},
		"of a position":     {positionSuffix, newerSlot(0), "version 3"},
		"in the other slot": {positionSuffix, newerSlot(slotStride), "version 3"},
		"of a position, later": {positionSuffix, func(b []byte) {
			b[0], b[slotStride] = 0, 0
			newerSlot(0)(b)
		}, "version 3"},
	} {
		t.Run(name, func(t *testing.T) {
			fs := backlog(t, quiet(), threeRecords(t))
			_, d := fs.file(t, tc.suffix)
			if tc.suffix == positionSuffix {
				d.Content = append(d.Content, make([]byte, slotStride+slotSize)...)
			}
			tc.spoil(d.Content)
			before := content(fs, join("data", queuePrefix+"x"))
			s := openStore(t, "data", fs)
			_, err := s.Open("x", 1, quiet())
			var format *FormatError
			if !errors.As(err, &format) {
				t.Fatalf("opened: %v", err)
			}
			for _, want := range []string{tc.want, join("data", "q-x"), "left as it is", "move the directory"} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not say %q", err, want)
				}
			}
			if gone, err := s.DropOrphans(time.Hour); err != nil || len(gone) != 0 {
				t.Errorf("dropped %+v, %v", gone, err)
			}
			if ids, err := s.Identities(); err != nil || len(ids) != 1 || !errors.As(ids[0].Problem, &format) {
				t.Errorf("identities %+v, %v", ids, err)
			}
			mustClose(t, openQueue(t, s, "y", 1, quiet()))
			if err := s.Rename("y", "x"); !errors.As(err, &format) {
				t.Errorf("another took its place: %v", err)
			}
			if after := content(fs, join("data", queuePrefix+"x")); !maps.Equal(after, before) {
				t.Errorf("there is %q, was %q", after, before)
			}
		})
	}
}

// newerSlot makes the slot at an offset one of the next version.
func newerSlot(at int) func([]byte) {
	return func(b []byte) {
		copy(b[at:], slotAt(1, 0, 9))
		b[at+4] = slotVersion + 1
		binary.LittleEndian.PutUint32(b[at+36:], checksum(b[at:at+36]))
	}
}

// TestDataMayLookLikeANewerFormat: the data of a damaged record may contain the header of another version. The queue is
// not refused if the segment begins with a record of this version.
func TestDataMayLookLikeANewerFormat(t *testing.T) {
	newer := appendSample(nil, "of a later version", true, 0)
	newer[4] = headerVersion + 1
	reseal(newer)
	fs := backlog(t, quiet(), func(q *FIFO) { sealed(t, q, 0, "one", string(newer), "three") })
	_, d := fs.file(t, segmentSuffix)
	d.Content[headerSize+3] ^= 1 // the header of the second
	if got := reopen(t, fs, quiet()); !slices.Equal(got.requests, []string{"one", "three"}) || got.lost.Samples != 1 {
		t.Errorf("delivered %q, reported %+v", got.requests, got.lost)
	}
}

// TestOldPositionsAreRead: positions without a version are read.
func TestOldPositionsAreRead(t *testing.T) {
	old := func(b []byte, s slot) {
		le := binary.LittleEndian
		copy(b, "EsqP")
		le.PutUint32(b[4:], s.seq)
		le.PutUint64(b[8:], s.counter)
		le.PutUint64(b[16:], uint64(s.offset))
		le.PutUint32(b[24:], s.left)
		le.PutUint32(b[28:], checksum(b[:28]))
	}
	for name, at := range map[string][2]slot{
		"one":           {{position: position{1, 2 * 49}, counter: 2}, {}},
		"newer second":  {{position: position{1, 49}, counter: 2}, {position: position{1, 2 * 49}, counter: 3}},
		"newer first":   {{position: position{1, 2 * 49}, counter: 4}, {position: position{1, 49}, counter: 3}},
		"with the note": {{position: position{1, 2 * 49}, counter: 4, left: 2}, {}},
	} {
		t.Run(name, func(t *testing.T) {
			fs := halfDelivered(t)
			_, d := fs.file(t, positionSuffix)
			d.Content = make([]byte, oldSlotStride+firstSlotSize)
			for i, s := range at {
				if s.counter > 0 {
					old(d.Content[i*oldSlotStride:], s)
				}
			}
			got := reopen(t, fs, quiet())
			if !slices.Equal(got.requests, []string{"2", "3"}) || got.lost != (Loss{}) {
				t.Errorf("delivered %q, reported %+v", got.requests, got.lost)
			}
			if !bytes.Contains(d.Content, positionMagic[:]) { // the file is gone with the generation
				t.Errorf("the position was not written again: %q", d.Content)
			}
		})
	}
}

// TestFilesOfAnEmptyQueue: a stop leaves the last segment and the positions. Records of another version that are all
// delivered stop no start; a position of another version does, and the queue cannot be dropped either.
func TestFilesOfAnEmptyQueue(t *testing.T) {
	empty := func() *fakeFS {
		return backlog(t, quiet(), func(q *FIFO) {
			sealed(t, q, 0, "0")
			eventually(t, "it is written", func() bool { return q.Stats().WrittenRecords == 1 })
			drained(q, 0)
		})
	}
	fs := empty()
	_, segment := fs.file(t, segmentSuffix)
	segment.Content[4] = headerVersion + 1
	reseal(segment.Content)
	if got := reopen(t, fs, quiet()); len(got.requests) != 0 || got.lost != (Loss{}) {
		t.Errorf("delivered %q, lost %+v", got.requests, got.lost)
	}
	fs = empty()
	_, position := fs.file(t, positionSuffix)
	newerSlot(0)(position.Content)
	s := openStore(t, "data", fs)
	var format *FormatError
	if _, err := s.Open("x", 1, quiet()); !errors.As(err, &format) {
		t.Errorf("opened: %v", err)
	}
	if _, err := s.Drop("x"); !errors.As(err, &format) {
		t.Errorf("dropped: %v", err)
	}
}

// TestTheFormatPage: docs/queue-format.md has the version numbers of this program and the text of its FormatError.
func TestTheFormatPage(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "queue-format.md"))
	if err != nil {
		t.Fatal(err)
	}
	dir := "/data/q-n-prod-0a1b2c3d4e5f"
	newer := appendSample(nil, "newer", true, 0)
	newer[4] = headerVersion + 1
	refusal := &FormatError{File: dir + "/00000001-0001-0000-00000001.seg", Unknown: unknown(newer)}
	for _, want := range []string{
		fmt.Sprintf("| version of a record | byte 4 of a record's header, in `%s` files | %d | %d and %d |",
			segmentSuffix, headerVersion, headerVersion, oldHeaderVersion),
		fmt.Sprintf("| kind of the data | bytes 6 and 7 of a record's header "+
			"| %[1]d, %[3]d and %[4]d | %[1]d, %[2]d, %[3]d and %[4]d |",
			kindPlain, kindPackedLayout, kindWithLayout, kindLayout),
		fmt.Sprintf("| version of a position | bytes 4 to 7 of a slot, in `%s` files "+
			"| %d | %d, %d and slots without a version (`%s`) |",
			positionSuffix, slotVersion, slotVersion, oldSlotVersion, oldPositionMagic),
		"queue n-prod-0a1b2c3d4e5f: " + filepath.ToSlash(refusal.Error()) + "\n",
	} {
		if !strings.Contains(string(page), want) {
			t.Errorf("the page lacks %q", want)
		}
	}
}

// TestDrawnBytes: the examples in doc.go are what this program writes.
func TestDrawnBytes(t *testing.T) {
	data, at := []byte("data"), time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	rec := Record{Data: data, Samples: 7, Oldest: at.UnixMilli(), First: true, Stream: 0x0123456789abcdef}
	rec.Newest = at.Add(15 * time.Second).UnixMilli()
	record := appendRecord(nil, rec, 0, 1000, nil)
	addChecksums(record)
	reference := layoutRef{at: 248, crc: checksum(data)}.append(nil)
	drawnSlot := slot{
		position: position{3, int64(len(record))}, counter: 9, last: 4,
		delivered: extents{{3, span{104, 156}}}, doubtful: extents{{4, span{0, 52}}},
	}.append(nil)
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	var drawn []byte
	for line := range strings.Lines(string(doc)) {
		if b, err := hex.DecodeString(strings.ReplaceAll(lastColumn(line), " ", "")); err == nil {
			drawn = append(drawn, b...)
		}
	}
	if want := slices.Concat(record, reference, drawnSlot); !bytes.Equal(drawn, want) {
		t.Errorf("doc.go shows\n% x, want\n% x", drawn, want)
	}
}

// lastColumn returns what follows the column in which doc.go has its examples.
func lastColumn(line string) string {
	const column = len("//	") + 79
	if !strings.HasPrefix(line, "//	") || len(line) <= column {
		return ""
	}
	return strings.TrimSpace(line[column:])
}

// TestLeavesKnowNoQueue: doc.go promises which files know neither lanes nor the queue.
func TestLeavesKnowNoQueue(t *testing.T) {
	leaves := []string{
		"record", "layout", "scan", "position", "names", "quarantine", "repair", "health", "age", "fs", "extents",
	}
	for _, name := range leaves {
		file, err := parser.ParseFile(token.NewFileSet(), name+".go", nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if star, ok := n.(*ast.StarExpr); ok {
				id, ok := star.X.(*ast.Ident)
				if ok && slices.Contains([]string{"FIFO", "lane", "request", "disk", "Store"}, id.Name) {
					t.Errorf("%s.go refers to %s", name, id.Name)
				}
			}
			return true
		})
	}
}
