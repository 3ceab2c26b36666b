package queue

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// losses sums the losses that a queue reports.
type losses struct {
	mu       sync.Mutex
	reported map[Reason]Loss
}

func (l *losses) take(reason Reason, loss Loss) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.reported == nil {
		l.reported = map[Reason]Loss{}
	}
	sum := l.reported[reason]
	sum.add(loss.Requests, loss.Samples)
	l.reported[reason] = sum
}

func (l *losses) of(reason Reason) Loss {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.reported[reason]
}

// quiet returns a configuration for samples of 1970: none is too old.
func quiet() Config {
	cfg := DefaultConfig()
	cfg.MaxAge = 0
	return cfg
}

// backlog fills a queue of one lane, closes it and returns its files.
func backlog(t *testing.T, cfg Config, fill func(q *FIFO)) *fakeFS {
	t.Helper()
	fs := newFakeFS()
	s := openStore(t, "data", fs)
	q := openQueue(t, s, "x", 1, cfg)
	fill(q)
	mustClose(t, q)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return fs
}

// threeRecords are the requests "one two" and "three".
func threeRecords(t *testing.T) func(*FIFO) {
	return func(q *FIFO) {
		mustAppend(t, q, 0, record("one", true))
		mustAppend(t, q, 0, Record{Data: []byte("two"), Samples: 20, Oldest: 10, Newest: 20})
		mustAppend(t, q, 0, Record{Data: []byte("three"), Samples: 300, Oldest: 10, Newest: 20, First: true})
	}
}

const (
	oneAt   = 0
	twoAt   = headerSize + 3
	threeAt = 2*headerSize + 6
	endAt   = 3*headerSize + 11
)

// reopened is what a start finds in files and delivers.
type reopened struct {
	requests []string
	lost     Loss // damaged
	stats    Stats
	fs       *fakeFS
}

func reopen(t *testing.T, fs *fakeFS, cfg Config) reopened {
	t.Helper()
	var reported losses
	cfg.Lost = reported.take
	s := openStore(t, "data", fs)
	q := openQueue(t, s, "x", 1, cfg)
	got := reopened{requests: drained(q, 0), fs: fs}
	got.stats, got.lost = q.Stats(), reported.of(Damaged)
	mustClose(t, q)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return got
}

// file finds the only file with a suffix.
func (fs *fakeFS) file(t *testing.T, suffix string) (string, *fakeData) {
	t.Helper()
	for name, d := range fs.Names {
		if strings.HasSuffix(name, suffix) {
			return name, d
		}
	}
	t.Fatalf("no %s in %v", suffix, slices.Collect(maps.Keys(fs.Names)))
	return "", nil
}

func TestEveryByteFlipped(t *testing.T) {
	files := backlog(t, quiet(), threeRecords(t))
	name, whole := files.file(t, segmentSuffix)
	if len(whole.Content) != endAt {
		t.Fatalf("%s has %d bytes, want %d", name, len(whole.Content), endAt)
	}
	for at := range endAt {
		for _, flip := range []byte{1, 0x80, 0xff} {
			fs := files.kill()
			fs.Names[name].Content[at] ^= flip
			core, logs := observer.New(zap.WarnLevel)
			cfg := quiet()
			cfg.Log = zap.New(core)
			got := reopen(t, fs, cfg)

			want, samples, from := []string{"three"}, 21, oneAt
			switch {
			case at >= threeAt:
				want, samples, from = []string{"onetwo"}, 300, threeAt
			case at >= twoAt:
				want, samples, from = []string{"one", "three"}, 20, twoAt
			}
			if !slices.Equal(got.requests, want) {
				t.Errorf("byte %d ^ %#x: delivered %q, want %q", at, flip, got.requests, want)
			}
			if got.lost.Samples != samples {
				t.Errorf("byte %d ^ %#x: reported %+v, want %d samples", at, flip, got.lost, samples)
			}
			if got.stats.CorruptRecords == 0 || got.stats.SkippedBytes == 0 {
				t.Errorf("byte %d ^ %#x: not counted: %+v", at, flip, got.stats)
			}
			_, kept := got.fs.file(t, corruptSuffix)
			if !bytes.Contains(kept.Content, []byte{whole.Content[at] ^ flip}) {
				t.Errorf("byte %d ^ %#x: %q was kept aside", at, flip, kept.Content)
			}
			if n := logs.FilterField(zap.Int64("offset", int64(from))).Len(); n != 1 {
				t.Errorf("byte %d ^ %#x: offset %d is in %d lines of the log", at, flip, from, n)
			}
		}
	}
}

func TestEveryLengthTruncated(t *testing.T) {
	files := backlog(t, quiet(), threeRecords(t))
	name, _ := files.file(t, segmentSuffix)
	for length := range endAt {
		fs := files.kill()
		fs.Names[name].Content = fs.Names[name].Content[:length]
		got := reopen(t, fs, quiet())
		var want []string
		good, lost := oneAt, 321
		switch {
		case length >= threeAt:
			want, good, lost = []string{"onetwo"}, threeAt, 300
		case length >= twoAt:
			want, good, lost = []string{"one"}, twoAt, 320
		}
		if !slices.Equal(got.requests, want) {
			t.Errorf("length %d: delivered %q, want %q", length, got.requests, want)
		}
		if got.stats.TruncatedBytes != int64(length-good) || got.stats.CorruptRecords != 0 {
			t.Errorf("length %d: %+v, want %d bytes truncated, none corrupt", length, got.stats, length-good)
		}
		if got.lost.Samples != lost {
			t.Errorf("length %d: reported %+v, want %d samples", length, got.lost, lost)
		}
	}
}

func TestTornEndIsCutOffOnce(t *testing.T) {
	files := backlog(t, quiet(), threeRecords(t))
	name, d := files.file(t, segmentSuffix)
	d.Content = d.Content[:endAt-1]
	s := openStore(t, "data", files)
	mustClose(t, openQueue(t, s, "x", 1, quiet()))
	if n := len(files.Names[name].Content); n != threeAt {
		t.Errorf("%d bytes are left, want %d", n, threeAt)
	}
}

// manySegments fills segments of one request each.
func manySegments(t *testing.T, n int) (*fakeFS, Config) {
	cfg := quiet()
	cfg.segment = 1
	return backlog(t, cfg, func(q *FIFO) {
		for i := range n {
			sealed(t, q, 0, fmt.Sprint(i))
		}
	}), cfg
}

func segments(fs *fakeFS) (names []string) {
	for name := range fs.Names {
		if strings.HasSuffix(name, segmentSuffix) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func TestOneSegmentIsBad(t *testing.T) {
	garbage := bytes.Repeat([]byte("EsqR garbage"), 1000)
	for name, spoil := range map[string]func(fs *fakeFS, victim string){
		"deleted":    func(fs *fakeFS, victim string) { delete(fs.Names, victim) },
		"zeros":      func(fs *fakeFS, victim string) { clear(fs.Names[victim].Content) },
		"many zeros": func(fs *fakeFS, victim string) { fs.Names[victim].Content = make([]byte, 1<<20) },
		"empty":      func(fs *fakeFS, victim string) { fs.Names[victim].Content = nil },
		"garbage":    func(fs *fakeFS, victim string) { fs.Names[victim].Content = garbage },
	} {
		t.Run(name, func(t *testing.T) {
			fs, cfg := manySegments(t, 5)
			names := segments(fs)
			if len(names) != 5 {
				t.Fatalf("segments: %q", names)
			}
			spoil(fs, names[2])
			got := reopen(t, fs, cfg)
			if !slices.Equal(got.requests, []string{"0", "1", "3", "4"}) || got.lost.Samples != 1 {
				t.Errorf("delivered %q, reported %+v", got.requests, got.lost)
			}
			if left := segments(fs); len(left) != 0 {
				t.Errorf("left: %q", left)
			}
		})
	}
}

func TestForeignFilesStay(t *testing.T) {
	fs, cfg := manySegments(t, 2)
	dir := join("data", queuePrefix+"x")
	for _, name := range []string{
		"README", "00000001-0001-0000-0000000g.seg", "1-1-0-1.seg", "00000001-0001-0001-00000001.seg",
		"100000001-0001-0000-00000001.seg", "00000001-0001-0000.posx"} {
		fs.Names[join(dir, name)] = &fakeData{Content: []byte("mine")}
	}
	if got := reopen(t, fs, cfg); !slices.Equal(got.requests, []string{"0", "1"}) {
		t.Errorf("delivered %q", got.requests)
	}
	left := 0
	for _, d := range fs.Names {
		if string(d.Content) == "mine" {
			left++
		}
	}
	if left != 6 {
		t.Errorf("%d of 6 foreign files are left", left)
	}
}

// halfDelivered has 4 requests in one segment, of which 2 were delivered.
func halfDelivered(t *testing.T) *fakeFS {
	return backlog(t, quiet(), func(q *FIFO) {
		sealed(t, q, 0, "0", "1", "2", "3")
		eventually(t, "all is written", func() bool { return q.Stats().WrittenRecords == 4 })
		for range 2 {
			q.Next(0, Limit{})
			q.Ack(0)
		}
	})
}

func slotAt(seq uint32, offset int64, counter uint64) []byte {
	return slot{position: position{seq, offset}, counter: counter}.append(nil)
}

// pad makes the second slot of a position file follow the first.
func pad(slot []byte) []byte { return append(slot, make([]byte, slotStride-len(slot))...) }

func TestPosition(t *testing.T) {
	all, rest, less := []string{"0", "1", "2", "3"}, []string{"2", "3"}, []string{"1", "2", "3"}
	two := func(first, second []byte) []byte { return append(append(make([]byte, 0), pad(first)...), second...) }
	torn := func(b []byte) []byte { b[20]++; return b }
	for name, tc := range map[string]struct {
		content func(now []byte) []byte
		want    []string
	}{
		"as it was":        {func(now []byte) []byte { return now }, rest},
		"missing":          {func([]byte) []byte { return nil }, all},
		"zeros":            {func(now []byte) []byte { clear(now); return now }, all},
		"newer slot torn":  {func([]byte) []byte { return two(slotAt(1, 49, 2), torn(slotAt(1, 98, 3))) }, less},
		"older slot torn":  {func([]byte) []byte { return two(torn(slotAt(1, 49, 2)), slotAt(1, 98, 3)) }, rest},
		"newer slot first": {func([]byte) []byte { return two(slotAt(1, 98, 4), slotAt(1, 49, 3)) }, rest},
		"cut off":          {func(now []byte) []byte { return now[:10] }, all},
		"later segment":    {func([]byte) []byte { return slotAt(9, 0, 7) }, nil},
		"beyond the end":   {func([]byte) []byte { return slotAt(1, 1000, 7) }, all},
		"within a record":  {func([]byte) []byte { return slotAt(1, 60, 7) }, all},
		"negative":         {func([]byte) []byte { return slotAt(1, -1, 7) }, all},
		"at the end":       {func([]byte) []byte { return slotAt(1, 4*49, 7) }, nil},
		"newer one wrong":  {func([]byte) []byte { return two(slotAt(1, 98, 6), slotAt(1, 1000, 7)) }, rest},
	} {
		t.Run(name, func(t *testing.T) {
			fs := halfDelivered(t)
			file, d := fs.file(t, positionSuffix)
			if d.Content = tc.content(d.Content); d.Content == nil {
				delete(fs.Names, file)
			}
			if got := reopen(t, fs, quiet()); !slices.Equal(got.requests, tc.want) {
				t.Errorf("delivered %q, want %q", got.requests, tc.want)
			}
		})
	}
}

// TestStalePositionLosesNothing: a position is behind segments that are gone. New segments must get higher numbers.
func TestStalePositionLosesNothing(t *testing.T) {
	fs := halfDelivered(t)
	name, _ := fs.file(t, segmentSuffix)
	delete(fs.Names, name)
	s := openStore(t, "data", fs)
	q := openQueue(t, s, "x", 1, quiet())
	sealed(t, q, 0, "a", "b", "c")
	mustClose(t, q)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if got := reopen(t, fs, quiet()); !slices.Equal(got.requests, []string{"a", "b", "c"}) {
		t.Errorf("delivered %q", got.requests)
	}
}

// TestTheNoteOfAStopHoldsForOneStart: the count of undelivered samples in a position is right for one start.
// Samples that the next process delivers are not missing, even after a power cut takes all that it had not synced.
func TestTheNoteOfAStopHoldsForOneStart(t *testing.T) {
	for name, crash := range map[string]func(*fakeFS) *fakeFS{
		"killed":    (*fakeFS).kill,
		"power cut": func(fs *fakeFS) *fakeFS { return &fakeFS{fs.LoseUnsynced()} },
	} {
		t.Run(name, func(t *testing.T) {
			fs, cfg := manySegments(t, 5)
			cfg.FsyncInterval = time.Hour
			files := segments(fs)
			q := openQueue(t, openStore(t, "data", fs), "x", 1, cfg)
			for range 3 {
				if _, ok := next(q, 0); !ok {
					t.Fatal("nothing to deliver")
				}
				q.Ack(0)
			}
			crashed := crash(fs)
			for _, name := range files[:3] { // delivered: a removal may last where a position does not
				delete(crashed.Names, name)
			}
			got := reopen(t, crashed, quiet())
			if !slices.Equal(got.requests, []string{"3", "4"}) || got.lost != (Loss{}) {
				t.Errorf("delivered %q, reported %+v", got.requests, got.lost)
			}
			mustClose(t, q)
		})
	}
}

func TestDamageWhileRunning(t *testing.T) {
	fs := newFakeFS()
	var reported losses
	cfg := quiet()
	cfg.MaxMemory, cfg.Lost = 2*(recordOverhead+1), reported.take
	q := openQueue(t, openStore(t, "data", fs), "x", 1, cfg)
	for i := range 8 {
		sealed(t, q, 0, fmt.Sprint(i))
		eventually(t, "it is written", func() bool { return q.Stats().WrittenRecords == i+1 })
	}
	fs.Mu.Lock()
	_, d := fs.file(t, segmentSuffix)
	d.Content[3*49+headerSize] ^= 1 // the data of 3
	d.Content[5*49] ^= 1            // the header of 5
	fs.Mu.Unlock()
	if got := drained(q, 0); !slices.Equal(got, []string{"0", "1", "2", "4", "6", "7"}) {
		t.Errorf("delivered %q", got)
	}
	if got := reported.of(Damaged); got != (Loss{2, 2}) {
		t.Errorf("reported %+v", got)
	}
	if s := q.Stats(); s.CorruptRecords != 2 || s.Samples != 0 {
		t.Errorf("stats: %+v", s)
	}
	mustClose(t, q)
}

func TestQuarantineIsBounded(t *testing.T) {
	fs := newFakeFS()
	if err := fs.Mkdir("q"); err != nil {
		t.Fatal(err)
	}
	c := newQuarantine(fs, "q")
	big := bytes.NewReader(bytes.Repeat([]byte{1}, maxCorruptBytes/2))
	for i := range 4 {
		c.keep(zap.NewNop(), fmt.Sprint(i), big, span{0, big.Size()})
	}
	c.keep(zap.NewNop(), "zeros", bytes.NewReader(make([]byte, 5000)), span{0, 5000})
	names := slices.Sorted(maps.Keys(fs.Names))
	want := []string{join("q", "2-00000000.corrupt"), join("q", "3-00000000.corrupt")}
	if !slices.Equal(names, want) {
		t.Errorf("kept %q, want %q", names, want)
	}
}
