package main

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/aggregate"
	"github.com/envoy-scraper/envoy-scraper/internal/config"
	"github.com/envoy-scraper/envoy-scraper/internal/discovery"
	"github.com/envoy-scraper/envoy-scraper/internal/queue"
	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite"
	"github.com/envoy-scraper/envoy-scraper/internal/scrape"
	"github.com/envoy-scraper/envoy-scraper/internal/series"
	"github.com/envoy-scraper/envoy-scraper/internal/via"
)

// TestOwnMetrics compares the names, labels and help of all metrics with a golden file, because renaming a metric
// breaks alerts.
func TestOwnMetrics(t *testing.T) {
	reg := prometheus.NewRegistry()
	table := series.NewTable()
	store, err := queue.OpenStore(t.TempDir(), queue.OS())
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close() //nolint:errcheck // only its metrics matter
	writers := remotewrite.New(table, store, zap.NewNop(), reg)
	aggregate.New(table, writers, zap.NewNop(), reg)
	scrape.New(table, writers, scrape.Options{}, zap.NewNop(), reg)
	newReloader(config.Options{}, nil, zap.NewNop(), zap.NewAtomicLevel(), reg)
	via.New(via.Direct, via.DefaultLimits(), reg)
	if _, err := discovery.New(zap.NewNop(), reg); err != nil {
		t.Fatal(err)
	}
	descs := make(chan *prometheus.Desc, 1000)
	reg.Describe(descs)
	close(descs)
	parts := regexp.MustCompile(`fqName: "([^"]+)", help: "([^"]*)".*variableLabels: \{([^}]*)\}`)
	var lines []string
	for d := range descs {
		m := parts.FindStringSubmatch(d.String())
		if m == nil {
			t.Fatalf("cannot read %s", d)
		}
		if strings.HasPrefix(m[1], "envoy_scraper_") {
			lines = append(lines, m[1]+"{"+m[3]+"}: "+m[2])
		}
	}
	slices.Sort(lines)
	got := strings.Join(lines, "\n") + "\n"
	const golden = "testdata/metrics.golden"
	if os.Getenv("GOLDEN") != "" {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("own metrics changed (make golden rewrites the file; add the change to CHANGELOG.md and "+
			"docs/metrics.md). Now:\n%s", got)
	}
}
