package scrape

import (
	"bytes"
	"crypto/md5" //nolint:gosec // of hashmod
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"google.golang.org/protobuf/proto"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// onePage answers every scrape with one page, and remembers the request.
type onePage struct {
	contentType, body string
	asked             *http.Request
}

func (p *onePage) RoundTrip(req *http.Request) (*http.Response, error) {
	p.asked = req
	return &http.Response{
		StatusCode: 200, Status: "200 OK", Header: http.Header{"Content-Type": {p.contentType}},
		Body: io.NopCloser(strings.NewReader(p.body)),
	}, nil
}

// whole is a sink that keeps everything of the last batch by what its series is called, less the report series.
type whole struct {
	table *series.Table
	got   map[string]string
}

func (s *whole) Flush() {}

func (s *whole) Append(b *series.Batch) error {
	s.got = map[string]string{}
	s.table.Read(func(v series.View) {
		names := make([]string, b.Len())
		for i, id := range b.Series {
			var lb labels.ScratchBuilder
			for _, p := range v.Labels(nil, id, b.Target) {
				if name := v.String(p.Name); name != "instance" && name != "job" {
					lb.Add(name, v.String(p.Value))
				}
			}
			names[i] = lb.Labels().String()
			s.got[names[i]] = fmt.Sprint(b.Values[i])
		}
		for _, own := range b.Times {
			s.got[names[own.Index]] += fmt.Sprint(" at ", own.Time)
		}
		for _, h := range b.Histograms {
			if h.Integer != nil {
				s.got[names[h.Index]] = fmt.Sprintf("schema %d, %d buckets", h.Integer.Schema,
					len(h.Integer.PositiveBuckets))
			} else {
				s.got[names[h.Index]] = fmt.Sprintf("float, schema %d, %d buckets", h.Float.Schema,
					len(h.Float.PositiveBuckets))
			}
		}
	})
	maps.DeleteFunc(s.got, func(name, _ string) bool { return strings.Contains(name, `"scrape_`) })
	return nil
}

// scrapePages reads pages one after another under a job's rules, and returns the last batch.
func scrapePages(t *testing.T, yaml string, pages ...*onePage) map[string]string {
	t.Helper()
	r, s := newRig(), &whole{}
	s.table = r.table
	r.env.sink = s
	relay := &relay{}
	r.opts.transport = relay
	r.apply(t, job(t, yaml))
	r.discover(at("a:1"))
	for _, p := range pages {
		relay.to = p
		for _, l := range r.jobs["envoy"].loops {
			l.scrape(t.Context(), nil)
		}
	}
	return s.got
}

type relay struct{ to http.RoundTripper }

func (r *relay) RoundTrip(req *http.Request) (*http.Response, error) { return r.to.RoundTrip(req) }

func text(body string) *onePage { return &onePage{contentType: "text/plain", body: body} }

// TestRequestFields: what a job says of the request.
func TestRequestFields(t *testing.T) {
	for name, c := range map[string]struct{ job, url, header, value string }{
		"metrics_path":    {"metrics_path: /stats/prometheus", "http://a:1/stats/prometheus", "", ""},
		"scheme":          {"scheme: https", "https://a:1/metrics", "", ""},
		"params":          {"params: {b: [x], a: ['1', '2 3']}", "http://a:1/metrics?a=1&a=2+3&b=x", "", ""},
		"nothing written": {"", "http://a:1/metrics", "Accept-Encoding", "gzip"},
		"scrape_timeout": {"scrape_timeout: 1500ms", "http://a:1/metrics", "X-Prometheus-Scrape-Timeout-Seconds",
			"1.5"},
		"scrape_protocols": {"scrape_protocols: [PrometheusText0.0.4, PrometheusProto]", "http://a:1/metrics", "Accept",
			"text/plain;version=0.0.4;q=0.7,application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;" +
				"encoding=delimited;q=0.6,*/*;q=0.5"},
		"metric_name_escaping_scheme": {"scrape_protocols: [PrometheusText1.0.0], metric_name_escaping_scheme: dots",
			"http://a:1/metrics", "Accept",
			"text/plain;version=1.0.0;escaping=dots;q=0.7,*/*;q=0.6"},
		"metric_name_validation_scheme": {"scrape_protocols: [PrometheusText1.0.0], " +
			"metric_name_validation_scheme: legacy", "http://a:1/metrics", "Accept",
			"text/plain;version=1.0.0;escaping=underscores;q=0.7,*/*;q=0.6"},
		"scrape_native_histograms": {"scrape_native_histograms: true", "http://a:1/metrics", "Accept",
			"application/vnd.google.protobuf;"},
		"enable_compression": {"enable_compression: false", "http://a:1/metrics", "Accept-Encoding", "identity"},
	} {
		t.Run(name, func(t *testing.T) {
			page := text("x 1\n")
			scrapePages(t, "  "+strings.Join(splitKeys(c.job), "\n  ")+"\n", page)
			if got := page.asked.URL.String(); got != c.url {
				t.Errorf("asked for %s, want %s", got, c.url)
			}
			if got := page.asked.Header.Get(c.header); !strings.HasPrefix(got, c.value) || c.header != "Accept" &&
				got != c.value {
				t.Errorf("%s: %s, want %s", c.header, got, c.value)
			}
		})
	}
}

// splitKeys puts the keys of a table's row on lines of their own.
func splitKeys(row string) []string {
	return strings.Split(strings.ReplaceAll(row, ", metric_name_", "\nmetric_name_"), "\n")
}

// TestPageFields: what a job says of how a page is read.
func TestPageFields(t *testing.T) {
	const unknownType = "application/x-strange"
	for name, c := range map[string]struct {
		job   string
		pages []*onePage
		want  map[string]string // less up
		up    string
	}{
		"honor_timestamps": {"", []*onePage{text("x 1 1700000000000\n")},
			map[string]string{"x": "1 at 1700000000000"}, "1"},
		"honor_timestamps off": {"honor_timestamps: false", []*onePage{text("x 1 1700000000000\n")},
			map[string]string{"x": "1"}, "1"},
		"no marker for own times": {"", []*onePage{text("x 1 1700000000000\n"), text("y 1\n")},
			map[string]string{"y": "1"}, "1"},
		"track_timestamps_staleness": {"track_timestamps_staleness: true",
			[]*onePage{text("x 1 1700000000000\n"), text("y 1\n")}, map[string]string{"x": "NaN", "y": "1"}, "1"},
		"an unknown type": {"", []*onePage{{contentType: unknownType, body: "x 1\n"}}, nil, "0"},
		"fallback_scrape_protocol": {"fallback_scrape_protocol: PrometheusText0.0.4",
			[]*onePage{{contentType: unknownType, body: "x 1\n"}}, map[string]string{"x": "1"}, "1"},
		// no # EOF
		"another fallback": {"fallback_scrape_protocol: OpenMetricsText1.0.0",
			[]*onePage{{contentType: unknownType, body: "x 1\n"}}, nil, "0"},
		"honor_labels": {"honor_labels: true", []*onePage{text("x{job=\"mine\"} 1\n")},
			map[string]string{"x": "1"}, "1"},
		"sample_limit": {"sample_limit: 1", []*onePage{text("x 1\n")}, map[string]string{"x": "1"}, "1"},
		"more samples": {"sample_limit: 1", []*onePage{text("x 1\ny 1\n")}, nil, "0"},
		"label_limit":  {"label_limit: 3", []*onePage{text("x 1\n")}, map[string]string{"x": "1"}, "1"},
		"more labels":  {"label_limit: 3", []*onePage{text("x{a=\"1\"} 1\n")}, nil, "0"},
		"label_value_length_limit": {"label_value_length_limit: 5", []*onePage{text("abcde 1\n")},
			map[string]string{"abcde": "1"}, "1"},
		"a longer value":  {"label_value_length_limit: 5", []*onePage{text("abcdef 1\n")}, nil, "0"},
		"body_size_limit": {"body_size_limit: 5B", []*onePage{text("x 1\n")}, map[string]string{"x": "1"}, "1"},
		"a longer page":   {"body_size_limit: 4B", []*onePage{text("x 1\n")}, nil, "0"},
		"label_name_length_limit": {"label_name_length_limit: 8", []*onePage{text("x{abcdefgh=\"\"} 1\n")},
			map[string]string{"x": "1"}, "1"},
		"longer than that": {"label_name_length_limit: 8", []*onePage{text("x{abcdefghi=\"1\"} 1\n")}, nil, "0"},
		"utf8 names":       {"", []*onePage{text("{\"a.b\"} 1\n")}, map[string]string{"a.b": "1"}, "1"},
		"legacy names":     {"metric_name_validation_scheme: legacy", []*onePage{text("{\"a.b\"} 1\n")}, nil, "0"},
	} {
		t.Run(name, func(t *testing.T) {
			want := map[string]string{`{__name__="up"}`: c.up}
			for name, value := range c.want {
				want[fmt.Sprintf("{__name__=%q}", name)] = value
			}
			if got := scrapePages(t, "  "+c.job+"\n", c.pages...); !maps.Equal(got, want) {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	}
}

// nativePage is a histogram with both classic and native buckets, of schema 3, as protobuf.
func nativePage(t *testing.T) *onePage {
	t.Helper()
	var b bytes.Buffer
	format := expfmt.NewFormat(expfmt.TypeProtoDelim)
	if err := expfmt.NewEncoder(&b, format).Encode(&dto.MetricFamily{
		Name: proto.String("h"), Type: dto.MetricType_HISTOGRAM.Enum(), Metric: []*dto.Metric{
			{Histogram: &dto.Histogram{
				SampleCount: proto.Uint64(8), SampleSum: proto.Float64(20), Bucket: []*dto.Bucket{
					{CumulativeCount: proto.Uint64(8), UpperBound: proto.Float64(5)}},
				Schema: proto.Int32(3), ZeroThreshold: proto.Float64(0.001), ZeroCount: proto.Uint64(0),
				PositiveSpan: []*dto.BucketSpan{{Offset: proto.Int32(0),
					Length: proto.Uint32(8)}}, PositiveDelta: []int64{1, 0, 0, 0, 0, 0, 0, 0},
			}}},
	}); err != nil {
		t.Fatal(err)
	}
	return &onePage{contentType: string(format), body: b.String()}
}

// TestHistogramFields: what a job says of histograms.
func TestHistogramFields(t *testing.T) {
	classic := text("# TYPE h histogram\nh_bucket{le=\"1\"} 2\nh_bucket{le=\"+Inf\"} 3\nh_sum 4\nh_count 3\n")
	for name, c := range map[string]struct {
		job    string
		page   *onePage
		native string // empty: none
		others []string
	}{
		"nothing written":          {"", nativePage(t), "", []string{"h_bucket", "h_count", "h_sum"}},
		"scrape_native_histograms": {"scrape_native_histograms: true", nativePage(t), "schema 3, 8 buckets", nil},
		"always_scrape_classic_histograms": {"scrape_native_histograms: true, always_scrape_classic_histograms: true",
			nativePage(t), "schema 3, 8 buckets",
			[]string{"h_bucket", "h_count", "h_sum"}},
		"native_histogram_bucket_limit": {"scrape_native_histograms: true, native_histogram_bucket_limit: 4",
			nativePage(t), "schema 1, 3 buckets", nil},
		"native_histogram_min_bucket_factor": {
			"scrape_native_histograms: true, native_histogram_min_bucket_factor: 1.9",
			nativePage(t), "schema 0, 2 buckets", nil,
		},
		"classic": {"", classic, "", []string{"h_bucket", "h_count", "h_sum"}},
		"convert_classic_histograms_to_nhcb": {"convert_classic_histograms_to_nhcb: true", classic,
			"schema -53, 2 buckets", nil},
	} {
		t.Run(name, func(t *testing.T) {
			got := scrapePages(t, "  "+strings.ReplaceAll(c.job, ", ", "\n  ")+"\n", c.page)
			if got[`{__name__="h"}`] != c.native {
				t.Errorf("native histogram %q, want %q", got[`{__name__="h"}`], c.native)
			}
			for _, name := range []string{"h_bucket", "h_count", "h_sum"} {
				found := false
				for key := range got {
					found = found || strings.Contains(key, `"`+name+`"`)
				}
				if found != slices.Contains(c.others, name) {
					t.Errorf("%s: %v, want %v: %v", name, found, !found, got)
				}
			}
		})
	}
}

func TestKeepDroppedTargets(t *testing.T) {
	for limit, want := range map[string]int{"0": 3, "1": 1, "2": 2, "7": 3} {
		r := newRig()
		r.apply(t, job(t, "  keep_dropped_targets: "+limit+
			"\n  relabel_configs: [{source_labels: [__address__], regex: 'a.*', action: drop}]\n"))
		r.discover(at("a1:1"), at("b:1"), at("a2:1"), at("a3:1"))
		s := r.Status()[0]
		if len(s.Dropped) != want || s.DroppedCount != 3 || len(s.Targets) != 1 {
			t.Errorf("limit %s: %d dropped targets kept, %d counted, %d others; want %d, 3, 1", limit, len(s.Dropped),
				s.DroppedCount, len(s.Targets), want)
		}
		for _, d := range s.Dropped {
			if !strings.HasPrefix(d.Discovered().Get(model.AddressLabel), "a") {
				t.Errorf("%s was not dropped", d.Discovered())
			}
		}
	}
}

// TestRuleFields: every action and field of a rule, for targets and for series.
func TestRuleFields(t *testing.T) {
	for rule, want := range map[string]string{ // of a series with a="One", b="two", c="One"
		"{source_labels: [a], target_label: d}":                                         `a=One b=two c=One d=One`,
		"{source_labels: [a, b], target_label: d}":                                      `a=One b=two c=One d=One;two`,
		"{source_labels: [a, b], separator: '', target_label: d}":                       `a=One b=two c=One d=Onetwo`,
		"{source_labels: [a], regex: '(O)(.*)', replacement: '$2-$1', target_label: d}": `a=One b=two c=One d=ne-O`,
		// the whole has to match
		"{source_labels: [a], regex: 'n', target_label: d}":                           `a=One b=two c=One`,
		"{source_labels: [a], regex: 'O(.*)', replacement: x, target_label: '${1}_'}": `a=One b=two c=One ne_=x`,
		"{source_labels: [a], replacement: '', target_label: b}":                      `a=One c=One`,
		"{source_labels: [a], regex: O.*, action: keep}":                              `a=One b=two c=One`,
		"{source_labels: [a], regex: t.*, action: keep}":                              ``,
		"{source_labels: [a], regex: O.*, action: drop}":                              ``,
		"{source_labels: [a], target_label: c, action: keepequal}":                    `a=One b=two c=One`,
		"{source_labels: [a], target_label: b, action: keepequal}":                    ``,
		"{source_labels: [a], target_label: c, action: dropequal}":                    ``,
		"{source_labels: [a], target_label: b, action: dropequal}":                    `a=One b=two c=One`,
		"{source_labels: [a], modulus: 1, target_label: d, action: hashmod}":          `a=One b=two c=One d=0`,
		"{source_labels: [a, b], modulus: 1000, target_label: d, action: hashmod}": `a=One b=two c=One d=` +
			hashMod("One;two", 1000),
		"{regex: '([ab])', replacement: 'x_$1', action: labelmap}": `a=One b=two c=One x_a=One x_b=two`,
		"{regex: '[ac]', action: labeldrop}":                       `b=two`,
		"{regex: '[a_].*|job|instance', action: labelkeep}":        `a=One`,
		"{source_labels: [a], target_label: a, action: lowercase}": `a=one b=two c=One`,
		"{source_labels: [a], target_label: a, action: uppercase}": `a=ONE b=two c=One`,
	} {
		t.Run(rule, func(t *testing.T) {
			got := scrapePages(t, "  metric_relabel_configs: ["+rule+"]\n",
				text("x{a=\"One\",b=\"two\",c=\"One\"} 1\n"))
			delete(got, `{__name__="up"}`)
			var series string
			for key := range got {
				series = strings.NewReplacer(`{__name__="x", `, "", `"`, "", ", ", " ", "}", "").Replace(key)
			}
			if series != want {
				t.Errorf("series: %q, want %q", series, want)
			}
			r := newRig()
			r.apply(t, job(t, "  relabel_configs: ["+rule+"]\n"))
			r.discover(model.LabelSet{model.AddressLabel: "a:1", "a": "One", "b": "two", "c": "One"})
			var target string
			for _, s := range r.Status()[0].Targets {
				b := labels.NewBuilder(s.Labels)
				b.Del("job", "instance")
				target = strings.NewReplacer("{", "", `"`, "", ", ", " ", "}", "").Replace(b.Labels().String())
			}
			if target != want {
				t.Errorf("target: %q, want %q", target, want)
			}
		})
	}
}

// hashMod is what hashmod makes of a value: the last eight bytes of MD5, big-endian.
func hashMod(value string, modulus uint64) string {
	sum := md5.Sum([]byte(value)) //nolint:gosec // spreads, hides nothing
	var n uint64
	for _, b := range sum[8:] {
		n = n<<8 | uint64(b)
	}
	return fmt.Sprint(n % modulus)
}
