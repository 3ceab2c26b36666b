package scrape

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/discovery"
	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// previewed returns pools with one target, the server's page, which are not running.
func previewed(t *testing.T, h http.HandlerFunc) (*Pools, string) {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	cfg := promconfig.DefaultScrapeConfig
	cfg.JobName, cfg.ScrapeProtocols = "envoy", promconfig.DefaultScrapeProtocols
	cfg.ScrapeInterval, cfg.ScrapeTimeout = model.Duration(1e9), model.Duration(1e9)
	cfg.MetricNameValidationScheme, cfg.MetricNameEscapingScheme = model.UTF8Validation, model.AllowUTF8
	cfg.EnableCompression = true
	cfg.Params = map[string][]string{"token": {"canary-token"}}
	ps := New(series.NewTable(), nil, Options{AllowLoopback: true}, zap.NewNop(), prometheus.NewRegistry())
	if err := ps.Apply([]*promconfig.ScrapeConfig{&cfg}); err != nil {
		t.Fatal(err)
	}
	address := strings.TrimPrefix(s.URL, "http://")
	ps.Update(map[string]discovery.Update{"envoy": {Whole: true, Groups: []discovery.Group{{
		Group: &targetgroup.Group{Source: "pod/shop/cart-0", Targets: []model.LabelSet{
			{model.AddressLabel: model.LabelValue(address)}}}}}}})
	return ps, s.URL + "/metrics?token=<secret>"
}

func TestPreviewReadsABoundedPage(t *testing.T) {
	ps, shown := previewed(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("token") != "canary-token" || r.Header.Get("Accept") == "" {
			http.Error(w, "not as a scrape asks", http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "text/plain")
		w.Header().Set("Content-Encoding", "gzip")
		w.Header().Set("Set-Cookie", "canary-cookie")
		w.Header().Set("X-Auth-Token", "canary-header")
		zw := gzip.NewWriter(w)
		for line := []byte(strings.Repeat("a 1\n", 1<<10)); r.Context().Err() == nil; {
			if _, err := zw.Write(line); err != nil {
				return
			}
		}
	})
	p, err := ps.Preview(t.Context(), "envoy", shown)
	if err != nil {
		t.Fatal(err)
	}
	if p.Status != "200 OK" || len(p.Body) != MaxPreviewBytes || !p.Cut || !strings.HasPrefix(string(p.Body), "a 1\n") {
		t.Errorf("got %s, %d bytes, cut %v", p.Status, len(p.Body), p.Cut)
	}
	if text := fmt.Sprint(p.Header); strings.Contains(text, "canary") || p.Header.Get("Content-Type") != "text/plain" {
		t.Errorf("header %s", text)
	}
}

// TestPreviewShowsARefusal: the body of a refusal often says who refuses, such as RBAC: access denied.
func TestPreviewShowsARefusal(t *testing.T) {
	ps, shown := previewed(t, func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "RBAC: access denied", http.StatusForbidden)
	})
	p, err := ps.Preview(t.Context(), "envoy", shown)
	if err != nil || p.Status != "403 Forbidden" || string(p.Body) != "RBAC: access denied\n" || p.Cut {
		t.Errorf("got %+v, %v", p, err)
	}
}

// TestPreviewFetchesTargetsOnly: nobody can make this process fetch another URL.
func TestPreviewFetchesTargetsOnly(t *testing.T) {
	ps, shown := previewed(t, func(http.ResponseWriter, *http.Request) { t.Error("fetched") })
	for _, c := range [][2]string{
		{"envoy", strings.Replace(shown, "/metrics", "/quitquitquit", 1)}, {"other", shown}, {"envoy", ""},
		{"envoy", "http://169.254.169.254/latest/meta-data"},
	} {
		if p, err := ps.Preview(t.Context(), c[0], c[1]); !errors.Is(err, ErrNoTarget) || p != nil {
			t.Errorf("%v: got %v, %v", c, p, err)
		}
	}
}

func TestPreviewErrorsHoldNoSecret(t *testing.T) {
	ps, shown := previewed(t, func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) })
	_, err := ps.Preview(t.Context(), "envoy", shown)
	if err == nil || strings.Contains(err.Error(), "canary") || !strings.Contains(err.Error(), "EOF") {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := ps.Preview(ctx, "envoy", shown); err == nil || strings.Contains(err.Error(), "canary") {
		t.Errorf("got %v", err)
	}
}
