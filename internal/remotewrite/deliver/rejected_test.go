package deliver

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/prometheus/model/labels"
)

func TestComplaints(t *testing.T) {
	for _, tc := range []struct {
		want Complaint
		said string
	}{
		{OutOfOrder, "out of order sample"},
		{OutOfOrder, "out of order sample for series {__name__=\"rate_limit_exceeded\", label=\"too old\"}"},
		{Duplicate, "duplicate sample for timestamp; overrides not allowed: existing 1, new value 2"},
		{TooOldForReceiver, "out of bounds"},
		{TooOldForReceiver, "too old sample"},
		{BadLabels, "invalid metric name or labels, got {a=\"b\"}"},
		{BadLabels, "invalid labels for series, labels {a=\"1\", a=\"2\"}, duplicated label a"},
		{SomethingElse, "TimeSeries must contain at least one sample or histogram for series {a=\"b\"}"},
		{SomethingElse, "histogram's sum of bucket counts is larger than its count"},
		{OutOfOrder, "the sample has been rejected because its timestamp is out-of-order " +
			"(err-mimir-sample-out-of-order)"},
		{Duplicate, "the sample has been rejected because another sample with the same timestamp, but a " +
			"different value (err-mimir-sample-duplicate-timestamp)"},
		{TooOldForReceiver, "the sample has been rejected because its timestamp is too old " +
			"(err-mimir-sample-timestamp-too-old)"},
		{OverLimit, "received a series whose number of labels exceeds the limit (actual: 31, limit: 30)"},
		{BadLabels, "received a series with an invalid label: 'a b'"},
		{OverLimit, "per-user series limit of 150000 exceeded"},
		{SomethingElse, ""},
	} {
		if got := complaintOf(Answer{Status: 400, Message: tc.said}); got != tc.want {
			t.Errorf("%q: got %s, want %s", tc.said, got, tc.want)
		}
	}
	if got := complaintOf(Answer{Status: 413}); got != OverLimit {
		t.Errorf("413: got %s, want %s", got, OverLimit)
	}
}

func TestRejectionsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r rejections
		for i := range 3 * maxRejections {
			r.add(Rejection{Series: labels.FromStrings("__name__", fmt.Sprint("metric_", i)), Samples: 1,
				Reason: "other"})
			time.Sleep(time.Second)
		}
		first := r.list[0]
		first.Samples = 2
		r.add(first)
		got := r.newestFirst()
		if len(got) != maxRejections || r.samples != 3*maxRejections+2 {
			t.Errorf("kept %d, counted %d", len(got), r.samples)
		}
		if x := got[0]; !labels.Equal(x.Series, first.Series) || x.Samples != 3 || !x.First.Equal(first.First) ||
			!x.Last.Equal(time.Now()) {
			t.Errorf("rejected again = %+v", x)
		}
	})
}
