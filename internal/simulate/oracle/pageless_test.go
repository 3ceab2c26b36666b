package oracle

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/envoy-scraper/envoy-scraper/internal/simulate/sidecar"
)

// newStoryOfTwo returns a story of the receivers r and other.
func newStoryOfTwo() *story {
	s := newStory()
	rules := s.configs[0].Rules
	rules.Endpoints = []Endpoint{{Receiver: "r"}, {Receiver: "other"}}
	s.Oracle = New("r", "other")
	s.Configure(rules)
	s.Started("agent")
	s.Born("pod-1", labels.FromStrings("__address__", "10.0.0.1:15090", "__meta_pod", "pod-1"))
	return s
}

// arriveAt has samples arrive at receivers.
func (s *story) arriveAt(receivers []string, at time.Time, samples ...sent) {
	for _, r := range receivers {
		s.sink = s.Sink(r)
		s.arrive(at, samples...)
	}
}

// TestMarkersThatOneReceiverLacks: one of two receivers lacks a batch without a page. Its markers are lost once, and
// are not awaited in a later batch.
func TestMarkersThatOneReceiverLacks(t *testing.T) {
	both, one := []string{"r", "other"}, []string{"other"}
	fails := func(s *story, at []string, markers ...string) {
		batch := report(0, 0, 0)
		for _, m := range markers {
			batch = append(batch, sent{m, stale})
		}
		s.arriveAt(at, s.serve(sidecar.Unavailable, 0), batch...)
		s.pass(turn)
	}
	for name, tc := range map[string]struct {
		play    func(s *story)
		problem string
		lost    int
	}{
		"none":                          {func(s *story) { fails(s, both, "a"); fails(s, both) }, "", 0},
		"a failed scrape":               {func(s *story) { fails(s, one, "a"); fails(s, both) }, "", 6},
		"a failed scrape, marked later": {func(s *story) { fails(s, one, "a"); fails(s, both, "a") }, "no sample", 6},
		"a page and a failed scrape after it": {func(s *story) {
			s.arriveAt(one, s.serve(0, 1, "a", "b"), with(report(1, 2, 2), sent{"a", 1}, sent{"b", 1})...)
			s.pass(turn)
			fails(s, one, "a", "b")
			fails(s, both)
		}, "", 7 + 7},
		"the last markers": {func(s *story) {
			s.Gone("pod-1")
			s.arriveAt(one, time.Now(), ends("a")...)
			s.pass(10 * time.Minute)
		}, "", 6},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStoryOfTwo()
				s.pass = time.Sleep
				s.arriveAt(both, s.serve(0, 1, "a"), with(report(1, 1, 1), sent{"a", 1})...)
				time.Sleep(turn)
				tc.play(s)
				time.Sleep(time.Second)
				s.expect(t, tc.problem, tc.lost)
			})
		})
	}
}
