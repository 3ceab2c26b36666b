package cost

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/envoy-scraper/envoy-scraper/internal/aggregate"
)

func block(match string, change func(*aggregate.Block)) aggregate.Block {
	b := aggregate.Block{Jobs: []string{"envoy"}, Match: regexp.MustCompile("^(?s:" + match + ")$"),
		Without: aggregate.DefaultWithout(), As: labels.FromStrings("instance", "node-1"), Gauges: aggregate.GaugesRaw}
	if change != nil {
		change(&b)
	}
	return b
}

// randomPage returns the text of a page, and adds what it has to sums by label set as a text, as the blocks of
// aggregates have it: a histogram counts apart for each list of bounds.
func randomPage(random *rand.Rand, target labels.Labels, b aggregate.Block, sums map[string]int) string {
	var text strings.Builder
	seen := map[string]bool{}
	add := func(name, tags, le, bounds string, summed bool) {
		line := name + "{" + tags
		whole := labels.NewBuilder(target)
		whole.Set("__name__", name)
		for pair := range strings.SplitSeq(strings.TrimSuffix(tags, ","), ",") {
			if name, value, ok := strings.Cut(pair, "="); ok {
				whole.Set(name, strings.Trim(value, `"`))
			}
		}
		if le != "" {
			line += fmt.Sprintf("le=%q", le)
			whole.Set("le", le)
		}
		if line += "}"; seen[line] {
			return
		}
		seen[line] = true
		fmt.Fprintf(&text, "%s %d\n", line, random.IntN(100))
		if summed && b.Match.MatchString(name) {
			sums[b.Labels(whole.Labels()).String()+bounds]++
		}
	}
	tags := func() (tags string) {
		for l := range 3 {
			if random.IntN(3) > 0 {
				tags += fmt.Sprintf(`l%d="%d",`, l, random.IntN(2))
			}
		}
		return tags
	}
	for f := range 3 {
		fmt.Fprintf(&text, "# TYPE istio_c%d counter\n", f)
		for range random.IntN(6) {
			add(fmt.Sprintf("istio_c%d", f), tags(), "", "", true)
		}
	}
	for f := range 2 {
		fmt.Fprintf(&text, "# TYPE istio_h%d histogram\n", f)
		for range random.IntN(4) {
			name, tags, bounds := fmt.Sprintf("istio_h%d", f), tags(), []string{"1", "+Inf"}
			if seen[name+"_sum{"+tags+"}"] {
				continue
			}
			if random.IntN(4) == 0 {
				bounds = []string{"1", "2", "+Inf"}
			}
			for _, le := range bounds {
				add(name+"_bucket", tags, le, fmt.Sprint(bounds), true)
			}
			add(name+"_sum", tags, "", fmt.Sprint(bounds), true)
			add(name+"_count", tags, "", fmt.Sprint(bounds), true)
		}
	}
	text.WriteString("# TYPE istio_s summary\n")
	add("istio_s", `quantile="0.5"`, "", "", false)
	add("istio_s_sum", "", "", "", true)
	add("istio_s_count", "", "", "", true)
	text.WriteString("# TYPE istio_g gauge\n")
	add("istio_g", tags(), "", "", false)
	text.WriteString("# TYPE other counter\n")
	add("other", tags(), "", "", true)
	text.WriteString("# TYPE istio_u untyped\n")
	add("istio_u", tags(), "", "", false)
	return text.String()
}

// TestSumsAreExact compares the number of aggregates with that of label sets that are made by the block and compared as
// texts, for random pages.
func TestSumsAreExact(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for round := range 30 {
		b, without := block("istio_.*", nil), ""
		if round%3 == 1 {
			b, without = block("istio_.*", func(b *aggregate.Block) { b.Without = []string{"pod", "l1"} }), "pod, l1"
		}
		pages, sums := map[string]string{}, map[string]int{}
		for pod := range 6 {
			namespace, name := fmt.Sprint("ns", pod%2), fmt.Sprint("pod", pod)
			// instance is the same for all: the address of the test's server
			target := labels.FromStrings("namespace", namespace, "pod", name, "job", "envoy", "instance", "x")
			pages[namespace+"/"+name] = randomPage(random, target, b, sums)
		}
		m := newMesh(t, "", pages)
		r := m.report(t, Query{Aggregate: "istio_.*", Without: strings.ReplaceAll(without, " ", "")})
		got, series := r.WhatIf[0].Sums, 0
		for _, n := range sums {
			series += n
		}
		if got.Series != series || got.Aggregates != len(sums) || got.Gauges != 6 || got.Others != 12 {
			t.Fatalf("round %d: got %+v, want %d series, %d aggregates, 6 gauges and 12 others of %v", round, got,
				series, len(sums), pages)
		}
	}
}

// TestAggregateSaysWhatItSaves: 3 of 4 pages are of two workloads that share nothing, and two are replicas.
func TestAggregateSaysWhatItSaves(t *testing.T) {
	m := newMesh(t, "", shop())
	c := New(Source{Table: m.table, Pages: m.pools.LastPages,
		Sent: func() []Sent { return []Sent{{Samples: 1000, Bytes: 10_000}, {}, {Samples: 10, Bytes: 100}} }})
	r, err := c.Report(t.Context(), Query{By: ByFamily, Sort: "series", Aggregate: "istio"})
	if err != nil {
		t.Fatal(err)
	}
	w := r.WhatIf[0]
	s := w.Sums
	// 66 series of istio_ metrics; those of one of the two replicas, 24, go.
	if !w.Safe || s.Match != "istio_.*" || s.Series != 66 || s.Aggregates != 42 || w.Gone.Series != 24 ||
		w.Left.Series != 50 || fmt.Sprintf("%.3f", w.Gone.SamplesPerSecond) != "2.400" {
		t.Errorf("%+v, %+v", w, s)
	}
	const day = 86_400
	if now, then := 7.4*20*day, 5.0*20*day; fmt.Sprintf("%.0f %.0f", *s.BytesPerDay, *s.BytesPerDayThen) !=
		fmt.Sprintf("%.0f %.0f", now, then) {
		t.Errorf("%.0f bytes a day instead of %.0f, want %.0f instead of %.0f", *s.BytesPerDayThen, *s.BytesPerDay,
			then, now)
	}
	var text bytes.Buffer
	if err := r.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"What if: sum istio_.* without instance, pod, pod_name, namespace, pod_template_hash, ",
		"66 series match and can be summed. They make 42 sums, of 1.6 series on average. Of 74 series " +
			"that are sent now, 50 would be left (67.6%).",
		"Saves at the sidecar: nothing",
		"Saves at the receiver: 24 series and 2.4 samples per second less; 8.2 MiB instead of 12.2 MiB a day",
		`    envoy_scraper:
      aggregate:
        - jobs: [envoy]
          match: istio_.*
          without: [instance, pod, pod_name, namespace, pod_template_hash, `, `
          as:
            instance: '%{NODE_NAME}'
`} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("got no %q in\n%s", want, &text)
		}
	}
}

// TestAggregateOfWhatCannotBeSummed: nothing matches, or gauges alone, or everything is summed already.
func TestAggregateOfWhatCannotBeSummed(t *testing.T) {
	m := newMesh(t, "", shop())
	for match, want := range map[string]string{
		"istio_request":    "No series that can be summed has a name that matches. Similar names: istio_request_bytes",
		"envoy_server_.*":  "No series that can be summed has a name that matches. 4 series of gauges match and stay",
		"envoy_cluster_.*": "4 series match and can be summed. They make 1 sum, of 4.0 series on average.",
	} {
		w := m.report(t, Query{Aggregate: match}).WhatIf[0]
		if !strings.Contains(w.Answer, want) || w.Unknown != strings.Contains(want, "Similar") {
			t.Errorf("%s: got %+v, want %q", match, w, want)
		}
	}
	if w := m.report(t, Query{Aggregate: "istio_.*", Without: "pod"}).WhatIf[0]; w.Gone.Series != 24 {
		t.Errorf("namespace is the same for both replicas, and nothing else: %+v", w)
	}
	const churn = "Hardly two targets of this agent show the same series"
	if answer := m.report(t, Query{Aggregate: "istio_.*"}).WhatIf[0].Answer; strings.Contains(answer, churn) {
		t.Error(answer)
	}
	m = newMesh(t, "", map[string]string{"a/x-0": sidecarPage("x", 3), "a/y-0": sidecarPage("y", 3)})
	if w := m.report(t, Query{Aggregate: "istio_.*"}).WhatIf[0]; !strings.Contains(w.Answer, churn) ||
		w.Gone.Series != 0 {
		t.Errorf("%+v", w)
	}
}

// TestWhatIsSummedIsNotSent: with a block in force, cost counts aggregates as sent, and says what is summed.
func TestWhatIsSummedIsNotSent(t *testing.T) {
	m := newMesh(t, "", shop())
	status := aggregate.Status{
		Blocks: []aggregate.Block{block("istio_requests_.*|envoy_server_uptime", nil)},
		Groups: []aggregate.GroupStatus{{Series: 3, Interval: 10 * time.Second},
			{Series: 4, Interval: 20 * time.Second}},
	}
	report := func(q Query) *Report {
		t.Helper()
		c := New(Source{Table: m.table, Pages: m.pools.LastPages,
			Aggregates: func() aggregate.Status { return status },
			Sent:       func() []Sent { return []Sent{{Samples: 100, Bytes: 1000}} }})
		q.Sort, q.Rows, q.Page = "series", maxRows, 1
		if q.By == "" {
			q.By = ByFamily
		}
		r, err := c.Report(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	r := report(Query{DropFamily: "istio_requests_total", Aggregate: "istio_.*"})
	// 11 series of istio_requests_total are summed; the gauge stays.
	if *r.Totals.Summed != 11 || *r.Totals.Aggregates != 7 || fmt.Sprintf("%.2f", r.Totals.SentSamplesPerSecond) !=
		"6.80" || fmt.Sprintf("%.1f", *r.Totals.WrittenBytesPerSecond) != "68.0" {
		t.Errorf("%+v", r.Totals)
	}
	requests := r.row(t, "istio_requests_total")
	if requests.Cell("summed") != "100.0%" || *r.row(t, "envoy_server_uptime").Summed != 0 {
		t.Errorf("rows %+v", r.Rows)
	}
	if by := report(Query{By: ByWorkload}); *by.row(t, "shop/reviews-v1").Summed != 8 {
		t.Errorf("rows %+v", by.Rows)
	}
	if saves := r.WhatIf[0].Fixes[0].Receiver; saves != "0 series less, and the aggregates of 11 series that are "+
		"summed already" {
		t.Errorf("the family: %s", saves)
	}
	s := r.WhatIf[1].Sums
	if s.Series != 55 || s.Already != 11 || !strings.Contains(r.WhatIf[1].Answer,
		"Of 70 series that are sent now, 50 would be left (71.4%). 11 series match and are summed already.") {
		t.Errorf("the rest: %+v", r.WhatIf[1])
	}
	if fix := r.WhatIf[1].Fixes[0]; fix.YAML != "" || fix.Title != "envoy_scraper.aggregate[0] matches some of these "+
		"series already, and a series can be matched by one entry only. Widen that entry: "+
		"match: istio_requests_.*|envoy_server_uptime|istio_.*" {
		t.Errorf("the fix of the rest: %+v", fix)
	}
	if fix := report(Query{Aggregate: "istio_request_.*"}).WhatIf[0].Fixes[0]; fix.YAML == "" {
		t.Errorf("the fix of other series: %+v", fix)
	}
	var text bytes.Buffer
	wire, err := json.Marshal(r) // the command gets a running process' report as JSON
	if err != nil {
		t.Fatal(err)
	}
	r = &Report{}
	if err := errors.Join(json.Unmarshal(wire, r), r.WriteText(&text)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Summed: 11 of the series. Sent: 70 series, of which 7 are aggregates.", "SUMMED"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("got no %q in\n%s", want, &text)
		}
	}
	for name, tc := range map[string]struct {
		block        aggregate.Block
		summed, sent int
	}{
		"kept beside":    {block("istio_requests_.*", func(b *aggregate.Block) { b.KeepRaw = true }), 11, 74 + 7},
		"another job":    {block("istio_requests_.*", func(b *aggregate.Block) { b.Jobs = []string{"x"} }), 0, 74 + 7},
		"gauges, summed": {block("envoy_server_.*", func(b *aggregate.Block) { b.Gauges = "max" }), 4, 74 - 4 + 7},
	} {
		status.Blocks = []aggregate.Block{tc.block}
		if got := report(Query{}).Totals; *got.Summed != tc.summed || got.SentSeries != tc.sent {
			t.Errorf("%s: %+v, want %d summed and %d sent", name, got, tc.summed, tc.sent)
		}
	}
	status = aggregate.Status{Blocks: []aggregate.Block{block("istio_.*", nil)}} // a command that sends nothing
	r = report(Query{})
	if r.Totals.Aggregates != nil || !strings.Contains(r.Totals.Cell("sent"), "8 series, and aggregates, which only") {
		t.Errorf("%+v says %s", r.Totals, r.Totals.Cell("sent"))
	}
	status = aggregate.Status{}
	r = report(Query{})
	if r.Totals.Summed != nil || slices.ContainsFunc(r.Columns(), func(c Column) bool { return c.Key == "summed" }) {
		t.Errorf("without a block: %+v, %v", r.Totals, r.Columns())
	}
}

// TestLabelsThatCollideCanBeSummed: the answer names the question to ask next.
func TestLabelsThatCollideCanBeSummed(t *testing.T) {
	m := newMesh(t, "", shop())
	w := m.report(t, Query{DropLabel: "pod"}).WhatIf[0]
	if w.Safe || len(w.Fixes) != 1 || !strings.Contains(w.Fixes[0].YAML,
		"--aggregate='NAME.*' --aggregate-without=instance,pod,pod_name,namespace") {
		t.Errorf("%+v", w)
	}
}

func TestQueriesAboutAggregates(t *testing.T) {
	for _, tc := range []struct{ aggregate, without, parsed, want string }{
		{"istio", "", "", ""},
		{" istio_.* ", " pod,instance  pod\n", "pod,instance", ""},
		{"(", "", "", "give a regular expression of names"},
		{"(a{20}){20}", "", "", "repeated more than"},
		{strings.Repeat("a", maxName+1), "", "", "1024 bytes at most"},
		{"", "pod", "", "give aggregate, too"},
		{"a", "le", "", "le: a sum over it has no meaning"},
		{"a", "__name__", "", "has no meaning"},
		{"a", strings.Repeat("x", maxName+1), "", "at most"},
	} {
		v := url.Values{"aggregate": {tc.aggregate}, "aggregate_without": {tc.without}}
		q, err := ParseQuery(v)
		if tc.want != "" {
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v: got %v, want %q", v, err, tc.want)
			}
			continue
		}
		again, errAgain := ParseQuery(q.Values())
		if err != nil || errAgain != nil || again != q || q.Without != tc.parsed || q.Aggregate !=
			strings.TrimSpace(tc.aggregate) {
			t.Errorf("%v: got %+v, %v, and again %+v, %v", v, q, err, again, errAgain)
		}
	}
	v := url.Values{"aggregate": {"a"}, "aggregate_without": {""}}
	for i := range maxWithout + 1 {
		v["aggregate_without"][0] += fmt.Sprintf("l%d,", i)
	}
	if _, err := ParseQuery(v); err == nil {
		t.Error("too many labels are taken")
	}
}

// TestBoundsCannotBeSummed: without le, the buckets of a histogram have no meaning.
func TestBoundsCannotBeSummed(t *testing.T) {
	w := newMesh(t, "", shop()).report(t, Query{DropLabel: "le"}).WhatIf[0]
	if w.Safe || len(w.Fixes) != 1 || w.Fixes[0].YAML != "" {
		t.Errorf("%+v", w)
	}
}
