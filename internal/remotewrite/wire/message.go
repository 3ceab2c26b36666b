package wire

import "encoding/binary"

// Message is the content of one POST, always as remote write 2.0: fragments that end to end are a request.
type Message struct {
	Fragments      [][]byte
	Samples        int
	Oldest, Newest int64
	MayHaveArrived bool // an earlier process may have sent it, and ended before the answer came
}

// requestJoiner makes a compressed 2.0 request of a message: it joins what is compressed already.
type requestJoiner struct{ out []byte }

// encode writes all symbols before all series: protobuf does not require it, but some receivers resolve references
// while they read. The result is valid until the next call.
func (e *requestJoiner) encode(m Message) ([]byte, error) {
	plain := 0
	for _, f := range m.Fragments {
		p, err := parsePacked(f)
		if plain += p.symbols.plain + p.series.plain; err != nil || plain > MaxPlainBytes {
			return nil, errDamaged
		}
	}
	e.out = binary.AppendUvarint(e.out[:0], uint64(plain))
	for _, f := range m.Fragments {
		p, _ := parsePacked(f)
		e.out = append(e.out, p.symbols.elements...)
	}
	for _, f := range m.Fragments {
		p, _ := parsePacked(f)
		e.out = append(e.out, p.series.elements...)
	}
	return e.out, nil
}

// Content is a message taken apart.
type Content struct {
	symbols        [][]byte
	series         [][]byte // the body of each TimeSeries
	mayHaveArrived bool     // of the message
}

// Parse takes a message apart.
func Parse(m Message) (c Content, err error) {
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
	return c, nil
}

// Len returns the number of series.
func (c *Content) Len() int { return len(c.series) }

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

// Subset returns a message with the series for which keep returns true, and only the symbols that they use.
func (c *Content) Subset(keep func(i int, tsMillis int64) bool) (Message, error) {
	m := Message{MayHaveArrived: c.mayHaveArrived}
	s := subsetter{Content: c, refs: make([]uint32, len(c.symbols)), symbols: []byte{tagSymbol, 0}, next: 1}
	for i, body := range c.series {
		at, err := seriesTime(body)
		if err != nil {
			return Message{}, err
		}
		if !keep(i, at) {
			continue
		}
		if err := s.add(body); err != nil {
			return Message{}, err
		}
		if m.Samples == 0 {
			m.Oldest, m.Newest = at, at
		}
		m.Samples++
		m.Oldest, m.Newest = min(m.Oldest, at), max(m.Newest, at)
	}
	m.Fragments = [][]byte{appendPacked(nil, s.symbols, s.series)}
	return m, nil
}

// Split divides a message into n messages, or into as many as it has series.
func (c *Content) Split(n int) (out []Message, err error) {
	n = min(n, len(c.series))
	for i := range n {
		from, to := i*len(c.series)/n, (i+1)*len(c.series)/n
		m, err := c.Subset(func(j int, _ int64) bool { return from <= j && j < to })
		if err != nil {
			return nil, err
		}
		out = append(out, m)
	}
	return out, nil
}

// subsetter writes series again, with their symbols renumbered.
type subsetter struct {
	*Content
	refs            []uint32 // new reference by old one; 0: not used yet
	next            uint32
	symbols, series []byte
	body, inner     []byte // scratch
}

func (s *subsetter) ref(old uint64) (uint64, error) {
	if old == 0 {
		return 0, nil
	}
	text, err := s.text(old)
	if err != nil {
		return 0, err
	}
	if s.refs[old] == 0 {
		s.refs[old] = s.next
		s.next++
		s.symbols = appendBytesField(s.symbols, tagSymbol, text)
	}
	return uint64(s.refs[old]), nil
}

func (s *subsetter) add(body []byte) error {
	s.body = s.body[:0]
	err := eachField(body, func(f field) (err error) {
		switch f.whole[0] {
		case tagLabelRefs:
			if s.inner, err = s.appendRefs(s.inner[:0], f.data); err == nil {
				s.body = appendBytesField(s.body, tagLabelRefs, s.inner)
			}
		case tagExemplar:
			s.inner, err = s.appendExemplar(s.inner[:0], f.data)
			s.body = appendBytesField(s.body, tagExemplar, s.inner)
		case tagMetadata:
			s.inner, err = s.appendMetadata(s.inner[:0], f.data)
			s.body = appendBytesField(s.body, tagMetadata, s.inner)
		default:
			s.body = append(s.body, f.whole...)
		}
		return err
	})
	if err != nil {
		return err
	}
	s.series = appendBytesField(s.series, tagSeries, s.body)
	return nil
}

func (s *subsetter) appendRefs(dst, packed []byte) ([]byte, error) {
	err := eachRef(packed, func(old uint64) error {
		ref, err := s.ref(old)
		dst = appendUvarint(dst, ref)
		return err
	})
	return dst, err
}

func (s *subsetter) appendExemplar(dst, body []byte) ([]byte, error) {
	err := eachField(body, func(f field) error {
		if f.whole[0] != tagExemplarLabels {
			dst = append(dst, f.whole...)
			return nil
		}
		refs, err := s.appendRefs(nil, f.data)
		dst = appendBytesField(dst, tagExemplarLabels, refs)
		return err
	})
	return dst, err
}

func (s *subsetter) appendMetadata(dst, body []byte) ([]byte, error) {
	err := eachField(body, func(f field) error {
		if tag := f.whole[0]; tag == tagMetaHelp || tag == tagMetaUnit {
			ref, err := s.ref(f.value)
			dst = appendVarintField(dst, tag, ref)
			return err
		}
		dst = append(dst, f.whole...)
		return nil
	})
	return dst, err
}

// eachRef calls fn for every reference of a packed list.
func eachRef(packed []byte, fn func(uint64) error) error {
	for len(packed) > 0 {
		ref, n := binary.Uvarint(packed)
		if n <= 0 {
			return errDamaged
		}
		if err := fn(ref); err != nil {
			return err
		}
		packed = packed[n:]
	}
	return nil
}

// seriesTime returns the timestamp of the one sample, or native histogram, of a series.
func seriesTime(body []byte) (tsMillis int64, err error) {
	err = eachField(body, func(f field) error {
		var tag byte
		switch f.whole[0] {
		case tagSample:
			tag = tagSampleTime
		case tagHistogram:
			tag = tagHistogramTime
		default:
			return nil
		}
		return eachField(f.data, func(f field) error {
			if f.whole[0] == tag {
				tsMillis = int64(f.value)
			}
			return nil
		})
	})
	return tsMillis, err
}
