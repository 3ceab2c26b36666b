package scrape

import (
	"strconv"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

// TestRow14SamplesOutOfOrderAreNotShown: a storage would refuse them. So they are not appended and not counted as
// added, and their series get markers if they were live.
func TestRow14SamplesOutOfOrderAreNotShown(t *testing.T) {
	during(t, func(t *testing.T, r *rig) {
		ms := func(at time.Time) string { return strconv.FormatInt(at.UnixMilli(), 10) }
		own := func(name, value string, at time.Time) string { return name + " " + value + " " + ms(at) + "\n" }
		added := func(n int) {
			t.Helper()
			batch := r.sink.got[len(r.sink.got)-1]
			if got := batch.samples[named("scrape_series_added")]; got != strconv.Itoa(n) {
				t.Errorf("%s series added, want %d", got, n)
			}
		}
		begin := time.Now()
		r.pages.set("a:1", own("x", "1", begin)+"y 1\n")
		r.apply(t, job(t, ""))
		r.discover(at("a:1"))
		pass(10 * time.Second)
		want(t, r.values(t, -1), named("x"), "1 @"+ms(begin), named("y"), "1", named("up"), "1")
		added(2)

		r.pages.set("a:1", own("x", "2", begin)+own("y", "2", begin)+"z 1\n")
		pass(10 * time.Second)
		want(t, r.values(t, -1), named("y"), "stale", named("z"), "1", named("up"), "1")
		added(1)

		r.pages.set("a:1", own("x", "3", begin.Add(time.Second))+"z 1\n")
		pass(10 * time.Second)
		want(t, r.values(t, -1), named("x"), "3 @"+ms(begin.Add(time.Second)), named("z"), "1", named("up"), "1")
		added(0)
		dropped := r.Pools.env.metrics.droppedSamples
		if n := testutil.ToFloat64(dropped.WithLabelValues("envoy", "out_of_order")); n != 2 {
			t.Errorf("%v samples out of order, want 2", n)
		}
	})
}
