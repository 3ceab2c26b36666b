package exposition

import (
	"github.com/envoy-scraper/envoy-scraper/internal/hashindex"
	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// draft holds what a page needs once a line was not the one expected. A page takes it from a pool at the first such
// line and gives it back in Settle or Abandon.
//
// Invariant: from begin on, the embedded layout has the lines of the page so far, in order, and onPage and onSeries say
// which lines and series those are. Before, the draft is only used to search and to learn lines.
type draft struct {
	layout                 // of the page so far; families: those of the known layout, then those learned
	known    knownLines    // all lines that the target has shown, on this page too
	lastGood knownLines    // those of the last good page, if that was the target's other page; else without a layout
	onPage   lineSet       // numbers of known lines that the page has shown
	onSeries hashindex.Set // ids of series that the page has shown without a timestamp of their own
	added    additions     // which of the known lines the page has counted as added
	timed    bool          // a sample had a timestamp of its own
	grown    int           // Table.Grown of the target when the page got the draft
	envoy    envoyParser   // scratch memory, as the following
	text     []byte        // of slowLine
	numbered []family      // of numberFamilies
}

// open prepares a draft for a page after those that taught l. lastGood is the layout of the last good page if that was
// the target's other page, else nil.
func (d *draft) open(l, lastGood *layout) {
	d.known.open(l)
	if d.lastGood.layout = nil; lastGood != nil {
		d.lastGood.open(lastGood)
	}
	d.copyFrom(&l.lines, 0)
	d.families = append(d.families[:0], l.families...)
	d.timed = false
	d.added.reset()
}

// maxKeptBytes is how large a draft may be that is kept for the next page.
const maxKeptBytes = 4 << 20

// tooLarge reports whether a draft has more memory than one that is kept.
func (d *draft) tooLarge() bool {
	return d.lines.bytes()+16*cap(d.families)+16*cap(d.numbered)+d.known.bytes()+8*cap(d.onPage)+
		d.onSeries.Bytes()+d.added.bytes()+cap(d.text)+d.envoy.bytes()+d.lastGood.bytes() > maxKeptBytes
}

// begin copies what the page has in common with the one expected: the first n lines.
func (d *draft) begin(n int, b *series.Batch) {
	l := d.known.layout
	d.copyFrom(&l.lines, n)
	d.onPage = append(d.onPage[:0], make([]uint64, l.len()/64+1)...)
	for i := range n {
		d.onPage.add(i)
	}
	d.onSeries.Reset(max(l.len(), len(b.Series)))
	for _, id := range b.Series {
		d.onSeries.Add(uint32(id))
	}
}

// show appends a known line to the page.
func (d *draft) show(n int) {
	d.append(d.known.hashOf(uint32(n)), d.known.at(n), d.known.lengthOf(n))
}

// last returns the ref of the line appended last, for its mark.
func (d *draft) last() *lineRef { return &d.refs[len(d.refs)-1] }

// learnFamily returns the ref of a TYPE or HELP line.
func (d *draft) learnFamily(f family) lineRef {
	d.families = append(d.families, f)
	return refFamily | lineRef(len(d.families)-1)
}

// numberFamilies gives the families of the page their numbers in the order of its lines. Pages with the same lines then
// have the same layout, whatever the target printed before.
func (d *draft) numberFamilies() {
	d.numbered = d.numbered[:0]
	for i, ref := range d.refs {
		if ref.kind() == refFamily {
			d.refs[i] = refFamily | lineRef(len(d.numbered))
			d.numbered = append(d.numbered, d.families[ref.number()])
		}
	}
	d.families, d.numbered = d.numbered, d.families
}

// markDuplicates marks all lines of a series but the first that staleness follows.
func (d *draft) markDuplicates() {
	d.onSeries.Reset(len(d.refs))
	for i, ref := range d.refs {
		if ref.isSeries() && !ref.duplicate() && !d.onSeries.Add(uint32(ref.id())) {
			d.refs[i] |= markDuplicate
		}
	}
}

// maxExtras returns how many lines that only failed pages have shown may stay known beside the n lines of the last good
// page. Prometheus has the same bound.
func maxExtras(n int) int { return n + 1000 }

// addExtras appends to the lines of the last good page, which the draft has, the lines known beside them and those
// learned from the page just read, which failed. If they are too many, it appends only those that this page has shown.
func (d *draft) addExtras() {
	good, end := d.known.layout.shown, d.known.len()
	all := end-good <= maxExtras(good)
	for n := good; n < end; n++ {
		shown := !d.onPage.add(n)
		if !all && !shown {
			continue
		}
		d.show(n)
		if d.added.staysUncounted(n, &d.known) {
			*d.last() |= markUncounted
		}
	}
}

// knownLines gives each text that the target has shown a number, valid while one page is read.
//
// Invariant: a line of the layout has its index there as its number; lines learned from this page have the numbers
// behind those. If the layout has lines 0 to 99, the second line that the page teaches is number 101. A text that is in
// the layout twice is found under the number of its first line. Each line learned that is a series holds a reference.
type knownLines struct {
	layout  *layout
	learned lines
	index   hashindex.Index // hash of a line -> its number
	indexed bool            // the index has the lines of the layout; it is filled when a line is searched
}

func (k *knownLines) open(l *layout) {
	k.layout, k.indexed = l, false
	k.learned.copyFrom(&l.lines, 0)
}

func (k *knownLines) len() int   { return k.layout.len() + k.learned.len() }
func (k *knownLines) bytes() int { return k.learned.bytes() + k.index.Bytes() }

func (k *knownLines) hashOf(n uint32) uint64 {
	if i := int(n) - len(k.layout.hashes); i >= 0 {
		return k.learned.hashes[i]
	}
	return k.layout.hashes[n]
}

// find returns the number of a known line.
func (k *knownLines) find(hash uint64) (n int, ok bool) {
	if !k.indexed {
		k.fillIndex()
	}
	at, ok := k.index.Find(hash, func(n uint32) bool { return k.hashOf(n) == hash })
	return int(at), ok
}

func (k *knownLines) fillIndex() {
	k.indexed = true
	k.index.Reset(len(k.layout.hashes))
	for i, h := range k.layout.hashes {
		if _, twice := k.index.Find(h, func(n uint32) bool { return k.layout.hashes[n] == h }); !twice {
			k.index.Add(h, uint32(i), k.hashOf)
		}
	}
}

// at returns what a known line is, without its mark.
func (k *knownLines) at(n int) lineRef {
	if i := n - len(k.layout.refs); i >= 0 {
		return k.learned.refs[i]
	}
	return k.layout.refs[n].bare()
}

func (k *knownLines) lengthOf(n int) uint16 {
	if i := n - len(k.layout.lengths); i >= 0 {
		return k.learned.lengths[i]
	}
	return k.layout.lengths[n]
}

// learn adds a line that find has not found, and returns its number.
func (k *knownLines) learn(hash uint64, ref lineRef, length uint16) (n int) {
	n = k.len()
	k.learned.append(hash, ref, length)
	k.index.Add(hash, uint32(n), k.hashOf)
	return n
}

// lineSet is a set of numbers of lines: line 70 is bit 6 of word 1.
type lineSet []uint64

// add reports whether the line was not in the set.
func (s *lineSet) add(n int) (first bool) {
	for n/64 >= len(*s) {
		*s = append(*s, 0)
	}
	word, bit := &(*s)[n/64], uint64(1)<<(n%64)
	first = *word&bit == 0
	*word |= bit
	return first
}

func (s lineSet) has(n int) bool { return n/64 < len(s) && s[n/64]&(1<<(n%64)) != 0 }
