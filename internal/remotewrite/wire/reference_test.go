package wire

import (
	"encoding/binary"
	"testing"

	"github.com/golang/snappy"
	"github.com/klauspost/compress/s2"
)

// plainV2 is a message as one uncompressed 2.0 request, written the simple way: the reference for appendRequestV2.
func plainV2(m Message) (dst []byte, err error) {
	var series []byte
	for _, f := range m.Fragments {
		size, n := binary.Uvarint(f)
		first, err := snappy.Decode(nil, f[n:n+int(size)])
		if err != nil {
			return nil, err
		}
		second, err := snappy.Decode(nil, f[n+int(size):])
		if err != nil {
			return nil, err
		}
		dst, series = append(dst, first...), append(series, second...)
	}
	return append(dst, series...), nil
}

// plainV1 is a message as one uncompressed 1.0 request, written the simple way: the reference for v1Writer.
func plainV1(m Message, histograms bool) (dst []byte, unsupported int, err error) {
	c, err := Parse(m)
	if err != nil {
		return nil, 0, err
	}
	for _, series := range c.series {
		carried, lost := 0, 0
		var labels, rest []byte
		err := eachField(series, func(f field) (err error) {
			switch f.whole[0] {
			case tagLabelRefs:
				labels, err = c.appendPlainLabels(labels, f.data)
			case tagSample:
				carried++
				rest = appendBytesField(rest, tagSampleV1, fieldsUpTo(2, f.data)) // start_timestamp is 2.0's
			case tagHistogram:
				var custom bool
				custom, err = isCustomBuckets(f.data)
				if err != nil || !histograms || custom {
					lost++
					return err
				}
				carried++
				rest = appendBytesField(rest, tagHistogramV1, fieldsUpTo(16, f.data))
			case tagExemplar:
				var x []byte
				err = eachField(f.data, func(f field) (err error) {
					if f.whole[0] == tagExemplarLabels {
						x, err = c.appendPlainLabels(x, f.data)
						return err
					}
					x = append(x, f.whole...)
					return nil
				})
				rest = appendBytesField(rest, tagExemplarV1, x)
			}
			return err
		})
		if err != nil {
			return nil, 0, err
		}
		if unsupported += lost; lost > 0 && carried == 0 {
			continue
		}
		dst = appendBytesField(dst, tagSeriesV1, append(labels, rest...))
	}
	return dst, unsupported, nil
}

// fieldsUpTo is a message with only those of its fields that have no higher number.
func fieldsUpTo(last uint64, m []byte) (dst []byte) {
	for len(m) > 0 {
		f, rest, err := cutField(m)
		if err != nil {
			return nil
		}
		if f.number <= last {
			dst = append(dst, f.whole...)
		}
		m = rest
	}
	return dst
}

func (c *Content) appendPlainLabels(dst, refs []byte) ([]byte, error) {
	for len(refs) > 0 {
		var label []byte
		for _, tag := range []byte{tagLabelNameV1, tagLabelValueV1} {
			ref, n := binary.Uvarint(refs)
			if n <= 0 {
				return nil, errDamaged
			}
			text, err := c.text(ref)
			if err != nil {
				return nil, err
			}
			label = appendBytesField(label, tag, text)
			refs = refs[n:]
		}
		dst = appendBytesField(dst, tagLabelV1, label)
	}
	return dst, nil
}

// decompress reads a block with two libraries: ours is not what any of them writes.
func decompress(t testing.TB, block []byte) []byte {
	t.Helper()
	plain, err := snappy.Decode(nil, block)
	if err != nil {
		t.Fatalf("golang/snappy: %v", err)
	}
	other, err := s2.Decode(nil, block)
	if err != nil {
		t.Fatalf("s2: %v", err)
	}
	if string(plain) != string(other) {
		t.Fatal("golang/snappy and s2 read different things")
	}
	return plain
}

// checkRequests compares the requests made of a message with those of the references.
func checkRequests(t testing.TB, m Message) {
	t.Helper()
	e := &v1Writer{}
	for _, histograms := range []bool{true, false, true} { // the third in memory that is used already
		want, wantLost, err := plainV1(m, histograms)
		if err != nil {
			t.Fatal(err)
		}
		block, lost, err := e.encode(m, histograms)
		if err != nil || lost != wantLost {
			t.Fatalf("1.0: error %v, lost %d; want %d", err, lost, wantLost)
		}
		if got := decompress(t, block); string(got) != string(want) {
			t.Fatalf("1.0 differs at byte %d of %d", differAt(got, want), len(want))
		}
	}
	want, err := plainV2(m)
	if err != nil {
		t.Fatal(err)
	}
	block, err := appendRequestV2(nil, m)
	if err != nil {
		t.Fatal(err)
	}
	if got := decompress(t, block); string(got) != string(want) {
		t.Fatalf("2.0 differs at byte %d of %d", differAt(got, want), len(want))
	}
}

func differAt(a, b []byte) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}
