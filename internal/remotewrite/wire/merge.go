package wire

import "bytes"

// Limits bound the messages that Merge makes. 0: no limit.
type Limits struct {
	Samples int // of a message, unless it has only one series
	Bytes   int // about: of the plain text of a message. It may be larger by one series.
	BytesV1 int // likewise, of a message of columns that is made as 1.0; 0: messages are made as 2.0
}

// merger makes messages in which each series has all its samples, so that a receiver reads the labels of a series once.
// The way of a group of messages:
//
//  1. read unpacks them all. readSymbols gives the symbols of each message numbers that are the same in the group.
//  2. row finds the series of each TimeSeries, a row, and appends it to the rows of the series. If the messages are
//     scrapes of one target, the symbols of a scrape are nearly always those of the scrape before, and so is the order
//     of the series: expectedRow finds it by comparing bytes. Any other row has its labels renumbered and looked up,
//     except in the first message, in which all series are new (merge_rows.go). The rows of a layout are looked up
//     once for all its columns (merge_columns.go).
//  3. mergeWriter writes the series with the samples of their rows (merge_write.go).
//
// Two scrapes of {__name__="up", job="envoy"}, and what is written, with symbols 1: "__name__", 2: "up", 3: "job",
// 4: "envoy":
//
//	read     labels 1 2 3 4   samples 1 @ 10:00:00
//	read     labels 1 2 3 4   samples 0 @ 10:00:15
//	written  labels 1 2 3 4   samples 1 @ 10:00:00, 0 @ 10:00:15
//
// Cost: the unpacked messages (60 bytes per sample), 20 bytes per sample, 150 per series, and the result unpacked.
// Columns: the unpacked layouts, 8 bytes per sample, 20 per row of a layout.
type merger struct {
	plain   unpacker
	text    []byte // all messages, unpacked
	inputs  []mergeInput
	sets    []symbolSet
	symbols textNumbers // of the group
	keys    textNumbers // the labels of the series: references with the numbers of the group

	series []mergedSeries // by number in keys
	later  []mergedSeries // samples of a series after the first change between floats and native histograms
	rounds uint32         // largest mergedSeries.round
	rows   []mergeRow
	next   uint32 // number of the series that the next row probably has

	layouts    []mergeLayout
	layoutBy   []uint32    // number of the layout by message
	layoutRows []layoutRow // of all layouts
	runs       []columnRun
	columns    []mergeColumn
	values     []float64 // of all columns

	set      uint32  // of the message that is read
	inGroup  newRefs // numbers in the group of its references
	renumber renumberer
	refs     []byte // written by renumber; keys has parts of it

	write mergeWriter
}

// mergeInput is a message of the group.
type mergeInput struct {
	set            uint32 // of symbols
	oldest, newest int64
	mayHaveArrived bool
}

// symbolSet is the symbols of one or more messages.
type symbolSet struct {
	fragments []plainFragment // that have the symbols
	numbers   []uint32        // in the group, by reference
	same      bool            // each number is the reference, and there is no other set
	first     uint32          // number of the series that a message with these symbols probably begins with
}

// mergedSeries is a series with its samples, either floats or native histograms.
type mergedSeries struct {
	key         uint32 // its number in keys
	set         uint32 // symbols of the last row, and
	head        []byte // its field tagLabelRefs, with references to them
	first, last uint32 // rows; their numbers + 1
	layout      uint32 // the last one that has it; its number + 1; 0: none
	later       uint32 // the same series in later; its number + 1; 0: none
	round       uint32 // number of changes between floats and native histograms before
	samples     uint32 // those of columns aside, and
	size        uint32 // their bytes
	histograms  bool
	exemplars   bool // a row has more than samples and metadata
}

// mergeRow is a TimeSeries of one message without its labels, as offsets in merger.text: the samples are [from, rest),
// the other fields [rest, to). If input is that of a run, it is a row of a layout, and its samples are in columns.
type mergeRow struct {
	from, rest, to uint32
	next           uint32 // row of the same series; its number + 1; 0: none
	input          uint32
}

// merge is Pool.Merge.
func (m *merger) merge(group []Message, most Limits, p *Pool) ([]Message, error) {
	defer m.forget()
	if err := m.read(group); err != nil {
		return nil, err
	}
	return m.write.all(m, most, p)
}

// forget drops the references to the messages and to the result.
func (m *merger) forget() {
	clear(m.series)
	clear(m.layouts)
	m.symbols.forget()
	m.keys.forget()
}

// read reads the messages of a group.
func (m *merger) read(group []Message) error {
	m.reset()
	m.plain.begin()
	for i := range group {
		if err := m.addPacked(&group[i]); err != nil {
			return err
		}
	}
	plain, err := m.plain.all()
	if err != nil {
		return err
	}
	m.text = m.plain.text[:cap(m.plain.text)]
	at := 0 // offset in text
	for i := range group {
		g := &group[i]
		used := len(g.Fragments)
		if g.Layout != nil {
			layout := m.layoutBy[i]
			if used = 0; !m.layouts[layout].read {
				used = 1
			}
			err = m.readScrape(g, layout, plain[:used], at)
		} else {
			err = m.readMessage(g, plain[:used], at)
		}
		if err != nil {
			return err
		}
		for _, f := range plain[:used] {
			at += len(f.symbols) + len(f.series)
		}
		plain = plain[used:]
	}
	return nil
}

// addPacked adds what has to be unpacked of a message.
func (m *merger) addPacked(g *Message) error {
	layout, isNew := uint32(0), false
	if g.Layout != nil {
		if layout, isNew = m.layoutOf(g.Layout); isNew {
			p, err := g.Layout.parse()
			if err != nil || !m.plain.add(p) {
				return errDamaged
			}
		}
		m.layoutBy = append(m.layoutBy, layout)
		return nil
	}
	m.layoutBy = append(m.layoutBy, layout)
	for _, f := range g.Fragments {
		if p, err := parsePacked(f); err != nil || !m.plain.add(p) {
			return errDamaged
		}
	}
	return nil
}

// reset forgets what was read.
func (m *merger) reset() {
	m.inputs, m.sets = m.inputs[:0], m.sets[:0]
	m.symbols.begin()
	m.symbols.number(nil) // a reference of 0 is the empty string in every message
	m.keys.begin()
	m.series, m.later, m.rows = m.series[:0], m.later[:0], m.rows[:0]
	m.layouts, m.layoutBy = m.layouts[:0], m.layoutBy[:0]
	m.layoutRows, m.runs = m.layoutRows[:0], m.runs[:0]
	m.columns, m.values = m.columns[:0], m.values[:0]
	m.rounds, m.next, m.refs = 0, 0, m.refs[:0]
	if m.inGroup.ask == nil {
		m.inGroup.ask = m.numberOf
	}
}

// readMessage reads a message without a layout. own are its fragments, which are at an offset in text.
func (m *merger) readMessage(g *Message, own []plainFragment, at int) (err error) {
	if m.set, err = m.readSymbols(own); err != nil {
		return err
	}
	m.begin(g)
	samples := 0
	for _, f := range own {
		n, err := m.readSeries(f.series, at+len(f.symbols), uint32(len(m.inputs)-1))
		if err != nil {
			return err
		}
		samples += n
		at += len(f.symbols) + len(f.series)
	}
	if samples != g.Samples {
		return errDamaged
	}
	return nil
}

// begin begins a message with the symbols m.set.
func (m *merger) begin(g *Message) {
	m.inputs = append(m.inputs, mergeInput{m.set, g.Oldest, g.Newest, g.MayHaveArrived})
	m.renumber.begin()
	m.inGroup.known = m.sets[m.set].numbers
	m.next = m.sets[m.set].first
}

// comparedSets is the number of sets that the symbols of a message are compared with, the newest ones. The scrapes of a
// target follow each other, and each is one or two requests. A group of many small requests has thousands of sets.
const comparedSets = 8

// readSymbols returns the set that has the symbols of a message. A new set gets its numbers.
func (m *merger) readSymbols(fragments []plainFragment) (set uint32, err error) {
	for i := len(m.sets) - 1; i >= max(0, len(m.sets)-comparedSets); i-- {
		if s := &m.sets[i]; sameSymbols(s.fragments, fragments) {
			return uint32(i), nil
		}
	}
	n := len(m.sets)
	if n == 1 && m.sets[0].same {
		if err := m.checkKeys(); err != nil {
			return 0, err
		}
	}
	if n < cap(m.sets) {
		m.sets = m.sets[:n+1] // with the memory that it has
	} else {
		m.sets = append(m.sets, symbolSet{})
	}
	s := &m.sets[n]
	s.fragments, s.numbers, s.same, s.first = fragments, s.numbers[:0], n == 0, uint32(len(m.series))
	for _, f := range fragments {
		for symbols := f.symbols; len(symbols) > 0; {
			text, rest, ok := cutBytes(symbols[1:])
			if !ok || symbols[0] != tagSymbol || len(s.numbers) == 0 && len(text) > 0 {
				return 0, errDamaged
			}
			number, _ := m.symbols.number(text)
			s.same = s.same && number == uint32(len(s.numbers))
			s.numbers, symbols = append(s.numbers, number), rest
		}
	}
	if len(s.numbers) == 0 {
		return 0, errDamaged
	}
	return uint32(n), nil
}

// checkKeys is called before a second set of symbols is added. The keys so far are references to the first set, which
// nobody has looked at: one that is not in the set would be a symbol of the second.
func (m *merger) checkKeys() error {
	first := &m.sets[0]
	first.same = false
	for _, key := range m.keys.texts {
		n := 0
		for ; len(key) > 0; n++ {
			ref, rest, ok := cutRef(key)
			if !ok || ref >= uint64(len(first.numbers)) {
				return errDamaged
			}
			key = rest
		}
		if n%2 != 0 {
			return errDamaged
		}
	}
	return nil
}

func sameSymbols(a, b []plainFragment) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !bytes.Equal(a[i].symbols, b[i].symbols) {
			return false
		}
	}
	return true
}

// numberOf returns the number of a symbol of the present message.
func (m *merger) numberOf(ref uint64) (uint64, error) { return m.sets[m.set].number(ref) }

func (s *symbolSet) number(ref uint64) (uint64, error) {
	if ref >= uint64(len(s.numbers)) {
		return 0, errDamaged
	}
	return uint64(s.numbers[ref]), nil
}

// size returns how much memory the merger keeps.
func (m *merger) size() int {
	const ofSeries, ofRow, ofInput, ofLayoutRow, ofColumn = 88, 20, 32, 20, 24
	n := cap(m.plain.text) + m.plain.rows.kept() + m.symbols.size() + m.keys.size() + m.renumber.size() + cap(m.refs) +
		ofSeries*(cap(m.series)+cap(m.later)) + ofRow*cap(m.rows) + ofInput*cap(m.inputs) + m.write.size() +
		8*cap(m.values) + ofLayoutRow*cap(m.layoutRows) + ofColumn*cap(m.columns)
	for _, s := range m.sets[:cap(m.sets)] {
		n += 4 * cap(s.numbers)
	}
	return n
}
