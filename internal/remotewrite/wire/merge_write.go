package wire

import "bytes"

// mergeWriter writes the messages of a merger, one after the other. A series is never in two of them, unless it has
// floats and native histograms: each change between the two begins another message, because receivers differ in how
// they order them within one.
type mergeWriter struct {
	*merger
	most Limits
	pool *Pool
	out  []Message

	used     uint32 // number of symbols of the present message
	fresh    []byte // these symbols
	series   []byte
	message  Message // the present one; it has no fragment yet
	noted    bool    // its times are set
	renumber renumberer
	refs     []byte // of the present series
	body     []byte // exemplars of the present series, and scratch
	metadata mergedMetadata

	input     *mergeInput                      // of the row whose references inInput reads
	fromInput func(old uint64) (uint64, error) // inInput, bound once
	inMessage newRefs                          // numbers in the present message, by number in the group
}

// mergedMetadata is the field metadata that was written last.
type mergedMetadata struct {
	set     uint32
	read    []byte // as it was read, with references to the symbols of set
	written []byte
}

// all writes all series.
func (w *mergeWriter) all(m *merger, most Limits, p *Pool) (out []Message, err error) {
	if w.fromInput == nil {
		w.fromInput, w.inMessage.ask = w.inInput, w.use
	}
	w.merger, w.most, w.pool = m, most, p
	defer w.forget()
	w.begin()
	for i := range m.series {
		if err := w.add(&m.series[i]); err != nil {
			return nil, err
		}
	}
	for round := uint32(1); round <= m.rounds; round++ {
		w.finish()
		for i := range m.later {
			if s := &m.later[i]; s.round == round {
				if err := w.add(s); err != nil {
					return nil, err
				}
			}
		}
	}
	w.finish()
	return w.out, nil
}

// forget drops the references to the messages.
func (w *mergeWriter) forget() {
	w.merger, w.pool, w.out, w.input = nil, nil, nil, nil
	w.renumber.begin()
	w.metadata.read = nil
}

// begin begins a message.
func (w *mergeWriter) begin() {
	w.message, w.noted = Message{}, false
	n := len(w.symbols.texts)
	if cap(w.inMessage.known) < n {
		w.inMessage.known = make([]uint32, n+n/4)
	}
	w.inMessage.known = w.inMessage.known[:n]
	w.fresh, w.series = append(w.fresh[:0], tagSymbol, 0), w.series[:0]
	clear(w.inMessage.known)
	w.used = 0
	w.renumber.begin()
	w.metadata.read = nil
}

// finish packs the present message, if it has samples, and begins the next one.
func (w *mergeWriter) finish() {
	if w.message.Samples == 0 {
		return
	}
	scratch := appendPacked(w.pool.emptyBody(maxPacked(len(w.fresh), len(w.series))), w.fresh, w.series)
	w.message.Fragments = [][]byte{append(w.pool.emptyBody(len(scratch)), scratch...)}
	w.pool.Release(scratch)
	w.out = append(w.out, w.message)
	w.begin()
}

// add writes a series.
func (w *mergeWriter) add(s *mergedSeries) (err error) {
	m := &w.message
	samples, size := w.measure(s)
	w.makeRoom(samples)
	if w.refs, err = w.renumber.append(w.refs[:0], w.keys.texts[s.key], &w.inMessage); err != nil {
		return err
	}
	w.body = w.body[:0]
	if s.exemplars {
		if err := w.addOthers(s); err != nil {
			return err
		}
	}
	metadata, err := w.metadataOf(s)
	if err != nil {
		return err
	}
	dst := appendHead(w.series, len(w.refs), size+len(w.body)+len(metadata))
	dst = append(dst, w.refs...)
	for at := s.first; at != 0; {
		r := &w.rows[at-1]
		if at = r.next; r.input&inRun != 0 {
			w.eachColumn(r, func(c *mergeColumn, value float64) {
				dst = appendSample(dst, value, c.time)
				w.note(&w.inputs[c.input])
			})
			continue
		}
		dst = append(dst, w.text[r.from:r.rest]...)
		w.note(&w.inputs[r.input])
	}
	w.series = append(append(dst, w.body...), metadata...)
	m.Samples += samples
	return nil
}

// measure returns the number of samples of a series, and their size.
func (w *mergeWriter) measure(s *mergedSeries) (samples, size int) {
	samples, size = int(s.samples), int(s.size)
	if len(w.runs) == 0 {
		return samples, size
	}
	for at := s.first; at != 0; {
		r := &w.rows[at-1]
		if at = r.next; r.input&inRun != 0 {
			w.eachColumn(r, func(c *mergeColumn, value float64) {
				samples++
				size += 2 + sampleSize(value, c.time)
			})
		}
	}
	return samples, size
}

// makeRoom finishes the present message if a series with this many samples no longer fits.
func (w *mergeWriter) makeRoom(samples int) {
	m, most := &w.message, w.most
	if m.Samples > 0 && (most.Samples > 0 && m.Samples+samples > most.Samples ||
		most.Bytes > 0 && len(w.fresh)+len(w.series) >= most.Bytes) {
		w.finish()
	}
}

// note is called for each message that the present one has a sample of.
func (w *mergeWriter) note(from *mergeInput) {
	m := &w.message
	if !w.noted {
		m.Oldest, m.Newest, w.noted = from.oldest, from.newest, true
	}
	m.Oldest, m.Newest = min(m.Oldest, from.oldest), max(m.Newest, from.newest)
	m.MayHaveArrived = m.MayHaveArrived || from.mayHaveArrived
}

// use gives a symbol of the group, which the present message does not have yet, a reference there.
func (w *mergeWriter) use(number uint64) (uint64, error) {
	if number == 0 {
		return 0, nil
	}
	if number >= uint64(len(w.symbols.texts)) {
		return 0, errDamaged
	}
	w.used++
	w.inMessage.known[number] = w.used
	w.fresh = appendBytesField(w.fresh, tagSymbol, w.symbols.texts[number])
	return uint64(w.used), nil
}

// inInput returns the reference in the present message of a symbol of w.input.
func (w *mergeWriter) inInput(ref uint64) (uint64, error) {
	number, err := w.sets[w.input.set].number(ref)
	if err != nil {
		return 0, err
	}
	return w.inMessage.of(number)
}

// metadataOf returns the newest field metadata of a series. It is valid until the next call.
func (w *mergeWriter) metadataOf(s *mergedSeries) ([]byte, error) {
	r := &w.rows[s.last-1]
	field := w.text[r.rest:r.to]
	if s.exemplars || len(field) == 0 {
		if r, field = w.findMetadata(s); field == nil {
			return nil, nil
		}
	}
	return w.renumbered(field, w.inputOf(r))
}

// renumbered returns the field metadata of a message with the numbers of the present message. It is valid until the
// next call.
func (w *mergeWriter) renumbered(field []byte, from *mergeInput) ([]byte, error) {
	known := &w.metadata
	if len(field) == 0 {
		return nil, nil
	}
	if w.input = from; known.set == from.set && bytes.Equal(known.read, field) {
		return known.written, nil
	}
	f, _, err := cutField(field)
	if err != nil {
		return nil, err
	}
	at := len(w.body)
	w.body, err = appendMetadata(w.body, f.data, w.fromInput)
	known.set, known.read = from.set, field
	known.written = appendBytesField(known.written[:0], tagMetadata, w.body[at:])
	w.body = w.body[:at]
	return known.written, err
}

// findMetadata returns the last field metadata of the rows of a series that have other fields too.
func (w *mergeWriter) findMetadata(s *mergedSeries) (in *mergeRow, metadata []byte) {
	for at := s.first; at != 0; {
		r := &w.rows[at-1]
		_ = eachField(w.text[r.rest:r.to], func(f field) error { // read before, by scanRow
			if f.whole[0] == tagMetadata {
				in, metadata = r, f.whole
			}
			return nil
		})
		at = r.next
	}
	return in, metadata
}

// addOthers appends the exemplars of a series to w.body, in the order of its rows.
func (w *mergeWriter) addOthers(s *mergedSeries) error {
	for at := s.first; at != 0; {
		r := &w.rows[at-1]
		w.input = w.inputOf(r)
		err := eachField(w.text[r.rest:r.to], func(f field) error {
			switch f.whole[0] {
			case tagMetadata:
			case tagExemplar:
				x, err := appendExemplar(nil, f.data, w.fromInput)
				if err != nil {
					return err
				}
				w.body = appendBytesField(w.body, tagExemplar, x)
			default:
				w.body = append(w.body, f.whole...)
			}
			return nil
		})
		if err != nil {
			return err
		}
		at = r.next
	}
	return nil
}

// size returns how much memory the writer keeps.
func (w *mergeWriter) size() int {
	return 4*cap(w.inMessage.known) + cap(w.fresh) + cap(w.series) + cap(w.refs) + cap(w.body) + w.renumber.size()
}
