package remotewrite

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/wire"
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

func TestOffendersAreBounded(t *testing.T) {
	w := newWorld(t, oneLane(wire.V1, 10_000))
	w.append(w.scrape(w.target("pod-1", 3*maxOffenders), 1))
	var o offenders
	for _, m := range w.messages() {
		c, err := wire.Parse(m)
		if err != nil {
			t.Fatal(err)
		}
		o.add(&c, false)
		parts, err := o.apart(m)
		if err != nil || len(parts) != 2 || parts[0].Samples != 2*maxOffenders || parts[1].Samples != maxOffenders {
			t.Fatalf("parts = %d, %v", len(parts), err)
		}
		if parts[0].group != unsuspected || parts[1].group != suspected {
			t.Errorf("groups = %d, %d", parts[0].group, parts[1].group)
		}
		o.clear(m)
	}
	if len(o.known) != 0 {
		t.Errorf("known = %d, want none after all arrived", len(o.known))
	}
}

func TestFilling(t *testing.T) {
	start := time.Unix(1_700_000_000, 0)
	const limit = 1000
	for name, tc := range map[string]struct {
		bytes []int64 // one a half minute
		want  time.Duration
	}{
		"nothing known":        {[]int64{100}, 0},
		"steady":               {[]int64{100, 100, 100, 100, 100, 100}, 0},
		"shrinks":              {[]int64{500, 400, 300, 200, 100}, 0},
		"grows":                {[]int64{0, 100, 200, 300, 400}, 3 * time.Minute},
		"grew long ago":        {[]int64{0, 500, 500, 500, 500, 500, 500, 500}, 0},
		"full":                 {[]int64{400, 700, 1000, 1000}, 1},
		"over the limit":       {[]int64{400, 700, 1001}, 1},
		"began to grow lately": {[]int64{0, 0, 0, 0, 0, 0, 0, 300}, 210 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			var f filling
			var got time.Duration
			for i, n := range tc.bytes {
				got = f.until(limit, start.Add(time.Duration(i)*30*time.Second), n)
			}
			if got != tc.want {
				t.Errorf("full in %v, want %v", got, tc.want)
			}
		})
	}
	var f filling
	f.until(0, start, 0)
	if got := f.until(0, start.Add(time.Minute), 100); got != 0 {
		t.Errorf("without a limit: %v", got)
	}
}
