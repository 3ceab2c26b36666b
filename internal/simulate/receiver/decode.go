package receiver

import (
	"fmt"
	"math"
	"mime"
	"net/http"
	"slices"

	"github.com/golang/snappy"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
)

// Protocol is a version of remote write.
type Protocol int

const (
	V1 Protocol = 1
	V2 Protocol = 2
)

// protocolOf returns the protocol that a Content-Type announces, or 0 if it announces another one.
func protocolOf(h http.Header) Protocol {
	media, params, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err != nil || media != "application/x-protobuf" {
		return 0
	}
	switch params["proto"] {
	case "", "prometheus.WriteRequest":
		return V1
	case "io.prometheus.write.v2.Request":
		return V2
	}
	return 0
}

// Sample is a value at a time. Bits distinguish staleness markers from other values that are not a number.
type Sample struct {
	Time int64 // Unix milliseconds
	Bits uint64
}

// Value returns the value of the sample.
func (s Sample) Value() float64 { return math.Float64frombits(s.Bits) }

// row is a series of a request.
type row struct {
	series  *Series
	samples []Sample
}

// decode returns the series of a request. It also checks what the specification demands of every request.
func (r *Receiver) decode(body []byte, p Protocol) ([]row, error) {
	plain, err := snappy.Decode(nil, body)
	if err != nil {
		return nil, fmt.Errorf("decompress: %w", err)
	}
	if p == V1 {
		return r.decodeV1(plain)
	}
	return r.decodeV2(plain)
}

func (r *Receiver) decodeV1(plain []byte) ([]row, error) {
	req := prompb.WriteRequest{Timeseries: r.v1[:0]}
	if err := req.Unmarshal(plain); err != nil {
		return nil, fmt.Errorf("remote write 1.0: %w", err)
	}
	r.v1 = req.Timeseries
	rows := make([]row, 0, len(req.Timeseries))
	for _, ts := range req.Timeseries {
		samples := make([]Sample, 0, len(ts.Samples))
		for _, s := range ts.Samples {
			samples = append(samples, Sample{s.Timestamp, math.Float64bits(s.Value)})
		}
		r.key = r.key[:0]
		for _, l := range ts.Labels {
			r.addToKey(l.Name, l.Value)
		}
		series := r.series[string(r.key)]
		if series == nil {
			series = r.add(ts.ToLabels(&r.builder, nil))
		}
		rows = append(rows, row{series, samples})
	}
	return rows, r.checkRows(rows)
}

func (r *Receiver) decodeV2(plain []byte) ([]row, error) {
	req := writev2.Request{Timeseries: r.v2[:0]}
	if err := req.Unmarshal(plain); err != nil {
		return nil, fmt.Errorf("remote write 2.0: %w", err)
	}
	r.v2 = req.Timeseries
	if len(req.Symbols) == 0 || req.Symbols[0] != "" {
		return nil, fmt.Errorf("symbols do not begin with the empty string: %q", req.Symbols)
	}
	sorted := slices.Sorted(slices.Values(req.Symbols))
	if len(slices.Compact(sorted)) != len(req.Symbols) {
		return nil, fmt.Errorf("symbols repeat: %q", req.Symbols)
	}
	rows := make([]row, 0, len(req.Timeseries))
	for _, ts := range req.Timeseries {
		if err := r.keyOf(ts.LabelsRefs, req.Symbols); err != nil {
			return nil, err
		}
		series := r.series[string(r.key)]
		if series == nil {
			ls, err := ts.ToLabels(&r.builder, req.Symbols)
			if err != nil {
				return nil, err
			}
			series = r.add(ls)
		}
		samples := make([]Sample, 0, len(ts.Samples))
		for _, s := range ts.Samples {
			samples = append(samples, Sample{s.Timestamp, math.Float64bits(s.Value)})
		}
		rows = append(rows, row{series, samples})
	}
	return rows, r.checkRows(rows)
}

// keyOf sets the key to the labels that references into the symbols of a 2.0 request stand for.
func (r *Receiver) keyOf(refs []uint32, symbols []string) error {
	if len(refs)%2 != 0 {
		return fmt.Errorf("an odd number of references: %v", refs)
	}
	for _, ref := range refs {
		if int(ref) >= len(symbols) {
			return fmt.Errorf("reference %d of %d symbols", ref, len(symbols))
		}
	}
	r.key = r.key[:0]
	for i := 0; i < len(refs); i += 2 {
		r.addToKey(symbols[refs[i]], symbols[refs[i+1]])
	}
	return nil
}

// checkRows checks that a request has each series once, with valid labels and its samples in the order of time.
func (r *Receiver) checkRows(rows []row) error {
	r.requests++
	for _, row := range rows {
		s := row.series
		if s.request == r.requests {
			return fmt.Errorf("two time series of %s in one request", s.Labels)
		}
		s.request = r.requests
		if !s.valid() {
			return fmt.Errorf("labels %s: no name, not sorted, repeated or empty", s.Labels)
		}
		for i := 1; i < len(row.samples); i++ {
			if row.samples[i].Time <= row.samples[i-1].Time {
				return fmt.Errorf("%s: %d after %d in one request", s.Labels, row.samples[i].Time,
					row.samples[i-1].Time)
			}
		}
	}
	return nil
}

// valid reports whether the labels are as the specification demands. It looks at each series once.
func (s *Series) valid() bool {
	if s.checked {
		return !s.invalid
	}
	s.checked = true
	before, named := "", false
	s.Labels.Range(func(l labels.Label) {
		if l.Name <= before || l.Value == "" {
			s.invalid = true
		}
		before, named = l.Name, named || l.Name == "__name__"
	})
	s.invalid = s.invalid || !named
	return !s.invalid
}
