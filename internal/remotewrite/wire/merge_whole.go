package wire

import "github.com/golang/snappy"

// isWhole reports whether the symbols of the group can be sent as they are: all come from layouts, in which each is
// used, and one message has all samples.
func (w *mergeWriter) isWhole() bool {
	if len(w.layouts) == 0 || w.rounds > 0 {
		return false
	}
	for i := range w.sets {
		if w.sets[i].packed == nil {
			return false
		}
	}
	samples := len(w.values)
	for i := range w.merger.series {
		samples += int(w.merger.series[i].samples)
	}
	const mostOfSample = 32 // about the largest size of a sample
	bytes := w.plain.size + mostOfSample*samples
	return (w.most.Samples == 0 || samples <= w.most.Samples) && (w.most.Bytes == 0 || bytes < w.most.Bytes)
}

// useAll gives all symbols of the group their numbers in the group.
func (w *mergeWriter) useAll() {
	for i := range w.inMessage.known {
		w.inMessage.known[i] = uint32(i)
	}
	if w.packedSymbols() == nil {
		for _, text := range w.symbols.texts[1:] {
			w.fresh = appendBytesField(w.fresh, tagSymbol, text)
		}
	}
}

// packedSymbols returns the symbols of the message as they are in a layout, or nil.
func (w *mergeWriter) packedSymbols() []byte {
	if w.whole && len(w.sets) == 1 && w.sets[0].same {
		return w.sets[0].packed
	}
	return nil
}

// addDirect writes a series if all its samples are in one run.
func (w *mergeWriter) addDirect(s *mergedSeries) (done bool, err error) {
	r := &w.rows[s.last-1]
	if s.first != s.last || r.input&inRun == 0 || s.later != 0 {
		return false, nil
	}
	number := r.input &^ inRun
	if d := &w.direct; d.run != number+1 && !d.beginRun(w.merger, number) {
		d.run = 0
		return false, nil
	}
	columns := int(w.runs[number].columns)
	w.makeRoom(columns)
	refs, metadata := w.keys.texts[s.key], w.text[r.rest:r.to]
	if w.packedSymbols() == nil {
		if !w.whole {
			w.refs, w.refsThen = w.refsThen, w.refs
			if w.refs, err = w.renumber.append(w.refs[:0], refs, &w.inMessage); err != nil {
				return false, err
			}
			refs = w.refs
		}
		if metadata, err = w.metadataOf(s); err != nil {
			return false, err
		}
	}
	w.direct.add(int(r.from), refs, metadata)
	w.message.Samples += columns
	w.noteRun(number)
	s.written = true
	return true, nil
}

// noteRun is note for all columns of a run.
func (w *mergeWriter) noteRun(number uint32) {
	if w.notedRun == number+1 {
		return
	}
	w.notedRun = number + 1
	run := &w.runs[number]
	for n, left := run.first, run.columns; left > 0; left-- {
		c := &w.columns[n]
		w.note(&w.inputs[c.input])
		n = c.next
	}
}

// pack packs the present message.
func (w *mergeWriter) pack() []byte {
	symbols := w.packedSymbols()
	scratch := w.pool.emptyBody(snappy.MaxEncodedLen(len(w.fresh)) + snappy.MaxEncodedLen(len(w.series)))
	defer w.pool.Release(scratch)
	room := scratch[:cap(scratch)]
	if symbols == nil {
		symbols = snappy.Encode(room, w.fresh)
		room = room[len(symbols):]
	}
	written := w.direct.elements()
	var rest []byte
	if len(w.series) > 0 {
		b, _ := parseBlock(snappy.Encode(room, w.series))
		rest = b.elements
	}
	size := w.direct.at + len(w.series)
	out := w.pool.emptyBody(2*maxPackedHead + len(symbols) + len(written) + len(rest))
	out = append(appendUvarint(out, uint64(len(symbols))), symbols...)
	return append(append(appendUvarint(out, uint64(size)), written...), rest...)
}
