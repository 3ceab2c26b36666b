package oracle

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/envoy-scraper/envoy-scraper/internal/simulate/sidecar"
)

// owner returns who owns the pod of a story among two agents.
func (s *story) owner() int {
	_, t := s.targetAt(s.pods["pod-1"], time.Now())
	return ownerOf(t.key, 2)
}

// page lets the pod answer an agent.
func (s *story) page(agent string) {
	s.Served("pod-1", &sidecar.Page{Client: agent + ":1", Start: time.Now(), End: time.Now(), Status: 200, Whole: true})
}

// TestOwnerOf: the first and the last of many agents own about as many targets, and few targets move to another one.
func TestOwnerOf(t *testing.T) {
	owned, moved := [3]int{}, 0
	for n := range uint64(3000) {
		key := n * 0x9e3779b97f4a7c15
		was, is := ownerOf(key, 2), ownerOf(key, 3)
		owned[is]++
		if was != is {
			if moved++; is != 2 {
				t.Errorf("key %x moves from %d to %d", key, was, is)
			}
		}
	}
	for agent, n := range owned {
		if n < 900 || n > 1100 {
			t.Errorf("agent %d has %d of 3000 targets", agent, n)
		}
	}
	if moved < 900 || moved > 1100 {
		t.Errorf("%d of 3000 targets move", moved)
	}
}

// TestSharing: only the owner of a target may scrape it, and after an instant that all know, the new owner waits.
func TestSharing(t *testing.T) {
	hosts := []string{"agent-0", "agent-1"}
	for name, tc := range map[string]struct {
		before  func(s *story, owner string) // what happens first
		wait    time.Duration                // after it
		other   bool                         // the other agent scrapes
		problem string                       // part of the only problem; empty: there is none
	}{
		"the owner":     {},
		"another agent": {other: true, problem: "which does not own it"},
		"the owner does not run": {wait: time.Minute, problem: "which does not own it",
			before: func(s *story, owner string) { s.Ended(owner, Stopped) }},
		"an old owner whose scrape runs": {wait: 3 * time.Second,
			before: func(s *story, owner string) { s.Shared(owner, 7, []Share{{Count: 2}}) }},
		"an old owner": {wait: 30 * time.Second, problem: "which does not own it",
			before: func(s *story, owner string) { s.Shared(owner, 7, []Share{{Count: 2}}) }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStory()
				for i, host := range hosts {
					s.Started(host)
					s.Shared(host, i, []Share{{Count: 2}})
				}
				time.Sleep(time.Hour)
				n := s.owner()
				if tc.before != nil {
					tc.before(s, hosts[n])
				}
				time.Sleep(tc.wait)
				if tc.other {
					n = 1 - n
				}
				s.page(hosts[n])
				s.check(t, tc.problem)
			})
		})
	}
}

// check checks that there is one problem, or none if the text is empty.
func (s *story) check(t *testing.T, problem string) {
	t.Helper()
	found := s.Problems()
	if problem == "" && len(found) > 0 || problem != "" && (len(found) != 1 || !strings.Contains(found[0], problem)) {
		t.Errorf("problems %q, want %q", found, problem)
	}
}

// TestHandover: after an instant that all know, the new owner waits for an interval, and the target is contested only
// if two agents own it at once.
func TestHandover(t *testing.T) {
	stories := map[time.Duration]string{5 * time.Second: "its new owner, before", 12 * time.Second: ""}
	for wait, problem := range stories {
		synctest.Test(t, func(t *testing.T) {
			s := newStory()
			instant := time.Now().Add(time.Hour)
			shares := []Share{{Count: 1}, {Count: 2, From: instant}}
			s.Shared("agent-0", 0, shares)
			s.Shared("agent-1", 1, shares)
			_, target := s.targetAt(s.pods["pod-1"], time.Now())
			if ownerOf(target.key, 2) == 0 {
				t.Fatal("the pod of the story does not move; give it another name")
			}
			time.Sleep(time.Hour - time.Second)
			s.page("agent-0")
			time.Sleep(time.Second + wait)
			s.page("agent-1")
			s.check(t, problem)
			if s.isContested(target, time.Now()) {
				t.Error("the target is contested")
			}
			if !s.hasMoved("agent-0", target, instant.Add(-time.Second), time.Now()) {
				t.Error("the target has not moved")
			}
		})
	}
}

// TestContested: until an agent knows of a new one, both own a target that moves.
func TestContested(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStory()
		s.Shared("agent-0", 0, []Share{{Count: 1}})
		_, target := s.targetAt(s.pods["pod-1"], time.Now())
		time.Sleep(time.Minute)
		s.Shared("agent-1", 1, []Share{{Count: 2}})
		time.Sleep(time.Minute)
		during := time.Now()
		s.page("agent-0")
		s.page("agent-1")
		s.Shared("agent-0", 0, []Share{{Count: 2}})
		time.Sleep(time.Minute)
		s.page("agent-1")
		if !s.isContested(target, during) || s.isContested(target, time.Now()) {
			t.Error("the target is not contested, or still is")
		}
		s.check(t, "")
	})
}

// TestAfterContest: when one of two agents that scraped a target leaves it, the other one knows its series, whichever
// of them the receiver had heard first.
func TestAfterContest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStory()
		s.Started("other")
		s.Shared("agent", 0, []Share{{Count: 1}})
		s.Shared("other", 0, []Share{{Count: 1}})
		time.Sleep(turn)
		s.good(1)
		time.Sleep(turn)
		s.Ended("agent", Stopped)
		time.Sleep(2 * turn)
		s.page("other")
		s.arriveFrom("other", time.Now(), with(report(0, 0, 0), sent{"a", stale})...)
		s.Judge(time.Now().Add(time.Second))
		if found := s.Problems(); slices.ContainsFunc(found, func(p string) bool {
			return strings.Contains(p, "want no sample")
		}) {
			t.Errorf("problems %q", found)
		}
	})
}

// TestTargetComesBack: an agent that had a target before knows nothing of its series when it gets it back, also if a
// receiver has heard nothing of the agent that had it meanwhile.
func TestTargetComesBack(t *testing.T) {
	for _, moves := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			s := newStory()
			share := func(shares ...Share) {
				for i, host := range []string{"other", "agent"} {
					s.Shared(host, i, shares)
				}
			}
			s.Started("other")
			share(Share{Count: 2})
			if s.owner() != 1 {
				t.Fatal("the pod of the story belongs to the other agent; give it another name")
			}
			time.Sleep(turn)
			s.arrive(s.serve(0, 1, "a"), with(report(1, 1, 1), sent{"a", 1})...)
			if moves {
				share(Share{Count: 1})
			}
			time.Sleep(turn)
			share(Share{Count: 2})
			time.Sleep(turn)
			s.arrive(s.serve(0, 1, "a"), with(changed(report(1, 1, 1), "scrape_series_added", 1), sent{"a", 1})...)
			s.Judge(time.Now().Add(time.Second))
			if found := s.Problems(); len(found) > 0 == moves {
				t.Errorf("problems %q, the target moves: %v", found, moves)
			}
		})
	}
}

// TestScrapedAfterHandover: the new owner of a target scrapes it within two intervals of the old one's last scrape,
// whether the samples arrive or not.
func TestScrapedAfterHandover(t *testing.T) {
	for wait, problem := range map[time.Duration]string{2 * turn: "", 3 * turn: "and was not scraped between"} {
		synctest.Test(t, func(t *testing.T) {
			s := newStory()
			s.Started("other")
			instant := time.Now().Add(2*turn + time.Second)
			for i, host := range []string{"agent", "other"} {
				s.Shared(host, i, []Share{{Count: 1}, {Count: 2, From: instant}})
			}
			if s.owner() != 1 {
				t.Fatal("the pod of the story does not move; give it another name")
			}
			s.good(1)
			for range 2 {
				time.Sleep(turn)
				s.good(2)
			}
			time.Sleep(wait)
			s.page("other") // its samples do not arrive
			time.Sleep(2 * turn)
			s.page("other")
			s.arriveFrom("other", time.Now(), report(1, 0, 0)...)
			s.Judge(time.Now().Add(time.Second))
			s.check(t, problem)
		})
	}
}
