package scrape

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
	"github.com/envoy-scraper/envoy-scraper/internal/shard"
)

// fleet is several instances that share the targets. Each has a sink and a table of its own.
type fleet struct {
	instances []*rig
	pages     *pages
	maps      []shard.Period
}

// fleetDuring runs n instances in a bubble of fake time while body acts.
func fleetDuring(t *testing.T, n int, periods func(start time.Time) []shard.Period, body func(t *testing.T, f *fleet)) {
	t.Helper()
	fleetWith(t, n, Options{}, periods, body)
}

// fleetWith is fleetDuring with options.
func fleetWith(t *testing.T, n int, opts Options, periods func(start time.Time) []shard.Period,
	body func(t *testing.T, f *fleet)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f := &fleet{pages: &pages{}, maps: periods(time.Now())}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, n)
		for i := range n {
			table := series.NewTable()
			s := &sink{table: table}
			opts.transport, opts.Sharded = f.pages, true
			r := &rig{Pools: New(table, s, opts, zap.NewNop(), nil), sink: s, pages: f.pages, table: table}
			f.instances = append(f.instances, r)
			r.Shard(shard.Map{Index: i, Periods: f.maps})
			r.apply(t, job(t, ""))
			go func() { done <- r.Run(ctx) }()
		}
		body(t, f)
		stop()
		for range n {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
}

// hosts adds n targets with a page, and returns their names and their discovered labels.
func (f *fleet) hosts(n int) (names []string, found []model.LabelSet) {
	for i := range n {
		name := fmt.Sprintf("h%d:1", i)
		f.pages.set(name, "x 1\n")
		names, found = append(names, name), append(found, at(name))
	}
	return names, found
}

func (f *fleet) discover(found ...model.LabelSet) {
	for _, r := range f.instances {
		r.discover(found...)
	}
}

// taken is one batch of an instance.
type taken struct {
	by    int
	at    time.Time
	stale bool
}

// of lists the batches of all instances for a target, in the order of the timestamps.
func (f *fleet) of(host string) (all []taken) {
	up := fmt.Sprintf(`{__name__="up", instance=%q, job="envoy"}`, host)
	for i, r := range f.instances {
		r.sink.mu.Lock()
		for _, g := range r.sink.got {
			if v, ok := g.samples[up]; ok {
				all = append(all, taken{by: i, at: g.at, stale: v == "stale"})
			}
		}
		r.sink.mu.Unlock()
	}
	for i := range all { // few
		for j := i; j > 0 && all[j].at.Before(all[j-1].at); j-- {
			all[j], all[j-1] = all[j-1], all[j]
		}
	}
	return all
}

func changes(counts ...int) func(start time.Time) []shard.Period {
	return func(start time.Time) (periods []shard.Period) {
		for i, count := range counts {
			p := shard.Period{Count: count}
			if i > 0 {
				p.From = start.Add(time.Duration(i) * 100 * time.Second).Round(0)
			}
			periods = append(periods, p)
		}
		return periods
	}
}

// TestShardsHandOver: 3 instances become 5 and 3 again. Every target has a sample in each interval, except one for each
// move. The samples come from the owner, and there are no markers.
func TestShardsHandOver(t *testing.T) {
	const interval = 10 * time.Second
	fleetDuring(t, 5, changes(3, 5, 3), func(t *testing.T, f *fleet) {
		names, found := f.hosts(60)
		f.discover(found...)
		begin := time.Now()
		pass(300 * time.Second)
		moves := 0
		for _, name := range names {
			all := f.of(name)
			var gaps int
			for i, s := range all {
				if s.stale {
					t.Fatalf("%s: instance %d marked it stale at %v", name, s.by, s.at.Sub(begin))
				}
				if i == 0 {
					continue
				}
				before := all[i-1]
				switch d := s.at.Sub(before.at); {
				case s.by != before.by && d != 2*interval:
					t.Errorf("%s: instance %d goes on %v after instance %d, want two intervals", name, s.by, d,
						before.by)
				case s.by == before.by && d != interval:
					t.Errorf("%s: %v between two samples of instance %d", name, d, s.by)
				}
				if s.by != before.by {
					gaps++
				}
			}
			if want := 30 - gaps; len(all) != want {
				t.Errorf("%s: %d samples in 30 intervals with %d moves", name, len(all), gaps)
			}
			moves += gaps
		}
		if moves < 2*12 || moves > 2*36 { // 2 of 5 targets, there and back
			t.Errorf("%d moves of 60 targets from 3 to 5 instances and back", moves)
		}
		for i, r := range f.instances {
			if loops, departing := len(r.jobs["envoy"].loops), len(r.jobs["envoy"].departing); departing != 0 ||
				(i >= 3) != (loops == 0) {
				t.Errorf("instance %d ends with %d targets, %d departing", i, loops, departing)
			}
			if i >= 3 && r.table.Len() != 0 {
				t.Errorf("instance %d, which has no targets any more, keeps %d series", i, r.table.Len())
			}
		}
	})
}

// movingHost returns a target that moves from instance 0 to instance 1 when one instance becomes two.
func movingHost(t *testing.T) string {
	t.Helper()
	return movingHosts(t, 1)[0]
}

// movingHosts returns n such targets.
func movingHosts(t *testing.T, n int) (names []string) {
	t.Helper()
	for i := range 100 {
		name := fmt.Sprintf("m%d:1", i)
		made := makeTargets(job(t, ""), []*targetgroup.Group{{Source: "0", Targets: []model.LabelSet{at(name)}}}, false)
		if tg := made.targets[0]; shard.Owner(shard.Key(tg.labels, tg.url), 2) == 1 {
			names = append(names, name)
		}
		if len(names) == n {
			return names
		}
	}
	t.Fatalf("%d of 100 targets move, want %d", len(names), n)
	return nil
}

// TestATargetThatEndsWhileItMoves: one instance sends its markers, once, and after its last sample.
func TestATargetThatEndsWhileItMoves(t *testing.T) {
	const interval, instant = 10 * time.Second, 100 * time.Second
	host := movingHost(t)
	for _, tc := range []struct {
		name  string
		gone  time.Duration // after the start
		again time.Duration // zero: never
		marks []int         // by which instance
	}{
		{name: "long before", gone: instant - 50*time.Second, marks: []int{0}},
		{name: "shortly before", gone: instant - time.Second, marks: []int{0}},
		{name: "found again by the other before it was marked", gone: instant - time.Second,
			again: instant + 5*time.Second},
		{name: "after, before the other scraped it", gone: instant + time.Second, marks: []int{0}},
		{name: "after, and back again", gone: instant + time.Second, again: instant + 3*time.Second, marks: []int{0}},
		{name: "after the other scraped it", gone: instant + 2*interval, marks: []int{1}},
		{name: "long after", gone: instant + 50*time.Second, marks: []int{1}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			fleetDuring(t, 2, changes(1, 2), func(t *testing.T, f *fleet) {
				f.pages.set(host, "x 1\n")
				f.discover(at(host))
				pass(tc.gone)
				f.discover()
				if tc.again > 0 {
					pass(tc.again - tc.gone)
					f.discover(at(host))
				}
				pass(5 * interval)
				var marks []int
				all := f.of(host)
				for i, s := range all {
					if s.stale {
						marks = append(marks, s.by)
					}
					if i > 0 && !s.at.After(all[i-1].at) {
						t.Errorf("two samples at %v", s.at)
					}
				}
				if fmt.Sprint(marks) != fmt.Sprint(tc.marks) {
					t.Errorf("marked stale by the instances %v, want %v", marks, tc.marks)
				}
				if last := all[len(all)-1]; tc.again > 0 && (last.stale || last.by != 1) {
					t.Errorf("the last of a target that came back is %+v", last)
				}
				if n := f.instances[0].table.Len(); tc.gone >= instant && n != 0 {
					t.Errorf("the old owner keeps %d series", n)
				}
			})
		})
	}
}

// TestNoScrapeBeginsAfterTheInstant: the schedule stops scraping at the instant, even if the pools are late, and
// even if a scrape was due before the instant and waited for its host.
func TestNoScrapeBeginsAfterTheInstant(t *testing.T) {
	for name, answer := range map[string]time.Duration{"idle": 0, "waiting for its host": 4500 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			during(t, func(t *testing.T, r *rig) {
				r.pages.set("a:1", "x 1\n")
				r.pages.slow(answer)
				r.apply(t, job(t, "  scrape_interval: 5s\n"))
				var found []model.LabelSet
				for i := range 5 {
					l := at("a:1")
					l["n"] = model.LabelValue(fmt.Sprint(i))
					found = append(found, l)
				}
				r.discover(found...)
				pass(60 * time.Second)
				instant := time.Now().Add(500 * time.Millisecond).Round(0)
				for _, l := range r.jobs["envoy"].loops {
					r.schedule.send(l, event{kind: eventPlanMove,
						move: move{at: instant, first: instant.Add(20 * time.Second)}})
				}
				before := r.batches()
				pass(500*time.Millisecond - 1)
				begun := r.pages.scrapes()
				pass(20 * time.Second)
				if n := r.pages.scrapes(); n != begun {
					t.Errorf("%d scrapes began after the instant", n-begun)
				}
				for i := before; i < r.batches(); i++ {
					if got := r.values(t, i); strings.Contains(fmt.Sprint(got), "stale") {
						t.Errorf("marked stale: %v", got)
					}
				}
				// The pools keep the targets: the instant was taken back, or the clock was. They start new loops.
				begun = r.pages.scrapes()
				pass(60 * time.Second)
				if r.pages.scrapes() == begun || len(r.jobs["envoy"].loops) != len(found) {
					t.Error("the targets are lost")
				}
				r.discover()
				pass(60 * time.Second)
				if n := r.table.Len(); n != 0 {
					t.Errorf("%d series left in the table", n)
				}
			})
		})
	}
}

// TestATargetLostAtTheInstantIsMarked: the schedule stops scraping a target at the instant. If discovery loses the
// target before the pools have noticed the instant, the next owner never scrapes it, so this instance sends the
// markers.
func TestATargetLostAtTheInstantIsMarked(t *testing.T) {
	during(t, func(t *testing.T, r *rig) {
		r.pages.set("a:1", "x 1\n")
		r.apply(t, job(t, ""))
		r.discover(at("a:1"))
		pass(60 * time.Second)
		instant := time.Now().Round(0)
		for _, l := range r.jobs["envoy"].loops {
			r.schedule.send(l, event{kind: eventPlanMove,
				move: move{at: instant, first: instant.Add(30 * time.Second)}})
		}
		pass(15 * time.Second) // the next scrape is due, and the target moves instead
		r.discover()
		pass(60 * time.Second)
		want(t, r.values(t, -1), named("x"), "stale", named("up"), "stale")
	})
}

// TestAReloadAtTheInstantMarksNothing: the schedule stops scraping targets at the instant. A reload that replaces their
// loops before the pools have noticed the instant sends no markers: discovery still finds the targets.
func TestAReloadAtTheInstantMarksNothing(t *testing.T) {
	during(t, func(t *testing.T, r *rig) {
		var found []model.LabelSet
		for n := range 3 * maxChunk {
			host := fmt.Sprintf("h%d:1", n)
			r.pages.set(host, "x 1\n")
			found = append(found, at(host))
		}
		r.apply(t, job(t, ""))
		r.discover(found...)
		pass(60 * time.Second)
		instant := time.Now().Round(0)
		for _, l := range r.jobs["envoy"].loops {
			r.schedule.send(l, event{kind: eventPlanMove,
				move: move{at: instant, first: instant.Add(30 * time.Second)}})
		}
		pass(15 * time.Second) // the next scrapes are due, and the targets move instead
		r.apply(t, job(t, "  sample_limit: 50\n"))
		pass(60 * time.Second)
		for n := range r.batches() {
			for series, v := range r.values(t, n) {
				if v == "stale" {
					t.Errorf("batch %d of %d marks %s", n, r.batches(), series)
					return
				}
			}
		}
	})
}

// TestTargetsOfOtherShardsAreCounted: targets of other instances are neither dropped nor invalid. A job can be
// exempt from sharing.
func TestTargetsOfOtherShardsAreCounted(t *testing.T) {
	fleetDuring(t, 2, changes(2), func(t *testing.T, f *fleet) {
		_, found := f.hosts(40)
		f.discover(found...)
		pass(time.Second)
		sum := 0
		for _, r := range f.instances {
			s := r.Status()[0]
			if s.DroppedCount != 0 || len(s.Errors) != 0 || len(s.Targets)+s.Others != 40 || s.Others == 0 {
				t.Errorf("%d targets, %d of others, %d dropped, errors %v", len(s.Targets), s.Others, s.DroppedCount,
					s.Errors)
			}
			sum += len(s.Targets)
		}
		if sum != 40 {
			t.Errorf("all instances together have %d of 40 targets", sum)
		}
	})
	fleetDuring(t, 2, changes(2), func(t *testing.T, f *fleet) {
		_, found := f.hosts(40)
		own := f.instances[1]
		own.opts.Unsharded = func(job string) bool { return job == "envoy" }
		own.discover(found...)
		if s := own.Status()[0]; len(s.Targets) != 40 || s.Others != 0 {
			t.Errorf("of a job that is not shared: %d targets, %d of others", len(s.Targets), s.Others)
		}
	})
}

// TestAPlannedChangeOfShardsIsReplaced: an instant is moved to a later time before it comes.
func TestAPlannedChangeOfShardsIsReplaced(t *testing.T) {
	host := movingHost(t)
	fleetDuring(t, 2, changes(1, 2), func(t *testing.T, f *fleet) {
		f.pages.set(host, "x 1\n")
		f.discover(at(host))
		pass(50 * time.Second)
		later := f.maps[1].From.Add(100 * time.Second)
		for i, r := range f.instances {
			r.Shard(shard.Map{Index: i, Periods: []shard.Period{{Count: 1}, {Count: 2, From: later}}})
		}
		pass(250 * time.Second)
		all := f.of(host)
		for i := 1; i < len(all); i++ {
			d := all[i].at.Sub(all[i-1].at)
			if moved := all[i].by != all[i-1].by; all[i].stale || moved != (d == 20*time.Second) || !moved &&
				d != 10*time.Second {
				t.Errorf("%+v follows %+v", all[i], all[i-1])
			}
			if all[i].by == 0 && !all[i].at.Before(later) || all[i].by == 1 &&
				all[i].at.Before(later.Add(10*time.Second)) {
				t.Errorf("%+v, the instant being %v", all[i], later)
			}
		}
		if all[len(all)-1].by != 1 {
			t.Error("the target never moved")
		}
	})
}

// TestWhatWaitsIsSentWhenTargetsMove: the new owner's samples must not arrive before those that wait at the old one.
func TestWhatWaitsIsSentWhenTargetsMove(t *testing.T) {
	host := movingHost(t)
	fleetDuring(t, 2, changes(1, 2), func(t *testing.T, f *fleet) {
		f.pages.set(host, "x 1\n")
		f.discover(at(host))
		flushes := func() int {
			s := f.instances[0].sink
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.flushes
		}
		pass(time.Until(f.maps[1].From) - time.Second)
		before := flushes()
		pass(2 * time.Second)
		if flushes() == before {
			t.Error("the sink was not told to send what waits")
		}
	})
}

// TestScrapesThatRunWhenTheirTargetsMoveDoNotWait: they end after the instant. Their samples must not wait until those
// of the new owner have arrived.
func TestScrapesThatRunWhenTheirTargetsMoveDoNotWait(t *testing.T) {
	hosts := movingHosts(t, 10)
	fleetDuring(t, 2, changes(1, 2), func(t *testing.T, f *fleet) {
		f.pages.slow(4900 * time.Millisecond)
		var found []model.LabelSet
		for _, host := range hosts {
			f.pages.set(host, "x 1\n")
			found = append(found, at(host))
		}
		f.discover(found...)
		state := func() (batches, flushed int) {
			s := f.instances[0].sink
			s.mu.Lock()
			defer s.mu.Unlock()
			return len(s.got), s.flushed
		}
		pass(time.Until(f.maps[1].From) + time.Millisecond)
		atInstant, _ := state()
		pass(5 * time.Second)
		switch batches, flushed := state(); {
		case batches == atInstant:
			t.Fatal("no scrape ended after the instant")
		case flushed != batches:
			t.Errorf("the sink was not told to send %d of the last scrapes of the old owner", batches-flushed)
		}
	})
}

// TestASmallStepBackOfTheClockKeepsThePhase: the other instances have changed to the new phase.
func TestASmallStepBackOfTheClockKeepsThePhase(t *testing.T) {
	fleetDuring(t, 2, changes(1, 2), func(t *testing.T, f *fleet) {
		r, instant := f.instances[0], f.maps[1].From
		pass(100*time.Second + time.Millisecond)
		for _, step := range []struct {
			back time.Duration
			want int
		}{{5 * time.Second, 2}, {time.Hour, 1}, {0, 2}} {
			r.applyPhase(instant.Add(-step.back))
			if got := r.phase.Count; got != step.want {
				t.Errorf("the clock set back by %v: %d instances, want %d", step.back, got, step.want)
			}
		}
	})
}

// TestANewMapKeepsThePhase: the clock is set back a little after an instant, and then a reload brings another map.
func TestANewMapKeepsThePhase(t *testing.T) {
	fleetDuring(t, 2, changes(1, 2), func(t *testing.T, f *fleet) {
		r, instant := f.instances[0], f.maps[1].From
		pass(98 * time.Second)
		r.applyPhase(instant.Add(3 * time.Second)) // and back it goes
		r.Shard(shard.Map{Periods: append(f.maps[:2:2], shard.Period{Count: 3, From: instant.Add(time.Hour)})})
		if got := r.phase.Count; got != 2 {
			t.Errorf("%d instances, want 2", got)
		}
	})
}

// TestAChangeWithoutAnInstantMarksNothing: such a change may cause gaps and double samples, but no markers.
func TestAChangeWithoutAnInstantMarksNothing(t *testing.T) {
	fleetDuring(t, 2, changes(1), func(t *testing.T, f *fleet) {
		names, found := f.hosts(20)
		f.discover(found...)
		pass(50 * time.Second)
		for i, r := range f.instances {
			r.Shard(shard.Map{Index: i, Periods: []shard.Period{{Count: 2}}})
			pass(3 * time.Second)
		}
		pass(60 * time.Second)
		moved := 0
		for _, name := range names {
			all := f.of(name)
			for i := 1; i < len(all); i++ {
				if all[i].stale {
					t.Errorf("%s was marked stale", name)
				}
				if all[i].by != all[i-1].by {
					moved++
				}
			}
		}
		if moved == 0 {
			t.Error("nothing moved")
		}
	})
}
