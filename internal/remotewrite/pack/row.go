package pack

import (
	"github.com/prometheus/prometheus/model/labels"

	"github.com/envoy-scraper/envoy-scraper/internal/series"

	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/wire"
)

// row is one sample of a batch with everything that belongs to it.
type row struct {
	wire.Row
	id      series.ID
	shown   series.ID // the series of the batch; id is another one if a rule changed the labels
	ownTime bool      // the page gave the timestamp
}

// rows reads the samples of a batch in order, together with its timestamps, starts, histograms and exemplars.
type rows struct {
	view                                     series.View
	batch                                    *series.Batch
	at, times, starts, histograms, exemplars int
	plain                                    bool // the batch has only values
}

func openRows(v series.View, b *series.Batch) rows {
	return rows{view: v, batch: b, plain: onlyValues(b)}
}

// rowsPerLock is the number of rows that are read before the lock of the table is given up: some tenths of a
// millisecond.
const rowsPerLock = 1024

// next reads the next row into r. It returns false at the end.
func (c *rows) next(r *row) bool {
	b, i := c.batch, c.at
	if i >= len(b.Series) {
		return false
	}
	if i%rowsPerLock == 0 && i > 0 {
		c.view.Pause()
	}
	c.at++
	r.id, r.shown, r.Value = b.Series[i], b.Series[i], b.Values[i]
	r.Parts = c.view.Parts(r.id)
	if c.plain {
		r.Time = b.Time
		return true
	}
	r.Time, r.ownTime, r.Start, r.Histogram = b.Time, false, 0, nil
	if c.times < len(b.Times) && b.Times[c.times].Index == i {
		r.Time, r.ownTime = b.Times[c.times].Time, true
		c.times++
	}
	if c.starts < len(b.Starts) && b.Starts[c.starts].Index == i {
		if start := b.Starts[c.starts].Time; start <= r.Time {
			r.Start = start
		}
		c.starts++
	}
	if c.histograms < len(b.Histograms) && b.Histograms[c.histograms].Index == i {
		r.Histogram = &b.Histograms[c.histograms]
		c.histograms++
	}
	first := c.exemplars
	for c.exemplars < len(b.Exemplars) && b.Exemplars[c.exemplars].Index == i {
		c.exemplars++
	}
	r.Exemplars = b.Exemplars[first:c.exemplars]
	return true
}

// become makes r a row of the series that a rule made of its own. The metadata stays.
func (r *row) become(v series.View, id series.ID) {
	meta := r.Parts.Meta
	r.id, r.Parts = id, v.Parts(id)
	r.Parts.Meta = meta
}

// source is where the labels of a row come from: the table, with the external labels that the settings add, or text.
type source struct {
	view   series.View
	target series.TargetID
	text   labels.Labels // empty: the labels come from the table
}
