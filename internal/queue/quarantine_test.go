package queue

import (
	"bytes"
	"fmt"
	"testing"

	"go.uber.org/zap"
)

// TestQuarantineWhenFilesAreTaken: somebody may remove .corrupt files, and a file that is written twice counts once.
func TestQuarantineWhenFilesAreTaken(t *testing.T) {
	fs := newFakeFS()
	if err := fs.Mkdir("q"); err != nil {
		t.Fatal(err)
	}
	c := newQuarantine(fs, "q")
	part := bytes.NewReader(bytes.Repeat([]byte{1}, maxCorruptBytes/4))
	keep := func(name string) { c.keep(zap.NewNop(), name, part, span{0, part.Size()}) }
	for range 6 {
		keep("again")
	}
	if c.bytes != part.Size() || len(c.files) != 1 {
		t.Errorf("%d bytes in %d files, want one of %d", c.bytes, len(c.files), part.Size())
	}
	for i := range 3 {
		keep(fmt.Sprint(i))
	}
	if err := fs.Remove(join("q", "again-00000000.corrupt")); err != nil {
		t.Fatal(err)
	}
	keep("last")
	if _, ok := fs.Names[join("q", "last-00000000.corrupt")]; !ok {
		t.Error("nothing is kept any more after somebody took a file away")
	}
}

// TestDamageIsReportedOnce: a damaged segment stays over several starts until the rest of it is delivered. Its damage
// is counted once.
func TestDamageIsReportedOnce(t *testing.T) {
	files := backlog(t, quiet(), func(q *FIFO) {
		for _, data := range []string{"one", "two", "three"} {
			mustAppend(t, q, 0, record(data, true))
		}
	})
	_, d := files.file(t, segmentSuffix)
	d.Content[twoAt] ^= 1 // the header of the second
	reported, samples := 0, 0
	for range 3 {
		var l losses
		cfg := quiet()
		cfg.Lost = l.take
		s := openStore(t, "data", files)
		q := openQueue(t, s, "x", 1, cfg)
		samples = q.Stats().Samples
		mustClose(t, q)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		reported += l.of(Damaged).Samples
	}
	got := reopen(t, files, quiet())
	if want := record("two", true).Samples; reported != want || got.lost.Samples != 0 || samples != 2*want {
		t.Errorf("%d samples reported as lost, then %d, %d waited; want %d, 0, %d",
			reported, got.lost.Samples, samples, want, 2*want)
	}
}
