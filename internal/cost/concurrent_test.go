package cost

import (
	"sync"
	"testing"
)

// TestReportsBesideScrapes: reports, counts of the history and scrapes of pages that change run at the same time.
func TestReportsBesideScrapes(t *testing.T) {
	m := newMesh(t, "  metric_relabel_configs: [{regex: source_workload, action: labeldrop}]\n", shop())
	c := m.costs()
	var all sync.WaitGroup
	all.Go(func() {
		for range 20 {
			m.scrape(t)
		}
	})
	for range 2 {
		all.Go(func() {
			for range 10 {
				r, err := c.Report(t.Context(), Query{By: ByFamily, Sort: "series", Rows: 10, Page: 1, DropLabel: "le"})
				if err != nil || r.Totals.Series != 74 {
					t.Errorf("%v, %d series, want 74", err, r.Totals.Series)
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
