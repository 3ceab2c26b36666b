package e2e

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/envoy-scraper/envoy-scraper/e2e/parts"
)

// testEnvoy compares the stored samples of the real Envoy with its page.
func (w *world) testEnvoy(t *testing.T) {
	if w.envoy == nil {
		t.Skip("NO REAL ENVOY: see above")
	}
	for range 50 {
		if err := w.envoy.Request(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	// Compare the series of the proxied application. They no longer change once Envoy has merged its histograms.
	const label = `cluster_name="app"`
	for _, s := range w.scrapers {
		parts.Eventually(t, time.Minute, s.name+": the real Envoy's page is stored", func() error {
			text, err := w.envoy.Page(t.Context())
			if err != nil {
				return err
			}
			shown := rows(text, label)
			if len(shown) < 100 {
				return fmt.Errorf("the page has only %d rows with %s", len(shown), label)
			}
			return w.compareEnvoy(t, s, shown)
		})
	}
}

var rowLabel = regexp.MustCompile(`(\w+)="([^"]*)"`)

// rows returns the values of the page's series whose labels contain label, by seriesKey.
func rows(text, label string) map[string]float64 {
	rows := map[string]float64{}
	for line := range strings.Lines(text) {
		series, value, _ := strings.Cut(strings.TrimSpace(line), "} ")
		name, labels, ok := strings.Cut(series, "{")
		v, err := strconv.ParseFloat(value, 64)
		if !ok || err != nil || !strings.Contains(labels, label) {
			continue
		}
		set := map[string]string{}
		for _, match := range rowLabel.FindAllStringSubmatch(labels, -1) {
			set[match[1]] = match[2]
		}
		rows[seriesKey(name, set)] = v
	}
	return rows
}

// seriesKey returns a key for a series. Prometheus stores le="1" as le="1.0", so bounds are compared as numbers.
func seriesKey(name string, labels map[string]string) string {
	var pairs []string
	for name, value := range labels {
		if bound, err := strconv.ParseFloat(value, 64); name == "le" && err == nil {
			value = fmt.Sprint(bound)
		}
		pairs = append(pairs, name+"="+value)
	}
	slices.Sort(pairs)
	return name + "{" + strings.Join(pairs, ",") + "}"
}

// compareEnvoy compares the stored series of the application's proxy with those on its page.
func (w *world) compareEnvoy(t *testing.T, s *scraper, shown map[string]float64) error {
	vector, err := s.receiver.Query(t.Context(), `{cluster_name="app",pod_name="gateway",run=""}`)
	if err != nil {
		return err
	}
	stored := map[string]float64{}
	for _, sample := range vector {
		labels := map[string]string{}
		for name, value := range sample.Metric {
			switch name {
			case "__name__", "job", "instance", "namespace", "pod_name": // labels of the target
			default:
				labels[string(name)] = string(value)
			}
		}
		stored[seriesKey(string(sample.Metric["__name__"]), labels)] = float64(sample.Value)
	}
	if len(stored) != len(shown) {
		return fmt.Errorf("%d series are stored, the page has %d", len(stored), len(shown))
	}
	for series, want := range shown {
		if got, ok := stored[series]; !ok || got != want {
			return fmt.Errorf("%s is stored as %v (found: %v), the page has %v", series, got, ok, want)
		}
	}
	return nil
}
