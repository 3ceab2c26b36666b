package remotewrite

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// TestMetricNames makes a renamed metric a visible diff: GOLDEN=1 rewrites the file.
func TestMetricNames(t *testing.T) {
	reg := prometheus.NewRegistry()
	w := New(series.NewTable(), nil, zap.NewNop(), reg)
	if err := w.Apply(Config{Endpoints: []EndpointConfig{endpointConfig("a")}}); err != nil {
		t.Fatal(err)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for _, f := range families {
		got.WriteString(f.GetName() + " " + strings.ToLower(f.GetType().String()) + " " + f.GetHelp() + "\n")
	}
	file := filepath.Join("testdata", "metrics.golden")
	if os.Getenv("GOLDEN") != "" {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("metrics are\n%s\nwant\n%s", got.String(), want)
	}
}
