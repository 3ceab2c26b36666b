package deliver

import (
	"slices"
	"time"

	"github.com/prometheus/prometheus/model/labels"
)

// Rejection is what an endpoint refused for good, for people.
type Rejection struct {
	Series  labels.Labels // long values cut; empty if the receiver did not say, or in its own words
	Others  int           // more series that were refused with it, and not told apart
	Samples int           // since First
	Reason  string        // out_of_order, duplicate, too_old, invalid_labels, limit, other; or isolation_budget
	Error   string        // the receiver's words
	First   time.Time
	Last    time.Time
}

const maxRejections = 50

// rejections are the last of an endpoint.
type rejections struct {
	list    []Rejection // that of the latest Last at the end
	samples int         // since the last line in the log
}

// add takes a rejection in; one more of a known series takes its place.
func (r *rejections) add(x Rejection) {
	r.samples += x.Samples
	x.First, x.Last = time.Now(), time.Now()
	known := slices.IndexFunc(r.list, func(k Rejection) bool {
		return k.Reason == x.Reason && labels.Equal(k.Series, x.Series)
	})
	switch {
	case known >= 0:
		x.First = r.list[known].First
		x.Samples += r.list[known].Samples
		r.list = slices.Delete(r.list, known, known+1)
	case len(r.list) == maxRejections:
		r.list = slices.Delete(r.list, 0, 1)
	}
	r.list = append(r.list, x)
}

// newestFirst is a copy for people.
func (r *rejections) newestFirst() []Rejection {
	out := slices.Clone(r.list)
	slices.Reverse(out)
	return out
}
