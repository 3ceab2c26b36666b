package wire

import (
	"bytes"
	"math"
)

// readAlone reads a group in which all messages have the rows of one layout, in the order of the layout. A message
// without a layout has them if a page gave the same rows before its layout was made. Then nothing is looked up: each
// row is a series, and there are no keys and no mergeRows. Not ok: it is another group, or damaged.
func (m *merger) readAlone(group []Message, plain []plainFragment) (ok bool) {
	if len(m.layouts) != 1 {
		return false
	}
	rest, at, layoutAt := plain, 0, 0
	var layout []plainFragment
	isRead := false
	for i := range group {
		g := &group[i]
		switch {
		case g.Layout == nil && (len(g.Fragments) != 1 || g.Oldest != g.Newest):
			return false
		case g.Layout != nil && isRead:
			continue
		case g.Layout != nil:
			layout, layoutAt, isRead = rest[:1], at, true
		}
		at += len(rest[0].symbols) + len(rest[0].series)
		rest = rest[1:]
	}
	p, err := parsePacked(m.layouts[0].data)
	if err != nil {
		return false
	}
	if m.set, err = m.readSymbols(layout, p.symbols.whole); err != nil {
		return false
	}
	if m.readRows(&m.layouts[0], layout[0], layoutAt+len(layout[0].symbols)) != nil {
		return false
	}
	rest, isRead = plain, false
	for i := range group {
		g := &group[i]
		m.begin(g)
		if g.Layout == nil {
			ok = m.readAsColumn(g, rest[0], layout[0])
		} else {
			_, err = m.readColumn(0, g)
			ok = err == nil
		}
		if !ok {
			return false
		}
		if g.Layout == nil || !isRead {
			rest = rest[1:]
		}
		isRead = isRead || g.Layout != nil
	}
	return m.shortTimes()
}

// shortTimes reports whether columnWriter can write the times of all columns.
func (m *merger) shortTimes() bool {
	for i := range m.columns {
		if _, ok := timeField(m.columns[i].time); !ok {
			return false
		}
	}
	return true
}

// readAsColumn reads a message without a layout as a column of the only one. Not ok: it has other rows.
func (m *merger) readAsColumn(g *Message, own, layout plainFragment) (ok bool) {
	l := &m.layouts[0]
	if !bytes.Equal(own.symbols, layout.symbols) || g.Samples != l.rows() {
		return false
	}
	time, ok := timeField(g.Oldest)
	if !ok {
		return false
	}
	values, _ := m.addColumn(0, g.Oldest)
	rest := own.series
	for i := range values {
		r := &m.layoutRows[int(l.first)+i]
		var body []byte
		if len(rest) == 0 || rest[0] != tagSeries {
			return false
		}
		if body, rest, ok = cutBytes(rest[1:]); !ok {
			return false
		}
		fields, isRow := bytes.CutPrefix(body, m.text[r.head:r.metadata])
		s, metadata, isSample := cutSample(fields)
		if !isRow || !isSample || s.time != time || !bytes.Equal(metadata, m.text[r.metadata:r.to]) {
			return false
		}
		values[i] = math.Float64frombits(s.value)
	}
	return len(rest) == 0
}

// addAlone writes the series of the only layout.
func (w *mergeWriter) addAlone() error {
	w.direct.beginRun(w.merger, 0)
	set := &w.inputs[0]
	for i := range w.layoutRows {
		r := &w.layoutRows[i]
		if err := w.addRow(0, i, w.text[r.from:r.metadata], w.text[r.metadata:r.to], set); err != nil {
			return err
		}
	}
	w.finish()
	return nil
}
