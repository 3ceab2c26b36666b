package remotewrite

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/prometheus/model/labels"

)

func TestComplaints(t *testing.T) {
	for said, want := range map[string]complaint{
		"out of order sample": outOfOrder,
		"out of order sample for series {__name__=\"rate_limit_exceeded\", label=\"too old\"}": outOfOrder,
		"duplicate sample for timestamp; overrides not allowed: existing 1, new value 2":       duplicate,
		"out of bounds":  tooOldForIt,
		"too old sample": tooOldForIt,
		"invalid metric name or labels, got {a=\"b\"}":                                                                                              badLabels,
		"invalid labels for series, labels {a=\"1\", a=\"2\"}, duplicated label a":                                                                  badLabels,
		"TimeSeries must contain at least one sample or histogram for series {a=\"b\"}":                                                             somethingElse,
		"histogram's sum of bucket counts is larger than its count":                                                                                 somethingElse,
		"the sample has been rejected because its timestamp is out-of-order (err-mimir-sample-out-of-order)":                                        outOfOrder,
		"the sample has been rejected because another sample with the same timestamp, but a different value (err-mimir-sample-duplicate-timestamp)": duplicate,
		"the sample has been rejected because its timestamp is too old (err-mimir-sample-timestamp-too-old)":                                        tooOldForIt,
		"received a series whose number of labels exceeds the limit (actual: 31, limit: 30)":                                                        overLimit,
		"received a series with an invalid label: 'a b'":                                                                                            badLabels,
		"per-user series limit of 150000 exceeded":                                                                                                  overLimit,
		"": somethingElse,
	} {
		if got := complaintOf(answer{status: 400, message: said}); got != want {
			t.Errorf("%q: got %s, want %s", said, got, want)
		}
	}
	if got := complaintOf(answer{status: 413}); got != overLimit {
		t.Errorf("413: got %s, want %s", got, overLimit)
	}
}

func TestRejectionsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r rejections
		for i := range 3 * maxRejections {
			r.add(Rejection{Series: labels.FromStrings("__name__", fmt.Sprint("metric_", i)), Samples: 1, Reason: "other"})
			time.Sleep(time.Second)
		}
		first := r.list[0]
		first.Samples = 2
		r.add(first)
		got := r.newestFirst()
		if len(got) != maxRejections || r.samples != 3*maxRejections+2 {
			t.Errorf("kept %d, counted %d", len(got), r.samples)
		}
		if x := got[0]; !labels.Equal(x.Series, first.Series) || x.Samples != 3 || !x.First.Equal(first.First) || !x.Last.Equal(time.Now()) {
			t.Errorf("rejected again = %+v", x)
		}
	})
}
