package config

import (
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/envoy-scraper/envoy-scraper/internal/aggregate"
)

// aggregateFile is a file with the jobs a and b, and the keys of one or more entries of envoy_scraper.aggregate.
func aggregateFile(entries ...string) string {
	return "envoy_scraper:\n  aggregate:\n  - " + strings.Join(entries, "\n  - ") + "\n" + someRemote +
		"scrape_configs:\n- {job_name: a, static_configs: [{targets: ['a:1']}]}\n" +
		"- {job_name: b, static_configs: [{targets: ['b:1']}]}\n"
}

// TestAggregates: the blocks that a file means, with every default, and that the printed file means the same.
func TestAggregates(t *testing.T) {
	const least = "{jobs: [a], match: 'istio_.*', as: {instance: n}}"
	defaults := aggregate.Block{
		Jobs: []string{"a"}, Without: []string{"instance", "pod", "pod_name", "namespace"},
		As: labels.FromStrings("instance", "n"), Gauges: aggregate.GaugesRaw, Idle: 15 * time.Minute,
	}
	for name, c := range map[string]struct {
		entry  string
		change func(*aggregate.Block) // of defaults
	}{
		"the least": {least, func(*aggregate.Block) {}},
		"without": {"{jobs: [a], match: 'istio_.*', without: [x, y], as: {instance: n}}", func(b *aggregate.Block) {
			b.Without = []string{"x", "y"}
		}},
		"by": {"{jobs: [a], match: 'istio_.*', by: [job, source_app], as: {instance: n}}", func(b *aggregate.Block) {
			b.Without, b.By = nil, []string{"job", "source_app"}
		}},
		"by nothing": {"{jobs: [a], match: 'istio_.*', by: [], as: {instance: n}}", func(b *aggregate.Block) {
			b.Without, b.By = nil, []string{}
		}},
		"all keys": {"{jobs: [b, a], match: 'istio_.*', as: {instance: '%{NODE_NAME}', tier: sum}, prefix: " +
			"'workload:', idle: 5m, gauges: max, keep_raw: true, count_first: false}", func(b *aggregate.Block) {
			b.Jobs, b.Prefix = []string{"b", "a"}, "workload:"
			b.As = labels.FromStrings("instance", "node-1", "tier", "sum")
			b.Idle, b.Gauges, b.KeepRaw, b.SkipFirst = 5*time.Minute, aggregate.GaugesMax, true, true
		}},
		"a default written": {"{jobs: [a], match: 'istio_.*', as: {instance: n}, count_first: true, gauges: raw, " +
			"idle: 15m, keep_raw: false, prefix: ''}", func(*aggregate.Block) {}},
	} {
		t.Run(name, func(t *testing.T) {
			want := defaults
			c.change(&want)
			cfg := load(t, Options{LookupEnv: envOf("NODE_NAME", "node-1")}, aggregateFile(c.entry))
			printed, err := cfg.Redacted()
			if err != nil {
				t.Fatal(err)
			}
			for _, key := range []string{"count_first: ", "gauges: ", "idle: "} {
				if !strings.Contains(printed, key) {
					t.Errorf("the printed file has no %s\n%s", key, printed)
				}
			}
			pasted := aggregate.YAML(cfg.Aggregates()...) + strings.SplitAfterN(aggregateFile(""), "- \n", 2)[1]
			for which, cfg := range map[string]*Config{
				"the file": cfg, printed: load(t, Options{}, printed), pasted: load(t, Options{}, pasted),
			} {
				blocks := cfg.Aggregates()
				if len(blocks) != 1 {
					t.Fatalf("%s has %d blocks", which, len(blocks))
				}
				if got := blocks[0].Match.String(); got != "^(?s:istio_.*)$" {
					t.Errorf("%s: match = %s", which, got)
				}
				blocks[0].Match = nil
				if !reflect.DeepEqual(blocks[0], want) {
					t.Errorf("%s means\n%+v, want\n%+v", which, blocks[0], want)
				}
				if !cfg.Aggregated("a") || cfg.Aggregated("b") != (len(want.Jobs) == 2) || cfg.Aggregated("c") {
					t.Errorf("%s: Aggregated says a %v, b %v, c %v", which, cfg.Aggregated("a"), cfg.Aggregated("b"),
						cfg.Aggregated("c"))
				}
			}
		})
	}
	if blocks := load(t, Options{}, someRemote+someJob).Aggregates(); blocks != nil {
		t.Errorf("a file without the list has the blocks %v", blocks)
	}
}

// TestNodeNameFlagIsTheVariable: --node-name is the value of %{NODE_NAME}, unless the variable is set.
func TestNodeNameFlagIsTheVariable(t *testing.T) {
	text := "envoy_scraper: {aggregate: [{jobs: [a], match: x, as: {instance: '%{NODE_NAME}'}}]}\n" + someRemote +
		"scrape_configs: [{job_name: a, kubernetes_sd_configs: [{role: pod}]}]\n"
	for want, lookup := range map[string]func(string) (string, bool){
		"flag": envOf(), "set": envOf("NODE_NAME", "set"), "other": envOf("NODE_NAME", ""),
	} {
		cfg := load(t, Options{NodeName: strings.Replace(want, "set", "other", 1), LookupEnv: lookup}, text)
		if got := cfg.Aggregates()[0].As.Get("instance"); got != want {
			t.Errorf("instance = %s, want %s", got, want)
		}
	}
}

// TestMistakesInAggregates: the exact errors about envoy_scraper.aggregate.
func TestMistakesInAggregates(t *testing.T) {
	const (
		at    = ":3: envoy_scraper.aggregate[0]"
		unset = "(set NODE_NAME of the pod from spec.nodeName, or POD_NAME from metadata.name (fieldRef), or write " +
			"what tells this agent from the others; to check a file elsewhere, give --node-name)"
		without = "write the labels that sums shall not have, or remove the key: then they are instance, pod, " +
			"pod_name, namespace"
		oneSum = ":4: envoy_scraper.aggregate[1].match: istio_x: aggregate[0] writes sums with the same names and " +
			`labels ("istio_x", for example), so a series would have two values (put the jobs into one entry, or ` +
			"give a label of as another value in each)"
	)
	for name, c := range map[string]struct {
		entries []string
		want    []string
	}{
		"no such job": {[]string{"{jobs: [a, c], match: x, as: {instance: n}}"},
			[]string{at + ".jobs[1]: c: no job has this name (write one of a, b)"}},
		"a job twice": {[]string{"{jobs: [a, a], match: x, as: {instance: n}}"},
			[]string{at + ".jobs[1]: a: listed twice (remove one of the two)"}},
		"nothing written": {[]string{"{idle: 15m}"}, []string{
			at + ".jobs: missing, so nothing is summed (add the names of jobs, as jobs: [envoy-stats])",
			at + ".match: missing, so nothing is summed (add an expression for the names of series, as match: " +
				"istio_.*)",
			at + ".as: missing: it tells the sums of this agent from those of another, which would be the same " +
				"series " +
				`otherwise (add as: {instance: "%{NODE_NAME}"} for a DaemonSet, or "%{POD_NAME}")`}},
		"no expression": {[]string{"{jobs: [a], match: 'istio_(', as: {instance: n}}"}, []string{
			at + ".match: istio_(: error parsing regexp: missing closing ): `^(?s:istio_()$` (correct the regular " +
				"expression (RE2 syntax))"}},
		"without and by": {[]string{"{jobs: [a], match: x, without: [pod], by: [job], as: {instance: n}}"},
			[]string{at + ".by: without is written too (remove one of the two)"}},
		"empty lists": {[]string{"{jobs: [a], match: x, without: [], as: {instance: n}}",
			"{jobs: [b], match: x, by: [], as: {instance: n}}"}, []string{
			at + ".without: []: the list is empty (" + without + ")"}},
		"labels of every sum": {[]string{"{jobs: [a], match: x, without: [le, pod, pod], as: {__name__: n, le: m}}",
			"{jobs: [b], match: x, by: [__name__, __meta_x, ''], as: {job: n, __x: n, bounds: n}}"}, []string{
			at + ".without[0]: le: le tells the buckets of a histogram apart (remove it: sums always have it)",
			at + ".without[2]: pod: listed twice (remove one of the two)",
			at + ".as.__name__: n: the sums of different metrics cannot be mixed (remove it: sums always have a name)",
			at + ".as.le: m: le tells the buckets of a histogram apart (remove it: sums always have it)",
			":4: envoy_scraper.aggregate[1].by[0]: __name__: the sums of different metrics cannot be mixed (remove " +
				"it: sums always have a name)",
			":4: envoy_scraper.aggregate[1].by[1]: __meta_x: labels that start with __ are never sent (remove it)",
			":4: envoy_scraper.aggregate[1].by[2]: not a valid label name (correct it)",
			":4: envoy_scraper.aggregate[1].as.__x: n: labels that start with __ are never sent (remove it)",
			":4: envoy_scraper.aggregate[1].as.bounds: n: sums of histograms with different bounds have this label " +
				"(use " +
				"another label, as instance)",
			":4: envoy_scraper.aggregate[1].as.job: n: job stays the name of the scrape job (use another label, as " +
				"instance)"}},
		"an empty value": {[]string{"{jobs: [a], match: x, as: {instance: ''}}"}, []string{
			at + ".as.instance: the value is empty, so the sums of two agents would be the same series " + unset}},
		"an empty variable": {[]string{"{jobs: [a], match: x, as: {instance: '%{EMPTY}'}}"}, []string{
			at + ".as.instance: %{EMPTY}: the value is empty, so the sums of two agents would be the same series " +
				"" + unset}},
		"a variable that is not set": {[]string{"{jobs: [a], match: x, as: {instance: '%{NODE_NAME}'}}"}, []string{
			at + ".as.instance: %{NODE_NAME}: the environment variable NODE_NAME is not set " + unset}},
		"the rest": {[]string{
			"{jobs: [a], match: x, as: {instance: n}, prefix: '1-', idle: 4m, gauges: mean}"}, []string{
			at + ".prefix: 1-: not the beginning of a metric's name (write letters, digits, _ and :, as 'workload:')",
			at + ".idle: 4m: less than 5m, the time that Prometheus' queries look back: a sum would end while its " +
				"last value still counts (write at least 5m)",
			at + ".gauges: mean: must be raw, sum, max or min (write raw, sum, max or min)"}},
		"raw and sum under one name": {[]string{"{jobs: [a], match: x, as: {instance: n}, keep_raw: true}"}, []string{
			at + ".keep_raw: true: the series and their sum would have one name, and no label says which is which, " +
				"so every query would count twice (add prefix, as prefix: 'workload:', or another label to as, which " +
				"queries then select)"}},
		"raw and sum under two names": {[]string{
			"{jobs: [a], match: x, as: {instance: n}, keep_raw: true, prefix: 'sum:'}"}, nil},
		"raw and sum with another label": {[]string{
			"{jobs: [a], match: x, as: {instance: n, kind: sum}, keep_raw: true}"}, nil},
		"one series, two entries": {[]string{"{jobs: [a, b], match: 'istio_.*', as: {instance: n}}",
			"{jobs: [b], match: '.*_total', as: {instance: n}}"}, []string{
			`:4: envoy_scraper.aggregate[1].match: .*_total: aggregate[0] matches some of these series too ` +
				`("istio_total" of ` +
				"job b, for example), and a series has one sum (change one of the expressions, or put all into one " +
				"entry)"}},
		"two jobs, one expression": {[]string{"{jobs: [a], match: 'istio_.*', as: {instance: n}}",
			"{jobs: [b], match: 'istio_.*', as: {instance: n}}"}, nil},
		"one job, two expressions": {[]string{"{jobs: [a], match: 'istio_.*_total', as: {instance: n}}",
			"{jobs: [a], match: 'istio_.*_(bucket|sum|count)', as: {instance: n}}"}, nil},
		"one sum of two jobs": {[]string{"{jobs: [a], match: 'istio_.*', without: [pod, job], as: {instance: n}}",
			"{jobs: [b], match: 'istio_x', without: [job, pod], as: {instance: n}}"}, []string{oneSum}},
		"one sum of series without the other's label": {[]string{
			"{jobs: [a], match: 'istio_.*', without: [pod, job], as: {instance: n}}",
			"{jobs: [b], match: 'istio_x', without: [job], as: {instance: n}}"}, []string{oneSum}},
		"one sum by the labels that there are": {[]string{
			"{jobs: [a], match: 'istio_.*', by: [app], as: {instance: n}}",
			"{jobs: [b], match: 'istio_x', by: [app, reporter], as: {instance: n}}"}, []string{oneSum}},
		"one sum of series that have the label": {[]string{
			"{jobs: [a], match: 'istio_.*', without: [job], as: {instance: n, of: a}}",
			"{jobs: [b], match: 'istio_x', without: [job], as: {instance: n}}"}, []string{oneSum}},
		"two sums of series that cannot have the label": {[]string{
			"{jobs: [a], match: 'istio_.*', without: [job], as: {instance: n, of: a}}",
			"{jobs: [b], match: 'istio_x', without: [job, of], as: {instance: n}}"}, nil},
		"one sum by a prefix": {[]string{"{jobs: [a], match: 'x', prefix: 'sum:', as: {instance: n}}",
			"{jobs: [a], match: 'um:x', prefix: 's', as: {instance: n}}"}, []string{
			":4: envoy_scraper.aggregate[1].match: um:x: aggregate[0] writes sums with the same names and labels " +
				`("sum:x", for example), so a series would have two values (put the jobs into one entry, or give a ` +
				"label of as another value in each)"}},
		"two jobs told apart by as": {[]string{
			"{jobs: [a], match: 'istio_.*', without: [job], as: {instance: n, of: a}}",
			"{jobs: [b], match: 'istio_.*', without: [job], as: {instance: n, of: b}}"}, nil},
		"two jobs told apart by a prefix": {[]string{
			"{jobs: [a], match: 'istio_.*', without: [job], as: {instance: n}}",
			"{jobs: [b], match: 'istio_.*', without: [job], prefix: 'b:', as: {instance: n}}"}, nil},
		"a job in too many entries": {manyEntries(16), []string{
			":18: envoy_scraper.aggregate[15].jobs: a: the job is in more than 15 entries (put entries with the same " +
				"labels into one)"}},
		"too many entries": {manyEntries(121), []string{
			":2: envoy_scraper.aggregate: 121 entries: more than 120 (put entries with the same labels into one)"}},
		"other types": {[]string{"{jobs: a, match: x, as: [instance]}"}, []string{
			at + ".jobs: a: cannot unmarshal !!str `a` into []string (write a list: one line that starts with - " +
				"for each " +
				"entry)",
			at + ".as: cannot unmarshal !!seq into map[string]string (write a mapping, as {name: value})"}},
		"misspelt": {[]string{"{jobs: [a], match: x, as: {instance: n}, keepraw: true}"}, []string{
			at + ".keepraw: true: unknown key (did you mean keep_raw? otherwise remove it)"}},
	} {
		t.Run(name, func(t *testing.T) {
			o := Options{LookupEnv: envOf("EMPTY", "")}
			got := strings.Join(problemsOf(t, o, aggregateFile(c.entries...)), "\n")
			if want := strings.Join(c.want, "\n"); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// manyEntries returns entries with different names.
func manyEntries(n int) (entries []string) {
	for i := range n {
		entries = append(entries, fmt.Sprintf("{jobs: [a], match: x%d, as: {instance: n}}", i))
	}
	return entries
}

// TestPresetsOfTheChart: the chart's presets are those of package aggregate.
func TestPresetsOfTheChart(t *testing.T) {
	text, err := os.ReadFile("../../deploy/helm/envoy-scraper/templates/_config.tpl")
	if err != nil {
		t.Fatal(err)
	}
	quoted := regexp.MustCompile(`"([a-z_]+)"`)
	var lists [][]string // of $without, and of what the second preset adds
	for _, m := range regexp.MustCompile(`\$without :?= ([^}]+)}}`).FindAllSubmatch(text, -1) {
		var names []string
		for _, q := range quoted.FindAllSubmatch(m[1], -1) {
			names = append(names, string(q[1]))
		}
		lists = append(lists, names)
	}
	presets := aggregate.Presets()
	if len(lists) != len(presets) || len(presets) != 2 {
		t.Fatalf("the chart has the lists %q, want those of %d presets", lists, len(presets))
	}
	for i, p := range presets {
		if want := slices.Concat(lists[:i+1]...); !slices.Equal(p.Without, want) {
			t.Errorf("preset %s is without %q, in the chart without %q", p.Name, p.Without, want)
		}
		if !strings.Contains(string(text), `"`+p.Name+`"`) || !strings.Contains(string(text), `"match" "`+p.Match+`"`) {
			t.Errorf("the chart has no preset %s with match %s", p.Name, p.Match)
		}
	}
}
