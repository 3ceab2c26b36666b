package exposition

import (
	"bytes"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

const createdSuffix = "_created"

// starts finds out since when the counters, histograms and summaries of a page count. Protobuf has a start timestamp in
// each of them. In OpenMetrics it is a sample of its own, usually the last one of its metric:
//
//	istio_requests_total{response_code="200"} 17
//	istio_requests_created{response_code="200"} 1520872607.123
//
// A metric is the samples of a family that stand together and whose labels are the same except le or quantile.
//
// textparse finds starts too (StartTimestamp), but it takes the _created series off the page. Where there are none, it
// reads on to the end of the family at each sample, so that one large family takes hours.
type starts struct {
	reading  *reading
	parser   textparse.Parser
	protobuf bool
	created  bool // the page is OpenMetrics, and may have _created samples

	// The metric at hand, in OpenMetrics.
	metric  uint64 // hash of its family and labels; 0: none that counts
	from    int    // index in the batch of its first sample
	time    int64  // Unix milliseconds; 0: not known yet, -1: printed, but wrong
	scratch []byte
}

func newStarts(r *reading, parser textparse.Parser, text []byte, contentType string) starts {
	s := starts{reading: r, parser: parser}
	if _, s.protobuf = parser.(*textparse.ProtobufParser); s.protobuf || !bytes.Contains(text, []byte(createdSuffix)) {
		return s
	}
	opts := textparse.ParserOptions{FallbackContentType: r.page.opts.Fallback}
	bare, _ := textparse.New(nil, contentType, nil, opts)
	_, s.created = bare.(*textparse.OpenMetricsParser)
	return s
}

// observe looks at the parser's sample before it is added to the batch. If it is a _created sample, observe gives the
// start to the samples of its metric that are in the batch already, and returns true.
func (s *starts) observe(v float64) (created bool) {
	if !s.created {
		return false
	}
	r := s.reading
	var l labels.Labels
	s.parser.Labels(&l)
	name := l.Get(model.MetricNameLabel)
	base, created := strings.CutSuffix(name, createdSuffix)
	if created = created && r.hashFamily([]byte(base)) == r.family.hash; created {
		name = base
	}
	var without string // the label in which samples of one metric differ
	switch r.meta(name).Type {
	case model.MetricTypeCounter:
	case model.MetricTypeHistogram:
		without = labels.BucketLabel
	case model.MetricTypeSummary:
		without = model.QuantileLabel
	default:
		s.metric = 0
		return false
	}
	var metric uint64
	metric, s.scratch = l.HashWithoutLabels(s.scratch, without)
	if metric = (metric ^ r.family.hash) | 1; metric != s.metric {
		s.metric, s.from, s.time = metric, r.batch.Len(), 0
	}
	if created && s.time == 0 {
		s.time = millisOf(v)
		for i := s.from; i < r.batch.Len(); i++ {
			s.add(i, s.time)
		}
	}
	return created
}

// addTo adds the start of the sample at index, if it is known already.
func (s *starts) addTo(index int) {
	switch {
	case s.protobuf:
		s.add(index, s.parser.StartTimestamp())
	case s.metric != 0:
		s.add(index, s.time)
	}
}

func (s *starts) add(index int, tsMillis int64) {
	if b := s.reading.batch; tsMillis > 0 {
		b.Starts = append(b.Starts, series.Start{Index: index, Time: tsMillis})
	}
}

// millisOf converts seconds, as a page prints them; -1: they are no time after 1970.
func millisOf(seconds float64) int64 {
	if ms := seconds * 1000; ms >= 1 && ms < 1<<62 {
		return int64(ms)
	}
	return -1
}
