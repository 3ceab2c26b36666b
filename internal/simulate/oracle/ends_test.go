package oracle

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestWhatAnEndMayLose: five pages are served 10 s apart and the first and the last arrive. The three between them are
// lost, unless something that happened 5 s after the fourth one excuses that.
func TestWhatAnEndMayLose(t *testing.T) {
	ends := func(how ...End) func(s *story) {
		return func(s *story) {
			for _, h := range how {
				s.Ended("agent", h)
			}
			s.Started("agent")
		}
	}
	damaged := func(then func(s *story)) func(s *story) {
		return func(s *story) {
			s.Damaged("agent", time.Now())
			then(s)
		}
	}
	removed := func(then func(s *story)) func(s *story) {
		return func(s *story) {
			s.Damaged("agent", time.Now().Add(time.Hour)) // the process goes on to write to the removed file
			s.Damaged("agent", time.Now().Add(-time.Minute))
			then(s)
		}
	}
	badDisk := func(then func(s *story)) func(s *story) {
		return func(s *story) {
			s.Fragile(time.Now().Add(-time.Minute), time.Now())
			then(s)
		}
	}
	goesOn := func(*story) {}
	for name, tc := range map[string]struct {
		happens func(s *story)
		pages   int // that are lost
	}{
		"nothing":                          {goesOn, 3},
		"a stop":                           {ends(Stopped), 3},
		"a kill":                           {ends(Killed), 3},
		"a power cut":                      {ends(PowerCut), 3},
		"damage":                           {damaged(goesOn), 3},
		"damage, a stop":                   {damaged(ends(Stopped)), 3},
		"damage, a kill":                   {damaged(ends(Killed)), 0},
		"damage, a power cut":              {damaged(ends(PowerCut)), 0},
		"damage, a kill during a stop":     {damaged(ends(Stopped, Killed)), 0},
		"a removed file, damage, a kill":   {removed(ends(Killed)), 0},
		"a bad disk":                       {badDisk(goesOn), 3},
		"a bad disk, a stop":               {badDisk(ends(Stopped)), 3},
		"a bad disk, a kill":               {badDisk(ends(Killed)), 0},
		"a bad disk, a kill during a stop": {badDisk(ends(Stopped, Killed)), 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStory()
				for i := range 5 {
					at := s.serve(0, float64(i), "a")
					if i == 0 || i == 4 {
						s.arrive(at, with(report(1, 1, 1), sent{"a", float64(i)})...)
					}
					time.Sleep(5 * time.Second)
					if i == 3 {
						tc.happens(s)
					}
					time.Sleep(5 * time.Second)
				}
				time.Sleep(2 * time.Minute)
				s.Judge(time.Now())
				lost, examples := s.Losses("r")
				if want := 6 * tc.pages; lost.Lost != want {
					t.Errorf("%d samples lost, want %d: %q", lost.Lost, want, examples)
				}
			})
		})
	}
}

// TestAnEndThatOneReceiverLacks: last markers that did not arrive at one receiver are lost there, since another one has
// them. If none has them, the agent has not sent them.
func TestAnEndThatOneReceiverLacks(t *testing.T) {
	for _, sends := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			s, both := newStoryOfTwo(), []string{"r", "other"}
			s.arriveAt(both, s.serve(0, 1, "a"), with(report(1, 1, 1), sent{"a", 1})...)
			s.Gone("pod-1")
			time.Sleep(turn)
			if sends {
				s.arriveAt([]string{"other"}, time.Now(), ends("a")...)
			}
			time.Sleep(10 * time.Minute)
			s.Judge(time.Now())
			lost, _ := s.Losses("r")
			if sends && (lost.Lost != 6 || len(s.Problems()) > 0) {
				t.Errorf("%d samples lost, want 6; problems %q", lost.Lost, s.Problems())
			}
			if !sends && len(s.Problems()) != 2 {
				t.Errorf("problems %q, want one for each receiver", s.Problems())
			}
		})
	}
}

// TestAddedAfterADoubtfulPage: if the end of a process may be the reason why a page did not arrive, its series may be
// known or new to the next scrape. If only a receiver lost it, they are known.
func TestAddedAfterADoubtfulPage(t *testing.T) {
	for _, added := range []float64{0, 1} {
		for _, killed := range []bool{true, false} {
			synctest.Test(t, func(t *testing.T) {
				s := newStoryAfter(time.Minute)
				s.Fragile(time.Now(), time.Now().Add(time.Minute))
				s.arrive(s.serve(0, 1, "a"), with(report(1, 1, 1), sent{"a", 1})...)
				time.Sleep(turn)
				s.serve(0, 1, "a", "b")
				time.Sleep(turn)
				r := changed(report(1, 2, 2), "scrape_series_added", added)
				s.arrive(s.serve(0, 1, "a", "b"), with(r, sent{"a", 1}, sent{"b", 1})...)
				time.Sleep(turn / 2)
				if killed {
					s.Ended("agent", Killed)
					s.Started("agent")
				}
				time.Sleep(time.Minute)
				problem := ""
				if added == 1 && !killed {
					problem = ": 1, want 0"
				}
				s.Judge(time.Now())
				s.check(t, problem)
			})
		}
	}
}
