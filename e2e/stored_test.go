package e2e

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/common/model"

	"github.com/envoy-scraper/envoy-scraper/e2e/parts"
)

// address returns the instance label of a pod's target.
func address(ip string) string { return net.JoinHostPort(ip, "15090") }

// up returns the current value of up for each target of the pasted job, by pod.
func (w *world) up(t *testing.T, s *scraper) (map[string]float64, error) {
	vector, err := s.receiver.Query(t.Context(), `up{job="envoy-stats",run=""}`)
	if err != nil {
		return nil, err
	}
	up := map[string]float64{}
	for _, sample := range vector {
		up[string(sample.Metric["pod_name"])] = float64(sample.Value)
	}
	return up, nil
}

// waitForTargets waits until exactly these targets exist, with these values of up.
func (w *world) waitForTargets(t *testing.T, s *scraper, within time.Duration, want map[string]float64) {
	t.Helper()
	parts.Eventually(t, within, fmt.Sprintf("%s: the targets are right", s.name), func() error {
		got, err := w.up(t, s)
		if err != nil {
			return err
		}
		if !maps.Equal(got, want) {
			return fmt.Errorf("up is %v, want %v", got, want)
		}
		return nil
	})
}

// waitForScrapes waits until the scraper has read the page of the pod n more times.
func (w *world) waitForScrapes(t *testing.T, s *scraper, pod string, n int) {
	t.Helper()
	before, _ := w.pages[pod].scrapes(s.header)
	within := time.Duration(n)*interval + 20*time.Second
	parts.Eventually(t, within, fmt.Sprintf("%s: %d more scrapes of %s", s.name, n, pod), func() error {
		if now, _ := w.pages[pod].scrapes(s.header); now < before+n {
			return fmt.Errorf("%d scrapes since", now-before)
		}
		return nil
	})
}

// waitUntilStale waits until an instant query returns no series of the pod. Within Prometheus' lookback of five
// minutes, only staleness markers cause that.
func (w *world) waitUntilStale(t *testing.T, s *scraper, pod string) {
	t.Helper()
	selector := fmt.Sprintf(`{pod_name=%q,run=""}`, pod)
	parts.Eventually(t, 40*time.Second, fmt.Sprintf("%s: the series of %s are stale", s.name, pod), func() error {
		vector, err := s.receiver.Query(t.Context(), selector)
		if err == nil && len(vector) > 0 {
			err = fmt.Errorf("%d series, as %v", len(vector), vector[0])
		}
		return err
	})
}

// samples returns the stored samples of a pod's series. The metric must have exactly one series per pod.
func (w *world) samples(t *testing.T, s *scraper, metric, pod string) []model.SamplePair {
	t.Helper()
	matrix, err := s.receiver.Samples(t.Context(), fmt.Sprintf(`%s{pod_name=%q,run=""}[1h]`, metric, pod))
	if err != nil {
		t.Fatal(err)
	}
	if len(matrix) != 1 {
		t.Fatalf("%s: %d series %s of pod %s, want one: %v", s.name, len(matrix), metric, pod, matrix)
	}
	return matrix[0].Values
}

// checkValues checks that the stored samples of the pod are exactly the values that this scraper got: one sample per
// scrape. The last scrape may still be in flight.
func (w *world) checkValues(t *testing.T, s *scraper, pod string) {
	t.Helper()
	p := w.pages[pod]
	shown, _ := p.scrapes(s.header)
	requests := w.samples(t, s, "istio_requests_total", pod)
	for i, sample := range requests {
		if want := float64(p.base + i + 1); float64(sample.Value) != want {
			t.Errorf("%s: sample %d of istio_requests_total of %s is %v, the page had %v", s.name, i, pod, sample.Value,
				want)
			return
		}
	}
	if len(requests) > shown {
		t.Errorf("%s: %d samples of %s, but its page was scraped %d times", s.name, len(requests), pod, shown)
	}
	w.checkHistogram(t, s, pod, requests)
}

// checkHistogram checks that the histogram's count and sum are stored with the same timestamps as the counter and with
// values of the same scrape.
func (w *world) checkHistogram(t *testing.T, s *scraper, pod string, requests []model.SamplePair) {
	t.Helper()
	base := float64(w.pages[pod].base)
	count := w.samples(t, s, "istio_request_duration_milliseconds_count", pod)
	sum := w.samples(t, s, "istio_request_duration_milliseconds_sum", pod)
	for i := range min(len(requests), len(count), len(sum)) {
		n := float64(requests[i].Value) - base
		var wantSum float64
		if _, err := fmt.Sscan(fmt.Sprintf("%v.1", n), &wantSum); err != nil {
			t.Fatal(err)
		}
		if count[i].Timestamp != requests[i].Timestamp || float64(count[i].Value) != n ||
			float64(sum[i].Value) != wantSum {
			t.Errorf("%s: scrape %v of %s at %v is stored as count %v at %v, sum %v; want sum %v", s.name, n, pod,
				requests[i].Timestamp, count[i].Value, count[i].Timestamp, sum[i].Value, wantSum)
			return
		}
	}
}

// checkPace checks that no scrape of the pod is missing: the stored samples of up are one interval apart.
func (w *world) checkPace(t *testing.T, s *scraper, pod string) {
	t.Helper()
	up := w.samples(t, s, "up", pod)
	for i := 1; i < len(up); i++ {
		if gap := up[i].Timestamp.Sub(up[i-1].Timestamp); gap > interval*3/2 || gap < interval/2 {
			t.Errorf("%s: %v between two samples of up of %s, at %v; want %v", s.name, gap, pod, up[i].Timestamp.Time(),
				interval)
		}
		if up[i].Value != 1 {
			t.Errorf("%s: up of %s is %v at %v", s.name, pod, up[i].Value, up[i].Timestamp.Time())
		}
	}
}

// labelNames returns the sorted label names of a series.
func labelNames(m model.Metric) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, string(name))
	}
	slices.Sort(names)
	return names
}
