package runner

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Counts is what a process asked of the kernel: since it began, for each scrape, or per second.
type Counts struct {
	// ReadCalls are those of read and readv, failed ones too. recv, recvfrom and recvmsg are not counted.
	ReadCalls    float64 `json:"read_calls"`
	WriteCalls   float64 `json:"write_calls"`
	ReadBytes    float64 `json:"read_bytes"` // from files, sockets and pipes
	WrittenBytes float64 `json:"written_bytes"`
	DiskBytes    float64 `json:"disk_bytes"`           // caused to be written to a disk, in whole pages
	Waits        float64 `json:"voluntary_switches"`   // a thread went to sleep
	Preemptions  float64 `json:"involuntary_switches"` // a thread had to give way to another
	Faults       float64 `json:"minor_faults"`         // pages that the kernel had to map
}

// since returns how much was added to earlier for each of n scrapes or seconds.
func (c Counts) since(earlier Counts, n float64) Counts {
	each := func(now, before float64) float64 { return ratio(now-before, n) }
	return Counts{
		ReadCalls: each(c.ReadCalls, earlier.ReadCalls), WriteCalls: each(c.WriteCalls, earlier.WriteCalls),
		ReadBytes: each(c.ReadBytes, earlier.ReadBytes), WrittenBytes: each(c.WrittenBytes, earlier.WrittenBytes),
		DiskBytes: each(c.DiskBytes, earlier.DiskBytes), Waits: each(c.Waits, earlier.Waits),
		Preemptions: each(c.Preemptions, earlier.Preemptions), Faults: each(c.Faults, earlier.Faults),
	}
}

// CountFigure is one line about Counts in a report or a document.
type CountFigure struct {
	Name string
	Of   func(Counts) float64
}

// CountFigures returns the lines in their order.
func CountFigures() []CountFigure {
	kib := func(bytes func(Counts) float64) func(Counts) float64 {
		return func(c Counts) float64 { return bytes(c) / (1 << 10) }
	}
	return []CountFigure{
		{"read calls", func(c Counts) float64 { return c.ReadCalls }},
		{"write calls", func(c Counts) float64 { return c.WriteCalls }},
		{"KiB read", kib(func(c Counts) float64 { return c.ReadBytes })},
		{"KiB written", kib(func(c Counts) float64 { return c.WrittenBytes })},
		{"KiB to disk", kib(func(c Counts) float64 { return c.DiskBytes })},
		{"waits", func(c Counts) float64 { return c.Waits }},
		{"preemptions", func(c Counts) float64 { return c.Preemptions }},
		{"page faults", func(c Counts) float64 { return c.Faults }},
	}
}

// Cell writes a median of windows for each scrape, and in brackets per second, as 23.2 (464/s).
func (f CountFigure) Cell(windows []Window) string {
	scrape := medianOf(windows, func(w Window) float64 { return f.Of(w.PerScrape) })
	second := medianOf(windows, func(w Window) float64 { return f.Of(w.PerSecond) })
	return fmt.Sprintf("%s (%s/s)", short(scrape), short(second))
}

// short writes three digits or more: 0.12, 2.34, 23.4, 1234.
func short(v float64) string {
	switch {
	case v < 9.995:
		return digits(2)(v)
	case v < 99.95:
		return digits(1)(v)
	}
	return digits(0)(v)
}

// counter counts for one process. Create one for each process.
type counter struct {
	dir     string // /proc/<pid>
	threads map[string]switches
	ended   switches // of threads whose number belongs to another thread by now
}

type switches struct{ waits, preemptions float64 }

func newCounter(pid int) *counter {
	return &counter{dir: fmt.Sprintf("/proc/%d", pid), threads: map[string]switches{}}
}

// read returns the process's counts since it began. The kernel forgets the context switches of a thread that ends, so
// the counter keeps those that it saw last. With one look per second, at most those of a thread's last second are
// missing.
func (c *counter) read() (Counts, error) {
	n, err := c.io()
	if err != nil {
		return n, err
	}
	if n.Faults, err = c.faults(); err != nil {
		return n, err
	}
	if err := c.look(); err != nil {
		return n, err
	}
	n.Waits, n.Preemptions = c.ended.waits, c.ended.preemptions
	for _, s := range c.threads {
		n.Waits, n.Preemptions = n.Waits+s.waits, n.Preemptions+s.preemptions
	}
	return n, nil
}

func (c *counter) io() (n Counts, err error) {
	text, err := os.ReadFile(filepath.Join(c.dir, "io"))
	if err != nil {
		return n, err
	}
	return parseIO(text)
}

func parseIO(text []byte) (n Counts, err error) {
	err = parseFields(text, map[string]*float64{
		"syscr": &n.ReadCalls, "syscw": &n.WriteCalls, "rchar": &n.ReadBytes, "wchar": &n.WrittenBytes,
		"write_bytes": &n.DiskBytes,
	})
	return n, err
}

// parseFields reads lines such as "syscr: 23". All of the fields must be there.
func parseFields(text []byte, into map[string]*float64) error {
	found := 0
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(line, ":")
		field := into[key]
		if field == nil {
			continue
		}
		v, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
		if err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		*field = v
		found++
	}
	if found < len(into) {
		return fmt.Errorf("%d of %d fields in %q", found, len(into), text)
	}
	return nil
}

// faults returns the minor page faults of all threads, those that ended too.
func (c *counter) faults() (float64, error) {
	text, err := os.ReadFile(filepath.Join(c.dir, "stat"))
	if err != nil {
		return 0, err
	}
	return parseFaults(string(text))
}

// parseFaults reads the tenth field of a line such as "42 (a name) S 1 42 42 0 -1 4194304 1234 …". The name may hold
// spaces and brackets.
func parseFaults(stat string) (float64, error) {
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) < 8 {
		return 0, fmt.Errorf("unexpected stat %q", stat)
	}
	return strconv.ParseFloat(fields[7], 64)
}

// look reads the context switches of the threads that run.
func (c *counter) look() error {
	entries, err := os.ReadDir(filepath.Join(c.dir, "task"))
	if err != nil {
		return err
	}
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(c.dir, "task", e.Name(), "status"))
		if err != nil {
			continue // it has ended since
		}
		var now switches
		if err := parseFields(text, map[string]*float64{
			"voluntary_ctxt_switches": &now.waits, "nonvoluntary_ctxt_switches": &now.preemptions,
		}); err != nil {
			return err
		}
		if last := c.threads[e.Name()]; now.waits < last.waits {
			c.ended.waits, c.ended.preemptions = c.ended.waits+last.waits, c.ended.preemptions+last.preemptions
		}
		c.threads[e.Name()] = now
	}
	return nil
}
