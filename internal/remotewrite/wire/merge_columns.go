package wire

import "slices"

// mergeLayout is a layout of the group. Its rows are read once, whatever number of columns it has.
type mergeLayout struct {
	layout     *Layout
	set        uint32 // of symbols
	first, end uint32 // its rows in merger.layoutRows
	read       bool
	shared     bool   // it has a series of another layout
	run        uint32 // to which its next column belongs; its number + 1; 0: none
}

func (l *mergeLayout) rows() int { return int(l.end - l.first) }

// layoutRow is a TimeSeries of a layout, as offsets in merger.text: the field tagLabelRefs is [head, metadata) with
// its content from from on, the metadata is [metadata, to).
type layoutRow struct {
	head, from, metadata, to uint32
	series                   uint32
}

// columnRun is columns of one layout, such that no message between them has a sample of a series of the layout. Each
// series of the layout has one mergeRow for all of them.
type columnRun struct{ first, last uint32 } // columns

// mergeColumn is one scrape: its values are in merger.values, in the order of the rows of its layout.
type mergeColumn struct {
	from  int // offset of the first value
	time  int64
	input uint32
	next  uint32 // column of the same run; 0: none, since the first column is not the next of any
}

// inRun marks mergeRow.input as the number of a run. mergeRow.from is then the row of the layout.
const inRun = 1 << 31

// layoutOf returns the number of a layout. isNew: it was not in the group before.
func (m *merger) layoutOf(layout *Layout) (n uint32, isNew bool) {
	for i := len(m.layouts) - 1; i >= 0; i-- { // the columns of a target nearly always share their layout
		if m.layouts[i].layout == layout {
			return uint32(i), false
		}
	}
	for i := len(m.layouts) - 1; i >= max(0, len(m.layouts)-comparedSets); i-- {
		if m.layouts[i].layout.equal(layout) {
			return uint32(i), false
		}
	}
	m.layouts = append(m.layouts, mergeLayout{layout: layout})
	return uint32(len(m.layouts) - 1), true
}

// readScrape reads a message with a layout. own is the layout, at an offset in text, if it is the first message of the
// layout.
func (m *merger) readScrape(g *Message, layout uint32, own []plainFragment, at int) (err error) {
	l := &m.layouts[layout]
	m.set = l.set
	if len(own) > 0 {
		if m.set, err = m.readSymbols(own); err != nil {
			return err
		}
	}
	m.begin(g)
	if len(own) > 0 {
		if err := m.readLayout(layout, own[0], at+len(own[0].symbols)); err != nil {
			return err
		}
	}
	newRun, err := m.readColumn(layout, g)
	if newRun {
		m.linkRun(layout)
	}
	return err
}

// readLayout reads the rows of a layout, whose series are at an offset in text.
func (m *merger) readLayout(layout uint32, own plainFragment, at int) (err error) {
	l := &m.layouts[layout]
	if err := m.readRows(l, own, at); err != nil {
		return err
	}
	for i := range m.layoutRows[l.first:l.end] {
		r := &m.layoutRows[int(l.first)+i]
		k, head := m.next, m.text[r.head:r.metadata]
		if !m.isExpected(k, head) {
			if k, err = m.find(m.text[r.from:r.metadata]); err != nil {
				return err
			}
		}
		m.next = k + 1
		s := &m.series[k]
		s.set, s.head = m.set, head
		if other := s.layout; other != 0 && other != layout+1 {
			m.layouts[other-1].shared, l.shared = true, true
		}
		s.layout = layout + 1
		r.series = k
	}
	return nil
}

// readRows finds the rows of a layout, whose series are at an offset in text.
func (m *merger) readRows(l *mergeLayout, own plainFragment, at int) error {
	l.read, l.set, l.first = true, m.set, uint32(len(m.layoutRows))
	for rest := own.series; len(rest) > 0; {
		body, behind, ok := cutBytes(rest[1:])
		if !ok || rest[0] != tagSeries || len(body) == 0 || body[0] != tagLabelRefs {
			return errDamaged
		}
		rest = behind
		refs, metadata, ok := cutBytes(body[1:])
		if !ok || len(metadata) > 0 && !isMetadata(metadata) {
			return errDamaged
		}
		end := at + len(own.series) - len(rest)
		r := layoutRow{head: uint32(end - len(body)), metadata: uint32(end - len(metadata)), to: uint32(end)}
		r.from = r.metadata - uint32(len(refs))
		m.layoutRows = append(m.layoutRows, r)
	}
	if l.end = uint32(len(m.layoutRows)); l.rows() == 0 {
		return errDamaged
	}
	return nil
}

// isExpected reports whether the labels of a series are the field head of the present message.
func (m *merger) isExpected(k uint32, head []byte) bool {
	return k < uint32(len(m.series)) && m.series[k].set == m.set && string(m.series[k].head) == string(head)
}

// readColumn reads a message with a layout that is read already.
func (m *merger) readColumn(layout uint32, g *Message) (newRun bool, err error) {
	l := &m.layouts[layout]
	if len(g.Fragments) != 1 || g.Samples != l.rows() {
		return false, errDamaged
	}
	parsed, err := parseColumn(g.Fragments[0])
	if err != nil || parsed.count != uint64(l.rows()) {
		return false, errDamaged
	}
	if l.shared {
		m.endSharedRuns(layout)
	}
	values, newRun := m.addColumn(layout, parsed.time)
	return newRun, parsed.read(values)
}

// linkRun gives each series of a layout its row in the present run.
func (m *merger) linkRun(layout uint32) {
	l := &m.layouts[layout]
	for i, row := range m.layoutRows[l.first:l.end] {
		s := m.part(row.series, false)
		m.link(s, mergeRow{uint32(i), row.metadata, row.to, 0, inRun | (l.run - 1)})
	}
}

// addColumn adds a column of the present message to the run of its layout. The caller fills in the values.
func (m *merger) addColumn(layout uint32, tsMillis int64) (values []float64, newRun bool) {
	l := &m.layouts[layout]
	from, n := len(m.values), uint32(len(m.columns))
	m.values = slices.Grow(m.values, l.rows())[:from+l.rows()]
	m.columns = append(m.columns, mergeColumn{from: from, time: tsMillis, input: uint32(len(m.inputs) - 1)})
	if newRun = l.run == 0; newRun {
		m.runs = append(m.runs, columnRun{n, n})
		l.run = uint32(len(m.runs))
	} else {
		r := &m.runs[l.run-1]
		m.columns[r.last].next = n
		r.last = n
	}
	return m.values[from:], newRun
}

// touch is called for a TimeSeries of a plain message: the columns after it belong to another run.
func (m *merger) touch(s *mergedSeries) {
	if s.layout == 0 {
		return
	}
	l := &m.layouts[s.layout-1]
	if l.run = 0; l.shared {
		m.endSharedRuns(s.layout - 1)
	}
}

// endSharedRuns ends the runs of all other layouts that share series.
func (m *merger) endSharedRuns(except uint32) {
	for i := range m.layouts {
		if l := &m.layouts[i]; l.shared && uint32(i) != except {
			l.run = 0
		}
	}
}

// inputOf returns the message of a row, or the first one of its run.
func (m *merger) inputOf(r *mergeRow) *mergeInput {
	if r.input&inRun != 0 {
		return &m.inputs[m.columns[m.runs[r.input&^inRun].first].input]
	}
	return &m.inputs[r.input]
}

// eachColumn calls fn for each column of a row that is in a run.
func (m *merger) eachColumn(r *mergeRow, fn func(c *mergeColumn, value float64)) {
	run := &m.runs[r.input&^inRun]
	for n := run.first; ; n = m.columns[n].next {
		c := &m.columns[n]
		fn(c, m.values[c.from+int(r.from)])
		if n == run.last {
			return
		}
	}
}
