package deliver

import (
	"slices"
	"time"

	"github.com/prometheus/prometheus/model/labels"
)

// Rejection is one or more samples that a receiver refused for good, for people.
type Rejection struct {
	Series  labels.Labels // long values are cut; empty if it is not known which series
	Others  int           // more series that were refused in the same request; some of them may be good
	Samples int           // refused since First
	Reason  string        // out_of_order, duplicate, too_old, invalid_labels, limit, other; or isolation_budget
	Error   string        // message of the receiver
	First   time.Time
	Last    time.Time
}

const maxRejections = 50

// rejections are the latest rejections of a receiver.
type rejections struct {
	list    []Rejection // in ascending order of Last
	samples int         // refused since the last log line
}

// add adds a rejection. It joins an earlier one of the same series and reason.
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

// last returns when something was rejected last; zero: never.
func (r *rejections) last() (at time.Time) {
	if n := len(r.list); n > 0 {
		at = r.list[n-1].Last
	}
	return at
}

// newestFirst returns a copy.
func (r *rejections) newestFirst() []Rejection {
	out := slices.Clone(r.list)
	slices.Reverse(out)
	return out
}
