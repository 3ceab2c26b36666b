package scrape

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/common/model"
)

// Each test named TestRow and a number holds one behaviour of Prometheus' scrape loop; docs/differences.md lists where
// this program differs on purpose.

// scraped scrapes a:1, one page for each scrape, and compares the samples of each. Of the report series it compares up
// only.
func scraped(t *testing.T, yaml string, scrapes ...scrapeOf) {
	t.Helper()
	during(t, func(t *testing.T, r *rig) {
		r.apply(t, job(t, yaml))
		r.discover(at("a:1"))
		for i, s := range scrapes {
			r.pages.set("a:1", s.page)
			r.pages.fail("a:1", s.fails)
			pass(10 * time.Second)
			if got := r.values(t, -1); r.batches() != i+1 || !maps.Equal(got, s.wanted()) {
				t.Errorf("scrape %d: %d batches so far", i, r.batches())
				want(t, got, s.pairs()...)
			}
		}
	})
}

// scrapeOf is a page, or the error of its request, and the wanted samples: names and values in turn, up last.
type scrapeOf struct {
	page  string
	fails error
	want  []string
}

func (s scrapeOf) pairs() (pairs []string) {
	for i, text := range s.want {
		if i%2 == 0 {
			text = named(text)
		}
		pairs = append(pairs, text)
	}
	return pairs
}

func (s scrapeOf) wanted() map[string]string {
	out, pairs := map[string]string{}, s.pairs()
	for i := 0; i < len(pairs); i += 2 {
		out[pairs[i]] = pairs[i+1]
	}
	return out
}

var errNoPage = errors.New("connection refused")

func TestRow01FailedScrape(t *testing.T) {
	scraped(t, "",
		scrapeOf{page: "x 1\ny 1\n", want: []string{"x", "1", "y", "1", "up", "1"}},
		scrapeOf{fails: errNoPage, want: []string{"x", "stale", "y", "stale", "up", "0"}},
		scrapeOf{fails: errNoPage, want: []string{"up", "0"}},
		scrapeOf{page: "x 2\n", want: []string{"x", "2", "up", "1"}},
	)
}

// TestRow02ParseFailure: no sample of a bad page is sent. Live series get markers unless the page had them before its
// error. The next page decides about those, and about series that only the bad page had.
func TestRow02ParseFailure(t *testing.T) {
	scraped(t, "",
		scrapeOf{page: "x 1\ny 1\n", want: []string{"x", "1", "y", "1", "up", "1"}},
		scrapeOf{page: "x 2\nz 2\n<html>\ny 2\n", want: []string{"y", "stale", "up", "0"}},
		scrapeOf{page: "x 3\ny 3\n", want: []string{"x", "3", "y", "3", "z", "stale", "up", "1"}},
		scrapeOf{page: "<html>\n", want: []string{"x", "stale", "y", "stale", "up", "0"}},
		scrapeOf{page: "x 5\n", want: []string{"x", "5", "up", "1"}},
		scrapeOf{page: "x 6\n<html>\n", want: []string{"up", "0"}},
		scrapeOf{page: "x 7\n<html>\n", want: []string{"up", "0"}},
		scrapeOf{fails: errNoPage, want: []string{"x", "stale", "up", "0"}},
	)
}

func TestRow03SampleLimit(t *testing.T) {
	t.Run("too many now and then", func(t *testing.T) {
		scraped(t, "  sample_limit: 2\n",
			scrapeOf{page: "x 1\ny 1\n", want: []string{"x", "1", "y", "1", "up", "1"}},
			scrapeOf{page: "x 2\ny 2\nz 2\n", want: []string{"up", "0"}},
			scrapeOf{page: "x 3\ny 3\n", want: []string{"x", "3", "y", "3", "up", "1"}},
			scrapeOf{fails: errNoPage, want: []string{"x", "stale", "y", "stale", "up", "0"}},
		)
	})
	t.Run("what was within the limit is marked when it goes, what was beyond is not", func(t *testing.T) {
		scraped(t, "  sample_limit: 4\n",
			scrapeOf{page: "a 1\nb 1\nc 1\n", want: []string{"a", "1", "b", "1", "c", "1", "up", "1"}},
			scrapeOf{page: "a 2\nb 2\nc 2\nd 2\ne 2\nf 2\n", want: []string{"up", "0"}},
			scrapeOf{page: "a 3\nb 3\n", want: []string{"a", "3", "b", "3", "c", "stale", "d", "stale", "up", "1"}},
		)
	})
	t.Run("markers do not count", func(t *testing.T) {
		scraped(t, "  sample_limit: 2\n",
			scrapeOf{page: "a 1\nb 1\n", want: []string{"a", "1", "b", "1", "up", "1"}},
			scrapeOf{page: "c 2\nd 2\n", want: []string{"a", "stale", "b", "stale", "c", "2", "d", "2", "up", "1"}},
		)
	})
	t.Run("label limits", func(t *testing.T) {
		scraped(t, "  label_limit: 3\n",
			scrapeOf{page: "x 1\ny 1\n", want: []string{"x", "1", "y", "1", "up", "1"}},
			scrapeOf{page: "x 2\nz{a=\"1\"} 2\ny 2\n", want: []string{"y", "stale", "up", "0"}},
			scrapeOf{page: "x 3\n", want: []string{"x", "3", "up", "1"}},
		)
	})
	t.Run("a body that is too large was not read", func(t *testing.T) {
		scraped(t, "  body_size_limit: 10B\n",
			scrapeOf{page: "x 1\ny 1\n", want: []string{"x", "1", "y", "1", "up", "1"}},
			scrapeOf{page: "x 2\ny 2\nz 2\n", want: []string{"x", "stale", "y", "stale", "up", "0"}},
		)
	})
}

func TestRow04SeriesVanishes(t *testing.T) {
	scraped(t, "",
		scrapeOf{page: "x 1\ny 1\n", want: []string{"x", "1", "y", "1", "up", "1"}},
		scrapeOf{page: "x 2\n", want: []string{"x", "2", "y", "stale", "up", "1"}},
		scrapeOf{page: "x 3\n", want: []string{"x", "3", "up", "1"}},
		scrapeOf{page: "", want: []string{"x", "stale", "up", "1"}}, // an empty page is a good one
		scrapeOf{page: "x 5\ny 5\n", want: []string{"x", "5", "y", "5", "up", "1"}},
		scrapeOf{page: "y 6\n", want: []string{"x", "stale", "y", "6", "up", "1"}},
	)
}

// TestRow05OwnTimestamps: fake time begins on 1 January 2000, so 1000 is long ago.
func TestRow05OwnTimestamps(t *testing.T) {
	t.Run("not tracked", func(t *testing.T) {
		scraped(t, "",
			scrapeOf{page: "x 1 1000\ny 1\n", want: []string{"x", "1 @1000", "y", "1", "up", "1"}},
			scrapeOf{page: "", want: []string{"y", "stale", "up", "1"}},
			scrapeOf{page: "x 3 3000\n", want: []string{"x", "3 @3000", "up", "1"}},
			scrapeOf{page: "x 4 4000\n<html>\n", want: []string{"up", "0"}},
			scrapeOf{fails: errNoPage, want: []string{"up", "0"}},
		)
	})
	t.Run("track_timestamps_staleness", func(t *testing.T) {
		scraped(t, "  track_timestamps_staleness: true\n",
			scrapeOf{page: "x 1 1000\ny 1\n", want: []string{"x", "1 @1000", "y", "1", "up", "1"}},
			scrapeOf{page: "y 2\n", want: []string{"x", "stale", "y", "2", "up", "1"}},
			scrapeOf{page: "x 3 9999999999999\ny 3\n", want: []string{"y", "3", "up", "1"}},
			scrapeOf{page: "z 4 4000\n<html>\n", want: []string{"y", "stale", "up", "0"}},
			scrapeOf{fails: errNoPage, want: []string{"z", "stale", "up", "0"}},
		)
	})
}

func TestRow06VanishedTarget(t *testing.T) {
	during(t, func(t *testing.T, r *rig) {
		r.pages.set("a:1", "x 1\n")
		r.apply(t, job(t, "  extra_scrape_metrics: true\n"))
		r.discover(at("a:1"))
		pass(20 * time.Second)
		n := r.batches()
		last := r.sink.got[n-1].at
		r.discover()
		pass(15 * time.Second)
		if r.batches() != n {
			t.Fatal("markers before the target could be back")
		}
		pass(10 * time.Second)
		want(t, r.values(t, -1), named("x"), "stale", named("up"), "stale")
		if got := r.sink.got[n].at; got.Sub(last) != 10*time.Second {
			t.Errorf("markers %v after the last scrape, want the time of the first one missed", got.Sub(last))
		}
		if len(r.sink.got[n].samples) != 9 {
			t.Errorf("%d markers, want x and eight report series", len(r.sink.got[n].samples))
		}
		pass(100 * time.Second)
		if got := r.batches(); got != n+1 {
			t.Errorf("%d batches after the markers, want none", got-n-1)
		}
		if n := r.table.Len(); n != 0 {
			t.Errorf("%d series left in the table", n)
		}
	})
}

func TestRow06VanishedTargetThatFailed(t *testing.T) {
	during(t, func(t *testing.T, r *rig) {
		r.pages.set("a:1", "x 1\n<html>\n")
		r.apply(t, job(t, ""))
		r.discover(at("a:1"))
		pass(10 * time.Second)
		r.discover()
		pass(30 * time.Second)
		want(t, r.values(t, -1), named("x"), "stale", named("up"), "stale")
		if n := r.table.Len(); n != 0 {
			t.Errorf("%d series left in the table", n)
		}
	})
}

// TestRow06MarkersAreNewerThanTheLastSample: targets of one slow host wait for each other, so a scrape can begin more
// than an interval after its due time. If the target vanishes then, its markers are still newer than its last sample.
func TestRow06MarkersAreNewerThanTheLastSample(t *testing.T) {
	const targets = 3
	for _, answer := range []time.Duration{2600, 3100, 3500, 4100, 4600} {
		for gone := range 10 {
			during(t, func(t *testing.T, r *rig) {
				r.pages.set("a:1", "x 1\n")
				r.pages.slow(answer * time.Millisecond)
				r.apply(t, job(t, "  scrape_interval: 5s\n  scrape_timeout: 5s\n"))
				var found []model.LabelSet
				for n := range targets {
					found = append(found, with(at("a:1"), "n", fmt.Sprint(n)))
				}
				r.discover(found...)
				pass(time.Duration(60+gone) * time.Second)
				r.discover()
				pass(time.Minute)
				for n := range targets {
					x := fmt.Sprintf(`{__name__="x", instance="a:1", job="envoy", n="%d"}`, n)
					all := r.sink.of(x)
					last := all[len(all)-1]
					if before := all[len(all)-2].at; last.value != "stale" || !last.at.After(before) {
						t.Errorf("answers after %v ms: the last of %s is %s at %v, after a sample at %v", int64(answer),
							x, last.value, last.at, before)
					}
				}
			})
		}
	}
}

func TestRow06NeverScraped(t *testing.T) {
	during(t, func(t *testing.T, r *rig) {
		r.pages.set("a:1", "x 1\n")
		r.apply(t, job(t, ""))
		r.discover(at("a:1"))
		r.discover()
		pass(60 * time.Second)
		if n := r.batches(); n != 0 {
			t.Errorf("%d batches of a target that was never scraped", n)
		}
	})
}

func TestRow06TargetComesBack(t *testing.T) {
	during(t, func(t *testing.T, r *rig) {
		r.pages.set("a:1", "x 1\ny 1\n")
		r.apply(t, job(t, ""))
		r.discover(at("a:1"))
		pass(20 * time.Second)
		r.discover()
		r.pages.set("a:1", "x 2\n")
		pass(5 * time.Second)
		r.discover(at("a:1"))
		pass(10 * time.Second)
		want(t, r.values(t, -1), named("x"), "2", named("y"), "stale", named("up"), "1")
		n := r.batches()
		pass(100 * time.Second)
		if got := r.batches() - n; got != 10 {
			t.Errorf("%d scrapes in 100 s, want 10: the old loop must not go on, nor mark anything", got)
		}
	})
}

// TestRow06OnlyTheLabelsChanged: with other labels it is another target, and the old one gets markers.
func TestRow06OnlyTheLabelsChanged(t *testing.T) {
	during(t, func(t *testing.T, r *rig) {
		r.pages.set("a:1", "x 1\n")
		r.apply(t, job(t, ""))
		r.discover(model.LabelSet{model.AddressLabel: "a:1", "pod": "old"})
		pass(10 * time.Second)
		r.discover(model.LabelSet{model.AddressLabel: "a:1", "pod": "new"})
		pass(60 * time.Second)
		old := `{__name__="x", instance="a:1", job="envoy", pod="old"}`
		var after []string
		for _, g := range r.sink.got[1:] {
			if v, ok := g.samples[old]; ok {
				after = append(after, v)
			}
		}
		if len(after) != 1 || after[0] != "stale" {
			t.Errorf("the old target's series went on as %v, want one marker", after)
		}
	})
}

// TestRow07ProcessStops: the end of the process sends no markers, and a scrape that it cuts off yields nothing.
func TestRow07ProcessStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- r.Run(ctx) }()
		r.pages.set("a:1", "x 1\n")
		r.apply(t, job(t, ""))
		r.discover(at("a:1"))
		pass(10 * time.Second)
		asked := r.pages.scrapes()
		r.pages.slow(3 * time.Second)
		for r.pages.scrapes() == asked {
			pass(100 * time.Millisecond)
		}
		stop() // in the middle of the second scrape
		<-done
		if n := r.batches(); n != 1 {
			t.Errorf("%d batches, want the first scrape's alone: %v", n, r.sink.got)
		}
	})
}

// TestRow08SuccessorMarks: a loop that a reload replaces ends without markers; its successor sends those that are due.
func TestRow08SuccessorMarks(t *testing.T) {
	during(t, func(t *testing.T, r *rig) {
		r.pages.set("a:1", "x 1\n")
		r.apply(t, job(t, ""))
		r.discover(at("a:1"))
		pass(20 * time.Second)
		for i := range 5 {
			r.apply(t, job(t, "  sample_limit: "+string(rune('1'+i))+"\n"))
			pass(10 * time.Second)
			want(t, r.values(t, -1), named("x"), "1", named("up"), "1")
		}
		pass(60 * time.Second)
		for _, g := range r.sink.got {
			if g.samples[named("x")] != "1" || g.samples[named("up")] != "1" {
				t.Fatalf("%v: %v", g.at, g.samples)
			}
		}
		if n := r.batches(); n != 13 {
			t.Errorf("%d scrapes in 130 s, want 13", n)
		}
	})
}

// TestRow08AnotherURL: a reload changes the URL of a target but not its labels, so its series stay the same. The new
// loop marks the series that its page does not have; the old loop sends no markers.
func TestRow08AnotherURL(t *testing.T) {
	for name, change := range map[string]string{
		"metrics_path":         "  metrics_path: /b\n",
		"scheme":               "  scheme: https\n",
		"params":               "  params: {usedonly: ['']}\n",
		"a path by relabeling": "  relabel_configs: [{target_label: __metrics_path__, replacement: /b}]\n",
	} {
		t.Run(name, func(t *testing.T) {
			during(t, func(t *testing.T, r *rig) {
				r.pages.set("a:1", "x 1\ny 1\n")
				r.apply(t, job(t, ""))
				r.discover(at("a:1"))
				pass(20 * time.Second)
				r.apply(t, job(t, change))
				r.pages.set("a:1", "x 2\n")
				n := r.batches()
				pass(10 * time.Second)
				want(t, r.values(t, n), named("x"), "2", named("y"), "stale", named("up"), "1")
				pass(60 * time.Second)
				for i := n + 1; i < r.batches(); i++ {
					want(t, r.values(t, i), named("x"), "2", named("up"), "1")
				}
				r.discover()
				pass(60 * time.Second)
				want(t, r.values(t, -1), named("x"), "stale", named("up"), "stale")
				if n := r.table.Len(); n != 0 {
					t.Errorf("%d series left in the table", n)
				}
			})
		})
	}
}

// TestRow08AnotherURLAfterAPause: the target is gone for a moment and comes back under another URL.
func TestRow08AnotherURLAfterAPause(t *testing.T) {
	during(t, func(t *testing.T, r *rig) {
		r.pages.set("a:1", "x 1\ny 1\n")
		r.apply(t, job(t, ""))
		r.discover(at("a:1"))
		pass(20 * time.Second)
		r.discover()
		pass(5 * time.Second)
		r.pages.set("a:1", "x 2\n")
		r.discover(with(at("a:1"), model.MetricsPathLabel, "/b"))
		n := r.batches()
		pass(10 * time.Second)
		want(t, r.values(t, n), named("x"), "2", named("y"), "stale", named("up"), "1")
		if added := r.sink.of(named("scrape_series_added"))[n].value; added != "1" {
			t.Errorf("scrape_series_added = %s under another URL, want 1 as in Prometheus: all series of the page",
				added)
		}
	})
}

// TestRow08TheSameURLComesFirst: two targets have the same labels, and one of them gets another URL. The target whose
// URL stays inherits from its own loop, and the target with the new URL from the other one.
func TestRow08TheSameURLComesFirst(t *testing.T) {
	during(t, func(t *testing.T, r *rig) {
		r.apply(t, job(t, "  relabel_configs: [{target_label: instance, replacement: a}]\n"))
		page := func(path string) model.LabelSet { return with(at("h"+path+":1"), model.MetricsPathLabel, "/"+path) }
		r.pages.set("hold:1", "old 1\n")
		r.pages.set("hkept:1", "kept 1\n")
		r.pages.set("hnew:1", "new 1\n")
		r.discover(page("old"), page("kept"))
		pass(20 * time.Second)
		r.apply(t, job(t, "  sample_limit: 9\n  relabel_configs: [{target_label: instance, replacement: a}]\n"))
		r.discover(page("new"), page("kept"))
		pass(60 * time.Second)
		name := func(n string) string { return fmt.Sprintf(`{__name__=%q, instance="a", job="envoy"}`, n) }
		for series, markers := range map[string]int{name("old"): 1, name("kept"): 0, name("new"): 0} {
			marked := 0
			for _, s := range r.sink.of(series) {
				if s.value == "stale" {
					marked++
				}
			}
			if marked != markers {
				t.Errorf("%s was marked stale %d times, want %d", series, marked, markers)
			}
		}
	})
}

// TestRow09TimestampStandsStill: a series whose timestamp does not advance counts as not shown and gets a marker. The
// marker is a sample too, so the series is back only with a timestamp that is newer than the marker.
func TestRow09TimestampStandsStill(t *testing.T) {
	const track = "  track_timestamps_staleness: true\n"
	ahead := fmt.Sprint(time.Date(2000, 1, 1, 0, 1, 40, 0, time.UTC).UnixMilli()) // 100 s
	scraped(t, track,
		scrapeOf{page: "x 1 1000\ny 1\n", want: []string{"x", "1 @1000", "y", "1", "up", "1"}},
		scrapeOf{page: "x 2 2000\ny 2\n", want: []string{"x", "2 @2000", "y", "2", "up", "1"}},
		scrapeOf{page: "x 2 2000\ny 3\n", want: []string{"x", "stale", "y", "3", "up", "1"}},
		scrapeOf{page: "x 2 2000\ny 4\n", want: []string{"y", "4", "up", "1"}},
		scrapeOf{page: "x 5 3000\ny 5\n", want: []string{"y", "5", "up", "1"}}, // not newer than the marker
		scrapeOf{fails: errNoPage, want: []string{"y", "stale", "up", "0"}},
		scrapeOf{page: "x 7 " + ahead + "\n", want: []string{"x", "7 @" + ahead, "up", "1"}},
		scrapeOf{page: "x 7 " + ahead + "\n<html>\n", want: []string{"x", "stale", "up", "0"}},
	)
	scraped(t, track, // of several samples, one that is newer suffices
		scrapeOf{page: "x 1 1000\n", want: []string{"x", "1 @1000", "up", "1"}},
		scrapeOf{page: "x 1 1000\nx 3 3000\n", want: []string{"x", "3 @3000", "up", "1"}},
		scrapeOf{page: "", want: []string{"x", "stale", "up", "1"}},
	)
	scraped(t, "", // without track_timestamps_staleness there is no marker
		scrapeOf{page: "x 1 1000\n", want: []string{"x", "1 @1000", "up", "1"}},
		scrapeOf{page: "x 1 1000\n", want: []string{"up", "1"}},
		scrapeOf{fails: errNoPage, want: []string{"up", "0"}},
	)
}

// TestRow10SameLabelsOtherText: labels in another order or another spelling are the same series.
func TestRow10SameLabelsOtherText(t *testing.T) {
	const x = `{__name__="x", a="1", b="2", instance="a:1", job="envoy"}`
	during(t, func(t *testing.T, r *rig) {
		r.apply(t, job(t, ""))
		r.discover(at("a:1"))
		for _, page := range []string{`x{a="1",b="2"} 1`, `x{b="2",a="1"} 1`, `x { a = "1" , b="2",} 1`,
			`x{a="1",b="2",c=""} 1`, `{"x",b="2",a="1"} 1`, `x{a="1",b="2"} 1`} {
			r.pages.set("a:1", page+"\n")
			pass(10 * time.Second)
			want(t, r.values(t, -1), x, "1", named("up"), "1")
		}
	})
}
