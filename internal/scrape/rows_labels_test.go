package scrape

import (
	"maps"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
)

// becomes scrapes a page and compares the samples, by their final labels, without up.
func becomes(t *testing.T, yaml, page string, pairs ...string) {
	t.Helper()
	_, got := scrapeOnce(t, yaml, page)
	up := named("up")
	if got[up] != "1" {
		t.Errorf("%s%q: up %s", yaml, page, got[up])
	}
	delete(got, up)
	want(t, got, pairs...)
}

// fails expects that a page fails with an error and yields no sample.
func fails(t *testing.T, yaml, page, says string) {
	t.Helper()
	r, got := scrapeOnce(t, yaml, page)
	if wanted := map[string]string{named("up"): "0"}; !maps.Equal(got, wanted) {
		t.Errorf("%s%q: got %v, want up 0 alone", yaml, page, got)
	}
	if s := r.Status()[0].Targets[0]; !strings.Contains(s.Err, says) {
		t.Errorf("%s%q: error %q, want one with %q", yaml, page, s.Err, says)
	}
}

func TestRow28TheTargetsLabelWins(t *testing.T) {
	becomes(t, "", `x{job="mine",other="o"} 1`+"\n",
		`{__name__="x", exported_job="mine", instance="a:1", job="envoy", other="o"}`, "1")
	becomes(t, "", `x{job="mine",exported_job="other"} 1`+"\n",
		`{__name__="x", exported_exported_job="mine", exported_job="other", instance="a:1", job="envoy"}`, "1")
	becomes(t, "", `x{job=""} 1`+"\n", named("x"), "1")
	t.Run("shortest name first", func(t *testing.T) {
		r := newRig()
		r.pages.set("a:1", `x{foo="1",exported_foo="2",exported_exported_foo="3"} 1`+"\n")
		r.apply(t, job(t, ""))
		target := at("a:1")
		target["foo"], target["exported_foo"] = "t", "u"
		r.discover(target)
		r.scrapeAll(t.Context(), "envoy")
		got := r.values(t, -1)
		const x = `{__name__="x", exported_exported_exported_exported_foo="2", exported_exported_exported_foo="1", ` +
			`exported_exported_foo="3", exported_foo="u", foo="t", instance="a:1", job="envoy"}`
		if got[x] != "1" {
			t.Errorf("got %v, want %s", got, x)
		}
	})
	t.Run("before rules", func(t *testing.T) {
		becomes(t, "  metric_relabel_configs: [{source_labels: [exported_job], target_label: job}, "+
			"{regex: exported_job, action: labeldrop}]\n",
			`x{job="mine"} 1`+"\n", `{__name__="x", instance="a:1", job="mine"}`, "1")
	})
}

// TestRow29HonorLabels: an empty label on the page removes the target's label of that name.
func TestRow29HonorLabels(t *testing.T) {
	const honor = "  honor_labels: true\n"
	becomes(t, honor, `x{job="mine"} 1`+"\n", `{__name__="x", instance="a:1", job="mine"}`, "1")
	becomes(t, honor, `x{job=""} 1`+"\n", `{__name__="x", instance="a:1"}`, "1")
	becomes(t, honor, `x{exported_job="e"} 1`+"\n", `{__name__="x", exported_job="e", instance="a:1", job="envoy"}`,
		"1")
	r, got := scrapeOnce(t, honor, `up{job="mine"} 5`+"\n")
	want(t, got, `{__name__="up", instance="a:1", job="mine"}`, "5", named("up"), "1")
	if s := r.Status()[0].Targets[0]; s.Health != HealthUp {
		t.Errorf("%v %q", s.Health, s.Err)
	}
}

func TestRow30LabelNamedTwice(t *testing.T) {
	fails(t, "", "y 1\nx{a=\"1\",a=\"2\"} 1\n", "")
	fails(t, "", "y 1\nx{a=\"1\",b=\"2\",a=\"1\"} 1\n", "")
}

func TestRow31NoName(t *testing.T) {
	fails(t, "", "y 1\n{x=\"1\"} 1\n", "")
	fails(t, "  metric_relabel_configs: [{source_labels: [__name__], regex: x, target_label: __name__, "+
		"replacement: ''}]\n", "y 1\nx 1\n", "missing metric name")
	fails(t, "  metric_relabel_configs: [{regex: __name__, action: labeldrop}]\n", "x 1\n", "missing metric name")
	becomes(t, "  metric_relabel_configs: [{source_labels: [__name__], regex: x, target_label: __name__, "+
		"replacement: z}]\n", "x 1\n", named("z"), "1")
}

// TestRow32InvalidAfterRules: labels must be valid after metric_relabel_configs, too.
func TestRow32InvalidAfterRules(t *testing.T) {
	const legacy = "  metric_name_validation_scheme: legacy\n  metric_name_escaping_scheme: underscores\n"
	const dots = "  metric_relabel_configs: [{source_labels: [__name__], target_label: __name__, replacement: 'a.b'}]\n"
	fails(t, legacy+dots, "y 1\n", "invalid metric name or label names")
	becomes(t, dots, "y 1\n", `{__name__="a.b", instance="a:1", job="envoy"}`, "1")
	becomes(t, "  metric_relabel_configs: [{regex: '.*', action: labeldrop}]\n", "y 1\n") // dropped, and no error
}

func TestRow33InvalidUTF8(t *testing.T) {
	fails(t, "", "x 1\ny{a=\"\xff\"} 1\n", "invalid UTF-8")
	fails(t, "", "x 1\ny{a=\"caf\xc3\"} 1\n", "invalid UTF-8")
	becomes(t, "", "y{a=\"café\"} 1\n", `{__name__="y", a="café", instance="a:1", job="envoy"}`, "1")
}

func TestRow34UTF8Names(t *testing.T) {
	const page = "{\"a.b\",\"l.m\"=\"1\"} 1\n"
	becomes(t, "", page, `{__name__="a.b", instance="a:1", job="envoy", "l.m"="1"}`, "1")
	fails(t, "  metric_name_validation_scheme: legacy\n  metric_name_escaping_scheme: underscores\n", page,
		"invalid metric name or label names")
	for scheme, escaping := range map[string]string{"utf8": "allow-utf-8", "legacy": "underscores"} {
		r, _ := scrapeOnce(t, "  metric_name_validation_scheme: "+scheme+"\n"+
			"  metric_name_escaping_scheme: "+escaping+"\n", "x 1\n")
		if got := r.pages.asked[0].Header.Get("Accept"); !strings.Contains(got, "escaping="+escaping+";") {
			t.Errorf("%s: Accept %q", scheme, got)
		}
	}
}

// TestRow35DroppedByRules: a dropped sample is not sent and its series is not live, so no marker follows.
func TestRow35DroppedByRules(t *testing.T) {
	scraped(t, "  metric_relabel_configs: [{source_labels: [__name__], regex: x, action: drop}]\n",
		scrapeOf{page: "x 1\ny 1\n", want: []string{"y", "1", "up", "1"}},
		scrapeOf{page: "x 2\ny 2\n", want: []string{"y", "2", "up", "1"}},
		scrapeOf{page: "x 3\n", want: []string{"y", "stale", "up", "1"}},
		scrapeOf{page: "x 4\n", want: []string{"up", "1"}},
		scrapeOf{fails: errNoPage, want: []string{"up", "0"}},
	)
	r, _ := scrapeOnce(t, "  metric_relabel_configs: [{source_labels: [__name__], regex: x, action: drop}]\n",
		"x 1\ny 1\n")
	r.reports(t, "samples_scraped", "2", "samples_post_metric_relabeling", "1", "series_added", "1")
	r.scrapeNext(t, "x 1\ny 1\n")
	r.reports(t, "samples_scraped", "2", "samples_post_metric_relabeling", "1", "series_added", "0")
}

func TestRow36EmptyLabelsVanish(t *testing.T) {
	becomes(t, "", "x{a=\"\",b=\"1\"} 1\n", `{__name__="x", b="1", instance="a:1", job="envoy"}`, "1")
	becomes(t, "  metric_relabel_configs: [{target_label: b, replacement: ''}]\n", "x{b=\"1\"} 1\n", named("x"), "1")
	r := newRig()
	r.pages.set("a:1", "x 1\n")
	r.apply(t, job(t, ""))
	r.discover(model.LabelSet{model.AddressLabel: "a:1", "pod": ""})
	r.scrapeAll(t.Context(), "envoy")
	want(t, r.values(t, -1), named("x"), "1", named("up"), "1")
}

// TestRow37BoundsAreFloats: le of histograms and quantile of summaries become floats before rules see them. Labels of
// other types are not changed.
func TestRow37BoundsAreFloats(t *testing.T) {
	const h, s = "# TYPE h histogram\n", "# TYPE s summary\n"
	bucket := func(le string) string { return `{__name__="h_bucket", instance="a:1", job="envoy", le="` + le + `"}` }
	becomes(t, "", h+"h_bucket{le=\"1\"} 1\nh_bucket{le=\"2.50\"} 2\nh_bucket{le=\"1e6\"} 3\nh_bucket{le=\"+Inf\"} 4\n",
		bucket("1.0"), "1", bucket("2.5"), "2", bucket("1e+06"), "3", bucket("+Inf"), "4")
	becomes(t, "", s+"s{quantile=\"1\"} 1\ns{quantile=\"0.50\"} 2\n",
		`{__name__="s", instance="a:1", job="envoy", quantile="1.0"}`, "1",
		`{__name__="s", instance="a:1", job="envoy", quantile="0.5"}`, "2")
	becomes(t, "", "# TYPE h counter\nh_bucket{le=\"1\"} 1\n", bucket("1"), "1")
	becomes(t, "  metric_relabel_configs: [{source_labels: [le], regex: '1.0', action: drop}]\n",
		h+"h_bucket{le=\"1\"} 1\nh_bucket{le=\"2\"} 2\n", bucket("2.0"), "2")
}
