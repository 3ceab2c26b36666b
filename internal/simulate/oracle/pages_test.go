package oracle

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/envoy-scraper/envoy-scraper/internal/simulate/sidecar"
)

// expect compares the problems and losses of a story with what they should be.
func (s *story) expect(t *testing.T, problem string, lost int) {
	t.Helper()
	s.Judge(time.Now())
	all := strings.Join(s.Problems(), "\n")
	if problem == "" && all != "" || !strings.Contains(all, problem) {
		t.Errorf("problems %q, want %q", all, problem)
	}
	if l, examples := s.Losses("r"); l.Lost != lost {
		t.Errorf("%d samples lost, want %d: %q", l.Lost, lost, examples)
	}
}

// ends returns the last batch of the target.
func ends(series ...string) (all []sent) {
	for _, name := range series {
		all = append(all, sent{name, stale})
	}
	for _, r := range report(0, 0, 0) {
		all = append(all, sent{r.name, stale})
	}
	return all
}

// TestForgottenIsNotLost: a target without pages for a minute is forgotten. One whose pages did not arrive is not.
func TestForgottenIsNotLost(t *testing.T) {
	for name, tc := range map[string]struct {
		served  bool
		problem string
		lost    int
	}{
		"no page":              {false, "was not scraped between", 0},
		"pages did not arrive": {true, "", 5 * 6},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStory()
				s.arrive(s.serve(0, 1, "a"), with(report(1, 1, 1), sent{"a", 1})...)
				for range 5 {
					time.Sleep(10 * time.Second)
					if tc.served {
						s.serve(0, 2, "a")
					}
				}
				time.Sleep(10 * time.Second)
				s.arrive(s.serve(0, 3, "a"), with(report(1, 1, 1), sent{"a", 3})...)
				time.Sleep(time.Minute)
				s.expect(t, tc.problem, tc.lost)
			})
		})
	}
}

// TestFirst: a target is scraped soon after its pod is there, unless the discovery does not answer.
func TestFirst(t *testing.T) {
	for _, blind := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			s, problem := newStory(), "is there since"
			if blind {
				s.Blind(time.Now(), time.Now().Add(time.Minute))
				problem = ""
			}
			time.Sleep(time.Minute)
			s.arrive(s.serve(0, 1, "a"), with(report(1, 1, 1), sent{"a", 1})...)
			time.Sleep(10 * time.Second)
			s.expect(t, problem, 0)
		})
	}
}

// TestPagesOfOneAddress: a pod is gone and another has its address. Until discovery shows that, both targets read the
// page of the new pod. The order of scrapes does not say which page is whose.
func TestPagesOfOneAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStory()
		s.arrive(s.serve(0, 1, "a"), with(report(1, 1, 1), sent{"a", 1})...)
		time.Sleep(5 * time.Second)
		s.Gone("pod-1")
		s.Born("pod-2", labels.FromStrings("__address__", "10.0.0.1:15090", "__meta_pod", "pod-2"))
		time.Sleep(5 * time.Second)
		s.pod = "pod-2"
		next := s.serve(0, 2, "a")
		time.Sleep(10 * time.Millisecond)
		old := s.serve(0, 3, "a")
		s.arrive(next, with(report(1, 1, 1), sent{"a", 2})...)
		s.pod = "pod-1"
		s.arrive(old, with(report(1, 1, 1), sent{"a", 3})...)
		time.Sleep(time.Second)
		s.arrive(time.Now(), ends("a")...)
		s.expect(t, "", 0)
	})
}

// TestHidden: the target of a pod that lives may end only while the discovery may answer with an older state.
func TestHidden(t *testing.T) {
	for _, hidden := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			s, problem := newStory(), "got its last markers"
			time.Sleep(3 * time.Minute) // targets may also end soon after a change of the configuration
			if hidden {
				s.Hidden(time.Now(), time.Now().Add(time.Minute))
				problem = ""
			}
			s.arrive(s.serve(0, 1, "a"), with(report(1, 1, 1), sent{"a", 1})...)
			time.Sleep(10 * time.Second)
			s.serve(0, 2, "a") // while it ends, so it does not arrive
			s.arrive(time.Now(), ends("a")...)
			time.Sleep(2 * time.Minute)
			s.arrive(s.serve(0, 3, "a"), with(report(1, 1, 1), sent{"a", 3})...)
			time.Sleep(10 * time.Second)
			s.expect(t, problem, 0)
		})
	}
}

// TestShownAgain: an older state shows a pod that is gone. A process that ends while it scrapes the pod sends no last
// markers; one that lives must.
func TestShownAgain(t *testing.T) {
	for _, killed := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			s, problem := newStory(), "has no last markers"
			s.arrive(s.serve(0, 1, "a"), with(report(1, 1, 1), sent{"a", 1})...)
			s.Gone("pod-1")
			time.Sleep(5 * time.Second)
			s.arrive(time.Now(), ends("a")...)
			time.Sleep(2 * time.Minute)
			s.Hidden(time.Now(), time.Now().Add(time.Minute))
			time.Sleep(30 * time.Second)
			s.arrive(time.Now(), report(0, 0, 0)...)
			time.Sleep(time.Second)
			if killed {
				s.Ended("agent", Killed)
				s.Started("agent")
				problem = ""
			}
			time.Sleep(5 * time.Minute)
			s.expect(t, problem, 0)
		})
	}
}

// TestRenamed: when labels of a pod change, the target with the labels before gets its last markers. A page that the
// pod serves at that moment may be lost.
func TestRenamed(t *testing.T) {
	for _, ended := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			s, problem, lost := newStory(), "has no last markers", 6
			s.arrive(s.serve(0, 1, "a"), with(report(1, 1, 1), sent{"a", 1})...)
			time.Sleep(5 * time.Second)
			s.Renamed("pod-1", "pod-2", labels.FromStrings("__address__", "10.0.0.1:15090", "__meta_pod", "pod-2"))
			time.Sleep(5 * time.Second)
			s.pod = "pod-2"
			s.serve(0, 2, "a")
			if ended {
				problem, lost = "", 0
				s.pod = "pod-1"
				s.arrive(time.Now(), ends("a")...)
				s.pod = "pod-2"
			}
			for n := range 12 {
				time.Sleep(10 * time.Second)
				s.arrive(s.serve(0, float64(n), "a"), with(report(1, 1, 1), sent{"a", float64(n)})...)
			}
			s.expect(t, problem, lost)
		})
	}
}

// TestAddedSeries: after a page of no bytes the series are still known, so the next page adds none. After one that has
// only # EOF, or one in another format, all are new again. A failed page may have made series known, so the number is
// not certain until the next page with bytes.
func TestAddedSeries(t *testing.T) {
	for name, tc := range map[string]struct {
		pages   string // the last one adds series
		added   float64
		problem string
	}{
		"none":                         {pages: "text text text"},
		"all":                          {pages: "text text text", added: 2, problem: ": 2, want 0"},
		"none after no bytes":          {pages: "text nothing text"},
		"all after no bytes":           {pages: "text nothing text", added: 2, problem: ": 2, want 0"},
		"all after no bytes twice":     {pages: "open nothing nothing open", added: 2, problem: ": 2, want 0"},
		"all after # EOF":              {pages: "open eof open", added: 2},
		"none after # EOF":             {pages: "open eof open", problem: ": 0, want 2"},
		"all after # EOF and no bytes": {pages: "open eof nothing open", added: 2},
		"all in another format":        {pages: "text text open", added: 2},
		"none in another format":       {pages: "open nothing text", problem: ": 0, want 2"},
		"one after a failure":          {pages: "text failed text", added: 1},
		"one after it and no bytes":    {pages: "text failed nothing text", added: 1},
		"one after it and # EOF":       {pages: "open failed eof open", added: 1, problem: ": 1, want 2"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStoryAfter(time.Minute)
				all := strings.Fields(tc.pages)
				for i, page := range all {
					p := &sidecar.Page{Status: 200, OpenMetrics: page == "open" || page == "eof"}
					samples := []sent{{"a", stale}, {"b", stale}}
					if i > 0 && all[i-1] != "text" && all[i-1] != "open" {
						samples = nil // they have their markers
					}
					switch page {
					case "text", "open":
						r := report(1, 2, 2)
						if i == len(all)-1 {
							r = changed(r, "scrape_series_added", tc.added)
						}
						s.arrive(s.servePage(p, 1, "a", "b"), with(r, sent{"a", 1}, sent{"b", 1})...)
					case "failed":
						p.Status = 503
						s.arrive(s.servePage(p, 0), with(report(0, 0, 0), samples...)...)
					case "eof":
						p.Bytes = len("# EOF\n")
						fallthrough
					case "nothing":
						s.arrive(s.servePage(p, 0), with(report(1, 0, 0), samples...)...)
					}
					time.Sleep(10 * time.Second)
				}
				s.expect(t, tc.problem, 0)
			})
		})
	}
}

// TestPagesOfTheNextPod: a failed scrape of an address whose pod is gone did not read the page that another pod serves
// there seconds later.
func TestPagesOfTheNextPod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStory()
		time.Sleep(20 * time.Second)
		s.good(1)
		s.Gone("pod-1")
		s.Blind(time.Now(), time.Now().Add(5*time.Minute)) // the target stays
		time.Sleep(turn)
		s.fail()
		time.Sleep(3 * time.Second)
		s.Born("pod-2", labels.FromStrings("__address__", "10.0.0.1:15090", "__meta_pod", "pod-2"))
		s.pod = "pod-2"
		s.good(2)
		time.Sleep(time.Second)
		s.expect(t, "", 0)
	})
}

// TestPagesThatMayEndBeforeABadLine: a page with a bad line shows the series before it, and makes them live. If it may
// have ended before that line, the markers say whether it has, now or in the next batch.
func TestPagesThatMayEndBeforeABadLine(t *testing.T) {
	for name, tc := range map[string]struct {
		before, markers, after, last []string // series with a marker: before, of the bad page, and of later failures
		problem                      string
		lost                         int
	}{
		"it has not ended":            {markers: []string{"b"}, after: []string{"a"}},
		"it has not ended, a marker":  {markers: []string{"b"}, lost: 1},
		"it has ended":                {markers: []string{"a", "b"}},
		"it has ended, a marker":      {markers: []string{"a", "b"}, after: []string{"a"}, problem: "want no sample"},
		"nothing was live, no marker": {before: []string{"a", "b"}},
		"nothing was live, a marker":  {before: []string{"a", "b"}, after: []string{"a"}},
		"nothing was live, a marker too late": {before: []string{"a", "b"}, last: []string{"a"},
			problem: "want no sample"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStory()
				s.Disturbed("", time.Now(), time.Now().Add(time.Minute))
				s.arrive(s.serve(0, 1, "a", "b"), with(report(1, 2, 2), sent{"a", 1}, sent{"b", 1})...)
				fails := func(fault sidecar.Kind, markers, shown []string) {
					time.Sleep(turn)
					at := s.serve(fault, 0, shown...)
					pages := s.pods[s.pod].pages
					pages[len(pages)-1].read = func() bool { return false }
					batch := report(0, 0, 0)
					for _, m := range markers {
						batch = append(batch, sent{m, stale})
					}
					s.arrive(at, batch...)
				}
				if tc.before != nil {
					fails(sidecar.Unavailable, tc.before, nil)
				}
				fails(sidecar.BrokenLine, tc.markers, []string{"a"})
				fails(sidecar.Unavailable, tc.after, nil)
				fails(sidecar.Unavailable, tc.last, nil)
				time.Sleep(turn)
				s.expect(t, tc.problem, tc.lost)
			})
		})
	}
}

// TestLostPageOfTheNextPod: while discovery still shows a pod that is gone, its target reads the pages of the pod that
// has its address. If one of them is lost, it is open which series the target knows.
func TestLostPageOfTheNextPod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStory()
		s.good(1)
		s.Gone("pod-1")
		s.Blind(time.Now(), time.Now().Add(5*time.Minute)) // the target stays
		s.Born("pod-2", labels.FromStrings("__address__", "10.0.0.1:15090", "__meta_pod", "pod-2"))
		s.pod = "pod-2"
		for range 2 {
			time.Sleep(turn)
			s.serve(0, 2, "b") // for both targets
		}
		s.pod = "pod-1"
		s.arrive(time.Now(), with(report(1, 1, 1), sent{"b", 2})...) // b is not new, and has replaced a before
		s.Judge(time.Now().Add(time.Second))
		s.check(t, "")
		if lost, examples := s.Losses("r"); lost.Lost != 0 {
			t.Errorf("%d samples lost, want none: %q", lost.Lost, examples)
		}
	})
}

// TestCheckedPage: a scrape that reads the filtered page and then the whole one, to compare them, sends the second.
func TestCheckedPage(t *testing.T) {
	for name, tc := range map[string]struct {
		filtered bool // the second page is, too: then it is of another scrape
		lost     int
	}{"the whole one": {false, 0}, "another filtered one": {true, 7}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStory()
				s.arrive(s.serve(0, 1, "a", "b"), with(report(1, 2, 2), sent{"a", 1}, sent{"b", 1})...)
				time.Sleep(10 * time.Second)
				at := s.servePage(&sidecar.Page{Status: 200, Filtered: true}, 2, "a", "b")
				time.Sleep(10 * time.Millisecond)
				s.servePage(&sidecar.Page{Status: 200, Filtered: tc.filtered}, 2, "a", "b", "dropped")
				scraped := 3.0
				if tc.filtered {
					scraped = 2
				}
				s.arrive(at, with(report(1, scraped, 2), sent{"a", 2}, sent{"b", 2})...)
				time.Sleep(10 * time.Second)
				s.arrive(s.serve(0, 3, "a", "b"), with(report(1, 2, 2), sent{"a", 3}, sent{"b", 3})...)
				time.Sleep(10 * time.Second)
				s.expect(t, "", tc.lost)
			})
		})
	}
}

// TestFirstPageIsLost: a process has read a page that was lost when the target was about to get other labels. It knows
// the series of the page, so it may mark them although the receiver has had none of them from this process.
func TestFirstPageIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStory()
		s.arrive(s.serve(0, 1, "a"), with(report(1, 1, 1), sent{"a", 1})...)
		time.Sleep(time.Minute)
		s.Ended("agent", Stopped)
		s.Started("agent")
		time.Sleep(10 * time.Second)
		s.serve(0, 2, "a", "b")
		s.Configure(s.configs[0].Rules) // excuses the loss
		time.Sleep(10 * time.Second)
		s.Gone("pod-1")
		time.Sleep(time.Second)
		s.arrive(time.Now(), ends("a", "b")...)
		time.Sleep(10 * time.Second)
		s.expect(t, "", 0)
	})
}

// TestEmptyPage: an empty page teaches nothing, so what was on the page before is not new after it. An empty filtered
// page has what the rules keep, nothing.
func TestEmptyPage(t *testing.T) {
	for filtered, added := range map[bool]float64{false: 0, true: 1} {
		synctest.Test(t, func(t *testing.T) {
			s := newStoryAfter(time.Minute)
			s.arrive(s.serve(0, 1, "a"), with(report(1, 1, 1), sent{"a", 1})...)
			time.Sleep(turn)
			s.arrive(s.servePage(&sidecar.Page{Status: 200, Filtered: filtered}, 1),
				with(report(1, 0, 0), sent{"a", stale})...)
			time.Sleep(turn)
			r := changed(report(1, 1, 1), "scrape_series_added", added)
			s.arrive(s.servePage(&sidecar.Page{Status: 200, Filtered: filtered}, 1, "a"), with(r, sent{"a", 1})...)
			time.Sleep(turn)
			s.expect(t, "", 0)
		})
	}
}

// TestSlowPageOfTheNextPod: the target of a pod that is gone may wait for a page of the pod that has its address, if
// that was there when the scrape began. Nobody answers a scrape of an address without a pod later.
func TestSlowPageOfTheNextPod(t *testing.T) {
	for late, problem := range map[bool]string{false: "", true: "but no page was served"} {
		synctest.Test(t, func(t *testing.T) {
			s := newStory()
			s.arrive(s.serve(0, 1, "a"), with(report(1, 1, 1), sent{"a", 1})...)
			time.Sleep(5 * time.Second)
			s.Gone("pod-1")
			born := func() {
				s.Born("pod-2", labels.FromStrings("__address__", "10.0.0.1:15090", "__meta_pod", "pod-2"))
			}
			if !late {
				born()
			}
			time.Sleep(5 * time.Second)
			at := time.Now()
			time.Sleep(time.Second)
			if late {
				born()
			}
			time.Sleep(2 * time.Second)
			s.pod = "pod-2"
			s.serve(0, 2, "a")
			s.pod = "pod-1"
			s.arrive(at, with(report(1, 1, 1), sent{"a", 2})...)
			time.Sleep(2 * time.Second)
			s.arrive(time.Now(), ends("a")...)
			s.Judge(time.Now())
			if all := strings.Join(s.Problems(), "\n"); !strings.Contains(all, problem) || problem == "" && all != "" {
				t.Errorf("problems %q, want %q", all, problem)
			}
		})
	}
}
