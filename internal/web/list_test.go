package web

import (
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/envoy-scraper/envoy-scraper/internal/scrape"
)

// shop2 is a mesh of two jobs whose targets differ in what lists are narrowed and sorted by.
func shop2(t *testing.T) *fakeMesh {
	m := newFakeMesh(t)
	const port = "http-envoy-prom"
	m.addJob(t, "gateways", fakeRules)
	for i, job := range []string{"envoy-stats", "envoy-stats", "envoy-stats", "gateways"} {
		health := []scrape.Health{scrape.HealthUp, scrape.HealthDown, scrape.HealthUnknown, scrape.HealthUp}[i]
		target := m.discover(job, health, pod(job, []string{"shop", "shop", "pay", "istio-system"}[i],
			fmt.Sprint("pod-", i), fmt.Sprintf("10.0.0.%d:15090", i), port))
		target.Duration = []time.Duration{30, 10, 0, 20}[i] * time.Millisecond
	}
	return m
}

var shownPod = regexp.MustCompile(`<b>pod_name</b>=&#34;(pod-\d)&#34;|<b>pod_name</b>="(pod-\d)"`)

// podsOn returns the pods of a page's rows, in their order.
func podsOn(body string) (pods []string) {
	for _, m := range shownPod.FindAllStringSubmatch(body, -1) {
		pods = append(pods, m[1]+m[2])
	}
	return pods
}

func TestTargetsAreNarrowedAndSorted(t *testing.T) {
	s := shop2(t).server(Config{})
	for _, tc := range []struct{ query, pods, shown string }{
		{"", "1 2 0 3", "4 targets."}, // the worst first
		{"?state=up", "0 3", "Showing 2 of 4 targets, filtered by state up."},
		{"?state=up&job=gateways", "3", "Showing 1 of 4 targets, filtered by state up and job gateways."},
		{"?state=nonsense", "", "Showing 0 of 4 targets, filtered by state nonsense."},
		{"?namespace=shop&search=10.0", "1 0", "filtered by namespace shop and search “10.0”."},
		{"?sort=took", "2 1 3 0", ""},
		{"?sort=-took", "0 3 1 2", ""},
		{"?sort=target", "0 1 2 3", ""},
		{"?sort=-job", "3 1 2 0", ""}, // equal rows keep the list's own order
		{"?sort=nonsense", "1 2 0 3", ""},
		{"?search=pod_name%3Dpod-2", "2", ""},
		{"?search=pod_name%3D~pod-[12]", "1 2", ""},
		{"?search=namespace!%3Dshop", "2 3", ""},
		{"?search=REFUSED", "1", ""},
	} {
		body := ask(s, "GET", "/targets"+tc.query).Body.String()
		want := strings.Fields(tc.pods)
		for i := range want {
			want[i] = "pod-" + want[i]
		}
		if got := podsOn(body); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: got %v, want %v", tc.query, got, want)
		}
		if !strings.Contains(html.UnescapeString(body), tc.shown) {
			t.Errorf("%s: got no %q", tc.query, tc.shown)
		}
	}
}

// TestFacetsCount: a facet says how many rows a page would show if that value were chosen.
func TestFacetsCount(t *testing.T) {
	m := shop2(t)
	described := targetList()
	view, _ := described.show(targetRows(m.pools), selection{Rows: pageSize, Chosen: map[string]string{"state": "up",
		"job": "gateways"}})
	got := map[string]int{}
	for _, f := range view.Facets {
		got[f.Key+" all"] = f.All.Count
		for _, c := range f.Choices {
			got[f.Key+" "+c.Value] = c.Count
		}
	}
	want := map[string]int{
		"state all": 1, "state up": 1, "state down": 0, "state unknown": 0, // of job gateways
		"job all": 2, "job envoy-stats": 1, "job gateways": 1, // that are up
		"namespace all": 1, "namespace istio-system": 1,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestTheAddressKeepsTheSelection: each link of a list keeps what it does not change.
func TestTheAddressKeepsTheSelection(t *testing.T) {
	r, err := http.NewRequest("GET", "/targets?state=up&job=a%26b&search=x+y&sort=-took&rows=500&page=3&refresh=15"+
		"&other=1", nil)
	if err != nil {
		t.Fatal(err)
	}
	sel := parseSelection(r, "state", "job")
	for name, tc := range map[string]struct{ got, want string }{
		"itself": {sel.Link(), "job=a%26b&page=3&refresh=15&rows=500&search=x+y&sort=-took&state=up"},
		"a facet": {sel.With("state", "down"),
			"job=a%26b&refresh=15&rows=500&search=x+y&sort=-took&state=down"},
		"a facet less": {sel.With("job", ""), "refresh=15&rows=500&search=x+y&sort=-took&state=up"},
		"a page":       {sel.at(2, 500), "job=a%26b&page=2&refresh=15&rows=500&search=x+y&sort=-took&state=up"},
		"rows":         {sel.at(1, 100), "job=a%26b&refresh=15&search=x+y&sort=-took&state=up"},
		"a sort":       {sel.WithSort("job"), "job=a%26b&refresh=15&rows=500&search=x+y&sort=job&state=up"},
		"all":          {sel.All(), "refresh=15&rows=500&sort=-took"},
	} {
		if tc.got != "?"+tc.want {
			t.Errorf("%s: got %s, want ?%s", name, tc.got, tc.want)
		}
	}
}

func TestSearch(t *testing.T) {
	row := searchable{
		Texts:  []string{"http://10.0.0.7:15090/stats", "connection refused"},
		Labels: []labels.Labels{labels.FromStrings("app", "Reviews", "version", "v1")},
	}
	for text, want := range map[string]bool{
		"":                    true,
		"refused":             true,
		"10.0.0.7 REFUSED":    true,
		"10.0.0.7 timeout":    false,
		"reviews":             true,
		"app=Reviews":         true,
		`app="Reviews"`:       true,
		"app=reviews":         false,
		"app!=Reviews":        false,
		"app!=x":              true,
		"app=~Rev.*":          true,
		"app=~Rev":            false, // the whole value, as in Prometheus
		"app!~Rev.*":          false,
		"missing=":            true,
		"missing!=":           false,
		"app=~Rev.* v1":       true,
		"10.0.0.7:15090/stat": true,
	} {
		s, err := parseSearch(text)
		if err != nil || s.matches(row) != want {
			t.Errorf("%q: got %v, %v, want %v", text, s.matches(row), err, want)
		}
	}
}

func TestASearchThatIsNoExpression(t *testing.T) {
	s := shop2(t).server(Config{})
	const query = "search=app%3D~(%3Cb"
	body := html.UnescapeString(ask(s, "GET", "/targets?"+query).Body.String())
	for _, want := range []string{`The search was not done. app=~(<b: "(<b" is no regular expression`,
		"for a plain value write app=(<b", "Show all"} {
		if !strings.Contains(body, want) {
			t.Errorf("got no %q", want)
		}
	}
	for _, format := range []string{"json", "text"} {
		w := ask(s, "GET", "/targets?format="+format+"&"+query)
		wantStatus(t, w, http.StatusBadRequest)
		if !strings.Contains(w.Body.String(), "is no regular expression") {
			t.Errorf("%s: got %s", format, w.Body)
		}
	}
}

// TestS11SearchFindsNoSecret: a search must not tell whether a hidden value has some letters in it.
func TestS11SearchFindsNoSecret(t *testing.T) {
	m := newFakeMesh(t)
	m.addJob(t, "http", "[]")
	target := m.discover("http", scrape.HealthDown, labels.FromStrings("__address__", "10.0.0.1:80", "__meta_url",
		"https://sd.example/list?token=canary", "__param_token", "canary", "site", "https://me:canary@example"))
	target.URL, target.Err = "http://me:canary@10.0.0.1/x", "Get http://me:canary@10.0.0.1/x: EOF"
	m.pools[1].Dropped = []scrape.DroppedTarget{{Job: "http", Discovered: target.Discovered}}
	s := m.server(Config{})
	for _, word := range []string{"canary", "site=~.*canary.*", "__param_token=canary", "__meta_url=~.*canary.*"} {
		for _, path := range []string{"/targets", "/service-discovery"} {
			body := ask(s, "GET", path+"?format=text&search="+url.QueryEscape(word)).Body.String()
			if !strings.Contains(body, "# Showing 0 of") {
				t.Errorf("%s finds %q: %s", path, word, body)
			}
		}
	}
}

func TestTwins(t *testing.T) {
	s := newFakeMesh(t).shop().server(Config{})
	for _, tc := range []struct{ name, path, accept, kind string }{
		{"targets.json", "/targets?state=down", "application/json", "application/json"},
		{"targets.txt", "/targets", "text/plain;q=0.9, */*", "text/plain; charset=utf-8"},
		{"discovery.json", "/service-discovery?state=dropped&format=json", "text/html", "application/json"},
		{"discovery.txt", "/service-discovery?format=text", "", "text/plain; charset=utf-8"},
		{"", "/targets", "text/html,application/xhtml+xml,application/json", "text/html; charset=utf-8"},
		{"", "/targets", "*/*", "text/html; charset=utf-8"},
		{"", "/targets?format=html", "application/json", "text/html; charset=utf-8"},
	} {
		w := ask(s, "GET", tc.path, "Accept", tc.accept)
		wantStatus(t, w, http.StatusOK)
		if got := w.Header().Get("Content-Type"); got != tc.kind {
			t.Errorf("%s, accepting %q: got %s, want %s", tc.path, tc.accept, got, tc.kind)
		}
		if strings.HasSuffix(tc.name, ".json") {
			var indented any
			if err := json.Unmarshal(w.Body.Bytes(), &indented); err != nil {
				t.Errorf("%s: %v", tc.name, err)
			}
			text, err := json.MarshalIndent(indented, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			golden(t, "twin-"+tc.name+".golden", append(text, '\n'))
		} else if tc.name != "" {
			golden(t, "twin-"+tc.name+".golden", w.Body.Bytes())
		}
	}
	w := ask(s, "GET", "/targets?format=xml")
	wantStatus(t, w, http.StatusBadRequest)
	if got := w.Body.String(); got != "format=\"xml\" does not exist; there are html, json and text\n" {
		t.Errorf("got %q", got)
	}
}

// TestTextIsOneLineForEachRow: a target must not make a second line, nor control the terminal.
func TestTextIsOneLineForEachRow(t *testing.T) {
	m := newFakeMesh(t).shop()
	m.pools[0].Targets[1].Err = "a\nup 1s 1ms 1 job fake\x1b[2J" + strings.Repeat("x", 1<<20)
	body := ask(m.server(Config{}), "GET", "/targets?format=text").Body.String()
	if lines := strings.Count(body, "\n"); lines != 2+3 || strings.ContainsRune(body, '\x1b') || len(body) > 8<<10 {
		t.Errorf("got %d lines and %d bytes", lines, len(body))
	}
}

func TestManyLabelsAreCut(t *testing.T) {
	b := labels.NewScratchBuilder(100)
	for i := range 100 {
		b.Add(fmt.Sprintf("l%03d", i), "x")
	}
	got := pairs(b.Labels())
	if len(got) != maxLabels+1 || got[maxLabels] != (pair{"…", "60 more"}) {
		t.Errorf("got %d labels, the last %v", len(got), got[len(got)-1])
	}
}
