package wire

import "slices"

// rowReader reads the rows of a layout, one after the other. It finds all damage: references to symbols that the layout
// does not have, labels of a row before that has fewer, and half rows.
type rowReader struct {
	data    []byte // what is not read yet
	rows    int    // that are not read yet
	plain   int    // size of all rows as fields tagSeries, as the layout says
	symbols uint64 // of the layout

	shapes []readShape
	names  []uint32 // of all shapes
	longs  []readOwn
	room   int       // labels that the memory of longs has room for
	other  readShape // that has no number

	// The present row:

	labels    []rowLabel
	metadata  rowMetadata
	described bool // the row before has other metadata
	own       int  // labels from begin on that the row before does not have
	begin     int
	from, to  uint32 // ends before and of the labels of the row before that it does not have
	still     int    // of its own labels after the first one: the row before has them at the same places
	long      int    // number of its own labels in longs + 1; 0: it has none
}

// readShape is how a row differs from the row before.
type readShape struct {
	begin, end, own int
	names           int // offset in rowReader.names
	described       bool
	repeated        bool
	simple          bool   // one own label and nothing else,
	name            uint32 // and its name
}

// readOwn is own labels that later rows can repeat.
type readOwn struct {
	labels []rowLabel
	at     int // belongs to the user
}

// maxRowLabels is more labels than a series has.
const maxRowLabels = 1 << 16

// reset begins with the rows of a layout.
func (r *rowReader) reset(rows []byte) error {
	symbols, rows, ok1 := cutRef(rows)
	n, rows, ok2 := cutRef(rows)
	plain, rows, ok3 := cutRef(rows)
	if !ok1 || !ok2 || !ok3 || symbols == 0 || n == 0 || n > uint64(len(rows)) || plain > maxFragment {
		return errDamaged
	}
	*r = rowReader{data: rows, rows: int(n), plain: int(plain), symbols: symbols,
		shapes: r.shapes[:0], names: r.names[:0], longs: r.longs[:0], room: r.room, labels: r.labels[:0]}
	return nil
}

// next reads the next row.
func (r *rowReader) next() error {
	if len(r.data) == 0 {
		return errDamaged
	}
	n, d := int(r.data[0]), r.data[1:]
	s := &r.other
	if n < len(r.shapes) {
		if s = &r.shapes[n]; s.simple && r.nextSimple(s) {
			return nil
		}
	} else if d = r.newShape(n, d); d == nil {
		return errDamaged
	} else if n != noShape {
		s = &r.shapes[n]
	}
	replaced := len(r.labels) - s.begin - s.end
	if replaced < 0 {
		return errDamaged
	}
	r.begin, r.own, r.described, r.still, r.long = s.begin, s.own, s.described, 0, 0
	r.from = 0
	if s.begin > 0 {
		r.from = r.labels[s.begin-1].end
	}
	r.to = r.from
	if replaced > 0 {
		r.to = r.labels[s.begin+replaced-1].end
	}
	if replaced != s.own {
		r.resize(replaced)
	}
	own, ok := r.labels[s.begin:s.begin+s.own], true
	if s.repeated {
		if d, ok = r.repeat(own, d); !ok {
			return errDamaged
		}
	} else {
		names := r.names[s.names : s.names+s.own]
		for i := range own {
			var value uint64
			switch {
			case len(d) > 0 && d[0] < 0x80:
				value, d = uint64(d[0]), d[1:]
			case len(d) > 1 && d[1] < 0x80: // most values
				value, d = uint64(d[0]&0x7f)|uint64(d[1])<<7, d[2:]
			default:
				if value, d, ok = cutRef(d); !ok {
					return errDamaged
				}
			}
			if value >= r.symbols {
				return errDamaged
			}
			l := &own[i]
			if i == r.still+1 && i < replaced && l.name == names[i] && l.value == uint32(value) {
				r.still++
			}
			l.name, l.value = names[i], uint32(value)
		}
		if len(own) > longOwn {
			r.remember(own)
		}
	}
	if s.described {
		if d, ok = r.readMetadata(d); !ok {
			return errDamaged
		}
	}
	r.data = d
	r.rows--
	return nil
}

// nextSimple is next for a row with one own label in the place of another one, as nearly all are. It returns false, and
// has done nothing, for any other row.
func (r *rowReader) nextSimple(s *readShape) bool {
	d := r.data
	if len(d) < 3 || len(r.labels) != s.begin+1+s.end {
		return false
	}
	value, size := uint64(d[1]), 2
	if value >= 0x80 {
		value, size = value&0x7f|uint64(d[2])<<7, 3
		if d[2] >= 0x80 {
			return false
		}
	}
	if value >= r.symbols {
		return false
	}
	l := &r.labels[s.begin]
	if r.from = 0; s.begin > 0 {
		r.from = r.labels[s.begin-1].end
	}
	r.to, l.name, l.value = l.end, s.name, uint32(value)
	r.begin, r.own, r.described, r.still, r.long = s.begin, 1, false, 0, 0
	r.data = d[size:]
	r.rows--
	return true
}

// newShape reads a shape. It returns what follows, or nil if the shape is damaged.
func (r *rowReader) newShape(n int, d []byte) []byte {
	if n != len(r.shapes) && n != noShape {
		return nil
	}
	begin, d, ok1 := cutRef(d)
	end, d, ok2 := cutRef(d)
	flags, d, ok3 := cutRef(d)
	own := flags >> 2
	if !ok1 || !ok2 || !ok3 || begin > maxRowLabels || end > maxRowLabels || own > maxRowLabels {
		return nil
	}
	s := readShape{begin: int(begin), end: int(end), own: int(own), names: len(r.names),
		described: flags&shapeDescribed != 0, repeated: flags&shapeRepeated != 0, simple: flags == 1<<2}
	if !s.repeated {
		for range s.own {
			name, rest, ok := cutRef(d)
			if !ok || name >= r.symbols {
				return nil
			}
			r.names, d, s.name = append(r.names, uint32(name)), rest, uint32(name)
		}
	}
	if n == noShape {
		r.other = s
	} else {
		r.shapes = append(r.shapes, s)
	}
	return d
}

// resize makes room for the own labels between those that are left of the row before.
func (r *rowReader) resize(replaced int) {
	r.labels = slices.Grow(r.labels, r.own)
	rest := r.labels[r.begin+replaced:]
	all := r.labels[:r.begin+r.own+len(rest)]
	copy(all[r.begin+r.own:], rest)
	r.labels = all
}

// remember keeps own labels for the rows that repeat them.
func (r *rowReader) remember(own []rowLabel) {
	n := len(r.longs)
	if r.longs = slices.Grow(r.longs, 1)[:n+1]; cap(r.longs[n].labels) < len(own) {
		r.room += len(own) - cap(r.longs[n].labels)
		r.longs[n].labels = make([]rowLabel, 0, len(own))
	}
	r.longs[n] = readOwn{labels: append(r.longs[n].labels[:0], own...)}
	r.long = n + 1
}

// kept returns about how many bytes of memory the reader keeps for the next layout.
func (r *rowReader) kept() int {
	const ofLabel, ofOwn, ofShape, ofName = 12, 32, 48, 4
	return ofLabel*(r.room+cap(r.labels)) + ofOwn*cap(r.longs) + ofShape*cap(r.shapes) + ofName*cap(r.names)
}

// repeat reads the own labels of a row that repeats those of another one.
func (r *rowReader) repeat(own []rowLabel, d []byte) (rest []byte, ok bool) {
	n, rest, ok := cutRef(d)
	if !ok || n >= uint64(len(r.longs)) || len(r.longs[n].labels) != len(own) {
		return nil, false
	}
	copy(own, r.longs[n].labels)
	r.long = int(n) + 1
	return rest, true
}

// longPosition returns the position of [from, until) of the references of the present row, in an earlier series with
// the same own labels; 0: that is not known. at is the position of the references.
func (r *rowReader) longPosition(at, from, until int) (known int) {
	own := 0
	if r.begin > 0 {
		own = int(r.labels[r.begin-1].end)
	}
	l := &r.longs[r.long-1]
	if l.at > 0 && from >= own && until <= int(r.labels[r.begin+r.own-1].end) {
		known = l.at + from - own
	}
	l.at = at + own
	return known
}

// forgetPositions forgets what the user knows of earlier own labels.
func (r *rowReader) forgetPositions() {
	for i := range r.longs {
		r.longs[i].at = 0
	}
}

func (r *rowReader) readMetadata(d []byte) (rest []byte, ok bool) {
	typ, d, ok1 := cutRef(d)
	help, d, ok2 := cutRef(d)
	unit, d, ok3 := cutRef(d)
	r.metadata = rowMetadata{uint32(typ), uint32(help), uint32(unit)}
	return d, ok1 && ok2 && ok3 && typ <= maxMetadataType && help < r.symbols && unit < r.symbols
}

// maxMetadataType is larger than the types that there are.
const maxMetadataType = 1<<7 - 1

// complete reports whether all rows are read, and nothing follows.
func (r *rowReader) complete() bool { return r.rows == 0 && len(r.data) == 0 }

// appendSeries appends all rows as fields tagSeries.
func (r *rowReader) appendSeries(dst []byte) ([]byte, error) {
	var refs, metadata []byte
	most := len(dst) + r.plain
	for r.rows > 0 {
		if err := r.next(); err != nil {
			return nil, err
		}
		refs = refs[:0]
		for _, l := range r.labels {
			refs = appendUvarint(appendUvarint(refs, uint64(l.name)), uint64(l.value))
		}
		metadata = r.metadata.appendField(metadata[:0])
		if len(dst)+len(refs)+len(metadata) > most {
			return nil, errDamaged
		}
		dst = append(append(appendHead(dst, len(refs), len(metadata)), refs...), metadata...)
	}
	if !r.complete() || len(dst) != most {
		return nil, errDamaged
	}
	return dst, nil
}
