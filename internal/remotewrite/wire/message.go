package wire

import "encoding/binary"

// Message is the content of one POST: fragments that end to end are a request of remote write 2.0. A message that Merge
// has made as 1.0 has no fragments.
//
// A message with a Layout is one scrape whose rows are those of other scrapes: its only fragment is a column
// (AppendColumn), with a value for each row of the layout. Only Pool.Merge reads such messages.
type Message struct {
	Layout         *Layout // nil: none
	Stream         uint64  // two streams have no series in common; 0: no stream, so any series
	Fragments      [][]byte
	Samples        int
	Oldest, Newest int64
	MayHaveArrived bool // an earlier process may have sent it, and ended before the answer came

	joined *joinedMessage // in place of fragments, if Merge has made the message as 1.0; nil otherwise
}

// note is called for each message that m has samples of.
func (m *Message) note(from *Message, isFirst bool) {
	if isFirst {
		m.Oldest, m.Newest = from.Oldest, from.Newest
	}
	m.Oldest, m.Newest = min(m.Oldest, from.Oldest), max(m.Newest, from.Newest)
	m.MayHaveArrived = m.MayHaveArrived || from.MayHaveArrived
}

// size returns the most bytes that a compressed 2.0 request of m has.
func (m *Message) size() int {
	size := binary.MaxVarintLen64
	for _, f := range m.Fragments {
		size += len(f)
	}
	return size
}

// appendRequestV2 appends a compressed 2.0 request of a message to dst: it joins what is compressed already. All
// symbols come before all series: protobuf does not require it, but some receivers resolve references while they read.
func appendRequestV2(dst []byte, m Message) ([]byte, error) {
	if m.Layout != nil {
		return nil, errColumn
	}
	plain := 0
	for _, f := range m.Fragments {
		p, err := parsePacked(f)
		if plain += p.symbols.plain + p.series.plain; err != nil || plain > MaxPlainBytes {
			return nil, errDamaged
		}
	}
	dst = binary.AppendUvarint(dst, uint64(plain))
	for _, f := range m.Fragments {
		p, _ := parsePacked(f)
		dst = append(dst, p.symbols.elements...)
	}
	for _, f := range m.Fragments {
		p, _ := parsePacked(f)
		dst = append(dst, p.series.elements...)
	}
	return dst, nil
}

// Content is a message taken apart. A series has one sample, or several in ascending order of time (Pool.Merge).
type Content struct {
	symbols        [][]byte
	series         [][]byte // the body of each TimeSeries
	samples        int
	mayHaveArrived bool // of the message
}

// Parse takes a message apart.
func Parse(m Message) (c Content, err error) {
	if m.Layout != nil {
		return Content{}, errColumn
	}
	if m.joined != nil {
		made, err := m.joined.make(Limits{}, nil)
		if err != nil {
			return Content{}, err
		}
		m.Fragments = made.Fragments
	}
	c.mayHaveArrived = m.MayHaveArrived
	fragments, err := new(unpacker).unpack(m.Fragments)
	if err != nil {
		return Content{}, err
	}
	collect := func(part []byte, tag byte, into *[][]byte) error {
		return eachField(part, func(f field) error {
			if f.whole[0] != tag {
				return errDamaged
			}
			*into = append(*into, f.data)
			return nil
		})
	}
	for _, f := range fragments {
		if err := collect(f.symbols, tagSymbol, &c.symbols); err != nil {
			return Content{}, err
		}
		if err := collect(f.series, tagSeries, &c.series); err != nil {
			return Content{}, err
		}
	}
	if len(c.symbols) == 0 || len(c.symbols[0]) != 0 {
		return Content{}, errDamaged
	}
	for _, body := range c.series {
		if err := eachSample(body, func(int64) { c.samples++ }); err != nil {
			return Content{}, err
		}
	}
	return c, nil
}

// Len returns the number of series.
func (c *Content) Len() int { return len(c.series) }

// Samples returns the number of samples and native histograms of all series.
func (c *Content) Samples() int { return c.samples }

// text returns the symbol with a reference.
func (c *Content) text(ref uint64) ([]byte, error) {
	if ref >= uint64(len(c.symbols)) {
		return nil, errDamaged
	}
	return c.symbols[ref], nil
}

// EachLabel calls fn for the name and the value of every label of a series.
func (c *Content) EachLabel(i int, fn func(name, value []byte)) error {
	return eachField(c.series[i], func(f field) error {
		if f.whole[0] != tagLabelRefs {
			return nil
		}
		for refs := f.data; len(refs) > 0; {
			name, value, rest, ok := cutRefs(refs)
			if !ok {
				return errDamaged
			}
			n, err1 := c.text(name)
			v, err2 := c.text(value)
			if err1 != nil || err2 != nil {
				return errDamaged
			}
			fn(n, v)
			refs = rest
		}
		return nil
	})
}

// eachSample calls fn with the timestamp of each sample and native histogram of a series, in their order.
func eachSample(body []byte, fn func(tsMillis int64)) error {
	return eachField(body, func(f field) error {
		if f.whole[0] != tagSample && f.whole[0] != tagHistogram {
			return nil
		}
		at, err := sampleTime(f)
		if err == nil {
			fn(at)
		}
		return err
	})
}

// sampleTime returns the timestamp of a field tagSample or tagHistogram.
func sampleTime(sample field) (tsMillis int64, err error) {
	tag := byte(tagSampleTime)
	if sample.whole[0] == tagHistogram {
		tag = tagHistogramTime
	}
	err = eachField(sample.data, func(f field) error {
		if f.whole[0] == tag {
			tsMillis = int64(f.value)
		}
		return nil
	})
	return tsMillis, err
}
