package wire

import "encoding/binary"

// columnWriterV1 writes the rows of layouts with the samples of their columns, as columnWriter does, but as series of
// remote write 1.0, which have their labels in full. The labels that a row shares with the row before are copies of
// those of an earlier series. For the others, textTable knows where they were written before.
//
//	series before  0a e1 04 0a 3a … 0a 09 0a 02 l e 12 03 2 5 0 0a 11 …
//	this series    0a e1 04 0a 3a … 0a 09 0a 02 l e 12 03 5 0 0 0a 11 …
//	               copy                                   literal, copy
//
// Cost: 40 bytes per symbol, 60 KiB, and the request as it is sent.
type columnWriterV1 struct {
	columnSamples
	texts textTable // by number of a symbol in the message; it has those that were written

	last    seriesV1     // that was written last
	total   int          // size of its labels
	count   int          // their number
	isNew   bool         // the next row has other labels, whatever the reader says
	run     labelRun     // to which it belongs
	similar [32]seriesV1 // of runs, by size; a newer one replaces an older one
}

// seriesV1 is a series that is written already, with positions in the plain text.
type seriesV1 struct {
	row    uint32 // of the layout, + 1
	size   uint32 // of what follows the length
	own    uint32 // size of the labels that the row before does not have
	at     uint32
	labels uint32 // their position
}

// labelRun is rows each of which differs from the row before only in the value of one label, as buckets of a histogram
// do.
type labelRun struct {
	label int    // its index; -1: there is no run
	name  uint32 // reference to the layout
	first uint32 // row, + 1
}

// beginBlock begins a message.
func (w *columnWriterV1) beginBlock() {
	w.beginSamples()
	w.texts.forget()
	w.last = seriesV1{}
	w.beginRows()
}

// beginRows: the next series are the rows of another layout.
func (w *columnWriterV1) beginRows() {
	w.isNew, w.run.label = true, -1
	clear(w.similar[:])
}

// ownLabels is which labels of a row the series before does not have, as offsets in its labels.
type ownLabels struct {
	first, last int // indices
	begin, end  int

	kept           int // of them after the first one are those of the series before
	keptAt, keptTo int // where they are there
}

// add writes the series of the row of the layout that the reader has read last.
func (w *columnWriterV1) add(row int, r *rowReader, to *columnSymbols) error {
	own, err := w.measure(r, to)
	if err != nil {
		return err
	}
	s := w.read(row)
	size := w.total + s.size
	if int64(w.at)+maxHead+int64(size) > MaxPlainBytes {
		return errDamaged
	}
	here := seriesV1{row: uint32(row) + 1, size: uint32(size), own: uint32(own.end - own.begin), at: uint32(w.at)}
	inRun := w.continueRun(r, here.row)
	like := &w.last
	if inRun {
		if x := &w.similar[size%len(w.similar)]; x.size == here.size && x.own == here.own && x.row >= w.run.first {
			like = x
		}
	}
	if like.size == here.size {
		w.repeat(int(like.at), int(like.labels-like.at)+own.begin)
	} else {
		w.head(tagSeriesV1, size)
		w.repeat(int(like.labels), own.begin)
	}
	here.labels = uint32(w.at - own.begin)
	if !inRun || like.row < w.run.first || like.own != here.own || !w.otherValue(like, &own, r, to) {
		w.writeLabels(&own, r, to, int(here.labels))
	}
	rest, above := w.total-own.end, &w.before
	if inRun && s.from.row >= w.run.first {
		above = s.from
	}
	w.repeat(int(above.samples)-rest, rest)
	at := w.at
	w.writeSamples(s)
	w.remember(s, at, 0)
	w.last, w.count, w.isNew = here, len(r.labels), false
	if inRun {
		w.similar[size%len(w.similar)] = here
	}
	return nil
}

// measure sets the ends of labels, and the size of all labels.
func (w *columnWriterV1) measure(r *rowReader, to *columnSymbols) (own ownLabels, err error) {
	own = ownLabels{first: r.begin, last: r.begin + r.own, begin: int(r.from)}
	until := int(r.to)
	if w.isNew {
		own, until = ownLabels{last: len(r.labels)}, w.total
	}
	end, labels := int64(own.begin), r.labels[own.first:own.last]
	if !w.isNew && r.still > 0 {
		own.kept, own.keptAt, own.keptTo = r.still, int(labels[0].end), int(labels[r.still].end)
	}
	for i := range labels {
		l := &labels[i]
		end += int64(labelSize(to.fieldSize(l.name), to.fieldSize(l.value)))
		l.end = uint32(end)
	}
	grown := end - int64(until)
	if int64(w.total)+grown > MaxPlainBytes {
		return own, errDamaged
	}
	own.end = int(end)
	w.total += int(grown)
	if grown := uint32(grown); grown != 0 {
		rest := r.labels[own.last:]
		for i := range rest {
			rest[i].end += grown
		}
	}
	return own, nil
}

// labelSize returns the size of a label whose name and value have these sizes, with their lengths in front.
func labelSize(name, value int) int {
	inner := 2 + name + value
	return 1 + shortSize(inner) + inner
}

// continueRun notes a row, and reports whether it belongs to a run.
func (w *columnWriterV1) continueRun(r *rowReader, row uint32) bool {
	if w.isNew || r.own != 1 || len(r.labels) != w.count {
		w.run.label = -1
		return false
	}
	if name := r.labels[r.begin].name; w.run.label != r.begin || w.run.name != name {
		w.run = labelRun{r.begin, name, row}
	}
	return true
}

// otherValue writes the own label of a row of a run: all but the value is as in another series of the run, whose label
// has the same size, and what was written last ends where the label begins there. It returns false, and has done
// nothing, for long values.
func (w *columnWriterV1) otherValue(like *seriesV1, own *ownLabels, r *rowReader, to *columnSymbols) bool {
	value := to.textOf(r.labels[own.first].value)
	n := len(value)
	if n > 8 || n == 0 || cap(value) < 8 {
		return false
	}
	w.repeat(int(like.labels)+own.begin, own.end-own.begin-n)
	w.word(binary.LittleEndian.Uint64(value[:8]), n)
	return true
}

// writeLabels writes the own labels of a row. at is the position of its labels.
func (w *columnWriterV1) writeLabels(own *ownLabels, r *rowReader, to *columnSymbols, at int) {
	if r.long > 0 {
		if known := r.longPosition(at, own.begin, own.end); known > 0 {
			w.repeat(known, own.end-own.begin)
			return
		}
	}
	for i := own.first; i < own.last; i++ {
		if i == own.first+1 && own.kept > 0 {
			w.repeat(int(w.last.labels)+own.keptAt, own.keptTo-own.keptAt)
			if i += own.kept; i == own.last {
				return
			}
		}
		w.label(r.labels[i], to)
	}
}

// label writes a label.
func (w *columnWriterV1) label(l rowLabel, to *columnSymbols) {
	name, value := to.number(l.name), to.number(l.value)
	o := *w.texts.pair(name, value)
	if !o.is(uint64(name), uint64(value)) {
		w.texts.set(name, to.keptText(l.name, name))
		w.texts.set(value, to.keptText(l.value, value))
		o = newLabel{name: name, value: value, size: uint32(labelSize(to.fieldSize(l.name), to.fieldSize(l.value)))}
	}
	w.texts.writeLabel(&w.snappyWriter, &o)
}

// kept returns how much memory the writer keeps.
func (w *columnWriterV1) kept() int {
	const ofText = 40
	return len(w.out) + ofText*cap(w.texts.of) + cap(w.texts.values.written)
}
