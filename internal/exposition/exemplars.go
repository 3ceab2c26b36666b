package exposition

import (
	"slices"
	"unicode/utf8"

	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// exemplars are those that a target's pages showed last, by the hash of their line: a page shows one until there is
// a newer one, and it is sent once.
//
// Cost: some 150 bytes a line that has one, up to maxExemplars lines; a page that has none pays nothing.
type exemplars struct {
	kept  map[uint64]exemplar.Exemplar // of good pages
	page  map[uint64]exemplar.Exemplar // of the page being read, those that are new
	shown int                          // by the page being read, new or not
}

const (
	// maxOldExemplars is how many may be kept beside twice as many as the last page showed: of lines that had none there.
	maxOldExemplars = 1000
	// maxExemplars is how many are kept in all. One beyond is sent each time that a page shows it: receivers know that
	// they have it.
	maxExemplars = 1 << 15
)

// begin starts a page.
func (x *exemplars) begin() {
	clear(x.page)
	x.shown = 0
}

// add reports whether e is to be sent. A line of a float series has one exemplar, which is sent if it is not equal to
// the last one. A native histogram has several, of which some are old: as in Prometheus' storage, one is sent if it is
// newer than the newest one sent before. The exemplars of one line come in the order of exemplar.Compare.
func (x *exemplars) add(line uint64, e exemplar.Exemplar, native bool) (send bool) {
	x.shown++
	last, ok := x.page[line]
	if !ok {
		last, ok = x.kept[line]
	}
	if ok && (last.Equals(e) || native && exemplar.Compare(e, last) < 0) {
		return false
	}
	if x.page == nil {
		x.page = map[uint64]exemplar.Exemplar{}
	}
	if ok || len(x.kept)+len(x.page) < maxExemplars {
		x.page[line] = e
	}
	return true
}

// commit keeps what a good page showed.
func (x *exemplars) commit() {
	if x.kept == nil || len(x.kept) > 2*x.shown+maxOldExemplars {
		x.kept, x.page = x.page, nil
	}
	for line, e := range x.page {
		x.kept[line] = e
	}
	x.begin()
}

// takeExemplars adds the exemplars of the sample at index, whose line has the hash given. One of a native histogram
// counts only with a timestamp of its own; one that no storage takes is left out.
func (p *Page) takeExemplars(parser textparse.Parser, line uint64, index int, native bool) {
	var found []exemplar.Exemplar
	for e := (exemplar.Exemplar{}); parser.Exemplar(&e); e = (exemplar.Exemplar{}) {
		if !e.HasTs {
			if native {
				continue
			}
			e.Ts = p.batch.Time
			if n := len(p.batch.Times); n > 0 && p.batch.Times[n-1].Index == index {
				e.Ts = p.batch.Times[n-1].Time
			}
		}
		found = append(found, e)
	}
	slices.SortFunc(found, exemplar.Compare)
	for _, e := range found {
		if e.Labels = e.Labels.WithoutEmpty().Copy(); isStorable(e.Labels) && p.exemplars.add(line, e, native) {
			p.batch.Exemplars = append(p.batch.Exemplars, series.Exemplar{Index: index, Exemplar: e})
		}
	}
}

// isStorable tells whether an exemplar may have these labels: each once, and not too long in all.
func isStorable(l labels.Labels) bool {
	size := 0
	l.Range(func(l labels.Label) { size += utf8.RuneCountInString(l.Name) + utf8.RuneCountInString(l.Value) })
	_, twice := l.HasDuplicateLabelNames()
	return !twice && size <= exemplar.ExemplarMaxLabelSetLength
}
