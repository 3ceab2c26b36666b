package cost

import (
	"fmt"
	"strings"
	"testing"

	"github.com/envoy-scraper/envoy-scraper/internal/scrape"
)

// TestFiltersAreTold: a report says how many targets are asked with a filter and what that saves, and which pages are
// merged ones.
func TestFiltersAreTold(t *testing.T) {
	m := newMesh(t, "", shop())
	report := func(change func(i int, p *scrape.LastPage)) *Report {
		src := Source{Table: m.table, Watch: m.watch, Pages: func() ([]scrape.LastPage, int) {
			pages, without := m.pools.LastPages()
			for i := range pages {
				change(i, &pages[i])
			}
			return pages, without
		}}
		r, err := New(src).Report(t.Context(), Query{By: ByFamily, Sort: "series", Rows: 1, Page: 1})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	r := report(func(int, *scrape.LastPage) {})
	if notes := strings.Join(r.Notes, "\n"); strings.Contains(notes, "filter") || strings.Contains(notes, "15020") {
		t.Errorf("without a filter: %s", notes)
	}
	all := r.Totals.PageBytes
	r = report(func(i int, p *scrape.LastPage) {
		switch i {
		case 0: // its whole page is three times as long as all pages together
			p.Filter, p.Whole.Bytes = "istio_", p.Bytes+3*all
		case 1: // its last page was whole
			p.Filter, p.Whole.Bytes = "istio_", p.Bytes
		default:
			p.URL = "http://10.0.0.1:15020/stats/prometheus"
		}
	})
	notes := strings.Join(r.Notes, "\n")
	for _, want := range []string{
		"Filtered pages: 1. The lines that a filter leaves out cost nothing, and are in no table. That saves " +
			size(3*all) + " in a round of scrapes, 75.0% of what all pages would have.",
		"Whole pages of targets that have a filter: 1. The first page and every fortieth one is whole.",
		fmt.Sprintf("Targets on port 15020: %d. There pilot-agent merges Envoy's page with that of the application.",
			r.Totals.Targets-2),
	} {
		if !strings.Contains(notes, want) {
			t.Errorf("notes lack %q:\n%s", want, notes)
		}
	}
	if tot := r.Totals; tot.Filtered != 1 || tot.Compared != 1 || tot.FilteredBytes != 3*all ||
		tot.Merged != tot.Targets-2 {
		t.Errorf("totals: %+v", tot)
	}
}

// TestRulesThatMakeAFilterSaveAtTheSidecar: only those.
func TestRulesThatMakeAFilterSaveAtTheSidecar(t *testing.T) {
	gone := Amount{Series: 3, SamplesPerSecond: 1, PageBytes: 1000}
	const saves = "up to 1000 B less in each round of scrapes, if the other rules allow a filter (envoy-scraper " +
		"check says so) and it leaves out at least a quarter of the lines"
	for name, c := range map[string]struct {
		rule rule
		want string
	}{
		"keep by name":      {rule{[]string{"__name__"}, "istio_requests_total", "keep"}, saves},
		"drop of a metric":  {rule{[]string{"__name__"}, "istio_request_bytes.*", "drop"}, saves},
		"drop of buckets":   {rule{[]string{"__name__"}, "istio_request_bytes_bucket", "drop"}, ""},
		"drop of a label":   {rule{nil, "source_principal", "labeldrop"}, ""},
		"keep of all":       {rule{[]string{"__name__"}, ".*", "keep"}, ""},
		"not an expression": {rule{[]string{"__name__"}, "(", "keep"}, ""},
	} {
		fix := new(tally).ruleFix(c.rule, 0, gone)
		if fix.Sidecar != c.want || fix.Network != c.want {
			t.Errorf("%s: saves %q at the sidecar and %q on the network, want %q", name, fix.Sidecar, fix.Network,
				c.want)
		}
	}
}
