package web

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/envoy-scraper/envoy-scraper/internal/scrape"
)

func TestAPI(t *testing.T) {
	m := newFakeMesh(t).shop()
	m.addJob(t, "app", "[]")
	m.discover("app", scrape.HealthUp, labels.FromStrings("__address__", "127.0.0.1:8080", "__metrics_path__",
		"/metrics", "job", "app"))
	m.pools[0].DroppedCount = 7 // keep_dropped_targets kept two of them
	s := m.server(Config{ExternalHost: "node-1"})
	found, err := json.Marshal(m.pools[0].Dropped[1].Discovered())
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, path string
		status     int
	}{
		{"targets", "/api/v1/targets", 200},
		{"targets-any", "/api/v1/targets?state=ANY&scrapePool=app", 200},
		{"targets-active", "/api/v1/targets?state=active&scrapePool=app", 200},
		{"targets-dropped", "/api/v1/targets?state=dropped", 200},
		{"targets-unknown-state", "/api/v1/targets?state=else", 200},
		{"targets-unknown-pool", "/api/v1/targets?scrapePool=else", 200},
		{"scrape-pools", "/api/v1/scrape_pools", 200},
		{"steps", "/api/v1/targets/relabel_steps?scrapePool=envoy-stats&labels=" + url.QueryEscape(string(found)), 200},
		{"steps-no-pool", "/api/v1/targets/relabel_steps", 400},
		{"steps-no-labels", "/api/v1/targets/relabel_steps?scrapePool=app", 400},
		{"steps-bad-labels", "/api/v1/targets/relabel_steps?scrapePool=app&labels=x", 400},
		{"steps-unknown-pool", "/api/v1/targets/relabel_steps?scrapePool=else&labels={}", 400},
		{"config", "/api/v1/status/config", 200},
		{"buildinfo", "/api/v1/status/buildinfo", 200},
		{"flags", "/api/v1/status/flags", 200},
		{"remote-write", "/api/v1/status/remote_write", 200},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := ask(s, "GET", tc.path)
			wantStatus(t, w, tc.status)
			var answer any
			if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
				t.Fatalf("%v in %s", err, w.Body)
			}
			pretty, err := json.MarshalIndent(answer, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			golden(t, "api-"+tc.name+".json.golden", append(pretty, '\n'))
		})
	}
}

// TestAPITargetsBytes checks the order of the fields, which is Prometheus', and which golden files do not show.
func TestAPITargetsBytes(t *testing.T) {
	m := newFakeMesh(t)
	m.pools[0].Targets = []scrape.TargetStatus{{URL: "http://x", Discovered: labels.EmptyLabels,
		Health: scrape.HealthUnknown}}
	got := ask(m.server(Config{}), "GET", "/api/v1/targets").Body.String()
	want := `{"status":"success","data":{"activeTargets":[{"discoveredLabels":{},"labels":{},` +
		`"scrapePool":"envoy-stats",` +
		`"scrapeUrl":"http://x","globalUrl":"http://x","lastError":"","lastScrape":"0001-01-01T00:00:00Z",` +
		`"lastScrapeDuration":0,` +
		`"health":"unknown","scrapeInterval":"0s","scrapeTimeout":"0s"}],"droppedTargets":[],` +
		`"droppedTargetCounts":{"envoy-stats":0}}}`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestAPIConfigThatCannotBeShown(t *testing.T) {
	m := newFakeMesh(t)
	m.yamlErr = errFake
	w := ask(m.server(Config{}), "GET", "/api/v1/status/config")
	wantStatus(t, w, http.StatusInternalServerError)
	if body := w.Body.String(); !strings.HasPrefix(body,
		`{"status":"error","errorType":"internal","error":"config.yml`) {
		t.Errorf("got %s", body)
	}
}

func TestGlobalURL(t *testing.T) {
	for _, tc := range []struct{ host, address, want string }{
		{"node-1", "http://127.0.0.1:8080/metrics?a=b", "http://node-1:8080/metrics?a=b"},
		{"node-1", "http://[::1]/x", "http://node-1/x"},
		{"node-1", "http://localhost:1/x", "http://node-1:1/x"},
		{"node-1", "http://10.0.0.1:1/x", "http://10.0.0.1:1/x"},
		{"node-1", "http://%zz", "http://%zz"},
		{"", "http://127.0.0.1:8080/", "http://127.0.0.1:8080/"},
	} {
		s := newFakeMesh(t).server(Config{ExternalHost: tc.host})
		if got := s.globalURL(tc.address); got != tc.want {
			t.Errorf("%s on %q: got %s, want %s", tc.address, tc.host, got, tc.want)
		}
	}
}
