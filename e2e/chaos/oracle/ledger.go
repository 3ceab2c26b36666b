package oracle

import (
	"maps"
	"math"
	"strconv"
	"sync"
	"time"
)

// Ledger records the samples that a receiver accepted, by series.
type Ledger struct {
	mu         sync.Mutex // guards the fields below
	series     map[string]*account
	outOfOrder int
	duplicates int
	old        int   // duplicates in requests without the newest sample of the series, or a newer one
	repeats    []int // requests with a duplicate, per epoch
	example    string
}

// account records one series.
type account struct {
	labels Labels
	newest int64
	taken  map[int64]uint64 // bits of the value, by timestamp
}

func newLedger() *Ledger {
	return &Ledger{series: map[string]*account{}, repeats: []int{0}}
}

// take records the samples of one accepted request.
func (l *Ledger) take(samples []Sample) {
	l.mu.Lock()
	defer l.mu.Unlock()
	repeated := false
	newest := map[string]int64{} // of the request, by series
	for _, s := range samples {
		key := s.Labels.String()
		if at, known := newest[key]; !known || s.Time > at {
			newest[key] = s.Time
		}
	}
	late := l.late(newest)
	for _, s := range samples {
		if s.Labels.Get("__name__") == Filler {
			continue
		}
		repeated = l.enter(s, late) || repeated
	}
	if repeated {
		l.repeats[len(l.repeats)-1]++
	}
}

// late returns the series of a request that have a newer sample than the request. If the request repeats the one
// before, there are none.
func (l *Ledger) late(newest map[string]int64) map[string]bool {
	late := map[string]bool{}
	for key, at := range newest {
		if a := l.series[key]; a != nil && at < a.newest {
			late[key] = true
		}
	}
	return late
}

// enter records one sample and reports whether it is an exact duplicate. A request may be repeated, with all samples of
// its series, until the next request of the series has arrived: a duplicate after that is old. Any other sample that is
// not newer than the newest is out of order.
func (l *Ledger) enter(s Sample, late map[string]bool) (duplicate bool) {
	key := s.Labels.String()
	a := l.series[key]
	if a == nil {
		a = &account{labels: s.Labels, newest: math.MinInt64, taken: map[int64]uint64{}}
		l.series[key] = a
	}
	before, known := a.taken[s.Time]
	switch {
	case s.Time > a.newest:
		a.newest = s.Time
	case known && before == s.bits():
		l.duplicates++
		if late[key] {
			l.old++
		}
		return true
	default:
		l.outOfOrder++
		if l.example == "" {
			l.example = s.Labels.String() + " at " + strconv.FormatInt(s.Time, 10) + " after " +
				strconv.FormatInt(a.newest, 10)
		}
	}
	a.taken[s.Time] = s.bits()
	return false
}

// Clone returns a copy of the ledger for another receiver. The copy has the same samples and its counters are zero.
func (l *Ledger) Clone() *Ledger {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := newLedger()
	for key, a := range l.series {
		c.series[key] = &account{labels: a.labels, newest: a.newest, taken: maps.Clone(a.taken)}
	}
	return c
}

// NextEpoch begins a new epoch. A scenario begins one each time it ends a process.
func (l *Ledger) NextEpoch() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.repeats = append(l.repeats, 0)
}

// arrived returns, by instance and number of the scrape, how many series of that scrape arrived.
func (l *Ledger) arrived() map[string]map[int]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	byInstance := map[string]map[int]int{}
	for _, a := range l.series {
		if a.labels.Get("__name__") != Metric {
			continue
		}
		numbers := byInstance[a.labels.Get("instance")]
		if numbers == nil {
			numbers = map[int]int{}
			byInstance[a.labels.Get("instance")] = numbers
		}
		for _, bits := range a.taken {
			if v := math.Float64frombits(bits); v == math.Trunc(v) { // not a staleness marker
				numbers[int(v)]++
			}
		}
	}
	return byInstance
}

// failures returns, by instance, the times of the scrapes that the agent reports as failed (up is 0).
func (l *Ledger) failures() map[string][]time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	times := map[string][]time.Time{}
	for _, a := range l.series {
		if a.labels.Get("__name__") != "up" {
			continue
		}
		for at, bits := range a.taken {
			if math.Float64frombits(bits) == 0 {
				instance := a.labels.Get("instance")
				times[instance] = append(times[instance], time.UnixMilli(at))
			}
		}
	}
	return times
}

// Samples returns the samples of all series whose labels pass, by series and timestamp.
func (l *Ledger) Samples(pass func(Labels) bool) map[string]map[int64]float64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	taken := map[string]map[int64]float64{}
	for key, a := range l.series {
		if !pass(a.labels) {
			continue
		}
		taken[key] = map[int64]float64{}
		for at, bits := range a.taken {
			taken[key][at] = math.Float64frombits(bits)
		}
	}
	return taken
}
