package cost

import (
	"context"
	"slices"

	"github.com/prometheus/common/model"

	"github.com/envoy-scraper/envoy-scraper/internal/exposition"
	"github.com/envoy-scraper/envoy-scraper/internal/scrape"
	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// maxHashes is how many hashes of label sets are sorted at a time: 32 MiB. With more series the pages are read several
// times, and each time a part of the hashes is looked at.
const maxHashes = 4 << 20

// setCounts says how many different label sets there are.
type setCounts struct {
	series    int
	distinct  int
	colliding int // series whose label set another series has, too
	shared    int // label sets that several series have
}

func (c *setCounts) add(sorted []uint64) {
	for i := 0; i < len(sorted); {
		from := i
		for i++; i < len(sorted) && sorted[i] == sorted[from]; i++ {
		}
		c.distinct++
		c.series += i - from
		if n := i - from; n > 1 {
			c.colliding += n
			c.shared++
		}
	}
}

// setsOf says which label sets are counted.
type setsOf struct {
	without []series.Symbol // labels that are left out
	// sums, unless nil, says which series are counted: those that are summed. The buckets, sum and count of a histogram
	// count apart for each list of bounds that pages show it with, since they are summed apart.
	sums func(job, name string, typ model.MetricType) bool
}

// countSets counts the label sets of the series of all pages without some labels, over all targets. Labels are compared
// by their symbols, as a hash of 64 bits: with a million series, two different sets have the same hash once in 30
// million reports.
func countSets(
	ctx context.Context, pages []scrape.LastPage, r *tableReader, of setsOf, total int,
) (setCounts, error) {
	return countSetsIn(ctx, pages, r, of, total, uint64(total/maxHashes+1))
}

func countSetsIn(
	ctx context.Context, pages []scrape.LastPage, r *tableReader, of setsOf, total int, parts uint64,
) (c setCounts, err error) {
	symbols, stems := r.sizes()
	h := &setHasher{reader: r, setsOf: of, stems: make([]stemHash, stems)}
	if of.sums != nil {
		h.kinds = newNameKinds(of.sums, symbols)
	}
	hashes := make([]uint64, 0, total/int(parts)+total/int(parts)/8+chunkLines)
	for part := range parts {
		hashes = hashes[:0]
		for i := range pages {
			if err := ctx.Err(); err != nil {
				return c, err
			}
			h.each(&pages[i], func(hash uint64) {
				if parts == 1 || hash%parts == part {
					hashes = append(hashes, hash)
				}
			})
		}
		slices.Sort(hashes)
		c.add(hashes)
	}
	return c, nil
}

// setHasher computes hashes of the label sets of the series of a page. The hash of a set is the sum of the hashes of
// its labels, so the labels of a stem, which hundreds of series share, are added once.
type setHasher struct {
	setsOf
	reader *tableReader
	kinds  *nameKinds // nil: all series are counted

	chunk []series.ID
	sums  []uint64   // of the series of chunk
	stems []stemHash // by StemID
	page  uint32     // number of the page that stems are of
}

type stemHash struct {
	page uint32
	sum  uint64
}

// each calls fn with the hash of each series of a page.
func (h *setHasher) each(p *scrape.LastPage, fn func(hash uint64)) {
	h.page++
	if h.kinds != nil {
		h.kinds.begin(h.reader, p)
	}
	for line := range p.Shown.Lines() {
		if line.Kind != exposition.LineSeries || line.Repeated {
			continue
		}
		if h.chunk = append(h.chunk, line.Series); len(h.chunk) == chunkLines {
			h.hashChunk(p, fn)
		}
	}
	h.hashChunk(p, fn)
}

func (h *setHasher) hashChunk(p *scrape.LastPage, fn func(hash uint64)) {
	h.sums = grown(h.sums, len(h.chunk))
	counted := 0
	for i := 0; i < len(h.chunk); {
		h.reader.read(func(v series.View) (steps int) {
			for ; i < len(h.chunk) && steps < maxWork; i++ {
				parts := v.Parts(h.chunk[i])
				bounds := uint64(0)
				if h.kinds != nil {
					k := h.kinds.of(v, parts)
					if k == nil {
						steps++
						continue
					}
					bounds = h.kinds.boundsOf(k, parts.Stem)
				}
				stem := &h.stems[parts.Stem]
				if stem.page != h.page {
					var labels int
					stem.page = h.page
					stem.sum, labels = h.sumOf(v, parts.Stem, p.Target)
					steps += labels
				}
				steps++
				sum := stem.sum + bounds + h.hash(series.Pair{Name: series.SymbolName, Value: parts.Name})
				if parts.Le != 0 {
					sum += h.hash(series.Pair{Name: series.SymbolLe, Value: parts.Le})
				}
				h.sums[counted] = mix(sum)
				counted++
			}
			return steps
		})
	}
	for _, sum := range h.sums[:counted] {
		fn(sum)
	}
	h.chunk = h.chunk[:0]
}

// sumOf adds up the hashes of the labels that the series of a stem have in a target, and counts the labels.
func (h *setHasher) sumOf(v series.View, id series.StemID, target series.TargetID) (sum uint64, labels int) {
	own, mask := v.OwnLabels(id)
	for _, pair := range own {
		sum += h.hash(pair)
	}
	pairs := v.TargetPairs(target)
	for bit, pair := range pairs[:min(len(pairs), 64)] {
		if mask&(1<<bit) != 0 {
			sum += h.hash(pair)
		}
	}
	return sum, len(own) + len(pairs)
}

// hash returns the hash of a label; 0 for one that is left out.
func (h *setHasher) hash(pair series.Pair) uint64 {
	if slices.Contains(h.without, pair.Name) {
		return 0
	}
	return mix(uint64(pair.Name)<<32 | uint64(pair.Value))
}

// mix spreads the bits of x over all bits (the finaliser of SplitMix64).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
