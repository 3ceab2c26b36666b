package exposition

import (
	"slices"
	"unicode/utf8"

	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// sentExemplars are the exemplars that were sent last, by the hash of their line. A page shows
//
//	istio_requests_total{response_code="200"} 17 # {trace_id="4bf9"} 0.3
//
// until it has a newer exemplar. Each is sent once.
//
// Invariant: kept changes only after good pages, so an exemplar of a page that failed is sent when it is shown again.
//
// Cost: some 150 bytes per line that has one, up to maxExemplars lines; a page that has none pays nothing.
type sentExemplars struct {
	kept  map[uint64]exemplar.Exemplar // of good pages
	page  map[uint64]exemplar.Exemplar // of the page being read, those that are new
	shown int                          // by the page being read, new or not
}

const (
	// maxOldExemplars is how many exemplars of lines that show none any more may be kept, beside twice as many as the
	// last page showed.
	maxOldExemplars = 1000
	// maxExemplars is how many are kept in all. Those beyond are sent each time that a page shows them: receivers
	// recognise that they have them.
	maxExemplars = 1 << 15
)

// begin starts a page.
func (x *sentExemplars) begin() {
	clear(x.page)
	x.shown = 0
}

// add reports whether e is to be sent. A line of a float series has one exemplar, which is sent if it is not equal to
// the last one. A native histogram has several, of which some are old: as in Prometheus' storage, one is sent if it is
// newer than the newest one sent before. The exemplars of one line come in the order of exemplar.Compare.
func (x *sentExemplars) add(line uint64, e exemplar.Exemplar, native bool) (send bool) {
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
func (x *sentExemplars) commit() {
	if x.kept == nil || len(x.kept) > 2*x.shown+maxOldExemplars {
		x.kept, x.page = x.page, nil
	}
	for line, e := range x.page {
		x.kept[line] = e
	}
	x.begin()
}

// takeExemplars adds the exemplars of the sample at index to the batch. line is the hash of its text. As in Prometheus,
// an exemplar of a native histogram is left out if it has no timestamp, and any one that no storage takes.
func (r *reading) takeExemplars(parser textparse.Parser, line uint64, index int, native bool) {
	var found []exemplar.Exemplar
	for e := (exemplar.Exemplar{}); parser.Exemplar(&e); e = (exemplar.Exemplar{}) {
		if !e.HasTs {
			if native {
				continue
			}
			e.Ts = r.batch.Time
			if n := len(r.batch.Times); n > 0 && r.batch.Times[n-1].Index == index {
				e.Ts = r.batch.Times[n-1].Time
			}
		}
		found = append(found, e)
	}
	slices.SortFunc(found, exemplar.Compare)
	for _, e := range found {
		if e.Labels = e.Labels.WithoutEmpty().Copy(); isStorable(e.Labels) && r.page.exemplars.add(line, e, native) {
			r.batch.Exemplars = append(r.batch.Exemplars, series.Exemplar{Index: index, Exemplar: e})
		}
	}
}

// isStorable reports whether an exemplar may have these labels: each name once, and at most 128 characters in all.
func isStorable(l labels.Labels) bool {
	size := 0
	l.Range(func(l labels.Label) { size += utf8.RuneCountInString(l.Name) + utf8.RuneCountInString(l.Value) })
	_, twice := l.HasDuplicateLabelNames()
	return !twice && size <= exemplar.ExemplarMaxLabelSetLength
}
