package wire

import "encoding/binary"

// The rows of a layout are its series, each as its difference from the row before: how many labels at the begin and at
// the end are those of the row before, the labels between them, and the metadata if that is another one. Labels are
// references to the symbols of the layout.
//
//	uvarint   number of symbols
//	uvarint   number of rows
//	uvarint   size of the rows as fields tagSeries
//	          the rows:
//
//	byte      number of a shape. If no row before has had the number, the shape follows:
//	            uvarint   labels at the begin that are those of the row before
//	            uvarint   labels at the end that are those of the row before
//	            uvarint   own labels between them, times four; plus 1 if there is other metadata, plus 2 if the own
//	                      labels are repeated
//	            uvarints  names of the own labels, unless they are repeated
//	uvarints  values of the own labels. If they are repeated: the number of the row that has the same ones, counted
//	          from 0 among the rows with more than longOwn own labels that are not repeated
//	uvarints  type, HELP and unit, if there is other metadata
//
// A shape with the number noShape is of one row only. For example, the rows of {__name__="up", job="envoy"} and
// {__name__="down", job="envoy"}, with symbols 1: "__name__", 2: "up", 3: "job", 4: "envoy", 5: "down":
//
//	06 02 10                   6 symbols, 2 rows, 16 bytes as fields
//	00 00 00 08 01 03 02 04    shape 0: no labels of the row before, two own ones with the names 1 and 3
//	01 00 01 04 01 05          shape 1: the last label of the row before, one own label with the name 1

const (
	noShape        = 255
	longOwn        = 4 // labels
	shapeDescribed = 1
	shapeRepeated  = 2
)

// rowLabel is a label of a row.
type rowLabel struct {
	name, value uint32 // references to symbols of the layout
	end         uint32 // belongs to the user of a rowReader; it stays with the label
}

// rowMetadata is the metadata of a row: its type, and references to symbols of the layout.
type rowMetadata struct{ typ, help, unit uint32 }

// read reads the content of a field tagMetadata.
func (m *rowMetadata) read(data []byte) error {
	return eachField(data, func(f field) error {
		switch f.whole[0] {
		case tagMetaType:
			m.typ = uint32(f.value)
		case tagMetaHelp:
			m.help = uint32(f.value)
		case tagMetaUnit:
			m.unit = uint32(f.value)
		}
		return nil
	})
}

// appendField appends a field tagMetadata, or nothing if there is no metadata.
func (m *rowMetadata) appendField(dst []byte) []byte {
	if *m == (rowMetadata{}) {
		return dst
	}
	dst = append(dst, tagMetadata, 0)
	at := len(dst)
	dst = appendVarintField(dst, tagMetaType, uint64(m.typ))
	dst = appendVarintField(dst, tagMetaHelp, uint64(m.help))
	dst = appendVarintField(dst, tagMetaUnit, uint64(m.unit))
	dst[at-1] = byte(len(dst) - at)
	return dst
}

// rowWriter writes the rows of a layout.
type rowWriter struct {
	out            []byte
	before, labels []rowLabel // of the row before, and of the present one
	metadata       rowMetadata
	shapes         map[string]byte   // number of a shape as it is written
	owns           map[string]uint64 // number of the row that has these own labels
	own            []byte            // scratch
}

// appendRows appends the rows of series that FragmentWriter has written without samples.
func appendRows(dst, series []byte, symbols uint32) []byte {
	w := rowWriter{out: make([]byte, 0, len(series)/8), shapes: map[string]byte{}, owns: map[string]uint64{}}
	rows := uint64(0)
	for rest := series; len(rest) > 0; rows++ {
		var body []byte
		body, rest, _ = cutBytes(rest[1:])
		w.add(body)
	}
	dst = binary.AppendUvarint(dst, uint64(symbols))
	dst = binary.AppendUvarint(dst, rows)
	return append(binary.AppendUvarint(dst, uint64(len(series))), w.out...)
}

// add writes the row of a TimeSeries.
func (w *rowWriter) add(body []byte) {
	refs, fields, _ := cutBytes(body[1:])
	w.before, w.labels = w.labels, w.before[:0]
	for len(refs) > 0 {
		var name, value uint64
		name, value, refs, _ = cutRefs(refs)
		w.labels = append(w.labels, rowLabel{name: uint32(name), value: uint32(value)})
	}
	metadata := rowMetadata{}
	if len(fields) > 0 {
		f, _, _ := cutField(fields)
		_ = metadata.read(f.data)
	}
	begin, end := commonLabels(w.labels, w.before)
	own := w.labels[begin : len(w.labels)-end]
	flags := uint64(len(own)) << 2
	if metadata != w.metadata {
		flags |= shapeDescribed
	}
	row, known := uint64(0), false
	if len(own) > longOwn {
		w.own = w.own[:0]
		for _, l := range own {
			w.own = appendUvarint(appendUvarint(w.own, uint64(l.name)), uint64(l.value))
		}
		if row, known = w.owns[string(w.own)]; known {
			flags |= shapeRepeated
		} else {
			w.owns[string(w.own)] = uint64(len(w.owns))
		}
	}
	w.own = appendUvarint(appendUvarint(appendUvarint(w.own[:0], uint64(begin)), uint64(end)), flags)
	for _, l := range own {
		if !known {
			w.own = appendUvarint(w.own, uint64(l.name))
		}
	}
	w.shape(w.own)
	if known {
		w.out = appendUvarint(w.out, row)
	}
	for _, l := range own {
		if !known {
			w.out = appendUvarint(w.out, uint64(l.value))
		}
	}
	if metadata != w.metadata {
		w.metadata = metadata
		for _, v := range []uint32{metadata.typ, metadata.help, metadata.unit} {
			w.out = appendUvarint(w.out, uint64(v))
		}
	}
}

// shape writes the number of a shape, and the shape if it is new.
func (w *rowWriter) shape(shape []byte) {
	n, known := w.shapes[string(shape)]
	if known {
		w.out = append(w.out, n)
		return
	}
	n = noShape
	if len(w.shapes) < noShape {
		n = byte(len(w.shapes))
		w.shapes[string(shape)] = n
	}
	w.out = append(append(w.out, n), shape...)
}

// commonLabels returns the numbers of labels with which both rows begin and end.
func commonLabels(a, b []rowLabel) (begin, end int) {
	most := min(len(a), len(b))
	for begin < most && a[begin] == b[begin] {
		begin++
	}
	for end < most-begin && a[len(a)-1-end] == b[len(b)-1-end] {
		end++
	}
	return begin, end
}
