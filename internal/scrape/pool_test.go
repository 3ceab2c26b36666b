package scrape

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/common/model"

	"github.com/envoy-scraper/envoy-scraper/internal/envoy"
)

// during runs the pools in a bubble of fake time while body looks on.
func during(t *testing.T, body func(t *testing.T, r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- r.Run(ctx) }()
		body(t, r)
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// pass lets fake time go by.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func TestRow13OneSampleAnInterval(t *testing.T) {
	during(t, func(t *testing.T, r *rig) {
		r.pages.set("a:1", "x 1\n")
		r.apply(t, job(t, ""))
		r.discover(at("a:1"))
		pass(10 * time.Second)
		want(t, r.values(t, 0), named("x"), "1", named("up"), "1")
		r.pages.set("a:1", "x 2\n")
		pass(50 * time.Second)
		if n := r.batches(); n != 6 {
			t.Fatalf("%d scrapes in 60 s, want 6", n)
		}
		want(t, r.values(t, -1), named("x"), "2", named("up"), "1")
		for i := 1; i < 6; i++ {
			if d := r.sink.got[i].at.Sub(r.sink.got[i-1].at); d != 10*time.Second {
				t.Errorf("scrapes %d and %d are %v apart", i-1, i, d)
			}
		}
	})
}

func TestRow54ReloadKeepsSeries(t *testing.T) {
	during(t, func(t *testing.T, r *rig) {
		r.pages.set("a:1", "x 1\ny 1\n")
		r.apply(t, job(t, ""))
		r.discover(at("a:1"))
		pass(20 * time.Second)
		r.apply(t, job(t, "  metric_relabel_configs: [{source_labels: [__name__], regex: y, action: drop}]\n"))
		pass(10 * time.Second)
		want(t, r.values(t, -1), named("x"), "1", named("y"), "stale", named("up"), "1")
		pass(10 * time.Second)
		want(t, r.values(t, -1), named("x"), "1", named("up"), "1")

		r.apply(t, job(t, "  sample_limit: 1000\n"+
			"  metric_relabel_configs: [{source_labels: [__name__], regex: y, action: drop}]\n"))
		r.pages.set("a:1", "z 1\n")
		pass(10 * time.Second)
		want(t, r.values(t, -1), named("z"), "1", named("x"), "stale", named("up"), "1")

		r.discover()
		pass(30 * time.Second)
		want(t, r.values(t, -1), named("z"), "stale", named("up"), "stale")
		if n := r.table.Len(); n != 0 {
			t.Errorf("%d series left in the table", n)
		}
	})
}

func TestRow54AnUnchangedJobIsNotTouched(t *testing.T) {
	during(t, func(t *testing.T, r *rig) {
		r.pages.set("a:1", "x 1\n")
		r.apply(t, job(t, ""))
		r.discover(at("a:1"))
		before := maps.Clone(r.jobs["envoy"].loops)
		for range 12 {
			pass(5 * time.Second)
			r.apply(t, job(t, ""))
			r.discover(at("a:1"))
		}
		if !maps.Equal(before, r.jobs["envoy"].loops) {
			t.Error("the loop is another")
		}
		if n := r.batches(); n != 6 {
			t.Errorf("%d scrapes in 60 s, want 6", n)
		}
	})
}

// TestHeldRulesWaitForTheirLabels: new rules need a label that the groups do not have yet. Until they have it, the
// old rules stay in force; otherwise every target would be dropped.
func TestHeldRulesWaitForTheirLabels(t *testing.T) {
	const keepsApp = "  relabel_configs: [{source_labels: [__meta_app], regex: shop, action: keep}]\n"
	during(t, func(t *testing.T, r *rig) {
		r.pages.set("a:1", "x 1\n")
		r.apply(t, job(t, ""))
		r.discover(at("a:1"))
		pass(20 * time.Second)
		for range 2 { // a second reload meanwhile
			r.Hold([]string{"envoy"})
			r.apply(t, job(t, keepsApp))
			pass(20 * time.Second)
			want(t, r.values(t, -1), named("x"), "1", named("up"), "1")
		}
		r.discover(model.LabelSet{model.AddressLabel: "a:1", "__meta_app": "shop"})
		pass(20 * time.Second)
		if n := r.batches(); n != 8 {
			t.Errorf("%d scrapes in 80 s, want 8", n)
		}
		want(t, r.values(t, -1), named("x"), "1", named("up"), "1")
		r.discover(at("a:1"))
		pass(30 * time.Second)
		want(t, r.values(t, -1), named("x"), "stale", named("up"), "stale")
	})
}

// TestHeldRulesThatAreTakenBack: they never come into force.
func TestHeldRulesThatAreTakenBack(t *testing.T) {
	during(t, func(t *testing.T, r *rig) {
		r.pages.set("a:1", "x 1\n")
		r.apply(t, job(t, ""))
		r.discover(at("a:1"))
		r.Hold([]string{"envoy"})
		r.apply(t, job(t, "  relabel_configs: [{action: drop}]\n"))
		r.apply(t, job(t, ""))
		r.discover(at("a:1"))
		pass(20 * time.Second)
		if n := r.batches(); n != 2 {
			t.Errorf("%d scrapes in 20 s, want 2", n)
		}
	})
}

func TestScrapesOfOneHostNeverOverlap(t *testing.T) {
	during(t, func(t *testing.T, r *rig) {
		r.pages.delay = 2 * time.Second
		r.apply(t, job(t, ""))
		var targets []model.LabelSet
		for i, host := range []string{"a:1", "a:1", "a:01", "A:001"} { // one host, written in different ways
			r.pages.set(host, "x 1\n")
			targets = append(targets, model.LabelSet{model.AddressLabel: model.LabelValue(host),
				"n": model.LabelValue(fmt.Sprint(i))})
		}
		r.discover(targets...)
		pass(100 * time.Second)
		if r.pages.mostAtOnce() != 1 {
			t.Errorf("%d scrapes of one host at once", r.pages.mostAtOnce())
		}
		if n := r.batches(); n < 36 || n > 44 {
			t.Errorf("%d scrapes of 4 targets in 100 s, want about 40", n)
		}
	})
}

// crowd returns 200 targets, which is about forty for each wave of an interval of 10 s.
func crowd(r *rig) (targets []model.LabelSet) {
	for i := range 200 {
		address := fmt.Sprintf("t%d:1", i)
		r.pages.set(address, "x 1\n")
		targets = append(targets, at(address))
	}
	return targets
}

func TestConcurrentScrapesOfAWaveAreLimited(t *testing.T) {
	for samples, want := range map[int][2]int{ // least and most
		1: {3, maxSmallScrapes}, smallPages / 3: {3, 3}, smallPages/2 + 1: {maxConcurrentScrapes, maxConcurrentScrapes},
	} {
		during(t, func(t *testing.T, r *rig) {
			r.pages.delay = slowScrape / 2
			targets := crowd(r)
			for _, at := range targets {
				r.pages.set(string(at[model.AddressLabel]), string(pageOf(samples)))
			}
			r.apply(t, job(t, "  metric_relabel_configs: [{action: drop}]\n")) // the test need not learn them
			r.discover(targets...)
			pass(9 * time.Second)
			if r.pages.mostAtOnce() != maxConcurrentScrapes {
				t.Errorf("%d unknown pages at once, want %d", r.pages.mostAtOnce(), maxConcurrentScrapes)
			}
			pass(21 * time.Second)
			if most := r.pages.mostAtOnce(); most < want[0] || most > want[1] {
				t.Errorf("%d pages of %d samples at once, want %v", most, samples, want)
			}
			if n := r.batches(); n < 590 || n > 610 {
				t.Errorf("%d scrapes of 200 targets in 30 s, want about 600", n)
			}
		})
	}
}

// TestAFailedPageIsNotSmall: a page of which only a part could be read may be large.
func TestAFailedPageIsNotSmall(t *testing.T) {
	during(t, func(t *testing.T, r *rig) {
		r.pages.delay = slowScrape / 2
		targets := crowd(r)
		for _, at := range targets {
			r.pages.set(string(at[model.AddressLabel]), "x 1\nbroken{\n")
		}
		r.apply(t, job(t, ""))
		r.discover(targets...)
		pass(30 * time.Second)
		if most := r.pages.mostAtOnce(); most != maxConcurrentScrapes {
			t.Errorf("%d pages with a bad line at once, want %d", most, maxConcurrentScrapes)
		}
	})
}

// TestNothingComesIntoForceAfterTheEnd: a reload that ends after Run opens nothing that stays open.
func TestNothingComesIntoForceAfterTheEnd(t *testing.T) {
	r := newRig()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Run(ctx); err != nil {
		t.Fatal(err)
	}
	r.apply(t, job(t, ""))
	if n := len(r.Status()); n != 0 {
		t.Errorf("%d jobs run after the end", n)
	}
}

func TestRow52SlowScrapesHoldNobodyUp(t *testing.T) {
	during(t, func(t *testing.T, r *rig) {
		r.pages.delay = 5 * time.Second
		r.apply(t, job(t, ""))
		r.discover(crowd(r)...)
		pass(30 * time.Second)
		if r.pages.mostAtOnce() < 50 {
			t.Errorf("%d scrapes at once although each takes 5 s", r.pages.mostAtOnce())
		}
		late := map[time.Time]bool{}
		for _, g := range r.sink.got {
			after := (g.at.UnixNano() - int64(r.seed)%int64(waveInterval)) % int64(waveInterval)
			if after >= int64(waveLength+maxWait) {
				late[g.at] = true
			}
		}
		if len(late) > 0 {
			t.Errorf("%d scrapes began after the end of their wave", len(late))
		}
	})
}

func TestRow52ASlowTargetIsNeverScrapedTwiceAtOnce(t *testing.T) {
	during(t, func(t *testing.T, r *rig) {
		r.pages.set("a:1", "x 1\n")
		r.pages.delay = time.Hour
		r.apply(t, job(t, ""))
		r.discover(at("a:1"))
		pass(100 * time.Second)
		if r.pages.mostAtOnce() != 1 {
			t.Errorf("%d scrapes at once", r.pages.mostAtOnce())
		}
		want(t, r.values(t, -1), named("up"), "0")
		if s := r.Status()[0].Targets[0]; s.Health != HealthDown || !strings.Contains(s.Err, "deadline exceeded") {
			t.Errorf("status %v %q", s.Health, s.Err)
		}
	})
}

// TestStatusWhileALoopInherits: a page may read the status of a loop while the loop takes over its predecessor's. The
// race detector holds this.
func TestStatusWhileALoopInherits(t *testing.T) {
	during(t, func(t *testing.T, r *rig) {
		r.pages.set("a:1", "x 1\n")
		r.apply(t, job(t, ""))
		r.discover(at("a:1"))
		pass(60 * time.Second)
		var old *loop
		for _, l := range r.jobs["envoy"].loops {
			old = l
		}
		l := newLoop(r.env, old.job, old.target)
		var reading sync.WaitGroup
		reading.Go(func() { l.asStatus() })
		l.inherit(old)
		reading.Wait()
		if s := l.asStatus(); s.Health != HealthUp {
			t.Errorf("health %s, want that of the predecessor", s.Health)
		}
	})
}

// TestSignsOfAnotherPageAreForgotten: what the page of another URL showed says nothing about this one.
func TestSignsOfAnotherPageAreForgotten(t *testing.T) {
	during(t, func(t *testing.T, r *rig) {
		r.pages.set("a:1", "istio_agent_scrapes_total 1\n")
		r.apply(t, job(t, ""))
		r.discover(at("a:1"))
		pass(60 * time.Second)
		for _, old := range r.jobs["envoy"].loops {
			if old.traits.signs != envoy.Agent {
				t.Errorf("signs = %b", old.traits.signs)
			}
			other := &target{url: "http://a:2/metrics", hostPort: "a:2", labels: old.target.labels,
				interval: old.target.interval, timeout: old.target.timeout}
			l := newLoop(r.env, old.job, other)
			l.inherit(old)
			if l.traits.signs != 0 {
				t.Errorf("signs of another page = %b", l.traits.signs)
			}
		}
	})
}
