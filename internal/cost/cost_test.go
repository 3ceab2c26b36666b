package cost

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/discovery/targetgroup"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"

	"github.com/envoy-scraper/envoy-scraper/internal/discovery"
	"github.com/envoy-scraper/envoy-scraper/internal/scrape"
	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

func updates(job string, groups []*targetgroup.Group) map[string]discovery.Update {
	u := discovery.Update{Whole: true}
	for i, g := range groups {
		u.Groups = append(u.Groups, discovery.Group{Discovery: uint64(i), Group: g})
	}
	return map[string]discovery.Update{job: u}
}

func shop() map[string]string {
	return map[string]string{
		"shop/reviews-v1-6c9f8bcb9d-mm6jd": sidecarPage("reviews-v1", 4),
		"shop/reviews-v1-6c9f8bcb9d-t2gln": sidecarPage("reviews-v1", 4),
		"shop/postgres-0":                  sidecarPage("postgres", 2),
		"pay/node-agent-x7k2p":             sidecarPage("node-agent", 1),
	}
}

// TestTables counts a small mesh in each table. A page with n sources has 6n+2 series.
func TestTables(t *testing.T) {
	m := newMesh(t, "", shop())
	for by, want := range map[By]map[string]int{
		ByFamily: {"istio_requests_total": 11, "istio_request_bytes": 55, "envoy_cluster_upstream_rq_timeout": 4,
			"envoy_server_uptime": 4},
		ByLabel: {"reporter": 66, "source_workload": 66, "source_principal": 66, "destination_workload": 66,
			"response_code": 66, "le": 33, "envoy_cluster_name": 4, "namespace": 74, "pod": 74, "instance": 74,
			"job": 74},
		ByPod: {"shop/reviews-v1-6c9f8bcb9d-mm6jd": 26, "shop/reviews-v1-6c9f8bcb9d-t2gln": 26, "shop/postgres-0": 14,
			"pay/node-agent-x7k2p": 8},
		ByWorkload:  {"shop/reviews-v1": 52, "shop/postgres": 14, "pay/node-agent": 8},
		ByNamespace: {"shop": 66, "pay": 8},
		ByJob:       {"envoy": 74},
		ByDropped:   {},
	} {
		r := m.report(t, Query{By: by})
		got := map[string]int{}
		for _, row := range r.Rows {
			got[row.Name] = row.Series
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("by %s: got %v\nwant %v", by, got, want)
		}
		if r.Totals.Series != 74 || r.Totals.Targets != 4 || r.Totals.Buckets != 33 || r.Totals.Without != 0 {
			t.Errorf("totals are %+v", r.Totals)
		}
	}
	families, labelRows := m.report(t, Query{}), m.report(t, Query{By: ByLabel})
	bytes := families.row(t, "istio_request_bytes")
	if bytes.Pods != 4 || bytes.Buckets != 33 || math.Abs(bytes.SamplesPerSecond-5.5) > 1e-9 {
		t.Errorf("istio_request_bytes: %+v, want 4 pods, 33 buckets, 5.5 samples per second", bytes)
	}
	if row := labelRows.row(t, "source_workload"); row.Values != 4 || row.Pods != 4 {
		t.Errorf("source_workload: %+v, want 4 values in 4 pods", row)
	}
	if row := labelRows.row(t, "le"); row.Values != 3 {
		t.Errorf("le: %+v, want 3 values", row)
	}
}

// TestBytesAddUp: the bytes of the families are those of the pages, and those of pods too.
func TestBytesAddUp(t *testing.T) {
	pages := shop()
	whole := 0
	for _, text := range pages {
		whole += len(text)
	}
	m := newMesh(t, "", pages)
	for _, by := range []By{ByFamily, ByPod, ByNamespace} {
		r := m.report(t, Query{By: by})
		sum := int64(0)
		for _, row := range r.Rows {
			sum += row.PageBytes
		}
		if int(r.Totals.PageBytes) != whole || sum > int64(whole) || sum < int64(whole-len(r.Rows)) {
			t.Errorf("by %s: rows have %d bytes, totals %d, the pages have %d", by, sum, r.Totals.PageBytes, whole)
		}
	}
}

// TestDropped counts by family what rules left out, although only hashes of those lines are kept.
func TestDropped(t *testing.T) {
	m := newMesh(t, `  metric_relabel_configs:
  - {source_labels: [__name__], regex: istio_request_bytes_.*, action: drop}
  - {source_labels: [source_workload], regex: source-0, action: drop}
`, shop())
	r := m.report(t, Query{By: ByDropped})
	if n := r.row(t, "istio_request_bytes").Series; n != 55 {
		t.Errorf("%d samples of istio_request_bytes are dropped, want 55", n)
	}
	if row := r.row(t, "istio_requests_total"); row.Series != 4 || row.Pods != 4 {
		t.Errorf("istio_requests_total: %+v, want 4 samples of 4 pods", row)
	}
	if r.Totals.Dropped != 59 || r.Totals.Series != 74-59 {
		t.Errorf("totals: %+v, want 59 dropped of 74", r.Totals)
	}
}

// TestDropLabelIsExact compares the counts with those of label sets that are compared as texts, for random pages and
// every label of theirs.
func TestDropLabelIsExact(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for round := range 5 {
		pages := map[string]string{}
		for pod := range 4 {
			var b strings.Builder
			seen := map[string]bool{}
			for range 60 {
				line := fmt.Sprintf("m%d{", random.IntN(3))
				for l := range 3 {
					if random.IntN(3) > 0 {
						line += fmt.Sprintf(`l%d="%d",`, l, random.IntN(3))
					}
				}
				if random.IntN(2) == 0 {
					line += fmt.Sprintf(`le="%d"`, random.IntN(3))
				}
				if line += "}"; !seen[line] {
					seen[line] = true
					fmt.Fprintf(&b, "%s 1\n", line)
				}
			}
			pages[fmt.Sprintf("ns%d/pod-%d", pod%2, pod)] = b.String()
		}
		// In every second round, replicas differ in no label.
		rules := ""
		if round%2 == 1 {
			rules = "  metric_relabel_configs: [{regex: pod, action: labeldrop}]\n"
		}
		m := newMesh(t, rules, pages)
		sets := labelSets(t, pages, round%2 == 1)
		for _, label := range []string{"l0", "l1", "l2", "le", "pod", "namespace", "instance"} {
			before, after := countTexts(sets, ""), countTexts(sets, label)
			w := m.report(t, Query{DropLabel: label}).WhatIf[0]
			if label == "pod" && round%2 == 1 {
				if !w.Unknown {
					t.Errorf("round %d: the label pod is known, though a rule drops it", round)
				}
				continue
			}
			colliding, gone := after.colliding-before.colliding, before.distinct-after.distinct
			if w.Colliding != colliding || w.Gone.Series != gone || w.Safe != (colliding == 0) {
				t.Errorf("round %d, without %s: %d collide, %d gone, safe %v; want %d collide, %d gone", round, label,
					w.Colliding, w.Gone.Series, w.Safe, colliding, gone)
			}
		}
	}
}

// labelSets returns the label sets of all pages, with those labels of the targets that differ.
func labelSets(t *testing.T, pages map[string]string, withoutPod bool) (sets []labels.Labels) {
	t.Helper()
	for name, text := range pages {
		namespace, pod, _ := strings.Cut(name, "/")
		p, err := textparse.New([]byte(text), "text/plain", nil, textparse.ParserOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for {
			entry, err := p.Next()
			if err != nil {
				break
			}
			if entry != textparse.EntrySeries {
				continue
			}
			var l labels.Labels
			p.Labels(&l)
			b := labels.NewBuilder(l).Set("namespace", namespace).Set("instance", "x")
			if !withoutPod {
				b.Set("pod", pod)
			}
			sets = append(sets, b.Labels())
		}
	}
	return sets
}

func countTexts(sets []labels.Labels, without string) (c setCounts) {
	seen := map[string]int{}
	for _, l := range sets {
		seen[labels.NewBuilder(l).Del(without).Labels().String()]++
	}
	for _, n := range seen {
		c.distinct++
		if n > 1 {
			c.colliding += n
		}
	}
	return c
}

func without(label series.Symbol) setsOf { return setsOf{without: []series.Symbol{label}} }

// TestManySetsAreCountedInParts: a mesh with more series than fit is counted in parts, with the same result.
func TestManySetsAreCountedInParts(t *testing.T) {
	m := newMesh(t, "", shop())
	pages, _ := m.pools.LastPages()
	defer func() {
		for i := range pages {
			pages[i].Release()
		}
	}()
	r := &tableReader{table: m.table}
	tally := count(pages, r, nil, nil, nil, false)
	for _, label := range []string{"le", "source_workload", "pod"} {
		one, err := countSetsIn(t.Context(), pages, r, without(tally.labels[label]), 74, 1)
		if err != nil {
			t.Fatal(err)
		}
		if many, _ := countSetsIn(t.Context(), pages, r, without(tally.labels[label]), 74, 5); many != one {
			t.Errorf("without %s: %+v in five parts, %+v in one", label, many, one)
		}
	}
}

func TestWhatIfSaysWhereItSaves(t *testing.T) {
	m := newMesh(t, "", shop())
	r := m.report(t, Query{DropFamily: "istio_request_bytes_bucket", DropLabel: "source_principal"})
	family, label := r.WhatIf[0], r.WhatIf[1]
	if family.Question != "drop the family istio_request_bytes" || family.Gone.Series != 55 || !family.Safe {
		t.Errorf("the family: %+v", family)
	}
	if len(family.Fixes) != 2 || !strings.Contains(family.Fixes[1].YAML, "metric: REQUEST_SIZE") ||
		family.Fixes[0].Sidecar != "" || family.Fixes[1].Sidecar == "" {
		t.Errorf("fixes of the family: %+v", family.Fixes)
	}
	if !label.Safe || label.Gone.Series != 0 || len(label.Fixes) != 2 ||
		!strings.Contains(label.Fixes[1].YAML, "source_principal:\n          operation: REMOVE") {
		t.Errorf("source_principal has a value for each source_workload, so it can go: %+v", label)
	}
	le := m.report(t, Query{DropLabel: "le"}).WhatIf[0]
	if le.Safe || le.Colliding != 33 || le.Gone.Series != 22 || !strings.Contains(le.Answer,
		"33 series would have the labels of another one, so they must be summed, not dropped") {
		t.Errorf("le: %+v", le)
	}
	for _, f := range le.Fixes {
		if strings.Contains(f.YAML, "labeldrop") {
			t.Errorf("a rule that drops le is offered: %+v", f)
		}
	}
	for _, q := range []Query{{DropFamily: "istio_request_byte"}, {DropLabel: "source_workloads"}} {
		if w := m.report(t, q).WhatIf[0]; !w.Unknown || !strings.Contains(w.Answer, "Similar names: ") {
			t.Errorf("%+v: %+v, want similar names", q, w)
		}
	}
}

// TestAlwaysZero: a series counts as always zero from the second report on, until it has another value.
func TestAlwaysZero(t *testing.T) {
	m := newMesh(t, "", shop())
	if r := m.report(t, Query{}); r.Totals.Zero != nil {
		t.Errorf("zero before anything was watched: %d", *r.Totals.Zero)
	}
	m.scrape(t)
	r := m.report(t, Query{})
	if z := r.row(t, "envoy_cluster_upstream_rq_timeout").Zero; z == nil || *z != 4 {
		t.Errorf("envoy_cluster_upstream_rq_timeout: %v are zero, want 4", z)
	}
	if z := r.row(t, "istio_requests_total").Zero; z == nil || *z != 0 {
		t.Errorf("istio_requests_total: %v are zero, want 0", z)
	}
	if fixes := m.report(t, Query{DropFamily: "envoy_cluster_upstream_rq_timeout"}).WhatIf[0].Fixes; len(fixes) != 3 ||
		!strings.Contains(fixes[2].YAML, "usedonly") {
		t.Errorf("fixes of a family that is always zero: %+v", fixes)
	}
	pod := "pay/node-agent-x7k2p"
	m.pages[pod] = strings.Replace(m.pages[pod], `{envoy_cluster_name="x"} 0`, `{envoy_cluster_name="x"} 1`, 1)
	m.scrape(t)
	m.pages[pod] = strings.Replace(m.pages[pod], `{envoy_cluster_name="x"} 1`, `{envoy_cluster_name="x"} 0`, 1)
	m.scrape(t)
	if z := m.report(t, Query{}).row(t, "envoy_cluster_upstream_rq_timeout").Zero; *z != 0 {
		t.Errorf("%d are zero after one of the series that all pods share had a value, want 0", *z)
	}
}

// TestWatchEnds: after an hour without a report nothing is watched, and its memory is given back.
func TestWatchEnds(t *testing.T) {
	m := newMesh(t, "", shop())
	m.watch.Start(time.Now().Add(-2 * watchFor))
	m.scrape(t)
	if m.watch.until.Load() != 0 || m.watch.seen != nil {
		t.Error("it still watches")
	}
}

func TestChangeWithinAnHour(t *testing.T) {
	pages := shop()
	m := newMesh(t, "", pages)
	c := m.costs()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	c.now = func() time.Time { return now }
	q := Query{By: ByFamily, Sort: "series", Rows: 100, Page: 1}
	if r, _ := c.Report(t.Context(), q); r.Totals.Change != nil {
		t.Error("a change without a count before")
	}
	for range 9 {
		c.count(t.Context())
		now = now.Add(countEvery)
	}
	pages["shop/postgres-0"] = sidecarPage("postgres", 3)
	m.scrape(t)
	r, err := c.Report(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	if r.Totals.Change == nil || *r.Totals.Change != 6 || now.Sub(*r.Totals.Since) != time.Hour {
		t.Errorf("totals changed by %v since %v, want 6 within an hour", r.Totals.Change, r.Totals.Since)
	}
	if row := r.row(t, "istio_request_bytes"); row.Change == nil || *row.Change != 5 {
		t.Errorf("istio_request_bytes: %+v, want 5 more", row)
	}
	if n := len(c.history.counts); n != countsKept {
		t.Errorf("%d counts are kept, want %d", n, countsKept)
	}
}

// TestTheLockIsHeldBriefly: whatever a report counts, it makes about maxWork steps under one hold of the lock.
func TestTheLockIsHeldBriefly(t *testing.T) {
	pages := map[string]string{}
	for i := range 20 {
		pages[fmt.Sprintf("ns/pod-%d", i)] = sidecarPage(fmt.Sprint("w", i), 300)
	}
	m := newMesh(t, "", pages)
	last, _ := m.pools.LastPages()
	defer func() {
		for i := range last {
			last[i].Release()
		}
	}()
	sortPages(last)
	r := &tableReader{table: m.table}
	tally := count(last, r, nil, nil, nil, false)
	if _, err := tally.dropLabel(t.Context(), "source_principal", last, r); err != nil {
		t.Fatal(err)
	}
	const mostLabels = 20 // of a series here
	if r.mostWork == 0 || r.mostWork > maxWork+mostLabels {
		t.Errorf("%d steps under one hold of the lock, want %d at most", r.mostWork, maxWork+mostLabels)
	}
}

// TestPagesThatGoMeanwhile: a report holds what it counts, and afterwards everything is given back.
func TestPagesThatGoMeanwhile(t *testing.T) {
	m := newMesh(t, "", shop())
	pages, _ := m.pools.LastPages()
	for name := range m.pages {
		m.pages[name] = "other 1\n"
	}
	m.scrape(t)
	sortPages(pages)
	if n := count(pages, &tableReader{table: m.table}, nil, nil, nil, false).totals.Series; n != 74 {
		t.Errorf("%d series on the pages that are held, want 74", n)
	}
	for i := range pages {
		pages[i].Release()
	}
	if n := m.report(t, Query{}).Totals.Series; n != 4 {
		t.Errorf("%d series now, want 4", n)
	}
}

// TestControllersNameWorkloads: what discovery knows is better than a guess from the name of a pod.
func TestControllersNameWorkloads(t *testing.T) {
	m := newMesh(t, "", map[string]string{
		"shop/web-1": sidecarPage("web", 1), "shop/web-2": sidecarPage("web", 1), "shop/single": sidecarPage("web", 1),
	})
	src := Source{Table: m.table, Pages: m.pools.LastPages, Controllers: func() map[scrape.Pod]string {
		return map[scrape.Pod]string{{Namespace: "shop", Name: "web-1"}: "", // it has none
			{Namespace: "shop", Name: "web-2"}: "ReplicaSet/front-6c9f8bcb9d",
			{Namespace: "pay", Name: "single"}: "StatefulSet/other"}
	}}
	r, err := New(src).Report(t.Context(), Query{By: ByWorkload, Sort: "name", Ascending: true, Rows: 10})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, row := range r.Rows {
		got = append(got, row.Name)
	}
	if want := []string{"shop/front", "shop/single", "shop/web"}; !slices.Equal(got, want) {
		t.Errorf("workloads %q, want %q", got, want)
	}
}

func TestTextCannotMoveTheCursor(t *testing.T) {
	r := &Report{Query: Query{By: ByFamily, Rows: 10}, Rows: []Row{{Name: "evil\x1b[2J\r\n"}}, Found: 1, All: 1}
	var b bytes.Buffer
	if err := r.WriteText(&b); err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(b.String(), "\x1b\r") || !strings.Contains(b.String(), "evil?[2J??") {
		t.Errorf("the text is %q", b.String())
	}
}

func TestQuery(t *testing.T) {
	for text, want := range map[string]string{
		"by=pods": "give one of family, label, pod", "sort=size": "give one of name, series", "order=up": "asc or desc",
		"rows=0": "from 1 to", "by=family&sort=values": "no such column",
	} {
		v, err := parseForm(text)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseQuery(v); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	v, _ := parseForm("by=label&sort=name&order=desc&search=Wor&page=2&rows=1&drop_label=le")
	q, err := ParseQuery(v)
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := ParseQuery(q.Values()); again != q {
		t.Errorf("%+v becomes %+v", q, again)
	}
	rows := []Row{{Name: "source_workload"}, {Name: "le"}, {Name: "destination_workload"}}
	page, found := q.choose(rows)
	if found != 2 || len(page) != 1 || page[0].Name != "destination_workload" {
		t.Errorf("found %d, page %v", found, page)
	}
	if !slices.ContainsFunc(Columns(ByLabel), func(c Column) bool { return c.Key == "values" }) {
		t.Error("labels have no column of values")
	}
}

// TestPagesFarAway: no number of a page is too large.
func TestPagesFarAway(t *testing.T) {
	m := newMesh(t, "", shop())
	for _, page := range []string{"9223372036854775807", "922337203685477581", "-1", "100000", "2"} {
		q, err := ParseQuery(url.Values{"page": {page}, "rows": {"10000"}})
		if err != nil {
			t.Fatal(err)
		}
		for _, q := range []Query{q, {By: ByFamily, Sort: "series", Rows: math.MaxInt, Page: math.MaxInt}} {
			r, err := m.costs().Report(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			if err := r.WriteText(io.Discard); err != nil {
				t.Error(err)
			}
		}
	}
}

// TestLabelsOfTargetsThatWereNotCounted: nothing is said to be possible for them.
func TestLabelsOfTargetsThatWereNotCounted(t *testing.T) {
	m := newMesh(t, "", shop())
	for name, tc := range map[string]struct {
		src                Source
		partial            bool
		answer, rule, note string
	}{
		"all counted": {Source{}, false, "66 series have the label source_principal.", "Add to the job envoy ", ""},
		"left out by --limit": {Source{LeftOut: 3}, true,
			"Among the series of 4 targets that were counted (5 were not): 66 series have the label",
			"If the series of the other targets stay different, too: add to the job envoy ",
			"3 targets are in no figure: they were left out by --limit."},
		"not scraped": {Source{}, true, "(5 were not)", "If the series",
			"5 targets are in no figure: they were not scraped yet"},
		"other shards": {Source{Others: func() int { return 7 }}, true, "(7 were not)", "If the series",
			"7 targets are in no figure: other instances scrape them"},
	} {
		src := tc.src
		src.Table = m.table
		src.Pages = func() ([]scrape.LastPage, int) {
			pages, without := m.pools.LastPages()
			if tc.partial && src.Others == nil {
				without += 5
			}
			return pages, without
		}
		q := Query{By: ByFamily, Sort: "series", DropLabel: "source_principal"}
		r, err := New(src).Report(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		w, notes := r.WhatIf[0], strings.Join(r.Notes, "\n")
		if w.Safe == tc.partial || w.Partial != tc.partial || !strings.Contains(w.Answer, tc.answer) ||
			!strings.Contains(w.Answer, "as long as no page shows another value") ||
			!strings.HasPrefix(w.Fixes[0].Title, tc.rule) || !strings.Contains(notes, tc.note) {
			t.Errorf("%s: %+v, notes\n%s", name, w, notes)
		}
	}
}

// TestSortedAsShown: columns that show a share are sorted by it.
func TestSortedAsShown(t *testing.T) {
	few, many := 9, 10
	rows := []Row{{Name: "a", Series: 100, Buckets: 10, Zero: &many}, {Name: "b", Series: 10, Buckets: 9, Zero: &few}}
	for _, column := range []string{"buckets", "zero"} {
		q := Query{By: ByFamily, Sort: column, Rows: 2}
		if page, _ := q.choose(rows); page[0].Name != "b" {
			t.Errorf("by %s: %s of %s is before %s of %s", column, page[0].Cell(column), page[0].Name,
				page[1].Cell(column), page[1].Name)
		}
	}
}

// TestNamesOfManyJobs: a title names no part of the jobs that are meant.
func TestNamesOfManyJobs(t *testing.T) {
	for _, jobs := range []int{1, 2, 63, 64, 100} {
		c := counter{out: &tally{}}
		for i := range jobs {
			c.jobs = append(c.jobs, fmt.Sprintf("job-%03d", i))
		}
		c.out.totals.Jobs = c.jobs
		var set jobSet
		for _, job := range c.jobs {
			set |= c.jobOf(job)
		}
		got := c.out.ofJobs(set)
		if set != c.out.allJobs() || got != "each job" && !strings.Contains(got, c.jobs[jobs-1]) {
			t.Errorf("%d jobs: %x, want %x; %s", jobs, set, c.out.allJobs(), got)
		}
	}
}
