package wire

import "github.com/golang/snappy"

// isWhole reports whether the symbols of the group can be sent as they are: all come from layouts, in which each is
// used, and one message has all samples. If a series is in two layouts, the metadata of one of them is left out.
func (w *mergeWriter) isWhole() bool {
	for i := range w.layouts {
		if w.layouts[i].shared {
			return false
		}
	}
	const mostOfSample = 32 // about the largest size of a sample
	samples := len(w.values)
	bytes := w.plain.size + mostOfSample*samples
	return (w.alone || w.onlyColumns) && (w.most.Samples == 0 || samples <= w.most.Samples) &&
		(w.most.Bytes == 0 || bytes < w.most.Bytes)
}

// useAll gives all symbols of the group their numbers in the group.
func (w *mergeWriter) useAll() {
	for i := range w.inMessage.known {
		w.inMessage.known[i] = uint32(i)
	}
	if !w.asPacked {
		for _, text := range w.symbols.texts[1:] {
			w.fresh = appendBytesField(w.fresh, tagSymbol, text)
		}
	}
}

// addDirect writes a series if all its samples are in one run.
func (w *mergeWriter) addDirect(s *mergedSeries) (done bool, err error) {
	r := &w.rows[s.last-1]
	if s.first != s.last || r.input&inRun == 0 || s.later != 0 {
		return false, nil
	}
	run := r.input &^ inRun
	if d := &w.direct; d.run != run+1 && !d.beginRun(w.merger, run) {
		d.run = 0
		return false, nil
	}
	s.written = true
	return true, w.addRow(run, int(r.from), w.keys.texts[s.key], w.text[r.rest:r.to], w.inputOf(r))
}

// addRow writes the series of a row of a run. refs have the numbers of the group, metadata those of its message.
func (w *mergeWriter) addRow(run uint32, row int, refs, metadata []byte, from *mergeInput) (err error) {
	columns := len(w.direct.columns)
	w.makeRoom(columns)
	if !w.whole {
		w.refs, w.refsThen = w.refsThen, w.refs
		if w.refs, err = w.renumber.append(w.refs[:0], refs, &w.inMessage); err != nil {
			return err
		}
		refs = w.refs
	}
	// Most series have the metadata of the one before. If the symbols are as packed, it stays as it is, once it is
	// known that it is not damaged.
	if word := shortWord(metadata); !w.asPacked || word == 0 || word != w.checked {
		if metadata, err = w.renumbered(metadata, from); err != nil {
			return err
		}
		w.checked = word
	}
	if err := w.direct.add(row, refs, metadata); err != nil {
		return err
	}
	w.message.Samples += columns
	if w.notedRun != run+1 {
		w.noteRun(run)
	}
	return nil
}

// noteRun is note for all columns of a run.
func (w *mergeWriter) noteRun(number uint32) {
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
	scratch := w.pool.emptyBody(snappy.MaxEncodedLen(len(w.fresh)) + snappy.MaxEncodedLen(len(w.series)))
	defer w.pool.Release(scratch)
	room := scratch[:cap(scratch)]
	symbols := w.sets[0].packed
	if !w.asPacked {
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
