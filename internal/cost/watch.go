package cost

import (
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/envoy-scraper/envoy-scraper/internal/scrape"
	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// watchFor is how long after the last report series are watched.
const watchFor = time.Hour

// Watch notes which series have had a value other than zero on any target. It watches only after somebody asked for a
// report, and for one hour: otherwise a scrape costs one look at an atomic variable.
//
// Cost while it watches: two bits for each series of the table, and some nanoseconds for each sample. The number of a
// series that is gone may be given to another one; that one then counts as having had a value, which is never reported
// wrongly as always zero.
type Watch struct {
	until atomic.Int64 // Unix nanoseconds; 0: it does not watch

	mu    sync.RWMutex // guards the slices, not their elements
	seen  []atomic.Uint64
	other []atomic.Uint64 // than zero
	since time.Time       // guarded by mu
}

// Sink returns a sink that hands batches on to next, after a look at them while w watches.
func (w *Watch) Sink(next scrape.Sink) scrape.Sink { return &watchedSink{next, w} }

type watchedSink struct {
	scrape.Sink
	watch *Watch
}

// Append implements scrape.Sink.
func (s *watchedSink) Append(b *series.Batch) error {
	if until := s.watch.until.Load(); until != 0 {
		s.watch.look(b, until)
	}
	return s.Sink.Append(b)
}

// look notes the values of a batch.
func (w *Watch) look(b *series.Batch, until int64) {
	if time.Now().UnixNano() > until {
		w.stop(until)
		return
	}
	var highest series.ID
	for _, id := range b.Series {
		highest = max(highest, id)
	}
	w.grow(int(highest)/64 + 1)
	w.mu.RLock()
	defer w.mu.RUnlock()
	if int(highest)/64 >= len(w.seen) { // it stopped meanwhile
		return
	}
	for i, id := range b.Series {
		v := b.Values[i]
		if math.IsNaN(v) { // also a staleness marker
			continue
		}
		set(w.seen, id)
		if v != 0 {
			set(w.other, id)
		}
	}
	for _, h := range b.Histograms { // whose value is always 0
		set(w.other, b.Series[h.Index])
	}
}

// set sets the bit of a series. It writes only if the bit is not set yet, so that processors share the memory.
func set(bits []atomic.Uint64, id series.ID) {
	word, bit := &bits[id/64], uint64(1)<<(id%64)
	if word.Load()&bit == 0 {
		word.Or(bit)
	}
}

// grow makes room for n words. Nothing looks at the slices meanwhile.
func (w *Watch) grow(n int) {
	w.mu.RLock()
	enough := n <= len(w.seen)
	w.mu.RUnlock()
	if enough {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if n <= len(w.seen) || w.until.Load() == 0 {
		return
	}
	n += n / 4
	w.seen, w.other = copied(w.seen, n), copied(w.other, n)
}

func copied(from []atomic.Uint64, n int) []atomic.Uint64 {
	to := make([]atomic.Uint64, n)
	for i := range from {
		to[i].Store(from[i].Load())
	}
	return to
}

// stop ends the watch, unless it was prolonged meanwhile, and gives its memory back.
func (w *Watch) stop(until int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.until.CompareAndSwap(until, 0) {
		w.seen, w.other, w.since = nil, nil, time.Time{}
	}
}

// Start begins to watch, or goes on. It returns since when it has watched; zero: it begins now.
func (w *Watch) Start(now time.Time) (since time.Time) {
	if w == nil {
		return time.Time{}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if until := w.until.Load(); until != 0 && now.UnixNano() > until { // it ran out, and no batch came to stop it
		w.seen, w.other, w.since = nil, nil, time.Time{}
	}
	since = w.since
	if since.IsZero() {
		w.since = now
	}
	w.until.Store(now.Add(watchFor).UnixNano())
	return since
}

// zero returns a function that reports whether a series was seen, and was zero whenever it was seen. It is nil without
// a watch.
func (w *Watch) zero() func(series.ID) bool {
	if w == nil {
		return nil
	}
	w.mu.RLock()
	seen, other := w.seen, w.other
	w.mu.RUnlock()
	return func(id series.ID) bool {
		word, bit := int(id/64), uint64(1)<<(id%64)
		return word < len(seen) && seen[word].Load()&bit != 0 && other[word].Load()&bit == 0
	}
}
