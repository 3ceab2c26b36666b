package remotewrite

import (
	"math"
	"unicode/utf8"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// Field tags of io.prometheus.write.v2, as they stand on the wire.
const (
	tagSymbol = 4<<3 | wireBytes // Request
	tagSeries = 5<<3 | wireBytes

	tagLabelRefs = 1<<3 | wireBytes // TimeSeries
	tagSample    = 2<<3 | wireBytes
	tagHistogram = 3<<3 | wireBytes
	tagExemplar  = 4<<3 | wireBytes
	tagMetadata  = 5<<3 | wireBytes

	tagSampleValue = 1<<3 | wireFixed64
	tagSampleTime  = 2<<3 | wireVarint

	tagExemplarLabels = 1<<3 | wireBytes
	tagExemplarValue  = 2<<3 | wireFixed64
	tagExemplarTime   = 3<<3 | wireVarint

	tagMetaType = 1<<3 | wireVarint
	tagMetaHelp = 3<<3 | wireVarint
	tagMetaUnit = 4<<3 | wireVarint
)

// badRef stands for a text that must not be sent.
const badRef = math.MaxUint32

// encoder writes the open request of one lane as remote write 2.0: the symbols that are new to the request and
// its series. Symbols of the table are renumbered through an array that is not cleared between requests: an
// entry counts only if it carries the number of this request. Guarded by the lane.
type encoder struct {
	request uint32            // counts requests; 0: none begun
	known   []knownSymbol     // by series.Symbol
	texts   map[string]uint32 // every text of the request; nil while all texts come from the table
	next    uint32            // reference of the next new symbol
	name    uint32            // reference of __name__; 0: not met yet

	external externalRefs

	symbols, series []byte // since the last cut
	body, refs      []byte // scratch
	pairs           []series.Pair
}

// knownSymbol is the reference of a symbol under a key of request and generation: both must be the current ones.
type knownSymbol struct {
	key uint64
	ref uint32
}

// begin starts a request. symbols[0] is the empty string.
func (e *encoder) begin(foreignTexts bool) {
	e.request++
	e.next, e.name = 1, 0
	e.symbols = append(e.symbols[:0], tagSymbol, 0)
	e.series = e.series[:0]
	switch {
	case !foreignTexts:
		e.texts = nil
	case e.texts == nil:
		e.texts = map[string]uint32{}
	default:
		clear(e.texts)
	}
}

// size is how many bytes wait to be cut.
func (e *encoder) size() int { return len(e.symbols) + len(e.series) }

// cut takes what was written since the last cut: symbols first, then series.
func (e *encoder) cut() []byte {
	data := make([]byte, 0, e.size())
	data = append(append(data, e.symbols...), e.series...)
	e.symbols, e.series = e.symbols[:0], e.series[:0]
	return data
}

// symbol returns the reference of a symbol of the table.
func (e *encoder) symbol(v series.View, s series.Symbol) uint32 {
	if int(s) < len(e.known) {
		if k := &e.known[s]; k.key == e.key(v, s) {
			return k.ref
		}
	}
	return e.newSymbol(v, s)
}

func (e *encoder) key(v series.View, s series.Symbol) uint64 {
	return uint64(e.request)<<32 | uint64(v.SymbolGen(s))
}

func (e *encoder) newSymbol(v series.View, s series.Symbol) uint32 {
	if int(s) >= len(e.known) {
		e.known = append(e.known, make([]knownSymbol, v.Symbols()-len(e.known))...)
	}
	ref := e.text(v.String(s))
	e.known[s] = knownSymbol{e.key(v, s), ref}
	return ref
}

// text returns the reference of a text from anywhere.
func (e *encoder) text(t string) uint32 {
	if t == "" {
		return 0
	}
	if ref, ok := e.texts[t]; ok {
		return ref
	}
	ref := e.next
	if utf8.ValidString(t) {
		e.next++
		e.symbols = appendBytesField(e.symbols, tagSymbol, t)
		if t == model.MetricNameLabel {
			e.name = ref
		}
	} else {
		ref = badRef
	}
	if e.texts != nil {
		e.texts[t] = ref
	}
	return ref
}

// labelWriter takes the labels of a series, in order, and checks them as they go by.
type labelWriter struct {
	refs  []byte
	last  uint32 // name
	named bool
	bad   bool
}

// label appends one label; metricName is the reference of __name__. An empty value means no label.
func (w *labelWriter) label(name, value, metricName uint32) {
	if value == 0 {
		return
	}
	// Equal names have equal references, and stand side by side.
	w.bad = w.bad || name == 0 || name == badRef || value == badRef || name == w.last
	w.named = w.named || name == metricName
	w.last = name
	w.refs = appendUvarint(appendUvarint(w.refs, uint64(name)), uint64(value))
}

// finish leaves the references in e.refs. False: no receiver would take them, or one would drop them silently.
func (e *encoder) finish(w *labelWriter) bool {
	e.refs = w.refs
	return w.named && !w.bad
}

// tableLabels puts the labels of a series, and the external ones it lacks, into e.refs.
func (e *encoder) tableLabels(v series.View, id series.ID, target series.TargetID, external []labels.Label) bool {
	w := labelWriter{refs: e.refs[:0]} // a copy on the stack: e is shared with the garbage collector
	pairs := v.Labels(e.pairs[:0], id, target)
	e.pairs = pairs
	var ext []externalRef
	if len(external) > 0 {
		ext = e.externals(external)
	}
	for _, p := range pairs {
		if p.Value == 0 {
			continue
		}
		if len(ext) > 0 {
			ext = e.externalBefore(&w, ext, v.String(p.Name))
		}
		name, value := e.symbol(v, p.Name), e.symbol(v, p.Value)
		w.label(name, value, e.name)
	}
	for _, x := range ext {
		w.label(x.name, x.value, e.name)
	}
	return e.finish(&w)
}

// externalRefs are the references of the external labels in one request.
type externalRefs struct {
	request uint32
	of      *labels.Label // the first of the labels
	refs    []externalRef
}

type externalRef struct {
	text        string // of the name
	name, value uint32
}

func (e *encoder) externals(external []labels.Label) []externalRef {
	x := &e.external
	if x.request != e.request || x.of != &external[0] {
		*x = externalRefs{request: e.request, of: &external[0], refs: x.refs[:0]}
		for _, l := range external {
			x.refs = append(x.refs, externalRef{l.Name, e.text(l.Name), e.text(l.Value)})
		}
	}
	return x.refs
}

// externalBefore writes the external labels that stand before a name, and skips one of that name.
func (e *encoder) externalBefore(w *labelWriter, ext []externalRef, name string) (rest []externalRef) {
	for len(ext) > 0 && ext[0].text < name {
		w.label(ext[0].name, ext[0].value, e.name)
		ext = ext[1:]
	}
	if len(ext) > 0 && ext[0].text == name {
		ext = ext[1:]
	}
	return ext
}

// textLabels is tableLabels for labels that write_relabel_configs made.
func (e *encoder) textLabels(ls labels.Labels) bool {
	w := labelWriter{refs: e.refs[:0]}
	ls.Range(func(l labels.Label) {
		name, value := e.text(l.Name), e.text(l.Value)
		w.label(name, value, e.name)
	})
	return e.finish(&w)
}

// add appends the series whose labels are in e.refs, with one row. It tells how many exemplars went along.
func (e *encoder) add(v series.View, r *row, sendExemplars, sendMetadata bool) (exemplars int) {
	b := appendBytesField(e.body[:0], tagLabelRefs, e.refs)
	if r.histogram != nil {
		b = appendHistogram(b, tagHistogram, r.histogram, r.time)
	} else {
		b = appendSample(b, r.value, r.time)
	}
	if sendExemplars {
		for i := range r.exemplars {
			if next, ok := e.exemplar(b, &r.exemplars[i], r.time); ok {
				b = next
				exemplars++
			}
		}
	}
	if sendMetadata {
		b = e.metadata(b, v, r.id)
	}
	e.body = b
	e.series = appendBytesField(e.series, tagSeries, b)
	return exemplars
}

// appendSample appends field samples of a TimeSeries; 1.0 and 2.0 agree on it.
func appendSample(dst []byte, value float64, tsMillis int64) []byte {
	size := 0
	if math.Float64bits(value) != 0 {
		size += 9
	}
	if tsMillis != 0 {
		size += 1 + uvarintSize(uint64(tsMillis))
	}
	dst = append(dst, tagSample, byte(size))
	dst = appendDoubleField(dst, tagSampleValue, value)
	return appendVarintField(dst, tagSampleTime, uint64(tsMillis))
}

// metadata appends type, help and unit of a series.
func (e *encoder) metadata(dst []byte, v series.View, id series.ID) []byte {
	typ, help, unit := v.Meta(id)
	t, h, u := metricType(typ), e.symbol(v, help), e.symbol(v, unit)
	if h == badRef {
		h = 0
	}
	if u == badRef {
		u = 0
	}
	if t == 0 && h == 0 && u == 0 {
		return dst
	}
	var buf [32]byte
	m := appendVarintField(buf[:0], tagMetaType, t)
	m = appendVarintField(m, tagMetaHelp, uint64(h))
	m = appendVarintField(m, tagMetaUnit, uint64(u))
	return appendBytesField(dst, tagMetadata, m)
}

// exemplar appends one exemplar; not ok: its labels cannot be sent.
func (e *encoder) exemplar(dst []byte, x *series.Exemplar, sampleTime int64) (_ []byte, ok bool) {
	e.refs = e.refs[:0] // the series' own are written already
	ok = true
	x.Exemplar.Labels.Range(func(l labels.Label) {
		name, value := e.text(l.Name), e.text(l.Value)
		ok = ok && name != 0 && name != badRef && value != badRef
		e.refs = appendUvarint(appendUvarint(e.refs, uint64(name)), uint64(value))
	})
	if !ok {
		return dst, false
	}
	at := sampleTime // the specification wants one
	if x.Exemplar.HasTs {
		at = x.Exemplar.Ts
	}
	m := make([]byte, 0, len(e.refs)+32)
	if len(e.refs) > 0 {
		m = appendBytesField(m, tagExemplarLabels, e.refs)
	}
	m = appendDoubleField(m, tagExemplarValue, x.Exemplar.Value)
	m = appendVarintField(m, tagExemplarTime, uint64(at))
	return appendBytesField(dst, tagExemplar, m), true
}

// metricType is the number of a type; 1.0 and 2.0 agree on all of them.
func metricType(t model.MetricType) uint64 {
	switch t {
	case model.MetricTypeCounter:
		return 1
	case model.MetricTypeGauge:
		return 2
	case model.MetricTypeHistogram:
		return 3
	case model.MetricTypeGaugeHistogram:
		return 4
	case model.MetricTypeSummary:
		return 5
	case model.MetricTypeInfo:
		return 6
	case model.MetricTypeStateset:
		return 7
	default:
		return 0
	}
}
