package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/envoy-scraper/envoy-scraper/internal/diagnose"
	"github.com/envoy-scraper/envoy-scraper/internal/diagnose/show"
	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite"
	"github.com/envoy-scraper/envoy-scraper/internal/scrape"
)

func TestPages(t *testing.T) {
	m := newFakeMesh(t).shop()
	m.addJob(t, "empty", "[]").Errors = []string{`target {__address__="10.0.0.9:99999"}: invalid port "99999"`}
	s := m.server(Config{})
	dropped := stepsLink("envoy-stats", m.pools[0].Dropped[1].Discovered())
	kept := stepsLink("envoy-stats", m.pools[0].Targets[1].Discovered())
	for name, path := range map[string]string{
		"overview":        "/",
		"targets":         "/targets",
		"targets-down":    "/targets?state=down&job=envoy-stats&search=CART",
		"targets-none":    "/targets?search=nothing-has-this",
		"discovery":       "/service-discovery",
		"discovery-job":   "/service-discovery?job=envoy-stats&state=dropped",
		"steps-kept":      "/" + kept,
		"steps-dropped":   "/" + dropped,
		"steps-forgotten": "/service-discovery?job=envoy-stats&explain=1",
		"config":          "/config",
	} {
		t.Run(name, func(t *testing.T) {
			path, _, _ := strings.Cut(path, "#")
			w := ask(s, "GET", path)
			wantStatus(t, w, http.StatusOK)
			golden(t, name+".html.golden", w.Body.Bytes())
		})
	}
}

// TestARefusedConfigurationShows: every page says so, without secrets, until a reload succeeds.
func TestARefusedConfigurationShows(t *testing.T) {
	m := newFakeMesh(t).shop()
	s := m.server(Config{})
	const refused = "Configuration refused"
	for _, path := range menuPaths() {
		if body := ask(s, "GET", path).Body.String(); strings.Contains(body, refused) {
			t.Errorf("%s: %q, though none was", path, refused)
		}
	}
	m.loaded.Refused, m.loaded.Why = fakeNow.Add(-time.Minute), errors.New("f.yml:3: job_name: <b>: "+
		"https://me:canary-password@x/?token=canary-token")
	for _, path := range menuPaths() {
		body := ask(s, "GET", path).Body.String()
		for _, want := range []string{refused, "1m ago", "loaded 3h ago", "f.yml:3: job_name: &lt;b&gt;"} {
			if !strings.Contains(body, want) {
				t.Errorf("%s: no %q in %s", path, want, body)
			}
		}
		if strings.Contains(body, "canary") {
			t.Errorf("%s shows a secret: %s", path, body)
		}
	}
}

func TestANoticeIsOnEveryPage(t *testing.T) {
	s := newFakeMesh(t).shop().server(Config{})
	s.src.Notice = "Pages of pods are read through the API server <1>."
	for _, path := range menuPaths() {
		w := ask(s, http.MethodGet, path)
		want := `<p class="note">Pages of pods are read through the API server &lt;1&gt;.</p>`
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s has no notice:\n%s", path, w.Body)
		}
	}
}

func TestPagesOfAnEmptyMesh(t *testing.T) {
	m := newFakeMesh(t)
	m.pools, m.endpoints, m.notReady = nil, nil, "waiting for Kubernetes"
	m.pods = diagnose.Report{}
	m.yaml, m.yamlErr = "", errors.New("no configuration")
	s := m.server(Config{})
	for path, want := range map[string]string{
		"/":                  "No jobs",
		"/pods":              "No pod with an Envoy was seen yet",
		"/targets":           "No targets yet",
		"/cost":              "There is nothing to list",
		"/service-discovery": "No targets were discovered yet",
		"/config":            "no configuration",
	} {
		body := ask(s, "GET", path).Body.String()
		for _, want := range []string{want, "waiting for Kubernetes"} {
			if !strings.Contains(body, want) {
				t.Errorf("%s: got no %q in %s", path, want, body)
			}
		}
	}
}

// TestTargetsOfOtherShards: the pages say that other shards scrape further targets.
func TestTargetsOfOtherShards(t *testing.T) {
	m := newFakeMesh(t).shop()
	m.addJob(t, "sharded", "[]").Others = 1234
	m.addJob(t, "little", "[]").Others = 1
	s := m.server(Config{})
	for path, want := range map[string]string{
		"/":                        "<dt>Scraped by other shards</dt><dd>1,235</dd>",
		"/targets":                 "1,235 more targets are scraped by other shards",
		"/targets?job=sharded":     "1,234 more targets are scraped by other shards",
		"/targets?job=little":      "1 more target is scraped by other shards",
		"/targets?job=envoy-stats": "",
	} {
		body := ask(s, "GET", path).Body.String()
		if want == "" && strings.Contains(body, "more targets are scraped by other shards") || !strings.Contains(body,
			want) {
			t.Errorf("%s: got no %q in %s", path, want, body)
		}
	}
	m.pools = m.pools[1:] // none of its own
	if body := ask(s, "GET", "/targets").Body.String(); !strings.Contains(body, "This shard has no targets") {
		t.Errorf("a shard without targets says %s", body)
	}
}

// TestSlowedTargets: whoever looks at a target that is asked less often sees that, and why.
func TestSlowedTargets(t *testing.T) {
	m := newFakeMesh(t).shop()
	target := &m.pools[0].Targets[0]
	target.Turns, target.SlowedSince = 4, fakeNow.Add(-12*time.Minute)
	row := m.pods.Rows[0].Target
	row.Every, row.SlowedSince = time.Minute, target.SlowedSince
	s := m.server(Config{})
	for path, want := range map[string]string{
		"/targets":                          "<br>Since 12m ago asked only every 1m, because it is slow to answer",
		"/targets?format=text":              "  since 12m ago asked only every 1m, because it is slow to answer\n",
		"/targets?format=json":              `"everySeconds":60,"slowedSince":"2026-03-01T11:48:00Z"`,
		"/pods?pod=shop/cart-1":             "<dd>every 1m since 2026-03-01 11:48:00 UTC (12m ago), because it is slow",
		"/pods?pod=shop/cart-1&format=text": "Asked        only every 1m since 12m ago, because it is slow to answer\n",
		"/pods?pod=shop/cart-1&format=json": `"slowedSince":"2026-03-01T11:48:00Z","everySeconds":60`,
	} {
		body := strings.ReplaceAll(ask(s, "GET", path).Body.String(), `": `, `":`)
		if n := strings.Count(body, want); n != 1 {
			t.Errorf("%s: got %q %d times in %s", path, want, n, body)
		}
	}
}

func TestHostileLabelsStayText(t *testing.T) {
	const evil = `"><script>alert(1)</script><img src=x onerror=alert(1)>'`
	m := newFakeMesh(t)
	m.addJob(t, evil, "- {regex: 'keep(.*)</pre><script>', action: labelmap, replacement: 'x<script>'}")
	target := m.discover(evil, scrape.HealthDown, labels.FromStrings("__address__", evil, "job", evil, "a<script>",
		evil))
	target.URL = "javascript:alert(1)"
	target.Err = evil
	m.discover("envoy-stats", "", pod("envoy-stats", evil, evil, evil, evil))
	m.yaml, m.notReady = evil, evil
	m.endpoints[0].LastError, m.endpoints[0].Name = evil, evil
	m.endpoints[0].Rejected = []remotewrite.Rejection{{Series: labels.FromStrings("a", evil), Reason: evil,
		Error: evil}}
	m.flags = map[string]string{evil: evil}
	s := m.server(Config{})

	steps, _, _ := strings.Cut("/"+stepsLink(evil, target.Discovered()), "#")
	markup := regexp.MustCompile(`<script|<img|javascript:`)
	const own = `<script src="static/app.js" defer></script>`
	for _, path := range append(menuPaths(), steps, "/targets?search=%22%3E%3Cscript%3E&job=%22%3E%3Cscript%3E") {
		w := ask(s, "GET", path)
		wantStatus(t, w, http.StatusOK)
		body := strings.Replace(w.Body.String(), own, "", 1)
		for _, hit := range markup.FindAllStringIndex(body, -1) {
			from := max(0, hit[0]-60)
			// A target's address may be shown as text, never be followed.
			if text := body[from:hit[1]]; !strings.Contains(text, `<span class="url">javascript:`) {
				t.Errorf("%s: got markup from a label: …%s", path, text)
			}
		}
	}
	for _, path := range []string{"/api/v1/targets", "/api/v1/status/config"} {
		w := ask(s, "GET", path)
		if markup := regexp.MustCompile(`<script|<img`); markup.MatchString(w.Body.String()) {
			t.Errorf("%s: got markup: %s", path, w.Body)
		}
		if got := w.Header().Get("Content-Type"); got != "application/json" {
			t.Errorf("%s: got content type %q", path, got)
		}
	}
}

func TestLongValuesAreCut(t *testing.T) {
	m := newFakeMesh(t)
	for i := range largePage {
		target := m.discover("envoy-stats", scrape.HealthDown, pod("envoy-stats", strings.Repeat("ä", 40_000), "p",
			fmt.Sprint("10.0.0.1:", i), "a-envoy-prom"))
		target.Err = strings.Repeat("e", 100_000)
	}
	for _, path := range []string{"/targets?rows=500", "/service-discovery?rows=500"} {
		body := ask(m.server(Config{}), "GET", path).Body
		if body.Len() > 2<<20 {
			t.Errorf("%s: got a page of %d bytes", path, body.Len())
		}
		if strings.Contains(body.String(), "\uFFFD") {
			t.Errorf("%s: a rune was cut in two", path)
		}
	}
}

func TestNoCredentialIsShown(t *testing.T) {
	m := newFakeMesh(t)
	m.addJob(t, "http", "[]")
	target := m.discover("http", scrape.HealthDown, labels.FromStrings("__address__", "10.0.0.1:80", "__meta_url",
		"https://me:canary-sd@sd.example/list?token=canary-sdquery", "job", "http", "site",
		"https://me:canary-label@example"))
	target.URL = "http://me:canary-url@10.0.0.1:80/metrics"
	target.Err = `Get "http://me:canary-err@10.0.0.1:80/metrics": EOF`
	m.pools[1].Errors = []string{`bad URL "http://me:canary-pool@x"`}
	m.pools[1].Dropped = []scrape.DroppedTarget{{Job: "http", Discovered: func() labels.Labels {
		return labels.FromStrings("__address__", "x", "__meta_url", "https://canary-token@sd.example/")
	}}}
	m.reload = func(ctx context.Context) error { return errors.New(`http_sd: Get "http://me:canary-reload@x": EOF`) }
	s := m.server(Config{EnableLifecycle: true})
	steps, _, _ := strings.Cut("/"+stepsLink("http", target.Discovered()), "#")
	for _, path := range append(menuPaths(), steps, "/targets?format=json", "/targets?format=text",
		"/service-discovery?format=json", "/service-discovery?format=text", "/api/v1/targets", "/api/v1/status/flags",
		"/api/v1/status/config", "/api/v1/status/remote_write", "/metrics") {
		if body := ask(s, "GET", path).Body.String(); strings.Contains(body, "canary") {
			t.Errorf("%s shows a credential: %s", path, body)
		}
	}
	if body := ask(s, "POST", "/-/reload").Body.String(); strings.Contains(body, "canary") {
		t.Errorf("reload shows a credential: %s", body)
	}
}

// manyTargets adds targets to a mesh, with as many labels as Kubernetes' discovery gives.
func manyTargets(t testing.TB, n int) *fakeMesh {
	m := newFakeMesh(t)
	m.providers = nil // their rows are not counted
	for i := range n {
		m.discover("envoy-stats", scrape.HealthUp, pod("envoy-stats", "shop", fmt.Sprintf("cart-%d", i),
			fmt.Sprintf("10.0.%d.%d:15090", i/250, i%250), "http-envoy-prom"))
	}
	return m
}

func TestTenThousandTargetsComeInPages(t *testing.T) {
	s := manyTargets(t, 10_000).server(Config{})
	for _, tc := range []struct {
		path, want string
		rows       int
	}{
		{"/targets", "1–100 of 10,000", 100},
		{"/targets?page=100", "9,901–10,000 of 10,000", 100},
		{"/targets?page=999999999", "9,901–10,000 of 10,000", 100},
		{"/targets?page=-1", "1–100 of 10,000", 100},
		{"/targets?rows=500&page=2", "501–1,000 of 10,000", 500},
		{"/targets?rows=10000", "1–100 of 10,000", 100},
		{"/targets?search=cart-9999", "Showing 1 of 10,000 targets, filtered by search “cart-9999”", 1},
		{"/targets?search=namespace%3D%22shop%22", "1–100 of 10,000", 100},
		{"/service-discovery?state=dropped", "Showing 0 of 10,000 discovered targets, filtered by outcome dropped", 0},
		{"/service-discovery?state=kept&page=2&rows=500", "501–1,000 of 10,000", 500},
	} {
		body := ask(s, "GET", tc.path).Body.String()
		if !strings.Contains(body, tc.want) {
			t.Errorf("%s: got no %q", tc.path, tc.want)
		}
		if rows := strings.Count(body, `<th scope="row">`); rows != tc.rows {
			t.Errorf("%s: got %d rows, want %d", tc.path, rows, tc.rows)
		}
		if len(body) > 1<<20 {
			t.Errorf("%s: got %d bytes, want less than 1 MiB", tc.path, len(body))
		}
	}
}

func BenchmarkPageOfTenThousandTargets(b *testing.B) {
	s := manyTargets(b, 10_000).server(Config{})
	for name, path := range map[string]string{
		"targets":                   "/targets",
		"targets, 500 rows, sorted": "/targets?rows=500&sort=-took",
		"targets, searched":         "/targets?search=cart-99+namespace%3D~sh.*",
		"targets as JSON":           "/targets?format=json",
		"targets as text":           "/targets?format=text",
		"discovery":                 "/service-discovery",
		"discovery, searched":       "/service-discovery?search=cart-99",
	} {
		b.Run(name, func(b *testing.B) {
			size := 0
			for b.Loop() {
				size = ask(s, "GET", path).Body.Len()
			}
			b.ReportMetric(float64(size), "bytes/page")
		})
	}
}

func TestNumbersForPeople(t *testing.T) {
	count, byteSize, brief := show.Count, show.Bytes, show.Brief
	for _, tc := range []struct{ got, want string }{
		{count(0), "0"}, {count(999), "999"}, {count(1000), "1,000"}, {count(-1234567), "-1,234,567"}, {count(-123),
			"-123"},
		{byteSize(1023), "1023 B"}, {byteSize(1536), "1.5 KiB"}, {byteSize(20 << 20), "20.0 MiB"},
		{brief(0), "0s"}, {brief(850_000), "850µs"}, {brief(12_300_000), "12ms"}, {brief(3_400_000_000), "3.4s"},
		{brief(59_000_000_000), "59s"}, {brief(300_000_000_000), "5m"}, {brief(312_000_000_000),
			"5m12s"}, {brief(3600_000_000_000), "1h"},
		{brief(26 * 3600_000_000_000), "1d02h"},
	} {
		if tc.got != tc.want {
			t.Errorf("got %q, want %q", tc.got, tc.want)
		}
	}
}

// TestAnEndpointThatTookNothing: an endpoint that refused every request has another state than one to which nothing was
// sent.
func TestAnEndpointThatTookNothing(t *testing.T) {
	s := &Server{now: time.Now, src: Sources{Endpoints: func() []remotewrite.EndpointStatus {
		return []remotewrite.EndpointStatus{{Name: "new"},
			{Name: "wrong", Rejected: []remotewrite.Rejection{{Error: "404 page not found"}}}}
	}}}
	rows := s.endpoints()
	if rows[0].State != "nothing sent yet" || rows[1].State != "refuses everything" || rows[1].Class != "down" {
		t.Errorf("states %q and %q (%s)", rows[0].State, rows[1].State, rows[1].Class)
	}
}
