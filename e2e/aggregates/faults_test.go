package aggregates

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/envoy-scraper/envoy-scraper/e2e/parts"
	"github.com/envoy-scraper/envoy-scraper/e2e/process"
	"github.com/envoy-scraper/envoy-scraper/e2e/receiver"
)

// way is a way to have rates of workloads.
type way struct {
	name   string // in the table
	prefix string // of the names of metrics
	store  *store
}

// faultWindow is the window of the queries: five minutes of a job that scrapes every 15 s.
const faultWindow = 5 * time.Minute / scale

// TestFaults counts what each way loses and invents while a tenth of the scrapes fail, each pod restarts, and half of
// the pods are replaced by others. It prints the table of docs/performance.md.
func TestFaults(t *testing.T) {
	if testing.Short() {
		t.Skip("real parts are not for -short")
	}
	w := newWorld(t)
	truth := w.scrapeTruth()
	raw := w.scrape("raw", w.pages(), "", receiver.Config{YAML: w.recordingRules()})
	sums := way{name: "envoy-scraper's sums", store: w.scrape("sums", w.pages(), sumsBlock(), receiver.Config{})}
	ways := []way{
		{name: "series of each pod", store: raw},
		{name: "Istio's recording rules", store: raw, prefix: "workload:"},
		{name: "vmagent, interval of one scrape", store: w.vmagent("vmagent-1", interval)},
		{name: "vmagent, interval of four scrapes", store: w.vmagent("vmagent-4", 4*interval)},
		sums,
	}
	w.sleep(faultWindow + 5*interval)
	begin := time.Now()
	w.failing.Store(true)
	w.restartAll(5 * interval / 2)
	w.failing.Store(false)
	end := time.Now()
	w.sleep(6 * interval)
	truth.arrived(end, "istio_requests_total")
	for _, way := range ways {
		way.store.arrived(end, way.prefix+"istio_requests_total")
	}
	at := moments(begin.Add(2*interval), end.Add(2*interval))

	rows := [][]string{{"way", "lost", "invented", "lowest window", "highest window", "p99 off by at most"}}
	for _, way := range ways {
		f := way.faults(truth, at)
		rows = append(rows, []string{way.name, percent(f.lost), percent(f.invented), fmt.Sprintf("%.2f", f.lowest),
			fmt.Sprintf("%.2f", f.highest), percent(f.quantile)})
	}
	t.Logf("%d pods of %d workloads, a scrape every %v, %v with faults, windows of %v:\n%s", len(w.pods),
		len(w.pods)/replicas, interval, end.Sub(begin).Round(time.Second), faultWindow, table(rows))

	f := sums.faults(truth, at)
	// What the last scrape that failed would have counted comes with the next one, one interval later.
	high := 1.01 + float64(2*interval+w.late())/float64(faultWindow)
	low := 0.99 - float64(w.lostByRestarts()+2*interval)/float64(faultWindow)
	if f.lowest < low || f.highest > high {
		t.Errorf("windows of sums have %.3f to %.3f of the truth, want %.3f to %.3f", f.lowest, f.highest, low, high)
	}
	if f.invented > 0.02 || f.lost > 0.05 {
		t.Errorf("sums lose %s of the requests and invent %s", percent(f.lost), percent(f.invented))
	}
}

func percent(share float64) string { return fmt.Sprintf("%.1f %%", 100*share) }

// table formats rows for a document. The first one is the heading.
func table(rows [][]string) string {
	var b strings.Builder
	for i, row := range rows {
		b.WriteString("| " + strings.Join(row, " | ") + " |\n")
		if i == 0 {
			b.WriteString("|" + strings.Repeat("---|", len(row)) + "\n")
		}
	}
	return b.String()
}

// found says how far a way is from the truth.
type found struct {
	lost, invented  float64 // shares of all requests
	lowest, highest float64 // share of the truth in the window that is the farthest from it
	quantile        float64 // how far the 99th percentile of the latency is from the truth at most, as a share of it
}

// faults compares the requests that each workload received in windows. Lost and invented are of windows that follow
// each other without a gap, so what comes one scrape later is counted in a later window.
func (w way) faults(truth *store, at span) (f found) {
	const requests = `sum by (destination_workload) (increase(%sistio_requests_total{reporter="destination"}[%v]))`
	const latency = `histogram_quantile(0.99, sum by (le, destination_workload) (` +
		`rate(%sistio_request_duration_milliseconds_bucket{reporter="destination"}[%v])))`
	want := truth.mustQuery(fmt.Sprintf(requests, "", faultWindow), at)
	got := w.store.mustQuery(fmt.Sprintf(requests, w.prefix, faultWindow), at)
	f.lowest, f.highest = shares(got, want, fewRequests)
	f.lost, f.invented = differences(got, want, int(faultWindow/step))
	slow, slowTruth := w.store.mustQuery(fmt.Sprintf(latency, w.prefix, faultWindow), at),
		truth.mustQuery(fmt.Sprintf(latency, "", faultWindow), at)
	for workload, line := range slowTruth {
		for i, t := range line {
			g := math.NaN()
			if slow[workload] != nil {
				g = slow[workload][i]
			}
			if d := apart(g, t); !math.IsInf(d, 1) {
				f.quantile = max(f.quantile, d)
			}
		}
	}
	return f
}

// differences adds up by how much got is below want, and above it, at every n-th moment. Both are shares of want.
func differences(got, want figures, n int) (below, above float64) {
	var all float64
	for labels, line := range want {
		for i := n - 1; i < len(line); i += n {
			g := 0.0
			if got[labels] != nil && !math.IsNaN(got[labels][i]) {
				g = got[labels][i]
			}
			all += line[i]
			below += max(0, line[i]-g)
			above += max(0, g-line[i])
		}
	}
	return below / all, above / all
}

func TestDifferences(t *testing.T) {
	want := figures{"a": {9, 100, 9, 100}, "b": {9, 100, 9, 100}}
	got := figures{"a": {0, 90, 0, math.NaN()}, "b": {50, 120, 50, 100}}
	if below, above := differences(got, want, 2); below != 110.0/400 || above != 20.0/400 {
		t.Errorf("below %v, above %v; want 0.275, 0.05", below, above)
	}
}

// recordingRules returns the configuration of a Prometheus with the rules that Istio recommends for production: the
// labels of pods are removed from the counters, whose rates are asked for later.
func (w *world) recordingRules() string {
	w.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "groups:\n- name: workload\n  interval: %v\n  rules:\n", interval)
	for _, name := range []string{"istio_requests_total", "istio_request_duration_milliseconds_bucket"} {
		fmt.Fprintf(&b, "  - record: workload:%[1]s\n    expr: sum without (instance, namespace, pod_name) (%[1]s)\n",
			name)
	}
	file := filepath.Join(w.TempDir(), "rules.yml")
	if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
		w.Fatal(err)
	}
	return fmt.Sprintf("rule_files: [%q]\n", file)
}

// vmagent starts a vmagent with a Prometheus of its own. It sums counters in its default settings (output total), under
// the names that they have. every is the interval of its sums. It has one queue: with several a Prometheus refuses
// requests whose samples are out of order, which has nothing to do with sums.
func (w *world) vmagent(name string, every time.Duration) *store {
	w.Helper()
	s := w.store(name, receiver.Config{})
	files := map[string]string{
		"scrape.yml": scrapeConfig(w.pages()),
		"sums.yml": fmt.Sprintf(`- match: '{__name__=~"istio_.*", __name__!="istio_build"}'
  interval: %v
  without: [%s]
  outputs: [total]
  keep_metric_names: true
`, every, strings.Join(podLabels, ", ")),
	}
	for file, text := range files {
		if err := os.WriteFile(filepath.Join(s.dir, file), []byte(text), 0o600); err != nil {
			w.Fatal(err)
		}
	}
	ports, err := process.FreePorts(1)
	if err != nil {
		w.Fatal(err)
	}
	parts.Run(w.T, process.Spec{
		Name: name, Path: filepath.Join(parts.Script(w.T, "bench/peers/build.sh", "vmagent"), "vmagent"),
		LogFile: filepath.Join(s.dir, "vmagent.log"),
		Args: []string{
			"-promscrape.config=" + filepath.Join(s.dir, "scrape.yml"), "-remoteWrite.url=" + s.WriteURL(),
			"-remoteWrite.streamAggr.config=" + filepath.Join(s.dir, "sums.yml"),
			"-remoteWrite.tmpDataPath=" + filepath.Join(s.dir, "queue"), "-promscrape.fileSDCheckInterval=1s",
			"-remoteWrite.queues=1",
			fmt.Sprintf("-httpListenAddr=127.0.0.1:%d", ports[0]),
		},
	})
	return s
}
