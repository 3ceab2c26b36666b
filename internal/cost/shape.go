package cost

import (
	"strings"

	"github.com/prometheus/common/model"

	"github.com/envoy-scraper/envoy-scraper/internal/exposition"
	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// shape is what the lines of a page add up to, values apart. Replicas often have the same.
//
// The page
//
//	# TYPE istio_requests_total counter
//	istio_requests_total{response_code="200"} 17
//	istio_requests_total{response_code="404"} 3
//
// has one name with 2 series, and two stems with 1 series each.
type shape struct {
	names   []nameCount
	stems   []stemCount
	dropped []droppedCount // by family, in the order of the page
	series  int            // lines that are series, each series once
	samples int            // lines that are samples: series, repeated ones, and those that metric relabeling dropped
	text    int64          // bytes of all lines without the values of samples and the blank before
	buckets int            // series that are buckets of classic histograms
}

type nameCount struct {
	name   int // index in shaper.names
	series int
	text   int64 // bytes of the lines without values
	le     int   // series with the label le
	leText int64 // bytes that le takes on their lines
	zero   int   // series that were zero whenever they were seen
}

type stemCount struct {
	stem   series.StemID
	series int
}

type droppedCount struct {
	family uint64 // 0: the line belongs to no TYPE line
	lines  int
	text   int64
}

// nameFacts are what a report needs to know of a metric name.
type nameFacts struct {
	text   string
	typ    model.MetricType
	bucket bool // its series have le
}

// shaper makes the shapes of pages. Its slices are reused from page to page.
type shaper struct {
	reader *tableReader
	zero   func(series.ID) bool // nil: not known
	names  []nameFacts          // of all pages so far
	nameAt []int32              // index in names plus one, by Symbol

	chunk  []exposition.Line
	parts  []series.Parts // of the lines of chunk, and the length of their le
	leLens []int
	byName []int32 // index in shape.names plus one, by index in names
	byStem []int32 // index in shape.stems plus one, by StemID
	leSeen []bool  // by Symbol: the value of le was on a page
	les    int     // number of those
	shape  *shape

	family        uint64 // of the last TYPE or HELP line
	familyText    int64  // bytes of the TYPE and HELP lines since the last sample
	droppedFamily map[uint64]int
}

// newShaper returns a shaper for pages that are held already.
func newShaper(r *tableReader, zero func(series.ID) bool) *shaper {
	symbols, stems := r.sizes()
	return &shaper{
		reader: r, zero: zero, droppedFamily: map[uint64]int{},
		nameAt: make([]int32, symbols), byStem: make([]int32, stems), leSeen: make([]bool, symbols),
	}
}

// shapeOf adds up the lines of a page, which the caller holds.
func (s *shaper) shapeOf(page exposition.Shown) *shape {
	s.shape = &shape{}
	s.family, s.familyText = 0, 0
	clear(s.droppedFamily)
	for line := range page.Lines() {
		if s.chunk = append(s.chunk, line); len(s.chunk) == chunkLines {
			s.add()
		}
	}
	s.add()
	for _, n := range s.shape.names {
		s.byName[n.name] = 0
	}
	for _, n := range s.shape.stems {
		s.byStem[n.stem] = 0
	}
	return s.shape
}

// add takes the lines of the chunk.
func (s *shaper) add() {
	s.lookUp()
	for i, line := range s.chunk {
		switch line.Kind {
		case exposition.LineSeries:
			s.addSeries(line, s.parts[i], s.leLens[i])
		case exposition.LineDropped:
			s.addDropped(line)
		default:
			text := int64(line.Length) + 1 // the newline
			s.shape.text += text
			if line.Kind == exposition.LineFamily {
				s.family = line.Family
				s.familyText += text
			}
		}
	}
	s.chunk = s.chunk[:0]
}

// lookUp finds the parts of the series of the chunk, and names that are new.
func (s *shaper) lookUp() {
	s.parts, s.leLens = grown(s.parts, len(s.chunk)), grown(s.leLens, len(s.chunk))
	s.reader.read(func(v series.View) int {
		for i, line := range s.chunk {
			if line.Kind != exposition.LineSeries {
				continue
			}
			p := v.Parts(line.Series)
			s.parts[i], s.leLens[i] = p, len(v.String(p.Le))
			if s.nameAt[p.Name] == 0 {
				typ, _, _ := v.Meta(p.Meta)
				s.names = append(s.names, nameFacts{text: v.String(p.Name), typ: typ})
				s.nameAt[p.Name] = int32(len(s.names))
			}
		}
		return len(s.chunk)
	})
	s.byName = grown(s.byName, len(s.names))
}

func (s *shaper) addSeries(line exposition.Line, p series.Parts, leLen int) {
	sh := s.shape
	text := int64(line.Length) + 1
	sh.samples++
	sh.text += text
	text += s.familyText
	s.familyText = 0
	name := int(s.nameAt[p.Name] - 1)
	at := s.byName[name]
	if at == 0 {
		sh.names = append(sh.names, nameCount{name: name})
		at = int32(len(sh.names))
		s.byName[name] = at
	}
	n := &sh.names[at-1]
	n.text += text
	if line.Repeated {
		return
	}
	sh.series++
	n.series++
	if p.Le != 0 {
		n.le++
		n.leText += labelText(len(model.BucketLabel), leLen)
		s.names[name].bucket = true
		if !s.leSeen[p.Le] {
			s.leSeen[p.Le] = true
			s.les++
		}
		if isBucket(s.names[name].text) {
			sh.buckets++
		}
	}
	if s.zero != nil && s.zero(line.Series) {
		n.zero++
	}
	if s.byStem[p.Stem] == 0 {
		sh.stems = append(sh.stems, stemCount{stem: p.Stem})
		s.byStem[p.Stem] = int32(len(sh.stems))
	}
	sh.stems[s.byStem[p.Stem]-1].series++
}

func (s *shaper) addDropped(line exposition.Line) {
	text := int64(line.Length) + 1
	s.shape.samples++
	s.shape.text += text
	at, ok := s.droppedFamily[s.family]
	if !ok {
		at = len(s.shape.dropped)
		s.droppedFamily[s.family] = at
		s.shape.dropped = append(s.shape.dropped, droppedCount{family: s.family})
	}
	s.shape.dropped[at].lines++
	s.shape.dropped[at].text += text + s.familyText
	s.familyText = 0
}

// labelText returns how many bytes a label takes on a line: name="value", with its comma.
func labelText(name, value int) int64 { return int64(name + value + len(`="",`)) }

// isBucket reports whether the series of a name are buckets of a classic histogram, if they have the label le.
func isBucket(name string) bool { return strings.HasSuffix(name, "_bucket") }

// grown returns s with at least n elements.
func grown[T any](s []T, n int) []T {
	if n > len(s) {
		s = append(s, make([]T, n-len(s))...)
	}
	return s
}

// familyOf returns the family of a metric name: of a histogram's _bucket, _sum and _count the histogram.
func familyOf(name string, typ model.MetricType, isHistogram func(base string) bool) string {
	for _, suffix := range []string{"_bucket", "_sum", "_count"} {
		base, ok := strings.CutSuffix(name, suffix)
		if !ok || base == "" {
			continue
		}
		switch typ {
		case model.MetricTypeHistogram, model.MetricTypeGaugeHistogram:
			return base
		case model.MetricTypeSummary:
			if suffix != "_bucket" {
				return base
			}
		case model.MetricTypeUnknown, "":
			if isHistogram(base) {
				return base
			}
		}
	}
	return name
}
