package config

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/envoy-scraper/envoy-scraper/internal/shard"
)

// TestShards: the shard map of flags and file. The scripts of the commands test the errors.
func TestShards(t *testing.T) {
	file := filepath.Join(t.TempDir(), "map.yml")
	const text = "envoy_scraper: {shards: [{count: 3}, {count: 5, from: 2026-11-24T15:00:00+01:00}]}\n" +
		"scrape_configs: [{job_name: a, static_configs: [{targets: [a]}]}]\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	env := func(name string) (string, bool) { return "envoy-scraper-4", name == podNameVariable }
	inFile := []shard.Period{{Count: 3}, {Count: 5, From: time.Date(2026, 11, 24, 14, 0, 0, 0, time.UTC)}}
	for name, tc := range map[string]struct {
		opts Options
		want shard.Map
	}{
		"none": {opts: Options{}},
		"by flags": {opts: Options{ShardIndex: "1", ShardCount: "2"},
			want: shard.Map{Index: 1, Periods: []shard.Period{{Count: 2}}}},
		"one of one": {opts: Options{ShardIndex: "0", ShardCount: "1"},
			want: shard.Map{Periods: []shard.Period{{Count: 1}}}},
		"by ordinal": {opts: Options{ShardIndex: "ordinal", ShardCount: "5"},
			want: shard.Map{Index: 4, Periods: []shard.Period{{Count: 5}}}},
		"by the file": {opts: Options{File: file, ShardIndex: "ordinal"},
			want: shard.Map{Index: 4, Periods: inFile}},
		"a file in check": {opts: Options{File: file, Check: true}},
	} {
		t.Run(name, func(t *testing.T) {
			tc.opts.LookupEnv, tc.opts.RemoteWriteURL = env, "http://prometheus:9090/api/v1/write"
			cfg, err := Load(tc.opts)
			if err != nil {
				t.Fatal(err)
			}
			if !cfg.Shards.Equal(tc.want) {
				t.Errorf("shards = %+v, want %+v", cfg.Shards, tc.want)
			}
		})
	}
}

// TestJobsAreSharedByWorkload: shard_by is per job. It decides who scrapes what only if there are several instances.
func TestJobsAreSharedByWorkload(t *testing.T) {
	const ext = "\n  jobs: [{name: a, shard_by: workload}, {name: b, shard_by: target}]"
	const sums = "\n  aggregate: [{jobs: [a], match: x, as: {instance: y}}]"
	const sumsByTarget = sums + "\n  jobs: [{name: a, shard_by: target}]"
	for _, c := range []struct {
		opts Options
		ext  string
		want string // by shard_by, and by what decides
	}{
		{Options{}, "", "false false"},
		{Options{}, ext, "true false"},
		{Options{ShardIndex: "0", ShardCount: "2"}, "", "false false"},
		{Options{ShardIndex: "0", ShardCount: "2"}, ext, "true true"},
		{Options{ShardIndex: "0", ShardCount: "2"}, sums, "true true"},
		{Options{ShardIndex: "0", ShardCount: "2"}, sumsByTarget, "false false"},
	} {
		cfg := load(t, c.opts, settingsFile(c.ext))
		if got := fmt.Sprint(cfg.ShardByWorkload("a"), cfg.PlacesByWorkload("a")); got != c.want {
			t.Errorf("%+v, %q: %s, want %s", c.opts, c.ext, got, c.want)
		}
		if cfg.ShardByWorkload("b") || cfg.PlacesByWorkload("b") {
			t.Errorf("%+v, %q: job b is shared by workload", c.opts, c.ext)
		}
	}
}

// TestOwnMetricsAreNotShared: every instance scrapes its own metrics.
func TestOwnMetricsAreNotShared(t *testing.T) {
	for _, self := range []bool{true, false} {
		cfg, err := Load(Options{ShardIndex: "1", ShardCount: "2", SelfScrape: self, ListenAddress: "127.0.0.1:9095",
			RemoteWriteURL: "http://prometheus:9090/api/v1/write"})
		if err != nil {
			t.Fatal(err)
		}
		if cfg.Unsharded(selfJob) != self || cfg.Unsharded(builtinJob) {
			t.Errorf("--self-scrape %v: its job is unsharded: %v, the built-in job: %v", self, cfg.Unsharded(selfJob),
				cfg.Unsharded(builtinJob))
		}
	}
}
