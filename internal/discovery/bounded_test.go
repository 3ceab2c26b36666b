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

// TestS13AnswersOfHTTPDiscoveryAreBounded: a list without end is an error, and the next one is read.
func TestS13AnswersOfHTTPDiscoveryAreBounded(t *testing.T) {
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
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second) // an error may pass, so Once waits
	defer cancel()
	if _, err := Once(ctx, []*promconfig.ScrapeConfig{&job}); err == nil ||
		!strings.Contains(err.Error(), "longer than 64 MiB") {
		t.Errorf("endless: %v", err)
	}
	if most := int64(maxListBytes + 16<<20); sent.Load() > most {
		t.Errorf("%d bytes were taken, want at most %d and what is on its way", sent.Load(), maxListBytes)
	}
	endless.Store(false)
	groups, err := Once(t.Context(), []*promconfig.ScrapeConfig{&job})
	if err != nil || len(groups["http"]) != 1 {
		t.Errorf("afterwards: %v, %v", groups, err)
	}
}
