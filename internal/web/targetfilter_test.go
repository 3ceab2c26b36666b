package web

import (
	"cmp"
	"html"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/envoy-scraper/envoy-scraper/internal/scrape"
)

// TestTargetsTellTheirFilter: a target says which filter it is asked with and what that saves, or why it is not.
func TestTargetsTellTheirFilter(t *testing.T) {
	whole := scrape.PageSize{Bytes: 1000, Samples: 50}
	for name, c := range map[string]struct {
		status     scrape.TargetStatus
		page, json []string // parts
		silent     bool     // nothing on the page
	}{
		"filtered": {
			status: scrape.TargetStatus{Filter: "istio_|<b>", PageBytes: 380, Whole: whole},
			page: []string{"<summary>Asked with a filter: 62 % of the page left out</summary>",
				"<code class=\"rule\">istio_|&lt;b&gt;</code>"},
			json: []string{`"filter":"istio_|\u003cb\u003e"`, `"pageBytes":380`, `"wholePage":{"bytes":1000,"samples":50}`},
		},
		"the last page was whole": {
			status: scrape.TargetStatus{Filter: "istio_", PageBytes: 1000, Whole: whole},
			page:   []string{"<summary>Asked with a filter; the last page was whole, to compare</summary>"},
		},
		"no page yet": {
			status: scrape.TargetStatus{Filter: "istio_"},
			page:   []string{"<summary>Asked with a filter after the first page</summary>"},
		},
		"down": {
			status: scrape.TargetStatus{Filter: "istio_", Whole: whole, Health: scrape.HealthDown},
			page:   []string{"<summary>Asked with a filter</summary>"},
		},
		"rules drop without a filter": {
			status: scrape.TargetStatus{WhyWhole: "the path is /a<b", Samples: 3, Kept: 2},
			page:   []string{"Whole pages: the path is /a&lt;b"}, json: []string{`"whyWhole":"the path is /a\u003cb"`},
		},
		"nothing is dropped": {
			status: scrape.TargetStatus{WhyWhole: "no rule", Samples: 3, Kept: 3}, silent: true,
			json: []string{`"whyWhole":"no rule"`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			c.status.Health = cmp.Or(c.status.Health, scrape.HealthUp)
			c.status.URL, c.status.Discovered = "http://a", labels.EmptyLabels
			m := &fakeMesh{pools: []scrape.PoolStatus{{Job: "a", Targets: []scrape.TargetStatus{c.status}}}}
			s := m.server(Config{})
			body := ask(s, "GET", "/targets").Body.String()
			for _, want := range c.page {
				if !strings.Contains(body, want) {
					t.Errorf("the page lacks %q:\n%s", want, body)
				}
			}
			if text := html.UnescapeString(body); c.silent &&
				(strings.Contains(text, "filter:") || strings.Contains(text, "Whole pages")) {
				t.Errorf("the page says something:\n%s", body)
			}
			body = strings.ReplaceAll(ask(s, "GET", "/targets?format=json").Body.String(), ": ", ":")
			for _, want := range c.json {
				if !strings.Contains(body, want) {
					t.Errorf("the JSON lacks %q:\n%s", want, body)
				}
			}
		})
	}
}
