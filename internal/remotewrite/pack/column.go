package pack

import (
	"math/bits"
	"math/rand/v2"

	"github.com/envoy-scraper/envoy-scraper/internal/queue"
	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/wire"
	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// Columns. A scrape with the same rows as the scrape of its target before, in the same order, is a
// column: the values of these rows, about two bytes each. The labels and the metadata of the rows are its layout, which
// the queue stores once for many columns. Three scrapes with the same rows, then one with a series more:
//
//	scrape 1    a fragment: labels and values, because its rows are new
//	scrape 2    the layout of its rows, and a column
//	scrape 3    a column
//	scrape 4    a fragment
//
// So a page that changes at every scrape costs no layout. A scrape that has more than a value for a row (a timestamp of
// its own, an exemplar, a native histogram) or an unbound series is a fragment, too.

// pageRows is what a lane remembers of the rows of a target's last scrape. The zero value fits no scrape.
type pageRows struct {
	settings *Settings // the layout is written under them
	hash     uint64    // of the rows; see gather
	ids      uint64    // of the last batch that had them; see hashIDs; 0: not known
	layout   *queue.Layout
	unfit    bool // these rows have no layout
}

// columnScratch is the memory in which a lane gathers a column: its values, then its bytes.
type columnScratch struct {
	values []float64
	data   []byte
	inRow  int // columns since the last fragment or layout
}

// keptWriter is the number of columns in a row after which a lane gives up the memory of its FragmentWriter.
const keptWriter = 64

// appendColumn appends a batch as a column. If that is not possible, it does nothing and returns false. The caller
// holds mu.
func (l *Lane) appendColumn(
	s *Settings, v series.View, b *series.Batch, hash uint64, ruled []ruledRow, tally *Tally,
) bool {
	t := l.history.target(hash)
	if s.rulesChangeLabels || s.ConvertNHCBToClassic || !onlyValues(b) || !t.inOrder(b.Time) {
		t.rows = pageRows{}
		return false
	}
	values, dropped, same := l.gather(s, v, b, ruled, &t.rows)
	if !same {
		return false
	}
	if t.rows.layout == nil && !t.rows.unfit {
		t.rows.layout = l.writeLayout(s, v, b, ruled)
		t.rows.unfit = t.rows.layout == nil
	}
	if t.rows.unfit || len(values) == 0 {
		return false
	}
	tally.Relabelled += dropped
	l.beginBatch(s, b, hash)
	o := l.outlet
	l.column.data = wire.AppendColumn(l.column.data[:0], b.Time, values)
	l.append(queue.Record{
		Data:    append(o.Buffers.Get(len(l.column.data)), l.column.data...),
		Samples: len(values), Oldest: b.Time, Newest: b.Time,
		First: true, Stream: uint64(l.to.stream), Due: l.to.due, Layout: t.rows.layout,
	}, tally)
	t.batch(b.Time, true)
	l.number++
	l.wakeFor(l.to.due)
	if l.column.inRow++; l.column.inRow == keptWriter {
		l.writer = wire.FragmentWriter{}
	}
	if b.Urgent {
		t.rows = pageRows{} // the target has ended, or was lost
	}
	return true
}

// onlyValues reports whether each sample of a batch is a float with the time of the batch.
func onlyValues(b *series.Batch) bool {
	return len(b.Times)+len(b.Starts)+len(b.Histograms)+len(b.Exemplars) == 0
}

// inOrder reports whether every bound series of a batch is newer than its last sample.
func (t *targetHistory) inOrder(at int64) bool {
	return t.perSeries == nil && len(t.timed) == 0 && at > t.newest
}

// gather returns the values that the rules keep, the number of samples that the rules drop, and whether the rows of the
// values are those of the target's last scrape, r. If they are not, r becomes theirs.
//
// A page like the one before has the same ids. If they mean the same as then, so are the rows, and the table's entries
// need not be read: they are spread over memory, and cost more than all else here.
func (l *Lane) gather(s *Settings, v series.View, b *series.Batch, ruled []ruledRow, r *pageRows) (
	values []float64, dropped int, same bool,
) {
	ids := uint64(0)
	if ruled == nil {
		ids = hashIDs(b.Series, v.Changes())
		if r.settings == s && r.ids == ids {
			return b.Values, 0, true
		}
	}
	values, rows, dropped := l.hashRows(v, b, ruled)
	if same = r.settings == s && r.hash == rows; !same {
		*r = pageRows{settings: s, hash: rows}
	}
	r.ids = ids
	return values, dropped, same
}

// hashIDs returns a hash of the ids of a batch and of View.Changes; never 0.
func hashIDs(ids []series.ID, changes uint64) uint64 {
	h := rowSeeds[0] ^ uint64(len(ids))
	for ; len(ids) > 1; ids = ids[2:] {
		high, low := bits.Mul64(h^(uint64(ids[0])<<32|uint64(ids[1])), rowSeeds[1])
		h = high ^ low
	}
	if len(ids) > 0 {
		changes ^= uint64(ids[0]) << 32
	}
	high, low := bits.Mul64(h^changes, rowSeeds[1])
	return max(1, high^low)
}

// hashRows returns the values that the rules keep, and a hash of their rows. The values are those of the batch if there
// are no rules, else in l.column.
func (l *Lane) hashRows(v series.View, b *series.Batch, ruled []ruledRow) (
	values []float64, rows uint64, dropped int,
) {
	if values = b.Values; ruled != nil {
		values = l.column.values[:0]
	}
	h, meta, metaVersion := rowSeeds[0], series.MetaID(0), rowSeeds[1]^uint64(v.MetaGen(0))
	for i, id := range b.Series {
		if i%rowsPerLock == 0 && i > 0 {
			v.Pause()
		}
		switch {
		case ruled == nil:
		case ruled[i].series == 0:
			dropped++
			continue
		default:
			values = append(values, b.Values[i])
		}
		gen, m := v.GenAndMeta(id)
		if m != meta { // the series of a family have the same, and come together
			meta, metaVersion = m, rowSeeds[1]^(uint64(m)<<32|uint64(v.MetaGen(m)))
		}
		high, low := bits.Mul64(h^(uint64(id)<<32|uint64(gen)), metaVersion)
		h = high ^ low
	}
	if ruled != nil {
		l.column.values = values
	}
	return values, h, dropped
}

// rowSeeds make hashes of rows differ from process to process, so that no page can be made to have the hash of another.
var rowSeeds = [2]uint64{rand.Uint64() | 1, rand.Uint64() | 1}

// beginWriter begins a request or a layout.
func (l *Lane) beginWriter(foreignTexts bool) {
	l.column.inRow = 0
	l.writer.Begin(foreignTexts)
}

// maxLayoutBytes bounds a layout before compression. Scrapes with more rows are fragments.
const maxLayoutBytes = 8 << 20

// writeLayout returns the layout of the rows of a batch; nil: one of them cannot be a row of a column.
func (l *Lane) writeLayout(s *Settings, v series.View, b *series.Batch, ruled []ruledRow) *queue.Layout {
	l.beginWriter(len(s.added) > 0)
	l.writer.BeginBatch()
	with := wire.Options{Metadata: s.MetadataConfig.Send, External: s.added}
	r := wire.Row{}
	for i, id := range b.Series {
		if i%rowsPerLock == 0 && i > 0 {
			v.Pause()
		}
		if ruled != nil && ruled[i].series == 0 {
			continue
		}
		r.Parts = v.Parts(id)
		f := l.writer.Stem(v, r.Parts.Stem, b.Target, s.added)
		if !v.Whole(r.Parts.Stem) || !l.writer.AddLabels(v, f, &r, with) || l.writer.Size() >= maxLayoutBytes {
			return nil
		}
	}
	o := l.outlet
	symbols, rows := l.writer.CutLayout(&o.Buffers)
	defer o.Buffers.Put(rows)
	return queue.NewLayout(symbols, rows) // replicas of a workload have the same rows
}
