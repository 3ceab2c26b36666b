package scrape

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	promconfig "github.com/prometheus/prometheus/config"
	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// TestF2ReloadsWhileAScrapeRuns: a reload replaces the loop of a target while its scrape runs, and more reloads follow
// before that scrape has ended. Every target keeps its interval.
func TestF2ReloadsWhileAScrapeRuns(t *testing.T) {
	for _, reloads := range []int{1, 2, 3, 10} {
		t.Run(fmt.Sprint(reloads), func(t *testing.T) {
			during(t, func(t *testing.T, r *rig) {
				hosts := []string{"a:1", "b:1", "c:1", "d:1"}
				for _, h := range hosts {
					r.pages.set(h, "x 1\n")
				}
				r.apply(t, job(t, ""))
				r.discover(at("a:1"), at("b:1"), at("c:1"), at("d:1"))
				pass(20 * time.Second)
				r.pages.mu.Lock()
				r.pages.delay = time.Second // of some interval of 10 s there is always one that runs
				r.pages.mu.Unlock()
				for range 40 {
					pass(500 * time.Millisecond)
					for i := range reloads {
						r.apply(t, job(t, fmt.Sprintf("  metric_relabel_configs: [{target_label: n, "+
							"replacement: '%d'}]\n", i)))
					}
				}
				pass(30 * time.Second)
				last := map[string]time.Time{}
				for _, g := range r.sink.got {
					for _, h := range hosts {
						v, ok := g.samples[fmt.Sprintf(`{__name__="up", instance=%q, job="envoy"}`, h)]
						switch {
						case !ok:
							continue
						case v != "1":
							t.Errorf("up of %s at %v: %s", h, g.at, v)
						case !last[h].IsZero() && g.at.Sub(last[h]).Round(time.Second) != 10*time.Second:
							t.Errorf("%v between two scrapes of %s", g.at.Sub(last[h]), h)
						}
						last[h] = g.at
					}
				}
				if len(last) != len(hosts) {
					t.Errorf("scraped %v", last)
				}
			})
		})
	}
}

// TestRow58ALateUpdateOfARemovedJob: an update of discovery may arrive after a reload has removed its job.
func TestRow58ALateUpdateOfARemovedJob(t *testing.T) {
	during(t, func(t *testing.T, r *rig) {
		r.pages.set("a:1", "x 1\n")
		r.apply(t, job(t, ""))
		r.discover(at("a:1"))
		r.apply(t)
		r.discover(at("a:1"))
		pass(time.Hour)
		r.apply(t, job(t, ""))
		pass(20 * time.Second)
		if n := r.pages.scrapes(); n != 0 {
			t.Errorf("%d scrapes of what was found before the job was taken away", n)
		}
	})
}

// TestAPlanThatIsDiscarded: a reload may fail for another reason. Then the plan changes nothing and leaves nothing
// open.
func TestAPlanThatIsDiscarded(t *testing.T) {
	reg := prometheus.NewRegistry()
	ps := New(series.NewTable(), &sink{}, Options{transport: &pages{}}, zap.NewNop(), reg)
	file := filepath.Join(t.TempDir(), "failures")
	plan, err := ps.Plan([]*promconfig.ScrapeConfig{job(t, "  scrape_failure_log_file: "+file+"\n")})
	if err != nil {
		t.Fatal(err)
	}
	opened := plan.states[0].failures
	plan.Discard()
	if opened.file != nil {
		t.Error("scrape_failure_log_file stays open")
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if text := f.String(); strings.Contains(text, `"envoy"`) {
			t.Errorf("a job that never ran has series: %s", text)
		}
	}
	if len(ps.Status()) != 0 {
		t.Error("the job is there")
	}
}

// TestRow58ARemovedJobLeavesNoMetrics: not even if a scrape of it is running and fails afterwards.
func TestRow58ARemovedJobLeavesNoMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg, table, p := prometheus.NewRegistry(), series.NewTable(), &pages{}
		ps := New(table, &sink{table: table}, Options{transport: p}, zap.NewNop(), reg)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- ps.Run(ctx) }()
		p.slow(4 * time.Second)
		p.fail("a:1", errNoPage)
		for range 12 { // at some of these moments a scrape runs
			if err := ps.Apply([]*promconfig.ScrapeConfig{job(t, "")}); err != nil {
				t.Fatal(err)
			}
			(&rig{Pools: ps}).discover(at("a:1"))
			pass(10500 * time.Millisecond)
			if err := ps.Apply(nil); err != nil {
				t.Fatal(err)
			}
			pass(20 * time.Second)
			families, err := reg.Gather()
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range families {
				if text := f.String(); strings.Contains(text, `"envoy"`) {
					t.Errorf("a job that is gone has series: %s", text)
				}
			}
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
