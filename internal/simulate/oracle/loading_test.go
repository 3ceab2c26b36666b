package oracle

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/envoy-scraper/envoy-scraper/internal/simulate/receiver"
	"github.com/envoy-scraper/envoy-scraper/internal/simulate/sidecar"
)

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

// TestReloadTakesLong: what an agent sends while it loads a configuration may be as that configuration says, however
// long that takes.
func TestReloadTakesLong(t *testing.T) {
	for _, asked := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			s, problem := newStory(), "that no configuration makes"
			next := s.configs[0].Rules
			next.ExternalLabels = labels.FromStrings("zone", "z1")
			if asked {
				next.Asked, problem = time.Now(), ""
			}
			time.Sleep(10 * time.Second)
			at := s.serve(0, 1, "a")
			for _, x := range with(report(1, 1, 1), sent{"a", 1}) {
				series := *s.seriesOf(x.name)
				series.Labels = labels.NewBuilder(series.Labels).Set("zone", "z1").Labels()
				series.Key = series.Labels.String()
				s.sink.Accept("agent", &series, receiver.Sample{Time: at.UnixMilli(), Bits: bitsOf(x.value)})
			}
			time.Sleep(20 * time.Second)
			s.Configure(next)
			time.Sleep(10 * time.Second)
			s.expect(t, problem, 0)
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
