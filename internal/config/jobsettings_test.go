package config

import (
	"strings"
	"testing"
)

// settingsFile is a file with two jobs; ext is its envoy_scraper block.
func settingsFile(ext string) string {
	return "envoy_scraper:" + ext + "\n" + someRemote + "scrape_configs:\n" +
		"- {job_name: a, static_configs: [{targets: ['a:1']}]}\n- {job_name: b, static_configs: [{targets: ['b:1']}]}\n"
}

// TestSettingsOfJobs: push_down and pace of an entry apply to its job; the others have the defaults.
func TestSettingsOfJobs(t *testing.T) {
	for name, c := range map[string]struct {
		ext                string
		aIsFixed, aIsWhole bool
	}{
		"nothing written":      {"", false, false},
		"the defaults":         {"\n  jobs: [{name: a, push_down: auto, pace: gentle}]", false, false},
		"off":                  {"\n  jobs:\n  - name: a\n    push_down: off", false, true},
		"off in quotes":        {"\n  jobs: [{name: a, push_down: 'off'}]", false, true},
		"off as Helm reads it": {"\n  jobs: [{name: a, push_down: false}]", false, true},
		"a fixed pace":         {"\n  jobs: [{name: a, pace: fixed}]", true, false},
		"both": {" {jobs: [{name: b, pace: gentle}, {name: a, push_down: off, pace: fixed}]}", true,
			true},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := load(t, Options{}, settingsFile(c.ext))
			if cfg.PushDown("a") == c.aIsWhole || cfg.FixedPace("a") != c.aIsFixed {
				t.Errorf("job a: PushDown %v, FixedPace %v", cfg.PushDown("a"), cfg.FixedPace("a"))
			}
			if !cfg.PushDown("b") || cfg.FixedPace("b") {
				t.Errorf("job b: PushDown %v, FixedPace %v", cfg.PushDown("b"), cfg.FixedPace("b"))
			}
			text, err := cfg.Redacted()
			if err != nil {
				t.Fatal(err)
			}
			if again := load(t, Options{}, text); again.PushDown("a") == c.aIsWhole ||
				again.FixedPace("a") != c.aIsFixed {
				t.Errorf("the printed configuration means something else:\n%s", text)
			}
		})
	}
}

// TestMistakesInSettingsOfJobs: the exact errors about envoy_scraper.jobs.
func TestMistakesInSettingsOfJobs(t *testing.T) {
	const elsewhere = ": this key does not exist here (write it into envoy_scraper.jobs, in an entry with the job's " +
		"name)"
	for name, c := range map[string]struct {
		ext  string
		want []string
	}{
		"unknown job": {"\n  jobs:\n  - name: c\n    push_down: off", []string{
			":3: envoy_scraper.jobs[0].name: c: no job has this name (write one of a, b)"}},
		"one job twice": {"\n  jobs:\n  - {name: a, push_down: off}\n  - {name: a, pace: fixed}", []string{
			":4: envoy_scraper.jobs[1].name: a: jobs[0] has this name too (put all settings of the job into one entry)",
		}},
		"no name": {"\n  jobs:\n  - push_down: off", []string{
			":3: envoy_scraper.jobs[0]: the name is missing (add the name of a job, as name: envoy-stats)"}},
		"nothing set": {"\n  jobs:\n  - name: a", []string{":3: envoy_scraper.jobs[0]: a: push_down, pace and " +
			"shard_by are missing, so the entry has no effect (add one of them, or remove the entry)"}},
		"other words": {"\n  jobs:\n  - name: a\n    push_down: on\n    pace: slow", []string{
			":4: envoy_scraper.jobs[0].push_down: on: must be auto or off (write auto or off)",
			":5: envoy_scraper.jobs[0].pace: slow: must be gentle or fixed (write gentle or fixed)"}},
		"another unit": {"\n  jobs:\n  - {name: a, shard_by: pod}", []string{
			":3: envoy_scraper.jobs[0].shard_by: pod: must be target or workload (write target or workload)"}},
		"in the block": {"\n  push_down: off", []string{":2: envoy_scraper.push_down: off" + elsewhere}},
		"in another":   {"\nglobal: {pace: fixed}", []string{":2: global.pace: fixed" + elsewhere}},
		"a misspelt key": {"\n  jobs:\n  - name: a\n    push_dwn: off\n    pace: fixed", []string{
			":4: envoy_scraper.jobs[0].push_dwn: off: unknown key (did you mean push_down? otherwise remove it)"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := strings.Join(problemsOf(t, Options{}, settingsFile(c.ext)), "\n")
			if want := strings.Join(c.want, "\n"); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// TestFiltersAreNoted: notes say which filter the rules of a job make, or why they make none.
func TestFiltersAreNoted(t *testing.T) {
	const (
		envoy = "  metrics_path: /stats/prometheus\n  static_configs: [{targets: ['a:15090']}]\n"
		keep  = "  metric_relabel_configs: [{source_labels: [__name__], action: keep, regex: 'istio_.*'}]\n"
		at    = `:6: note: job "a": scrape_configs[0].metric_relabel_configs: `
	)
	for name, c := range map[string]struct {
		job  string // without its name
		want string // the only note; empty: none
	}{
		"keep": {envoy + keep, at + "sidecars are asked only for stats that these rules can keep, if that leaves out " +
			"at least a quarter of the lines: filter=istio_"},
		"a long filter is cut": {envoy + strings.Replace(keep, "istio_.*",
			"istio_aa|istio_bb|istio_cc|istio_dd|istio_ee|istio_ff|istio_gg|istio_hh|istio_ii|istio_jj|istio_kk|"+
				"istio_ll|istio_mm", 1), "istio_kk|i… (116 characters)"},
		"no filter": {envoy + strings.Replace(keep, "istio_.*", ".*_total", 1),
			at + "sidecars are asked for their whole pages: "},
		"a parameter": {envoy + keep + "  params: {filter: [istio_]}\n",
			at + "sidecars are asked for their whole pages: the parameter filter is written already"},
		"no rules":     {envoy, ""},
		"another path": {strings.Replace(envoy, "/stats/prometheus", "/metrics", 1) + keep, ""},
		"path by a rule": {strings.Replace(envoy, "/stats/prometheus", "/metrics", 1) + keep +
			"  relabel_configs: [{source_labels: [x], target_label: __metrics_path__}]\n", "filter=istio_"},
	} {
		t.Run(name, func(t *testing.T) {
			text := someRemote + "scrape_configs:\n- job_name: a\n" + c.job
			got := notesOf(load(t, Options{Check: true}, text))
			if (got == "") != (c.want == "") || !strings.Contains(got, c.want) || strings.Contains(got, "\n") {
				t.Errorf("notes\n%s\nwant one with\n%s", got, c.want)
			}
			if c.want == "" {
				return
			}
			text = "envoy_scraper: {jobs: [{name: a, push_down: off}]}\n" + text
			if got := notesOf(load(t, Options{Check: true}, text)); got != "" {
				t.Errorf("notes with push_down: off\n%s\nwant none", got)
			}
		})
	}
}
