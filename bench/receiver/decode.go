package receiver

import (
	"fmt"
	"hash/maphash"
	"math/bits"
	"strings"
	"unsafe"
)

// staleBits is Prometheus' staleness marker.
const staleBits = 0x7ff0000000000002

// decoder takes one request apart. It is reused, and used by one request at a time.
type decoder struct {
	seed   maphash.Seed
	checks bool

	symbols []symbol
	refs    []uint32
	seen    map[uint64]struct{} // symbols of the request
	points  []point
	counts  counts
	problem string // an example of a violation in this request
}

// symbol is a string of a request with what the checks need of it.
type symbol struct {
	text string // aliases the request
	hash uint64
}

// point is a sample by its series' hash.
type point struct {
	series uint64
	millis int64
}

// counts are the numbers of samples and series in one request, or in all requests together.
type counts struct {
	Series     uint64 `json:"timeseries"` // TimeSeries messages
	Samples    uint64 `json:"samples"`
	Stale      uint64 `json:"stale_markers"`
	Synthetic  uint64 `json:"synthetic"` // up, scrape_*: not on any page; staleness markers apart
	Down       uint64 `json:"up_0"`      // up with the value 0: failed scrapes
	Metadata   uint64 `json:"metadata"`
	Histograms uint64 `json:"histograms"`
	Exemplars  uint64 `json:"exemplars"`
	Violations
}

// Violations counts breaches of the protocol.
type Violations struct {
	UnsortedLabels   uint64 `json:"unsorted_labels"`
	DuplicateLabels  uint64 `json:"duplicate_labels"`
	EmptyLabels      uint64 `json:"empty_labels"`
	NoName           uint64 `json:"no_metric_name"`
	BadReferences    uint64 `json:"bad_references"`
	DuplicateSymbols uint64 `json:"duplicate_symbols"`
	FirstSymbol      uint64 `json:"first_symbol_not_empty"`
	EmptySeries      uint64 `json:"series_without_sample"`
	OutOfOrder       uint64 `json:"out_of_order"`
	Duplicates       uint64 `json:"duplicate_samples"`
}

// Total is the number of all violations.
func (v Violations) Total() uint64 {
	return v.UnsortedLabels + v.DuplicateLabels + v.EmptyLabels + v.NoName + v.BadReferences +
		v.DuplicateSymbols + v.FirstSymbol + v.EmptySeries + v.OutOfOrder + v.Duplicates
}

// Kinds lists the kinds of violations with their counts; empty if there are none.
func (v Violations) Kinds() string {
	var kinds []string
	for _, k := range []struct {
		n    uint64
		name string
	}{
		{v.UnsortedLabels, "unsorted labels"}, {v.DuplicateLabels, "labels twice"}, {v.EmptyLabels, "empty labels"},
		{v.NoName, "no metric name"}, {v.BadReferences, "bad references"}, {v.DuplicateSymbols, "symbols twice"},
		{v.FirstSymbol, "first symbol not empty"}, {v.EmptySeries, "series without a sample"},
		{v.OutOfOrder, "out of order"}, {v.Duplicates, "two samples at one timestamp"},
	} {
		if k.n > 0 {
			kinds = append(kinds, fmt.Sprintf("%d %s", k.n, k.name))
		}
	}
	return strings.Join(kinds, ", ")
}

func (c *counts) add(o counts) {
	c.Series += o.Series
	c.Samples += o.Samples
	c.Stale += o.Stale
	c.Synthetic += o.Synthetic
	c.Down += o.Down
	c.Metadata += o.Metadata
	c.Histograms += o.Histograms
	c.Exemplars += o.Exemplars
	c.UnsortedLabels += o.UnsortedLabels
	c.DuplicateLabels += o.DuplicateLabels
	c.EmptyLabels += o.EmptyLabels
	c.NoName += o.NoName
	c.BadReferences += o.BadReferences
	c.DuplicateSymbols += o.DuplicateSymbols
	c.FirstSymbol += o.FirstSymbol
	c.EmptySeries += o.EmptySeries
	c.OutOfOrder += o.OutOfOrder
	c.Duplicates += o.Duplicates
}

func newDecoder(checks bool, seed maphash.Seed) *decoder {
	return &decoder{checks: checks, seed: seed, seen: map[uint64]struct{}{}}
}

// decode1 reads a prometheus.WriteRequest.
func (d *decoder) decode1(b []byte) error {
	d.reset()
	for w := (wire{b}); len(w.b) > 0; {
		field, bytes, _, err := w.next()
		if err != nil {
			return err
		}
		switch field {
		case 1:
			err = d.series1(bytes)
		case 3:
			d.counts.Metadata++
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// decode2 reads an io.prometheus.write.v2.Request.
func (d *decoder) decode2(b []byte) error {
	d.reset()
	if d.checks {
		if err := d.readSymbols(b); err != nil {
			return err
		}
	}
	for w := (wire{b}); len(w.b) > 0; {
		field, bytes, _, err := w.next()
		if err == nil && field == 5 {
			err = d.series2(bytes)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (d *decoder) reset() {
	d.symbols, d.points = d.symbols[:0], d.points[:0]
	clear(d.seen)
	d.counts, d.problem = counts{}, ""
}

func (d *decoder) readSymbols(b []byte) error {
	for w := (wire{b}); len(w.b) > 0; {
		field, bytes, _, err := w.next()
		if err != nil {
			return err
		}
		if field != 4 {
			continue
		}
		s := d.symbol(bytes)
		if len(d.symbols) == 0 && s.text != "" {
			d.counts.FirstSymbol++
		}
		if _, known := d.seen[s.hash]; known {
			d.counts.DuplicateSymbols++
			d.note("symbol twice in a request", s.text, "")
		}
		d.seen[s.hash] = struct{}{}
		d.symbols = append(d.symbols, s)
	}
	return nil
}

func (d *decoder) symbol(b []byte) symbol {
	return symbol{text: view(b), hash: maphash.Bytes(d.seed, b)}
}

// view returns b as a string without copying; the string must not outlive the request.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// series1 relies on labels standing before samples, as every encoder writes them.
func (d *decoder) series1(b []byte) error {
	l := labelCheck{d: d}
	before := d.counts.Samples + d.counts.Histograms + d.counts.Exemplars
	for w := (wire{b}); len(w.b) > 0; {
		field, bytes, _, err := w.next()
		if err != nil {
			return err
		}
		switch {
		case field == 1 && d.checks:
			err = d.label1(bytes, &l)
		case field == 2:
			err = d.sample(bytes, &l)
		case field == 3:
			d.counts.Exemplars++
		case field == 4:
			d.counts.Histograms++
		}
		if err != nil {
			return err
		}
	}
	d.endSeries(before, &l)
	return nil
}

func (d *decoder) label1(b []byte, l *labelCheck) error {
	var name, value []byte
	for w := (wire{b}); len(w.b) > 0; {
		field, bytes, _, err := w.next()
		if err != nil {
			return err
		}
		switch field {
		case 1:
			name = bytes
		case 2:
			value = bytes
		}
	}
	l.add(d.symbol(name), d.symbol(value))
	return nil
}

func (d *decoder) series2(b []byte) error {
	l := labelCheck{d: d}
	before := d.counts.Samples + d.counts.Histograms + d.counts.Exemplars
	if d.checks {
		if err := d.labels2(b, &l); err != nil {
			return err
		}
	}
	for w := (wire{b}); len(w.b) > 0; {
		field, bytes, _, err := w.next()
		if err != nil {
			return err
		}
		switch field {
		case 2:
			err = d.sample(bytes, &l)
		case 3:
			d.counts.Histograms++
		case 4:
			d.counts.Exemplars++
		case 5:
			d.counts.Metadata++
		}
		if err != nil {
			return err
		}
	}
	d.endSeries(before, &l)
	return nil
}

// labels2 resolves the references, packed or not, wherever they stand in the message.
func (d *decoder) labels2(b []byte, l *labelCheck) error {
	d.refs = d.refs[:0]
	for w := (wire{b}); len(w.b) > 0; {
		field, packed, number, err := w.next()
		if err != nil {
			return err
		}
		if field != 1 {
			continue
		}
		if packed == nil {
			d.refs = append(d.refs, uint32(number))
			continue
		}
		for p := (wire{packed}); len(p.b) > 0; {
			ref, err := p.varint()
			if err != nil {
				return err
			}
			d.refs = append(d.refs, uint32(ref))
		}
	}
	if len(d.refs)%2 != 0 {
		d.counts.BadReferences++
		return nil
	}
	for i := 0; i < len(d.refs); i += 2 {
		name, value := int(d.refs[i]), int(d.refs[i+1])
		if name >= len(d.symbols) || value >= len(d.symbols) {
			d.counts.BadReferences++
			return nil
		}
		l.add(d.symbols[name], d.symbols[value])
	}
	return nil
}

func (d *decoder) sample(b []byte, l *labelCheck) error {
	s, err := parseSample(b)
	if err != nil {
		return err
	}
	d.counts.Samples++
	switch {
	case s.bits == staleBits:
		d.counts.Stale++
	case l.synthetic:
		d.counts.Synthetic++
		if l.up && s.bits == 0 {
			d.counts.Down++
		}
	}
	if d.checks {
		d.points = append(d.points, point{l.hash, s.millis})
	}
	return nil
}

func (d *decoder) endSeries(before uint64, l *labelCheck) {
	d.counts.Series++
	if d.counts.Samples+d.counts.Histograms+d.counts.Exemplars == before {
		d.counts.EmptySeries++
	}
	if d.checks && !l.named {
		d.counts.NoName++
	}
}

// note keeps the first problem of a request, as a copy: the names may alias it.
// A sender that does it wrong does so in each series, so the others cost nothing.
func (d *decoder) note(problem, name, other string) {
	if d.problem != "" {
		return
	}
	d.problem = problem + ": " + name
	if other != "" {
		d.problem += ", " + other
	}
}

// labelCheck walks the labels of one series, in the order they were sent.
type labelCheck struct {
	d         *decoder
	last      string
	any       bool
	hash      uint64
	named     bool
	synthetic bool
	up        bool
}

func (l *labelCheck) add(name, value symbol) {
	switch {
	case name.text == "" || value.text == "":
		l.d.counts.EmptyLabels++
		l.d.note("label without name or value", name.text, value.text)
	case l.any && name.text == l.last:
		l.d.counts.DuplicateLabels++
		l.d.note("label twice", name.text, "")
	case l.any && name.text < l.last:
		l.d.counts.UnsortedLabels++
		l.d.note("labels not sorted", l.last, name.text)
	}
	if name.text == "__name__" {
		l.named = true
		l.up, l.synthetic = value.text == "up", isSynthetic(value.text)
	}
	l.last, l.any = name.text, true
	// Order matters to the result, so that a=b,c=d and a=d,c=b differ.
	hi, lo := bits.Mul64(l.hash^name.hash, value.hash|1)
	l.hash = (hi ^ lo) + 0x9e3779b97f4a7c15
}

// isSynthetic names what agents add to each scrape: Prometheus' five, and two of vmagent's.
func isSynthetic(name string) bool {
	switch name {
	case "up", "scrape_duration_seconds", "scrape_samples_scraped", "scrape_samples_post_metric_relabeling",
		"scrape_series_added",
		"scrape_timeout_seconds", "scrape_response_size_bytes":
		return true
	}
	return false
}
