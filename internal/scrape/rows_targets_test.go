package scrape

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// TestRow49TheSeedSpreadsReplicas: processes with another host name or other external labels scrape a target at other
// times.
func TestRow49TheSeedSpreadsReplicas(t *testing.T) {
	tg := &target{hash: 0x9e3779b97f4a7c15, interval: 10 * time.Second}
	for _, count := range []int{1, 4, 10} {
		seen := map[time.Duration]bool{}
		for i := range 20 {
			opts := Options{ExternalLabels: labels.FromStrings("replica", fmt.Sprint(i))}
			seed := offsetSeed(opts)
			if again := offsetSeed(opts); again != seed {
				t.Fatal("the seed is not stable")
			}
			seen[waves{tg.interval, seed}.offset(tg, count)] = true
		}
		if len(seen) != 20 {
			t.Errorf("20 replicas scrape at %d times, with %d waves", len(seen), count)
		}
	}
}

func TestRow50IntervalAndTimeoutByRelabeling(t *testing.T) {
	during(t, func(t *testing.T, r *rig) {
		r.pages.set("a:1", "x 1\n")
		r.apply(t, job(t, "  extra_scrape_metrics: true\n"+
			"  relabel_configs: [{target_label: __scrape_interval__, replacement: 2s}, "+
			"{target_label: __scrape_timeout__, replacement: 750ms}]\n"))
		r.discover(at("a:1"))
		pass(20 * time.Second)
		if n := r.batches(); n != 10 {
			t.Errorf("%d scrapes in 20 s, want 10", n)
		}
		r.reports(t, "timeout_seconds", "0.75")
		if s := r.Status()[0].Targets[0]; s.Interval != 2*time.Second || s.Timeout != 750*time.Millisecond {
			t.Errorf("interval %v, timeout %v", s.Interval, s.Timeout)
		}
		if got := r.pages.asked[0].Header.Get("X-Prometheus-Scrape-Timeout-Seconds"); got != "0.75" {
			t.Errorf("timeout shown as %q", got)
		}
		r.pages.slow(time.Second)
		pass(3 * time.Second)
		want(t, r.values(t, -1), named("x"), "stale", named("up"), "0")
		r.apply(t, job(t, "  scrape_interval: 20s\n"+
			"  relabel_configs: [{target_label: __scrape_interval__, replacement: 2s}, "+
			"{target_label: __scrape_timeout__, replacement: 750ms}]\n"))
		if s := r.Status()[0].Targets[0]; s.Interval != 2*time.Second || s.Timeout != 750*time.Millisecond {
			t.Errorf("after a reload: interval %v, timeout %v", s.Interval, s.Timeout)
		}
	})
}

func TestRow51WhatIsNoTarget(t *testing.T) {
	for name, tc := range map[string]struct {
		target model.LabelSet
		says   string
	}{
		"no address":           {model.LabelSet{"a": "b"}, "no address"},
		"an address with path": {at("a:1/x"), `"a:1/x" is not a valid hostname`},
		"timeout over interval": {model.LabelSet{model.AddressLabel: "a:1", model.ScrapeTimeoutLabel: "11s"},
			`scrape timeout cannot be greater than scrape interval ("11s" > "10s")`},
		"interval 0": {model.LabelSet{model.AddressLabel: "a:1", model.ScrapeIntervalLabel: "0s"},
			"scrape interval cannot be 0"},
		"timeout 0": {model.LabelSet{model.AddressLabel: "a:1", model.ScrapeTimeoutLabel: "0s"},
			"scrape timeout cannot be 0"},
		"interval no duration": {model.LabelSet{model.AddressLabel: "a:1", model.ScrapeIntervalLabel: "soon"},
			"error parsing scrape interval"},
		"timeout no duration": {model.LabelSet{model.AddressLabel: "a:1", model.ScrapeTimeoutLabel: "5"},
			"error parsing scrape timeout"},
		"no boolean": {model.LabelSet{model.AddressLabel: "a:1", nativeHistogramsLabel: "perhaps"},
			"error parsing scrape native histograms"},
		"invalid UTF-8": {model.LabelSet{model.AddressLabel: "a:1", "a": "\xff"},
			`invalid label value for "a"`},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig()
			r.apply(t, job(t, ""))
			r.discover(tc.target, at("good:1"))
			s := r.Status()[0]
			if len(s.Targets) != 1 || len(s.Errors) != 1 || !strings.Contains(s.Errors[0], tc.says) {
				t.Errorf("%d targets, errors %q, want one with %q", len(s.Targets), s.Errors, tc.says)
			}
		})
	}
}

// TestRow51Labels: instance is the address as written, unless relabeling sets it. Meta labels and other reserved labels
// are removed.
func TestRow51Labels(t *testing.T) {
	for address, tc := range map[string]struct {
		more   model.LabelSet
		labels string
		url    string
	}{
		"a":    {nil, `{instance="a", job="envoy"}`, "http://a/metrics"},
		"a:80": {nil, `{instance="a:80", job="envoy"}`, "http://a:80/metrics"},
		"b:1": {model.LabelSet{"instance": "mine", "job": "other"}, `{instance="mine", job="other"}`,
			"http://b:1/metrics"},
		"c:1": {model.LabelSet{"__meta_x": "1", "__tmp": "2", "__scheme__": "https", "__metrics_path__": "/p",
			"__param_q": "v"}, `{instance="c:1", job="envoy"}`, "https://c:1/p?q=v"},
		"[::1]:1": {model.LabelSet{"x": "1"}, `{instance="[::1]:1", job="envoy", x="1"}`, "http://[::1]:1/metrics"},
	} {
		m := makeTargets(job(t, ""), []*targetgroup.Group{{Labels: tc.more, Targets: []model.LabelSet{at(address)}}},
			false)
		if len(m.targets) != 1 || m.targets[0].labels.String() != tc.labels || m.targets[0].url != tc.url {
			t.Errorf("%s: %+v, want %s at %s", address, m, tc.labels, tc.url)
		}
	}
}

// TestRow52SkippedTurns: of the due times that pass while a scrape runs, the last is taken late and the others are
// skipped. Then the target keeps its due times.
func TestRow52SkippedTurns(t *testing.T) {
	during(t, func(t *testing.T, r *rig) {
		first := true
		r.sink.look = func(*series.Batch) {
			if first {
				first = false
				<-time.After(35 * time.Second)
			}
		}
		r.pages.set("a:1", "x 1\n")
		r.apply(t, job(t, ""))
		r.discover(at("a:1"))
		pass(65 * time.Second)
		var at []time.Duration
		for _, g := range r.sink.got {
			at = append(at, g.at.Sub(r.sink.got[0].at))
		}
		if wanted := []time.Duration{0, 35 * time.Second, 40 * time.Second,
			50 * time.Second}; !slices.Equal(at[:min(len(at), 4)], wanted) {
			t.Errorf("scraped at %v, want %v", at, wanted)
		}
		if n := testutil.ToFloat64(r.env.metrics.skipped); n != 2 {
			t.Errorf("%v turns counted as skipped, want 2", n)
		}
	})
}

// TestRow55OneTargetFromTwoGroups: targets with equal labels are one target, as long as one group has it.
func TestRow55OneTargetFromTwoGroups(t *testing.T) {
	during(t, func(t *testing.T, r *rig) {
		r.pages.set("a:1", "x 1\n")
		r.apply(t, job(t, ""))
		group := func(source string) *targetgroup.Group {
			return &targetgroup.Group{Source: source, Labels: model.LabelSet{"__meta_from": model.LabelValue(source)},
				Targets: []model.LabelSet{at("a:1")}}
		}
		r.Update(map[string][]*targetgroup.Group{"envoy": {group("one"), group("two")}})
		pass(20 * time.Second)
		r.Update(map[string][]*targetgroup.Group{"envoy": {group("two")}})
		pass(20 * time.Second)
		if n := r.batches(); n != 4 {
			t.Errorf("%d scrapes in 40 s, want 4", n)
		}
		want(t, r.values(t, -1), named("x"), "1", named("up"), "1")
	})
}

func TestRow56DroppedTargets(t *testing.T) {
	for keep, kept := range map[int]int{0: 3, 1: 1, 2: 2, 5: 3} {
		r := newRig()
		r.apply(t, job(t, fmt.Sprintf("  keep_dropped_targets: %d\n"+
			"  relabel_configs: [{source_labels: [__address__], regex: 'd.*', action: drop}]\n", keep)))
		r.discover(at("d1:1"), at("a:1"), at("d2:1"), at("d3:1"))
		s := r.Status()[0]
		if len(s.Dropped) != kept || s.DroppedCount != 3 || len(s.Targets) != 1 {
			t.Errorf("keep_dropped_targets %d: %d of %d dropped targets kept, %d scraped", keep, len(s.Dropped),
				s.DroppedCount, len(s.Targets))
		}
		if got := s.Dropped[0].Discovered().Get(model.AddressLabel); got != "d1:1" {
			t.Errorf("the first dropped target is %q", got)
		}
	}
}

// TestRow57DiscoveredLabels: new labels from discovery are shown, while the target is scraped as before.
func TestRow57DiscoveredLabels(t *testing.T) {
	during(t, func(t *testing.T, r *rig) {
		r.pages.set("a:1", "x 1\n")
		r.apply(t, job(t, ""))
		for i := range 4 {
			target := at("a:1")
			target["__meta_phase"] = model.LabelValue(fmt.Sprint(i))
			r.discover(target)
			pass(10 * time.Second)
			if got := r.Status()[0].Targets[0].Discovered().Get("__meta_phase"); got != fmt.Sprint(i) {
				t.Errorf("__meta_phase = %q, want %d", got, i)
			}
		}
		if n := r.batches(); n != 4 {
			t.Errorf("%d scrapes in 40 s, want 4", n)
		}
	})
}

// TestRow58RemovedJob: a removed job sends no markers, not even for targets that vanished shortly before. A new job
// with the same name starts from nothing.
func TestRow58RemovedJob(t *testing.T) {
	during(t, func(t *testing.T, r *rig) {
		r.pages.set("a:1", "x 1\n")
		r.pages.set("b:1", "x 1\n")
		r.apply(t, job(t, ""))
		r.discover(at("a:1"), at("b:1"))
		pass(10 * time.Second)
		r.discover(at("a:1"))
		r.apply(t)
		if s := r.Status(); len(s) != 0 {
			t.Errorf("status of a removed job: %+v", s)
		}
		n := r.batches()
		pass(60 * time.Second)
		if got := r.batches(); got != n {
			t.Errorf("%d batches of a job that was removed", got-n)
		}
		if n := r.table.Len(); n != 0 {
			t.Errorf("%d series left in the table", n)
		}
		r.apply(t, job(t, ""))
		pass(30 * time.Second)
		if got := r.batches(); got != n {
			t.Errorf("%d scrapes of a target that nobody has found again", got-n)
		}
		r.discover(at("a:1"))
		pass(10 * time.Second)
		want(t, r.values(t, -1), named("x"), "1", named("up"), "1")
		r.reports(t, "series_added", "1")
	})
}

// TestRow58RemovedWhileScraping: a scrape that runs when the job is removed is the last.
func TestRow58RemovedWhileScraping(t *testing.T) {
	during(t, func(t *testing.T, r *rig) {
		r.pages.set("a:1", "x 1\n")
		r.pages.slow(3 * time.Second)
		r.apply(t, job(t, ""))
		r.discover(at("a:1"))
		for r.pages.scrapes() == 0 {
			pass(100 * time.Millisecond)
		}
		r.apply(t)
		pass(60 * time.Second)
		if n := r.batches(); n != 1 {
			t.Errorf("%d batches, want that of the scrape that was running", n)
		}
		want(t, r.values(t, 0), named("x"), "1", named("up"), "1")
		if n := r.table.Len(); n != 0 {
			t.Errorf("%d series left in the table", n)
		}
	})
}

// TestRow60EverythingAtOnce: reloads, discovery and pages at the same time, for the race detector.
func TestRow60EverythingAtOnce(t *testing.T) {
	during(t, func(t *testing.T, r *rig) {
		var targets []model.LabelSet
		for i := range 20 {
			host := fmt.Sprintf("t%d:1", i)
			r.pages.set(host, fmt.Sprintf("x 1\ny{n=\"%d\"} 1\n", i%3))
			targets = append(targets, at(host))
		}
		r.pages.slow(5 * time.Millisecond)
		ctx, stop := context.WithTimeout(t.Context(), 30*time.Second)
		defer stop()
		every := func(d time.Duration, do func(i int)) {
			go func() {
				for i := 0; ctx.Err() == nil; i++ {
					do(i)
					<-time.After(d)
				}
			}()
		}
		every(700*time.Millisecond, func(i int) {
			_ = r.Apply(jobsOf(t, i))
		})
		every(300*time.Millisecond, func(i int) { r.discover(targets[i%5 : 10+i%10]...) })
		every(100*time.Millisecond, func(int) {
			for _, s := range r.Status() {
				for _, target := range s.Targets {
					_ = target.Discovered()
				}
			}
		})
		<-ctx.Done()
		synctest.Wait()
		r.apply(t)
		pass(30 * time.Second)
		if n := r.table.Len(); n != 0 {
			t.Errorf("%d series left after all targets went", n)
		}
		if r.batches() < 100 {
			t.Errorf("%d scrapes only", r.batches())
		}
	})
}

// TestRow61ABlockedSinkStopsNobodyElse: while Append blocks for one scrape, discovery, pages and other scrapes go on,
// and the process can stop once Append returns.
func TestRow61ABlockedSinkStopsNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		r.pages.set("a:1", "x 1\n")
		r.pages.set("b:1", "x 1\n")
		release := make(chan struct{})
		var blocked atomic.Bool
		r.sink.look = func(b *series.Batch) {
			instance := ""
			r.table.Read(func(v series.View) { instance = v.TargetLabels(b.Target).Get("instance") })
			if instance == "a:1" && blocked.CompareAndSwap(false, true) {
				<-release
			}
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- r.Run(ctx) }()
		r.apply(t, job(t, ""))
		r.discover(at("a:1"))
		pass(10 * time.Second)
		r.discover(at("a:1"), at("b:1"))
		pass(30 * time.Second)
		if n := r.batches(); n != 3 {
			t.Errorf("%d batches of the other target in 30 s, want 3", n)
		}
		r.apply(t, job(t, "  sample_limit: 5\n"))
		r.discover(at("b:1"))
		_ = r.Status()
		pass(time.Minute)
		stop()
		close(release)
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
