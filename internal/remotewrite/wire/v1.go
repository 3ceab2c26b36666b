package wire

import "math"

// v1Writer makes a compressed 1.0 request of a message. What 1.0 cannot carry is left out and counted.
//
// A series in 1.0 has its labels in full: six hundred bytes, nearly all of which are in an earlier series too. So
// they are neither written out nor searched for repetitions. The references of a series are compared with those of an
// earlier one, the base, and common labels at the begin and at the end become copies. For the rest, usually the name
// or le, the textTable knows where it was written before.
//
// Cost: the request as it is sent, the unpacked message (60 bytes per sample), 40 bytes per symbol, 20 KiB. The plain
// request is thirteen times as large as what is sent, and never in memory.
type v1Writer struct {
	snappyWriter
	plain       unpacker // of the message
	texts       textTable
	histograms  bool // send_native_histograms
	unsupported int

	base          baseSeries
	similarSeries [32]writtenSeries // by size; they share the present base
	time          shortBytes        // of the series before, not written yet
	clock         uint32            // number of changes of the timestamp
	name          uint32            // value of the last label that replaced the first one of the base
	diff          difference        // of the present series
	other         []byte            // what follows the labels of the present series, if that is not only a sample
	inner         []byte            // scratch of otherSeries
}

// begin starts a request.
func (e *v1Writer) begin(histograms bool) {
	e.snappyWriter.begin()
	e.histograms, e.unsupported = histograms, 0
	e.time, e.clock, e.name = shortBytes{}, 0, 0
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
	refs, s, ok := cutPlainSeries(body)
	if !ok {
		return e.otherSeries(body)
	}
	return e.add(refs, &s, nil)
}

// add writes a series: its labels, then a sample, then anything else.
func (e *v1Writer) add(refs []byte, s *sample, other []byte) error {
	d, b := &e.diff, &e.base
	if err := d.compare(&e.texts, refs, b); err != nil {
		return err
	}
	total := d.size() + int64(s.size()+len(other))
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
	if e.time != s.time {
		e.time = s.time
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

// otherSeries writes a series of any kind, or counts it if 1.0 cannot carry its histogram.
func (e *v1Writer) otherSeries(body []byte) error {
	var refs []byte
	e.other = e.other[:0]
	carried := true
	err := eachField(body, func(f field) (err error) {
		switch f.whole[0] {
		case tagLabelRefs:
			if refs != nil {
				return errDamaged
			}
			refs = f.data
		case tagSample:
			e.inner, err = appendWithout(e.inner[:0], f.data, tagSampleStart>>3)
			e.other = appendBytesField(e.other, tagSampleV1, e.inner)
		case tagHistogram:
			var custom bool
			if custom, err = isCustomBuckets(f.data); err != nil {
				return err
			}
			if carried = e.histograms && !custom; carried {
				e.inner, err = appendWithout(e.inner[:0], f.data, fieldStart)
				e.other = appendBytesField(e.other, tagHistogramV1, e.inner)
			}
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
	if !carried {
		e.unsupported++
		return nil
	}
	return e.add(refs, &sample{}, e.other)
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
