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
	var req prompb.WriteRequest
	if err := req.Unmarshal(plain); err != nil {
		return nil, fmt.Errorf("remote write 1.0: %w", err)
	}
	rows := make([]row, 0, len(req.Timeseries))
	for _, ts := range req.Timeseries {
		samples := make([]Sample, 0, len(ts.Samples))
		for _, s := range ts.Samples {
			samples = append(samples, Sample{s.Timestamp, math.Float64bits(s.Value)})
		}
		rows = append(rows, row{r.seriesOf(ts.ToLabels(&r.builder, nil)), samples})
	}
	return rows, checkRows(rows)
}

func (r *Receiver) decodeV2(plain []byte) ([]row, error) {
	var req writev2.Request
	if err := req.Unmarshal(plain); err != nil {
		return nil, fmt.Errorf("remote write 2.0: %w", err)
	}
	if len(req.Symbols) == 0 || req.Symbols[0] != "" {
		return nil, fmt.Errorf("symbols do not begin with the empty string: %q", req.Symbols)
	}
	sorted := slices.Sorted(slices.Values(req.Symbols))
	if len(slices.Compact(sorted)) != len(req.Symbols) {
		return nil, fmt.Errorf("symbols repeat: %q", req.Symbols)
	}
	rows := make([]row, 0, len(req.Timeseries))
	for _, ts := range req.Timeseries {
		ls, err := ts.ToLabels(&r.builder, req.Symbols)
		if err != nil {
			return nil, err
		}
		samples := make([]Sample, 0, len(ts.Samples))
		for _, s := range ts.Samples {
			samples = append(samples, Sample{s.Timestamp, math.Float64bits(s.Value)})
		}
		rows = append(rows, row{r.seriesOf(ls), samples})
	}
	return rows, checkRows(rows)
}

// checkRows checks that a request has each series once, with valid labels and its samples in the order of time.
func checkRows(rows []row) error {
	seen := make(map[*Series]bool, len(rows))
	for _, row := range rows {
		s := row.series
		if seen[s] {
			return fmt.Errorf("two time series of %s in one request", s.Labels)
		}
		seen[s] = true
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
