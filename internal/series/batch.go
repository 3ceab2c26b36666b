package series

import (
	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/histogram"
)

// Batch is what one scrape of one target yields, in page order: the samples, then the staleness markers of
// what vanished, then the report series (up and its kin). It belongs to the scrape loop that fills it; a
// receiver must not keep it, nor any slice of it, after its Append returned.
type Batch struct {
	Target TargetID // the label set that every series of the batch leans on
	Time   int64    // of every sample without a timestamp of its own, in Unix milliseconds

	// Series and Values are parallel: Values[i] is the sample of Series[i]. A staleness marker is a value
	// (value.StaleNaN), not a flag.
	Series []ID
	Values []float64

	// The rare: what most pages have none of travels beside, each entry with the index of its series, in
	// ascending order of Index.
	Times      []OwnTime
	Starts     []Start
	Histograms []Histogram
	Exemplars  []Exemplar
}

// OwnTime is a sample's timestamp as the page gave it (honor_timestamps), in Unix milliseconds.
type OwnTime struct {
	Index int
	Time  int64
}

// Start is when a sample's series began to count, as the page told it, in Unix milliseconds, after 1970. One that is
// later than the sample means nothing.
type Start struct {
	Index int
	Time  int64
}

// Histogram is a native histogram sample: exactly one of the two is set. Values[Index] is 0 and means nothing.
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

// Len is the number of samples, markers and report series included.
func (b *Batch) Len() int { return len(b.Series) }

// maxKeptRows is how many samples a batch always keeps memory for. It keeps more as long as the last scrape needed an
// eighth of it.
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
