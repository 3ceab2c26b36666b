package config

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	promconfig "github.com/prometheus/prometheus/config"
)

// warned returns the only warning about a key.
func warned(t *testing.T, cfg *Config, key string) Problem {
	t.Helper()
	var found []Problem
	for _, w := range cfg.Warnings {
		if w.Key == key {
			found = append(found, w)
		}
	}
	if len(found) != 1 {
		t.Fatalf("warnings of %s: %v, want one", key, found)
	}
	return found[0]
}

func TestWarnsAboutFieldsWithoutEffect(t *testing.T) {
	cfg := load(t, Options{}, `global:
  evaluation_interval: 30s
  rule_query_offset: 1m
  query_log_file: q.log
  query_max_series: 1
  query_max_samples_read: 2
  query_max_duration: 3s
remote_write:
- url: http://r/write
  queue_config:
    max_shards: 3
    capacity: 77
`+someJob)
	for key, line := range map[string]int{
		"global.evaluation_interval": 2, "global.rule_query_offset": 3, "global.query_log_file": 4,
		"global.query_max_series":       5,
		"global.query_max_samples_read": 6, "global.query_max_duration": 7, "remote_write[0].queue_config.capacity": 12,
	} {
		w := warned(t, cfg, key)
		if w.Line != line || !strings.Contains(w.Why, "not used") {
			t.Errorf("%s: %+v, want a warning for line %d that it is not used", key, w, line)
		}
	}
	if len(cfg.Warnings) != 7 {
		t.Errorf("warnings = %v, want 7", cfg.Warnings)
	}
}

func TestSecretReferencesAreRefused(t *testing.T) {
	for block, c := range map[string]struct {
		text string
		keys []string
	}{
		"basic_auth":    {"{username_ref: a, password_ref: b}", []string{"username_ref", "password_ref"}},
		"authorization": {"{credentials_ref: a}", []string{"credentials_ref"}},
		"oauth2": {"{client_id: a, token_url: 'http://t/', client_secret_ref: b, client_certificate_key_ref: c, " +
			"tls_config: {ca_ref: d}}",
			[]string{"client_secret_ref", "client_certificate_key_ref", "tls_config.ca_ref"}},
		"tls_config": {"{ca_ref: a, cert_ref: b, key_ref: c}", []string{"ca_ref", "cert_ref", "key_ref"}},
	} {
		client := block + ": " + c.text
		for at, text := range map[string]string{
			"remote_write[0]": "remote_write: [{url: 'http://r/', " + client + "}]\n" +
				someJob,
			"scrape_configs[0]": someRemote + "scrape_configs: [{job_name: a, " + client +
				"}]\n",
			"scrape_configs[0].http_sd_configs[0]": someRemote +
				"scrape_configs: [{job_name: a, http_sd_configs: [{url: 'http://s/', " + client + "}]}]\n",
			"scrape_configs[0].kubernetes_sd_configs[0]": someRemote +
				"scrape_configs: [{job_name: a, kubernetes_sd_configs: [{role: pod, api_server: 'http://s/', " +
				client + "}]}]\n",
		} {
			problems := refused(t, Options{}, text)
			for _, key := range c.keys {
				if !slices.ContainsFunc(problems, func(p Problem) bool {
					return p.Key == at+"."+block+"."+key && p.Severity == SeverityError &&
						strings.Contains(p.Why, "secret manager")
				}) {
					t.Errorf("%s: %s not refused by name: %v", text, key, problems)
				}
			}
		}
	}
	load(t, Options{}, someRemote+"scrape_configs: [{job_name: a, static_configs: [{targets: ['a:1'], labels: "+
		"{key_ref: x}}]}]\n") // not a secret
}

func TestRuntimeFields(t *testing.T) {
	for text, want := range map[string]promconfig.LogLevel{"": "warn", "runtime: {gogc: 75}\n": "warn",
		"runtime: {log_level: debug}\n": "debug"} {
		if got := load(t, Options{LogLevel: "warn"}, text+someRemote+someJob).Prometheus.Runtime.LogLevel; got != want {
			t.Errorf("%q: log_level = %s, want %s", text, got, want)
		}
	}
	if got := load(t, Options{}, someRemote+someJob).Prometheus.Runtime.LogLevel; got != "info" {
		t.Errorf("log_level = %s without a flag, want info", got)
	}
	if p := refused(t, Options{}, "runtime:\n  log_level: loud\n"+someRemote+someJob); len(p) != 1 || p[0].Line != 2 {
		t.Errorf("problems = %v, want one for line 2", p)
	}
}

// globals is a global block in which every field that jobs inherit differs from its default.
const globals = `global:
  scrape_interval: 20s
  scrape_timeout: 7s
  scrape_protocols: [OpenMetricsText1.0.0]
  scrape_failure_log_file: failures.log
  body_size_limit: 1MiB
  sample_limit: 11
  target_limit: 12
  label_limit: 13
  label_name_length_limit: 14
  label_value_length_limit: 15
  keep_dropped_targets: 16
  metric_name_validation_scheme: legacy
  metric_name_escaping_scheme: dots
  scrape_native_histograms: true
  convert_classic_histograms_to_nhcb: true
  always_scrape_classic_histograms: true
  extra_scrape_metrics: true
`

// TestGlobalIsTheDefaultOfJobs: for jobs of the file, of other files, and for the self-scrape.
func TestGlobalIsTheDefaultOfJobs(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"main.yml":      globals + someRemote + "scrape_config_files: [jobs/more.yml]\n" + someJob,
		"jobs/more.yml": "- job_name: b\n",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg := load(t, Options{File: filepath.Join(dir, "main.yml"), SelfScrape: true, ListenAddress: ":1"}, "")
	if len(cfg.Jobs) != 3 {
		t.Fatalf("jobs = %d, want 3", len(cfg.Jobs))
	}
	for _, j := range cfg.Jobs {
		for what, ok := range map[string]bool{
			"scrape_interval": j.ScrapeInterval == model.Duration(20*time.Second),
			"scrape_timeout":  j.ScrapeTimeout == model.Duration(7*time.Second),
			"scrape_protocols": len(j.ScrapeProtocols) == 1 &&
				j.ScrapeProtocols[0] == promconfig.OpenMetricsText1_0_0,
			"scrape_failure_log_file":            j.ScrapeFailureLogFile == filepath.Join(dir, "failures.log"),
			"body_size_limit":                    j.BodySizeLimit == 1<<20,
			"sample_limit":                       j.SampleLimit == 11,
			"target_limit":                       j.TargetLimit == 12,
			"label_limit":                        j.LabelLimit == 13,
			"label_name_length_limit":            j.LabelNameLengthLimit == 14,
			"label_value_length_limit":           j.LabelValueLengthLimit == 15,
			"keep_dropped_targets":               j.KeepDroppedTargets == 16,
			"metric_name_validation_scheme":      j.MetricNameValidationScheme == model.LegacyValidation,
			"metric_name_escaping_scheme":        j.MetricNameEscapingScheme == "dots",
			"scrape_native_histograms":           j.ScrapeNativeHistogramsEnabled(),
			"convert_classic_histograms_to_nhcb": j.ConvertClassicHistogramsToNHCBEnabled(),
			"always_scrape_classic_histograms":   j.AlwaysScrapeClassicHistogramsEnabled(),
			"extra_scrape_metrics":               j.ExtraScrapeMetricsEnabled(),
		} {
			if !ok {
				t.Errorf("job %s does not have %s of global", j.JobName, what)
			}
		}
	}
}

func TestNamingSchemes(t *testing.T) {
	for name, c := range map[string]struct {
		global, job string
		scheme      model.ValidationScheme
		escaping    string
	}{
		"nothing written": {"", "", model.UTF8Validation, "allow-utf-8"},
		"legacy":          {"metric_name_validation_scheme: legacy", "", model.LegacyValidation, "underscores"},
		"legacy job":      {"", "metric_name_validation_scheme: legacy", model.LegacyValidation, "underscores"},
		"utf8 job": {"metric_name_validation_scheme: legacy, metric_name_escaping_scheme: values",
			"metric_name_validation_scheme: utf8", model.UTF8Validation, "allow-utf-8"},
		"escaping of the job": {"metric_name_escaping_scheme: dots", "metric_name_escaping_scheme: values",
			model.UTF8Validation, "values"},
		"escaping under legacy": {"metric_name_validation_scheme: legacy, metric_name_escaping_scheme: values", "",
			model.LegacyValidation, "values"},
	} {
		t.Run(name, func(t *testing.T) {
			j := load(t, Options{}, "global: {"+c.global+"}\n"+someRemote+"scrape_configs: [{job_name: a, "+
				"static_configs: [{targets: ['a:1']}], "+c.job+"}]\n").Jobs[0]
			if j.MetricNameValidationScheme != c.scheme || j.MetricNameEscapingScheme != c.escaping {
				t.Errorf("%s and %s, want %s and %s", j.MetricNameValidationScheme, j.MetricNameEscapingScheme,
					c.scheme, c.escaping)
			}
		})
	}
	for _, text := range []string{
		"global: {metric_name_validation_scheme: ascii}\n" + someRemote + someJob,
		"global: {metric_name_escaping_scheme: rot13}\n" + someRemote + someJob,
		someRemote + "scrape_configs: [{job_name: a, metric_name_validation_scheme: ascii}]\n",
		someRemote + "scrape_configs: [{job_name: a, metric_name_escaping_scheme: rot13}]\n",
		"global: {metric_name_validation_scheme: legacy, metric_name_escaping_scheme: allow-utf-8}\n" + someRemote +
			someJob,
		"global: {metric_name_validation_scheme: legacy}\n" + someRemote +
			"scrape_configs: [{job_name: a, metric_name_escaping_scheme: allow-utf-8}]\n",
		// Names of labels are checked by the scheme too.
		"global: {metric_name_validation_scheme: legacy}\n" + someRemote +
			"scrape_configs: [{job_name: a, relabel_configs: [{target_label: 'a.b'}]}]\n",
		"global: {metric_name_validation_scheme: legacy}\nremote_write: [{url: 'http://r/', " +
			"write_relabel_configs: [{target_label: 'a.b'}]}]\n" + someJob,
	} {
		if p := refused(t, Options{}, text); p.Errors() == 0 {
			t.Errorf("%s: not refused", text)
		}
	}
}

// TestJobFilePatterns: valid patterns of scrape_config_files, and the positions of errors.
func TestJobFilePatterns(t *testing.T) {
	dir := t.TempDir()
	put := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	put("jobs/a.yml", "scrape_configs: [{job_name: a, static_configs: [{targets: ['a:1']}]}]")
	put("jobs/b.yaml", "additionalScrapeConfigs: [{job_name: b, static_configs: [{targets: ['b:1']}]}]")
	put("jobs/c.yml", "- {job_name: c, static_configs: [{targets: ['c:1']}]}")
	put("jobs/empty.yml", "")
	elsewhere := t.TempDir()
	if err := os.WriteFile(filepath.Join(elsewhere, "d.yml"),
		[]byte("- {job_name: d, static_configs: [{targets: ['d:1']}]}"), 0o600); err != nil {
		t.Fatal(err)
	}
	names := func(patterns string) string {
		t.Helper()
		var out []string
		for _, j := range load(t, Options{File: put("main.yml", someRemote+"scrape_config_files: ["+patterns+"]\n"),
			LookupEnv: envOf("DIR", elsewhere)}, "").Jobs {
			out = append(out, j.JobName)
		}
		return strings.Join(out, " ")
	}
	for patterns, want := range map[string]string{
		"'jobs/*.yml'":                               "a c",
		"'jobs/*.y*ml'":                              "a b c",
		"'jobs/[ac].yml'":                            "a c",
		"jobs/c.yml, jobs/a.yml":                     "c a",
		"'" + elsewhere + "/*.yml'":                  "d",
		"'%{DIR}/d.yml'":                             "d",
		"jobs/empty.yml, jobs/a.yml":                 "a",
		"'" + filepath.Join(dir, "jobs/a.yml") + "'": "a",
	} {
		if got := names(patterns); got != want {
			t.Errorf("%s: jobs %q, want %q", patterns, got, want)
		}
	}

	bad := put("jobs/bad.yml",
		"scrape_configs:\n- job_name: bad\n  scrape_interval: soon\n  metric_relabel_configs:\n  - regex: '('\n  "+
			"nonsense: 1\n")
	broken := put("jobs/broken.yml", "scrape_configs:\n- job_name: x\n   y: 1\n")
	refuse := func(patterns string, o Options) Problems {
		t.Helper()
		o.File = put("main.yml", "# a comment\n"+someRemote+"scrape_config_files:\n- "+patterns+"\n"+someJob)
		return refused(t, o, "")
	}
	lines := map[int]bool{}
	for _, p := range refuse("jobs/bad.yml", Options{}) {
		if p.File != bad {
			t.Errorf("%v is said to be in %s", p, p.File)
		}
		lines[p.Line] = true
	}
	if !lines[3] || !lines[5] || !lines[6] || len(lines) != 3 {
		t.Errorf("lines of %s at fault: %v, want 3, 5 and 6", bad, lines)
	}
	if p := refuse("jobs/broken.yml", Options{}); len(p) != 1 || p[0].File != broken || p[0].Line < 2 {
		t.Errorf("broken YAML: %v", p)
	}
	if p := refuse("'jobs/[.yml'", Options{}); len(p) != 1 || p[0].Line != 4 || p[0].Key != "scrape_config_files[0]" {
		t.Errorf("a pattern that is none: %v", p)
	}
	if p := refuse("jobs/gone.yml", Options{Check: true}); p.Errors() != 1 || p[0].Line != 4 ||
		!strings.Contains(p[0].String(), "jobs/gone.yml") {
		t.Errorf("a file that is not there: %v", p)
	}
	if p := refuse("jobs/gone.yml", Options{}); p.Errors() != 1 || p[0].Line != 4 {
		t.Errorf("a file that is not there, to run: %v", p)
	}
}
