package compliance

import (
	"fmt"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"

	"github.com/envoy-scraper/envoy-scraper/e2e/chaos/oracle"
)

// oneAtATime checks that a series is never in two requests at once and that its samples arrive in order, however slow
// the receiver is.
func oneAtATime(t *testing.T, binary string) {
	bothMessages(t, func(t *testing.T, message string) {
		w := newWorld(t, func(number int) (string, string) {
			var page strings.Builder
			for i := range 200 {
				fmt.Fprintf(&page, "a{i=\"%d\"} %d\n", i, number)
				if i%10 == 0 { // a series without a label of its target goes to a lane by the hash of its labels
					fmt.Fprintf(&page, "own{i=\"%d\",job=\"other\"} %d\n", i, number)
				}
			}
			return text, page.String()
		})
		var overlap inFlight
		w.answer(oracle.Judged(overlap.judge))
		w.start(binary, settings{protocol: message, job: "  honor_labels: true\n",
			queue: "    max_samples_per_send: 50\n    min_shards: 8\n"})
		w.scrapes(4)
		w.requests(20)
		overlap.mu.Lock()
		defer overlap.mu.Unlock()
		if overlap.problem != "" || overlap.most < 2 {
			t.Errorf("%s; at most %d concurrent requests", overlap.problem, overlap.most)
		}
	})
}

// inFlight records which series are in requests that have no answer yet.
type inFlight struct {
	mu      sync.Mutex // guards the fields below
	series  map[string]bool
	newest  map[string]int64
	running int
	most    int // highest number of concurrent requests
	problem string
}

func (f *inFlight) judge(_ oracle.Message, samples []oracle.Sample) int {
	f.enter(samples)
	timer := time.NewTimer(300 * time.Millisecond)
	defer timer.Stop()
	<-timer.C
	f.mu.Lock()
	defer f.mu.Unlock()
	f.running--
	for _, s := range samples {
		delete(f.series, s.Labels.String())
	}
	return http.StatusNoContent
}

func (f *inFlight) enter(samples []oracle.Sample) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.series == nil {
		f.series, f.newest = map[string]bool{}, map[string]int64{}
	}
	f.running++
	f.most = max(f.most, f.running)
	for _, s := range samples {
		if key := s.Labels.String(); f.series[key] {
			f.problem = "in two requests at once: " + key
		}
	}
	for _, s := range samples {
		key := s.Labels.String()
		if s.Time <= f.newest[key] {
			f.problem = fmt.Sprintf("%s: timestamp %d arrived after %d", key, s.Time, f.newest[key])
		}
		f.series[key], f.newest[key] = true, s.Time
	}
}

// stalenessMarkers checks for staleness markers when a series leaves its page, a page fails, and a target leaves
// discovery.
func stalenessMarkers(t *testing.T, binary string) {
	bothMessages(t, func(t *testing.T, message string) {
		w := newWorld(t, fixed(text, gauges))
		file := filepath.Join(t.TempDir(), "targets.json")
		writeTargets := func(list string) {
			if err := os.WriteFile(file, []byte(list), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		writeTargets(fmt.Sprintf(`[{"targets": [%q]}]`, w.page.address))
		w.start(binary, settings{protocol: message,
			discovery: fmt.Sprintf("  file_sd_configs:\n  - files: [%q]\n    refresh_interval: 1s\n", file)})
		last := func(name string) func() bool {
			return func() bool { return w.endsStale(name) }
		}
		arrived := func() bool { return len(w.series("b")) > 0 && len(w.series("a")) == 2 }
		w.until("the page", arrived)
		w.page.change(fixed(text, strings.SplitAfter(gauges, "# TYPE b")[0][:strings.Index(gauges, "# TYPE b")]))
		w.until("a staleness marker of the series that left the page", last("b"))
		if w.endsStale("a") {
			t.Error("a series that stayed on the page was marked stale")
		}
		w.page.change(fixed("", ""))
		w.until("staleness markers of the page that fails", last("a"))
		if w.endsStale("up") {
			t.Error("up was marked stale, but the target still exists")
		}
		writeTargets(`[]`)
		w.until("staleness markers of the removed target", last("up"))
	})
}

func (w *world) series(name string) map[string]map[int64]float64 {
	return w.receiver.Ledger.Samples(func(l oracle.Labels) bool { return l.Get("__name__") == name })
}

// endsStale reports whether the newest sample of every series with that name is a staleness marker, bit for bit.
func (w *world) endsStale(name string) bool {
	series := w.series(name)
	for _, samples := range series {
		var newest int64
		for at := range samples {
			newest = max(newest, at)
		}
		if math.Float64bits(samples[newest]) != value.StaleNaN {
			return false
		}
	}
	return len(series) > 0
}

// exemplarTimes checks that every exemplar has a value and a timestamp, even if the page gave it no timestamp.
func exemplarTimes(t *testing.T, binary string) {
	const openMetrics = "application/openmetrics-text; version=1.0.0; charset=utf-8"
	w := newWorld(t, func(number int) (string, string) {
		return openMetrics, fmt.Sprintf("# TYPE c counter\nc_total %d # {trace_id=\"t%d\"} 0.5\n"+
			"d_total %d # {trace_id=\"u%d\"} 0.25 %d\n# EOF\n", number, number, number, number, time.Now().Unix())
	})
	w.start(binary, settings{protocol: message2, remoteWrite: "  send_exemplars: true\n"})
	w.scrapes(4)
	w.requests(2)
	seen := map[string]bool{}
	for _, r := range w.receiver.Requests() {
		for _, ts := range r.Message.V2.Timeseries {
			for _, e := range ts.Exemplars {
				if e.Timestamp == 0 || e.Value == 0 || len(e.LabelsRefs) != 2 {
					t.Errorf("exemplar %v", e)
				}
				seen[fmt.Sprint(e.Value)] = true
			}
		}
	}
	if !seen["0.5"] || !seen["0.25"] {
		t.Errorf("exemplars with the values %v were seen, want 0.5 and 0.25", seen)
	}
}

// histogramsApart checks that no series has both native histograms and float samples.
func histogramsApart(t *testing.T, binary string) {
	bothMessages(t, func(t *testing.T, message string) {
		w := newWorld(t, nativeHistogram(t))
		w.start(binary, settings{protocol: message, remoteWrite: "  send_native_histograms: true\n",
			job: "  scrape_native_histograms: true\n  scrape_protocols: [PrometheusProto]\n"})
		histograms, floats := 0, 0
		count := func(h int, f int) {
			histograms += min(h, 1)
			floats += min(f, 1)
		}
		for _, r := range w.requests(4) {
			for _, problem := range wellFormed(r.Message) {
				t.Error(problem)
			}
			for _, ts := range timeseries1(r.Message.V1) {
				count(len(ts.Histograms), len(ts.Samples))
			}
			for _, ts := range timeseries2(r.Message.V2) {
				count(len(ts.Histograms), len(ts.Samples))
			}
		}
		if histograms == 0 || floats == 0 {
			t.Errorf("%d series with histograms and %d with floats, want some of each", histograms, floats)
		}
	})
}

func timeseries1(m *prompb.WriteRequest) []prompb.TimeSeries {
	if m == nil {
		return nil
	}
	return m.Timeseries
}

func timeseries2(m *writev2.Request) []writev2.TimeSeries {
	if m == nil {
		return nil
	}
	return m.Timeseries
}
