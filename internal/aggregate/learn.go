package aggregate

import (
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// rowsPerLock is after how many series a reader of the table lets writers have its lock.
const rowsPerLock = 4096

// block is a Block in force.
type block struct {
	Block
	number uint8     // no other block in force has it
	since  time.Time // when it came into force
}

// learn makes the layout of a page. known is a layout of the same feed that the page is likely to resemble: the one of
// the page before, or the newest one; nil: none. Series that both have are looked up there; labels are made for the
// others only. The batch holds a reference of each series of the page. The caller has locked the feed.
//
// It also returns the names of histograms whose bounds disagree with those of other pages.
func (f *feed) learn(
	table *series.Table, target series.TargetID, page []series.ID, hash uint64, known *layout,
) (made *layout, disagree []string) {
	l := learner{
		feed: f, table: table, target: target, page: page, blocks: map[series.Symbol]int{},
		made: &layout{ids: slices.Clone(page), refs: make([]slotRef, len(page)), hash: hash},
	}
	find := finder{}
	if known != nil {
		find.ids = known.ids
	}
	names := newHistogramNames()
	table.Read(func(v series.View) {
		l.bounds, l.before = boundsOf(v, page, names), boundsOf(v, find.ids, names)
	})
	for from := 0; from < len(page); from += rowsPerLock { // so that few labels are in memory at a time
		l.lookUp(from, min(from+rowsPerLock, len(page)), &find, known)
		l.classify()
	}
	l.made.markBuckets(table)
	table.Retain(slices.Values(l.made.ids))
	for _, ref := range l.made.refs {
		if ref != 0 {
			l.made.summed++
		}
	}
	return l.made, l.disagree
}

type learner struct {
	feed   *feed
	table  *series.Table
	target series.TargetID
	page   []series.ID
	bounds pageBounds            // of the page
	before pageBounds            // of the known layout
	blocks map[series.Symbol]int // in the feed, by the name of a series
	rest   []newSeries           // that are not in the known layout

	made     *layout
	disagree []string
}

// newSeries is a series of a page whose aggregate is to be found.
type newSeries struct {
	row    int
	parts  series.Parts
	typ    model.MetricType
	meta   series.Meta
	labels labels.Labels // whole
	block  int           // in the feed
	bounds uint64        // see pageBounds.of
}

// lookUp takes over what the known layout says of the rows [from, to), and makes the others the rest.
func (l *learner) lookUp(from, to int, find *finder, known *layout) {
	var pairs []series.Pair
	l.rest = l.rest[:0]
	l.table.Read(func(v series.View) {
		for i := from; i < to; i++ {
			id := l.page[i]
			parts := v.Parts(id)
			bounds := l.bounds.of(v, parts)
			if n := find.row(id); n >= 0 && l.before.of(v, parts) == bounds {
				l.made.refs[i] = known.refs[n]
				continue
			}
			block, seen := l.blocks[parts.Name]
			if !seen {
				block = l.feed.blockOf(v.String(parts.Name))
				l.blocks[parts.Name] = block
			}
			if block < 0 {
				continue
			}
			typ, help, unit := v.Meta(parts.Meta)
			s := newSeries{row: i, parts: parts, typ: typ, block: block, bounds: bounds,
				meta: series.Meta{Type: typ, Help: v.String(help), Unit: v.String(unit)}}
			s.labels, pairs = wholeLabels(v, pairs, id, l.target)
			l.rest = append(l.rest, s)
		}
	})
}

// blockOf returns the first block that sums series of this name; -1: none does.
func (f *feed) blockOf(name string) int {
	return slices.IndexFunc(f.blocks, func(b *block) bool { return b.Match.MatchString(name) })
}

// classify finds the aggregate of each series of the rest.
func (l *learner) classify() {
	for _, s := range l.rest {
		b, g := l.feed.blocks[s.block], l.feed.groups[s.block]
		k, ok := kindOf(s, b.Gauges)
		if !ok {
			continue
		}
		to, bounds := b.Labels(s.labels), uint32(0)
		if s.typ == model.MetricTypeHistogram {
			name := to.Get(model.MetricNameLabel)
			n, disagrees := g.bounds.of(histogramKey(baseOf(name), to), s.bounds)
			if disagrees {
				l.disagree = append(l.disagree, baseOf(name))
			}
			if n == 0 {
				continue
			}
			if bounds = n; g.bounds.entries[n].number > 1 {
				to = withBounds(to, g.bounds.entries[n].number)
			}
		}
		id := l.table.Add(g.target, to, s.meta)
		slot, added := g.slotOf(id, b, k, bounds)
		if !added {
			l.table.Release(slices.Values([]series.ID{id}))
		}
		l.made.refs[s.row] = refOf(s.block, slot)
	}
}

// kindOf returns how a series is summed. It is not ok if the series stays as it is: a gauge, unless the block says
// otherwise, a quantile, and a series whose type the page does not say.
func kindOf(s newSeries, gauges Gauges) (k kind, ok bool) {
	switch s.typ {
	case model.MetricTypeGauge:
		switch gauges {
		case GaugesSum:
			return sum, true
		case GaugesMax:
			return largest, true
		case GaugesMin:
			return smallest, true
		}
		return 0, false
	case model.MetricTypeSummary:
		if s.labels.Has(model.QuantileLabel) { // of a family whose name ends in _sum
			return 0, false
		}
	}
	return counter, IsCounter(s.labels.Get(model.MetricNameLabel), s.typ)
}

// IsCounter reports whether a block that matches a series sums it, whatever it says of gauges: a counter, the buckets,
// sum and count of a classic histogram, and the sum and count of a summary. A native histogram, and a quantile, has the
// name of its family.
func IsCounter(name string, typ model.MetricType) bool {
	isSum := strings.HasSuffix(name, "_sum") || strings.HasSuffix(name, "_count")
	switch typ {
	case model.MetricTypeCounter:
		return true
	case model.MetricTypeHistogram:
		return isSum || strings.HasSuffix(name, "_bucket")
	case model.MetricTypeSummary:
		return isSum
	default:
		return false
	}
}
