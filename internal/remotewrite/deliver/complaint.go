package deliver

import (
	"slices"
	"strings"
)

// Complaint is why a receiver refused a sample, by its words. A closed set.
type Complaint string

// The complaints.
const (
	OutOfOrder        Complaint = "out_of_order"
	Duplicate         Complaint = "duplicate"
	TooOldForReceiver Complaint = "too_old"
	BadLabels         Complaint = "invalid_labels"
	OverLimit         Complaint = "limit"
	SomethingElse     Complaint = "other"
)

// Complaints are all of them.
var Complaints = []Complaint{OutOfOrder, Duplicate, TooOldForReceiver, BadLabels, OverLimit, SomethingElse}

// complaintWords are the words of Prometheus, Mimir, Cortex, Thanos and VictoriaMetrics. The first match decides.
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

// complaintOf reads the message of an answer. Prometheus appends the labels of a series in braces: they are skipped.
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

// late reports whether a receiver may refuse a sample so because it has the sample already: it knows a newer sample
// of the series, or another one of that time. A receiver that finds a sample too old has not looked at the series.
func (c Complaint) late() bool { return c == OutOfOrder || c == Duplicate }

// aboutTime reports whether a receiver refuses a sample because of its time, and may take a newer one of its series.
func (c Complaint) aboutTime() bool { return c.late() || c == TooOldForReceiver }
