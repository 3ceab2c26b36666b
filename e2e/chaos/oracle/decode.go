package oracle

import (
	"fmt"
	"math"
	"mime"
	"strings"

	"github.com/golang/snappy"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
	"google.golang.org/protobuf/encoding/protowire"
)

// Label is one label: a name and a value.
type Label struct{ Name, Value string }

// Labels holds the labels of one series in the order in which they were sent.
type Labels []Label

// Get returns the value of a label, or "" if the series does not have it.
func (l Labels) Get(name string) string {
	for _, label := range l {
		if label.Name == name {
			return label.Value
		}
	}
	return ""
}

// String returns the labels as a selector, which identifies the series: {__name__="up",job="mesh",}
func (l Labels) String() string {
	var s strings.Builder
	for _, label := range l {
		fmt.Fprintf(&s, "%s=%q,", label.Name, label.Value)
	}
	return s.String()
}

// Sample is one sample of one series.
type Sample struct {
	Labels Labels
	Time   int64 // Unix milliseconds
	Value  float64
}

// Stale reports whether the sample is a staleness marker.
func (s Sample) Stale() bool { return value.IsStaleNaN(s.Value) }

func (s Sample) bits() uint64 { return math.Float64bits(s.Value) }

// Message is the content of one request: either a remote write 1.0 or a 2.0 message.
type Message struct {
	V1 *prompb.WriteRequest
	V2 *writev2.Request
}

// messageV2 is the proto parameter of the Content-Type of remote write 2.0.
const messageV2 = "io.prometheus.write.v2.Request"

// isV2 reports whether a Content-Type announces remote write 2.0.
func isV2(contentType string) (bool, error) {
	media, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		return false, err
	}
	if media != "application/x-protobuf" {
		return false, fmt.Errorf("media type %q", media)
	}
	switch params["proto"] {
	case "", "prometheus.WriteRequest":
		return false, nil
	case messageV2:
		return true, nil
	}
	return false, fmt.Errorf("proto %q", params["proto"])
}

// decode decompresses a body and unmarshals it with Prometheus' own message types.
func decode(body []byte, v2 bool) (Message, []byte, error) {
	plain, err := snappy.Decode(nil, body)
	if err != nil {
		return Message{}, nil, fmt.Errorf("decompress: %w", err)
	}
	var m Message
	if v2 {
		m.V2 = new(writev2.Request)
		err = m.V2.Unmarshal(plain)
	} else {
		m.V1 = new(prompb.WriteRequest)
		err = m.V1.Unmarshal(plain)
	}
	return m, plain, err
}

// Samples returns the float samples of a message in the order of the message.
func (m Message) Samples() ([]Sample, error) {
	var samples []Sample
	if m.V1 != nil {
		for _, ts := range m.V1.Timeseries {
			labels := make(Labels, len(ts.Labels))
			for i, l := range ts.Labels {
				labels[i] = Label{l.Name, l.Value}
			}
			for _, s := range ts.Samples {
				samples = append(samples, Sample{labels, s.Timestamp, s.Value})
			}
		}
		return samples, nil
	}
	for _, ts := range m.V2.Timeseries {
		labels, err := resolve(ts.LabelsRefs, m.V2.Symbols)
		if err != nil {
			return nil, err
		}
		for _, s := range ts.Samples {
			samples = append(samples, Sample{labels, s.Timestamp, s.Value})
		}
	}
	return samples, nil
}

// resolve looks up the labels that a 2.0 message refers to by symbol number.
func resolve(refs []uint32, symbols []string) (Labels, error) {
	if len(refs)%2 != 0 {
		return nil, fmt.Errorf("%d symbol references: want an even number, a name and a value each", len(refs))
	}
	labels := make(Labels, 0, len(refs)/2)
	for i := 0; i < len(refs); i += 2 {
		if int(refs[i]) >= len(symbols) || int(refs[i+1]) >= len(symbols) {
			return nil, fmt.Errorf("symbol reference out of range: the message has %d symbols", len(symbols))
		}
		labels = append(labels, Label{symbols[refs[i]], symbols[refs[i+1]]})
	}
	return labels, nil
}

// Field numbers of the 2.0 message.
const (
	fieldSeries  = 5 // of a request
	fieldSamples = 2 // of a series
)

// countSamples counts the float samples of a 2.0 message without unmarshalling it.
func countSamples(plain []byte) (n int, err error) {
	err = eachField(plain, fieldSeries, func(series []byte) error {
		return eachField(series, fieldSamples, func([]byte) error { n++; return nil })
	})
	return n, err
}

// eachField calls visit for each embedded message with the given field number.
func eachField(b []byte, number protowire.Number, visit func([]byte) error) error {
	for len(b) > 0 {
		got, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		n = protowire.ConsumeFieldValue(got, kind, b)
		if n < 0 {
			return protowire.ParseError(n)
		}
		if got == number && kind == protowire.BytesType {
			value, _ := protowire.ConsumeBytes(b)
			if err := visit(value); err != nil {
				return err
			}
		}
		b = b[n:]
	}
	return nil
}
