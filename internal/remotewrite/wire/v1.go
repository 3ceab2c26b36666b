package wire

import "math"

// v1Writer makes a compressed 1.0 request of a message. What 1.0 cannot carry is left out and counted.
//
// A series in 1.0 has its labels in full: six hundred bytes, nearly all of which are in an earlier series too. So
// they are neither written out nor searched for repetitions. The references of a series are compared with those of an
// earlier one, the base, and common labels at the begin and at the end become copies. For the rest, usually the name
// or le, the textTable knows where it was written before.
//
// Cost: the request as it is sent, the unpacked message (60 bytes per sample), 40 bytes per symbol, 20 KiB. That is
// about 280 KiB for a request of 2,000 samples, and is kept for the next one. The plain request is thirteen times as
// large as what is sent, and never in memory.
type v1Writer struct {
	snappyWriter
	plain       unpacker // of the message
	texts       textTable
	histograms  bool // send_native_histograms
	unsupported int

	base          baseSeries
	similarSeries [32]writtenSeries // by size; they share the present base
	time          shortBytes        // of the last sample of the series before, not written yet
	clock         uint32            // number of changes of the timestamp
	name          uint32            // value of the last label that replaced the first one of the base
	diff          difference        // of the present series
	more          []sample          // of the present series, after the first one
	later         []laterSample     // of the last series that had them, by number, from the second sample on
	other         []byte            // what follows the labels of the present series, if that is not only a sample
	inner         []byte            // scratch of otherSeries
}

// encode returns a compressed request, valid until the next call. lost counts the samples that 1.0 cannot carry.
func (e *v1Writer) encode(m Message, histograms bool) (block []byte, lost int, err error) {
	e.begin(histograms)
	defer e.forget()
	if err := e.append(m); err != nil {
		return nil, 0, err
	}
	return e.finish(), e.unsupported, nil
}

// kept returns how much memory is kept for the next request.
func (e *v1Writer) kept() int {
	const ofText, ofPair, ofEdge, ofOffset, ofSample = 40, 16, 8, 4, 40
	return cap(e.out) + cap(e.plain.text) + cap(e.other) + cap(e.texts.values.written) + ofText*cap(e.texts.of) +
		ofPair*cap(e.diff.newLabels) + ofEdge*cap(e.base.ends) + ofOffset*cap(e.base.labelsEnded) +
		ofSample*(cap(e.more)+cap(e.later))
}

// begin starts a request.
func (e *v1Writer) begin(histograms bool) {
	e.snappyWriter.begin()
	e.histograms, e.unsupported = histograms, 0
	e.time, e.clock, e.name = shortBytes{}, 0, 0
	e.later = e.later[:0]
	clear(e.similarSeries[:])
	// The first base has no labels and resembles nothing.
	e.base = baseSeries{writtenSeries: writtenSeries{size: math.MaxUint32}, ends: e.base.ends,
		labelsEnded: e.base.labelsEnded}
	e.base.learn(&e.texts, nil, 0)
}

// forget drops the references to the message.
func (e *v1Writer) forget() {
	e.texts.forget()
	e.base.refs = nil
}

// append writes the whole message.
func (e *v1Writer) append(m Message) error {
	if m.Layout != nil {
		return errColumn
	}
	fragments, err := e.plain.unpack(m.Fragments)
	if err != nil {
		return err
	}
	for _, f := range fragments {
		for s := f.symbols; len(s) > 0; {
			text, rest, ok := cutBytes(s[1:])
			if !ok || s[0] != tagSymbol {
				return errDamaged
			}
			e.texts.add(text)
			s = rest
		}
	}
	if !e.texts.complete() {
		return errDamaged
	}
	for _, f := range fragments {
		for s := f.series; len(s) > 0; {
			body, rest, ok := cutBytes(s[1:])
			if !ok || s[0] != tagSeries {
				return errDamaged
			}
			if err := e.series(body); err != nil {
				return err
			}
			s = rest
		}
	}
	e.writeShort(e.time)
	return nil
}

// series writes one series.
func (e *v1Writer) series(body []byte) error {
	refs, s, more, ok := cutPlainSeries(body, e.more[:0])
	e.more = more
	if !ok {
		return e.otherSeries(body)
	}
	return e.add(refs, &s, more, nil)
}

// add writes a series: its labels, then its samples, then anything else.
func (e *v1Writer) add(refs []byte, s *sample, more []sample, other []byte) error {
	d, b := &e.diff, &e.base
	if err := d.compare(&e.texts, refs, b); err != nil {
		return err
	}
	total := d.size() + int64(s.size()+len(other))
	for i := range more {
		total += int64(more[i].size())
	}
	if total+int64(e.at)+maxHead+maxShort > MaxPlainBytes {
		return errDamaged
	}
	size := int(total)
	like := e.findSimilar(size)
	here := writtenSeries{size: uint32(size), at: uint32(e.at + e.time.n), clock: e.clock}
	if int(like.size) == size {
		if like.clock == e.clock {
			e.repeat(int(like.at)-e.time.n, e.time.n)
		} else {
			e.writeShort(e.time)
		}
		e.repeat(int(like.at), int(like.labels-like.at))
	} else {
		e.writeShort(e.time)
		e.head(tagSeriesV1, size)
	}
	here.labels = uint32(e.at)
	e.labels(like)
	here.end = uint32(e.at)
	e.sample(s, like)
	e.literal(other)
	here.valueHead, here.value = s.head, s.value
	last := s
	if len(more) > 0 {
		last = e.laterSamples(s, int(here.end), more)
	}
	if e.time != last.time {
		e.time = last.time
		e.clock++
	}
	e.remember(here, refs)
	return nil
}

// findSimilar returns an earlier series that shares with the base what the present one shares with it. It has the
// same size, and so the same head, if there is such a series.
func (e *v1Writer) findSimilar(size int) *writtenSeries {
	s := &e.similarSeries[size%len(e.similarSeries)]
	if int(s.size) != size || s.base != e.base.number || int(s.first) < e.diff.first || int(s.last) > e.diff.last {
		return &e.base.writtenSeries
	}
	return s
}

// labels writes the labels of the present series.
func (e *v1Writer) labels(like *writtenSeries) {
	d := &e.diff
	own := d.newLabels
	if d.skip > 0 {
		e.texts.writeLabel(&e.snappyWriter, &own[0])
		own = own[1:]
	}
	e.repeat(int(like.labels)+d.from, d.begin)
	for i := range own {
		e.texts.writeLabel(&e.snappyWriter, &own[i])
	}
	e.repeat(int(like.end)-d.end, d.end)
}

// sample writes a sample without its time. The time is written later, because the time and the head of the next
// series may be copied together. The value often begins like that of another series: a small integer begins with
// zeros.
func (e *v1Writer) sample(s *sample, like *writtenSeries) {
	if s.head == 0 {
		return
	}
	same := 0
	if s.head == like.valueHead && e.repeatsUpTo(int(like.end)) {
		e.repeat(int(like.end), s.headSize())
		if s.valued() {
			same = commonBytes(s.value, like.value)
			e.repeat(int(like.end)+s.headSize(), same)
		}
	} else {
		e.word(uint64(s.head), s.headSize())
	}
	if s.valued() && same < 8 {
		e.word(s.value>>(8*same), 8-same)
	}
}

// A series becomes the new base if it has more labels of its own than this, or if the base is so far away that copies
// of it would soon take five bytes.
const (
	mostOwnLabels = 2
	farBase       = farOffset / 2
)

// remember keeps the series that was just written.
func (e *v1Writer) remember(here writtenSeries, refs []byte) {
	d, b := &e.diff, &e.base
	rebase := len(d.newLabels)-d.skip > mostOwnLabels || here.at-b.at > farBase
	if d.skip > 0 { // a name for the second time: a family begins
		name := d.newLabels[0].value
		rebase = rebase || name == e.name
		e.name = name
	}
	switch {
	case rebase:
		b.learn(&e.texts, refs, int(here.labels))
		here.first, here.base = int32(len(b.ends)-1), b.number
		b.writtenSeries = here
	case d.skip == 0:
		here.first, here.last, here.base = int32(d.first), int32(d.last), b.number
		e.similarSeries[here.size%uint32(len(e.similarSeries))] = here
	}
}

func (e *v1Writer) writeShort(s shortBytes) {
	if s.n > 0 {
		e.word(s.word, s.n)
	}
}

// laterSample is a sample after the first one of a series that is written already, with the time of the sample before.
type laterSample struct {
	time  shortBytes // of the sample before
	at    uint32     // position of that time; head and value follow
	head  uint32
	value uint64
}

// laterSamples writes the samples of a series after the first one, which is at a position, each without its time, as
// sample does. It returns the last sample. Times repeat those of the series before, and values are often those of the
// sample before:
//
//	series before   … 10 80 e4 8f dc bc 31  12 10 09 00 00 00 00 00 00 10 40  …
//	this series     … 10 80 e4 8f dc bc 31  12 10 09 00 00 00 00 00 00 14 40  …
//	                  copy of the bytes above                          literal
func (e *v1Writer) laterSamples(first *sample, at int, more []sample) (last *sample) {
	last = first
	for i := range more {
		next := &more[i]
		here := laterSample{time: last.time, at: uint32(e.at), head: next.head, value: next.value}
		above := laterSample{}
		if i < len(e.later) {
			above = e.later[i]
		}
		var from int // position of an equal head; 0: there is none
		var same int // bytes of the value after it that are equal
		if above.at != 0 && above.time == last.time {
			e.repeat(int(above.at), last.time.n)
			if above.head == next.head {
				from, same = int(above.at)+last.time.n, commonBytes(next.value, above.value)
			}
		} else {
			e.writeShort(last.time)
		}
		headAt := e.at
		e.laterValue(next, last, at, from, same)
		if i < len(e.later) {
			e.later[i] = here
		} else {
			e.later = append(e.later, here)
		}
		last, at = next, headAt
	}
	return last
}

// laterValue writes head and value of a sample. The sample before in its series is at a position. from is the position
// of another equal head, or 0; after it, same bytes of the value are equal, too.
func (e *v1Writer) laterValue(s, before *sample, at, from, same int) {
	if from == 0 && s.head == before.head {
		from, same = at, commonBytes(s.value, before.value)
	}
	switch {
	case from == 0 || !s.valued() && !e.repeatsUpTo(from): // too short for a copy
		e.word(uint64(s.head), s.headSize())
		same = 0
	default:
		e.repeat(from, s.headSize())
		from += s.headSize()
		if s.valued() && same < 8 && s.value == before.value && s.head == before.head {
			from, same = at+s.headSize(), 8
		}
	}
	if !s.valued() {
		return
	}
	e.repeat(from, same)
	if same < 8 {
		e.word(s.value>>(8*same), 8-same)
	}
}

// otherSeries writes a series of any kind. It counts and leaves out the histograms that 1.0 cannot carry.
func (e *v1Writer) otherSeries(body []byte) error {
	var refs []byte
	e.other = e.other[:0]
	carried, lost := 0, 0 // samples
	err := eachField(body, func(f field) (err error) {
		switch f.whole[0] {
		case tagLabelRefs:
			if refs != nil {
				return errDamaged
			}
			refs = f.data
		case tagSample:
			carried++
			e.inner, err = appendWithout(e.inner[:0], f.data, tagSampleStart>>3)
			e.other = appendBytesField(e.other, tagSampleV1, e.inner)
		case tagHistogram:
			var custom bool
			if custom, err = isCustomBuckets(f.data); err != nil {
				return err
			}
			if !e.histograms || custom {
				lost++
				return nil
			}
			carried++
			e.inner, err = appendWithout(e.inner[:0], f.data, fieldStart)
			e.other = appendBytesField(e.other, tagHistogramV1, e.inner)
		case tagExemplar:
			var inner []byte
			if inner, err = e.appendExemplar(nil, f.data); err == nil {
				e.other = appendBytesField(e.other, tagExemplarV1, inner)
			}
		}
		return err
	})
	if err != nil {
		return err
	}
	e.unsupported += lost
	if carried == 0 && lost > 0 {
		return nil
	}
	return e.add(refs, &sample{}, nil, e.other)
}

func (e *v1Writer) appendExemplar(dst, body []byte) ([]byte, error) {
	err := eachField(body, func(f field) error {
		if f.whole[0] != tagExemplarLabels {
			dst = append(dst, f.whole...)
			return nil
		}
		for refs := f.data; len(refs) > 0; {
			name, value, rest, err := e.texts.cutLabel(refs)
			if err != nil {
				return err
			}
			inner := appendBytesField(nil, tagLabelNameV1, name.text)
			inner = appendBytesField(inner, tagLabelValueV1, value.text)
			dst = appendBytesField(dst, tagLabelV1, inner)
			refs = rest
		}
		return nil
	})
	return dst, err
}
