package config

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery"
	"github.com/prometheus/prometheus/discovery/kubernetes"

	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite"
)

// write creates a file in a temporary directory and returns its path.
func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// load loads a valid configuration.
func load(t *testing.T, o Options, text string) *Config {
	t.Helper()
	if text != "" {
		o.File = write(t, "f.yml", text)
	}
	cfg, err := Load(o)
	if err != nil {
		t.Fatalf("Load: %v", err)
	}
	return cfg
}

// refused returns the problems of an invalid configuration.
func refused(t *testing.T, o Options, text string) Problems {
	t.Helper()
	if text != "" {
		o.File = write(t, "f.yml", text)
	}
	_, err := Load(o)
	var problems Problems
	if !errors.As(err, &problems) {
		t.Fatalf("Load: %v, want Problems", err)
	}
	return problems
}

const (
	someRemote = "remote_write: [{url: 'http://r/write'}]\n"
	someJob    = "scrape_configs: [{job_name: a, static_configs: [{targets: ['a:1']}]}]\n"
)

func TestLoadMeansWhatPrometheusMeans(t *testing.T) {
	const file = "testdata/full.yml"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	want, err := promconfig.Load(string(text), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	want.SetDirectory("testdata")
	want.RemoteWriteConfigs[1].QueueConfig.RetryOnRateLimit = true // ours: it was not written
	for _, rw := range want.RemoteWriteConfigs {                   // nor was this
		rw.QueueConfig.MaxSamplesPerSend = remotewrite.DefaultSeriesPerSend
	}
	for _, j := range want.ScrapeConfigs { // nor were these
		for _, limit := range limits {
			limit.set(j)
		}
	}
	cfg, err := Load(Options{File: file, Check: true}) // its CA is not there
	if err != nil {
		t.Fatal(err)
	}
	if got, want := cfg.Prometheus.String(), want.String(); got != want {
		t.Errorf("Load = %s\nwant %s", got, want)
	}
	if len(cfg.Jobs) != 3 {
		t.Fatalf("jobs = %d, want 3", len(cfg.Jobs))
	}
	for _, j := range cfg.Jobs {
		if got := j.BodySizeLimit.String(); got != "5MB" && j.BodySizeLimit != 5<<20 {
			t.Errorf("body_size_limit of %s = %s, want global's", j.JobName, got)
		}
	}
}

func TestUnwrittenKeys(t *testing.T) {
	for name, c := range map[string]struct {
		text      string
		body      int64
		negotiate bool
		retry     bool
	}{
		"nothing written":  {someRemote + someJob, 64 << 20, true, true},
		"no limit":         {someRemote + "global: {body_size_limit: 0}\n" + someJob, 0, true, true},
		"no limit, in job": {someRemote + "scrape_configs: [{job_name: a, body_size_limit: 0}]", 0, true, true},
		"limit":            {someRemote + "scrape_configs: [{job_name: a, body_size_limit: 1KiB}]", 1024, true, true},
		"message": {"remote_write: [{url: 'http://r/', protobuf_message: prometheus.WriteRequest}]\n" +
			someJob, 64 << 20, false, true},
		"no retry": {"remote_write: [{url: 'http://r/', queue_config: {retry_on_http_429: false}}]\n" +
			someJob, 64 << 20, true, false},
		"no retry, merged": {"remote_write:\n- url: http://r/\n  <<: {queue_config: {retry_on_http_429: false}, " +
			"protobuf_message: prometheus.WriteRequest}\n" + someJob, 64 << 20, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := load(t, Options{}, c.text)
			endpoint := cfg.RemoteWrite.Endpoints[0]
			if got := int64(cfg.Jobs[0].BodySizeLimit); got != c.body {
				t.Errorf("body_size_limit = %d, want %d", got, c.body)
			}
			if endpoint.Negotiate != c.negotiate {
				t.Errorf("negotiate = %v, want %v", endpoint.Negotiate, c.negotiate)
			}
			if got := endpoint.QueueConfig.RetryOnRateLimit; got != c.retry {
				t.Errorf("retry_on_http_429 = %v, want %v", got, c.retry)
			}
		})
	}
	if promconfig.DefaultRemoteWriteConfig.QueueConfig.RetryOnRateLimit {
		t.Error("Prometheus' defaults were changed")
	}
}

func TestJobFiles(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"main.yml": someRemote + "scrape_config_files: ['jobs/*.yml']\n" + someJob,
		"jobs/b.yml": "scrape_configs: [{job_name: b, body_size_limit: 1KiB, basic_auth: {username: u, " +
			"password_file: pw}}]",
		"jobs/c.yml": "- {job_name: \"%{JOB}\"}",
		"jobs/pw":    "x",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg := load(t, Options{File: filepath.Join(dir, "main.yml"), LookupEnv: envOf("JOB", "c")}, "")
	var got []string
	for _, j := range cfg.Jobs {
		got = append(got, fmt.Sprint(j.JobName, " ", int64(j.BodySizeLimit)))
	}
	if want := "[a 67108864 b 1024 c 67108864]"; fmt.Sprint(got) != want {
		t.Errorf("jobs = %v, want %v", got, want)
	}
	if got, want := cfg.Jobs[1].HTTPClientConfig.BasicAuth.PasswordFile, filepath.Join(dir, "jobs", "pw"); got != want {
		t.Errorf("password_file = %s, want %s", got, want)
	}

	if err := os.WriteFile(filepath.Join(dir, "jobs/d.yml"),
		[]byte("scrape_configs:\n- job_name: a\n- job_name: d\n  foo: 1\nglobal: {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	problems := refused(t, Options{File: filepath.Join(dir, "main.yml"), LookupEnv: envOf("JOB", "c")}, "")
	if problems.Errors() != 3 {
		t.Errorf("problems of a job file: %v, want a name twice, an unknown key, a key that is not for it", problems)
	}
	for _, p := range problems {
		if p.Severity == SeverityError && p.File != filepath.Join(dir, "jobs/d.yml") || p.Line == 0 {
			t.Errorf("problem without its place: %+v", p)
		}
	}
}

func envOf(pairs ...string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1], true
			}
		}
		return "", false
	}
}

func TestEnvironment(t *testing.T) {
	env := envOf("A", "x: {y: 1}", "N", "12", "D", "$HOME and ${1}", "E", "", "Q", `"'`, "Z", "007")
	cfg := load(t, Options{LookupEnv: env}, someRemote+`
global:
  external_labels:
    a: "%{A}"
    b: pre-%{N}-post
    c: "%{D}"
    e: "x%{E}"
    q: '%{Q}'
    z: "%{Z}"
    open: "100%{"
    none: "%{1a}"
scrape_configs:
- job_name: a
  sample_limit: "%{N}"
  static_configs: [{targets: ["%{Z}:%{N}"]}]
`)
	want := map[string]string{"a": "x: {y: 1}", "b": "pre-12-post", "c": "$HOME and ${1}", "e": "x", "q": `"'`,
		"z": "007", "open": "100%{", "none": "%{1a}"}
	for name, value := range want {
		if got := cfg.Prometheus.GlobalConfig.ExternalLabels.Get(name); got != value {
			t.Errorf("external label %s = %q, want %q", name, got, value)
		}
	}
	if got := cfg.Jobs[0].SampleLimit; got != 12 {
		t.Errorf("sample_limit = %d, want 12", got)
	}
	group := cfg.Jobs[0].ServiceDiscoveryConfigs[0].(discovery.StaticConfig)[0]
	if got := string(group.Targets[0]["__address__"]); got != "007:12" {
		t.Errorf("target = %s, want 007:12", got)
	}
	problems := refused(t, Options{LookupEnv: env},
		someRemote+someJob+"global: {external_labels: {'%{A}': x, b: '%{GONE} %{GONE2}'}}")
	if problems.Errors() != 3 {
		t.Errorf("problems = %v, want one for the key and one for each unset variable", problems)
	}
}

func TestBuiltin(t *testing.T) {
	problems := refused(t, Options{}, "")
	if len(problems) != 1 || !strings.Contains(problems[0].Fix, "--remote-write.url=") {
		t.Errorf("problems = %v, want one that asks for --remote-write.url", problems)
	}
	cfg := load(t, Options{RemoteWriteURL: "http://r:9090/api/v1/write", Kubeconfig: "kube", NodeName: "n1",
		SelfScrape: true, ListenAddress: ":9095"}, "")
	if cfg.BuiltinJob != "envoy-stats" || len(cfg.Jobs) != 2 {
		t.Fatalf("jobs = %v, built-in %q", cfg.Jobs, cfg.BuiltinJob)
	}
	for _, w := range cfg.Warnings {
		if w.File != "--kubeconfig" { // which is not there
			t.Errorf("the built-in job warns: %v", w)
		}
	}
	k := cfg.Jobs[0].ServiceDiscoveryConfigs[0].(*kubernetes.SDConfig)
	if !filepath.IsAbs(k.KubeConfig) || k.Selectors[0].Field != "spec.nodeName=n1" {
		t.Errorf("discovery = %+v", k)
	}
	if e := cfg.RemoteWrite.Endpoints[0]; !e.Negotiate || !e.QueueConfig.RetryOnRateLimit ||
		e.URL.String() != "http://r:9090/api/v1/write" {
		t.Errorf("endpoint = %+v", e)
	}
}

func TestSelfScrape(t *testing.T) {
	cfg := load(t, Options{SelfScrape: true, ListenAddress: "127.0.0.1:0", Hostname: "pod-1"}, someRemote+someJob)
	cfg.SetSelfAddress("[::]:4321")
	group := cfg.Jobs[1].ServiceDiscoveryConfigs[0].(discovery.StaticConfig)[0]
	if got := string(group.Targets[0]["__address__"]); got != "127.0.0.1:4321" {
		t.Errorf("address = %s", got)
	}
	if got := string(group.Labels["instance"]); got != "pod-1:4321" {
		t.Errorf("instance = %s", got)
	}
	problems := refused(t, Options{SelfScrape: true}, someRemote+"scrape_configs: [{job_name: envoy-scraper}]")
	if problems.Errors() != 1 || problems[0].Key != "scrape_configs[0].job_name" {
		t.Errorf("problems = %v", problems)
	}
}

func TestMissingFilesAndEndpoints(t *testing.T) {
	const text = "scrape_configs: [{job_name: a, tls_config: {ca_file: gone.pem}}]\n"
	problems := refused(t, Options{}, text)
	if problems.Errors() != 2 || problems[0].Key != "remote_write" {
		t.Errorf("run: %v, want remote_write and ca_file to be missing", problems)
	}
	problems = refused(t, Options{Check: true, Strict: true}, text)
	if problems.Errors() != 1 || !strings.Contains(problems.Error(), "tls_config.ca_file: gone.pem") {
		t.Errorf("check: %v, want ca_file to be missing", problems)
	}
	if cfg := load(t, Options{Check: true},
		someRemote+text); len(cfg.Warnings) != 2 { // and that the job has no discovery
		t.Errorf("warnings = %v", cfg.Warnings)
	}
}

func TestAgentMode(t *testing.T) {
	for text, want := range map[string]int{
		"rule_files: []\nremote_read: []\nalerting: {alertmanagers: []}\n":                          0,
		"alerting: {alert_relabel_configs: []}\nstorage:\n":                                         0,
		"rule_files: [a.yml]\nremote_read: [{url: 'http://r/'}]\nalerting: {alertmanagers: [{}]}\n": 3,
		"alerting: {foo: 1}\n": 1,
	} {
		_, err := Load(Options{File: write(t, "f.yml", text+someRemote+someJob)})
		var problems Problems
		errors.As(err, &problems)
		if problems.Errors() != want {
			t.Errorf("%q: %v, want %d problems", text, problems, want)
		}
	}
	cfg := load(t, Options{}, "storage: {tsdb: {out_of_order_time_window: 1m}}\ntracing: {endpoint: 'a:1'}\notlp: "+
		"{promote_resource_attributes: [a]}\n"+someRemote+someJob)
	if len(cfg.Warnings) != 3 {
		t.Errorf("warnings = %v, want one for each of three", cfg.Warnings)
	}
}

func TestQueueLimitsThatCannotWork(t *testing.T) {
	for key, value := range map[string]string{"max_memory": "1023KiB", "max_bytes": "63KiB", "max_age": "-1s",
		"fsync_interval": "-1s"} {
		problems := refused(t, Options{}, "envoy_scraper:\n  queue:\n    "+key+": "+value+"\n"+someRemote+someJob)
		if len(problems) != 1 || problems[0].Line != 3 || problems[0].Key != "envoy_scraper.queue."+key {
			t.Errorf("%s: %s: %v, want it refused in line 3", key, value, problems)
		}
	}
	q := load(t, Options{}, "envoy_scraper: {queue: {max_memory: 1MiB, max_bytes: 64KiB, max_age: 0s, "+
		"fsync_interval: 0s}}\n"+someRemote+someJob).RemoteWrite.Queue
	if q.MaxMemory != 1<<20 || q.MaxBytes != 64<<10 || q.MaxAge != 0 || q.FsyncInterval != 0 {
		t.Errorf("queue = %+v", q)
	}
}

func TestGarbageCollectorPercent(t *testing.T) {
	for text, want := range map[string]int{"": automaticGoGC, "runtime: {gogc: 75}": 75, "runtime: {gogc: 120}": 120} {
		t.Setenv("GOGC", "")
		if err := os.Unsetenv("GOGC"); err != nil {
			t.Fatal(err)
		}
		if cfg := load(t, Options{}, someRemote+someJob+text); cfg.Prometheus.Runtime.GoGC != want {
			t.Errorf("%q: got %d, want %d", text, cfg.Prometheus.Runtime.GoGC, want)
		}
	}
	t.Setenv("GOGC", "60")
	// prometheus/config has read the variable when the program began.
	if cfg := load(t, Options{}, someRemote+someJob); cfg.Prometheus.Runtime.GoGC == automaticGoGC {
		t.Error("the environment's GOGC does not count")
	}
}
