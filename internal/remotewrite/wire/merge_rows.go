package wire

import "bytes"

// readSeries reads the series of a fragment, which are at an offset in text. It returns the number of samples.
func (m *merger) readSeries(series []byte, at int, input uint32) (samples int, err error) {
	for rest := series; len(rest) > 0; {
		body, behind, ok := cutBytes(rest[1:])
		if !ok || rest[0] != tagSeries {
			return 0, errDamaged
		}
		rest = behind
		end := at + len(series) - len(behind)
		if m.expectedRow(body, end, input) { // nearly always
			samples++
			continue
		}
		n, err := m.row(body, end, input)
		if err != nil {
			return 0, err
		}
		samples += n
	}
	return samples, nil
}

// expectedRow is row for what is expected: the series after the one before, with one float, and then at most metadata.
// It returns false, and has done nothing, for any other row.
func (m *merger) expectedRow(body []byte, end int, input uint32) bool {
	if m.next >= uint32(len(m.series)) {
		return false
	}
	s := &m.series[m.next]
	if s.set != m.set || !bytes.HasPrefix(body, s.head) || s.later != 0 || s.histograms || s.last == 0 {
		return false
	}
	fields := body[len(s.head):]
	if len(fields) < 2 || fields[0] != tagSample || fields[1] >= 0x80 || int(fields[1]) > len(fields)-2 {
		return false
	}
	size := 2 + int(fields[1])
	if rest := fields[size:]; len(rest) > 0 && !isMetadata(rest) {
		return false
	}
	if s.layout != 0 {
		m.touch(s)
	}
	begin := uint32(end - len(fields))
	m.rows = append(m.rows, mergeRow{begin, begin + uint32(size), uint32(end), 0, input})
	number := uint32(len(m.rows))
	m.rows[s.last-1].next = number
	s.last = number
	s.samples++
	s.size += uint32(size)
	m.next++
	return true
}

// isMetadata reports whether fields are one field tagMetadata, as far as its length shows that.
func isMetadata(fields []byte) bool {
	return len(fields) >= 2 && fields[0] == tagMetadata && fields[1] < 0x80 && int(fields[1]) == len(fields)-2
}

// row appends a TimeSeries, which ends at an offset in text, to its series. It returns the number of samples.
func (m *merger) row(body []byte, end int, input uint32) (samples int, err error) {
	var refs, head []byte
	if len(body) > 0 && body[0] == tagLabelRefs {
		all := body
		var ok bool
		if refs, body, ok = cutBytes(body[1:]); !ok {
			return 0, errDamaged
		}
		head = all[:len(all)-len(body)]
	}
	k, err := m.find(refs)
	if err != nil {
		return 0, err
	}
	m.series[k].set, m.series[k].head = m.set, head
	m.next = k + 1
	r, err := scanRow(body)
	if err != nil {
		return 0, err
	}
	m.touch(&m.series[k])
	s := m.part(k, r.histograms)
	begin := end - len(body)
	m.link(s, mergeRow{uint32(begin), uint32(begin + r.size), uint32(end), 0, input})
	s.samples += uint32(r.samples)
	s.size += uint32(r.size)
	s.exemplars = s.exemplars || r.exemplars
	return r.samples, nil
}

// part returns the part of a series that gets its next row, of floats or native histograms.
func (m *merger) part(k uint32, histograms bool) *mergedSeries {
	s := &m.series[k]
	if s.last == 0 {
		s.histograms = histograms
	}
	for s.histograms != histograms || s.later != 0 {
		s = m.laterOf(s, histograms)
	}
	return s
}

// link appends a row to a part of a series.
func (m *merger) link(s *mergedSeries, r mergeRow) {
	m.rows = append(m.rows, r)
	number := uint32(len(m.rows))
	if s.last == 0 {
		s.first = number
	} else {
		m.rows[s.last-1].next = number
	}
	s.last = number
}

// find returns the number of the series that has these labels.
func (m *merger) find(refs []byte) (k uint32, err error) {
	key, begin := refs, len(m.refs)
	if !m.sets[m.set].same { // otherwise mergeWriter finds damage
		if m.refs, err = m.renumber.append(m.refs, refs, &m.inGroup); err != nil {
			return 0, err
		}
		key = m.refs[begin:]
	}
	var isNew bool
	if first := len(m.inputs) == 1; first {
		k, isNew = m.keys.add(key), true
	} else {
		k, isNew = m.keys.number(key)
	}
	if isNew {
		m.series = append(m.series, mergedSeries{key: k})
	} else {
		m.refs = m.refs[:begin]
	}
	return k, nil
}

// laterOf returns the part of a series after s.
func (m *merger) laterOf(s *mergedSeries, histograms bool) *mergedSeries {
	if s.later == 0 {
		s.later = uint32(len(m.later)) + 1
		m.rounds = max(m.rounds, s.round+1)
		m.later = append(m.later, mergedSeries{key: s.key, round: s.round + 1, histograms: histograms})
	}
	return &m.later[s.later-1]
}

// scannedRow is what scanRow finds in a TimeSeries.
type scannedRow struct {
	samples    int
	size       int // bytes of the samples, which come first
	histograms bool
	exemplars  bool // there is more than samples and metadata
}

// scanRow looks at what follows the labels of a TimeSeries: samples or native histograms, then exemplars and metadata.
func scanRow(body []byte) (r scannedRow, err error) {
	rest := body
	for len(rest) > 0 && (rest[0] == tagSample || rest[0] == tagHistogram) {
		histogram := rest[0] == tagHistogram
		_, behind, ok := cutBytes(rest[1:])
		if !ok || r.samples > 0 && histogram != r.histograms {
			return r, errDamaged
		}
		r.histograms, rest = histogram, behind
		r.samples++
	}
	r.size = len(body) - len(rest)
	if r.samples == 0 {
		return r, errDamaged
	}
	if len(rest) == 0 || isMetadata(rest) {
		return r, nil
	}
	r.exemplars = true
	err = eachField(rest, func(f field) error {
		switch f.whole[0] {
		case tagLabelRefs, tagSample, tagHistogram:
			return errDamaged
		}
		return nil
	})
	return r, err
}
