package aggregates

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/envoy-scraper/envoy-scraper/e2e/chaos/agent"
	"github.com/envoy-scraper/envoy-scraper/e2e/mesh"
	"github.com/envoy-scraper/envoy-scraper/e2e/meshtest"
	"github.com/envoy-scraper/envoy-scraper/e2e/parts"
	"github.com/envoy-scraper/envoy-scraper/e2e/receiver"
)

const (
	interval = time.Second // of scrapes, and of ticks
	scale    = 15          // a window of 4 s here has as many samples as one of 60 s in a job that scrapes every 15 s
	replicas = 3
	pagePath = "/stats/prometheus"
	// seed gives traffic with all kinds of answers, and no median or higher quantile that lies exactly between two
	// buckets with a gap between them. Such a quantile jumps with the smallest jitter.
	seed = 3
)

// world is a simulated mesh whose pods are restarted and replaced, and the agents that scrape it.
type world struct {
	*testing.T
	scraper, tools string
	mesh           *mesh.Mesh
	totals         *httptest.Server
	pods           []*httptest.Server // the page of each sidecar, in the order of the mesh
	list           string             // file with the targets
	failing        atomic.Bool        // a tenth of the scrapes fails
	replaced       int
	lateness       *parts.Lateness
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{T: t, scraper: parts.Scraper(t), tools: parts.Tools(t, "prometheus"),
		list: filepath.Join(t.TempDir(), "pods.json"), lateness: parts.MeasureLateness()}
	w.Cleanup(w.lateness.End)
	w.mesh = mesh.New(mesh.Config{Seed: seed, RequestsPerSecond: 400, Replicas: replicas, Steady: true})
	w.totals = w.serve(http.HandlerFunc(func(answer http.ResponseWriter, _ *http.Request) {
		answer.Header().Set("Content-Type", "text/plain; charset=UTF-8")
		_, _ = answer.Write(w.mesh.AppendTotals(nil))
	}))
	for i := range w.mesh.Sidecars() {
		w.pods = append(w.pods, w.serve(w.sidecar(i)))
	}
	w.Cleanup(func() {
		for _, s := range w.pods {
			s.Close()
		}
	})
	w.writeTargets()
	w.run()
	return w
}

func (w *world) serve(h http.Handler) *httptest.Server {
	s := httptest.NewServer(h)
	w.Cleanup(s.Close)
	return s
}

// sidecar serves the page of a sidecar. While scrapes fail, it breaks the page off, or does not show it at all.
func (w *world) sidecar(i int) http.Handler {
	page := w.mesh.Handler(i)
	return http.HandlerFunc(func(answer http.ResponseWriter, r *http.Request) {
		switch {
		case !w.failing.Load() || !fails(i, time.Now()):
			page.ServeHTTP(answer, r)
		case time.Now().Unix()%2 == 0:
			answer.Header().Set("Content-Type", "text/plain; charset=UTF-8")
			all := w.mesh.AppendPage(nil, i)
			_, _ = answer.Write(all[:len(all)/2])
			_ = http.NewResponseController(answer).Flush()
			panic(http.ErrAbortHandler) // the connection breaks
		default:
			http.Error(answer, "upstream connect error", http.StatusServiceUnavailable)
		}
	})
}

// fails chooses the scrapes that fail: a tenth of the seconds, others for each pod, and the same for all agents.
func fails(pod int, at time.Time) bool {
	h := fnv.New32a()
	fmt.Fprintf(h, "%d in second %d", pod, at.Unix())
	return h.Sum32()%10 == 0
}

// run lets time pass in the mesh until the test ends.
func (w *world) run() {
	ctx, stop := context.WithCancel(context.WithoutCancel(w.Context()))
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for last := time.Now(); ; {
			select {
			case <-ctx.Done():
				return
			case now := <-tick.C:
				w.mesh.Advance(now.Sub(last))
				last = now
			}
		}
	}()
	w.Cleanup(func() {
		stop()
		<-done
	})
}

// writeTargets replaces the file with the targets. A reader sees the old one or the new one.
func (w *world) writeTargets() {
	w.Helper()
	var groups []meshtest.Group
	for i, s := range w.mesh.Sidecars() {
		groups = append(groups, meshtest.NewGroup(w.pods[i].Listener.Addr().String(), s.Namespace, s.Pod))
	}
	content, err := json.Marshal(groups)
	if err == nil {
		err = os.WriteFile(w.list+".new", content, 0o600)
	}
	if err == nil {
		err = os.Rename(w.list+".new", w.list)
	}
	if err != nil {
		w.Fatal(err)
	}
}

// restart ends the process of a sidecar. Every second pod is replaced by another one with another name and address. Of
// the others only the container restarts.
func (w *world) restart(i int) {
	w.Helper()
	if i%2 == 1 {
		w.mesh.Restart(i, "")
		return
	}
	w.replaced++
	pod := w.mesh.Sidecars()[i].Pod
	w.pods[i].CloseClientConnections()
	w.pods[i].Listener.Close()
	w.mesh.Restart(i, fmt.Sprintf("%s-%d", pod, w.replaced))
	w.pods[i] = w.serve(w.sidecar(i))
	w.writeTargets()
}

// restartAll restarts all pods, one after the other. The replicas of a workload follow each other.
func (w *world) restartAll(pause time.Duration) {
	w.Helper()
	for i := range w.pods {
		w.restart(i)
		w.sleep(pause)
	}
}

// late is how much later than its time a scrape may have happened: more where this machine was busy.
func (w *world) late() time.Duration {
	w.lateness.End()
	return interval/2 + w.lateness.Worst
}

// lostByRestarts is what the restarts of all replicas of a workload lose at most: each an interval before the end of
// the old process, of its share of the traffic. The first page of the new process counts from zero.
func (w *world) lostByRestarts() time.Duration { return interval + 2*w.late() }

// sleep waits for real time to pass.
func (w *world) sleep(d time.Duration) {
	w.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-w.Context().Done():
		w.Fatal(w.Context().Err())
	}
}

// leanLabels are the labels that the preset istio-lean leaves out, beside those of pods: no dashboard reads them.
var leanLabels = []string{"source_app", "source_version", "destination_app", "destination_version"}

// sumsBlock is what the configuration of an agent has in addition that sums, without the labels of pods and others.
func sumsBlock(others ...string) string {
	return fmt.Sprintf(`envoy_scraper:
  aggregate:
  - jobs: [envoy-stats]
    match: 'istio_.*'
    without: [%s]
    as: {instance: sums}
`, strings.Join(slices.Concat(podLabels, others), ", "))
}

// scrapeConfig is the job of all agents.
func scrapeConfig(discovery string) string {
	return fmt.Sprintf(`global: {scrape_interval: %[1]s, scrape_timeout: %[1]s}
scrape_configs:
- job_name: envoy-stats
  metrics_path: %[2]s
  %[3]s
`, interval, pagePath, discovery)
}

// pages is the discovery of an agent that scrapes the pods.
func (w *world) pages() string { return fmt.Sprintf("file_sd_configs: [{files: [%q]}]", w.list) }

// scrape starts an envoy-scraper with a Prometheus of its own. more is added to its configuration.
func (w *world) scrape(name, discovery, more string, store receiver.Config) *store {
	w.Helper()
	s := w.store(name, store)
	a := agent.Start(w.T, agent.Config{
		Path: w.scraper, Dir: s.dir, Name: name,
		YAML: scrapeConfig(discovery) + more + fmt.Sprintf(
			"remote_write:\n- url: %q\n  queue_config: {batch_send_deadline: 1s}\n", s.WriteURL()),
		Args: []string{"--storage.path=" + filepath.Join(s.dir, "queue")},
	})
	a.LogIfFailed(w.T)
	if _, err := a.WaitReady(w.Context()); err != nil {
		w.Fatal(err)
	}
	return s
}

// scrapeTruth starts the agent truth.
func (w *world) scrapeTruth() *store {
	w.Helper()
	at := strings.TrimPrefix(w.totals.URL, "http://")
	return w.scrape("truth", fmt.Sprintf("static_configs: [{targets: [%q]}]", at), "", receiver.Config{})
}
