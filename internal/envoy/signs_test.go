package envoy

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestClassOfAPage(t *testing.T) {
	for name, c := range map[string]struct {
		page string
		want Class
		why  string // part of WhyNoRequests
	}{
		"requests": {"# TYPE istio_requests_total counter\nistio_requests_total{a=\"b\"} 1\nenvoy_server_live 1\n",
			ClassIstio, ""},
		"durations only": {"istio_request_duration_milliseconds_bucket{le=\"1\"} 1\n", ClassIstio, ""},
		"tcp only":       {"istio_tcp_sent_bytes_total{} 1\nenvoy_server_live{} 1\n", ClassTCP, "the Service's port"},
		"ztunnel":        {"istio_tcp_sent_bytes_total{} 1\nistio_build{} 1\n", ClassTCP, "ztunnel"},
		"idle":           {"istio_build{component=\"proxy\"} 1\nenvoy_server_live 1\n", ClassIdle, "shows no traffic"},
		"agent":          {"istio_agent_scrapes_total 1\n", ClassIdle, "shows no traffic"},
		"envoy":          {"envoy_server_live{} 1\n", ClassEnvoy, "telemetry is off"},
		"other":          {"go_goroutines 7\n", ClassOther, "not look like"},
		"empty":          {"", ClassEmpty, ""},
		"comments":       {"# HELP istio_requests_total x\n\n  \n", ClassEmpty, ""},
		"utf-8":          {"{\"istio_requests_total\",a=\"b\"} 1\n", ClassIstio, ""},
		"cut":            {"envoy_server_live 1\nenvoy_serv", ClassEnvoy, "telemetry is off"},
	} {
		t.Run(name, func(t *testing.T) {
			s := Read([]byte(c.page))
			if s.Class() != c.want {
				t.Errorf("class %q, want %q", s.Class(), c.want)
			}
			if why := s.WhyNoRequests(); (c.why == "") != (why == "") || !strings.Contains(why, c.why) {
				t.Errorf("why %q, want %q", why, c.why)
			}
		})
	}
}

func TestUnknownPeersAreSeen(t *testing.T) {
	page := `istio_requests_total{source_workload="unknown",destination_workload="reviews"} 3` + "\n"
	if !Read([]byte(page)).Has(Unknown) || !SignsOf("istio_requests_total", "a", "unknown").Has(Unknown) {
		t.Error("the unknown workload is not seen")
	}
	if SignsOf("istio_requests_total", "a", "b").Has(Unknown) || SignsOf("x", "unknown", "").Has(Unknown) {
		t.Error("an unknown workload is seen where there is none")
	}
}

// TestRecordedPages classifies pages of real proxies.
func TestRecordedPages(t *testing.T) {
	const folder = "../../../shared/data/envoy"
	if _, err := os.Stat(folder); err != nil {
		t.Skip("SKIPPED: no real pages beside the checkout (../shared/data/envoy)")
	}
	for file, c := range map[string]struct {
		want   Class
		merged bool
	}{
		"istio-proxy-1.5.txt":         {ClassIstio, false},
		"istio-merged-15020.txt":      {ClassIstio, true},
		"envoy-front-proxy.txt":       {ClassEnvoy, false},
		"ztunnel-1.24-excerpt.txt":    {ClassTCP, false},
		"sidecar-blank-lines.txt":     {ClassEnvoy, false},
		"non-conforming.txt":          {ClassOther, false},
		"envoy-front-proxy-older.txt": {ClassEnvoy, false},
	} {
		page, err := os.ReadFile(filepath.Join(folder, file))
		if err != nil {
			t.Fatal(err)
		}
		if s := Read(page); s.Class() != c.want || s.IsMerged() != c.merged {
			t.Errorf("%s: class %q, merged %v, want %q, %v", file, s.Class(), s.IsMerged(), c.want, c.merged)
		}
	}
}
