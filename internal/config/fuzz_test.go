package config

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	promconfig "github.com/prometheus/prometheus/config"
)

// ours reports whether the file may have one of the forms that Prometheus does not accept.
func ours(data []byte) bool {
	for _, mark := range []string{operatorKey, extensionKey, "%{", "&", "<<"} {
		if bytes.Contains(data, []byte(mark)) {
			return true
		}
	}
	text := strings.TrimSpace(string(data))
	return !strings.Contains(text, "scrape_configs") // a bare list, or nothing
}

// FuzzLoad: for every file, Load ends without a panic. It refuses a file with at least one error that has a reason, and
// accepts nothing in Prometheus' format that Prometheus refuses.
func FuzzLoad(f *testing.F) {
	full, err := os.ReadFile("testdata/full.yml")
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{
		"", "x", "[]", "{}", "- ", "[[[[", "a: &a [*a]", "<<: 1", "? [a]\n: b", "---\na: b\n---\nc: d",
		"scrape_configs:\n- &a {job_name: x}\n- *a", "scrape_configs: [null, 1, [], {}]", "remote_write: [null, " +
			"{url: ':'}]",
		"global: {scrape_interval: -1s, external_labels: {a: '%{HOME}'}}", "additionalScrapeConfigs: 1",
		"envoy_scraper: {cluster_wide_jobs: {a: b}}", "scrape_configs: [{job_name: !!binary aGk=, regex: '\\'}]",
		"envoy_scraper: {max_delay: 1m, endpoints: [null, {name: a, max_delay: -1s}]}\nremote_write: [{name: a}]",
		"envoy_scraper: {aggregate: [{jobs: [a], match: 'a.*b', as: {x: '%{HOME}'}}, null, {jobs: [a, a], match: " +
			"'(', by: [le], as: {'': 1}}]}\nscrape_configs: [{job_name: a, scrape_native_histograms: true}]",
		"envoy_scraper: {aggregate: [{jobs: [a], match: '\\bx$', as: {x: y}, keep_raw: true}]}\nscrape_configs: " +
			"[{job_name: a, relabel_configs: [{action: labelmap, regex: (.+)}]}]",
		string(full), secretFile,
	} {
		f.Add([]byte(seed))
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte) {
		file := filepath.Join(dir, "f.yml")
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, err := Load(Options{File: file, Check: true, NodeName: "n", SelfScrape: true, ListenAddress: ":1",
			LookupEnv: envOf("HOME", "x")})
		if err == nil {
			if _, err := cfg.Redacted(); err != nil {
				t.Errorf("Redacted: %v", err)
			}
			for _, b := range cfg.Aggregates() {
				if b.Match == nil || b.As.IsEmpty() || len(b.Jobs) == 0 || b.Idle <= 0 {
					t.Errorf("accepted the block %+v", b)
				}
			}
			if _, err := promconfig.Load(string(data), slog.New(slog.DiscardHandler)); err != nil && !ours(data) {
				t.Errorf("accepted, but Prometheus says: %v", err)
			}
			return
		}
		var problems Problems
		if !errors.As(err, &problems) || problems.Errors() == 0 {
			t.Fatalf("Load = %v, want Problems with an error", err)
		}
		for _, p := range problems {
			if p.Why == "" || p.File == "" {
				t.Errorf("problem without reason or file: %+v", p)
			}
		}
	})
}
