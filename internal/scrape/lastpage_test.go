package scrape

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/discovery/targetgroup"

	"github.com/envoy-scraper/envoy-scraper/internal/exposition"
)

// TestLastPages: a target whose last scrape failed has none, and a page that is held stays what it is.
func TestLastPages(t *testing.T) {
	r := newRig()
	r.apply(t, job(t, "  metric_relabel_configs: [{source_labels: [__name__], regex: dropped, action: drop}]\n"))
	const text = "# TYPE x counter\nx 1\nx{a=\"b\"} 2\n# TYPE dropped counter\ndropped 3\nx 1\n"
	r.pages.set("a:1", text)
	r.pages.set("b:1", text)
	r.discover(at("a:1"), at("b:1"), at("c:1"))
	if n := r.ScrapeOnce(t.Context(), 0, 2); n != 3 {
		t.Fatalf("%d targets were scraped, want 3", n)
	}
	pages, without := r.LastPages()
	if len(pages) != 2 || without != 1 {
		t.Fatalf("%d pages, %d targets without one; want 2 and 1", len(pages), without)
	}
	p := pages[0]
	if p.Bytes != int64(len(text)) || p.WireBytes != p.Bytes || p.Samples != 4 || p.Interval != 10*time.Second ||
		!p.Shown.Same(pages[1].Shown) {
		t.Errorf("the page is %+v, want %d bytes, 4 samples, and the lines of the other one", p, len(text))
	}
	got := ""
	for line := range p.Shown.Lines() {
		kind := map[exposition.LineKind]string{exposition.LineSeries: "series", exposition.LineDropped: "dropped",
			exposition.LineFamily: "family", exposition.LineComment: "comment"}[line.Kind]
		got += fmt.Sprintf("%s %d %v %s\n", kind, line.Length, line.Repeated, p.Shown.FamilyName(line.Family))
	}
	if want := "family 16 false x\nseries 1 false \nseries 8 false \nfamily 22 false dropped\ndropped 7 false \n" +
		"series 1 true \n"; got != want {
		t.Errorf("the lines are\n%swant\n%s", got, want)
	}
	r.pages.set("a:1", "y 1\n")
	r.pages.set("b:1", "y 1\n")
	r.ScrapeOnce(t.Context(), 0, 1)
	series := 0
	for line := range p.Shown.Lines() {
		if line.Kind == exposition.LineSeries {
			series++
		}
	}
	if series != 3 {
		t.Errorf("%d lines of series on the page that is held, want 3", series)
	}
	before := r.table.Len()
	for i := range pages {
		pages[i].Release()
	}
	if after := r.table.Len(); after != before-2 {
		t.Errorf("%d series in the table, and %d after the release; want 2 less", before, after)
	}
	if pages[0].Shown.Hold() {
		t.Error("a page that nobody has can be held")
	}
}

// TestLinesOfATimedPage: series with timestamps of their own, which staleness does not follow, are not repeated.
func TestLinesOfATimedPage(t *testing.T) {
	r := newRig()
	r.apply(t, job(t, ""))
	at1 := time.Now().UnixMilli()
	r.pages.set("a:1", fmt.Sprintf("x 1 %d\ny 2 %d\nx 3 %d\nz 4\n", at1, at1, at1+1))
	r.discover(at("a:1"))
	r.ScrapeOnce(t.Context(), 0, 1)
	pages, _ := r.LastPages()
	var repeated []bool
	for line := range pages[0].Shown.Lines() {
		repeated = append(repeated, line.Repeated)
	}
	if got := fmt.Sprint(repeated); got != "[false false true false]" {
		t.Errorf("repeated: %s, want the second x alone", got)
	}
	pages[0].Release()
}

// TestScrapeOnceTakesJobsInTurn: with a limit, every job has its share.
func TestScrapeOnceTakesJobsInTurn(t *testing.T) {
	r := newRig()
	other := job(t, "")
	other.JobName = "other"
	r.apply(t, job(t, ""), other)
	var many []model.LabelSet
	for i := range 5 {
		many = append(many, at(fmt.Sprintf("a:%d", i+1)))
	}
	r.discover(many...)
	r.Update(map[string][]*targetgroup.Group{"other": {{Source: "0", Targets: []model.LabelSet{at("b:1"), at("b:2")}}}})
	if n := r.ScrapeOnce(t.Context(), 4, 1); n != 4 {
		t.Errorf("%d targets were scraped, want 4", n)
	}
	for _, p := range r.Status() {
		scraped := 0
		for _, target := range p.Targets {
			if target.Health != HealthUnknown {
				scraped++
			}
		}
		if scraped != 2 {
			t.Errorf("%d targets of %s were scraped, want 2 of 4", scraped, p.Job)
		}
	}
}

// TestMetricsOfTheCostOfAJob: series and bytes, through failures, a reload and the end of a target.
func TestMetricsOfTheCostOfAJob(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		r.apply(t, job(t, ""))
		r.pages.set("a:1", "x 1\ny 2\ny 2\n")
		r.pages.set("b:1", "x 1\n")
		r.discover(at("a:1"), at("b:1"))
		r.ScrapeOnce(t.Context(), 0, 1)
		m := r.env.metrics
		series := m.jobSeries.WithLabelValues("envoy")
		wantSeries := func(when string, want float64) {
			t.Helper()
			if n := testutil.ToFloat64(series); n != want {
				t.Errorf("%s: %v series, want %v", when, n, want)
			}
		}
		wantSeries("after a scrape", 3)
		for what, v := range map[string]float64{
			"page": testutil.ToFloat64(m.pageBytes.WithLabelValues("envoy")),
			"wire": testutil.ToFloat64(m.wireBytes.WithLabelValues("envoy")),
		} {
			if v != 16 {
				t.Errorf("%s bytes: %v, want 16", what, v)
			}
		}
		r.pages.fail("a:1", errors.New("reset"))
		r.ScrapeOnce(t.Context(), 0, 1)
		wantSeries("after a failure", 1)
		r.pages.fail("a:1", nil)
		r.ScrapeOnce(t.Context(), 0, 1)
		wantSeries("after the failure", 3)
		r.apply(t, job(t, "  sample_limit: 100\n"))
		wantSeries("after a reload", 3)
		r.discover(at("a:1"))
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- r.Run(ctx) }()
		time.Sleep(time.Minute)
		wantSeries("without the second target", 2)
		stop()
		<-done
	})
}

// TestBytesOfPagesThatBreakOff: page_bytes_total counts what wire_bytes_total does.
func TestBytesOfPagesThatBreakOff(t *testing.T) {
	r := newRig()
	r.apply(t, job(t, "  body_size_limit: 10B\n"))
	r.pages.set("a:1", "x 1\ny 2\nz 3\n")
	r.discover(at("a:1"))
	r.ScrapeOnce(t.Context(), 0, 1)
	m := r.env.metrics
	page := testutil.ToFloat64(m.pageBytes.WithLabelValues("envoy"))
	if wire := testutil.ToFloat64(m.wireBytes.WithLabelValues("envoy")); page != wire || page < 10 {
		t.Errorf("%v bytes of pages, %v on the wire; want the same, and 10 at least", page, wire)
	}
}

// TestLastPageWhileAScrapeEnds: a healthy target has a last page at every moment, also before its status is new.
func TestLastPageWhileAScrapeEnds(t *testing.T) {
	r := newRig()
	r.apply(t, job(t, ""))
	r.pages.set("a:1", "x 1\n")
	r.discover(at("a:1"))
	r.ScrapeOnce(t.Context(), 0, 1)
	r.pages.set("a:1", "y 1\nz 1\n")
	l := r.inTurn()[0]
	read := l.read(&scrapeContext{Context: t.Context(), deadline: time.Now().Add(time.Minute)}, time.Now(), time.Now())
	if read.err != nil {
		t.Fatal(read.err)
	}
	l.commit(read.batch, true, exposition.Shown{}, nil)
	p, ok := l.lastPage()
	if !ok {
		t.Fatal("there is no last page between commit and remember")
	}
	lines := 0
	for range p.Shown.Lines() {
		lines++
	}
	if p.Release(); lines != 2 {
		t.Errorf("the last page has %d lines, want those of the new one", lines)
	}
}
