package aggregate

import (
	"cmp"
	"iter"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// Resets of histograms. All lines of a histogram begin again at 0 at once, but only those fall that have not grown past
// what they had:
//
//	le="5"     60   then 70
//	le="+Inf" 300   then 200
//
// Line by line, the first bucket would have grown by 10 and the last by 200, and 60 requests would be missing in the
// first. So if a bucket or the count falls, all lines of the histogram count from 0.
//
// If none has fallen, but a bucket has grown by more than the next one, which counts the same requests and more, the
// histogram may have begun again, or its page is not exact: it rounds, or is written while requests are counted. Then
// the bucket counts no more than the next one. To count from 0 would add all that an exact histogram has ever had.

// mayHaveReset reports whether a line of the page may have begun again at 0, or have grown by too much. It is quick,
// and is true too often rather than too rarely. The layout is that of the page.
func (s *source) mayHaveReset(values []float64) bool {
	k, below := 0, math.Inf(-1) // below: what the bucket below has grown by
	for i, ref := range s.layout.refs {
		if ref == 0 {
			continue
		}
		last := s.last[k]
		grown := values[i] - last
		k++
		if last == isNew {
			below = math.Inf(-1)
			continue
		}
		if (grown < 0 || grown < below) && s.feed.slot(ref).kind == counter {
			return true
		}
		below = math.Inf(-1)
		if ref.isBelowNext() {
			below = grown
		}
	}
	return false
}

// histogramRow is a line of a histogram on a page.
type histogramRow struct {
	row, place int // place: in source.last
	of         pageHistogram
	le         float64 // NaN: it is not a bucket
	isSum      bool    // falls with each negative value
}

// resetHistograms sets last to 0 for all lines of the histograms that have begun again. It returns how many lines that
// are. It also makes last of buckets that have grown by too much so large that they have not. The layout is that of the
// page.
func (s *source) resetHistograms(table *series.Table, values []float64) (n int) {
	for rows := range chunksOf(s.histogramRows(table)) {
		switch {
		case slices.ContainsFunc(rows, func(r histogramRow) bool { return s.last[r.place] == isNew }):
		case s.hasReset(rows, values):
			for _, r := range rows {
				if s.last[r.place] > 0 {
					s.last[r.place] = 0
					n++
				}
			}
		default:
			s.limitGrowth(rows, values)
		}
	}
	return n
}

// limitGrowth lets no bucket of a histogram grow by more than the next one.
func (s *source) limitGrowth(rows []histogramRow, values []float64) {
	above := math.Inf(1)
	for _, r := range slices.Backward(rows) {
		v, last := values[r.row], &s.last[r.place]
		if math.IsNaN(r.le) || !isCounted(v) || math.IsNaN(*last) {
			continue
		}
		above = min(above, v-*last)
		*last = v - above
	}
}

// histogramRows returns the lines of all histograms that are summed, those of a histogram together, by le.
func (s *source) histogramRows(table *series.Table) (rows []histogramRow) {
	names, bounds, k := newHistogramNames(), parsedBounds{}, 0
	table.Read(func(v series.View) {
		for i, ref := range s.layout.refs {
			if i%rowsPerLock == 0 && i > 0 {
				v.Pause()
			}
			if ref == 0 {
				continue
			}
			if s.feed.slot(ref).bounds != 0 {
				parts := v.Parts(s.layout.ids[i])
				rows = append(rows, histogramRow{i, k, pageHistogram{names.base(v, parts.Name), parts.Stem},
					bounds.of(v, parts.Le), strings.HasSuffix(v.String(parts.Name), "_sum")})
			}
			k++
		}
	})
	slices.SortFunc(rows, func(x, y histogramRow) int {
		return cmp.Or(cmp.Compare(x.of.base, y.of.base), cmp.Compare(x.of.stem, y.of.stem), cmp.Compare(x.le, y.le))
	})
	return rows
}

// chunksOf returns the lines of each histogram.
func chunksOf(rows []histogramRow) iter.Seq[[]histogramRow] {
	return func(yield func([]histogramRow) bool) {
		for len(rows) > 0 {
			n := slices.IndexFunc(rows, func(r histogramRow) bool { return r.of != rows[0].of })
			if n < 0 {
				n = len(rows)
			}
			if !yield(rows[:n]) {
				return
			}
			rows = rows[n:]
		}
	}
}

// hasReset reports whether a bucket or the count of a histogram has fallen.
func (s *source) hasReset(rows []histogramRow, values []float64) bool {
	return slices.ContainsFunc(rows, func(r histogramRow) bool {
		v, last := values[r.row], s.last[r.place]
		return !r.isSum && isCounted(v) && v < last
	})
}

// parsedBounds are the values of le, by their text.
type parsedBounds map[series.Symbol]float64

// of returns a value of le; NaN: it is none.
func (p parsedBounds) of(v series.View, le series.Symbol) float64 {
	if le == 0 {
		return math.NaN()
	}
	bound, ok := p[le]
	if !ok {
		var err error
		if bound, err = strconv.ParseFloat(v.String(le), 64); err != nil {
			bound = math.NaN()
		}
		p[le] = bound
	}
	return bound
}

// markBuckets marks the buckets of a page that are followed by the next one of their histogram.
func (l *layout) markBuckets(table *series.Table) {
	bounds := parsedBounds{}
	table.Read(func(v series.View) {
		var before series.Parts
		for i, id := range l.ids {
			if i%rowsPerLock == 0 && i > 0 {
				v.Pause()
			}
			parts := v.Parts(id)
			if parts.Le == 0 || l.refs[i] == 0 {
				before = series.Parts{}
				continue
			}
			l.refs[i] &^= belowNext
			if before.Le != 0 && before.Name == parts.Name && before.Stem == parts.Stem &&
				bounds.of(v, before.Le) < bounds.of(v, parts.Le) {
				l.refs[i-1] |= belowNext
			}
			before = parts
		}
	})
}
