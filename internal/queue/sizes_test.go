package queue

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
)

// TestHeadersDoNotAskForMemory: memory is taken for the length in a header only if the file has these bytes and their
// checksum is right.
func TestHeadersDoNotAskForMemory(t *testing.T) {
	for _, length := range []uint32{checkFirst + 1, 100 << 20, maxRecordBytes, maxRecordBytes + 1, 0xfffffff0} {
		t.Run(fmt.Sprint(length), func(t *testing.T) {
			dir := t.TempDir()
			mustDo(t, os.MkdirAll(filepath.Join(dir, "q-x"), 0o700))
			name := filepath.Join(dir, "q-x", laneName{1, 1, 0}.segment(1))
			var b [headerSize]byte
			h := header{first: true, length: length, samples: 7, oldest: 1, newest: 1}
			h.put(b[:])
			mustDo(t, os.WriteFile(name, b[:], 0o600))
			mustDo(t, os.Truncate(name, h.size()))
			cfg := quiet()
			cfg.Alloc = func(n int) []byte {
				t.Errorf("a header asks for %d bytes", n)
				return make([]byte, 0, n)
			}
			q := openQueue(t, openStore(t, dir, OS()), "x", 1, cfg)
			if got := drained(q, 0); len(got) != 0 {
				t.Errorf("delivered %d requests", len(got))
			}
			if s := q.Stats(); s.Samples != 0 || s.SkippedBytes+s.TruncatedBytes == 0 {
				t.Errorf("stats: %+v", s)
			}
			mustClose(t, q)
		})
	}
}

// TestLargeRecordsAreReadBack: records so large that their checksum is verified before memory is taken.
func TestLargeRecordsAreReadBack(t *testing.T) {
	data := make([]byte, 3*checkFirst)
	rnd := rand.NewChaCha8([32]byte{})
	_, _ = rnd.Read(data)
	fs := backlog(t, quiet(), func(q *FIFO) { sealed(t, q, 0, string(data), "small") })
	if got := reopen(t, fs, quiet()); len(got.requests) != 2 || got.requests[0] != string(data) {
		t.Errorf("%d requests came back", len(got.requests))
	}
	q := openQueue(t, openStore(t, "data", newFakeFS()), "x", 1, quiet())
	defer mustClose(t, q)
	if _, err := q.Append(0, Record{Data: make([]byte, maxRecordBytes+1), Samples: 1, First: true}); err == nil {
		t.Error("a record was taken that is too large to come back")
	}
}

// countingFS counts the bytes that are read.
type countingFS struct {
	FS
	read int64
}

type countingFile struct {
	File
	fs *countingFS
}

func (fs *countingFS) Open(name string, create bool) (File, error) {
	f, err := fs.FS.Open(name, create)
	if err != nil {
		return nil, err
	}
	return countingFile{f, fs}, nil
}

func (f countingFile) ReadAt(b []byte, at int64) (int, error) {
	n, err := f.File.ReadAt(b, at)
	f.fs.read += int64(n)
	return n, err
}

// TestHolesAreNotRead: a file that has grown by a mistake or in a power cut does not delay the start. The records
// before and behind the hole are delivered.
func TestHolesAreNotRead(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only there the queue sees holes")
	}
	const hole = 1 << 40
	dir := t.TempDir()
	s := openStore(t, dir, OS())
	q := openQueue(t, s, "x", 1, quiet())
	sealed(t, q, 0, "one", "two")
	mustClose(t, q)
	name := filepath.Join(dir, "q-x", laneName{1, 1, 0}.segment(1))
	good, err := os.ReadFile(name)
	mustDo(t, err)
	for what, tc := range map[string]struct {
		behind []byte
		want   []string
	}{
		"at the end":    {nil, []string{"one", "two"}},
		"in the middle": {good, []string{"one", "two", "one", "two"}},
	} {
		t.Run(what, func(t *testing.T) {
			f, err := os.Create(name)
			mustDo(t, err)
			_, err = f.Write(good)
			mustDo(t, err)
			if err := f.Truncate(hole); err != nil {
				t.Skip(err) // the file system has no files of that size
			}
			_, err = f.WriteAt(tc.behind, hole)
			mustDo(t, err)
			mustDo(t, f.Close())
			mustDo(t, os.RemoveAll(filepath.Join(dir, "q-x", laneName{1, 1, 0}.position())))
			mustDo(t, s.Close())
			counting := &countingFS{FS: OS()}
			s = openStore(t, dir, counting)
			if got := reopenIn(t, s, quiet()); !slices.Equal(got, tc.want) {
				t.Errorf("delivered %q, want %q", got, tc.want)
			}
			if counting.read > 1<<20 {
				t.Errorf("%d bytes were read", counting.read)
			}
		})
	}
}

// TestNamesOfManyLanesAreCheap: only lanes that have a file take memory, whatever number of lanes its name has.
func TestNamesOfManyLanesAreCheap(t *testing.T) {
	const files = 300
	fs := newFakeFS()
	data := appendSample(nil, "x", true, 0)
	for i := range files {
		name := laneName{generation: uint32(i + 1), lanes: MaxLanes, lane: i}.segment(1)
		fs.Names[join(join("data", queuePrefix+"x"), name)] = &fakeData{Content: bytes.Clone(data)}
	}
	s := openStore(t, "data", fs)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	q := openQueue(t, s, "x", 2, quiet())
	runtime.ReadMemStats(&after)
	if took := after.TotalAlloc - before.TotalAlloc; took > files*64<<10 {
		t.Errorf("the start took %d bytes, %d a file", took, took/files)
	}
	got := 0
	for progress := true; progress; {
		progress = false
		for lane := range 2 {
			n := len(drained(q, lane))
			got += n
			progress = progress || n > 0
		}
	}
	if got != files {
		t.Errorf("%d requests were delivered, want %d", got, files)
	}
	mustClose(t, q)
}
