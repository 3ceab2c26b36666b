package deliver

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/envoy-scraper/envoy-scraper/internal/queue"
	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/wire"
)

func TestBadSeriesAreBounded(t *testing.T) {
	var all []labels.Labels
	for i := range 3 * maxBadSeries {
		all = append(all, labels.FromStrings("__name__", fmt.Sprint("metric_", i)))
	}
	m := messageWith(t, all)
	c, err := wire.Parse(m)
	if err != nil {
		t.Fatal(err)
	}
	var o badSeries
	o.add(&c, false)
	parts, err := o.divide(m)
	if err != nil || len(parts) != 2 || parts[0].Samples != 2*maxBadSeries || parts[1].Samples != maxBadSeries {
		t.Fatalf("parts = %d, %v", len(parts), err)
	}
	if parts[0].group != unsuspected || parts[1].group != suspected {
		t.Errorf("groups = %d, %d", parts[0].group, parts[1].group)
	}
	o.arrived(m)
	if len(o.known) != 0 {
		t.Errorf("known = %d, want none after all arrived", len(o.known))
	}
}

// TestBadSeriesThatAreGoneAreForgotten: a series is rejected, and then no message has it any more. As long as it is
// known, messages are taken apart, so they are not made as 1.0 at once.
func TestBadSeriesThatAreGoneAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &storage{t: t, newest: map[string]point{}, arrived: map[string][]point{}}
		badMetrics("metric_7")(s)
		r := newTestReceiver(s.Post, wire.V1)
		lane, sum := &drawnGroups{}, fates{dropped: map[Reason]int{}}
		sender := r.NewSender(anyRandom(), lane, sum.add)
		send := func(series int) {
			t.Helper()
			at := time.Now().UnixMilli()
			lane.groups = [][]queue.Request{{scrapeOf(t, 1, series, at, layoutOf(t, 1, series), false)}}
			sender.Run(t.Context(), nil)
		}
		send(8)
		s.bad = nil
		time.Sleep(badSeriesTime / 2)
		send(8)
		time.Sleep(max(badSeriesTime, rejectionTime) - badSeriesTime/2)
		if n := len(sender.badSeries.known); n != 1 || r.RejectsAs10() {
			t.Fatalf("%d bad series, rejecting: %t; want one that recovers", n, r.RejectsAs10())
		}
		if sender.limits().asV1 {
			t.Error("messages are made as 1.0 at once while a series is bad")
		}
		time.Sleep(2 * badSeriesTime)
		send(7)
		if n := len(sender.badSeries.known); n != 0 {
			t.Errorf("%d bad series, want none after twice badSeriesTime without them", n)
		}
		if !sender.limits().asV1 {
			t.Error("messages are not made as 1.0 at once when no series is bad any more")
		}
	})
}
