package main

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/agent"
	"github.com/envoy-scraper/envoy-scraper/internal/web"
)

// TestOwnMetrics compares the names, labels and help of all metrics with a golden file, because renaming a metric
// breaks alerts.
func TestOwnMetrics(t *testing.T) {
	reg := prometheus.NewRegistry()
	a, err := agent.Open(agent.Settings{Config: loadText(t, "remote_write: [{url: 'http://127.0.0.1:1/'}]\n"),
		StoragePath: t.TempDir(), Web: web.Config{ListenAddress: "127.0.0.1:0"}}, agent.World{}, zap.NewNop(), reg)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
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
