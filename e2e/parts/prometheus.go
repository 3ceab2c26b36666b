package parts

import (
	"testing"

	"github.com/envoy-scraper/envoy-scraper/e2e/receiver"
)

// Prometheus starts a real Prometheus that receives, until the test ends. Without Bin and Dir in cfg it builds the
// program, or finds it in the cache, and takes a new folder. If the test failed, it logs the program's log.
func Prometheus(t *testing.T, cfg receiver.Config) *receiver.Receiver {
	t.Helper()
	if cfg.Bin == "" {
		cfg.Bin = Tools(t, "prometheus")
	}
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	r, err := receiver.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.Close()
		if t.Failed() {
			t.Logf("log of Prometheus:\n%s", r.Log())
		}
	})
	return r
}
