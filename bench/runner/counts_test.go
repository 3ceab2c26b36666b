package runner

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// fakeProc is the counter of a process whose files are in a folder instead of /proc/<pid>.
func fakeProc(t *testing.T, files map[string]string) *counter {
	t.Helper()
	c := newCounter(1)
	c.dir = t.TempDir()
	writeProc(t, c, files)
	return c
}

func writeProc(t *testing.T, c *counter, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(c.dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

const (
	fakeIO = "rchar: 4096\nwchar: 512\nsyscr: 7\nsyscw: 3\nread_bytes: 0\nwrite_bytes: 8192\n" +
		"cancelled_write_bytes: 0\n"
	fakeStat = "42 (a (name) x) S 1 42 42 0 -1 4194304 1234 55 6 7 8 9\n"
)

func fakeThread(voluntary, involuntary string) string {
	return "Name:\tx\nThreads:\t2\nvoluntary_ctxt_switches:\t" + voluntary + "\nnonvoluntary_ctxt_switches:\t" +
		involuntary + "\n"
}

func TestCounterReadsWhatTheKernelCounts(t *testing.T) {
	c := fakeProc(t, map[string]string{"io": fakeIO, "stat": fakeStat,
		"task/42/status": fakeThread("100", "10"), "task/43/status": fakeThread("20", "2")})
	got, err := c.read()
	want := Counts{ReadCalls: 7, WriteCalls: 3, ReadBytes: 4096, WrittenBytes: 512, DiskBytes: 8192, Waits: 120,
		Preemptions: 12, Faults: 1234}
	if err != nil || got != want {
		t.Errorf("counts = %+v, %v; want %+v", got, err, want)
	}
}

func TestCounterKeepsThreadsThatEnded(t *testing.T) {
	c := fakeProc(t, map[string]string{"io": fakeIO, "stat": fakeStat,
		"task/42/status": fakeThread("100", "10"), "task/43/status": fakeThread("20", "2")})
	if _, err := c.read(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(c.dir, "task/43")); err != nil {
		t.Fatal(err)
	}
	writeProc(t, c, map[string]string{"task/42/status": fakeThread("105", "10")})
	if got, err := c.read(); err != nil || got.Waits != 125 || got.Preemptions != 12 {
		t.Errorf("after the end of a thread: %+v, %v; want 125 and 12", got, err)
	}
	writeProc(t, c, map[string]string{"task/43/status": fakeThread("1", "1")}) // a new thread with its number
	if got, err := c.read(); err != nil || got.Waits != 126 || got.Preemptions != 13 {
		t.Errorf("with a new thread of the same number: %+v, %v; want 126 and 13", got, err)
	}
}

func TestCounterRefusesWhatItDoesNotKnow(t *testing.T) {
	good := map[string]string{"io": fakeIO, "stat": fakeStat, "task/42/status": fakeThread("1", "1")}
	for file, text := range map[string]string{
		"io":             strings.Replace(fakeIO, "syscr", "other", 1), // a kernel that does not count
		"stat":           "42 (x) S 1\n",
		"task/42/status": "Name:\tx\n",
	} {
		c := fakeProc(t, good)
		writeProc(t, c, map[string]string{file: text})
		if _, err := c.read(); err == nil {
			t.Errorf("%s: no error for %q", file, text)
		}
	}
}

// TestCounterOfARealProcess: the kernel's files are as the counter expects them.
func TestCounterOfARealProcess(t *testing.T) {
	if _, err := os.Stat("/proc/self/io"); err != nil {
		t.Skip("needs /proc")
	}
	c := newCounter(os.Getpid())
	before, err := c.read()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(t.TempDir(), "x"), make([]byte, 1000), 0o644); err != nil {
		t.Fatal(err)
	}
	after, err := c.read()
	if d := after.since(before, 1); err != nil || d.WriteCalls < 1 || d.WrittenBytes < 1000 || d.ReadCalls < 1 ||
		after.Waits == 0 || after.Faults == 0 {
		t.Errorf("counts after a write of 1,000 bytes: %+v more than %+v (%v)", d, before, err)
	}
}

func TestBetweenDividesTheCounts(t *testing.T) {
	b := &bed{config: Config{Interval: 10 * time.Second, Checks: true}, kept: 100}
	begin, end := snapshot{at: time.Unix(100, 0)}, snapshot{at: time.Unix(120, 0)}
	begin.counts, end.counts = Counts{ReadCalls: 100, Waits: 7}, Counts{ReadCalls: 500, Waits: 47}
	end.served.Scrapes = 40
	w := b.between(begin, end, nil)
	if w.PerScrape != (Counts{ReadCalls: 10, Waits: 1}) || w.PerSecond != (Counts{ReadCalls: 20, Waits: 2}) {
		t.Errorf("per scrape %+v, per second %+v", w.PerScrape, w.PerSecond)
	}
	if got := CountFigures()[0].Cell([]Window{w}); got != "10.0 (20.0/s)" {
		t.Errorf("cell = %q", got)
	}
}
