package web

import (
	"encoding/json"
	"fmt"
	"html"
	"math"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/envoy-scraper/envoy-scraper/internal/aggregate"
)

// fakeAggregates returns what aggregate.Aggregates would return.
type fakeAggregates struct {
	status  aggregate.Status
	series  map[uint64][]aggregate.AggregateOf // by the hash of the group's labels
	sources map[uint64][]aggregate.SourceOf    // by the hash of the aggregate's labels

	of map[string]int // series that are summed, by the label instance of the target

	asked int // the largest limit so far
}

func (f *fakeAggregates) Status() aggregate.Status { return f.status }

func (f *fakeAggregates) Series(
	group labels.Labels, match func(labels.Labels) bool, offset, limit int,
) (of []aggregate.AggregateOf, found int) {
	for _, a := range f.series[group.Hash()] {
		if match == nil || match(a.Series) {
			of = append(of, a)
		}
	}
	return f.cut(of, offset, limit), len(of)
}

func (f *fakeAggregates) cut(of []aggregate.AggregateOf, offset, limit int) []aggregate.AggregateOf {
	f.asked = max(f.asked, limit)
	offset = min(offset, len(of))
	return of[offset:min(offset+limit, len(of))]
}

func (f *fakeAggregates) Sources(
	_, series labels.Labels, offset, limit int,
) (of []aggregate.SourceOf, found int, ok bool) {
	f.asked = max(f.asked, limit)
	of, ok = f.sources[series.Hash()]
	offset = min(offset, len(of))
	return of[offset:min(offset+limit, len(of))], len(of), ok
}

func (f *fakeAggregates) Of(targets []labels.Labels) [][]aggregate.InGroup {
	all := make([][]aggregate.InGroup, len(targets))
	for i, l := range targets {
		if n := f.of[l.Get("instance")]; n > 0 {
			all[i] = []aggregate.InGroup{{Group: f.status.Groups[0].Labels, Series: n}}
		}
	}
	return all
}

// addGroup adds a group of n aggregates with the given labels.
func (f *fakeAggregates) addGroup(g aggregate.GroupStatus, series ...aggregate.AggregateOf) {
	g.Series = len(series)
	f.status.Groups = append(f.status.Groups, g)
	if f.series == nil {
		f.series, f.sources = map[uint64][]aggregate.AggregateOf{}, map[uint64][]aggregate.SourceOf{}
	}
	f.series[g.Labels.Hash()] = series
}

// addSource adds a source to an aggregate.
func (f *fakeAggregates) addSource(sum labels.Labels, pod string, last float64) {
	target := labels.FromStrings("instance", pod+":15090", "job", "envoy-stats", "namespace", "shop", "pod", pod)
	whole := labels.NewBuilder(sum)
	target.Range(func(l labels.Label) { whole.Set(l.Name, l.Value) })
	f.sources[sum.Hash()] = append(f.sources[sum.Hash()], aggregate.SourceOf{Target: target, Series: whole.Labels(),
		Last: last})
}

func sumOf(name string, more ...string) labels.Labels {
	return labels.FromStrings(append([]string{"__name__", name, "app", "cart", "instance", "node-1", "job",
		"envoy-stats"}, more...)...)
}

// addSums sums some of the shop's series.
func (m *fakeMesh) addSums() *fakeMesh {
	m.sums.status.Blocks = []aggregate.Block{{Jobs: []string{"envoy-stats"},
		Match:   regexp.MustCompile("^(?s:istio_.*)$"),
		Without: []string{"instance", "pod", "pod_name", "namespace"}, As: labels.FromStrings("instance", "node-1"),
		Gauges: aggregate.GaugesRaw, Idle: 15 * time.Minute}}
	group := func(app string, tick time.Duration, targets, sources int, series ...aggregate.AggregateOf) {
		g := aggregate.GroupStatus{Labels: labels.FromStrings("app", app, "instance", "node-1", "job", "envoy-stats"),
			Interval: 15 * time.Second, Targets: targets, Sources: sources}
		if tick > 0 {
			g.Tick = fakeNow.Add(-tick)
		}
		m.sums.addGroup(g, series...)
	}
	requests := sumOf("istio_requests_total", "response_code", "200")
	group("cart", 4*time.Second, 2, 4,
		aggregate.AggregateOf{Series: requests, Total: 1234567.5, Written: true, Sources: 2},
		aggregate.AggregateOf{Series: sumOf("istio_requests_total", "response_code", "500"), Total: 3, Sources: 2})
	group("catalog", time.Minute, 3, 30)
	group("pay", 0, 1, 10)
	group("orders", 6*time.Second, 0, 0, aggregate.AggregateOf{})
	m.sums.addSource(requests, "cart-0", 700)
	m.sums.addSource(requests, "cart-1", 534567)
	return m
}

// groupPath returns the path of a group's page.
func groupPath(g aggregate.GroupStatus) string { return "/aggregates?group=" + groupID(g.Labels) }

func TestAggregatePages(t *testing.T) {
	m := newFakeMesh(t).shop()
	s := m.server(Config{})
	w := ask(s, "GET", "/aggregates")
	wantStatus(t, w, http.StatusOK)
	golden(t, "aggregates-none.html.golden", w.Body.Bytes())

	m.addSums()
	cart := groupPath(m.sums.status.Groups[0])
	one := cart + "&series=" + groupID(sumOf("istio_requests_total", "response_code", "200"))
	for name, path := range map[string]string{
		"aggregates":        "/aggregates",
		"aggregates-group":  cart,
		"aggregates-search": cart + "&search=requests+response_code%3D500&refresh=15",
		"aggregates-one":    one,
	} {
		w := ask(s, "GET", path)
		wantStatus(t, w, http.StatusOK)
		golden(t, name+".html.golden", w.Body.Bytes())
	}
	var text, indented strings.Builder
	for _, path := range []string{"/aggregates?", cart, one} {
		w := ask(s, "GET", path+"&format=text")
		wantStatus(t, w, http.StatusOK)
		text.WriteString(w.Body.String())
		w = ask(s, "GET", "/api/v1"+path)
		wantStatus(t, w, http.StatusOK)
		same := ask(s, "GET", path, "Accept", "application/json").Body.String()
		if path == "/aggregates?" { // is a list as others are
			var list struct {
				List struct{ Found int }
				Data []groupFields
			}
			if err := json.Unmarshal([]byte(same), &list); err != nil || list.List.Found != 4 || len(list.Data) != 4 {
				t.Errorf("%v: %s", err, same)
			}
		} else if same != w.Body.String() {
			t.Errorf("%s: the page as JSON is %s\nand the API answers %s", path, same, w.Body)
		}
		var answer any
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
			t.Fatalf("%s: %v: %s", path, err, w.Body)
		}
		pretty, err := json.MarshalIndent(answer, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&indented, "%s\n", pretty)
	}
	golden(t, "aggregates.txt.golden", []byte(text.String()))
	golden(t, "aggregates.json.golden", []byte(indented.String()))
}

// TestGroupsAreNarrowedAndSorted: the worst groups come first.
func TestGroupsAreNarrowedAndSorted(t *testing.T) {
	s := newFakeMesh(t).addSums().server(Config{})
	app := regexp.MustCompile(`<b>app</b>="(\w+)"`)
	for query, want := range map[string]string{
		"":                         "catalog pay orders cart",
		"?sort=-sources":           "catalog pay cart orders",
		"?sort=tick":               "cart orders catalog pay",
		"?state=late":              "catalog",
		"?state=summed":            "cart",
		"?search=app%3D~c.*":       "catalog cart",
		"?search=nothing":          "",
		"?interval=15s&state=idle": "orders",
	} {
		var got []string
		body := html.UnescapeString(ask(s, "GET", "/aggregates"+query).Body.String())
		for _, m := range app.FindAllStringSubmatch(body, -1) {
			got = append(got, m[1])
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: got %v, want %s", query, got, want)
		}
	}
	body := html.UnescapeString(ask(s, "GET", "/aggregates?search=app%3D~(").Body.String())
	if !strings.Contains(body, "The search was not done") {
		t.Errorf("got %s", body)
	}
}

// TestWhatIsGoneIsSaid: an address of yesterday does not look like an empty group.
func TestWhatIsGoneIsSaid(t *testing.T) {
	m := newFakeMesh(t).addSums()
	s := m.server(Config{})
	cart := groupPath(m.sums.status.Groups[0])
	for path, want := range map[string]string{
		"/aggregates?group=1":          "this group is gone",
		"/aggregates?group=x&series=1": "this group is gone",
		cart + "&series=1":             "this aggregate is gone",
		cart + "&series=" + groupID(sumOf("istio_requests_total", "response_code", "500")): "this aggregate is gone",
	} {
		for _, format := range []string{"html", "text", "json"} {
			w := ask(s, "GET", path+"&format="+format)
			wantStatus(t, w, http.StatusNotFound)
			if !strings.Contains(w.Body.String(), want) {
				t.Errorf("%s as %s: got no %q in %s", path, format, want, w.Body)
			}
		}
	}
	for _, format := range []string{"text", "json"} {
		for _, path := range []string{"/aggregates?search=a%3D~(", cart + "&search=a%3D~("} {
			wantStatus(t, ask(s, "GET", path+"&format="+format), http.StatusBadRequest)
		}
	}
	if body := html.UnescapeString(ask(s, "GET", cart+"&search=a%3D~(").Body.String()); !strings.Contains(body,
		"The search was not done") || !strings.Contains(body, `name="group"`) {
		t.Errorf("got %s", body)
	}
}

// TestAggregatesComeInPages: neither a page nor an answer for programs grows with the group.
func TestAggregatesComeInPages(t *testing.T) {
	m := newFakeMesh(t)
	var series []aggregate.AggregateOf
	for i := range 40_000 {
		series = append(series, aggregate.AggregateOf{Total: float64(i), Sources: 1000, Written: true,
			Series: sumOf("istio_request_duration_milliseconds_bucket", "le", fmt.Sprint(i%20), "source_workload",
				fmt.Sprintf("a-workload-with-a-long-name-%05d", i/20), "destination_principal",
				strings.Repeat("spiffe://cluster.local/ns/shop", 3))})
	}
	m.sums.addGroup(aggregate.GroupStatus{Labels: labels.FromStrings("app", "cart"), Tick: fakeNow, Targets: 1000},
		series...)
	for i := range 12_000 {
		m.sums.addSource(series[0].Series, fmt.Sprintf("cart-%d", i), float64(i))
	}
	s := m.server(Config{})
	group := groupPath(m.sums.status.Groups[0])
	one := group + "&series=" + groupID(series[0].Series)
	for _, tc := range []struct {
		path, want string
		rows, size int
	}{
		{group, "1–100 of 40,000", 100, 1 << 20},
		{group + "&rows=500&page=80", "39,501–40,000 of 40,000", 500, 1 << 20},
		{group + "&rows=500&page=9223372036854775807", "39,501–40,000 of 40,000", 500, 1 << 20},
		{group + "&search=name-00007+le%3D7", "Showing 1 of 40,000 aggregates, filtered by search", 1, 1 << 20},
		{group + "&search=name-00007", "Showing 20 of 40,000 aggregates", 20, 1 << 20},
		{one, "1–100 of 12,000", 100, 1 << 20},
		{one + "&rows=500&page=24", "11,501–12,000 of 12,000", 500, 1 << 20},
		{group + "&format=text", "# 40,000 aggregates", 0, 4 << 20},
		{group + "&format=json", `"found":40000,"page":1,"pages":4,`, 0, 6 << 20},
		{group + "&format=json&rows=7&page=3", `"found":40000,"page":3,"pages":5715,`, 0, 1 << 20},
		{group + "&format=json&rows=1000000000", `"found":40000,"page":1,"pages":4,`, 0, 6 << 20},
		{one + "&format=json&page=2", `"found":12000,"page":2,"pages":2,`, 0, 6 << 20},
	} {
		body := ask(s, "GET", tc.path).Body.String()
		if !strings.Contains(body, tc.want) || len(body) > tc.size {
			t.Errorf("%s: got %d bytes, want at most %d with %q: %.3000s", tc.path, len(body), tc.size, tc.want, body)
		}
		if rows := strings.Count(body, `<th scope="row">`); rows != tc.rows {
			t.Errorf("%s: got %d rows, want %d", tc.path, rows, tc.rows)
		}
	}
	if m.sums.asked > mostAggregates {
		t.Errorf("%d aggregates were asked for at once", m.sums.asked)
	}
}

// TestLinksOfAGroupKeepTheGroup: a search, a page and "Show all" stay in the group.
func TestLinksOfAGroupKeepTheGroup(t *testing.T) {
	m := newFakeMesh(t)
	var series []aggregate.AggregateOf
	for i := range 300 {
		series = append(series, aggregate.AggregateOf{Series: sumOf("m", "i", fmt.Sprint(i))})
	}
	g := aggregate.GroupStatus{Labels: labels.FromStrings("app", "cart"), Tick: fakeNow}
	m.sums.addGroup(g, series...)
	body := html.UnescapeString(ask(m.server(Config{}), "GET", groupPath(g)+"&search=cart").Body.String())
	id := groupID(g.Labels)
	for _, want := range []string{
		`<input type="hidden" name="group" value="` + id + `">`,
		`<a rel="next" href="?group=` + id + `&page=2&search=cart">`,
		`<a href="?group=` + id + `">Show all</a>`,
		`<a href="?format=json&group=` + id + `&search=cart">`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("got no %s in %s", want, body)
		}
	}
}

// TestPageOfAGauge: the sentences about totals are for counters alone. A single row is no plural.
func TestPageOfAGauge(t *testing.T) {
	for of, want := range map[aggregate.Gauges]string{
		aggregate.GaugesSum: "It is the sum of the values", aggregate.GaugesMax: "It is the largest of the values",
		aggregate.GaugesMin: "It is the smallest of the values", "": "It grows by what its source series grow by",
	} {
		m := newFakeMesh(t)
		gauge := sumOf("istio_connections")
		m.sums.status.Blocks = []aggregate.Block{{Match: regexp.MustCompile(".*")}}
		m.sums.addGroup(aggregate.GroupStatus{Labels: labels.FromStrings("app", "cart"), Tick: fakeNow, Series: 1},
			aggregate.AggregateOf{Series: gauge, Of: of, Total: 3, Sources: 1})
		m.sums.addSource(gauge, "cart-0", 3)
		s := m.server(Config{})
		group := groupPath(m.sums.status.Groups[0])
		body := ask(s, "GET", group+"&series="+groupID(gauge)).Body.String()
		if !strings.Contains(body, want) || strings.Contains(body, "grows by") != (of == "") {
			t.Errorf("%q: no %q in %s", of, want, body)
		}
		if body := ask(s, "GET", "/api/v1"+group).Body.String(); strings.Contains(body, `"gauges":`) != (of != "") {
			t.Errorf("%q: the JSON is %s", of, body)
		}
		for path, want := range map[string]string{"/aggregates?": "# 1 group,", group: "# 1 aggregate,",
			group + "&series=" + groupID(gauge): "# 1 source series,"} {
			if body := ask(s, "GET", path+"&format=text").Body.String(); !strings.HasPrefix(body, want) {
				t.Errorf("%s: no %q in %s", path, want, body)
			}
		}
	}
}

// TestHostileAggregatesStayText: labels of targets are neither markup nor secrets nor a second line.
func TestHostileAggregatesStayText(t *testing.T) {
	const evil = `"><script>alert(1)</script>`
	const secret = "http://me:canary-password@x/"
	m := newFakeMesh(t).addSums()
	hostile := labels.FromStrings("app", evil, "site", secret, "line", "a\nb\x1b[2J")
	sum := labels.FromStrings("__name__", evil, "site", secret, "a<script>", evil, "long", strings.Repeat("ä", 100_000))
	m.sums.status.Blocks[0].As = labels.FromStrings("instance", evil, "site", secret)
	m.sums.addGroup(aggregate.GroupStatus{Labels: hostile, Tick: fakeNow, Targets: 1},
		aggregate.AggregateOf{Series: sum, Total: math.Inf(1)},
		aggregate.AggregateOf{Series: sumOf("m"), Total: math.NaN()},
		aggregate.AggregateOf{Series: sumOf("n"), Total: math.MaxFloat64})
	m.sums.sources[sum.Hash()] = []aggregate.SourceOf{{Series: sum, Last: math.Inf(-1),
		Target: labels.FromStrings("instance", evil, "job", evil, "site", secret)}}
	s := m.server(Config{})
	group := "/aggregates?group=" + groupID(hostile)
	for _, path := range []string{"/aggregates?", group, group + "&series=" + groupID(sum),
		group + "&search=" + url.QueryEscape(evil), "/aggregates?job=" + url.QueryEscape(evil),
		"/aggregates?group=" + url.QueryEscape(evil), group + "&series=" + url.QueryEscape(evil)} {
		for _, format := range []string{"html", "json", "text"} {
			w := ask(s, "GET", path+"&format="+format)
			body := strings.Replace(w.Body.String(), `<script src="static/app.js" defer></script>`, "", 1)
			if format != "text" && strings.Contains(body, "<script") || strings.Contains(body, "canary") {
				t.Errorf("%s as %s: %s", path, format, body)
			}
			if len(body) > 1<<20 || strings.ContainsRune(body, '\x1b') && format != "html" {
				t.Errorf("%s as %s: got %d bytes, or a control character", path, format, len(body))
			}
			if format == "json" && !json.Valid(w.Body.Bytes()) {
				t.Errorf("%s: no JSON: %.1000s", path, w.Body)
			}
		}
	}
	body := ask(s, "GET", group+"&search=canary&format=text").Body.String()
	if !strings.Contains(body, "# Showing 0 of") {
		t.Errorf("a search finds a secret: %s", body)
	}
}

func BenchmarkPageOfALargeGroup(b *testing.B) {
	m := newFakeMesh(b)
	var series []aggregate.AggregateOf
	for i := range 40_000 {
		series = append(series, aggregate.AggregateOf{Series: sumOf("istio_requests_total", "source_workload",
			fmt.Sprintf("workload-%05d", i), "response_code", "200", "response_flags", "-", "reporter", "source")})
	}
	g := aggregate.GroupStatus{Labels: labels.FromStrings("app", "cart"), Tick: fakeNow}
	m.sums.addGroup(g, series...)
	s := m.server(Config{})
	for name, path := range map[string]string{"100 rows": "", "searched": "&search=workload-0999+response_code%3D200",
		"one aggregate": "&series=" + groupID(series[20_000].Series), "JSON": "&format=json"} {
		b.Run(name, func(b *testing.B) {
			size := 0
			for b.Loop() {
				size = ask(s, "GET", groupPath(g)+path).Body.Len()
			}
			b.ReportMetric(float64(size), "bytes/page")
		})
	}
}

// TestTargetsSayWhatIsSummed: so do the evidence of a pod, and why.
func TestTargetsSayWhatIsSummed(t *testing.T) {
	m := newFakeMesh(t).shop().addSums()
	const instance = "10.0.0.2:15090"
	const sentence = "1,234 of its series are summed, in "
	for path, want := range map[string]string{
		"/targets":                          sentence + `<a href="aggregates?group=4512e1ef37d0a349">a group</a>`,
		"/targets?format=json":              `"summed":[{"group":"4512e1ef37d0a349","series":1234}]`,
		"/pods?pod=shop/cart-1":             sentence + "the group {app=&#34;cart&#34;, instance=",
		"/pods?pod=shop/cart-1&format=text": sentence + `the group {app="cart", instance="node-1"`,
		"/pods?pod=shop/cart-1&format=json": sentence + `the group {app=\"cart\"`,
	} {
		for n, of := range []map[string]int{nil, {instance: 1234}} {
			m.sums.of = of
			body := ask(m.server(Config{}), "GET", path).Body.String()
			if got := strings.Count(body, want); got != n {
				t.Errorf("%s: got %q %d times, want %d in %s", path, want, got, n, body)
			}
		}
	}
}
