package pushdown

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/relabel"
)

func rule(action relabel.Action, regex string, sources ...model.LabelName) *relabel.Config {
	if sources == nil {
		sources = []model.LabelName{model.MetricNameLabel}
	}
	r := relabel.DefaultRelabelConfig
	r.Action, r.Regex, r.SourceLabels = action, relabel.MustNewRegexp(regex), sources
	r.NameValidationScheme = model.UTF8Validation
	return &r
}

func keep(regex string) *relabel.Config { return rule(relabel.Keep, regex) }
func drop(regex string) *relabel.Config { return rule(relabel.Drop, regex) }

func TestFilterOfKeep(t *testing.T) {
	for regex, want := range map[string]string{
		"istio_.*":                               "istio_",
		"^istio_.*$":                             "istio_",
		"(istio_.*)?":                            "istio_",
		"istio_requests_total":                   "istio_requests_total",
		"istio_requests_total|up":                "",
		"istio_re(quest|sponse)_.*":              "istio_request|istio_response",
		"istio_request_bytes_bucket":             "istio_request_bytes",
		"istio_request_bytes_c.*":                "istio_request_bytes",
		"istio_request_bytes_x.*":                "istio_request_bytes_x",
		"istio_request_bytes_(bucket|sum|count)": "istio_request_bytes",
		"istio_tcp_[sr].*|istio_build":           "istio_build|istio_tcp",
		"envoy_cluster_upstream_rq_xx":           "(?s)cluster.*upstream.*rq.*xx",
		"envoy_cluster_upstream_rq_x+":           "(?s)cluster.*upstream.*rq.*x",
		"envoy_cluster_upstream_rq(_xx)?":        "(?s)cluster.*upstream.*rq",
		"envoy_cluster_upstream_rq_time_count":   "(?s)cluster.*upstream.*rq.*time",
		"envoy_server_(live|uptime)|istio_.*":    "(?s)istio_|server.*live|server.*uptime",
		"wasm_filter_requests":                   "(?s)wasm.*filter.*requests",
		"envoy_istio_x_total":                    "(?s)istio.*x.*total",

		"":                "",
		".*":              "",
		".+_total":        "",
		"(?i)istio_.*":    "",
		"envoy_.*":        "",
		"envoy_c.*":       "",
		"env.*":           "",
		"(envoy|istio).*": "",
		"[a-z]+_total":    "",
		"istio_.*)|(?:x":  "",
	} {
		filter, why := Build([]*relabel.Config{keep(regex)})
		if filter != want {
			t.Errorf("keep %s: filter %q (%s), want %q", regex, filter, why, want)
		}
		if (filter == "") == (why == "") {
			t.Errorf("keep %s: filter %q, why %q: want one of them", regex, filter, why)
		}
	}
}

func TestFilterOfRuleLists(t *testing.T) {
	rename := rule(relabel.Replace, "x_(.*)")
	rename.TargetLabel = model.MetricNameLabel
	for name, c := range map[string]struct {
		rules []*relabel.Config
		want  string
		why   string // part of it
	}{
		"none":              {nil, "", "no rule keeps or drops by __name__ alone"},
		"renamed before":    {[]*relabel.Config{rename, keep("istio_.*")}, "", "a rule before it changes labels"},
		"renamed later":     {[]*relabel.Config{keep("istio_.*"), rename}, "istio_", ""},
		"another label":     {[]*relabel.Config{rule(relabel.Keep, "a", "pod"), keep("istio_.*")}, "istio_", ""},
		"two labels":        {[]*relabel.Config{rule(relabel.Keep, "istio_.*;a", "__name__", "pod")}, "", "alone"},
		"the narrower":      {[]*relabel.Config{keep("istio_.*"), keep("istio_build")}, "istio_build", ""},
		"one is not enough": {[]*relabel.Config{keep(".*_total"), keep("istio_.*")}, "istio_", ""},
		"keep beside drop":  {[]*relabel.Config{drop("envoy_.*"), keep("istio_.*")}, "istio_", ""},
		"keep of all":       {[]*relabel.Config{keep(".*")}, "", `metric_relabel_configs[0], ".*", keeps names which may`},
		"part of a scope":   {[]*relabel.Config{drop("envoy_cluster_upstream_.*")}, "", "no part of Envoy is"},
		"some of a scope":   {[]*relabel.Config{drop("envoy_vhost_.+")}, "^(?:" + noneOf([]string{"vhost."}) + ")", ""},
		"drop of a suffix":  {[]*relabel.Config{drop("istio_.*_bucket")}, "", "dropped whole"},
		"drop of buckets":   {[]*relabel.Config{drop("istio_request_bytes_bucket")}, "", "dropped whole"},
		"drop of a histogram": {[]*relabel.Config{drop("istio_rb(_bucket|_sum|_count)?")},
			"^(?:" + noneOf([]string{"istiocustom.istio_rb."}) + ")", ""},
		"drop by two rules": {[]*relabel.Config{drop("istio_rb_(bucket|sum)"), drop("istio_rb|istio_rb_count")},
			"^(?:" + noneOf([]string{"istiocustom.istio_rb."}) + ")", ""},
		"drop of a scope": {[]*relabel.Config{drop("envoy_vhost_.*")}, "^(?:" + noneOf([]string{"vhost."}) + ")", ""},
		"drop of scopes": {[]*relabel.Config{drop("envoy_http.*")},
			"^(?:" + noneOf([]string{"http.", "http1."}) + ")", ""},
	} {
		filter, why := Build(c.rules)
		if filter != c.want || !strings.Contains(why, c.why) {
			t.Errorf("%s: filter %q, why %q; want %q, %q", name, filter, why, c.want, c.why)
		}
	}
}

// TestManyNames keeps more names than a filter has alternatives: it becomes shorter until it finds them all.
func TestManyNames(t *testing.T) {
	var names []string
	for i := range 300 {
		names = append(names, fmt.Sprintf("envoy_cluster_upstream_x%c%c_total", 'a'+i%26, 'a'+i/26))
	}
	filter, why := Build([]*relabel.Config{keep(strings.Join(names, "|"))})
	if want := "(?s)cluster.*upstream"; filter != want {
		t.Errorf("filter %q (%s), want %q", filter, why, want)
	}
	short := strings.ReplaceAll(strings.Join(names, "|"), "cluster_upstream_x", "c")
	filter, why = Build([]*relabel.Config{keep(short)})
	if filter != "" || !strings.Contains(why, "more than 64 different beginnings") {
		t.Errorf("filter %q, why %q", filter, why)
	}
}

func TestNoneOf(t *testing.T) {
	filter := regexp.MustCompile("^(?:" + noneOf([]string{"cluster.", "cluster_manager.", "vhost."}) + ")")
	for name, want := range map[string]bool{
		"": true, "c": true, "cluster": true, "cluster.": false, "cluster.a": false, "cluster_manager.a": false,
		"cluster_manager": true, "cluster_x": true, "cluster\n": true, "vhost.": false, "vhosts.": true,
		"xcluster.": true, "é": true, "clusteré": true,
	} {
		if filter.MatchString(name) != want {
			t.Errorf("%q: found %v, want %v", name, !want, want)
		}
	}
}
