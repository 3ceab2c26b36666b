package scrape

import "testing"

func TestWhatAFilterLeavesOut(t *testing.T) {
	for name, c := range map[string]struct {
		filter      string
		page, whole int64
		want        float64 // 0: not known
	}{
		"filtered":            {"istio_", 380, 1000, 0.62},
		"the page was whole":  {"istio_", 1000, 1000, 0},
		"the page has grown":  {"istio_", 1100, 1000, 0},
		"no whole page yet":   {"istio_", 380, 0, 0},
		"the scrape failed":   {"istio_", 0, 1000, 0},
		"longer than allowed": {"istio_", -1, 1000, 0},
		"no filter any more":  {"", 380, 1000, 0},
	} {
		target := TargetStatus{Filter: c.filter, PageBytes: c.page, Whole: PageSize{Bytes: c.whole}}
		if part, known := target.LeftOut(); part != c.want || known != (c.want > 0) {
			t.Errorf("%s: %v, %v; want %v", name, part, known, c.want)
		}
		page := LastPage{Filter: c.filter, Bytes: c.page, Whole: PageSize{Bytes: c.whole}}
		if want := int64(c.want*1000 + 0.5); page.LeftOut() != want {
			t.Errorf("%s: %d bytes, want %d", name, page.LeftOut(), want)
		}
	}
}
