package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
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
	opts := (&runFlags{config: &configFlags{}}).scrapeOptions(&config.Config{}, nil, r)
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
			r := newReloader(opts, cfg, zap.NewNop(), zap.NewAtomicLevel(), reg)
			r.writers = remotewrite.New(table, nil, zap.NewNop(), reg)
			r.sums = aggregate.New(table, r.writers, zap.NewNop(), reg)
			r.pools = scrape.New(table, r.sums, jobOptions(r.applyingConfig, ""), zap.NewNop(), reg)
			if r.discovery, err = discovery.New(zap.NewNop(), reg); err != nil {
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

// TestF2ReloadsLeaveNothingBehind: a hundred reloads that change a job, an endpoint and a list of targets.
func TestF2ReloadsLeaveNothingBehind(t *testing.T) {
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		fmt.Fprint(w, "x 1\n")
	}))
	defer page.Close()
	rcv := &receiver{last: map[string]float64{}, labels: map[string]bool{}}
	endpoint := httptest.NewServer(rcv)
	defer endpoint.Close()
	dir := t.TempDir()
	file, list := filepath.Join(dir, "f.yml"), filepath.Join(dir, "list.yml")
	write := func(i int) {
		t.Helper()
		for name, text := range map[string]string{
			list: fmt.Sprintf("- {targets: ['%s'], labels: {n: '%d'}}\n", strings.TrimPrefix(page.URL, "http://"), i%3),
			file: fmt.Sprintf(`
global: {scrape_interval: 1s}
scrape_configs:
- {job_name: steady, static_configs: [{targets: ['%[1]s']}]}
- {job_name: other, params: {n: ['%[3]d']}, file_sd_configs: [{files: ['%[4]s'], refresh_interval: %[3]dh}]}
remote_write:
- {name: steady, url: '%[2]s', queue_config: {batch_send_deadline: 100ms}}
- {name: aside, url: '%[2]s/%[3]d', queue_config: {batch_send_deadline: 100ms}}
`, strings.TrimPrefix(page.URL, "http://"), endpoint.URL, i+1, list),
		} {
			if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	write(0)
	var stderr log
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	code := make(chan int, 1)
	go func() {
		code <- execute(ctx, []string{"--config.file=" + file, "--web.listen-address=127.0.0.1:0",
			"--web.enable-lifecycle", "--storage.path=" + t.TempDir()}, io.Discard, &stderr)
	}()
	eventually(t, "the address in the log", func() bool { return served.MatchString(stderr.String()) })
	base := "http://" + served.FindStringSubmatch(stderr.String())[1]
	eventually(t, "a sample of the other job", func() bool { return rcv.saw("n=0") })
	before := runtime.NumGoroutine()
	for i := range 100 {
		write(i + 1)
		resp, err := http.Post(base+"/-/reload", "", nil)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("reload %d: %s\n%s", i, resp.Status, stderr.String())
		}
	}
	after := 0
	defer func() {
		if t.Failed() {
			text := make([]byte, 1<<20)
			t.Logf("%d goroutines before, %d after\n%s", before, after, text[:runtime.Stack(text, true)])
		}
	}()
	const connections = 20 // each open one has three, of both its ends; one leaked by each reload would be a hundred
	eventually(t, fmt.Sprintf("about %d goroutines", before), func() bool {
		after = runtime.NumGoroutine()
		return after <= before+connections
	})
	t.Logf("%d goroutines before, %d after", before, after)
	stop()
	if c := <-code; c != exitOK {
		t.Errorf("exit code %d", c)
	}
}
