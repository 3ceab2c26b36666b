package scrape

import (
	"strings"
	"testing"

	"github.com/prometheus/common/model"
)

const classicPage = "# TYPE h histogram\nh_bucket{le=\"1\"} 3\nh_bucket{le=\"+Inf\"} 4\nh_sum 5\nh_count 4\n"

// TestRow65CustomBuckets: a target's label overrides the job's setting.
func TestRow65CustomBuckets(t *testing.T) {
	for name, c := range map[string]struct {
		yaml   string
		native bool
	}{
		"job":     {"  convert_classic_histograms_to_nhcb: true\n", true},
		"neither": {"", false},
		"relabeled": {"  relabel_configs: [{target_label: __convert_classic_histograms_to_nhcb__, " +
			"replacement: 'true'}]\n", true},
		"relabeled away": {"  convert_classic_histograms_to_nhcb: true\n" +
			"  relabel_configs: [{target_label: __convert_classic_histograms_to_nhcb__, replacement: 'false'}]\n",
			false},
		"label is a rule": {"  convert_classic_histograms_to_nhcb: true\n" +
			"  relabel_configs: [{source_labels: [__convert_classic_histograms_to_nhcb__], " +
			"target_label: __convert_classic_histograms_to_nhcb__, regex: 'true', replacement: 'f'}]\n", false},
	} {
		t.Run(name, func(t *testing.T) {
			_, got := scrapeOnce(t, c.yaml, classicPage)
			_, native := got[named("h")]
			_, classic := got[named("h_sum")]
			if native != c.native || classic == c.native {
				t.Errorf("native %v, classic %v, want native %v: %v", native, classic, c.native, got)
			}
		})
	}
}

func TestRow65TargetsOfOneJobDiffer(t *testing.T) {
	r := newRig()
	r.pages.set("a:1", classicPage)
	r.pages.set("b:1", classicPage)
	r.apply(t, job(t, ""))
	r.discover(at("a:1"), model.LabelSet{model.AddressLabel: "b:1", "__convert_classic_histograms_to_nhcb__": "true"})
	for _, l := range r.jobs["envoy"].loops {
		l.scrape(t.Context(), nil)
	}
	for i := range 2 {
		for series := range r.values(t, i) {
			native, custom := strings.Contains(series, `="h"`), strings.Contains(series, `instance="b:1"`)
			if strings.Contains(series, `="h`) && native != custom {
				t.Errorf("%s is shown", series)
			}
		}
	}
}

// TestRow26BucketLimitThenWithin: a histogram over the limit was never added, so it counts as added once it is within.
func TestRow26BucketLimitThenWithin(t *testing.T) {
	r, first := scrapeOnce(t, "  convert_classic_histograms_to_nhcb: true\n  native_histogram_bucket_limit: 2\n",
		"# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"2\"} 2\nh_bucket{le=\"+Inf\"} 3\nh_sum 5\n"+
			"h_count 3\n# TYPE g gauge\ng 1\n")
	want(t, first, named("up"), "0")
	r.pages.set("a:1", "# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 3\nh_sum 5\nh_count 3\n"+
		"# TYPE g gauge\ng 1\n")
	for _, l := range r.jobs["envoy"].loops {
		l.scrape(t.Context(), nil)
	}
	if got := r.sink.got[1].samples[named("scrape_series_added")]; got != "1" {
		t.Errorf("scrape_series_added %s, want 1: the gauge was added by the page that failed", got)
	}
}
