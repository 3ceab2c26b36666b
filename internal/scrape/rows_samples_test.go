package scrape

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/prometheus/model/labels"
	dto "github.com/prometheus/prometheus/prompb/io/prometheus/client"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// scrapeOnce scrapes a page once, as target a:1 of a job.
func scrapeOnce(t *testing.T, yaml, text string) (*rig, map[string]string) {
	t.Helper()
	r := newRig()
	r.pages.set("a:1", text)
	r.apply(t, job(t, yaml))
	r.discover(at("a:1"))
	r.scrapeAll(t.Context(), "envoy")
	return r, r.values(t, -1)
}

// scrapeAll scrapes each target of a job once, now.
func (r *rig) scrapeAll(ctx context.Context, job string) {
	for _, l := range r.jobs[job].loops {
		l.scrape(ctx, r.jobs[job].targetLimitError())
	}
}

// scrapeNext scrapes another page of the target.
func (r *rig) scrapeNext(t *testing.T, text string) map[string]string {
	t.Helper()
	r.pages.set("a:1", text)
	r.scrapeAll(t.Context(), "envoy")
	return r.values(t, -1)
}

// reports compares report series of the last batch. Their names are given without "scrape_".
func (r *rig) reports(t *testing.T, pairs ...string) {
	t.Helper()
	r.sink.mu.Lock()
	defer r.sink.mu.Unlock()
	for i := 0; i < len(pairs); i += 2 {
		got, ok := r.sink.got[len(r.sink.got)-1].samples[named("scrape_"+pairs[i])]
		if !ok {
			got = "missing"
		}
		if got != pairs[i+1] {
			t.Errorf("scrape_%s = %s, want %s", pairs[i], got, pairs[i+1])
		}
	}
}

func TestRow11HonorTimestamps(t *testing.T) {
	const page = "x 1 1000\ny 1 0\n"
	_, got := scrapeOnce(t, "", page)
	want(t, got, named("x"), "1 @1000", named("y"), "1 @0", named("up"), "1")
	_, got = scrapeOnce(t, "  honor_timestamps: false\n", page)
	want(t, got, named("x"), "1", named("y"), "1", named("up"), "1")
}

// TestRow12TooFarAhead: a sample that is too far in the future is left out. The scrape is good, and its series
// still counts as new at the next scrape.
func TestRow12TooFarAhead(t *testing.T) {
	now := time.Now()
	page := fmt.Sprintf("far 1 %d\nnear 1 %d\ny 1\n", now.Add(11*time.Minute).UnixMilli(),
		now.Add(9*time.Minute).UnixMilli())
	r, got := scrapeOnce(t, "", page)
	want(t, got, named("near"), fmt.Sprintf("1 @%d", now.Add(9*time.Minute).UnixMilli()), named("y"), "1", named("up"),
		"1")
	r.reports(t, "samples_scraped", "3", "samples_post_metric_relabeling", "3", "series_added", "2")
	if n := testutil.ToFloat64(r.env.metrics.of("envoy").outOfBounds); n != 1 {
		t.Errorf("%v samples counted as too far ahead, want 1", n)
	}
	r.scrapeNext(t, "far 1\ny 1\n")
	r.reports(t, "series_added", "1")
}

// TestRow13OneTimestamp: all samples and the report of a scrape have the time of its request, however long the page
// takes.
func TestRow13OneTimestamp(t *testing.T) {
	during(t, func(t *testing.T, r *rig) {
		r.pages.set("a:1", "x 1\ny 1\n")
		r.pages.slow(4 * time.Second)
		r.apply(t, job(t, ""))
		r.discover(at("a:1"))
		for r.pages.scrapes() == 0 {
			pass(time.Millisecond)
		}
		asked := time.Now()
		pass(10 * time.Second)
		if got := r.sink.got[0].at; got.After(asked) || asked.Sub(got) > 2*time.Millisecond {
			t.Errorf("the time of the batch is %v, it was asked for at %v", got, asked)
		}
		want(t, r.values(t, 0), named("x"), "1", named("y"), "1", named("up"), "1")
	})
}

// TestRow14OutOfOrder: timestamps of the page that stand still or go back do not fail a scrape. Samples that are not
// newer than the last of their series are dropped and counted, see TestRow14SamplesOutOfOrderAreNotShown.
func TestRow14OutOfOrder(t *testing.T) {
	r, _ := scrapeOnce(t, "", "x 1 2000\ny 1\n")
	for _, page := range []string{"x 1 2000\ny 2\n", "x 5 2000\ny 2\n", "x 1 1000\ny 2\n"} {
		if got := r.scrapeNext(t, page); got[named("up")] != "1" || got[named("y")] != "2" {
			t.Errorf("%q: %v", page, got)
		}
		r.reports(t, "samples_scraped", "2", "samples_post_metric_relabeling", "2", "series_added", "0")
	}
}

func TestRow15FirstOfTwoWins(t *testing.T) {
	for name, page := range map[string]string{
		"same text":        "x 1\nx 2\nx 3\n",
		"same labels":      "x{a=\"\"} 1\nx 2\nx{} 3\n",
		"different values": "x 1\ny 1\nx NaN\nx +Inf\n",
	} {
		t.Run(name, func(t *testing.T) {
			r, got := scrapeOnce(t, "", page)
			if got[named("x")] != "1" || got[named("up")] != "1" {
				t.Errorf("got %v, want the first", got)
			}
			if n := testutil.ToFloat64(r.env.metrics.of("envoy").duplicates); n != 2 {
				t.Errorf("%v duplicates counted, want 2", n)
			}
		})
	}
	t.Run("counts", func(t *testing.T) {
		r, _ := scrapeOnce(t, "", "x 1\nx 2\nx 3\n")
		r.reports(t, "samples_scraped", "3", "samples_post_metric_relabeling", "3", "series_added", "1")
		r.scrapeNext(t, "x 1\nx 1\nx 1\n")
		r.reports(t, "samples_scraped", "3", "samples_post_metric_relabeling", "3", "series_added", "0")
		r.scrapeNext(t, "x 1 1\nx 1 2\nx 1 3\n")
		r.reports(t, "samples_scraped", "3", "samples_post_metric_relabeling", "3", "series_added", "0")
	})
}

func TestRow16ReportSeries(t *testing.T) {
	const dropX = "  metric_relabel_configs: [{source_labels: [__name__], regex: x, action: drop}]\n"
	always := []string{"samples_scraped", "3", "samples_post_metric_relabeling", "2", "series_added", "2"}
	r, _ := scrapeOnce(t, dropX, "x 1\ny 2\nz 3\n")
	r.reports(t, append(always, "timeout_seconds", "missing", "sample_limit", "missing", "body_size_bytes",
		"missing")...)
	if _, ok := r.sink.got[0].samples[named("scrape_duration_seconds")]; !ok {
		t.Error("no scrape_duration_seconds")
	}
	r, _ = scrapeOnce(t, dropX+"  extra_scrape_metrics: true\n  sample_limit: 100\n", "x 1\ny 2\nz 3\n")
	r.reports(t, append(always, "timeout_seconds", "5", "sample_limit", "100", "body_size_bytes", "12")...)

	t.Run("size of a failed page", func(t *testing.T) {
		for name, tc := range map[string]struct{ job, page, size string }{
			"too large":      {"  body_size_limit: 4B\n", "x 1\ny 2\n", "-1"},
			"no metrics":     {"", "x 1\n<html>\ny 2\n", "15"},
			"over a limit":   {"  sample_limit: 1\n", "x 1\ny 2\n", "8"},
			"empty":          {"", "", "0"},
			"label limit":    {"  label_limit: 2\n", "x 1\ny 2\n", "8"},
			"no page at all": {"  target_limit: 1\n", "x 1\n", "0"},
		} {
			t.Run(name, func(t *testing.T) {
				r := newRig()
				r.pages.set("a:1", tc.page)
				r.apply(t, job(t, "  extra_scrape_metrics: true\n"+tc.job))
				r.discover(at("a:1"))
				if name == "no page at all" {
					r.pages.fail("a:1", errNoPage)
				}
				r.scrapeAll(t.Context(), "envoy")
				r.reports(t, "body_size_bytes", tc.size)
			})
		}
	})
	t.Run("a target with both job and exported_job", func(t *testing.T) { // Prometheus drops exported_job
		r := newRig()
		r.pages.set("a:1", "x 1\n")
		r.apply(t, job(t, ""))
		l := at("a:1")
		l["exported_job"], l["exported_a"], l["a"] = "e", "e", "v"
		r.discover(l)
		r.scrapeAll(t.Context(), "envoy")
		want(t, r.values(t, -1), `{__name__="x", a="v", exported_a="e", exported_job="e", instance="a:1", job="envoy"}`,
			"1",
			`{__name__="up", a="v", exported_a="e", instance="a:1", job="envoy"}`, "1")
	})
}

// TestRow16PageShowsUp: a page with a series called up wins over the report: the first of two samples counts.
func TestRow16PageShowsUp(t *testing.T) {
	scraped(t, "",
		scrapeOf{page: "up 5\nx 1\n", want: []string{"x", "1", "up", "5"}},
		scrapeOf{page: "up 5\nx 1\n", want: []string{"x", "1", "up", "5"}},
		scrapeOf{page: "x 1\n", want: []string{"x", "1", "up", "stale"}},
		scrapeOf{page: "x 1\n", want: []string{"x", "1", "up", "1"}},
	)
	during(t, func(t *testing.T, r *rig) { // also under a new configuration, and when the target is gone
		r.pages.set("a:1", "up 5\n")
		r.apply(t, job(t, ""))
		r.discover(at("a:1"))
		pass(10 * time.Second)
		r.apply(t, job(t, "  sample_limit: 9\n"))
		pass(10 * time.Second)
		want(t, r.values(t, -1), named("up"), "5")
		r.discover()
		pass(30 * time.Second)
		want(t, r.values(t, -1), named("up"), "stale")
		if n := r.table.Len(); n != 0 {
			t.Errorf("%d series left in the table", n)
		}
	})
}

// TestAPageThatShowedUpOnceCostsNothingLater: while a page may have a report series itself, every scrape searches its
// samples for them. The search ends with a good page that has none, and begins again with one that has.
func TestAPageThatShowedUpOnceCostsNothingLater(t *testing.T) {
	r := newRig()
	r.apply(t, job(t, ""))
	r.discover(at("a:1"))
	ahead := time.Now().Add(time.Hour).UnixMilli()
	for i, s := range []struct {
		page   string
		up     string
		looked bool // the next scrape searches the samples
	}{
		{"x 1\n", "1", false},
		{"up 5\nx 1\n", "5", true},
		{"x 1\n", "stale", true}, // its marker is a sample of up
		{"x 1\n", "1", false},
		{"up 5\nx 1\n", "5", true},
		{"x 1\n", "stale", true},
		{"{", "0", true},                                  // a bad page proves nothing
		{"", "1", true},                                   // an empty one neither
		{fmt.Sprintf("up 5 %d\nx 1\n", ahead), "1", true}, // there, but left out
		{"up 6\nx 1\n", "6", true},
		{"x 1\n", "stale", true},
		{"x 1\n", "1", false},
	} {
		r.pages.set("a:1", s.page)
		for _, l := range r.jobs["envoy"].loops {
			l.scrape(t.Context(), nil)
			if got := r.values(t, -1)[named("up")]; got != s.up || l.report.onPage != s.looked {
				t.Errorf("page %d: up %s, want %s; searched: %v, want %v", i, got, s.up, l.report.onPage,
					s.looked)
			}
		}
	}
}

// TestRow16ExtraScrapeMetricsTurnedOff: series that are no longer reported get a marker.
func TestRow16ExtraScrapeMetricsTurnedOff(t *testing.T) {
	during(t, func(t *testing.T, r *rig) {
		r.pages.set("a:1", "x 1\n")
		r.apply(t, job(t, "  extra_scrape_metrics: true\n"))
		r.discover(at("a:1"))
		pass(10 * time.Second)
		r.apply(t, job(t, ""))
		pass(10 * time.Second)
		r.reports(t, "timeout_seconds", "stale", "sample_limit", "stale", "body_size_bytes", "stale", "samples_scraped",
			"1")
		pass(10 * time.Second)
		r.reports(t, "timeout_seconds", "missing", "samples_scraped", "1")
		r.apply(t, job(t, "  extra_scrape_metrics: true\n"))
		pass(10 * time.Second)
		r.reports(t, "timeout_seconds", "5")
		r.apply(t, job(t, ""))
		r.discover()
		pass(30 * time.Second)
		r.reports(t, "timeout_seconds", "stale", "samples_scraped", "stale")
		if n := r.table.Len(); n != 0 {
			t.Errorf("%d series left in the table", n)
		}
	})
}

// TestRow16PageShowsWhatIsNoLongerReported: if the page has such a series, its sample wins over the marker.
func TestRow16PageShowsWhatIsNoLongerReported(t *testing.T) {
	during(t, func(t *testing.T, r *rig) {
		r.pages.set("a:1", "scrape_timeout_seconds 7\n")
		r.apply(t, job(t, "  extra_scrape_metrics: true\n"))
		r.discover(at("a:1"))
		pass(10 * time.Second)
		r.reports(t, "timeout_seconds", "7", "sample_limit", "0")
		r.apply(t, job(t, ""))
		pass(10 * time.Second)
		r.reports(t, "timeout_seconds", "7", "sample_limit", "stale")
		pass(10 * time.Second)
		r.reports(t, "timeout_seconds", "7", "sample_limit", "missing")
	})
}

// TestRow16ExtraScrapeMetricsOfAJob: a job's setting overrides that of global.
func TestRow16ExtraScrapeMetricsOfAJob(t *testing.T) {
	for _, tc := range []struct {
		global, job string
		want        bool
	}{{"false", "", false}, {"true", "", true}, {"true", "  extra_scrape_metrics: false\n", false},
		{"false", "  extra_scrape_metrics: true\n", true}} {
		r := newRig()
		r.pages.set("a:1", "x 1\n")
		r.apply(t, jobUnder(t, "extra_scrape_metrics: "+tc.global, tc.job))
		r.discover(at("a:1"))
		r.scrapeAll(t.Context(), "envoy")
		if _, got := r.sink.got[0].samples[named("scrape_timeout_seconds")]; got != tc.want {
			t.Errorf("global %s, job %q: extra series %v, want %v", tc.global, tc.job, got, tc.want)
		}
	}
}

// TestRow17OneBatch: samples, markers and report of a scrape are handed on together.
func TestRow17OneBatch(t *testing.T) {
	r, _ := scrapeOnce(t, "", "x 1\ny 1\n")
	r.scrapeNext(t, "x 1\n<html>\n")
	r.scrapeNext(t, "x 1\n")
	if n := r.batches(); n != 3 {
		t.Errorf("%d batches of 3 scrapes", n)
	}
}

func TestRow18ReportIsOutsideLimitsAndRules(t *testing.T) {
	r, got := scrapeOnce(t, "  sample_limit: 1\n  label_limit: 3\n"+
		"  metric_relabel_configs: [{source_labels: [__name__], regex: 'up|scrape_.*', action: drop}, "+
		"{target_label: job, replacement: j}]\n", "x 1\n")
	want(t, got, `{__name__="x", instance="a:1", job="j"}`, "1", named("up"), "1")
	r.reports(t, "samples_scraped", "1", "series_added", "1")
}

// TestRow19CountsGoOnPastTheLimit: scrape_samples_scraped counts the whole page, scrape_series_added only series within
// the limit.
func TestRow19CountsGoOnPastTheLimit(t *testing.T) {
	r, got := scrapeOnce(t, "  sample_limit: 2\n"+
		"  metric_relabel_configs: [{source_labels: [__name__], regex: d, action: drop}]\n",
		"a 1\nb 1\nc 1\nd 1\ne 1\n")
	want(t, got, named("up"), "0")
	r.reports(t, "samples_scraped", "5", "samples_post_metric_relabeling", "4", "series_added", "2")
	r.scrapeNext(t, "a 1\nb 1\nc 1\nd 1\ne 1\n")
	r.reports(t, "samples_scraped", "5", "samples_post_metric_relabeling", "4", "series_added", "0")
	r.scrapeNext(t, "a 1\nb 1\n<html>\n")
	r.reports(t, "samples_scraped", "2", "samples_post_metric_relabeling", "2", "series_added", "0")
	r.pages.fail("a:1", errNoPage)
	r.scrapeNext(t, "")
	r.reports(t, "samples_scraped", "0", "samples_post_metric_relabeling", "0", "series_added", "0")
}

func TestRow20SeriesAdded(t *testing.T) {
	r, _ := scrapeOnce(t, "", "x 1\ny 1\n")
	r.reports(t, "series_added", "2")
	r.scrapeNext(t, "y 2\nx 2\nz 2\n")
	r.reports(t, "series_added", "1")
	r.scrapeNext(t, "x 3\n")
	r.reports(t, "series_added", "0")
	r.scrapeNext(t, "x 3\ny 3\n") // forgotten meanwhile
	r.reports(t, "series_added", "1")
	r.scrapeNext(t, "")
	r.scrapeNext(t, "x 3\ny 3\n") // an empty page makes nothing forgotten
	r.reports(t, "series_added", "0")
	r.scrapeNext(t, "\n")
	r.scrapeNext(t, "x 3\ny 3\n") // a page without samples does if it has a byte
	r.reports(t, "series_added", "2")
	r.pages.types = map[string]string{"a:1": "application/openmetrics-text; version=1.0.0"}
	r.scrapeNext(t, "x 3\ny 3\n# EOF\n") // so does another format
	r.reports(t, "series_added", "2")
	r.scrapeNext(t, "")
	r.scrapeNext(t, "x 3\ny 3\n# EOF\n")
	r.reports(t, "series_added", "0")
	r.scrapeNext(t, "# EOF\n")
	r.scrapeNext(t, "x 3\ny 3\n# EOF\n")
	r.reports(t, "series_added", "2")
}

func TestRow21MetadataOfTheReport(t *testing.T) {
	r := newRig()
	got := map[string]string{}
	target := r.table.AddTarget(labels.FromStrings("job", "envoy"))
	report := openReport(r.table, target, labels.FromStrings("job", "envoy"), true)
	r.table.Read(func(v series.View) {
		for _, id := range report.ids {
			parts := v.Parts(id)
			typ, help, unit := v.Meta(parts.Meta)
			if v.String(help) == "" {
				t.Errorf("%s has no help", v.String(parts.Name))
			}
			got[v.String(parts.Name)] = fmt.Sprintf("%s %s", typ, v.String(unit))
		}
	})
	if wanted := map[string]string{
		"up": "gauge targets", "scrape_duration_seconds": "gauge seconds", "scrape_samples_scraped": "gauge samples",
		"scrape_samples_post_metric_relabeling": "gauge samples", "scrape_series_added": "gauge series",
		"scrape_timeout_seconds": "gauge seconds", "scrape_sample_limit": "gauge samples",
		"scrape_body_size_bytes": "gauge bytes",
	}; !maps.Equal(got, wanted) {
		t.Errorf("got %v, want %v", got, wanted)
	}
}

func TestRow22SampleLimitAfterRules(t *testing.T) {
	const dropX = "  metric_relabel_configs: [{source_labels: [__name__], regex: x, action: drop}]\n"
	_, got := scrapeOnce(t, "  sample_limit: 1\n"+dropX, "x 1\ny 2\n")
	want(t, got, named("y"), "2", named("up"), "1")
	_, got = scrapeOnce(t, "  sample_limit: 1\n"+dropX, "x 1\ny 2\nz 3\n")
	want(t, got, named("up"), "0")
	_, got = scrapeOnce(t, "  sample_limit: 1\n", "x 1\nx 2\n") // the second is never added
	want(t, got, named("x"), "1", named("up"), "1")
}

// TestRow23LabelLimits: labels of the target count for label_limit, dropped series do not.
func TestRow23LabelLimits(t *testing.T) {
	const dropX = "  metric_relabel_configs: [{source_labels: [__name__], regex: x, action: drop}]\n"
	const label = "x{ab=\"123456\"} 1\ny 1\n"
	for name, tc := range map[string]struct {
		job  string
		good bool
		says string
	}{
		"label_limit": {"  label_limit: 3\n", false,
			"label_limit exceeded (metric: x, number of labels: 4, limit: 3)"},
		"label_limit reached":  {"  label_limit: 4\n", true, ""},
		"label_limit, dropped": {"  label_limit: 3\n" + dropX, true, ""},
		"label_name_length_limit": {"  label_name_length_limit: 7\n", false,
			"label_name_length_limit exceeded (metric: x, label name: __name__, length: 8, limit: 7)"},
		"label_name_length_limit reached": {"  label_name_length_limit: 8\n", true, ""},
		"label_value_length_limit": {"  label_value_length_limit: 5\n", false,
			`label_value_length_limit exceeded (metric: x, label name: ab, value: "123456", length: 6, limit: 5)`},
		"label_value_length_limit reached": {"  label_value_length_limit: 6\n", true, ""},
		"label_value_length_limit, a target": {"  label_value_length_limit: 4\n" + dropX, false,
			`label_value_length_limit exceeded (metric: y, label name: job, value: "envoy", length: 5, limit: 4)`},
	} {
		t.Run(name, func(t *testing.T) {
			r, got := scrapeOnce(t, tc.job, label)
			s := r.Status()[0].Targets[0]
			if tc.good != (got[named("up")] == "1") || s.Err != tc.says || !tc.good && len(got) != 1 {
				t.Errorf("%v, error %q, want %q", got, s.Err, tc.says)
			}
		})
	}
}

// TestRow24TargetLimit: with too many targets every scrape of the job fails, without a request.
func TestRow24TargetLimit(t *testing.T) {
	during(t, func(t *testing.T, r *rig) {
		r.pages.set("a:1", "x 1\n")
		r.pages.set("b:1", "x 1\n")
		r.apply(t, job(t, "  target_limit: 1\n"))
		r.discover(at("a:1"), at("a:1")) // equal targets are one
		pass(10 * time.Second)
		want(t, r.values(t, -1), named("x"), "1", named("up"), "1")
		r.discover(at("a:1"), at("b:1"))
		asked, before := r.pages.scrapes(), r.batches()
		pass(10 * time.Second)
		for _, s := range r.Status()[0].Targets {
			if s.Health != HealthDown || s.Err != "target_limit exceeded (number of targets: 2, limit: 1)" {
				t.Errorf("%s: %v %q", s.URL, s.Health, s.Err)
			}
		}
		for i := before; i < r.batches(); i++ {
			if got := r.values(t, i); got[named("up")] == "0" {
				want(t, got, named("x"), "stale", named("up"), "0")
			}
		}
		if r.pages.scrapes() != asked || r.batches() != before+2 {
			t.Error("pages were read although every scrape must fail, or a target was not scraped")
		}
		r.discover(at("a:1"))
		pass(10 * time.Second)
		if s := r.Status()[0].Targets[0]; s.Health != HealthUp {
			t.Errorf("after there was one again: %v %q", s.Health, s.Err)
		}
	})
}

// TestRow25BodySizeLimit: a page of exactly body_size_limit bytes is too long, as in Prometheus.
func TestRow25BodySizeLimit(t *testing.T) {
	for limit, up := range map[string]string{"3B": "0", "4B": "0", "5B": "1", "0": "1"} {
		_, got := scrapeOnce(t, "  body_size_limit: "+limit+"\n", "x 1\n")
		if got[named("up")] != up || len(got) != map[string]int{"0": 1, "1": 2}[up] {
			t.Errorf("a page of 4 bytes under a limit of %s: %v", limit, got)
		}
	}
}

// TestRow26BucketLimit: a native histogram is made coarser until it fits. If it cannot fit, the page fails.
func TestRow26BucketLimit(t *testing.T) {
	native := func(schema int32) string {
		h := &dto.Histogram{SampleCount: 8, SampleSum: 10, Schema: schema, ZeroThreshold: 1e-9,
			PositiveSpan: []dto.BucketSpan{{Offset: 0, Length: 8}}, PositiveDelta: []int64{1, 0, 0, 0, 0, 0, 0, 0}}
		b, err := (&dto.MetricFamily{Name: "h", Type: dto.MetricType_HISTOGRAM,
			Metric: []dto.Metric{{Histogram: h}}}).Marshal()
		if err != nil {
			t.Fatal(err)
		}
		return string(append(binary.AppendUvarint(nil, uint64(len(b))), b...))
	}
	classic := "# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"2\"} 2\nh_bucket{le=\"4\"} 3\n" +
		"h_bucket{le=\"+Inf\"} 4\nh_count 4\nh_sum 9\nz 1\n"
	const protobuf = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
	for name, tc := range map[string]struct {
		job, contentType, page string
		up                     string
		buckets                int
	}{
		"native, no limit": {"  scrape_native_histograms: true\n", protobuf, native(3), "1", 8},
		"native, made coarser": {"  scrape_native_histograms: true\n  native_histogram_bucket_limit: 3\n", protobuf,
			native(3), "1", 3},
		"native, cannot be": {"  scrape_native_histograms: true\n  native_histogram_bucket_limit: 1\n", protobuf,
			native(-4), "0", 0},
		"min bucket factor": {"  scrape_native_histograms: true\n  native_histogram_min_bucket_factor: 2\n",
			protobuf, native(3), "1", 2},
		"custom buckets": {"  convert_classic_histograms_to_nhcb: true\n", "", classic, "1", 4},
		"too many of them": {"  convert_classic_histograms_to_nhcb: true\n  native_histogram_bucket_limit: 3\n",
			"", classic, "0", 0},
		"by a label": {"  relabel_configs: [{target_label: __convert_classic_histograms_to_nhcb__, " +
			"replacement: 'true'}]\n", "", classic, "1", 4},
		"by a label, native": {"  relabel_configs: [{target_label: __scrape_native_histograms__, " +
			"replacement: 'true'}]\n", protobuf, native(3), "1", 8},
		"by a label, not native": {"  scrape_native_histograms: true\n" +
			"  relabel_configs: [{target_label: __scrape_native_histograms__, replacement: 'false'}]\n", protobuf,
			native(3), "1", 0},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig()
			r.pages.set("a:1", tc.page)
			r.pages.types = map[string]string{"a:1": tc.contentType}
			buckets := 0
			r.sink.look = func(b *series.Batch) {
				for _, h := range b.Histograms {
					if h.Integer != nil {
						buckets += len(h.Integer.PositiveBuckets)
					} else {
						buckets += len(h.Float.PositiveBuckets)
					}
				}
			}
			r.apply(t, job(t, tc.job))
			r.discover(at("a:1"))
			r.scrapeAll(t.Context(), "envoy")
			if got := r.values(t, -1); got[named("up")] != tc.up || buckets != tc.buckets {
				t.Errorf("%d buckets, %v; want %d and up %s (%s)", buckets, got, tc.buckets, tc.up,
					r.Status()[0].Targets[0].Err)
			}
			if name == "too many of them" { // neither the histogram nor what follows it is counted as added
				r.reports(t, "samples_scraped", "2", "samples_post_metric_relabeling", "2", "series_added", "0")
			}
		})
	}
}

func TestRow26BucketLimitGoesBeforeSampleLimit(t *testing.T) {
	var page strings.Builder
	for _, name := range []string{"h", "g"} {
		fmt.Fprintf(&page, "# TYPE %[1]s histogram\n%[1]s_bucket{le=\"1\"} 1\n%[1]s_bucket{le=\"+Inf\"} 4\n"+
			"%[1]s_count 4\n%[1]s_sum 9\n", name)
	}
	r, _ := scrapeOnce(t, "  convert_classic_histograms_to_nhcb: true\n  native_histogram_bucket_limit: 1\n"+
		"  sample_limit: 1\n", page.String())
	if s := r.Status()[0].Targets[0]; s.Err != "histogram bucket limit exceeded" {
		t.Errorf("error %q", s.Err)
	}
}
