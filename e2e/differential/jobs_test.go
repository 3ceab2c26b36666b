package differential

import (
	"fmt"
	"strings"
	"time"
)

// writtenJobs returns the jobs written by hand. base is the origin of the timestamps on pages.
func writtenJobs(base time.Time) []job {
	return append(append(append(staleness(base), limits()...), labelling()...), formats(base)...)
}

// stamp returns the n-th timestamp for pages. They are 10 ms apart, with n from 0 to 99.
func stamp(base time.Time, n float64) int64 { return base.UnixMilli() + int64(10*n) }

// seconds returns the same timestamp in the form of OpenMetrics.
func seconds(base time.Time, n float64) string {
	ms := stamp(base, n)
	return fmt.Sprintf("%d.%03d", ms/1000, ms%1000)
}

func staleness(base time.Time) []job {
	at := func(n float64) int64 { return stamp(base, n) }
	hang := answer{hang: true}
	return []job{
		{name: "come and go", script: []answer{
			page("a 1", "b 2", "c 3"), page("a 2", "c 3"), page("a 3", "b 4", "c 3", "d 1"), page("d 1"), page(),
			page("a 1"),
			page("a 1", "a2 1"), page("a 0", `a{x=""} 5`, "a2 0"), page(`b{x="1",y="2"} 1`), page(`b{y="2",x="1"} 2`),
			page(`b {x="1", y="2"} 3`),
			page("# nothing but", "# comments"),
			page("a NaN", "b Nan", "c +Inf", "d -Inf", "e 1e3", "f 0x1p4", "g 1_000"),
			page("a NaN", "b nan", "c Inf", "d -inf", "e 1e3", "f 0x1p4"),
			page("a 1"),
		}},
		{name: "failing", script: []answer{
			page("a 1", "b 1"), refused(500), refused(404), page("a 2", "b 2"), hang, page("a 3", "c 3"), {raw: " "},
			page("a 4"),
			{raw: "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 100\r\n\r\na 5\n"},
			page("a 6", "b 6"),
			{raw: "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n" +
				"a 7\n\r\nzz\r\n"},
			page("a 8"),
			{contentType: text0, body: "a 9\n", stall: true}, page("a 10"), {raw: "hello\r\n\r\n"}, refused(204),
			{contentType: text0, status: 206, body: "a 1\n"}, page("a 1", "b 1"),
			{contentType: text0, body: "a 1"}, page("a 1"), {contentType: text0, status: 302, body: "a 1\n"},
			page("a 2"),
		}},
		{name: "failing first", script: []answer{refused(500), page("a 1"), page("a 1"), page("a 1", "b 1")}},
		{name: "garbage", script: []answer{
			page("a 1", "b 1"), page("a 2", "garbage here now and then", "b 2"), page("a 3", "b 3", "c 3"),
			page("a 4", "n 1", "c{ 5"), page("a 5", "n 1", "m 1"),
			page("<html>"), page("a 6"), page("a 6", "a\x00b 1"), page("a \xff"), page("a 7", "l{x=\"\xff\"} 1"),
			page("a 8"), page("a 1 1 1"), page("a 1", "b"), page("b 2", "c"),
			page("a 1\r", "b 1\r"), page("\ufeffa 1"), page("a 1", "{} 1"), page("a 9", `{x="1"} 1`),
			page("a 1", `b{x="1",x="2"} 1`), page("a 1", `b{x="1",,y="2"} 1`),
			page("a 1", `b{x="1",} 1`), page("a 1", `b{"x"="1"} 1`), page("a 1", "\t b\t 1  "),
			page("a 1", `b{x="\q\n\\\""} 1`), page("a 1", "# TYPE b", "b 1"),
			page("a 1", "# TYPE b nonsense", "b 1"), page("a 1", "# HELP b", "b 1"), page("a 1", "#b 1"), page("1a 1"),
			page("a:b 1", "a.b 1"), page("a 1"),
		}},
		{name: "resets", script: []answer{
			page("# TYPE r_total counter", "r_total 100"), page("# TYPE r_total counter", "r_total 110"), {raw: " "},
			{raw: " "},
			page("# TYPE r_total counter", "r_total 1"), page("# TYPE r_total counter", "r_total 5"),
			page("# TYPE r_total gauge", "r_total 5"),
		}},
		{name: "twice", script: []answer{
			page("a 1", "a 2"), page("a 1", "a 1", "b 1"), page(`a{x="1"} 1`, `a{x="1",y=""} 2`), page("a 1"),
			page("b 1", "b 2", "b 3"), page("b 1"),
		}},
		{name: "own timestamps", script: []answer{
			page(fmt.Sprint("a 1 ", at(1)), "b 1"), page(fmt.Sprint("a 2 ", at(2)), "b 2"), page("b 3"),
			page(fmt.Sprint("a 3 ", at(3)), "b 4"),
			page(fmt.Sprint("a 4 ", at(3)), fmt.Sprint("c 4 ", at(4))), page(fmt.Sprint("a 5 ", at(2.5)), "c 5"),
			refused(500), page(fmt.Sprint("a 6 ", at(6)), "c 6"),
			page("a 7", "c 7"), page("c 8"), page(fmt.Sprint("a 8 ", at(8)), "c 9"), page(fmt.Sprint("c 10 ", at(10))),
			page("d 1", fmt.Sprint("d 2 ", at(11)), fmt.Sprint("d 3 ", at(12))),
			page(fmt.Sprint("d 4 ", at(13)), "d 5"), page("d 5"), page("e 1 0"), page("e 1 -5"), page("e 1 1.5"),
			page("f 1 5000000000000"), page("f 2", "g 1"), page("g 1"),
		}},
		{name: "own timestamps tracked", keys: "  track_timestamps_staleness: true\n", script: []answer{
			page(fmt.Sprint("a 1 ", at(1)), "b 1"), page(fmt.Sprint("a 2 ", at(2)), "b 2"), page("b 3"),
			page(fmt.Sprint("a 3 ", at(3)), "b 4"), page("b 5"),
			page(fmt.Sprint("a 4 ", at(3)), "b 6"), refused(500), page("c 1"), page(fmt.Sprint("c 1 ", at(9)), "a 1"),
			page("a 1"),
		}},
		{name: "own timestamps ignored", keys: "  honor_timestamps: false\n", script: []answer{
			page(fmt.Sprint("a 1 ", at(1)), "b 1"), page(fmt.Sprint("a 2 ", at(1)), "b 2"), page("b 3"),
			page("f 1 5000000000000"), page("a 1", fmt.Sprint("a 2 ", at(9))),
		}},
		{name: "every other turn", keys: "  relabel_configs:\n" +
			"  - {target_label: __scrape_interval__, replacement: 4s}\n" +
			"  - {target_label: __scrape_timeout__, replacement: 2500ms}\n  extra_scrape_metrics: true\n",
			script: []answer{
				page("a 1"), page("a 2"), page("b 1"), page("a 3"),
			}},
	}
}

func limits() []job {
	many := func(n int) answer {
		var lines []string
		for i := range n {
			lines = append(lines, fmt.Sprintf("m%d 1", i))
		}
		return page(lines...)
	}
	exactly := func(size int) answer {
		a := page("a 1")
		a.body += "#" + strings.Repeat("x", size-len(a.body)-2) + "\n"
		return a
	}
	return []job{
		{name: "sample limit", keys: "  sample_limit: 3\n  extra_scrape_metrics: true\n  metric_relabel_configs:\n" +
			"  - {source_labels: [__name__], regex: dropped.*, action: drop}\n", script: []answer{
			many(3), many(4), many(3), many(5), many(5), many(2), page("m9 1", "m8 1", "m7 1", "m6 1", "m0 1"), many(3),
			page("dropped1 1", "dropped2 1", "m1 1", "m2 1", "m3 1"),
			page("n1 1", "n2 1", "n3 1"), page("m0 1", "m1 1", "m2 1"), page("m0 1", "m0 1", "m1 1", "m2 1"),
			page("m0 1", "m1 1", "m2 1", "m2 1"), many(4), page(), many(1),
		}},
		{name: "label limit", keys: "  label_limit: 5\n  label_name_length_limit: 12\n  label_value_length_limit: 24\n",
			script: []answer{
				page("a 1"), page(`a{x="1"} 1`), page(`a{x="1",y="2"} 1`), page("a 1"), page(`a{averylongname="1"} 1`),
				page("a 1"), page(`a{x="a very long value indeed."} 1`), page("a 1", "b 1"),
				page("a 1", `c{x="1",y="2"} 1`, "b 1"), page("averyveryverylongnameofametric 1"), page("a 2"),
			}},
		{name: "body limit", keys: "  body_size_limit: 100B\n  extra_scrape_metrics: true\n", script: []answer{
			exactly(99), exactly(100), exactly(99), exactly(101), exactly(5000), exactly(99).gzipped(),
			exactly(100).gzipped(), exactly(5000).gzipped(), exactly(50),
		}},
		{name: "drops", keys: "  relabel_configs:\n  - {source_labels: [case], regex: dropped, action: drop}\n" +
			"  keep_dropped_targets: 5\n", dropped: 3, script: []answer{page("a 1")}},
		{name: "params", keys: "  params: {x: [\"1\", \"2\"], y: [z]}\n  metrics_path: /m?q=1\n",
			script: []answer{page("a 1")}},
		{name: "target limit", keys: "  target_limit: 1\n", targets: 2, script: []answer{page("a 1"), page("a 2")}},
		{name: "bucket limit", keys: "  scrape_native_histograms: true\n  native_histogram_bucket_limit: 3\n" +
			"  scrape_protocols: [PrometheusProto]\n", script: []answer{
			families(nativeHistogram(3, 1, 1, 1)), families(nativeHistogram(3, 1, 1, 1, 1)),
			families(nativeHistogram(-4, 1, 1, 1, 1, 1, 1)), families(nativeHistogram(0, 2, 2, 2)),
			families(nativeHistogram(8, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1)), families(nativeHistogram(0, 2, 2, 2)),
		}},
		{name: "bucket factor", keys: "  scrape_native_histograms: true\n" +
			"  native_histogram_min_bucket_factor: 1.5\n  scrape_protocols: [PrometheusProto]\n", script: []answer{
			families(nativeHistogram(3, 1, 1, 1)), families(nativeHistogram(0, 1, 2, 1, 1)),
			families(nativeHistogram(8, 1, 1, 1, 1, 1)),
		}},
	}
}

func labelling() []job {
	return []job{
		{name: "honor no labels", script: []answer{
			page(`a{job="x",instance="y"} 1`), page(`a{job="x",exported_job="z"} 1`),
			page(`a{zone="1",exported_zone="2",exported_exported_zone="3"} 1`), page(`a{job=""} 1`),
			page(`a{cluster="mine"} 1`), page(`a{__x="1"} 1`), page(`a{exported_job="1"} 1`),
			page("up 5", "scrape_samples_scraped 7"), page("a 1"),
		}},
		{name: "honor labels", keys: "  honor_labels: true\n", script: []answer{
			page(`a{job="x",instance="y"} 1`), page(`a{job=""} 1`, "b 1"), page(`a{zone="1",exported_zone="2"} 1`),
			page(`a{cluster="mine"} 1`), page("up 5"), page("a 1", `a{zone=""} 2`), page("a 1"),
		}},
		{name: "rules", keys: `  metric_relabel_configs:
  - {source_labels: [__name__], regex: drop_.*, action: drop}
  - {source_labels: [__name__], regex: "rename_(.*)", target_label: __name__}
  - {regex: pod, action: labeldrop}
  - {source_labels: [x], regex: "(.+)", target_label: y, replacement: "${1}-y"}
  - {source_labels: [kill], regex: "1", target_label: __name__, replacement: ""}
`, script: []answer{
			page("a 1", "drop_a 1"), page("rename_b 1", "drop_a 2"), page(`a{pod="1"} 1`, `a{pod="2"} 2`),
			page("b 1", "rename_b 2"), page(`a{x="1"} 1`), page(`a{x="2",y="3"} 1`),
			page(`a{kill="1"} 1`), page("a 2"), page("drop_a 1", "drop_b 1"), page("a 2"),
			page("rename_b 1", "rename_b 2"),
		}},
		{name: "rules break names", keys: "  metric_relabel_configs:\n" +
			"  - {source_labels: [x], target_label: __name__, regex: (.+)}\n  metric_name_validation_scheme: legacy\n",
			script: []answer{
				page("a 1"), page(`a{x="b.c"} 1`), page("a 2"), page(`{"b.c"} 1`), page("a 2"), page(`a{"x.y"="1"} 1`),
				page("a 3"),
			}},
		{name: "legacy names", keys: "  metric_name_validation_scheme: legacy\n" +
			"  metric_name_escaping_scheme: underscores\n", script: []answer{page("a 1"), page(`{"b.c"} 1`),
			page(`a{"x.y"="1"} 1`), page("a 1")}},
		{name: "utf8 names", script: []answer{page(`{"b.c"} 1`), page(`{"b.c",x="1"} 1`, `{"größe","ä ö"="ü"} 2`),
			page(`{"b.c",} 1`), page(`{x="1","b.c"} 1`), page(`a{"b.c"} 1`), page(`{""} 1`), page("a 1")}},
		{name: "le and quantile", script: []answer{
			page("# TYPE h histogram", `h_bucket{le="1"} 1`, `h_bucket{le="2.50"} 1`, `h_bucket{le="1e3"} 1`,
				`h_bucket{le="+Inf"} 2`, "h_sum 3", "h_count 2"),
			page("# TYPE h histogram", `h_bucket{le="1.0"} 1`, `h_bucket{le="2.5"} 1`, `h_bucket{le="1000"} 1`,
				`h_bucket{le="+Inf"} 2`, "h_sum 3", "h_count 2"),
			page("# TYPE s summary", `s{quantile="0.50"} 1`, `s{quantile="1"} 1`, "s_sum 3", "s_count 2"),
			page("# TYPE s summary", `s{quantile="0.5"} 1`, `s{quantile="1.0"} 1`),
			page("# TYPE h histogram", `h_bucket{le="1",x="2"} 1`, `h_bucket{le="one"} 1`, `h_bucket{le=""} 1`,
				`h_bucket 1`),
			page(`h_bucket{le="1"} 1`, `s{quantile="1"} 1`),
			page("# TYPE h gauge", `h_bucket{le="1"} 1`, `h{le="1"} 1`),
			page("# TYPE h histogram", `h{le="1"} 1`, `h_bucket{le="1"} 1`, `h_bucket{le="1.0"} 2`),
			page("# TYPE h histogram", "# TYPE h gauge", `h_bucket{le="2"} 1`),
			page("# TYPE h_bucket counter", "# TYPE h histogram", `h_bucket{le="3"} 1`, `x{le="1"} 1`),
		}},
	}
}
