package exposition

import (
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// world is what a target has: series by family, with values. Families whose names begin with drop are dropped by the
// learner. Those that begin with dropTo are on the filtered page nevertheless, as a filter finds too much.
type world map[string]map[int]int

func (w world) page(filtered bool) string {
	var b strings.Builder
	for _, family := range slices.Sorted(func(yield func(string) bool) {
		for f := range w {
			if !yield(f) {
				return
			}
		}
	}) {
		if len(w[family]) == 0 || filtered && strings.HasPrefix(family, "drop_") {
			continue
		}
		fmt.Fprintf(&b, "# TYPE %s counter\n", family)
		for n := range 6 {
			if v, there := w[family][n]; there {
				fmt.Fprintf(&b, "%s{n=\"%d\"} %d\n", family, n, v)
			}
		}
	}
	return b.String()
}

// change makes and removes some series, and moves all values.
func (w world) change(rng *rand.Rand) {
	for family, all := range w {
		for n := range 6 {
			_, there := all[n]
			switch {
			case rng.IntN(12) > 0:
			case there:
				delete(all, n)
			default:
				all[n] = 0
			}
		}
		for n := range all {
			all[n] += rng.IntN(5)
		}
		w[family] = all
	}
}

// counted is a learner that counts what it is asked.
type counted struct {
	*learner
	learned int
}

func (c *counted) Learn(text uint64, l labels.Labels, m series.Meta) (series.ID, bool, error) {
	c.learned++
	return c.learner.Learn(text, l, m)
}

// reader reads the pages of one target as a loop does.
type reader struct {
	l    *counted
	page *Page
	live Shown
}

func newReader() *reader {
	l := &counted{learner: newLearner()}
	return &reader{l: l, page: NewPage(l.layouts, l, Options{})}
}

// read reads a page; cut breaks it off at its middle. It returns the samples and counts of a good page.
func (r *reader) read(text string, cut bool) ([]sample, Counts) {
	body := io.Reader(strings.NewReader(text))
	if cut {
		body = io.MultiReader(strings.NewReader(text[:len(text)/2]), iotest.ErrReader(io.ErrUnexpectedEOF))
	}
	b := new(series.Batch)
	b.Reset(r.l.target, 1000)
	c, err := r.page.Read(body, "text/plain; version=0.0.4", 5000, b)
	if (err != nil) != cut {
		panic(err)
	}
	if cut {
		r.page.Abandon()
		return nil, c
	}
	out := r.l.samples(b)
	r.live = r.page.Commit(r.live)
	return out, c
}

func (r *reader) shown() (texts []string) {
	b := new(series.Batch)
	for id := range r.live.Series() {
		b.Add(id, 0)
	}
	for _, s := range r.l.samples(b) {
		texts = append(texts, s.labels)
	}
	return texts
}

// TestFilteredPagesChangeNothing reads pages whole, and the same pages whole or filtered: samples, series that are
// live, and counts of kept and added series must be the same.
func TestFilteredPagesChangeNothing(t *testing.T) {
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 1))
		w := world{"a_kept": {}, "drop_b": {1: 0}, "drop_c": {}, "dropTo_d": {}, "e_kept": {}, "f_kept": {},
			"drop_g": {}}
		plain, both := newReader(), newReader()
		filtered := false
		for step := range 60 {
			if rng.IntN(3) > 0 {
				w.change(rng)
			}
			if rng.IntN(4) == 0 {
				filtered = !filtered
			}
			if rng.IntN(15) == 0 { // breaks off; what was added is not compared then, since it depends on where
				both.page.Turn(rng.IntN(2) == 0)
				both.read(w.page(both.page.filtered), true)
			}
			both.page.Turn(filtered)
			want, wantCounts := plain.read(w.page(false)+"drop_z 1\n", false)
			text := w.page(filtered)
			if !filtered {
				text += "drop_z 1\n"
			}
			got, counts := both.read(text, false)
			if !slices.Equal(got, want) {
				t.Fatalf("seed %d, step %d: samples %v, want %v", seed, step, got, want)
			}
			if counts.Kept != wantCounts.Kept || counts.Added != wantCounts.Added {
				t.Fatalf("seed %d, step %d, filtered %v: kept %d, added %d, want %d, %d",
					seed, step, filtered, counts.Kept, counts.Added, wantCounts.Kept, wantCounts.Added)
			}
			if got, want := both.shown(), plain.shown(); !slices.Equal(got, want) {
				t.Fatalf("seed %d, step %d: live %v, want %v", seed, step, got, want)
			}
		}
		for _, r := range []*reader{plain, both} {
			r.live.Release()
			r.page.Forget()
			if series, layouts := r.l.table.Len(), r.l.layouts.Len(); series+layouts > 0 {
				t.Fatalf("seed %d: %d series and %d layouts are left", seed, series, layouts)
			}
		}
	}
}

// TestPagesInTurnsAreNotLearnedAgain turns between the pages of a target whose lines stay, and of one where a series
// goes and another comes.
func TestPagesInTurnsAreNotLearnedAgain(t *testing.T) {
	w := world{"a_kept": {0: 1, 1: 1}, "drop_b": {0: 1, 1: 1, 2: 1}, "dropTo_c": {0: 1}, "d_kept": {4: 1}}
	r := newReader()
	both := func() (unchanged bool) {
		unchanged = true
		for _, filtered := range []bool{true, true, false} {
			r.page.Turn(filtered)
			_, c := r.read(w.page(filtered), false)
			unchanged = unchanged && c.Unchanged
		}
		return unchanged
	}
	r.read(w.page(false), false)
	both()
	before := r.l.learned
	if !both() || r.l.learned != before {
		t.Errorf("%d lines were learned again, or a page counts as changed", r.l.learned-before)
	}
	delete(w["a_kept"], 0)
	w["a_kept"][3] = 1
	if both() || r.l.learned != before+1 {
		t.Errorf("%d lines were learned for one that is new", r.l.learned-before)
	}
	if !both() || r.l.learned != before+1 {
		t.Error("the change was learned twice")
	}
	r.page.ForgetOther()
	both()
	if r.l.learned != before+1 {
		t.Error("a page that was forgotten is learned from its lines, not from the other page")
	}
}

// TestAPageKnowsWhatItsOtherPageShows: after a filtered page broke off, the series of the whole page are still known.
func TestAPageKnowsWhatItsOtherPageShows(t *testing.T) {
	r := newReader()
	r.read("a 1\ndrop_b 1\n", false)
	var a series.ID
	for id := range r.live.Series() {
		a = id
	}
	r.page.Turn(true)
	r.read("a 1\n", true)
	if !r.page.Knows(a) {
		t.Error("the series of the whole page is not known")
	}
}

// TestAnEmptyFilteredPageForgets follows a series that goes while the filtered page is empty.
func TestAnEmptyFilteredPageForgets(t *testing.T) {
	r := newReader()
	r.read("drop_b 1\na 1\n", false)
	r.page.Turn(true)
	r.read("a 1\n", false)
	r.read("", false)
	if len(r.shown()) > 0 {
		t.Error("a series is live that the page lacks")
	}
	if _, c := r.read("a 1\n", false); c.Added != 1 {
		t.Errorf("%d series were added, want 1", c.Added)
	}
}
