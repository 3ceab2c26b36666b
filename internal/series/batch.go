package series

import (
	"math"
	"time"

	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/value"
)

// Batch is the result of one scrape of one target: the samples in page order, then the staleness markers of series that
// vanished, then the report series (up, scrape_duration_seconds, …). It belongs to the scrape loop that fills it. A
// receiver must not keep it, nor any slice of it, after its Append returned.
type Batch struct {
	Target TargetID // the target, whose labels the series of the batch have
	Time   int64    // of every sample without a timestamp of its own, in Unix milliseconds

	// Interval is the time between two scrapes of the target; 0: not known.
	Interval time.Duration
	// Urgent: a receiver should get the batch at once, since the target has ended or was lost.
	Urgent bool
	// Origin is for receivers that compare the scrapes of a target. It is zero in batches that no scrape has made.
	Origin Origin

	// Series and Values are parallel: Values[i] is the sample of Series[i]. A staleness marker is a value
	// (value.StaleNaN), not a flag.
	Series []ID
	Values []float64

	// Most pages have none of the following. Each entry has the index of its series; indexes ascend.
	Times      []OwnTime
	Starts     []Start
	Histograms []Histogram
	Exemplars  []Exemplar
}

// SourceID is the number of a sequence of pages of one target. Two pages of a sequence can be compared, series by
// series, unless Origin.Gap says otherwise: they were read in this order, under the same rules, and
// no other process has scraped the target in between. 0: none.
type SourceID uint32

// Origin says which scrape a batch comes from.
type Origin struct {
	Source SourceID
	Job    string
	// Page is the number of samples of a good page that rules kept: Series[:Page]. Staleness markers and report series
	// follow. It is 0 if the scrape failed.
	Page int
	// Good: the scrape succeeded, so a series that is not in Series[:Page] was not on the page.
	Good bool
	// Partial: the scrape succeeded, but samples of the page were left out, since their own timestamps are too old or
	// too far ahead. Their series seem to have vanished.
	Partial bool
	// Again: the batch before was of a good page of the same target.
	Again bool
	// Gap: the pages before were of a target with the same labels, but this page cannot be compared with them: it is
	// read under other rules or another URL, or another process may have scraped the target in between. Every batch up
	// to the first good one says so.
	Gap bool
	// Uptime is how long the Envoy has run, as its page says; negative: not known. Envoy writes whole seconds, and only
	// when it flushes its stats, every 5 s by default. So the Envoy may have run some seconds longer.
	Uptime time.Duration
}

// OwnTime is a sample's timestamp as the page gave it (honor_timestamps), in Unix milliseconds.
type OwnTime struct {
	Index int
	Time  int64
}

// Start is the start timestamp of a sample's series, as the page printed it, in Unix milliseconds, after 1970. A start
// that is later than the sample is wrong, and to be left out.
type Start struct {
	Index int
	Time  int64
}

// Histogram is a native histogram sample: either Integer or Float is set. Values[Index] is 0 and not used.
type Histogram struct {
	Index   int
	Integer *histogram.Histogram
	Float   *histogram.FloatHistogram
}

// Exemplar is one exemplar of a sample; a sample may have several.
type Exemplar struct {
	Index    int
	Exemplar exemplar.Exemplar
}

// Add appends one float sample and returns its index.
func (b *Batch) Add(id ID, v float64) int {
	b.Series = append(b.Series, id)
	b.Values = append(b.Values, v)
	return len(b.Series) - 1
}

// Len returns the number of samples, with markers and report series.
func (b *Batch) Len() int { return len(b.Series) }

// StaleMarker returns the value that says that a series has ended.
func StaleMarker() float64 { return math.Float64frombits(value.StaleNaN) }

// maxKeptRows is for how many samples a batch always keeps memory. It keeps more while the last scrape used an eighth
// of it.
const maxKeptRows = 1 << 14

// Reset empties the batch for the next scrape and keeps its memory, unless it is large and was hardly used.
func (b *Batch) Reset(target TargetID, timeMillis int64) {
	clear(b.Histograms) // histograms and exemplars hold pointers
	clear(b.Exemplars)
	*b = Batch{
		Target: target, Time: timeMillis,
		Series: emptied(b.Series), Values: emptied(b.Values),
		Times: emptied(b.Times), Starts: emptied(b.Starts),
		Histograms: emptied(b.Histograms), Exemplars: emptied(b.Exemplars),
	}
}

// emptied returns s without its elements.
func emptied[T any](s []T) []T {
	if cap(s) > maxKeptRows && len(s) < cap(s)/8 {
		return nil
	}
	return s[:0]
}
