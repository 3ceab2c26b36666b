package exposition

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// learner keeps every series whose name does not begin with "drop", without a target.
type learner struct {
	table   *series.Table
	layouts *Layouts
	target  series.TargetID
}

func newLearner() *learner {
	table := series.NewTable()
	return &learner{table: table, layouts: NewLayouts(table), target: table.AddTarget(labels.EmptyLabels())}
}

func (*learner) Late(series.ID, int64) bool { return false }

func (*learner) Recall(uint64, series.Meta) (series.ID, bool, bool) { return 0, false, false }

func (l *learner) Learn(_ uint64, lset labels.Labels, m series.Meta) (series.ID, bool, error) {
	if strings.HasPrefix(lset.Get(model.MetricNameLabel), "drop") {
		return 0, false, nil
	}
	if !lset.Has(model.MetricNameLabel) {
		return 0, false, errors.New("no name")
	}
	if _, twice := lset.HasDuplicateLabelNames(); twice {
		return 0, false, errors.New("a label twice")
	}
	return l.table.Add(l.target, withoutEmpty(lset), m), true, nil
}

// withoutEmpty drops labels without a value, which means no label, as every scrape does after parsing.
func withoutEmpty(l labels.Labels) labels.Labels { return labels.NewBuilder(l).Labels() }

// sample is a sample as a receiver sees it.
type sample struct {
	labels string
	bits   uint64
	own    int64
}

func (l *learner) samples(b *series.Batch) []sample {
	own := map[int]int64{}
	for _, t := range b.Times {
		own[t.Index] = t.Time
	}
	var out []sample
	l.table.Read(func(v series.View) {
		for i, id := range b.Series {
			var lb labels.ScratchBuilder
			for _, p := range v.Labels(nil, id, l.target) {
				lb.Add(v.String(p.Name), v.String(p.Value))
			}
			out = append(out, sample{lb.Labels().String(), math.Float64bits(b.Values[i]), own[i]})
		}
	})
	return out
}

// reference reads a page with textparse alone, as Prometheus' scrape loop does.
func reference(page []byte, contentType string) (samples []sample, c Counts, err error) {
	if len(page) == 0 {
		return nil, c, nil
	}
	p, err := textparse.New(bytes.Clone(page), contentType, nil, textparse.ParserOptions{IgnoreNativeHistograms: true})
	if p == nil {
		return nil, c, err
	}
	seen := map[string]bool{}
	texts := map[string]bool{}
	var typ model.MetricType
	for {
		entry, err := p.Next()
		if errors.Is(err, io.EOF) {
			return samples, c, nil
		}
		if err != nil {
			return nil, c, err
		}
		if entry == textparse.EntryType {
			_, typ = p.Type()
		}
		if entry != textparse.EntrySeries {
			continue
		}
		c.Scraped++
		text, own, v := p.Series()
		key := fmt.Sprint(typeSalt(typ), string(text)) // a text under another TYPE may mean other labels
		var l labels.Labels
		p.Labels(&l)
		if strings.HasPrefix(l.Get(model.MetricNameLabel), "drop") {
			continue
		}
		if !l.Has(model.MetricNameLabel) {
			return nil, c, errors.New("no name")
		}
		if _, twice := l.HasDuplicateLabelNames(); twice {
			return nil, c, errors.New("a label twice")
		}
		l = withoutEmpty(l)
		c.Kept++
		if own == nil && (seen[l.String()] || texts[key]) {
			c.Duplicates++
			continue
		}
		seen[l.String()] = seen[l.String()] || own == nil // another time is another sample
		texts[key] = true
		s := sample{labels: l.String(), bits: math.Float64bits(v)}
		if own != nil {
			s.own = *own
		}
		samples = append(samples, s)
	}
}

// readBoth reads a page both ways and fails on any difference.
func readBoth(t *testing.T, p *Page, l *learner, page []byte, contentType string, body io.Reader) {
	t.Helper()
	var b series.Batch
	b.Reset(l.target, 1)
	got, err := p.Read(body, contentType, math.MaxInt64, &b)
	want, wantCounts, wantErr := reference(page, contentType)
	if (err != nil) != (wantErr != nil) {
		t.Fatalf("error %v, want %v\n%q", err, wantErr, page)
	}
	if got.Scraped != wantCounts.Scraped || got.Kept != wantCounts.Kept || got.Duplicates != wantCounts.Duplicates {
		t.Fatalf("counts %+v, want %+v\n%q", got, wantCounts, page)
	}
	if err != nil {
		p.Abandon()
		return
	}
	have := l.samples(&b)
	if len(have) != len(want) {
		t.Fatalf("%d samples, want %d\n%q", len(have), len(want), page)
	}
	for i := range want {
		if have[i] != want[i] {
			t.Fatalf("sample %d: got %v want %v\n%q", i, have[i], want[i], page)
		}
	}
	p.Commit(Shown{}).Release()
}

const plain = "text/plain; charset=UTF-8"

// awkward returns pages that a reader of lines easily misreads.
func awkward() []string {
	return []string{
		"a 1\nb 2\n",
		"a 1\nb 2",
		"b 2\na 1\nc 3\n",
		"# TYPE h histogram\nh_bucket{le=\"1\"} 3\nh_bucket{le=\"+Inf\"} 4\n" +
			"h_sum{} 309.89999999999997726263245567679\n" +
			"h_count{} 4\n",
		"# TYPE h counter\nh_bucket{le=\"1\"} 3\n# TYPE h histogram\nh_bucket{le=\"1\"} 3\n",
		"# TYPE s summary\ns{quantile=\"1\"} nan\ns{quantile=\"0.5\"} NaN\n",
		"a{x=\"one\ntwo 3\"} 4\nb 1\n",
		"a{x=\"one\n",
		"a{x=\"\\\"}\\n\"} 4\n",
		"a  5\n\tb\t6\n  c 7  \n",
		"a 1 1000\na 2 2000\na 3\n",
		"a 1\na 2\nb 1\na 3\n",
		"a 1 1000\na{} 2\na{} 3\na{} 4 1000\n",
		"a{x=\"1\",y=\"2\"} 1\na{y=\"2\",x=\"1\"} 2\n",
		"drop_me 1\nkept 2\ndrop_me 3\n",
		"\n\n# just a comment\n#\n# HELP a what \"it\" is\na 1\n\n",
		"# HELP a x\x00y\na 1\n#\x00\nb 2\n",
		"a 1\n\x00b 2\n",
		"a{x=\"\x00\"} 1\n",
		"{\"utf8.name\",x=\"1\"} 1\n# TYPE \"utf8\nname\" counter\nb 1\n",
		"a 18446744073709551615\nb 123456789012345678\nc 1e3\nd 0x10\ne 1_0\nf -5\ng +Inf\nh .5\n",
		"a 18446744073709551615\nb 123456789012345678\nc 1e3\nf -5\ng +Inf\nh .5\n",
		"a 1\r\nb 2\r\n",
		"<html>\n",
		"a{x=\"\xff\"} 1\n",
		"a{} 1\nno_value\n",
		"a 1\n# TYPE b nonsense\nb 1\n",
		"a\" 1\nb 2\n",
		"# TYPE a counter\n# TYPE a counter\na 1\n",
		"", "\n", " ", "#", "# ", "{", "a", "a ", "\"",
	}
}

func TestPagesAsTextparseReadsThem(t *testing.T) {
	for _, first := range awkward() {
		for _, second := range awkward() {
			l := newLearner()
			p := NewPage(l.layouts, l, Options{HonorTimestamps: true})
			for _, page := range []string{first, first, second, second, first} {
				readBoth(t, p, l, []byte(page), plain, strings.NewReader(page))
				readBoth(t, p, l, []byte(page), plain, iotest.OneByteReader(strings.NewReader(page)))
			}
			p.Forget()
			if n := l.table.Len(); n != 0 {
				t.Fatalf("%d series left after %q, %q", n, first, second)
			}
		}
	}
}

func FuzzPages(f *testing.F) {
	for i, page := range awkward() {
		f.Add([]byte(page), []byte(awkward()[(i+7)%len(awkward())]), uint8(i))
	}
	f.Fuzz(func(t *testing.T, first, second []byte, cut uint8) {
		l := newLearner()
		p := NewPage(l.layouts, l, Options{HonorTimestamps: true})
		edited := append(bytes.Clone(first[:min(int(cut), len(first))]), second...)
		for _, page := range [][]byte{first, first, second, edited, first} {
			readBoth(t, p, l, page, plain, bytes.NewReader(page))
		}
	})
}

func TestRealPages(t *testing.T) {
	files, _ := filepath.Glob("../../../shared/data/envoy/*.txt")
	if len(files) == 0 {
		t.Skip("SKIPPED: no real pages beside the checkout (../shared/data/envoy)")
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			page, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			contentType := plain
			if bytes.HasSuffix(bytes.TrimSpace(page), []byte("# EOF")) {
				contentType = "application/openmetrics-text; version=1.0.0"
			}
			l := newLearner()
			p := NewPage(l.layouts, l, Options{HonorTimestamps: true})
			for range 3 {
				readBoth(t, p, l, page, contentType, bytes.NewReader(page))
			}
		})
	}
}

func TestARepeatedPageIsUnchanged(t *testing.T) {
	l := newLearner()
	p := NewPage(l.layouts, l, Options{HonorTimestamps: true})
	read := func(page string) Counts {
		var b series.Batch
		b.Reset(l.target, 1)
		c, err := p.Read(strings.NewReader(page), plain, math.MaxInt64, &b)
		if err != nil {
			t.Fatal(err)
		}
		p.Commit(Shown{}).Release()
		return c
	}
	for i, want := range []Counts{
		{Scraped: 3, Kept: 2, Added: 2},
		{Scraped: 3, Kept: 2, Unchanged: true},
	} {
		if got := read(fmt.Sprintf("# TYPE a counter\na %d\nb 2\ndrop 3\n", i)); got != want {
			t.Errorf("page %d: got %+v want %+v", i, got, want)
		}
	}
	got, want := read("# TYPE a counter\na 1\nnew 1\nb 2\ndrop 3\n"), Counts{Scraped: 4, Kept: 3, Added: 1}
	if got != want {
		t.Errorf("a new line: got %+v want %+v", got, want)
	}
	if got := read("# TYPE a counter\na 1\nnew 1\nb 2\ndrop 3\n"); !got.Unchanged {
		t.Errorf("the new order was not learned: %+v", got)
	}
	if got := read("# TYPE a counter\na 1\n"); got.Unchanged {
		t.Error("a shorter page counts as unchanged")
	}
	if got := l.table.Len(); got != 1 {
		t.Errorf("%d series known after all but one left, want 1", got)
	}
}

func TestFailingPages(t *testing.T) {
	broken := errors.New("broken")
	for name, c := range map[string]struct {
		body io.Reader
		typ  string
		opts Options
		want Counts
	}{
		"read error": {io.MultiReader(strings.NewReader("a 1\nb 2\n"), iotest.ErrReader(broken)), plain,
			Options{}, Counts{}},
		"parse, then read": {io.MultiReader(strings.NewReader("a 1\n<\n"), iotest.ErrReader(broken)), plain,
			Options{}, Counts{}},
		"parse error": {strings.NewReader("a 1\nb 2\n<html>\nc 3\n"), plain, Options{},
			Counts{Scraped: 2, Kept: 2, Added: 2}},
		"sample limit": {strings.NewReader("a 1\nb 2\ndrop 1\nc 3\n"), plain, Options{SampleLimit: 1},
			Counts{Scraped: 4, Kept: 3, Added: 1}},
		"no content type": {strings.NewReader("a 1\n"), "", Options{}, Counts{}},
		"HTML":            {strings.NewReader("<html>"), "text/html", Options{}, Counts{}},
		"one endless line": {strings.NewReader("a{x=\"" + strings.Repeat("x", maxLineBytes+chunkBytes)), plain,
			Options{}, Counts{}},
		"OpenMetrics, no EOF": {strings.NewReader("a 1\n"), "application/openmetrics-text", Options{},
			Counts{Scraped: 1, Kept: 1, Added: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLearner()
			p := NewPage(l.layouts, l, c.opts)
			var b series.Batch
			got, err := p.Read(c.body, c.typ, math.MaxInt64, &b)
			if err == nil {
				t.Fatal("no error")
			}
			if got != c.want {
				t.Errorf("got %+v want %+v (%v)", got, c.want, err)
			}
			p.Abandon()
			p.Forget()
			if n := l.table.Len(); n != 0 {
				t.Errorf("%d series left", n)
			}
		})
	}
}

// visit is one page of a target, with its counts and the series shown afterwards.
type visit struct {
	page  string
	fails bool
	torn  bool     // the body breaks off behind page
	want  Counts   // of a page that fails without Duplicates
	shown []string // afterwards
}

// TestPagesTeachTheNextOnes follows a target from page to page.
func TestPagesTeachTheNextOnes(t *testing.T) {
	for name, c := range map[string]struct {
		opts   Options
		visits []visit
	}{
		"nothing but a blank line after timestamps of its own": {Options{HonorTimestamps: true}, []visit{
			{page: "a 1 1000\nb 1\n", want: Counts{Scraped: 2, Kept: 2, Added: 2}, shown: []string{"b"}},
			{page: "\n", want: Counts{}},
		}},
		"a text met twice, elsewhere": {Options{SampleLimit: 2}, []visit{
			{page: "a 1\na 2\n", want: Counts{Scraped: 2, Kept: 2, Added: 1, Duplicates: 1}, shown: []string{"a"}},
			{page: "b 1\na 1\na 2\n", want: Counts{Scraped: 3, Kept: 3, Added: 1, Duplicates: 1},
				shown: []string{"b", "a"}},
		}},
		"one series at two times": {Options{HonorTimestamps: true}, []visit{
			{page: "a 1 1000\na{} 2\na{} 3\n", want: Counts{Scraped: 3, Kept: 3, Added: 2, Duplicates: 1},
				shown: []string{"a"}},
		}},
		"one series at two times, both tracked": {Options{HonorTimestamps: true, TrackTimestamps: true}, []visit{
			{page: "a 1 1000\na{} 2\n", want: Counts{Scraped: 2, Kept: 2, Added: 2}, shown: []string{"a"}},
		}},
		"too far ahead teaches nothing": {Options{HonorTimestamps: true}, []visit{
			{page: "a 1 999999\n", want: Counts{Scraped: 1, Kept: 1, OutOfBounds: 1}},
			{page: "a 1 999999\na 1\n", want: Counts{Scraped: 2, Kept: 2, Added: 1, OutOfBounds: 1},
				shown: []string{"a"}},
		}},
		"too far ahead, once read on a page that broke off": {Options{HonorTimestamps: true}, []visit{
			{page: "a 1\n", torn: true, fails: true},
			{page: "a 1 999999\na 1\n", want: Counts{Scraped: 2, Kept: 2, Added: 1, OutOfBounds: 1},
				shown: []string{"a"}},
		}},
		"what came after the limit is new again": {Options{SampleLimit: 1}, []visit{
			{page: "a 1\nb 1\n", fails: true, want: Counts{Scraped: 2, Kept: 2, Added: 1}},
			{page: "b 1\n", want: Counts{Scraped: 1, Kept: 1, Added: 1}, shown: []string{"b"}},
		}},
		"failed pages teach": {Options{}, []visit{
			{page: "a 1\n<html>\n", fails: true, want: Counts{Scraped: 1, Kept: 1, Added: 1}},
			{page: "b 1\n<html>\n", fails: true, want: Counts{Scraped: 1, Kept: 1, Added: 1}},
			{page: "a 1\nb 1\n", want: Counts{Scraped: 2, Kept: 2}, shown: []string{"a", "b"}},
		}},
		"until a good one leaves it out": {Options{}, []visit{
			{page: "a 1\n", want: Counts{Scraped: 1, Kept: 1, Added: 1}, shown: []string{"a"}},
			{page: "b 1\n<html>\n", fails: true, want: Counts{Scraped: 1, Kept: 1, Added: 1}},
			{page: "a 1\n", want: Counts{Scraped: 1, Kept: 1, Unchanged: true}, shown: []string{"a"}},
			{page: "a 1\nb 1\n", want: Counts{Scraped: 2, Kept: 2, Added: 1}, shown: []string{"a", "b"}},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLearner()
			p := NewPage(l.layouts, l, c.opts)
			var before Shown
			for i, v := range c.visits {
				var b series.Batch
				b.Reset(l.target, 1)
				var body io.Reader = strings.NewReader(v.page)
				if v.torn {
					body = io.MultiReader(body, iotest.ErrReader(io.ErrUnexpectedEOF))
				}
				got, err := p.Read(body, plain, 100_000, &b)
				if (err != nil) != v.fails || got != v.want {
					t.Errorf("page %d: %+v, %v; want %+v", i, got, err, v.want)
				}
				if err != nil {
					p.Abandon()
					before.Release()
					before = Shown{}
				} else {
					before = p.Commit(before)
				}
				if shown := l.names(before); !slices.Equal(shown, v.shown) {
					t.Errorf("page %d shows %q, want %q", i, shown, v.shown)
				}
			}
			p.Forget()
			before.Release()
			if n := l.table.Len(); n != 0 {
				t.Errorf("%d series left", n)
			}
		})
	}
}

// names returns the names of the series shown.
func (l *learner) names(s Shown) (names []string) {
	l.table.Read(func(v series.View) {
		for id := range s.Series() {
			names = append(names, v.String(v.Parts(id).Name))
		}
	})
	return names
}

func TestReplicasShareALayoutWhateverTheyShowedBefore(t *testing.T) {
	const page = "# TYPE a counter\na 1\nb 2\n# TYPE c gauge\nc 3\n"
	l := newLearner()
	for _, before := range []string{"", page, "# TYPE c gauge\nc 1\n", "a 1\na 1\nx 1\n", "new 1\n<html>\n",
		"a 1 1000\n", page + "more 1\n"} {
		p := NewPage(l.layouts, l, Options{HonorTimestamps: true})
		for _, text := range []string{page, before, page} {
			readBoth(t, p, l, []byte(text), plain, strings.NewReader(text))
		}
		if n := l.layouts.Len(); n != 1 {
			t.Errorf("%d layouts after %q, want one", n, before)
		}
		if n := l.table.Len(); n != 3 {
			t.Errorf("%d series after %q, want 3", n, before)
		}
	}
}

func TestRow27FailingPagesDoNotTeachWithoutEnd(t *testing.T) {
	l := newLearner()
	p := NewPage(l.layouts, l, Options{})
	for i := range 50 {
		var page strings.Builder
		for j := range 100 {
			fmt.Fprintf(&page, "a{n=\"%d\"} 1\n", i*100+j)
		}
		page.WriteString("<html>\n")
		var b series.Batch
		if _, err := p.Read(strings.NewReader(page.String()), plain, math.MaxInt64, &b); err == nil {
			t.Fatal("no error")
		}
		p.Abandon()
		if got, most := l.table.Len(), maxExtras(0)+100; got > most {
			t.Fatalf("%d series known after %d failed pages, want at most %d", got, i+1, most)
		}
	}
}

func TestFallbackAndEmpty(t *testing.T) {
	l := newLearner()
	p := NewPage(l.layouts, l, Options{Fallback: "text/plain"})
	var b series.Batch
	if c, err := p.Read(strings.NewReader("a 1\n"), "", math.MaxInt64, &b); err != nil || c.Scraped != 1 {
		t.Errorf("fallback: %+v, %v", c, err)
	}
	p.Commit(Shown{}).Release()
	b.Reset(l.target, 2)
	if c, err := p.Read(strings.NewReader(""), "", math.MaxInt64, &b); err != nil || c.Unchanged || b.Len() != 0 {
		t.Errorf("empty: %+v, %v", c, err)
	}
	p.Commit(Shown{}).Release()
	b.Reset(l.target, 3)
	if c, err := p.Read(strings.NewReader("a 1\n"), "", math.MaxInt64, &b); err != nil || c.Added != 0 {
		t.Errorf("after an empty page: %+v, %v; its texts are still known", c, err)
	}
}

func TestRow63MetadataFollowsTheFamily(t *testing.T) {
	l := newLearner()
	p := NewPage(l.layouts, l, Options{})
	var b series.Batch
	page := "# HELP h helps\n# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_count 1\nstray 1\n# TYPE c counter\nc 1\n"
	if _, err := p.Read(strings.NewReader(page), plain, math.MaxInt64, &b); err != nil {
		t.Fatal(err)
	}
	want := []string{"histogram helps", "histogram helps", "unknown ", "counter "}
	l.table.Read(func(v series.View) {
		for i, id := range b.Series {
			typ, help, _ := v.Meta(v.Parts(id).Meta)
			if got := string(typ) + " " + v.String(help); got != want[i] {
				t.Errorf("series %d: %q, want %q", i, got, want[i])
			}
		}
	})
}

// New metadata of a family holds for those of its series that were known before, too.
func TestRow63MetadataChanges(t *testing.T) {
	const mf = "application/openmetrics-text; version=1.0.0"
	for name, tc := range map[string]struct {
		contentType string
		pages       []string // the last one good
		want        string   // of series a
	}{
		"TYPE": {plain, []string{"# TYPE a counter\na 1\n", "# TYPE a gauge\na 2\n"}, "gauge  "},
		"TYPE and back": {plain, []string{"# TYPE a counter\na 1\n", "# TYPE a gauge\na 2\n",
			"# TYPE a counter\na 3\n"}, "counter  "},
		"HELP": {plain, []string{"# HELP a old\n# TYPE a counter\na 1\n",
			"# HELP a new\n# TYPE a counter\na 2\n"}, "counter new "},
		"HELP after TYPE": {plain, []string{"# TYPE a counter\n# HELP a old\na 1\n",
			"# TYPE a counter\n# HELP a new\na 2\n"}, "counter new "},
		"a family before": {plain, []string{"# TYPE a counter\na 1\n", "# TYPE b gauge\nb 1\n# TYPE a gauge\na 2\n"},
			"gauge  "},
		"a family changed": {plain, []string{"# TYPE a counter\na 1\n# TYPE b gauge\nb 1\n",
			"# TYPE b counter\nb 1\n# TYPE a counter\na 2\n"}, "counter  "},
		"added":           {plain, []string{"a 1\n", "# TYPE a gauge\na 2\n"}, "gauge  "},
		"gone":            {plain, []string{"# HELP a h\n# TYPE a gauge\na 1\n", "a 2\n"}, "gauge h "},
		"HELP alone gone": {plain, []string{"# HELP a h\n# TYPE a gauge\na 1\n", "# TYPE a gauge\na 2\n"}, "gauge h "},
		"failed page": {plain, []string{"# TYPE a counter\na 1\n", "# TYPE a gauge\na 2\n<html>\n",
			"# TYPE a gauge\na 3\n"}, "gauge  "},
		"with labels": {plain, []string{"# TYPE a counter\na{} 1\n", "# TYPE a gauge\na{} 2\n"}, "gauge  "},
		"quoted name": {plain, []string{"# TYPE a counter\n{\"a\"} 1\n", "# TYPE a gauge\n{\"a\"} 2\n"},
			"gauge  "},
		"odd line": {plain, []string{"# TYPE a counter\na\t1 5\n", "# TYPE a gauge\na\t2 5\n"}, "gauge  "},
		"OpenMetrics": {mf, []string{"# TYPE a gauge\n# HELP a old\na 1\n# EOF\n",
			"# TYPE a unknown\n# HELP a new\na 2\n# EOF\n"}, "unknown new "},
		"OpenMetrics UNIT": {mf, []string{"# TYPE a_s gauge\n# UNIT a_s s\na_s 1\n# EOF\n",
			"# TYPE a_s counter\n# UNIT a_s s\n# HELP a_s new\na_s_total 2\n# TYPE a gauge\na 1\n# EOF\n"}, "gauge  "},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLearner()
			p := NewPage(l.layouts, l, Options{HonorTimestamps: true})
			var shown Shown
			for i, page := range tc.pages {
				var b series.Batch
				_, err := p.Read(strings.NewReader(page), tc.contentType, math.MaxInt64, &b)
				if err != nil {
					p.Abandon()
					continue
				}
				shown = p.Commit(shown)
				if i < len(tc.pages)-1 {
					continue
				}
				l.table.Read(func(v series.View) {
					for _, id := range b.Series {
						if parts := v.Parts(id); v.String(parts.Name) == "a" {
							typ, help, unit := v.Meta(parts.Meta)
							if got := fmt.Sprintf("%s %s %s", typ, v.String(help), v.String(unit)); got != tc.want {
								t.Errorf("got %q, want %q", got, tc.want)
							}
						}
					}
				})
			}
		})
	}
}

// BenchmarkRepeatedPage reads a page on which only the values changed. If relabeling drops every line, it is cheaper,
// and only the layout has the lines.
func BenchmarkRepeatedPage(b *testing.B) {
	for _, name := range []string{"istio_requests_total", "dropped"} {
		b.Run(name, func(b *testing.B) {
			var page strings.Builder
			for i := range 2000 {
				fmt.Fprintf(&page, "%s{reporter=\"destination\",source_workload=\"%0420d\",response_code=\"200\"} %d\n",
					name, i, i*1000)
			}
			l := newLearner()
			p := NewPage(l.layouts, l, Options{})
			var batch series.Batch
			body := strings.NewReader("")
			b.SetBytes(int64(page.Len()))
			for b.Loop() {
				body.Reset(page.String())
				batch.Reset(l.target, 1)
				if _, err := p.Read(body, plain, math.MaxInt64, &batch); err != nil {
					b.Fatal(err)
				}
				p.Commit(Shown{}).Release()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/2000, "ns/sample")
			if kept := l.table.Len(); name == "dropped" && kept != 0 {
				b.Errorf("%d series of dropped lines", kept)
			}
		})
	}
}
