package remotewrite

import "encoding/binary"

// Field tags of prometheus.WriteRequest (1.0). Sample, Histogram and Exemplar's own value and time are the same
// bytes in 1.0 and 2.0.
const (
	tagSeriesV1 = 1<<3 | wireBytes // WriteRequest

	tagLabelV1     = 1<<3 | wireBytes // TimeSeries
	tagSampleV1    = 2<<3 | wireBytes
	tagExemplarV1  = 3<<3 | wireBytes
	tagHistogramV1 = 4<<3 | wireBytes

	tagLabelNameV1  = 1<<3 | wireBytes
	tagLabelValueV1 = 2<<3 | wireBytes
)

// encoderV1 makes a 1.0 request of a message. What 1.0 cannot carry is left out and counted.
type encoderV1 struct {
	content
	histograms  bool // send_native_histograms
	unsupported int

	body, inner []byte // scratch
}

// appendRequest writes the whole content.
func (e *encoderV1) appendRequest(dst []byte) ([]byte, error) {
	for _, series := range e.series {
		carried, err := e.translate(series)
		if err != nil {
			return nil, err
		}
		if !carried {
			e.unsupported++
			continue
		}
		dst = appendBytesField(dst, tagSeriesV1, e.body)
	}
	return dst, nil
}

// translate writes one series into e.body; false: 1.0 cannot carry its histogram.
func (e *encoderV1) translate(series []byte) (carried bool, err error) {
	e.body = e.body[:0]
	carried = true
	err = eachField(series, func(f field) (err error) {
		switch f.whole[0] {
		case tagLabelRefs:
			e.body, err = e.appendLabels(e.body, tagLabelV1, f.data)
		case tagSample:
			e.body = appendBytesField(e.body, tagSampleV1, f.data)
		case tagHistogram:
			var custom bool
			custom, err = isCustomBuckets(f.data)
			if carried = e.histograms && !custom; carried {
				e.body = appendBytesField(e.body, tagHistogramV1, f.data)
			}
		case tagExemplar:
			if e.inner, err = e.appendExemplar(e.inner[:0], f.data); err == nil {
				e.body = appendBytesField(e.body, tagExemplarV1, e.inner)
			}
		}
		return err
	})
	return carried, err
}

// appendLabels writes references as messages with name and value.
func (e *encoderV1) appendLabels(dst []byte, tag byte, packed []byte) (_ []byte, err error) {
	for len(packed) > 0 {
		var name, value []byte
		if name, packed, err = e.cutText(packed); err != nil {
			return nil, err
		}
		if value, packed, err = e.cutText(packed); err != nil {
			return nil, err
		}
		size := 2 + uvarintSize(uint64(len(name))) + len(name) + uvarintSize(uint64(len(value))) + len(value)
		dst = appendUvarint(append(dst, tag), uint64(size))
		dst = appendBytesField(dst, tagLabelNameV1, name)
		dst = appendBytesField(dst, tagLabelValueV1, value)
	}
	return dst, nil
}

// cutText takes one reference off a packed list and returns what it means.
func (c *content) cutText(packed []byte) (text, rest []byte, err error) {
	ref, n := binary.Uvarint(packed)
	if n <= 0 {
		return nil, nil, errDamaged
	}
	text, err = c.text(ref)
	return text, packed[n:], err
}

func (e *encoderV1) appendExemplar(dst, body []byte) ([]byte, error) {
	err := eachField(body, func(f field) (err error) {
		if f.whole[0] == tagExemplarLabels {
			dst, err = e.appendLabels(dst, tagLabelV1, f.data)
			return err
		}
		dst = append(dst, f.whole...)
		return nil
	})
	return dst, err
}
