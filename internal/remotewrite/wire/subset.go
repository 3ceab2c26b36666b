package wire

import (
	"slices"
)

// Subset returns a message with the samples for which keep returns true, and only the symbols that they use. keep is
// called once for each sample, with the number of its series. An exemplar stays with the sample of its scrape: the
// first one that is not older, or the last one. A series without a sample is left out.
func (c *Content) Subset(keep func(i int, tsMillis int64) bool) (Message, error) {
	return c.subset(func(i, _ int, at int64) bool { return keep(i, at) })
}

// Split divides a message by series into n messages, or into as many as it has series.
func (c *Content) Split(n int) ([]Message, error) {
	n = min(n, len(c.series))
	return c.divide(n, func(k int) func(i, j int, at int64) bool {
		from, to := k*len(c.series)/n, (k+1)*len(c.series)/n
		return func(i, _ int, _ int64) bool { return from <= i && i < to }
	})
}

// SplitSeries divides a message of one series by time into n messages, or into as many as it has samples. The first
// one has the oldest samples.
func (c *Content) SplitSeries(n int) ([]Message, error) {
	n = min(n, c.samples)
	return c.divide(n, func(k int) func(i, j int, at int64) bool {
		from, to := k*c.samples/n, (k+1)*c.samples/n
		return func(_, j int, _ int64) bool { return from <= j && j < to }
	})
}

// maxTimes is the number of timestamps up to which SplitTimes makes a message for each.
const maxTimes = 16

// SplitTimes divides a message into messages in which no series has two samples, in the order in which they have to be
// sent: one for each timestamp, as if each scrape were a message. If there are more than 16 timestamps, for example
// because series have timestamps of their own, the first message has the oldest sample of each series instead, the
// second one the next, and so on.
func (c *Content) SplitTimes() ([]Message, error) {
	var times []int64
	most := 0 // samples of a series
	rising := true
	for _, body := range c.series {
		n, last := 0, int64(0)
		if err := eachSample(body, func(at int64) {
			if k, known := slices.BinarySearch(times, at); !known && len(times) <= maxTimes {
				times = slices.Insert(times, k, at)
			}
			rising = rising && (n == 0 || at > last)
			n, last = n+1, at
		}); err != nil {
			return nil, err
		}
		most = max(most, n)
	}
	if len(times) > maxTimes || !rising {
		return c.divide(most, func(k int) func(i, j int, at int64) bool {
			return func(_, j int, _ int64) bool { return j == k }
		})
	}
	return c.divide(len(times), func(k int) func(i, j int, at int64) bool {
		return func(_, _ int, at int64) bool { return at == times[k] }
	})
}

// divide returns n messages. The one with number k has the samples for which keep(k) returns true.
func (c *Content) divide(n int, keep func(k int) func(i, j int, at int64) bool) (out []Message, err error) {
	for k := range n {
		m, err := c.subset(keep(k))
		if err != nil {
			return nil, err
		}
		out = append(out, m)
	}
	return out, nil
}

// subset is Subset. keep also gets the number of the sample in its series.
func (c *Content) subset(keep func(i, j int, tsMillis int64) bool) (Message, error) {
	m := Message{MayHaveArrived: c.mayHaveArrived}
	s := subsetter{Content: c, refs: make([]uint32, len(c.symbols)), symbols: []byte{tagSymbol, 0}, next: 1}
	for i, body := range c.series {
		s.samples = s.samples[:0]
		kept := 0
		if err := eachSample(body, func(at int64) {
			x := subsetSample{at: at, kept: keep(i, len(s.samples), at)}
			s.samples = append(s.samples, x)
			if !x.kept {
				return
			}
			if m.Samples == 0 {
				m.Oldest, m.Newest = at, at
			}
			kept++
			m.Samples++
			m.Oldest, m.Newest = min(m.Oldest, at), max(m.Newest, at)
		}); err != nil {
			return Message{}, err
		}
		if kept == 0 {
			continue
		}
		if err := s.add(body); err != nil {
			return Message{}, err
		}
	}
	m.Fragments = [][]byte{appendPacked(nil, s.symbols, s.series)}
	return m, nil
}

// subsetter writes series again, with their symbols renumbered.
type subsetter struct {
	*Content
	refs            []uint32 // new reference by old one; 0: not used yet
	next            uint32
	symbols, series []byte
	samples         []subsetSample // of the present series
	body, inner     []byte         // scratch
}

type subsetSample struct {
	at   int64
	kept bool
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

// add writes a series with the samples that are kept.
func (s *subsetter) add(body []byte) error {
	s.body = s.body[:0]
	n := 0 // samples so far
	err := eachField(body, func(f field) (err error) {
		switch f.whole[0] {
		case tagLabelRefs:
			if s.inner, err = appendRefs(s.inner[:0], f.data, s.ref); err == nil {
				s.body = appendBytesField(s.body, tagLabelRefs, s.inner)
			}
		case tagSample, tagHistogram:
			if s.samples[n].kept {
				s.body = append(s.body, f.whole...)
			}
			n++
		case tagExemplar:
			var kept bool
			if kept, err = s.keepsExemplar(f.data); err != nil || !kept {
				return err
			}
			s.inner, err = appendExemplar(s.inner[:0], f.data, s.ref)
			s.body = appendBytesField(s.body, tagExemplar, s.inner)
		case tagMetadata:
			s.inner, err = appendMetadata(s.inner[:0], f.data, s.ref)
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

// keepsExemplar reports whether the sample of the scrape that an exemplar comes from is kept.
func (s *subsetter) keepsExemplar(exemplar []byte) (kept bool, err error) {
	var at int64
	err = eachField(exemplar, func(f field) error {
		if f.whole[0] == tagExemplarTime {
			at = int64(f.value)
		}
		return nil
	})
	for _, x := range s.samples {
		if kept = x.kept; x.at >= at {
			break
		}
	}
	return kept, err
}

// appendRefs appends a packed list of references with new numbers.
func appendRefs(dst, packed []byte, ref func(old uint64) (uint64, error)) ([]byte, error) {
	for len(packed) > 0 {
		old, rest, ok := cutRef(packed)
		if !ok {
			return dst, errDamaged
		}
		to, err := ref(old)
		if err != nil {
			return dst, err
		}
		dst, packed = appendUvarint(dst, to), rest
	}
	return dst, nil
}

// appendExemplar appends the body of an exemplar with new references.
func appendExemplar(dst, body []byte, ref func(old uint64) (uint64, error)) ([]byte, error) {
	err := eachField(body, func(f field) error {
		if f.whole[0] != tagExemplarLabels {
			dst = append(dst, f.whole...)
			return nil
		}
		refs, err := appendRefs(nil, f.data, ref)
		dst = appendBytesField(dst, tagExemplarLabels, refs)
		return err
	})
	return dst, err
}

// appendMetadata appends the body of metadata with new references.
func appendMetadata(dst, body []byte, ref func(old uint64) (uint64, error)) ([]byte, error) {
	err := eachField(body, func(f field) error {
		if tag := f.whole[0]; tag == tagMetaHelp || tag == tagMetaUnit {
			to, err := ref(f.value)
			dst = appendVarintField(dst, tag, to)
			return err
		}
		dst = append(dst, f.whole...)
		return nil
	})
	return dst, err
}
