package remotewrite

import (
	"slices"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"go.uber.org/zap"
)

// complaint is what a receiver has against a sample. A closed set, made of its words.
type complaint string

const (
	outOfOrder    complaint = "out_of_order"
	duplicate     complaint = "duplicate"
	tooOldForIt   complaint = "too_old"
	badLabels     complaint = "invalid_labels"
	overLimit     complaint = "limit"
	somethingElse complaint = "other"
)

var complaints = []complaint{outOfOrder, duplicate, tooOldForIt, badLabels, overLimit, somethingElse}

// complaintWords are how Prometheus, Mimir, Cortex, Thanos and VictoriaMetrics word their complaints; the first hit
// decides.
var complaintWords = []struct {
	words []string
	means complaint
}{
	{[]string{"limit", "too many", "too large", "quota", "max-series", "exceed"}, overLimit},
	{[]string{"label", "metric name", "metric-name", "metadata", "utf-8"}, badLabels},
	{[]string{"out of order", "out-of-order"}, outOfOrder},
	{[]string{"duplicate", "already exists", "different value"}, duplicate},
	{[]string{"too old", "too-old", "out of bounds", "out-of-bounds", "too far in the past"}, tooOldForIt},
}

// complaintOf reads an answer. Prometheus puts the labels of a series behind its words, in braces: they are not read.
func complaintOf(a answer) complaint {
	said := strings.ToLower(a.message)
	if open, end := strings.IndexByte(said, '{'), strings.LastIndexByte(said, '}'); open >= 0 && end > open {
		said = said[:open] + said[end+1:]
	}
	for _, c := range complaintWords {
		if slices.ContainsFunc(c.words, func(w string) bool { return strings.Contains(said, w) }) {
			return c.means
		}
	}
	if a.status == 413 {
		return overLimit
	}
	return somethingElse
}

// late reports whether a receiver that has a sample already may refuse it so: it knows a newer sample of the series, or
// another one of that time. One that finds a sample too old has not looked at its series.
func (c complaint) late() bool { return c == outOfOrder || c == duplicate }

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

const (
	maxRejections     = 50
	isolationRejected = string(isolationBudget)
)

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

// rejected notes what the endpoint refused, and says so once a minute.
func (e *endpoint) rejected(a answer, x Rejection) {
	h := &e.health
	h.mu.Lock()
	defer h.mu.Unlock()
	h.note(a)
	e.up(h) // it answers
	h.rejections.add(x)
	e.limited("rejected", func() {
		e.log.Error("remote write endpoint rejects series", zap.Int("samples", h.rejections.samples),
			zap.String("series", x.Series.String()), zap.Int("others", x.Others), zap.String("job", x.Series.Get("job")),
			zap.String("instance", x.Series.Get("instance")), zap.String("reason", x.Reason),
			zap.Int("status", a.status), zap.String("error", x.Error))
		h.rejections.samples = 0
	})
}
