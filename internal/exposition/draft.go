package exposition

import (
	"github.com/envoy-scraper/envoy-scraper/internal/hashindex"
	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// draft is the layout of a page that is not the one expected, while it is read. It is lent to the page from the
// first such line to Commit or Abandon.
//
// A known line has a number: its place in the page's layout, or behind those in learned.
type draft struct {
	layout          // of the page so far, in order; families: those of known, then those learned
	learned  layout // lines that the page's layout has not; each series holds a reference
	known    *layout
	index    hashindex.Index // hash -> number of a known line
	indexed  bool
	onPage   []uint64      // a bit for each known line: the page has shown it
	seen     hashindex.Set // series of the page
	timed    bool          // a sample had a timestamp of its own
	appended int           // the first so many of learned are up to the last that was appended
	counted  hashindex.Set // numbers, plus one, of uncounted lines that this page has counted
	cold     []byte        // scratch of readCold
	quick    quickParser
	named    []family // scratch of number

	grownBefore int // Table.Grown of the target when the page got the draft
}

// open prepares a draft for a page whose known lines are those of l.
func (d *draft) open(l *layout) {
	d.known, d.indexed, d.timed, d.appended = l, false, false, 0
	d.take(l, 0)
	d.learned.take(l, 0)
	d.families = append(d.families[:0], l.families...)
	d.counted.Reset(0)
}

// maxKeptBytes is how large a draft may be that is kept for the next page.
const maxKeptBytes = 4 << 20

// tooLarge tells that a draft should not be kept.
func (d *draft) tooLarge() bool {
	return d.layout.bytes()+d.learned.bytes()+8*cap(d.onPage)+16*cap(d.named)+
		d.index.Bytes()+d.seen.Bytes()+d.counted.Bytes()+cap(d.cold)+d.quick.bytes() > maxKeptBytes
}

// begin copies what the page had in common with the one expected: the first n lines.
func (d *draft) begin(n int, b *series.Batch) {
	l := d.known
	d.take(l, n)
	d.onPage = append(d.onPage[:0], make([]uint64, len(l.hashes)/64+1)...)
	for i := range n {
		d.mark(i)
	}
	d.seen.Reset(max(len(l.hashes), len(b.Series)))
	for _, id := range b.Series {
		d.seen.Add(uint32(id))
	}
}

func (d *draft) hashOf(n uint32) uint64 {
	if i := int(n) - len(d.known.hashes); i >= 0 {
		return d.learned.hashes[i]
	}
	return d.known.hashes[n]
}

// find returns the number of a known line.
func (d *draft) find(hash uint64) (n int, ok bool) {
	if !d.indexed {
		d.indexed = true
		d.index.Reset(len(d.known.hashes))
		for i, h := range d.known.hashes {
			if _, twice := d.index.Find(h, func(n uint32) bool { return d.known.hashes[n] == h }); !twice {
				d.index.Add(h, uint32(i), d.hashOf)
			}
		}
	}
	at, ok := d.index.Find(hash, func(n uint32) bool { return d.hashOf(n) == hash })
	return int(at), ok
}

// at returns what a known line means, without marks.
func (d *draft) at(n int) place {
	if i := n - len(d.known.places); i >= 0 {
		return d.learned.places[i]
	}
	return d.known.places[n].bare()
}

func (d *draft) lengthOf(n int) uint16 {
	if i := n - len(d.known.lengths); i >= 0 {
		return d.learned.lengths[i]
	}
	return d.known.lengths[n]
}

// learn adds a line that was not known.
func (d *draft) learn(hash uint64, p place, length uint16) (n int) {
	n = len(d.known.hashes) + len(d.learned.hashes)
	d.learned.append(hash, p, length)
	d.index.Add(hash, uint32(n), d.hashOf)
	return n
}

// learnFamily returns the place of a TYPE or HELP line.
func (d *draft) learnFamily(f family) place {
	d.families = append(d.families, f)
	return placeFamily | place(len(d.families)-1)
}

// mark notes that the page shows a known line; false: it had shown it before.
func (d *draft) mark(n int) (first bool) {
	for n/64 >= len(d.onPage) {
		d.onPage = append(d.onPage, 0)
	}
	bit := uint64(1) << (n % 64)
	first = d.onPage[n/64]&bit == 0
	d.onPage[n/64] |= bit
	return first
}

// met tells that the page has shown a known line.
func (d *draft) met(n int) bool {
	return n/64 < len(d.onPage) && d.onPage[n/64]&(1<<(n%64)) != 0
}

// follow appends a known line to the page.
func (d *draft) follow(n int) {
	d.append(d.hashOf(uint32(n)), d.at(n), d.lengthOf(n))
}

// last is the place of the line appended last, for its marks.
func (d *draft) last() *place { return &d.places[len(d.places)-1] }

// number gives the families of the page their numbers in the order of its lines, so that pages that say the
// same have the same layout whatever was on them before.
func (d *draft) number() {
	d.named = d.named[:0]
	for i, p := range d.places {
		if p.kind() == placeFamily {
			d.places[i] = placeFamily | place(len(d.named))
			d.named = append(d.named, d.families[p.number()])
		}
	}
	d.families, d.named = d.named, d.families
}

// maxExtras is how many lines only failed pages showed may stay known beside n of the last good one: as in
// Prometheus.
func maxExtras(n int) int { return n + 1000 }

// addExtras appends, behind a good page's lines, those known beside them, and those that the page just read, which
// failed, taught; if they are too many, only those that it showed. unread tells that the page failed before its end
// was seen: what it taught stays known, so that the next one comes further, but is still to be counted as added.
func (d *draft) addExtras(unread bool) {
	good, end := d.known.shown, len(d.known.hashes)+len(d.learned.hashes)
	all := end-good <= maxExtras(good)
	for n := good; n < end; n++ {
		shown := !d.mark(n)
		if !all && !shown {
			continue
		}
		d.follow(n)
		if learned := n - len(d.known.hashes); learned >= d.appended ||
			learned < 0 && d.uncounted(n) && (unread || !d.counted.Has(uint32(n)+1)) {
			*d.last() |= uncountedBit
		}
	}
}

// uncounted tells that a known line, once it is a sample of a page that was read whole, counts as added.
func (d *draft) uncounted(n int) bool {
	return n >= d.known.shown && n < len(d.known.places) && d.known.places[n]&uncountedBit != 0
}

// followOnce leaves one line of each series that staleness follows without the mark of a duplicate.
func (d *draft) followOnce() {
	d.seen.Reset(len(d.places))
	for i, p := range d.places {
		if p.kind() == placeSeries && p&duplicateBit == 0 && !d.seen.Add(uint32(p.id())) {
			d.places[i] |= duplicateBit
		}
	}
}
