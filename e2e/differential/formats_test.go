package differential

import (
	"fmt"
	"strings"
	"time"
)

// nativeHistogram returns a family in protobuf text form: one native histogram whose first bucket has index 0.
func nativeHistogram(schema int, deltas ...int) string {
	var b strings.Builder
	count := 0
	for _, d := range deltas {
		count += d
	}
	fmt.Fprintf(&b, `name: "native" help: "Native." type: HISTOGRAM metric { histogram {
		sample_count: %d sample_sum: 7.5 schema: %d zero_threshold: 0.001 zero_count: 0
		positive_span { offset: 0 length: %d }`, count, schema, len(deltas))
	last := 0
	for _, d := range deltas {
		fmt.Fprintf(&b, " positive_delta: %d", d-last)
		last = d
	}
	b.WriteString(" } }")
	return b.String()
}

const bothHistograms = `name: "h" help: "Both." type: HISTOGRAM metric { label { name: "x" value: "1" } histogram {
 sample_count: 6 sample_sum: 7.5 schema: 3 zero_threshold: 0.001 zero_count: 1
 positive_span { offset: 0 length: 2 } positive_delta: 2 positive_delta: 1
 bucket { cumulative_count: 2 upper_bound: 1
  exemplar { label { name: "trace" value: "abc" } value: 0.5 timestamp { %s } } }
 bucket { cumulative_count: 6 upper_bound: inf } } }`

const classicHistogram = `name: "c" help: "Classic." type: HISTOGRAM unit: "seconds" metric { histogram {
 sample_count: 6 sample_sum: 7.5 created_timestamp { %s }
 bucket { cumulative_count: 2 upper_bound: 1 } bucket { cumulative_count: 4 upper_bound: 2.5 }
 bucket { cumulative_count: 6 upper_bound: inf } } }`

// message returns a timestamp as fields of a protobuf message.
func message(base time.Time, n float64) string {
	ms := stamp(base, n)
	return fmt.Sprintf("seconds: %d nanos: %d000000", ms/1000, ms%1000)
}

func formats(base time.Time) []job {
	at := func(n float64) string { return seconds(base, n) }
	eof := func(lines ...string) answer { return page(append(lines, "# EOF")...).as(metrics1) }
	proto := []answer{
		families(`name: "a" help: "A." type: COUNTER metric { counter { value: 1 } }`,
			`name: "g" type: GAUGE metric { gauge { value: nan } }`),
		families(`name: "a" help: "A." type: COUNTER metric { counter { value: 2
			exemplar { label { name: "t" value: "1" } value: 3 } created_timestamp { seconds: 5 } } }`),
		families(fmt.Sprintf(bothHistograms, message(base, 1))),
		families(fmt.Sprintf(bothHistograms, message(base, 2)), fmt.Sprintf(classicHistogram, message(base, 1))),
		families(nativeHistogram(0, 1, 2, 1)), families(nativeHistogram(0, 1, 2, 2)),
		families(nativeHistogram(2, 1, 2, 2, 5)), refused(500), families(nativeHistogram(2, 1, 2, 2, 6)),
		families(`name: "s" type: SUMMARY metric { summary { sample_count: 2 sample_sum: 3
			quantile { quantile: 0.5 value: 1 } quantile { quantile: 1 value: 2 } } }`),
		families(`name: "u" type: UNTYPED metric { label { name: "x" value: "y" } untyped { value: 4 }
			timestamp_ms: 0 }`,
			fmt.Sprintf(`name: "v" type: GAUGE metric { gauge { value: 4 } timestamp_ms: %d }`, stamp(base, 3))),
		families(`name: "f" type: GAUGE_HISTOGRAM metric { histogram { sample_count_float: 6.5 sample_sum: 7.5
			schema: 1 zero_threshold: 0.001 zero_count_float: 0.5 positive_span { offset: 1 length: 2 }
			positive_count: 2 positive_count: 4 negative_span { offset: 0 length: 1 } negative_count: 1 } }`),
		families(nativeHistogram(0, 1, 2, 2), `name: "bad.name" type: GAUGE metric { gauge { value: 1 } }`),
		families(`name: "dup" type: GAUGE metric { gauge { value: 1 } } metric { gauge { value: 2 } }`),
		families(nativeHistogram(0, 1, 2, 2)).cut(3), {contentType: protobuf, body: "not a message"}, families(),
		families(`name: "a" type: COUNTER metric { counter { value: 1 } }`),
	}
	text := []answer{
		page("# HELP c Classic.", "# TYPE c histogram", `c_bucket{le="1"} 1`, `c_bucket{le="2"} 3`,
			`c_bucket{le="+Inf"} 4`, "c_sum 9", "c_count 4", "# TYPE a counter", "a 1"),
		page("# HELP c Classic.", "# TYPE c histogram", `c_bucket{le="1"} 2`, `c_bucket{le="2"} 3`,
			`c_bucket{le="+Inf"} 5`, "c_sum 9.5", "c_count 5", "# TYPE a counter", "a 1"),
		page("# TYPE c histogram", `c_bucket{x="1",le="1"} 2`, `c_bucket{x="1",le="+Inf"} 5`, `c_sum{x="1"} 9.5`,
			`c_count{x="1"} 5`, `c_bucket{x="2",le="1"} 2`, `c_bucket{x="2",le="+Inf"} 5`, `c_sum{x="2"} 9.5`,
			`c_count{x="2"} 5`),
		page("# TYPE c histogram", `c_bucket{le="1"} 3`, `c_bucket{le="2"} 2`, `c_bucket{le="+Inf"} 5`, "c_sum 9.5",
			"c_count 5"),
		refused(500),
		page("# TYPE c histogram", `c_bucket{le="1"} 2`, "c_sum 9.5"),
		page("# TYPE c histogram", `c_bucket{le="1"} 2`, `c_bucket{le="+Inf"} 2`, "c_sum 9.5", "c_count 2"),
		page("a 1"),
	}
	open := []answer{
		eof("# TYPE a counter", "# HELP a A.", "# UNIT a ", "a_total 1 # {t=\"1\"} 0.5", "a_created 1"),
		eof("# TYPE a counter", `a_total 2 # {t="2"} 0.5 `+at(2)),
		eof("# TYPE a counter", `a_total 3 # {t="2"} 0.5 `+at(2)),
		eof("# TYPE a counter", `a_total 4 # {t="3"} 0.5 `+at(1)), page("a_total 5").as(metrics1),
		eof("# TYPE a counter", "a_total 6"),
		eof("# TYPE a info", `a_info{v="1"} 1`, "# TYPE b stateset", `b{b="x"} 1`, `b{b="y"} 0`),
		eof("# TYPE h histogram", "# UNIT h seconds", `h_bucket{le="1"} 1 # {t="9"} 0.5`,
			`h_bucket{le="+Inf"} 2 # {t="8"} 2 `+at(2), "h_sum 3", "h_count 2", "h_created 5"),
		eof("a 1 " + at(2)), eof("a 1 " + at(5)), eof("a 1", "a 1"), eof("", "a 1"), eof("a  1"),
		eof("a 1 # {} 5", "b 1"), eof("# TYPE c unknown", "c NaN"), {contentType: metrics1, body: "a 1\n# EOF"},
		{contentType: metrics1, body: "a 1\n# EOF\nb 1\n"},
		page("a 1", "# EOF").as(metrics001), {contentType: metrics1},
		eof("# TYPE g gaugehistogram", `g_bucket{le="1"} 1`, `g_bucket{le="+Inf"} 2`, "g_gcount 2", "g_gsum 3"),
		eof("# TYPE s summary", `s{quantile="1"} 1`, "s_sum 2", "s_count 1", "s_created 3"), eof(),
	}
	both := "  scrape_native_histograms: true\n" +
		"  scrape_protocols: [PrometheusProto, OpenMetricsText1.0.0, PrometheusText0.0.4]\n"
	return []job{
		{name: "protobuf", keys: "  scrape_protocols: [PrometheusProto, PrometheusText0.0.4]\n", script: proto},
		{name: "protobuf native", keys: both, script: proto},
		{name: "protobuf native and classic", keys: both + "  always_scrape_classic_histograms: true\n", script: proto},
		{name: "protobuf custom buckets", keys: both + "  convert_classic_histograms_to_nhcb: true\n", script: proto},
		{name: "protobuf everything", keys: both +
			"  convert_classic_histograms_to_nhcb: true\n  always_scrape_classic_histograms: true\n", script: proto},
		{name: "text custom buckets", keys: "  convert_classic_histograms_to_nhcb: true\n", script: text},
		{name: "text custom buckets and classic", keys: "  convert_classic_histograms_to_nhcb: true\n" +
			"  always_scrape_classic_histograms: true\n", script: text},
		{name: "openmetrics", script: open},
		{name: "openmetrics custom buckets", keys: "  convert_classic_histograms_to_nhcb: true\n", script: open},
		{name: "content types", script: []answer{
			page("a 1").as(envoyText), page("a 2").as(text1), page("a 3").as(""), page("a 4"),
			page("a 5").as("text/html"), page("a 6").as("application/json"), page("a 7").as("text/plain"),
			page("a 8").as(";;;"),
			{}, {contentType: "text/html"}, page("a 9").as("TEXT/PLAIN"), page("a 10").as("text/plain; version=9"),
			page("a 11").as("text/plain, text/html"), page("a 12").as("application/openmetrics-text"),
			page("a 13", "# EOF").as("application/openmetrics-text; version=9"),
			page("a 14").as("application/vnd.google.protobuf"), page("a 15"),
		}},
		{name: "fallback", keys: "  fallback_scrape_protocol: PrometheusText0.0.4\n",
			script: []answer{page("a 1").as(""), page("a 2").as("text/html"), page("a 3").as(";;;"), {},
				page("a 4", "# EOF").as(metrics1), page("a 5")}},
		{name: "fallback openmetrics", keys: "  fallback_scrape_protocol: OpenMetricsText1.0.0\n",
			script: []answer{page("a 1", "# EOF").as(""), page("a 2").as("text/html"), page("a 5"), page("a 5")}},
		{name: "compressed", script: []answer{
			page("a 1").gzipped(), page("a 2"), page("a 3").gzipped().cut(2), page("a 4").gzipped().cut(9),
			page("a 5").with("Content-Encoding", "gzip"), page("a 6").with("Content-Encoding", "deflate"),
			page("a 7").with("Content-Encoding", "identity"),
			page("a 8").gzipped().with("Content-Encoding", "GZIP"),
			page("a 9").gzipped().with("Content-Encoding", "x-gzip"), page().gzipped(), page("a 10").gzipped(),
		}},
		{name: "uncompressed", keys: "  enable_compression: false\n",
			script: []answer{page("a 1"), page("a 2").gzipped(), page("a 3")}},
		{name: "redirects", script: []answer{page("a 1"), {contentType: text0, body: "a 2\n", redirect: true},
			page("a 3")}},
		{name: "redirects not followed", keys: "  follow_redirects: false\n",
			script: []answer{page("a 1"), {contentType: text0, body: "a 2\n", redirect: true}, page("a 3")}},
	}
}
