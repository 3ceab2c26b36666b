package scrape

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
	"github.com/envoy-scraper/envoy-scraper/internal/shard"
)

// origins records which scrapes the batches of a rig are of, and which sequences have ended.
type origins struct {
	mu    sync.Mutex // guards the following
	got   []series.Origin
	ended []series.SourceID
}

func (o *origins) record(r *rig) {
	r.sink.look = func(b *series.Batch) {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.got = append(o.got, b.Origin)
	}
	r.env.forget = func(id series.SourceID) {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.ended = append(o.ended, id)
	}
}

func (o *origins) all() []series.Origin {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.got)
}

func (o *origins) forgotten() []series.SourceID {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.ended)
}

func (o *origins) last() series.Origin {
	all := o.all()
	return all[len(all)-1]
}

func TestOriginOfABatch(t *testing.T) {
	during(t, func(t *testing.T, r *rig) {
		var o origins
		o.record(r)
		r.pages.set("a:1", "# TYPE envoy_server_uptime gauge\nenvoy_server_uptime 42\nx 1\n")
		r.apply(t, job(t, ""))
		r.discover(at("a:1"))
		pass(20 * time.Second)
		first, second := o.all()[0], o.all()[1]
		want := series.Origin{Source: first.Source, Job: "envoy", Page: 2, Good: true, Uptime: 42 * time.Second}
		if first != want || first.Source == 0 {
			t.Errorf("first scrape: %+v, want %+v", first, want)
		}
		if want.Again = true; second != want {
			t.Errorf("second scrape: %+v, want %+v", second, want)
		}

		r.pages.fail("a:1", errors.New("no route"))
		pass(10 * time.Second)
		failed := series.Origin{Source: first.Source, Job: "envoy", Again: true, Uptime: -1}
		if got := o.last(); got != failed {
			t.Errorf("failed scrape: %+v, want %+v", got, failed)
		}
		r.pages.fail("a:1", nil)
		r.pages.set("a:1", "x 1\n")
		pass(10 * time.Second)
		if got := o.last(); got.Source != first.Source || got.Uptime >= 0 || got.Page != 1 {
			t.Errorf("scrape of a page without uptime: %+v", got)
		}

		r.discover()
		pass(20 * time.Second)
		if got := o.last(); got != failed {
			t.Errorf("markers at the end: %+v, want %+v", got, failed)
		}
		if !slices.Equal(o.forgotten(), []series.SourceID{first.Source}) {
			t.Errorf("forgotten: %v, want %d", o.forgotten(), first.Source)
		}
	})
}

// TestSourceOverAReload: pages can be compared across a reload if the rules for them are the same. Otherwise the
// sequence has a gap.
func TestSourceOverAReload(t *testing.T) {
	during(t, func(t *testing.T, r *rig) {
		var o origins
		o.record(r)
		r.pages.set("a:1", "x 1\n")
		r.apply(t, job(t, ""))
		r.discover(at("a:1"))
		pass(10 * time.Second)
		first := o.last().Source
		r.apply(t, job(t, "  scrape_timeout: 4s\n"))
		pass(10 * time.Second)
		if got := o.last(); got.Source != first || got.Gap {
			t.Errorf("after another timeout: %+v, want source %d, no gap", got, first)
		}
		if slices.Contains(o.forgotten(), first) {
			t.Error("forgotten, but it goes on")
		}
		r.apply(t, job(t, "  metric_relabel_configs: [{target_label: n, replacement: x}]\n"))
		r.pages.fail("a:1", errors.New("no route"))
		pass(10 * time.Second)
		if got := o.last(); got.Source != first || !got.Gap || !got.Again || got.Good {
			t.Errorf("the first scrape under other rules fails: %+v, want source %d, a gap", got, first)
		}
		r.pages.fail("a:1", nil)
		pass(10 * time.Second)
		if got := o.last(); got.Source != first || !got.Gap || got.Again || !got.Good {
			t.Errorf("the first page under other rules: %+v, want source %d, a gap", got, first)
		}
		pass(10 * time.Second)
		if got := o.last(); got.Source != first || got.Gap || !got.Again {
			t.Errorf("the second page under other rules: %+v, want source %d, no gap", got, first)
		}
		if slices.Contains(o.forgotten(), first) {
			t.Error("forgotten, but it goes on")
		}
	})
}

// TestSourceOfATargetThatComesBack: another instance may have scraped it in between, so its sequence has a gap.
func TestSourceOfATargetThatComesBack(t *testing.T) {
	host := movingHost(t)
	fleetDuring(t, 2, changes(1, 2), func(t *testing.T, f *fleet) {
		var o origins
		r := f.instances[0]
		o.record(r)
		f.pages.set(host, "x 1\n")
		f.discover(at(host))
		pass(101 * time.Second)
		before, scrapes := o.last(), len(o.all())
		for i, r := range f.instances {
			r.Shard(shard.Map{Index: i, Periods: []shard.Period{{Count: 1}}})
		}
		pass(40 * time.Second)
		if len(o.all()) < scrapes+2 {
			t.Fatalf("%d scrapes after the target has come back", len(o.all())-scrapes)
		}
		if got := o.all()[scrapes]; got.Source != before.Source || !got.Gap {
			t.Errorf("the first page after it has come back: %+v, before %+v", got, before)
		}
		if got := o.all()[scrapes+1]; got.Gap {
			t.Errorf("the second page: %+v", got)
		}
	})
}
