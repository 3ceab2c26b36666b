package exposition

import "github.com/envoy-scraper/envoy-scraper/internal/hashindex"

// additions is the count of added series (Counts.Added, scrape_series_added): of samples whose line no page of the
// target has shown before, as in Prometheus. It says which of the known lines the page being read has counted.
//
// Invariant: each line is counted once, by a page that was read to the end of its body. A page that breaks off behind
//
//	a 1
//	b 1
//
// counts nothing, but its lines stay known, so that the next scrape comes further. They are marked as uncounted in the
// layout. If the next page shows a, b and c, it adds three series.
type additions struct {
	counted hashindex.Set // number+1 of each line of the layout that was uncounted until this page
	learned int           // of the lines that this page taught, the first ones up to this number are counted
}

// reset forgets what the page has counted: it begins, or its body could not be read to the end.
func (a *additions) reset() { a.counted.Reset(0); a.learned = 0 }

func (a *additions) bytes() int { return a.counted.Bytes() }

// staysUncounted reports whether line n stays uncounted after this page.
func (a *additions) staysUncounted(n int, known *knownLines) bool {
	if i := n - known.layout.len(); i >= 0 {
		return i >= a.learned
	}
	return known.isUncounted(n) && !a.counted.Has(uint32(n)+1)
}

// isUncounted reports whether a line was uncounted when the page began.
func (k *knownLines) isUncounted(n int) bool {
	return n >= k.layout.shown && n < len(k.layout.refs) && k.layout.refs[n].mark() == markUncounted
}

// isNew reports whether a sample of the known line n counts as added: it is uncounted, and the page has not shown it.
func (d *draft) isNew(n int) bool { return d.known.isUncounted(n) && !d.onPage.has(n) }

// countAdded counts line n as added. Behind a limit that the page exceeds Added stays as it is, but the line does not
// count on the next page either.
func (r *reading) countAdded(n int) {
	d := r.draft
	if r.limits.exceeded == nil {
		r.counts.Added++
	}
	if n < d.known.layout.len() {
		d.added.counted.Add(uint32(n) + 1)
	} else {
		d.added.learned = d.known.learned.len()
	}
}
