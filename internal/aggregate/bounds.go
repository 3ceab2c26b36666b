package aggregate

import (
	"slices"
	"strconv"
	"strings"

	"github.com/cespare/xxhash/v2"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// Bounds. The buckets of two pages can be summed only if their bounds are the same: with 5, 10 and +Inf on one page,
// and 10 and +Inf on another, the sums would say that no request of the second page took less than 5. So an aggregate
// histogram has the bounds of the first page, and another one, with the label bounds="2", those of pages that disagree.

// allBounds are the bounds of the histograms of a group.
type allBounds struct {
	entries []bounds // from 1
	free    []uint32
	byKey   map[uint64][]uint32 // by histogramKey
}

// bounds are those of one aggregate histogram.
type bounds struct {
	key    uint64 // histogramKey
	hash   uint64 // of the values of le on the page, see pageBounds
	number uint8  // 1 for the first bounds of the histogram: the value of BoundsLabel
	slots  uint32 // aggregates that belong to it
}

// histogramKey returns a hash of an aggregate histogram's name and labels, without le.
func histogramKey(base string, l labels.Labels) uint64 {
	hash, _ := l.HashWithoutLabels(nil, model.BucketLabel) // nor does it have __name__
	return hash ^ xxhash.Sum64String(base)*0x9e3779b97f4a7c15
}

// maxBounds is the number of bounds of a histogram that are kept apart. Pages with further ones stay as they are.
const maxBounds = 99

// of returns the index of bounds, and whether they are new while the histogram has others. It returns 0 if the
// histogram has too many.
func (a *allBounds) of(key, hash uint64) (n uint32, disagree bool) {
	same := a.byKey[key]
	var taken [maxBounds + 1]bool
	for _, n := range same {
		if a.entries[n].hash == hash {
			return n, false
		}
		taken[a.entries[n].number] = true
	}
	number := 1 + slices.Index(taken[1:], false)
	if number == 0 {
		return 0, true
	}
	if a.byKey == nil {
		a.byKey, a.entries = map[uint64][]uint32{}, make([]bounds, 1)
	}
	if last := len(a.free) - 1; last >= 0 {
		n, a.free = a.free[last], a.free[:last]
	} else {
		n = uint32(len(a.entries))
		a.entries = append(a.entries, bounds{})
	}
	a.entries[n] = bounds{key: key, hash: hash, number: uint8(number)}
	a.byKey[key] = append(same, n)
	return n, len(same) > 0
}

func (a *allBounds) use(n uint32) {
	if n != 0 {
		a.entries[n].slots++
	}
}

// leave counts one aggregate less. Bounds without one are forgotten.
func (a *allBounds) leave(n uint32) {
	if n == 0 {
		return
	}
	e := &a.entries[n]
	if e.slots--; e.slots > 0 {
		return
	}
	if rest := slices.DeleteFunc(a.byKey[e.key], func(other uint32) bool { return other == n }); len(rest) == 0 {
		delete(a.byKey, e.key)
	} else {
		a.byKey[e.key] = rest
	}
	*e = bounds{}
	a.free = append(a.free, n)
}

// pageBounds are hashes of the bounds of the histograms of one page.
type pageBounds struct {
	names *histogramNames
	le    map[pageHistogram]uint64 // the sum of the hashes of its values of le
}

// pageHistogram is a histogram on a page: its name without _bucket, _sum and _count, and its labels without le.
type pageHistogram struct {
	base uint32
	stem series.StemID
}

// histogramNames numbers names of histograms.
type histogramNames struct {
	bases    map[string]uint32
	bySymbol map[series.Symbol]uint32
}

func newHistogramNames() *histogramNames {
	return &histogramNames{map[string]uint32{}, map[series.Symbol]uint32{}}
}

// base returns the number of a histogram, by the name of one of its series.
func (h *histogramNames) base(v series.View, name series.Symbol) uint32 {
	n, ok := h.bySymbol[name]
	if !ok {
		text := baseOf(v.String(name))
		if n, ok = h.bases[text]; !ok {
			n = uint32(len(h.bases) + 1)
			h.bases[text] = n
		}
		h.bySymbol[name] = n
	}
	return n
}

// baseOf returns the name of a histogram, by the name of one of its series.
func baseOf(name string) string {
	for _, suffix := range []string{"_bucket", "_sum", "_count"} {
		if base, ok := strings.CutSuffix(name, suffix); ok {
			return base
		}
	}
	return name
}

// boundsOf returns the bounds of all histograms on a page.
func boundsOf(v series.View, ids []series.ID, names *histogramNames) pageBounds {
	p := pageBounds{names, map[pageHistogram]uint64{}}
	for i, id := range ids {
		if i%rowsPerLock == 0 && i > 0 {
			v.Pause()
		}
		if parts := v.Parts(id); parts.Le != 0 {
			h := pageHistogram{names.base(v, parts.Name), parts.Stem}
			p.le[h] += xxhash.Sum64String(v.String(parts.Le))
		}
	}
	return p
}

// of returns the hash of the bounds of the histogram that a series belongs to; 0: of none.
func (p pageBounds) of(v series.View, parts series.Parts) uint64 {
	n, ok := p.names.bySymbol[parts.Name]
	if !ok {
		n = p.names.base(v, parts.Name)
	}
	return p.le[pageHistogram{n, parts.Stem}]
}

// withBounds adds BoundsLabel.
func withBounds(l labels.Labels, number uint8) labels.Labels {
	b := labels.NewBuilder(l)
	b.Set(BoundsLabel, strconv.Itoa(int(number)))
	return b.Labels()
}
