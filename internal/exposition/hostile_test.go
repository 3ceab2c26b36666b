package exposition

import (
	"fmt"
	"io"
	"math"
	"runtime"
	"strings"
	"testing"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// endless prints lines one after another, up to a length. It holds one of them.
type endless struct {
	left int // bytes
	line func(n int) string
	n    int
	rest string
}

func (e *endless) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) && e.left > 0 {
		if e.rest == "" {
			e.rest = e.line(e.n)
			e.n++
		}
		k := copy(p[n:], e.rest)
		e.rest = e.rest[k:]
		n, e.left = n+k, e.left-k
	}
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

// same makes lines that are all alike, numbered makes lines with their number.
func same(s string) func(int) string { return func(int) string { return s } }

func numbered(format string) func(int) string {
	return func(n int) string { return fmt.Sprintf(format, n) }
}

const (
	mb       = 1 << 20
	fewLines = 1 << 13
)

// TestT5HostilePagesCostLinearly reads pages of a quarter and of half a megabyte, whose lines are as short as they can
// be, and measures how much memory that allocates and how much is kept afterwards.
func TestT5HostilePagesCostLinearly(t *testing.T) {
	for name, c := range map[string]struct {
		line func(int) string
		opts Options
		kept float64 // MB; 0: 0.6
	}{
		"newlines":                {same("\n"), Options{}, 0},
		"blanks":                  {same(" \n"), Options{}, 0},
		"CRLF":                    {same("\r\n"), Options{}, 0},
		"one comment":             {same("#\n"), Options{}, 0},
		"different comments":      {numbered("#%d\n"), Options{}, 0},
		"HELP of many families":   {numbered("# HELP a%d b\n"), Options{}, 5},
		"TYPE of many families":   {numbered("# TYPE a%d gauge\n"), Options{}, 0},
		"one series":              {same("a 1\n"), Options{}, 0},
		"dropped series":          {numbered("drop%d 1\n"), Options{}, 0},
		"too many series":         {numbered("a%d 1\n"), Options{SampleLimit: fewLines}, 1.5},
		"too many dropped series": {numbered("drop%d 1\n"), Options{SampleLimit: fewLines}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			cost := func(bytes int) (allocated, kept float64) {
				l := newLearner()
				p := NewPage(l.layouts, l, c.opts)
				p.maxExempt = fewLines
				var b series.Batch
				before := memory()
				got, err := p.Read(&endless{left: bytes, line: c.line}, plain, math.MaxInt64, &b)
				if err != nil {
					p.Abandon()
				} else {
					p.Commit(Shown{}).Release()
				}
				t.Logf("%d bytes: %+v, %v", bytes, got, err)
				b = series.Batch{}
				after := memory()
				runtime.KeepAlive(p)
				kept = float64(after.HeapAlloc) - float64(before.HeapAlloc)
				return float64(after.TotalAlloc - before.TotalAlloc), max(0, kept)
			}
			small, _ := cost(mb / 4)
			large, kept := cost(mb / 2)
			t.Logf("allocated %.1f and %.1f MB, kept %.1f MB", small/mb, large/mb, kept/mb)
			if large > 2.5*small+mb/8 {
				t.Errorf("%.1f MB allocated for twice the page that cost %.1f: more than linear", large/mb, small/mb)
			}
			if most := max(c.kept, 0.6) * mb; kept > most {
				t.Errorf("%.1f MB kept, want at most %.1f", kept/mb, most/mb)
			}
		})
	}
}

func memory() (m runtime.MemStats) {
	runtime.GC()
	runtime.GC() // the first empties the pools, the second frees what was in them
	runtime.ReadMemStats(&m)
	return m
}

// A label value that does not end must not be searched from its beginning with each byte that arrives.
func TestT5UnfinishedStringIsLookedAtFewTimes(t *testing.T) {
	for name, begin := range map[string]string{"value": `a{b="`, "name in a comment": `# HELP "`,
		"text without end": "a"} {
		for _, filler := range []string{"x", "\n"} {
			l := newLearner()
			p := NewPage(l.layouts, l, Options{})
			var b series.Batch
			body := io.MultiReader(strings.NewReader(begin),
				oneByte{&endless{left: maxLineBytes / 8, line: func(int) string { return filler }}})
			_, _ = p.Read(body, plain, math.MaxInt64, &b)
			if got, most := p.reading.cursor.read, 4*maxLineBytes/8; got > most {
				t.Errorf("%s of %q: %d bytes looked at, want at most %d", name, filler, got, most)
			}
			p.Abandon()
		}
	}
}

// Blank lines and comments that are not learned do not move the cursor. The line expected there, which may be long,
// must not be compared with each of them.
func TestT5LinesThatTheRepeatPathMissesAreHashedFewTimes(t *testing.T) {
	for name, line := range map[string]string{"blank lines": "\n", "blanks": " \n", "comments": "#\x00\n",
		"lines with blanks": " # x\n"} {
		t.Run(name, func(t *testing.T) {
			l := newLearner()
			p := NewPage(l.layouts, l, Options{})
			long := "a{b=\"" + strings.Repeat("x", chunkBytes/4) + "\"} 1\n"
			for _, page := range []string{long, strings.Repeat(line, mb/len(line)) + long, long} {
				var b series.Batch
				_, err := p.Read(strings.NewReader(page), plain, math.MaxInt64, &b)
				c := p.reading.cursor
				if most := 3 * len(page); c.read+c.missed > most {
					t.Errorf("%d bytes looked at of a page of %d, want at most %d; %v", c.read+c.missed, len(page),
						most, err)
				}
				if err != nil {
					p.Abandon()
				} else {
					p.Commit(Shown{}).Release()
				}
			}
		})
	}
}

// oneByte hands out one byte at a time.
type oneByte struct{ r io.Reader }

func (o oneByte) Read(p []byte) (int, error) { return o.r.Read(p[:1]) }

// The HELP texts of families that are different on each page must not add up.
func TestT5HelpIsForgotten(t *testing.T) {
	l := newLearner()
	p := NewPage(l.layouts, l, Options{})
	before := memory()
	for i := range 24 {
		var b series.Batch
		page := fmt.Sprintf("# HELP a%d %s\na%d 1\n", i, strings.Repeat("x", mb/2), i)
		if _, err := p.Read(strings.NewReader(page), plain, math.MaxInt64, &b); err != nil {
			t.Fatal(err)
		}
		p.Commit(Shown{}).Release()
	}
	after := memory()
	if kept := float64(after.HeapAlloc) - float64(before.HeapAlloc); kept > 6*mb {
		t.Errorf("%.1f MB kept of 24 pages, each with half of one, want at most 6", kept/mb)
	}
	runtime.KeepAlive(p)
}

// Lines behind the limits of what is learned count like the others.
func TestT5BeyondTheLimitsCountsStay(t *testing.T) {
	const n = fewLines + 1000
	for name, c := range map[string]struct {
		line func(int) string
		opts Options
		want Counts
	}{
		"dropped": {func(n int) string { return fmt.Sprintf("drop%d 1\n", n) }, Options{}, Counts{Scraped: n}},
		"repeated": {func(int) string { return "a 1\n" }, Options{},
			Counts{Scraped: n, Kept: n, Added: 1, Duplicates: n - 1}},
		"too many": {func(n int) string { return fmt.Sprintf("a%d 1\n", n) }, Options{SampleLimit: 5},
			Counts{Scraped: n, Kept: n, Added: 5}},
	} {
		t.Run(name, func(t *testing.T) {
			var text strings.Builder
			for i := range n {
				text.WriteString(c.line(i))
			}
			l := newLearner()
			p := NewPage(l.layouts, l, c.opts)
			p.maxExempt = fewLines
			for round := range 3 {
				var b series.Batch
				b.Reset(l.target, 1)
				got, err := p.Read(strings.NewReader(text.String()), plain, math.MaxInt64, &b)
				if (err != nil) != (c.opts.SampleLimit > 0) {
					t.Fatal(err)
				}
				want := c.want
				if err != nil {
					p.Abandon()
				} else {
					p.Commit(Shown{}).Release()
				}
				if round > 0 {
					want.Added = 0
				}
				got.Unchanged = false
				if got != want {
					t.Errorf("round %d: got %+v, want %+v", round, got, want)
				}
			}
		})
	}
}
