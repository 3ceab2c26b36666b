// Package e2e tests envoy-scraper as a user installs it, on real parts: etcd, kube-apiserver, Prometheus and Envoy as
// processes, and envoy-scraper as the binary that users run. TestStory applies deploy/manifests, starts scrapers with
// and without a configuration file, and checks the stored samples while pods come, go and reuse addresses and the API
// server fails. TestEnvoysFormats compares the formats of a real Envoy. The packages below test one subject each; each
// package comment says what it proves.
//
// `make e2e` runs everything. To run this package alone:
//
//	cd e2e && go test -count=1 -v .
package e2e

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/envoy-scraper/envoy-scraper/e2e/cluster"
	"github.com/envoy-scraper/envoy-scraper/e2e/parts"
)

// TestStory runs its steps in order. Each step continues with the state that the previous one left.
func TestStory(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped with -short: needs the real parts")
	}
	w := newWorld(t)
	if !t.Run("manifests", w.testManifests) {
		t.Fatal("the manifests are missing, so there is no service account for the other steps")
	}
	w.settle(t)
	w.scrapers = []*scraper{
		w.startWithFile(t, "pasted-v1", w.v1, 1900*time.Millisecond),
		w.startWithFile(t, "pasted-v2", w.both, 1800*time.Millisecond),
	}
	builtIn := w.startBuiltIn(t, "builtin", w.both, "node-a")

	for _, step := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"right targets", w.testTargets},
		{"labels", w.testLabels},
		{"real envoy", w.testEnvoy},
		{"built-in job on one node", func(t *testing.T) { w.testBuiltIn(t, builtIn) }},
		{"deleted pod", w.testDeletedPod},
		{"new pod", w.testNewPod},
		{"reused address", w.testReusedAddress},
		{"kube-apiserver killed", w.testOutage},
		{"stopped", func(t *testing.T) { w.testStop(t, builtIn) }},
		{"every scrape is stored", w.testNothingLost},
		{"protocols", w.testProtocols},
	} {
		if !t.Run(step.name, step.run) && step.name == "right targets" {
			t.Fatal("there are no targets, so the other steps cannot run")
		}
	}
}

// targets returns the targets, with their value of up, that the pasted job makes of the pods of settle. The job ignores
// the phase of a pod, so the finished pod is a target that is down, as in Prometheus.
func (w *world) targets() map[string]float64 {
	want := map[string]float64{"productpage": 1, "details": 1, "reviews": 1, "ratings": 1, "wanderer": 1, "finished": 0}
	if w.envoy != nil {
		want["gateway"] = 1
	}
	return want
}

func (w *world) testTargets(t *testing.T) {
	for _, s := range w.scrapers {
		w.waitForTargets(t, s, time.Minute, w.targets())
	}
}

func (w *world) testLabels(t *testing.T) {
	want := strings.Fields("__name__ connection_security_policy destination_service destination_workload " +
		"destination_workload_namespace instance job namespace pod_name reporter request_protocol response_code " +
		"response_flags source_workload source_workload_namespace")
	instances := map[string]string{"productpage": "127.0.15.1:15090", "reviews": "127.0.15.3:15090",
		"ratings": "[::1]:15090"}
	for _, s := range w.scrapers {
		vector, err := s.receiver.Query(t.Context(), `istio_requests_total{run=""}`)
		if err != nil {
			t.Fatal(err)
		}
		if len(vector) != 5 {
			t.Errorf("%s: %d series istio_requests_total, want 5: %v", s.name, len(vector), vector)
		}
		for _, sample := range vector {
			m := sample.Metric
			if got := labelNames(m); !slices.Equal(got, want) {
				t.Errorf("%s: istio_requests_total has the labels %v, want %v", s.name, got, want)
			}
			pod := string(m["pod_name"])
			if m["namespace"] != namespace || m["job"] != "envoy-stats" {
				t.Errorf("%s: namespace %q, job %q of pod %s", s.name, m["namespace"], m["job"], pod)
			}
			if instance, ok := instances[pod]; ok && string(m["instance"]) != instance {
				t.Errorf("%s: instance of pod %s is %q, want %q", s.name, pod, m["instance"], instance)
			}
		}
	}
}

// testBuiltIn checks the scraper that runs without a configuration file and for one node. It must not scrape pods of
// other nodes or the finished pod.
func (w *world) testBuiltIn(t *testing.T, s *scraper) {
	want := map[string]bool{"productpage": true, "details": true, "wanderer": true}
	if w.envoy != nil {
		want["gateway"] = true
	}
	parts.Eventually(t, 90*time.Second, "the built-in job has the node's targets", func() error {
		vector, err := s.receiver.Query(t.Context(), `up{run="builtin"} == 1`)
		if err != nil {
			return err
		}
		got := map[string]bool{}
		for _, sample := range vector {
			got[string(sample.Metric["pod_name"])] = true
		}
		if !maps.Equal(got, want) {
			return fmt.Errorf("targets up: %v, want %v", got, want)
		}
		return nil
	})
	if vector, err := s.receiver.Query(t.Context(), `up{run="builtin"} == 0`); err != nil || len(vector) > 0 {
		t.Errorf("the built-in job has targets that are down: %v, %v", vector, err)
	}
}

func (w *world) testDeletedPod(t *testing.T) {
	w.delete(t, "details")
	for _, s := range w.scrapers {
		w.waitUntilStale(t, s, "details")
		before, _ := w.pages["details"].scrapes(s.header)
		w.waitForScrapes(t, s, "productpage", 3)
		if after, _ := w.pages["details"].scrapes(s.header); after != before {
			t.Errorf("%s: scraped the page of the deleted pod %d more times", s.name, after-before)
		}
		w.checkValues(t, s, "details") // the old samples are still stored
	}
}

func (w *world) testNewPod(t *testing.T) {
	p := w.newPage(cluster.Pod{Name: "newcomer", IP: "127.0.15.6"})
	p.open(t)
	start := time.Now()
	w.create(t, cluster.Pod{Name: "newcomer", IP: "127.0.15.6", Sidecar: cluster.NativeSidecar})
	// Prometheus' discovery reports changes at most every five seconds.
	within := interval + 5*time.Second
	for _, s := range w.scrapers {
		w.waitForScrapes(t, s, "newcomer", 1)
		if _, first := p.scrapes(s.header); first.Sub(start) > within+3*time.Second {
			t.Errorf("%s: first scraped the new pod's page %v after its creation, want at most %v", s.name,
				first.Sub(start), within)
		}
		parts.Eventually(t, 30*time.Second, s.name+": the new pod is stored", func() error {
			up, err := w.up(t, s)
			if err == nil && up["newcomer"] != 1 {
				err = fmt.Errorf("up is %v", up)
			}
			return err
		})
	}
}

// testReusedAddress deletes a pod and at once gives its address to another pod with the same series. The new page opens
// when the scrapers know the new pod, because before that the two pods cannot be distinguished.
func (w *world) testReusedAddress(t *testing.T) {
	old := w.pages["wanderer"]
	old.close()
	w.delete(t, "wanderer")
	heir := cluster.Pod{Name: "heir", IP: "127.0.15.5", Sidecar: cluster.PlainSidecar}
	w.create(t, heir)
	for _, s := range w.scrapers {
		parts.Eventually(t, 40*time.Second, s.name+": the heir is known", func() error {
			up, err := w.up(t, s)
			if _, ok := up["heir"]; err == nil && !ok {
				err = errors.New("the new pod has no series up")
			}
			return err
		})
	}
	w.newPage(heir).open(t)
	for _, s := range w.scrapers {
		w.waitForScrapes(t, s, "heir", 3)
		w.waitUntilStale(t, s, "wanderer")
		parts.Eventually(t, 30*time.Second, s.name+": the heir is stored", func() error {
			vector, err := s.receiver.Query(t.Context(), `istio_requests_total{pod_name="heir",run=""}`)
			if err == nil && len(vector) != 1 {
				err = fmt.Errorf("%d series", len(vector))
			}
			return err
		})
		w.checkValues(t, s, "heir")
		w.checkValues(t, s, "wanderer")
	}
}

// testOutage kills the API server. Known targets are still scraped. Changes during the outage are seen afterwards,
// within client-go's backoff of up to a minute.
func (w *world) testOutage(t *testing.T) {
	w.cluster.KillServer()
	for _, s := range w.scrapers {
		w.waitForScrapes(t, s, "productpage", 5)
	}
	if err := w.cluster.StartServer(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, s := range w.scrapers {
		w.waitForScrapes(t, s, "productpage", 3)
	}
	w.add(t, cluster.Pod{Name: "latecomer", IP: "127.0.15.7", Sidecar: cluster.PlainSidecar})
	for _, s := range w.scrapers {
		parts.Eventually(t, 2*time.Minute, s.name+": a pod created after the outage is read", func() error {
			if n, _ := w.pages["latecomer"].scrapes(s.header); n == 0 {
				return errors.New("not scraped yet")
			}
			return nil
		})
		for _, pod := range []string{"productpage", "reviews", "ratings"} {
			w.checkPace(t, s, pod)
			w.checkValues(t, s, pod)
		}
	}
}
