package wire

import (
	"math"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// FragmentWriter writes the open request of one lane as remote write 2.0: the symbols that are new to the request,
// and its series. Guarded by the lane.
//
// Cost: 16 to 43 bytes per string of a request and per stem of a batch, 24 for each kind of metadata in the table,
// and one fragment.
type FragmentWriter struct {
	numbers numbering
	forms   stemForms
	metas   []metaField // by series.MetaID

	series     []byte // since the last Cut
	body, refs []byte // scratch of Add and AddText
	inner      []byte // scratch of exemplar
}

// Begin starts a request. foreignTexts: it may have strings that are not in the table.
func (e *FragmentWriter) Begin(foreignTexts bool) {
	e.numbers.begin(foreignTexts)
	e.series = e.series[:0]
	e.forms.forget()
}

// BeginBatch starts a batch. The labels of a stem depend on the target of the batch.
func (e *FragmentWriter) BeginBatch() { e.forms.forget() }

// Stem returns the labels of a stem in the present batch, with the external labels that it lacks.
func (e *FragmentWriter) Stem(
	v series.View, id series.StemID, target series.TargetID, external []labels.Label,
) *StemLabels {
	return e.forms.of(&e.numbers, v, id, target, external)
}

// Size returns the number of bytes since the last Cut, before compression.
func (e *FragmentWriter) Size() int { return len(e.numbers.fresh) + len(e.series) }

// Cut packs what was written since the last Cut into a fragment, in a buffer of b.
func (e *FragmentWriter) Cut(b *Buffers) []byte {
	symbols, series := e.numbers.fresh, e.series
	scratch := appendPacked(b.Get(maxPacked(len(symbols), len(series))), symbols, series)
	data := append(b.Get(len(scratch)), scratch...)
	b.Put(scratch)
	e.numbers.fresh, e.series = emptied(symbols), emptied(series)
	return data
}

// Options say what is encoded beside the value of a sample.
type Options struct {
	Exemplars, Metadata bool
	External            []labels.Label
}

// Add appends a sample of a series whose stem is f. Not ok: its labels must not be sent.
func (e *FragmentWriter) Add(v series.View, f *StemLabels, r *Row, with Options) (exemplars int, ok bool) {
	own, ok := e.ownRefs(v, f, r, with.External)
	if !ok {
		return 0, false
	}
	if r.Histogram == nil && len(r.Exemplars) == 0 && r.Start == 0 {
		e.addPlain(v, f, &own, r, with.Metadata)
		return 0, true
	}
	exemplars = e.writeBody(v, r, with)
	e.series = append(e.open(f, &own, len(e.body)), e.body...)
	return exemplars, true
}

// AddLabels appends a series without a sample, for a layout: its labels, and its metadata if with.Metadata. Its stem is
// f. Not ok: its labels must not be sent.
func (e *FragmentWriter) AddLabels(v series.View, f *StemLabels, r *Row, with Options) (ok bool) {
	own, ok := e.ownRefs(v, f, r, with.External)
	if !ok {
		return false
	}
	var metadata []byte
	if with.Metadata {
		metadata = e.metadata(v, r.Parts.Meta)
	}
	e.series = append(e.open(f, &own, len(metadata)), metadata...)
	return true
}

// ownRefs returns the references of __name__ and le of a series whose stem is f. Not ok: its labels must not be sent.
func (e *FragmentWriter) ownRefs(
	v series.View, f *StemLabels, r *Row, external []labels.Label,
) (own seriesRefs, ok bool) {
	own = seriesRefs{nameKey: f.nameKey, name: e.numbers.symbol(v, r.Parts.Name)}
	if r.Parts.Le != 0 {
		own.leKey, own.le = e.numbers.leKey(v), e.numbers.symbol(v, r.Parts.Le)
	}
	if len(external) > 0 {
		own.addExternal(e.numbers.externals(external))
	}
	return own, !f.bad && own.name != 0 && own.name != badRef && own.le != badRef
}

// addPlain adds a sample that has only a value, as nearly all have.
func (e *FragmentWriter) addPlain(v series.View, f *StemLabels, own *seriesRefs, r *Row, sendMetadata bool) {
	var metadata []byte
	if sendMetadata {
		metadata = e.metadata(v, r.Parts.Meta)
	}
	dst := e.open(f, own, 2+sampleSize(r.Value, r.Time)+len(metadata))
	e.series = append(appendSample(dst, r.Value, r.Time), metadata...)
}

// AddText appends a sample with labels that are not in the table.
func (e *FragmentWriter) AddText(v series.View, ls labels.Labels, r *Row, with Options) (exemplars int, sent bool) {
	var ok bool
	if e.refs, ok = appendTextRefs(e.refs[:0], &e.numbers, ls); !ok {
		return 0, false
	}
	exemplars = e.writeBody(v, r, with)
	e.series = append(append(appendHead(e.series, len(e.refs), len(e.body)), e.refs...), e.body...)
	return exemplars, true
}

// open begins a series with its labels. rest is the number of bytes that follow.
func (e *FragmentWriter) open(f *StemLabels, own *seriesRefs, rest int) []byte {
	refs := e.forms.refs[f.from:f.to]
	name, le := f.name-f.from, f.le-f.from
	dst := appendHead(e.series, len(refs)+own.size(), rest)
	if name > 0 {
		dst = append(dst, refs[:name]...)
	}
	dst = appendUvarint(appendUvarint(dst, uint64(own.nameKey)), uint64(own.name))
	if own.le == 0 {
		return append(dst, refs[name:]...)
	}
	dst = append(dst, refs[name:le]...)
	dst = appendUvarint(appendUvarint(dst, uint64(own.leKey)), uint64(own.le))
	return append(dst, refs[le:]...)
}

// appendHead begins a series that has refs bytes of references and rest more bytes.
func appendHead(dst []byte, refs, rest int) []byte {
	size := 1 + uvarintSize(uint64(refs)) + refs + rest
	dst = appendUvarint(append(dst, tagSeries), uint64(size))
	return appendUvarint(append(dst, tagLabelRefs), uint64(refs))
}

// writeBody writes everything of a sample except its labels into e.body. It returns the number of exemplars.
func (e *FragmentWriter) writeBody(v series.View, r *Row, with Options) (exemplars int) {
	b := e.body[:0]
	if r.Histogram != nil {
		b = appendHistogram(b, tagHistogram, r.Histogram, r.Time, r.Start)
	} else {
		b = appendStarted(b, r.Value, r.Time, r.Start)
	}
	if with.Exemplars {
		for i := range r.Exemplars {
			if next, ok := e.exemplar(b, &r.Exemplars[i], r.Time); ok {
				b = next
				exemplars++
			}
		}
	}
	if with.Metadata {
		b = append(b, e.metadata(v, r.Parts.Meta)...)
	}
	e.body = b
	return exemplars
}

// sampleSize returns the size of the body of a Sample.
func sampleSize(value float64, tsMillis int64) (n int) {
	if math.Float64bits(value) != 0 {
		n += 9
	}
	if tsMillis != 0 {
		n += 1 + uvarintSize(uint64(tsMillis))
	}
	return n
}

// appendSample appends the field samples of a TimeSeries, which is the same in 1.0 and 2.0.
func appendSample(dst []byte, value float64, tsMillis int64) []byte {
	dst = append(dst, tagSample, byte(sampleSize(value, tsMillis)))
	dst = appendDoubleField(dst, tagSampleValue, value)
	return appendVarintField(dst, tagSampleTime, uint64(tsMillis))
}

// appendStarted is appendSample for a sample with a start time; 0: none.
func appendStarted(dst []byte, value float64, tsMillis, startMillis int64) []byte {
	at := len(dst)
	dst = appendSample(dst, value, tsMillis)
	end := len(dst)
	dst = appendVarintField(dst, tagSampleStart, uint64(startMillis))
	dst[at+1] += byte(len(dst) - end)
	return dst
}

// metaField is the field metadata of a family in one request.
type metaField struct {
	request, gen uint32 // the field is valid if both are the current ones
	size         uint8  // 0: nothing is known of the family
	bytes        [15]byte
}

// metadata returns the field with type, help and unit of a family. It is valid until the next call.
func (e *FragmentWriter) metadata(v series.View, id series.MetaID) []byte {
	if most := v.Metas(); int(id) >= len(e.metas) {
		e.metas = grown(e.metas, int(id)+1)
	} else if len(e.metas) > 2*most {
		e.metas = grown(e.metas, most)
	}
	m := &e.metas[id]
	if request, gen := e.numbers.request, v.MetaGen(id); m.request != request || m.gen != gen {
		m.request, m.gen = request, gen
		m.size = uint8(len(e.appendMetadata(m.bytes[:0], v, id)))
	}
	return m.bytes[:m.size]
}

// appendMetadata appends at most 15 bytes: references of symbols are smaller than 2^28.
func (e *FragmentWriter) appendMetadata(dst []byte, v series.View, id series.MetaID) []byte {
	typ, help, unit := v.Meta(id)
	t, h, u := uint64(series.TypeOf(typ)), e.numbers.symbol(v, help), e.numbers.symbol(v, unit)
	if h == badRef {
		h = 0
	}
	if u == badRef {
		u = 0
	}
	if t == 0 && h == 0 && u == 0 {
		return dst
	}
	dst = append(dst, tagMetadata, 0)
	dst = appendVarintField(dst, tagMetaType, t)
	dst = appendVarintField(dst, tagMetaHelp, uint64(h))
	dst = appendVarintField(dst, tagMetaUnit, uint64(u))
	dst[1] = byte(len(dst) - 2)
	return dst
}

// exemplar appends one exemplar. Not ok: its labels must not be sent.
func (e *FragmentWriter) exemplar(dst []byte, x *series.Exemplar, sampleTime int64) (_ []byte, ok bool) {
	refs := e.inner[:0]
	ok = true
	x.Exemplar.Labels.Range(func(l labels.Label) {
		name, value := e.numbers.text(l.Name), e.numbers.text(l.Value)
		ok = ok && name != 0 && name != badRef && value != badRef
		refs = appendUvarint(appendUvarint(refs, uint64(name)), uint64(value))
	})
	e.inner = refs
	if !ok {
		return dst, false
	}
	at := sampleTime // the specification requires a timestamp
	if x.Exemplar.HasTs {
		at = x.Exemplar.Ts
	}
	m := make([]byte, 0, len(refs)+32)
	if len(refs) > 0 {
		m = appendBytesField(m, tagExemplarLabels, refs)
	}
	m = appendDoubleField(m, tagExemplarValue, x.Exemplar.Value)
	m = appendVarintField(m, tagExemplarTime, uint64(at))
	return appendBytesField(dst, tagExemplar, m), true
}
