package fleet

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
)

// families lists the families in the order of their TYPE lines, and how many samples stand under another's.
func families(page string) (types []string, strangers int) {
	current := ""
	for line := range strings.Lines(page) {
		if rest, ok := strings.CutPrefix(line, "# TYPE "); ok {
			current, _, _ = strings.Cut(rest, " ")
			types = append(types, current)
			continue
		}
		name, _, _ := strings.Cut(line, "{")
		own := []string{current, current + "_bucket", current + "_sum", current + "_count"}
		if strings.TrimSpace(line) != "" && !slices.Contains(own, name) {
			strangers++
		}
	}
	return types, strangers
}

// sameSeries asserts that two pages hold the same series.
func sameSeries(t *testing.T, a, b []string) {
	t.Helper()
	a, b = slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
	if !slices.Equal(a, b) {
		t.Errorf("another form has other series: %d and %d", len(a), len(b))
	}
}

func TestShuffledPageIsTheSameInAnotherOrder(t *testing.T) {
	form := Page{Shuffle: true}
	p := newPage(newTemplate(0, 2000, form), 1, form)
	values, home, types := read(t, p.buf)
	_, first, _ := read(t, p.body(time.Now()))
	again, second, againTypes := read(t, p.body(time.Now()))
	sameSeries(t, home, first)
	if slices.Equal(first, second) || slices.Equal(home, first) {
		t.Error("want another order at each scrape")
	}
	for s, v := range again {
		if v != values[s] {
			t.Fatalf("value of %s = %v, want %v", s, v, values[s])
		}
	}
	if len(types) != len(againTypes) {
		t.Errorf("%d families, want %d", len(againTypes), len(types))
	}
	if _, strangers := families(string(p.body(time.Now()))); strangers != 0 {
		t.Errorf("%d samples left their family", strangers)
	}
	checkHistograms(t, p.body(time.Now()))
}

func TestUngroupedPageHasSamplesUnderOtherTypes(t *testing.T) {
	form := Page{Ungrouped: true}
	p := newPage(newTemplate(0, 2000, form), 1, form)
	_, home, _ := read(t, newPage(newTemplate(0, 2000, Page{}), 1, Page{}).buf)
	_, order, _ := read(t, p.body(time.Now()))
	sameSeries(t, home, order)
	types, strangers := families(string(p.body(time.Now())))
	if len(types) != len(slices.Compact(slices.Sorted(slices.Values(types)))) {
		t.Error("a TYPE line is repeated")
	}
	if strangers < 1000 {
		t.Errorf("%d samples stand under another family's TYPE, want most", strangers)
	}
	p.advance(0.2, 0)
	if _, next, _ := read(t, p.body(time.Now())); !slices.Equal(order, next) {
		t.Error("the order changed: it is the same at each scrape")
	}
	checkHistograms(t, p.body(time.Now()))
}

func TestBlankLineAfterEachFamily(t *testing.T) {
	form := Page{BlankLines: true}
	for _, form.Shuffle = range []bool{false, true} {
		p := newPage(newTemplate(0, 500, form), 1, form)
		text := string(p.body(time.Now()))
		types, _ := families(text)
		if got := strings.Count(text, "\n\n"); got != len(types) || !strings.HasSuffix(text, "\n\n") {
			t.Errorf("shuffle %v: %d blank lines for %d families", form.Shuffle, got, len(types))
		}
		if values, _, _ := read(t, []byte(text)); len(values) != 500 {
			t.Errorf("shuffle %v: %d series, want 500", form.Shuffle, len(values))
		}
	}
}

func TestEachLineHasALabelOfItsOwn(t *testing.T) {
	form := Page{Distinct: true}
	replicas := newTemplate(0, 2000, form)
	_, series, _ := read(t, newPage(replicas, 1, form).buf)
	_, again, _ := read(t, newPage(replicas, 2, form).buf)
	sameSeries(t, series, again)
	seen := map[string]bool{}
	for _, s := range series {
		_, id, found := strings.Cut(s, `id="`)
		if id, _, _ = strings.Cut(id, `"`); !found || seen[id] {
			t.Fatalf("%s has no label of its own", s)
		}
		seen[id] = true
	}
	if len(seen) != 2000 {
		t.Errorf("%d series, want 2,000", len(seen))
	}
}

func TestOwnTimestampsAreThoseOfTheScrape(t *testing.T) {
	form := Page{Timestamps: true}
	p := newPage(newTemplate(0, 500, form), 1, form)
	for n := range 40 { // long enough for numbers to grow by a digit
		now := time.UnixMilli(1_700_000_000_123).Add(time.Duration(n) * 10 * time.Second)
		p.advance(0.5, 0.01)
		parser := textparse.NewPromParser(p.body(now), labels.NewSymbolTable(), false)
		samples := 0
		for {
			entry, err := parser.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if entry != textparse.EntrySeries {
				continue
			}
			if _, millis, _ := parser.Series(); millis == nil || *millis != now.UnixMilli() {
				t.Fatalf("scrape %d: a sample without the time of the scrape", n)
			}
			samples++
		}
		if samples != 500 {
			t.Fatalf("scrape %d: %d samples, want 500", n, samples)
		}
	}
}

func TestGzipForWhoAcceptsIt(t *testing.T) {
	c := Config{Targets: 1, Series: 200, Replicas: 1, Base: DefaultConfig().Base, Page: Page{Gzip: true}}
	f, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		accept string
		want   bool
	}{{"gzip", true}, {"br, GZIP;q=0.5", true}, {"", false}, {"identity", false}, {"gzip;q=0", false},
		{"x-gzip", false}} {
		r := httptest.NewRequest(http.MethodGet, Path, nil)
		if tt.accept != "" {
			r.Header.Set("Accept-Encoding", tt.accept)
		}
		w := httptest.NewRecorder()
		f.answer(w, r, f.targets[0], nil)
		if got := w.Header().Get("Content-Encoding") == "gzip"; got != tt.want {
			t.Errorf("Accept-Encoding %q: compressed = %v, want %v", tt.accept, got, tt.want)
			continue
		}
		body := w.Body.Bytes()
		if tt.want {
			z, err := gzip.NewReader(bytes.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			if body, err = io.ReadAll(z); err != nil {
				t.Fatal(err)
			}
		}
		if values, _, _ := read(t, body); len(values) != 200 {
			t.Errorf("Accept-Encoding %q: %d series, want 200", tt.accept, len(values))
		}
	}
}

// TestUniqueWorkloadsShareNoSeries: with one replica per workload, no two targets print the same line, except the few
// lines about the proxy itself, which have no label.
func TestUniqueWorkloadsShareNoSeries(t *testing.T) {
	for _, c := range []Config{
		{Targets: 60, Series: 200}, {Targets: 60, Series: 500}, {Targets: 60, Series: 2000},
		{Targets: 8, Series: 20_000},
	} {
		owner := map[string]int{}
		for n := range c.Targets {
			for line := range strings.Lines(string(newPage(newTemplate(c.firstService(n), c.Series, Page{}), 1,
				Page{}).buf)) {
				series, _, _ := strings.Cut(line, "} ")
				if strings.HasPrefix(line, "# ") || strings.HasSuffix(series, "{") ||
					strings.HasPrefix(line, "istio_build{") {
					continue
				}
				if other, shared := owner[series]; shared {
					t.Fatalf("%d series each: targets %d and %d share %s", c.Series, other, n, series)
				}
				owner[series] = n
			}
		}
	}
}

func TestFormsThatExcludeEachOther(t *testing.T) {
	c := DefaultConfig()
	c.Page = Page{Ungrouped: true, Shuffle: true}
	if err := c.Validate(); err == nil {
		t.Error("no error for a page without families whose families are shuffled")
	}
	c.Page = Page{Shuffle: true, BlankLines: true, Timestamps: true, Gzip: true}
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
}

// BenchmarkServe tells what a form costs the fleet, compression included.
func BenchmarkServe(b *testing.B) {
	for _, form := range []Page{{}, {Shuffle: true}, {Ungrouped: true}, {Timestamps: true}, {Gzip: true}} {
		name := form.String()
		if name == "" {
			name = "plain"
		}
		b.Run(strings.ReplaceAll(name, " ", "-"), func(b *testing.B) {
			const series = 2000
			p := newPage(newTemplate(0, series, form), 1, form)
			c := newCompressor()
			for b.Loop() {
				p.advance(0.2, 0)
				body := p.body(time.Now())
				if form.Gzip {
					c.compress(body)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/series, "ns/sample")
		})
	}
}
