// Package shards changes the number of instances that share a fleet of targets, with real processes that write to a
// real Prometheus of remote write 1.0 only and to a recorder beside it, and counts what that costs.
package shards

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/value"

	"github.com/envoy-scraper/envoy-scraper/e2e/chaos/oracle"
)

// TestThreeBecomeFiveAndThree: 3 instances become 5 and 3 again. Targets that move miss one sample each time; nothing
// comes twice, nothing out of order, no request is refused, and nothing is marked stale.
func TestThreeBecomeFiveAndThree(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.shards = "{count: 3}"
	for index := range 3 {
		w.start(index)
	}
	w.until(time.Now().Add(4 * interval))

	up := soon()
	w.writeShards(fmt.Sprintf("{count: 3}, {count: 5, from: %s}", up.Format(time.RFC3339)))
	w.start(3)
	w.start(4)
	w.until(up.Add(5 * interval))
	w.writeShards("{count: 5}")

	down := soon()
	w.writeShards(fmt.Sprintf("{count: 5}, {count: 3, from: %s}", down.Format(time.RFC3339)))
	w.until(down.Add(3 * interval))
	w.stop(4)
	w.stop(3)
	w.writeShards("{count: 3}")
	w.until(down.Add(5 * interval))
	for index := range 3 {
		w.stop(index)
	}

	there, back := w.checkOwners(up, down)
	if least := targets * 2 / 5; there < least/4 || there > least*7/4 { // they are few, and their addresses others each time
		t.Errorf("%d of %d targets moved from 3 instances to 5, the least possible being about %d", there, targets, least)
	}
	if there != back || w.handedOver != there+back || w.takenOver != there+back {
		t.Errorf("%d targets moved there, %d back, %d were counted as handed over, %d as taken over", there, back, w.handedOver, w.takenOver)
	}
	gaps := w.checkSamples()
	v := oracle.Judge(w.fleet, w.recorder.Ledger, w.ends)
	if v.OutOfOrder+v.Duplicates+v.Invented+v.Ended() > 0 {
		t.Errorf("%v; a sample out of order: %s; lost: %v", v, v.Example, v.Gaps)
	}
	for reason, n := range w.dropped {
		t.Errorf("%v samples counted as %s", n, reason)
	}
	writes := w.checkPrometheus()
	t.Logf("%d of %d targets moved at each change (least: %d); %v", there, targets, targets*2/5, v)
	t.Logf("samples missing, by target: %v; answers of Prometheus: %v, of the recorder: %v", gaps, writes, w.recorder.Answers())
}

// checkOwners checks who scraped each target when, and returns how many targets moved at each of the two instants.
func (w *world) checkOwners(up, down time.Time) (there, back int) {
	w.Helper()
	for _, target := range w.fleet.Targets {
		scrapes := target.Served()
		var owners []string
		for i, s := range scrapes {
			if i == 0 || s.By != scrapes[i-1].By {
				owners = append(owners, s.By)
			}
			// A page is served within a timeout after its scrape began, and a scrape begins before the instant or an interval after.
			if index, err := strconv.Atoi(s.By); err != nil || index >= 3 && (s.At.Before(up.Add(interval)) || s.At.After(down.Add(time.Second))) {
				w.Errorf("%s: instance %q scraped it at %v", target.Address, s.By, s.At)
			}
		}
		switch {
		case len(owners) == 1:
		case len(owners) == 3 && owners[0] == owners[2] && owners[1] >= "3":
			there, back = there+1, back+1
		default:
			w.Errorf("%s: scraped by the instances %v, one after the other", target.Address, owners)
			there++
		}
	}
	return there, back
}

// checkSamples checks that no sample is missing but one for each move, and that nothing was marked stale. It returns
// how many targets miss how many samples.
func (w *world) checkSamples() (gaps map[int]int) {
	w.Helper()
	gaps = map[int]int{}
	markers, example := 0, ""
	for key, samples := range w.recorder.Ledger.Samples(func(oracle.Labels) bool { return true }) {
		for at, v := range samples {
			if value.IsStaleNaN(v) {
				markers, example = markers+1, fmt.Sprint(key, " at ", time.UnixMilli(at))
			}
		}
	}
	if markers > 0 {
		w.Errorf("%d staleness markers, as of %s", markers, example)
	}
	moves := map[string]int{}
	for _, target := range w.fleet.Targets {
		scrapes := target.Served()
		for i := 1; i < len(scrapes); i++ {
			if scrapes[i].By != scrapes[i-1].By {
				moves[upOf(target.Address)]++
			}
		}
	}
	ups := func(l oracle.Labels) bool { return l.Get("__name__") == "up" }
	for key, samples := range w.recorder.Ledger.Samples(ups) {
		times := slices.Sorted(maps.Keys(samples))
		missing := 0
		for i := 1; i < len(times); i++ {
			gap := time.Duration(times[i]-times[i-1]) * time.Millisecond
			n := int(math.Round(float64(gap)/float64(interval))) - 1
			if n > 1 && w.skipped == 0 {
				w.Errorf("%s: %v without a sample from %v on, want one interval at most", key, gap, time.UnixMilli(times[i-1]))
			}
			missing += n
		}
		gaps[missing]++
		if missing > moves[key] && w.skipped == 0 {
			w.Errorf("%s: %d samples are missing, and it moved %d times", key, missing, moves[key])
		}
	}
	if len(gaps) == 0 {
		w.Error("no target has a sample")
	}
	return gaps
}

func upOf(address string) string {
	return oracle.Labels{{Name: "__name__", Value: "up"}, {Name: "instance", Value: address}, {Name: "job", Value: "mesh"}}.String()
}

// checkPrometheus checks that the real receiver refused no request and has what the recorder has.
func (w *world) checkPrometheus() map[string]int {
	w.Helper()
	writes, err := w.real.Writes(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	for code := range writes {
		if code != "204" {
			w.Errorf("answers of Prometheus: %v, want 204 only", writes)
		}
	}
	recorded := 0
	for _, samples := range w.recorder.Ledger.Samples(func(l oracle.Labels) bool { return l.Get("__name__") == oracle.Metric }) {
		recorded += len(samples)
	}
	stored, err := w.real.Query(w.Context(), fmt.Sprintf("sum(count_over_time(%s[10m]))", oracle.Metric))
	if err != nil {
		w.Fatal(err)
	}
	if len(stored) != 1 || int(stored[0].Value) != recorded || recorded == 0 {
		w.Errorf("Prometheus has %v samples of the pages, the recorder %d", stored, recorded)
	}
	return writes
}
