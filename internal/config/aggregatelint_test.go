package config

import (
	"strings"
	"testing"
)

// TestChecksOfAggregates: what check says of valid entries of envoy_scraper.aggregate: warnings, notes, and errors that
// only the jobs explain.
func TestChecksOfAggregates(t *testing.T) {
	t.Setenv("POD_NAME", "p") // Prometheus expands external labels from the environment
	const (
		entry  = ":3: warning: envoy_scraper.aggregate[0]"
		pods   = "kubernetes_sd_configs: [{role: pod}]"
		envoy  = "metrics_path: /stats/prometheus, "
		static = "static_configs: [{targets: ['a:1']}]"
		istio  = "{jobs: [a], match: 'istio_.*', as: {instance: n}}"
		byNode = "{jobs: [a], match: 'istio_.*', as: {instance: '%{NODE_NAME}'}}"
		bigger = ", metric_relabel_configs: [{source_labels: [__name__], action: keep, regex: '"
		uptime = `:6: warning: job "a": scrape_configs[0].metric_relabel_configs[0]: it drops envoy_server_uptime, ` +
			`by which ` +
			"envoy_scraper.aggregate[0] sees that an Envoy has restarted: a restart is then seen only if counters " +
			"fall, and " +
			"what a new pod has counted before its first scrape is left out (keep envoy_server_uptime too)"
		native = "native histograms cannot be summed: their buckets may change from scrape to scrape (set "
		same   = "this value does not say which one it is: if two have the same value, they write the same series, " +
			"and the receiver takes some samples of each (write what tells them apart, as instance: "
		endpoint = "remote_write:\n- url: http://r/write\n  write_relabel_configs: ["
		byLabel  = "job a sets the label __scrape_native_histograms__, and "
		oneName  = ":3: envoy_scraper.aggregate[0].keep_raw: true: the series and their sum would have one name, and"
		large    = "istio_.{1000}.{1000}.{1000}.{1000}.{1000}x" // beyond maxPairSteps
		inShards = entry + ".as.instance: n: several instances share the targets, and " + same + `"%{POD_NAME}")`
		onNodes  = entry + ".as.instance: n: --node-name says that there is an agent on each node, and " + same +
			`"%{NODE_NAME}")`
	)
	for name, c := range map[string]struct {
		opts   Options
		entry  string
		job    string // keys of the job a
		before string // top-level keys
		want   string // the only problem or note; empty: none
	}{
		"nothing unwise": {entry: istio, job: static},
		"native histograms": {entry: istio, job: static + ", scrape_native_histograms: true",
			want: ":3: envoy_scraper.aggregate[0].match: istio_.*: job a has scrape_native_histograms, and " + native +
				"scrape_native_histograms: false for the job, or let match find only counters, as istio_.*_total)"},
		"custom buckets": {entry: istio, job: static + ", convert_classic_histograms_to_nhcb: true",
			want: "job a has convert_classic_histograms_to_nhcb, and " + native},
		"native histograms by global": {entry: istio, job: static, before: "global: {scrape_native_histograms: true}\n",
			want: "job a has scrape_native_histograms, and " + native},
		"native histograms by a rule": {entry: istio, job: static + ", relabel_configs: [{target_label: " +
			"__scrape_native_histograms__, source_labels: [__address__], regex: 'a.*', replacement: 'true'}]",
			want: byLabel + strings.TrimSuffix(native, "(set ") +
				"(do not set the label, or let match find only counters, as istio_.*_total)"},
		"native histograms by a rule with a letter": {entry: istio, want: byLabel,
			job: static + ", relabel_configs: [{target_label: __scrape_native_histograms__, source_labels: [x]}]"},
		"native histograms by a static target": {entry: istio,
			job:  "static_configs: [{targets: ['a:1'], labels: {__convert_classic_histograms_to_nhcb__: 'true'}}]",
			want: "job a sets the label __convert_classic_histograms_to_nhcb__, and "},
		"no native histograms by a label": {entry: istio, job: "static_configs: [{targets: ['a:1'], labels: " +
			"{__scrape_native_histograms__: 'false'}}], relabel_configs: [{target_label: " +
			"__convert_classic_histograms_to_nhcb__, replacement: 'false'}]"},
		"native histograms, too large": {entry: strings.Replace(istio, "istio_.*", large, 1),
			job:  static + ", scrape_native_histograms: true",
			want: "job a has scrape_native_histograms, and " + native},
		"names, too large": {entry: strings.Replace(istio, "istio_.*", large, 1), job: static},
		"native histograms, only counters": {entry: strings.Replace(istio, "istio_.*", "istio_.*_total", 1),
			job: static + ", scrape_native_histograms: true"},
		"no name can match": {entry: strings.Replace(istio, "istio_.*", "istio-.*", 1), job: static,
			want: entry + ".match: istio-.*: no name of Envoy's can match it: names have letters, digits, _ and : " +
				"only, so " +
				"nothing is summed (correct the expression, as istio_.*)"},
		"not anchored in the mind": {entry: strings.Replace(istio, "istio_.*", "istio_", 1), job: static,
			want: entry + ".match: istio_: the expression must match the whole name of a series, so nothing is " +
				"summed (write " +
				"istio_.*)"},
		"a histogram's " +
			"family": {entry: strings.Replace(istio, "istio_.*", "istio_requests_total|istio_request_bytes", 1),
			job: static, want: "istio_request_bytes is a histogram, whose series are named " +
				"istio_request_bytes_bucket, " +
				"istio_request_bytes_sum, istio_request_bytes_count, so it is not summed (match these names too, as " +
				"istio_request_bytes.*)"},
		"a part of a histogram": {entry: strings.Replace(istio, "istio_.*", "istio_request_bytes_(sum|count)", 1),
			job: static, want: "it matches istio_request_bytes_sum, istio_request_bytes_count, but not " +
				"istio_request_bytes_bucket: the histogram is summed in part, and the rest has a series per pod " +
				"(match " +
				"istio_request_bytes_.*, or drop the rest with metric_relabel_configs)"},
		"quantiles": {entry: "{jobs: [a], match: 'istio_.*', without: [pod, quantile], as: {instance: n}}", job: static,
			want: entry + ".without[1]: quantile: has no effect: quantiles cannot be summed and are sent as they " +
				"are (remove it)"},
		"a label twice": {entry: "{jobs: [a], match: 'istio_.*', by: [job, instance], as: {instance: n}}", job: static,
			want: entry + ".by[1]: instance: has no effect: as sets this label (remove it here)"},
		"the label of as left out": {entry: "{jobs: [a], match: 'istio_.*', without: [instance], as: {instance: n}}",
			job: static},
		"jobs added up": {entry: "{jobs: [a, b], match: 'istio_.*', by: [reporter], as: {instance: n}}", job: static,
			want: entry + ": the sums have no label job, so the series of all its jobs are added up (keep job, " +
				"unless the jobs " +
				"have different pods)"},
		"jobs of two intervals": {entry: "{jobs: [a, b], match: 'istio_.*', as: {instance: n}}",
			job: static + ", scrape_interval: 30s"},
		"one value in shards": {opts: Options{ShardIndex: "0", ShardCount: "3"}, entry: istio, job: static,
			want: inShards},
		"the node in shards": {opts: Options{ShardIndex: "0", ShardCount: "3", LookupEnv: envOf("NODE_NAME", "n1")},
			entry: byNode, job: static,
			want: strings.Replace(inShards, "instance: n:", "instance: %{NODE_NAME}:", 1)},
		"a pod's name in shards": {opts: Options{ShardIndex: "0", ShardCount: "3", LookupEnv: envOf("POD_NAME", "p-0")},
			entry: "{jobs: [a], match: 'istio_.*', as: {instance: 'x-%{POD_NAME}'}}", job: static},
		"a pod's name by another variable": {opts: Options{ShardIndex: "0", ShardCount: "3",
			LookupEnv: envOf("HOSTNAME", "p-0", "SELF", "p-0")},
			entry: "{jobs: [a], match: 'istio_.*', as: {instance: '%{SELF}'}}", job: static},
		"a pod's name as external label in shards": {opts: Options{ShardIndex: "0", ShardCount: "3",
			ExternalLabels: map[string]string{"agent": "p-0"}, LookupEnv: envOf("POD_NAME", "p-0")},
			entry: istio, job: static},
		"an external label that as hides": {opts: Options{ShardIndex: "0", ShardCount: "3",
			ExternalLabels: map[string]string{"instance": "p-0"}, LookupEnv: envOf("POD_NAME", "p-0")},
			entry: istio, job: static, want: inShards},
		"one value in shards, announced": {opts: Options{Check: true}, entry: istio + "\n  shards: [{count: 3}]",
			job: static, want: inShards},
		"one value on every node": {opts: Options{NodeName: "n1"}, entry: istio, job: pods,
			want: onNodes},
		"the node's name": {opts: Options{NodeName: "n1"}, entry: byNode, job: pods},
		"one value, another external label": {opts: Options{NodeName: "n1"}, entry: istio, job: pods,
			before: "global: {external_labels: {agent: '%{NODE_NAME}'}}\n"},
		"one value, an external label of the flag": {opts: Options{NodeName: "n1",
			ExternalLabels: map[string]string{"agent": "x-n1"}}, entry: istio, job: pods},
		"one value, a constant label of the flag": {opts: Options{NodeName: "n1",
			ExternalLabels: map[string]string{"cluster": "x"}}, entry: istio, job: pods, want: onNodes},
		"one value, a variable that is the cluster's": {opts: Options{NodeName: "n1",
			LookupEnv: envOf("CLUSTER", "x")}, entry: istio, job: pods, want: onNodes,
			before: "global: {external_labels: {cluster: '%{CLUSTER}'}}\n"},
		"the cluster's name": {opts: Options{NodeName: "n1", LookupEnv: envOf("CLUSTER", "x")},
			entry: "{jobs: [a], match: 'istio_.*', as: {instance: '%{CLUSTER}'}}", job: pods,
			want: strings.Replace(onNodes, "instance: n:", "instance: %{CLUSTER}:", 1)},
		"a pod's name on every node": {opts: Options{NodeName: "n1", LookupEnv: envOf("POD_NAME", "p")},
			entry: "{jobs: [a], match: 'istio_.*', as: {instance: '%{POD_NAME}'}}", job: pods},
		"a pod's name in an external label": {opts: Options{NodeName: "n1", LookupEnv: envOf("POD_NAME", "p")},
			entry: istio, job: pods, before: "global: {external_labels: {pod: '${POD_NAME}'}}\n"},
		"the node's address": {opts: Options{NodeName: "n1", LookupEnv: envOf("HOST_IP", "10.0.0.1")},
			entry: "{jobs: [a], match: 'istio_.*', as: {instance: '%{HOST_IP}'}}", job: pods},
		"every node sums everything": {opts: Options{NodeName: "n1"},
			entry: byNode + "\n  cluster_wide_jobs: [a]", job: static,
			want: entry + ".jobs: a: the job is in cluster_wide_jobs: the agent on every node sums all its " +
				"targets, so " +
				"queries that add up the agents count each target once for every node (scrape the job from a " +
				"Deployment)"},
		"uptime not kept": {entry: istio, job: envoy + static + bigger + "istio_.*'}]", want: uptime},
		"uptime kept":     {entry: istio, job: envoy + static + bigger + "istio_.*|envoy_server_uptime'}]"},
		"no uptime there": {entry: istio, job: static + bigger + "istio_.*'}]"},
		"uptime dropped": {entry: istio, want: uptime,
			job: envoy + static + strings.Replace(bigger, "keep", "drop", 1) + "envoy_.*'}]"},
		"renamed before a keep": {entry: istio, job: envoy + static +
			strings.Replace(bigger, "[{", "[{target_label: __name__, replacement: x}, {", 1) + "istio_.*'}]"},
		"kept by another label": {entry: istio,
			job: envoy + static + strings.Replace(bigger, "__name__", "reporter", 1) + "x'}]"},
		"le is removed": {entry: istio, job: static + ", metric_relabel_configs: [{action: labeldrop, regex: l.}]",
			want: `:6: warning: job "a": scrape_configs[0].metric_relabel_configs[0]: it removes le, so all ` +
				`buckets of a ` +
				"histogram are one series, and cannot be summed by envoy_scraper.aggregate[0] (keep le)"},
		"labels of pods copied": {entry: istio,
			job: pods + ", relabel_configs: [{action: labelmap, regex: __meta_kubernetes_pod_label_(.+)}]",
			want: `:6: warning: job "a": scrape_configs[0].relabel_configs[0]: it copies labels of pods, among them ` +
				"pod_template_hash, controller_revision_hash, statefulset_kubernetes_io_pod_name, " +
				"apps_kubernetes_io_pod_index: the sums of envoy_scraper.aggregate[0] would be other series after " +
				"every " +
				"rollout, or in every pod (add pod_template_hash, controller_revision_hash, " +
				"statefulset_kubernetes_io_pod_name, apps_kubernetes_io_pod_index to without)"},
		"labels of pods copied with a prefix": {
			entry: "{jobs: [a], match: 'istio_.*', without: [pod_pod_template_hash], as: {instance: n}}",
			job: pods + ", relabel_configs: [{action: labelmap, regex: __meta_kubernetes_pod_label_(.*_hash), " +
				"replacement: " +
				"'pod_$1'}]",
			want: "among them pod_controller_revision_hash: "},
		"labels of pods copied and dropped": {entry: istio, job: pods + ", relabel_configs: [{action: labelmap, " +
			"regex: " +
			"__meta_kubernetes_pod_label_(.+)}, {action: labeldrop, regex: .*_hash|.*_kubernetes_io_.*}]"},
		"labels of pods not in by": {entry: "{jobs: [a], match: 'istio_.*', by: [job, app], as: {instance: n}}",
			job: pods + ", relabel_configs: [{action: labelmap, regex: __meta_kubernetes_pod_label_(.+)}]"},
		"a pod's name kept": {entry: istio, job: pods + ", relabel_configs: [{action: replace, source_labels: " +
			"[__meta_kubernetes_namespace, __meta_kubernetes_pod_name], separator: /, target_label: kubernetes_pod}]",
			want: `:6: warning: job "a": scrape_configs[0].relabel_configs[0]: it writes what is another one in ` +
				"every pod to the label kubernetes_pod, which the sums of envoy_scraper.aggregate[0] keep: each has " +
				"one pod (add kubernetes_pod to without)"},
		"an address kept": {entry: istio, job: pods + ", relabel_configs: [{source_labels: [__address__], regex: " +
			"'(.*):.*', target_label: host}]", want: "to the label host, which"},
		"pods' names that sums do not keep": {entry: istio, job: pods + ", relabel_configs: [" + strings.Join([]string{
			"{source_labels: [__meta_kubernetes_pod_name], target_label: pod_name}",
			"{source_labels: [__meta_kubernetes_pod_name], target_label: instance}",
			"{source_labels: [__meta_kubernetes_pod_uid], target_label: uid}",
			"{source_labels: [__meta_kubernetes_pod_ip], replacement: '$1:15020', target_label: __address__}",
			"{source_labels: [__meta_kubernetes_pod_name], target_label: workload}",
			"{source_labels: [__meta_kubernetes_pod_label_app], target_label: workload}",
			"{source_labels: [__meta_kubernetes_pod_name], regex: '(.+)-[a-z0-9]+-[a-z0-9]+', target_label: app}",
			"{source_labels: [__address__], regex: '.*:(.+)', target_label: port}",
			"{source_labels: [__meta_kubernetes_namespace], target_label: ns}",
			"{action: labeldrop, regex: uid}"}, ", ") + "]"},
		"an endpoint that replaces the label": {entry: istio, job: static,
			before: endpoint + "{target_label: x}, {source_labels: [cluster], target_label: instance}]\n",
			want: ":6: warning: remote_write[0].write_relabel_configs[1]: instance: it replaces the value of " +
				"instance, which envoy_scraper.aggregate[0].as sets: sums of agents that get the same value are the " +
				"same series (keep this label)"},
		"an endpoint that replaces the label by its own value": {entry: istio, job: static,
			before: endpoint + "{source_labels: [instance], regex: '(.*):.*', target_label: instance}, " +
				"{source_labels: [instance], target_label: instance, action: lowercase}, " +
				"{source_labels: [__name__], regex: 'envoy_.*', target_label: instance, replacement: x}]\n"},
		"an endpoint that replaces the label of sums by name": {entry: istio, job: static,
			before: endpoint + "{source_labels: [__name__], regex: 'istio_r.*', target_label: instance, " +
				"replacement: x}]\n", want: "it replaces the value of instance"},
		"an endpoint that hashes the label": {entry: istio, job: static, want: "it replaces the value of instance",
			before: endpoint + "{source_labels: [instance], modulus: 2, target_label: instance, action: hashmod}]\n"},
		"an endpoint that maps the label": {entry: istio, job: static, want: "it replaces the value of instance",
			before: endpoint + "{regex: cluster, replacement: instance, action: labelmap}]\n"},
		"an endpoint that replaces the label by another in small letters": {entry: istio, job: static,
			before: endpoint + "{source_labels: [cluster], target_label: instance, action: lowercase}]\n",
			want:   "it replaces the value of instance"},
		"an endpoint without the label": {entry: istio, job: static, before: "remote_write:\n- url: " +
			"http://r/write\n  " +
			"write_relabel_configs:\n  - {action: labeldrop, regex: x}\n  - {action: labelkeep, regex: __name__|le}\n",
			want: ":8: warning: remote_write[0].write_relabel_configs[1]: __name__|le: it removes instance, which " +
				"envoy_scraper.aggregate[0].as sets: the sums of two agents would be the same series (keep this " +
				"label)"},
		"raw beside sums, the pod's node": {
			entry: "{jobs: [a], match: 'istio_.*', as: {instance: n, node: n}, keep_raw: true}", want: oneName,
			job: pods + ", relabel_configs: [{source_labels: [__meta_kubernetes_pod_node_name], target_label: node}]"},
		"raw beside sums, a label of the samples": {
			entry: "{jobs: [a], match: 'istio_.*', as: {instance: n, kind: n}, keep_raw: true}", want: oneName,
			job: pods + ", metric_relabel_configs: [{source_labels: [__name__], target_label: kind}]"},
		"raw beside sums, a static label": {
			entry: "{jobs: [a], match: 'istio_.*', as: {instance: n, kind: n}, keep_raw: true}", want: oneName,
			job: "static_configs: [{targets: ['a:1'], labels: {kind: n}}]"},
		"raw beside sums, an external label": {opts: Options{LookupEnv: envOf("C", "prod")}, job: static, want: oneName,
			entry:  "{jobs: [a], match: 'istio_.*', as: {instance: n, cluster: '%{C}'}, keep_raw: true}",
			before: "global: {external_labels: {cluster: prod}}\n"},
		"raw beside sums, an external label of the flag": {job: static, want: oneName,
			opts:  Options{ExternalLabels: map[string]string{"cluster": "prod"}},
			entry: "{jobs: [a], match: 'istio_.*', as: {instance: n, cluster: prod}, keep_raw: true}"},
		"raw beside sums, another external label": {job: static, want: `select cluster="sum" for the sums`,
			entry:  "{jobs: [a], match: 'istio_.*', as: {instance: n, cluster: sum}, keep_raw: true}",
			before: "global: {external_labels: {cluster: prod}}\n"},
		"raw beside sums, the second label": {job: static, want: `select kind="sum" for the sums`,
			entry:  "{jobs: [a], match: 'istio_.*', as: {cluster: prod, kind: sum}, keep_raw: true}",
			before: "global: {external_labels: {cluster: prod}}\n"},
		"raw beside sums": {entry: "{jobs: [a], match: 'istio_.*', as: {instance: n, kind: sum}, keep_raw: true}",
			job: static, want: ":3: note: envoy_scraper.aggregate[0].keep_raw: series and sums have the same " +
				"names: a query " +
				`must select kind="sum" for the sums, or kind!="sum" for the series; without it, it counts twice`},
	} {
		t.Run(name, func(t *testing.T) {
			before := c.before
			if !strings.Contains(before, "remote_write") {
				before += someRemote
			}
			other := static
			if c.opts.NodeName != "" {
				other = pods
			}
			text := "envoy_scraper:\n  aggregate:\n  - " + c.entry + "\n" + before + "scrape_configs:\n- " +
				"{job_name: a, " +
				c.job + "}\n- {job_name: b, " + other + "}\n"
			if c.opts.LookupEnv == nil {
				c.opts.LookupEnv = envOf()
			}
			got := problemsOf(t, c.opts, text)
			if cfg, err := Load(Options{File: write(t, "n.yml", text), LookupEnv: c.opts.LookupEnv, Check: true,
				NodeName: c.opts.NodeName, ExternalLabels: c.opts.ExternalLabels}); err == nil {
				for _, n := range cfg.Notes {
					if strings.Contains(n.Key, "aggregate[0].") {
						got = append(got, strings.TrimPrefix(n.String(), cfg.opts.File))
					}
				}
			}
			switch {
			case c.want == "" && len(got) > 0:
				t.Errorf("check says\n%s\nwant nothing", strings.Join(got, "\n"))
			case c.want != "" && (len(got) != 1 || !strings.Contains(got[0], c.want)):
				t.Errorf("check says\n%s\nwant one line with\n%s", strings.Join(got, "\n"), c.want)
			}
		})
	}
}

// TestSumsOverJobsOfTwoIntervals: such sums are late, which is a warning beside the one about adding up jobs.
func TestSumsOverJobsOfTwoIntervals(t *testing.T) {
	text := strings.Replace(aggregateFile("{jobs: [a, b], match: 'istio_.*', without: [job], as: {instance: n}}"),
		"{job_name: a,", "{job_name: a, scrape_interval: 10s,", 1)
	got := strings.Join(problemsOf(t, Options{}, text), "\n")
	const want = ":3: warning: envoy_scraper.aggregate[0].jobs: a, b: job a is scraped every 10s and job b every " +
		"1m: their " +
		"sum is up to 1m behind (keep the label job, or give the jobs one interval)"
	if !strings.Contains(got, want) || strings.Count(got, "\n") != 1 {
		t.Errorf("check says\n%s\nwant two lines, one of them\n%s", got, want)
	}
}

// TestSumsAreNoted: a note of check says what the sums of an entry are.
func TestSumsAreNoted(t *testing.T) {
	for entry, want := range map[string]string{
		"{jobs: [a], match: 'istio_.*', as: {instance: '%{NODE_NAME}'}}": "sums of istio_.* of a, without " +
			"instance, pod, " +
			`pod_name, namespace, with instance="%{NODE_NAME}", written every 1m`,
		"{jobs: [a, b], match: x|y, by: [job, app], prefix: 'sum:', as: {instance: n, kind: s}}": "sums of x|y of a, " +
			`b, by job, app, with instance="n", kind="s", named sum:…, written at the interval of each job`,
	} {
		text := strings.Replace(aggregateFile(entry), "{job_name: b,", "{job_name: b, scrape_interval: 30s,", 1)
		cfg := load(t, Options{LookupEnv: envOf("NODE_NAME", "n1")}, text)
		want = ":3: note: envoy_scraper.aggregate[0]: " + want
		if got := strings.TrimPrefix(notesOf(cfg), cfg.opts.File); got != want {
			t.Errorf("notes\n%s\nwant\n%s", got, want)
		}
	}
}

// TestVariablesOfAggregatesAreHidden: no message about an entry shows the content of a variable.
func TestVariablesOfAggregatesAreHidden(t *testing.T) {
	lookup := envOf("A", "canary", "RE", "canary_(", "NAME", "canary_", "BAD", "canary-1")
	for _, entry := range []string{
		"{jobs: [a], match: '%{RE}', as: {instance: '%{A}'}}",
		"{jobs: [a], match: '%{NAME}', as: {instance: '%{A}', kind: '%{A}'}, keep_raw: true}",
		"{jobs: [a], match: '%{A}', prefix: '%{A}', as: {instance: '%{A}'}}",
		"{jobs: [a], match: '%{BAD}', prefix: '%{BAD}', as: {instance: '%{A}', job: '%{A}'}, gauges: '%{A}'}",
		"{jobs: [a], match: '%{A}', as: {instance: n}}\n  - {jobs: [a], match: '%{A}', as: {instance: n}}",
		"{jobs: ['%{A}'], match: x, without: ['%{A}', '%{A}'], as: {instance: n}}",
	} {
		for _, count := range []string{"", "3"} {
			o := Options{Check: true, LookupEnv: lookup, ShardCount: count,
				ShardIndex: strings.Replace(count, "3", "0", 1)}
			problems := problemsOf(t, o, aggregateFile(entry))
			if cfg, err := Load(Options{File: write(t, "n.yml", aggregateFile(entry)), LookupEnv: lookup}); err == nil {
				problems = append(problems, notesOf(cfg))
			}
			if text := strings.Join(problems, "\n"); text == "" || strings.Contains(text, "canary") {
				t.Errorf("%s: the messages are\n%s", entry, text)
			}
		}
	}
}
