package agent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/aggregate"
	"github.com/envoy-scraper/envoy-scraper/internal/config"
	"github.com/envoy-scraper/envoy-scraper/internal/discovery"
	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite"
	"github.com/envoy-scraper/envoy-scraper/internal/scrape"
	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// TestScrapesFollowTheSettingsOfJobs: the scrapes ask for what the configuration that is being applied says of a job.
func TestScrapesFollowTheSettingsOfJobs(t *testing.T) {
	r := &reloader{}
	opts := (&Settings{Config: &config.Config{}}).scrapeOptions(World{}, r)
	for _, c := range []struct {
		jobs       []config.JobExtension
		push       bool
		fixed      bool
		byWorkload bool
	}{
		{nil, true, false, false},
		{[]config.JobExtension{{Name: "a", PushDown: "off"}}, false, false, false},
		{[]config.JobExtension{{Name: "a", PushDown: "auto", Pace: "fixed"}, {Name: "b", PushDown: "off"}}, true, true,
			false},
		{[]config.JobExtension{{Name: "a", ShardBy: "workload"}}, true, false, true},
	} {
		r.applying = &config.Config{Extension: config.Extension{Jobs: c.jobs}}
		if opts.PushDown("a") != c.push || opts.FixedPace("a") != c.fixed || opts.ShardByWorkload("a") != c.byWorkload {
			t.Errorf("%+v: PushDown %v, FixedPace %v, ShardByWorkload %v", c.jobs, opts.PushDown("a"),
				opts.FixedPace("a"), opts.ShardByWorkload("a"))
		}
	}
}

// TestF1ABadReloadTouchesNothing: if one part cannot use the new configuration, no part uses any of it.
func TestF1ABadReloadTouchesNothing(t *testing.T) {
	const good = `
envoy_scraper: {aggregate: [{jobs: [one], match: 'istio_.*', as: {instance: n}}]}
scrape_configs: [{job_name: one, static_configs: [{targets: ['127.0.0.1:1']}]}]
remote_write: [{name: a, url: 'http://127.0.0.1:1/'}]
`
	for name, bad := range map[string]string{
		"a job's client": "scrape_configs: [{job_name: two, tls_config: {ca_file: gone.pem}}]\nremote_write: " +
			"[{name: b, url: 'http://127.0.0.1:1/'}]\n",
		"an endpoint's client": "scrape_configs: [{job_name: two}]\nremote_write: [{name: b, url: " +
			"'http://127.0.0.1:1/', tls_config: {ca_file: gone.pem}}]\n",
		"a discovery": "scrape_configs: [{job_name: two, kubernetes_sd_configs: [{role: pod, " +
			"kubeconfig_file: gone}]}]\nremote_write: [{name: b, url: 'http://127.0.0.1:1/'}]\n",
		"what cannot be parsed": "scrape_configs: [",
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "f.yml")
			write := func(text string) {
				t.Helper()
				if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			write(good)
			opts := config.Options{File: file}
			cfg, err := config.Load(opts)
			if err != nil {
				t.Fatal(err)
			}
			reg, table := prometheus.NewRegistry(), series.NewTable()
			r := newReloader(Settings{Options: opts, Config: cfg}, zap.NewNop(), reg)
			r.writers = remotewrite.New(table, nil, remotewrite.Options{}, zap.NewNop(), reg)
			r.sums = aggregate.New(table, r.writers, zap.NewNop(), reg)
			r.pools = scrape.New(table, r.sums, JobOptions(r.applyingConfig, ""), zap.NewNop(), reg)
			if r.discovery, err = discovery.New(discovery.Options{}, zap.NewNop(), reg); err != nil {
				t.Fatal(err)
			}
			if err := r.start(); err != nil {
				t.Fatal(err)
			}
			r.pools.Update(map[string]discovery.Update{"one": {Whole: true, Groups: []discovery.Group{{
				Group: &targetgroup.Group{Source: "0", Targets: []model.LabelSet{{model.AddressLabel: "127.0.0.1:1"}}},
			}}}})
			before := r.writers.Status()[0]

			write(bad)
			if err := r.Reload(t.Context()); err == nil {
				t.Fatal("taken")
			}
			if v := testutil.ToFloat64(r.successful); v != 0 {
				t.Errorf("last_reload_successful = %v", v)
			}
			if s := r.pools.Status(); len(s) != 1 || s[0].Job != "one" || len(s[0].Targets) != 1 {
				t.Errorf("jobs: %+v, want the one with its target", s)
			}
			if s := r.writers.Status(); len(s) != 1 || s[0].Name != before.Name {
				t.Errorf("endpoints: %+v", s)
			}
			if s := r.sums.Status(); len(s.Blocks) != 1 {
				t.Errorf("sums: %+v, want those of the one block", s)
			}
			if s := r.discovery.Status(); len(s) != 1 || s[0].Job != "one" {
				t.Errorf("discoveries: %+v", s)
			}
			if text, err := r.config().Redacted(); err != nil || !strings.Contains(text, "job_name: one") {
				t.Errorf("%v: configuration in force: %s", err, text)
			}
			write(good)
			if err := r.Reload(t.Context()); err != nil || testutil.ToFloat64(r.successful) != 1 {
				t.Errorf("the good file again: %v", err)
			}
		})
	}
}
