package deliver

import (
	"slices"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/wire"
)

// complaint is what a receiver has against a sample. A closed set, made of its words.
type Complaint string

const (
	OutOfOrder        Complaint = "out_of_order"
	Duplicate         Complaint = "duplicate"
	TooOldForReceiver Complaint = "too_old"
	BadLabels         Complaint = "invalid_labels"
	OverLimit         Complaint = "limit"
	SomethingElse     Complaint = "other"
)

var Complaints = []Complaint{OutOfOrder, Duplicate, TooOldForReceiver, BadLabels, OverLimit, SomethingElse}

// complaintWords are how Prometheus, Mimir, Cortex, Thanos and VictoriaMetrics word their complaints; the first hit
// decides.
var complaintWords = []struct {
	words []string
	means Complaint
}{
	{[]string{"limit", "too many", "too large", "quota", "max-series", "exceed"}, OverLimit},
	{[]string{"label", "metric name", "metric-name", "metadata", "utf-8"}, BadLabels},
	{[]string{"out of order", "out-of-order"}, OutOfOrder},
	{[]string{"duplicate", "already exists", "different value"}, Duplicate},
	{[]string{"too old", "too-old", "out of bounds", "out-of-bounds", "too far in the past"}, TooOldForReceiver},
}

// complaintOf reads an answer. Prometheus puts the labels of a series behind its words, in braces: they are not read.
func complaintOf(a Answer) Complaint {
	said := strings.ToLower(a.Message)
	if open, end := strings.IndexByte(said, '{'), strings.LastIndexByte(said, '}'); open >= 0 && end > open {
		said = said[:open] + said[end+1:]
	}
	for _, c := range complaintWords {
		if slices.ContainsFunc(c.words, func(w string) bool { return strings.Contains(said, w) }) {
			return c.means
		}
	}
	if a.Status == 413 {
		return OverLimit
	}
	return SomethingElse
}

// late reports whether a receiver that has a sample already may refuse it so: it knows a newer sample of the series, or
// another one of that time. One that finds a sample too old has not looked at its series.
func (c Complaint) late() bool { return c == OutOfOrder || c == Duplicate }

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
	isolationRejected = string(IsolationBudget)
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

// rejectedSeries notes series that the receiver refused, and logs one of them once a minute.
func (r *Receiver) rejectedSeries(a Answer, x Rejection) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.outage.note(a)
	r.up()
	r.rejections.add(x)
	if r.lines.Allow("rejected") {
		r.log.Error("remote write endpoint rejects series", zap.Int("samples", r.rejections.samples),
			zap.String("series", x.Series.String()), zap.Int("others", x.Others), zap.String("job", x.Series.Get("job")),
			zap.String("instance", x.Series.Get("instance")), zap.String("reason", x.Reason),
			zap.Int("status", a.Status), zap.String("error", x.Error))
		r.rejections.samples = 0
	}
}

// refusedSamples notes samples of a request that the receiver refused for good, and logs that once a minute.
func (r *Receiver) refusedSamples(a Answer, samples int, out Outcome, p wire.Protocol) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.outage.note(a)
	r.up()
	r.rejections.add(Rejection{Samples: samples, Reason: string(complaintOf(a)), Error: a.Message})
	if !r.lines.Allow("refused") {
		return
	}
	fields := []zap.Field{zap.Int("status", a.Status), zap.Int("samples", r.rejections.samples), zap.Stringer("protocol", p),
		zap.String("error", a.Message)}
	if out == OtherProtocol && p == wire.V2 {
		fields = append(fields, zap.String("fix", "start the receiving Prometheus with "+
			"--web.remote-write-receiver.accepted-protobuf-messages=io.prometheus.write.v2.Request, "+
			"or leave protobuf_message out, then 1.0 is used"))
	}
	r.log.Error("remote write endpoint refuses samples", fields...)
	r.rejections.samples = 0
}

// hadAlready notes samples that an earlier process delivered: the receiver refuses them because it has them.
func (r *Receiver) hadAlready(samples int, a Answer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.up()
	if r.lines.Allow("delivered") {
		r.log.Info("remote write endpoint has had samples that were kept over the start", zap.Int("samples", samples),
			zap.String("answer", a.Message))
	}
}
