// Package shards changes the number of envoy-scraper instances that share a fleet of targets. The instances are real
// processes. They write to a real Prometheus that accepts only remote write 1.0, and to a recording receiver. The tests
// prove that a target that moves to another instance loses at most one sample, that no sample arrives twice or out of
// order, and that no series is marked stale.
//
// To run it alone:
//
//	cd e2e && go test -count=1 -v ./shards
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

// TestThreeBecomeFiveAndThree changes 3 instances to 5 and back to 3. Targets that move miss one sample each time. No
// sample arrives twice or out of order, no request is refused, and no series is marked stale.
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
	// a wide tolerance: few targets, with different addresses in each run
	if least := targets * 2 / 5; there < least/4 || there > least*7/4 {
		t.Errorf("%d of %d targets moved from 3 instances to 5, want about the minimum of %d", there, targets, least)
	}
	if there != back || w.handedOver != there+back || w.takenOver != there+back {
		t.Errorf("%d targets moved to new instances and %d back, but %d are counted as handed over and "+
			"%d as taken over", there, back, w.handedOver, w.takenOver)
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
	t.Logf("samples missing, by target: %v; answers of Prometheus: %v, of the recorder: %v", gaps, writes,
		w.recorder.Answers())
}

// checkOwners checks which instance scraped each target at which time. It returns how many targets moved at each of the
// two changes.
func (w *world) checkOwners(up, down time.Time) (there, back int) {
	w.Helper()
	for _, target := range w.fleet.Targets {
		scrapes := target.Served()
		var owners []string
		for i, s := range scrapes {
			if i == 0 || s.By != scrapes[i-1].By {
				owners = append(owners, s.By)
			}
			// A page is served at most one timeout after its scrape began. The new owner's first scrape begins at least
			// one interval after the change, the old owner's last one before it.
			if index, err := strconv.Atoi(s.By); err != nil || index >= 3 &&
				(s.At.Before(up.Add(interval)) || s.At.After(down.Add(time.Second))) {
				w.Errorf("%s: instance %q scraped it at %v", target.Address, s.By, s.At)
			}
		}
		switch {
		case len(owners) == 1:
		case len(owners) == 3 && owners[0] == owners[2] && owners[1] >= "3":
			there, back = there+1, back+1
		default:
			w.Errorf("%s: scraped by the instances %v in turn", target.Address, owners)
			there++
		}
	}
	return there, back
}

// checkSamples checks that at most one sample per move is missing and that no series was marked stale. It returns the
// number of targets by their number of missing samples.
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
		w.Errorf("%d staleness markers, such as %s", markers, example)
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
				w.Errorf("%s: a gap of %v from %v on, want at most one missing sample", key, gap,
					time.UnixMilli(times[i-1]))
			}
			missing += n
		}
		gaps[missing]++
		if missing > moves[key] && w.skipped == 0 {
			w.Errorf("%s: %d samples are missing, but it moved %d times", key, missing, moves[key])
		}
	}
	if len(gaps) == 0 {
		w.Error("no target has a sample")
	}
	return gaps
}

func upOf(address string) string {
	return oracle.Labels{{Name: "__name__", Value: "up"}, {Name: "instance", Value: address},
		{Name: "job", Value: "mesh"}}.String()
}

// checkPrometheus checks that Prometheus refused no request and has the same samples as the recorder.
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
	for _, samples := range w.recorder.Ledger.Samples(
		func(l oracle.Labels) bool { return l.Get("__name__") == oracle.Metric }) {
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
