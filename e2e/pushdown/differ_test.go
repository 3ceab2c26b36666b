package pushdown

import (
	"math"
	"slices"
	"strings"
	"testing"
)

// TestCompareFindsDifferences makes each kind of difference in what one agent has stored.
func TestCompareFindsDifferences(t *testing.T) {
	const (
		still   = `{__name__="envoy_cluster_version"}`
		rises   = `{__name__="envoy_cluster_upstream_rq"}`
		passing = `{__name__="envoy_cluster_passing"}`
	)
	for name, tt := range map[string]struct {
		change func(auto *record)
		want   string // in the only problem; empty: there is none
	}{
		"none":                     {func(*record) {}, ""},
		"missing":                  {func(r *record) { delete(r.series, still) }, "auto has not " + still},
		"more":                     {func(r *record) { r.series["{a}"] = &[]sample{{1000, 1, false}} }, "off has not"},
		"another value at the end": {func(r *record) { (*r.series[still])[9].value = 8 }, "at the end 8, with off 7"},
		"a value that no scrape could see": {func(r *record) { (*r.series[rises])[4].value = 80 },
			"80 at 5000 is not between"},
		"a gap": {func(r *record) { *r.series[still] = slices.Delete(*r.series[still], 4, 6) }, "2 lives, with off 1"},
		"too late": {func(r *record) { *r.series[passing] = slices.Delete(*r.series[passing], 0, 2) },
			"appeared between 4000 and 5000, with off between 2100 and 3100"},
		"too early an end": {func(r *record) {
			marker := sample{4000, math.NaN(), true}
			*r.series[passing] = slices.Insert(slices.Delete(*r.series[passing], 1, 4), 1, marker)
		}, "ended between 3000 and 4000, with off between 6100 and 7100"},
		"no marker": {func(r *record) { *r.series[passing] = (*r.series[passing])[:4] },
			"its end has a staleness marker: false, with off true"},
		"a failed scrape is no gap": {func(r *record) {
			*r.series[still] = slices.Insert(slices.Delete(*r.series[still], 4, 5), 4, sample{5000, math.NaN(), true})
			*r.series[rises] = slices.Delete(*r.series[rises], 4, 5)
			*r.series[passing] = slices.Delete(*r.series[passing], 2, 3)
			(*r.reports["up"])[4].value = 0
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			make := func(shift int64) *record {
				r := &record{map[string]*[]sample{still: {}, rises: {}, passing: {}},
					map[string]*[]sample{"up": {}, "scrape_duration_seconds": {}}}
				add := func(of map[string]*[]sample, name string, at int64, v float64) {
					*of[name] = append(*of[name], sample{at, v, math.IsNaN(v)})
				}
				for n := int64(1); n <= 10; n++ {
					at := n*1000 + shift
					add(r.reports, "up", at, 1)
					add(r.reports, "scrape_duration_seconds", at, 0.01)
					add(r.series, still, at, 7)
					add(r.series, rises, at, float64(at/10))
					if n >= 3 && n <= 6 {
						add(r.series, passing, at, 1)
					}
				}
				add(r.series, passing, 7000+shift, math.NaN())
				return r
			}
			c := comparison{auto: make(0), off: make(100),
				still: func(s string) bool { return s == still }, rises: func(s string) bool { return s == rises }}
			tt.change(c.auto)
			_, problems := c.compare()
			if tt.want == "" && len(problems) > 0 || tt.want != "" &&
				(len(problems) != 1 || !strings.Contains(problems[0], tt.want)) {
				t.Errorf("problems %q, want %q", problems, tt.want)
			}
		})
	}
}
