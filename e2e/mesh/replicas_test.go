package mesh

import (
	"bytes"
	"math"
	"strings"
	"testing"
	"time"
)

// TestReplicasShareTheirSeries checks that the pods of a workload differ in their names, and not in their series.
func TestReplicasShareTheirSeries(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Replicas, cfg.RequestsPerSecond = 3, 200
	m := New(cfg)
	sidecars := m.Sidecars()
	if want := 3 * len(New(DefaultConfig()).Sidecars()); len(sidecars) != want {
		t.Fatalf("%d sidecars, want %d", len(sidecars), want)
	}
	pods := map[string]bool{}
	for i, s := range sidecars {
		pods[s.Pod] = true
		first, own := samples(t, m.AppendPage(nil, i/3*3)), samples(t, m.AppendPage(nil, i))
		for series := range own {
			if _, shared := first[series]; !shared {
				t.Errorf("%s alone has %s", s.Pod, series)
			}
		}
	}
	if len(pods) != len(sidecars) {
		t.Errorf("%d names of %d pods", len(pods), len(sidecars))
	}
}

// TestSteadyMeshGrowsEvenly checks that each second adds the same to each counter.
func TestSteadyMeshGrowsEvenly(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Steady, cfg.Replicas, cfg.RequestsPerSecond = true, 2, 400
	m := New(cfg)
	var pages []map[string]float64
	for range 3 {
		pages = append(pages, samples(t, m.AppendTotals(nil)))
		for range 13 {
			m.Advance(time.Second / 13)
		}
		m.Advance(time.Second - 13*(time.Second/13))
	}
	moving := 0
	for series, first := range pages[0] {
		if !strings.HasPrefix(series, "istio_") {
			continue
		}
		a, b := pages[1][series]-first, pages[2][series]-pages[1][series]
		if math.Abs(a-b) > 1e-6*a {
			t.Errorf("%s grows by %v in a second, and by %v in the next", series, a, b)
		}
		if a > 0 {
			moving++
		}
	}
	if moving < 500 {
		t.Errorf("%d series grow, want 500 at least", moving)
	}
}

// TestRestartedPodCountsFromZero checks that the totals go on when a process ends, and that its page begins at zero.
func TestRestartedPodCountsFromZero(t *testing.T) {
	m := New(DefaultConfig())
	before := m.AppendTotals(nil)
	pod := m.Sidecars()[1].Pod
	m.Restart(1, "")
	if got := m.Sidecars()[1].Pod; got != pod {
		t.Errorf("a restarted container is in pod %s, want %s", got, pod)
	}
	m.Restart(1, "productpage-v1-7c5b8d9f6b-other")
	if got := m.Sidecars()[1].Pod; got != "productpage-v1-7c5b8d9f6b-other" {
		t.Errorf("the pod's name is %s", got)
	}
	page := m.AppendPage(nil, 1)
	if bytes.Contains(page, []byte("istio_requests_total")) ||
		!bytes.Contains(page, []byte("envoy_server_uptime{} 0\n")) {
		t.Errorf("the page of a new process is\n%s", page)
	}
	old := samples(t, before)
	for series, v := range samples(t, m.AppendTotals(nil)) {
		if strings.HasPrefix(series, "istio_") && !strings.HasPrefix(series, "istio_build") && v != old[series] {
			t.Errorf("%s was %v in total, and is %v after restarts", series, old[series], v)
		}
	}
	m.Advance(time.Minute)
	if page := m.AppendPage(nil, 1); !bytes.Contains(page, []byte("envoy_server_uptime{} 60\n")) ||
		!bytes.Contains(page, []byte("istio_requests_total")) {
		t.Error("the new process neither serves nor grows older")
	}
}
