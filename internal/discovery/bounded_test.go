package discovery

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	promconfig "github.com/prometheus/prometheus/config"
	promdiscovery "github.com/prometheus/prometheus/discovery"
	promhttp "github.com/prometheus/prometheus/discovery/http"
)

// TestS13HTTPDiscoveryLimitsTheResponse: a list without end is an error. The next list is read.
func TestS13HTTPDiscoveryLimitsTheResponse(t *testing.T) {
	var sent atomic.Int64
	var endless atomic.Bool
	endless.Store(true)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if !endless.Load() {
			_, _ = w.Write([]byte(`[{"targets": ["a:1"]}]`))
			return
		}
		blank := []byte(strings.Repeat(" ", 64<<10))
		for r.Context().Err() == nil {
			n, err := w.Write(blank)
			sent.Add(int64(n))
			if err != nil {
				return
			}
		}
	}))
	defer srv.Close()
	sd := promhttp.DefaultSDConfig
	sd.URL = srv.URL
	job := promconfig.DefaultScrapeConfig
	job.JobName, job.ServiceDiscoveryConfigs = "http", promdiscovery.Configs{&sd}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second) // Once waits, because an error can be temporary
	defer cancel()
	if _, err := Once(ctx, []*promconfig.ScrapeConfig{&job}); err == nil ||
		!strings.Contains(err.Error(), "longer than 64 MiB") {
		t.Errorf("endless: %v", err)
	}
	if limit := int64(maxListBytes + 16<<20); sent.Load() > limit {
		t.Errorf("%d bytes were sent, want at most %d and what network buffers hold", sent.Load(), maxListBytes)
	}
	endless.Store(false)
	groups, err := Once(t.Context(), []*promconfig.ScrapeConfig{&job})
	if err != nil || len(groups["http"]) != 1 {
		t.Errorf("afterwards: %v, %v", groups, err)
	}
}
