package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/envoy-scraper/envoy-scraper/internal/cost"
)

// cost returns a report as package cost would, with rows in the order of the query's page.
func (m *fakeMesh) cost(_ context.Context, q cost.Query) (*cost.Report, error) {
	if m.costErr != nil {
		return nil, m.costErr
	}
	if m.costReport != nil {
		return m.costReport(q), nil
	}
	since, zero, change, written := fakeNow.Add(-time.Hour), 148, 12, 8123.4
	r := &cost.Report{
		At: fakeNow, Query: q, Found: len(m.costRows), All: len(m.costRows), Took: 0.012,
		Totals: cost.Totals{
			Targets: 412, Without: 3, Jobs: []string{"envoy-stats"}, Series: 826_412, Dropped: 1234, Buckets: 612_000,
			SamplesPerSecond: 55_094.13, PageBytes: 212 << 20, WireBytes: 11 << 20,
			PageBytesPerSecond: 14.1 * (1 << 20),
			WireBytesPerSecond: 751_618, ScrapeSecondsPerSecond: 0.3721, WrittenBytesPerSecond: &written,
			Zero: &zero, ZeroSince: &since, Change: &change, Since: &since,
		},
		Rows:   m.costRows[min(q.From(), len(m.costRows)):min(q.From()+q.Rows, len(m.costRows))],
		WhatIf: []cost.WhatIf{}, Advice: []cost.Fix{}, Notes: []string{"3 targets are in no figure."},
	}
	if q.DropFamily != "" {
		r.WhatIf = append(r.WhatIf, cost.WhatIf{
			Question: "drop the family " + q.DropFamily, Answer: "Without it there are 55 series less.", Safe: true,
			Fixes: []cost.Fix{{Title: "Add to the job envoy-stats", YAML: "metric_relabel_configs: []\n",
				Receiver: "55 series less"}},
		})
	}
	if q.Aggregate != "" {
		summed, aggregates := 700_000, 70_000
		r.Totals.Summed, r.Totals.Aggregates, r.Totals.SentSeries = &summed, &aggregates, 196_412
		for i := range r.Rows {
			r.Rows[i].Summed = &r.Rows[i].Series
		}
		r.WhatIf = append(r.WhatIf, cost.WhatIf{Question: "sum " + q.Aggregate + " without " + q.Without,
			Answer: "66 series match and can be summed.", Safe: true, Sums: &cost.Sums{Match: q.Aggregate},
			Fixes: []cost.Fix{{Title: "Add to the configuration", YAML: "envoy_scraper: {}\n"}}})
	}
	if q.DropLabel != "" {
		r.WhatIf = append(r.WhatIf, cost.WhatIf{Question: "drop the label " + q.DropLabel,
			Answer: "33 series must be summed, not dropped.", Colliding: 33, Fixes: []cost.Fix{}})
	}
	return r, nil
}

func costRows(names ...string) (rows []cost.Row) {
	for i, name := range names {
		zero, change := 10*i, i-1
		rows = append(rows, cost.Row{Name: name, Series: 1000 - 100*i, Share: 0.5, SamplesPerSecond: 66.6,
			PageBytes: 123_456, Pods: 12, Buckets: 500, Values: 3, Zero: &zero, Change: &change})
	}
	return rows
}

func TestCostPages(t *testing.T) {
	m := newFakeMesh(t)
	m.costRows = costRows("istio_request_bytes", "istio_requests_total", "envoy_server_uptime")
	s := m.server(Config{})
	for name, path := range map[string]string{
		"cost":         "/cost",
		"cost-what-if": "/cost?by=label&sort=values&order=asc&search=o&drop_family=istio_request_bytes&drop_label=le",
		"cost-paged":   "/cost?by=pod&sort=name&rows=1&page=2",
		"cost-sums":    "/cost?aggregate=istio_.*&aggregate_without=pod,instance&sort=summed",
	} {
		w := ask(s, "GET", path)
		wantStatus(t, w, http.StatusOK)
		golden(t, name+".html.golden", w.Body.Bytes())
	}
	w := ask(s, "GET", "/cost", "Accept", "text/plain")
	wantStatus(t, w, http.StatusOK)
	golden(t, "cost.txt.golden", w.Body.Bytes())
	for _, path := range []string{"/cost", "/api/v1/cost"} {
		w := ask(s, "GET", path, "Accept", "application/json")
		var got struct {
			Status string
			Data   cost.Report
		}
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || got.Data.Totals.Series != 826_412 ||
			got.Status != "success" || len(got.Data.Rows) != 3 {
			t.Errorf("%s: %v: %s", path, err, w.Body)
		}
	}
}

// TestCostIsABoundedPage: a mesh of 10,000 pods is shown in parts.
func TestCostIsABoundedPage(t *testing.T) {
	m := newFakeMesh(t)
	for i := range 10_000 {
		m.costRows = append(m.costRows, costRows(fmt.Sprintf("namespace-%d/some-longer-name-of-a-pod-%d", i%50, i))...)
	}
	s := m.server(Config{})
	wantStatus(t, ask(s, "GET", "/cost?by=pod&rows=10000&page=9223372036854775807"), http.StatusOK)
	for path, want := range map[string]string{"/cost?by=pod&page=50": "page 50 of 100",
		"/cost?by=pod&rows=10000": "1–500 of 10,000"} {
		if body := ask(s, "GET", path).Body.String(); len(body) > 1_000_000 || !strings.Contains(body, want) {
			t.Errorf("%s: %d bytes, want less than 1 MB with %q", path, len(body), want)
		}
	}
}

// TestCostRefusesBadQuestions: one sentence in every form.
func TestCostRefusesBadQuestions(t *testing.T) {
	m := newFakeMesh(t)
	s := m.server(Config{})
	for _, path := range []string{"/cost", "/api/v1/cost"} {
		w := ask(s, "GET", path+"?by=%3Cscript%3E")
		wantStatus(t, w, http.StatusBadRequest)
		if body := w.Body.String(); strings.Contains(body, "<script>") || !strings.Contains(body, "no such table") {
			t.Errorf("%s: %s", path, body)
		}
	}
	wantStatus(t, ask(s, "GET", "/cost?sort=x", "Accept", "text/plain"), http.StatusBadRequest)
	w := ask(s, "GET", "/cost?used_file=f&used_pattern=x", "Accept", "text/plain")
	wantStatus(t, w, http.StatusBadRequest)
	if body := w.Body.String(); !strings.Contains(body, "give them in the form of a POST request, not in the URL") {
		t.Errorf("%s", body)
	}
	m.costErr = fmt.Errorf("wait for another report: %w", context.Canceled)
	wantStatus(t, ask(s, "GET", "/cost"), http.StatusServiceUnavailable)
	m.costErr = errors.New("https://me:canary-password@x")
	if body := ask(s, "GET", "/cost").Body.String(); strings.Contains(body, "canary") {
		t.Errorf("the page shows a secret: %s", body)
	}
}

func TestHostileNamesOfFamiliesStayText(t *testing.T) {
	const evil = `"><script>alert(1)</script>`
	m := newFakeMesh(t)
	m.costRows = costRows(evil, "http://me:canary-password@x/")
	s := m.server(Config{})
	for _, path := range []string{"/cost", "/cost?drop_family=" + url.QueryEscape(evil), "/cost?by=label&search=" +
		url.QueryEscape(evil), "/cost?aggregate=" + url.QueryEscape(evil) + "&aggregate_without=" +
		url.QueryEscape(evil)} {
		body := ask(s, "GET", path).Body.String()
		if strings.Contains(body, "<script>") || strings.Contains(body, "canary") {
			t.Errorf("%s: %s", path, body)
		}
	}
}

// TestCostTakesAForm: what dashboards use may be longer than a URL can be, so the API takes a form, up to a limit.
func TestCostTakesAForm(t *testing.T) {
	s := newFakeMesh(t).server(Config{})
	for size, want := range map[int]int{1 << 20: http.StatusOK, maxCostForm + 1: http.StatusBadRequest} {
		form := url.Values{"used_file": {"x"}, "used": {strings.Repeat("a", size)}}
		w := askForm(s, "/api/v1/cost", form)
		wantStatus(t, w, want)
	}
}
