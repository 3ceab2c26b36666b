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

// starts finds out since when the counters, histograms and summaries of a page count. Protobuf says it with each. In
// OpenMetrics a sample of its own says it, usually the last of its metric: the samples of a family whose labels are
// the same, but for le or quantile, and that stand together.
//
// textparse finds them too (StartTimestamp), but it takes the _created series off the page, and where there are none
// it reads on to the end of the family at each sample: one large family would take hours.
type starts struct {
	parser   textparse.Parser
	protobuf bool
	created  bool // OpenMetrics, and there may be such samples

	// The metric at hand, in OpenMetrics.
	metric  uint64 // hash of its family and labels; 0: none that counts
	from    int    // where its samples begin in the batch
	time    int64  // Unix milliseconds; 0: not told, -1: told, but none
	scratch []byte
}

func (p *Page) findStarts(parser textparse.Parser, text []byte, contentType string) starts {
	s := starts{parser: parser}
	if _, s.protobuf = parser.(*textparse.ProtobufParser); s.protobuf || !bytes.Contains(text, []byte(createdSuffix)) {
		return s
	}
	bare, _ := textparse.New(nil, contentType, nil, textparse.ParserOptions{FallbackContentType: p.opts.Fallback})
	_, s.created = bare.(*textparse.OpenMetricsParser)
	return s
}

// meet looks at a sample before it is added to the batch, and gives the samples of its metric that are there already
// the start that it tells. It returns whether that is all it is for.
func (s *starts) meet(p *Page, v float64) (created bool) {
	if !s.created {
		return false
	}
	var l labels.Labels
	s.parser.Labels(&l)
	name := l.Get(model.MetricNameLabel)
	base, created := strings.CutSuffix(name, createdSuffix)
	if created = created && p.familyHash([]byte(base)) == p.family.hash; created {
		name = base
	}
	var apart string // tells the samples of a metric apart
	switch p.meta(name).Type {
	case model.MetricTypeCounter:
	case model.MetricTypeHistogram:
		apart = labels.BucketLabel
	case model.MetricTypeSummary:
		apart = model.QuantileLabel
	default:
		s.metric = 0
		return false
	}
	var metric uint64
	metric, s.scratch = l.HashWithoutLabels(s.scratch, apart)
	if metric = (metric ^ p.family.hash) | 1; metric != s.metric {
		s.metric, s.from, s.time = metric, p.batch.Len(), 0
	}
	if created && s.time == 0 {
		s.time = millisOf(v)
		for i := s.from; i < p.batch.Len(); i++ {
			s.add(p.batch, i, s.time)
		}
	}
	return created
}

// give adds the start of the sample at index, if it is told already.
func (s *starts) give(b *series.Batch, index int) {
	switch {
	case s.protobuf:
		s.add(b, index, s.parser.StartTimestamp())
	case s.metric != 0:
		s.add(b, index, s.time)
	}
}

func (s *starts) add(b *series.Batch, index int, tsMillis int64) {
	if tsMillis > 0 {
		b.Starts = append(b.Starts, series.Start{Index: index, Time: tsMillis})
	}
}

// millisOf returns a time that was told in seconds; -1: it cannot be meant.
func millisOf(seconds float64) int64 {
	if ms := seconds * 1000; ms >= 1 && ms < 1<<62 {
		return int64(ms)
	}
	return -1
}
