package graphs

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
)

// TestHandler checks the paths that vmui uses.
func TestHandler(t *testing.T) {
	prometheus := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s query=%s", r.Method, r.URL.Path, r.FormValue("query"))
	}))
	defer prometheus.Close()
	base, err := url.Parse(prometheus.URL)
	if err != nil {
		t.Fatal(err)
	}
	good := write(t, "a.json", `{"title": "A", "panels": [{"type": "stat", "title": "P", "targets": [{"expr": "up"}]}]}`)
	newServer := func(folder string) *httptest.Server {
		s := httptest.NewServer(Handler(Config{UI: write(t, "index.html", "the UI"), Folders: []string{folder},
			Prometheus: base, Querier: answers{"up": metrics(model.Metric{})}}))
		t.Cleanup(s.Close)
		return s
	}
	server, bad := newServer(good), newServer(write(t, "a.json", "{}"))

	for name, tc := range map[string]struct {
		url, form string
		status    int
		want      string
	}{
		"the root leads to the UI": {server.URL + "/", "", 200, "the UI"},
		"a query": {server.URL + "/prometheus/api/v1/query_range", "query=up", 200,
			"POST /api/v1/query_range query=up"},
		"dashboards": {server.URL + "/prometheus/vmui/custom-dashboards", "", 200,
			`{"dashboardsSettings":[{"title":"A","rows":[{"title":"Overview","panels":[{"title":"P",`},
		"dashboards that cannot be read": {bad.URL + "/prometheus/vmui/custom-dashboards", "", 500,
			"is not a Grafana dashboard"},
		"the time zone":                {server.URL + "/prometheus/vmui/timezone", "", 200, `{"timezone":"Local"}`},
		"other paths of the receiver":  {server.URL + "/prometheus/-/quit", "query=up", 404, ""},
		"a file that the UI lacks":     {server.URL + "/vmui/missing.js", "", 404, ""},
		"another page of this program": {server.URL + "/metrics", "", 404, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var response *http.Response
			var err error
			if tc.form == "" {
				response, err = http.Get(tc.url)
			} else {
				response, err = http.Post(tc.url, "application/x-www-form-urlencoded", strings.NewReader(tc.form))
			}
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			body, err := io.ReadAll(response.Body)
			if err != nil {
				t.Fatal(err)
			}
			if response.StatusCode != tc.status || !strings.Contains(string(body), tc.want) {
				t.Errorf("status %d, body %q, want %d with %q", response.StatusCode, body, tc.status, tc.want)
			}
		})
	}
}
