package cost

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// TestReportsBesideScrapes: reports, counts of the history and scrapes of pages that change run at the same time.
func TestReportsBesideScrapes(t *testing.T) {
	m := newMesh(t, "  metric_relabel_configs: [{regex: source_workload, action: labeldrop}]\n", shop())
	var answers atomic.Int64
	m.change = func(page string) string {
		if answers.Add(1)%3 > 0 {
			return page
		}
		return strings.ReplaceAll(page, "source-", "other-")
	}
	c := m.costs()
	var all sync.WaitGroup
	all.Go(func() {
		for range 100 {
			m.scrape(t)
		}
	})
	for range 2 {
		all.Go(func() {
			for range 10 {
				r, err := c.Report(t.Context(), Query{By: ByFamily, Sort: "series", Rows: 10, Page: 1, DropLabel: "le"})
				if err != nil || r.Totals.Series != 74 || r.Totals.Without != 0 {
					t.Errorf("%v, totals %+v; want 74 series and no target without a page", err, r.Totals)
				}
			}
		})
	}
	all.Go(func() {
		for range 10 {
			c.count(t.Context())
		}
	})
	all.Wait()
}
