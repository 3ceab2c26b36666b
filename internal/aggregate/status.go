package aggregate

import (
	"time"

	"github.com/prometheus/prometheus/model/labels"
)

// Status is what pages show of the aggregates.
type Status struct {
	Blocks []Block
	Groups []GroupStatus // sorted by their labels
}

// GroupStatus is one group: the aggregates that have the same labels but for the name and those of single series. It is
// one target to the receiver.
type GroupStatus struct {
	Labels   labels.Labels // of the group
	Interval time.Duration
	Tick     time.Time // when its aggregates were written last; zero: not yet
	Targets  int       // whose pages are summed
	Sources  int       // series of these pages that are summed
	Series   int       // aggregates
}

// Status returns the state of all groups.
func (a *Aggregates) Status() Status { return Status{} }

// AggregateOf is one aggregate.
type AggregateOf struct {
	Series  labels.Labels // whole
	Total   float64       // what the next tick writes
	Written bool          // at least one tick has written it
	Sources int           // series that it is made of
}

// SourceOf is one series that an aggregate is made of.
type SourceOf struct {
	Target labels.Labels // of the target
	Series labels.Labels // whole
	Last   float64       // the value on its last good page
}

// Series returns the aggregates of the group with these labels, at most limit of them from offset on, sorted by name
// and labels, and how many there are. match, unless nil, selects by the whole label set. It is called without a lock.
func (a *Aggregates) Series(
	group labels.Labels, match func(labels.Labels) bool, offset, limit int,
) (of []AggregateOf, found int) {
	return nil, 0
}

// Sources returns the series that an aggregate of a group is made of, at most limit of them from offset on, sorted by
// the labels of their targets, and how many there are. ok is false if the group or the aggregate is gone.
func (a *Aggregates) Sources(group, aggregate labels.Labels, offset, limit int) (of []SourceOf, found int, ok bool) {
	return nil, 0, false
}
