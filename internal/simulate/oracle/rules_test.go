package oracle

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/common/model"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"

	"github.com/envoy-scraper/envoy-scraper/internal/simulate/receiver"
	"github.com/envoy-scraper/envoy-scraper/internal/simulate/sidecar"
)

// good serves a page with the series a, and has it arrive.
func (s *story) good(n float64) {
	s.arrive(s.serve(0, n, "a"), with(report(1, 1, 1), sent{"a", n})...)
}

// fail has a failed scrape arrive of which no page is known.
func (s *story) fail() { s.arrive(time.Now(), with(report(0, 0, 0), sent{"a", stale})...) }

// end has the last markers arrive.
func (s *story) end() {
	all := []sent{{"a", stale}}
	for _, r := range report(0, 0, 0) {
		all = append(all, sent{r.name, stale})
	}
	s.arrive(time.Now(), all...)
}

const turn = 10 * time.Second

// dieAfter ends the process some time after a page whose samples do not arrive.
func (s *story) dieAfter(pause time.Duration, how End) {
	s.good(1)
	s.pass(turn)
	s.serve(0, 2, "a")
	s.pass(pause)
	s.restart(how)
}

// TestRules: each rule notices what breaks it, and forgives what the simulation says is no mistake.
func TestRules(t *testing.T) {
	for name, tc := range map[string]struct {
		play    func(s *story)
		problem string // part of the first problem; empty: no problem
		lost    Losses
	}{
		"a late sample that had not arrived": {problem: "had not arrived before", play: func(s *story) {
			s.good(1)
			s.sink.Late("agent", s.seriesOf("a"), receiver.Sample{Time: time.Now().Add(-time.Second).UnixMilli()})
		}},
		"a late sample that had arrived": {lost: Losses{Repeated: 1}, play: func(s *story) {
			s.good(1)
			x := receiver.Sample{Time: time.Now().UnixMilli(), Bits: bitsOf(1)}
			s.sink.Late("agent", s.seriesOf("a"), x)
			s.sink.Late("agent", s.seriesOf("a"), x) // counts once
		}},
		"a late sample of a process that was killed": {lost: Losses{Forgiven: 6}, play: func(s *story) {
			s.dieAfter(time.Second/2, Killed)
			late := time.Now().Add(-turn - time.Second/2) // of the page that only the memory of the process had
			s.sink.Late("agent", s.seriesOf("a"), receiver.Sample{Time: late.UnixMilli()})
		}},
		"a late sample of a process that was stopped": {lost: Losses{Lost: 6}, play: func(s *story) {
			s.dieAfter(2*time.Second, Stopped)
			late := time.Now().Add(-turn - 2*time.Second)
			s.sink.Late("agent", s.seriesOf("a"), receiver.Sample{Time: late.UnixMilli()})
		}, problem: "had not arrived before"},
		"a late sample that was refused before": {play: func(s *story) {
			s.good(1)
			x := receiver.Sample{Time: time.Now().Add(-time.Second).UnixMilli()}
			s.sink.Refuse("agent", s.seriesOf("a"), x)
			s.sink.Late("agent", s.seriesOf("a"), x)
		}},
		"a refused sample that had arrived": {lost: Losses{Denied: 1}, play: func(s *story) {
			s.good(1)
			s.sink.Refuse("agent", s.seriesOf("a"), receiver.Sample{Time: time.Now().UnixMilli(), Bits: bitsOf(1)})
		}},
		"late, and rolled back before": {play: func(s *story) {
			s.good(1)
			x := receiver.Sample{Time: time.Now().Add(-time.Second).UnixMilli(), Bits: bitsOf(1)}
			s.sink.Besides("agent", s.seriesOf("a"), x, false)
			s.sink.Late("agent", s.seriesOf("a"), x)
		}},
		"a lost sample besides late ones": {lost: Losses{Mistaken: 1, Lost: 4}, play: func(s *story) {
			s.good(1)
			s.pass(turn)
			at := s.serve(0, 2, "a")
			s.arrive(at, sent{"up", 1})
			s.sink.Besides("agent", s.seriesOf("a"), receiver.Sample{Time: at.UnixMilli()}, true)
		}},
		"a series of no pod": {problem: "a series of no pod", play: func(s *story) {
			ls := labels.FromStrings("__name__", "a", "pod", "pod-9")
			s.sink.Accept("agent", &receiver.Series{Labels: ls, Key: ls.String()}, receiver.Sample{})
		}},
		"up=0 for no reason": {problem: "up=0 at", play: func(s *story) {
			s.good(1)
			s.pass(turn)
			s.fail()
		}},
		"up=0 while the pod is disturbed": {play: func(s *story) {
			s.good(1)
			s.pass(turn)
			s.Disturbed("pod-1", time.Now(), time.Now().Add(time.Second))
			s.fail()
		}},
		"only the markers of up=0": {lost: Losses{Lost: 5}, play: func(s *story) {
			s.good(1)
			s.pass(turn)
			s.Disturbed("pod-1", time.Now(), time.Now().Add(time.Second))
			s.arrive(time.Now(), sent{"a", stale})
		}},
		"up=0 while all pods are disturbed": {play: func(s *story) {
			s.good(1)
			s.pass(turn)
			s.Disturbed("", time.Now(), time.Now().Add(time.Second))
			s.fail()
		}},
		"up=0 while another pod is disturbed": {problem: "up=0 at", play: func(s *story) {
			s.Born("pod-2", labels.FromStrings("__address__", "10.0.0.2:15090", "__meta_pod", "pod-2"))
			s.good(1)
			s.pass(turn)
			s.Disturbed("pod-2", time.Now(), time.Now().Add(time.Second))
			s.fail()
			s.Gone("pod-2")
		}},
		"up=0 after the disturbance": {problem: "up=0 at", play: func(s *story) {
			s.good(1)
			s.Disturbed("pod-1", time.Now(), time.Now().Add(time.Second))
			s.pass(turn)
			s.fail()
		}},
		"twice in one interval": {problem: "within one scrape interval", play: func(s *story) {
			s.good(1)
			s.pass(turn / 4)
			s.good(2)
		}},
		"last markers of a pod that lives": {problem: "but it is there", play: func(s *story) {
			s.good(1)
			s.pass(turn)
			s.end()
		}},
		"no markers while discovery is blind": {play: func(s *story) {
			s.good(1)
			s.Gone("pod-1")
			s.Blind(time.Now(), time.Now().Add(time.Hour))
		}},
		"last markers at an endpoint that comes with their reload": {play: func(s *story) {
			rules := s.configs[0].Rules
			rules.Endpoints = nil
			s.Configure(rules)
			s.pass(turn)
			s.serve(0, 1, "a")
			s.pass(turn)
			s.remove()
			s.end()
		}},
		"no markers after a segment was removed": {play: func(s *story) {
			s.good(1)
			s.Gone("pod-1")
			s.pass(2 * time.Minute)
			s.Ended("agent", Killed)
			s.Started("agent")
			s.pass(time.Second)
			s.Damaged("agent", time.Now())
		}},
		"no markers after discovery was blind": {problem: "has no last markers", play: func(s *story) {
			s.good(1)
			s.Gone("pod-1")
			s.Blind(time.Now(), time.Now().Add(turn))
		}},
		"a page just before a kill": {lost: Losses{Forgiven: 6}, play: func(s *story) {
			s.dieAfter(time.Second/2, Killed)
		}},
		"a page two seconds before a kill": {lost: Losses{Lost: 6}, play: func(s *story) {
			s.dieAfter(2*time.Second, Killed)
		}},
		"a page two seconds before a power cut": {lost: Losses{Forgiven: 6}, play: func(s *story) {
			s.dieAfter(2*time.Second, PowerCut)
		}},
		"a page long before a power cut": {lost: Losses{Lost: 6}, play: func(s *story) {
			s.dieAfter(3*time.Second, PowerCut)
		}},
		"a kill after a failing disk": {lost: Losses{Forgiven: 6}, play: func(s *story) {
			s.Fragile(time.Now().Add(turn-time.Second), time.Now().Add(turn+time.Second))
			s.dieAfter(8*time.Second, Killed)
		}},
		"a stop after a failing disk": {lost: Losses{Lost: 6}, play: func(s *story) {
			s.Fragile(time.Now().Add(turn-time.Second), time.Now().Add(turn+time.Second))
			s.dieAfter(8*time.Second, Stopped)
		}},
		"last markers after a reload that keeps the target": {problem: "but it is there", play: func(s *story) {
			s.good(1)
			s.drop("b")
			s.pass(turn)
			s.end()
		}},
		"no last markers after a reload that replaces the target": {
			problem: "has no last markers", play: func(s *story) {
				s.good(1)
				s.pass(turn / 2)
				s.remove()
				s.pass(5 * time.Minute)
			}},
		"last markers after a reload that replaces the target": {play: func(s *story) {
			s.good(1)
			s.pass(turn / 2)
			s.remove()
			s.pass(turn)
			s.end()
		}},
		"a second configuration": {problem: "2, want NaN", play: func(s *story) {
			s.good(1)
			s.pass(turn)
			s.drop("a")
			s.pass(turn)
			s.good(2)
		}},
		"a configuration that comes in the millisecond of a scrape": {play: func(s *story) {
			s.good(1)
			s.pass(turn + 200*time.Microsecond)
			s.drop("a")
			s.pass(300 * time.Microsecond)
			s.arrive(s.serve(0, 2, "a"), with(report(1, 1, 0), sent{"a", stale})...)
		}},
		"a second configuration that is obeyed": {play: func(s *story) {
			s.good(1)
			s.pass(turn)
			s.drop("a")
			s.pass(turn)
			s.arrive(s.serve(0, 2, "a"), with(report(1, 1, 0), sent{"a", stale})...)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStoryAfter(5 * time.Minute) // as long as a change of the configuration may matter
				s.pass = func(d time.Duration) { time.Sleep(d) }
				tc.play(s)
				if s.alive() { // so that it is not found forgotten
					time.Sleep(20 * time.Second)
				} else {
					time.Sleep(5 * time.Minute)
				}
				s.Judge(time.Now())
				first := strings.Join(s.Problems(), "\n")
				if tc.problem == "" && first != "" || !strings.Contains(first, tc.problem) {
					t.Errorf("problems %q, want %q", first, tc.problem)
				}
				if got, examples := s.Losses("r"); got != tc.lost {
					t.Errorf("%+v, want %+v: %q", got, tc.lost, examples)
				}
			})
		})
	}
}

// alive reports whether the pod lives.
func (s *story) alive() bool { return s.pods["pod-1"].to.IsZero() }

// restart ends the process, and starts another one, which scrapes again after a turn.
func (s *story) restart(how End) {
	s.Ended("agent", how)
	s.Started("agent")
	s.pass(turn)
	s.good(9)
}

// drop brings a configuration in force that drops the series with a name.
func (s *story) drop(name string) {
	job := *s.configs[0].Jobs[0]
	r := *job.MetricRelabelConfigs[0]
	r.Regex = relabel.MustNewRegexp(name)
	job.MetricRelabelConfigs = append(slices.Clone(job.MetricRelabelConfigs), &r)
	s.Configure(Rules{Jobs: []*promconfig.ScrapeConfig{&job}, Endpoints: s.configs[0].Endpoints})
}

// remove brings a configuration in force that no pod is a target of.
func (s *story) remove() {
	job := *s.configs[0].Jobs[0]
	r := *job.MetricRelabelConfigs[0]
	r.SourceLabels, r.Regex = nil, relabel.MustNewRegexp("")
	job.RelabelConfigs = append(slices.Clone(job.RelabelConfigs), &r)
	s.Configure(Rules{Jobs: []*promconfig.ScrapeConfig{&job}, Endpoints: s.configs[0].Endpoints})
}

// TestScrapesAreCounted: scrapes and failures are counted for the process that made them, once for all receivers.
func TestScrapesAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStory()
		time.Sleep(turn)
		s.good(1)
		time.Sleep(turn)
		s.arrive(s.serve(sidecar.Unavailable, 0), with(report(0, 0, 0), sent{"a", stale})...)
		time.Sleep(turn)
		s.serve(0, 3, "a", "b") // lost
		time.Sleep(2 * time.Minute)
		s.Judge(time.Now())
		if got, want := s.Scrapes("agent"), (Scrapes{Done: 3, Failed: 1, Samples: 3}); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
		s.Ended("agent", Stopped)
		s.Started("agent")
		if got := s.Scrapes("agent"); got != (Scrapes{}) {
			t.Errorf("a new process has %+v", got)
		}
	})
}

// TestABatchThatOneReceiverLacks: the batch of a failed scrape has no page, so only another receiver shows that it is
// missing. A power cut 3 s after the scrape began may have taken it if the scrape took a second.
func TestABatchThatOneReceiverLacks(t *testing.T) {
	for name, tc := range map[string]struct {
		took float64 // seconds
		cut  bool
		want Losses
	}{
		"an agent that runs":           {0.01, false, Losses{Lost: len(reportNames)}},
		"a short scrape, a power cut":  {0.01, true, Losses{Lost: len(reportNames)}},
		"a longer scrape, a power cut": {1, true, Losses{Forgiven: len(reportNames)}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStoryOfTwo()
				s.sink = s.Sink("r")
				s.serve(sidecar.Unavailable, 0)
				s.arrive(time.Now(), changed(report(0, 0, 0), "scrape_duration_seconds", tc.took)...)
				time.Sleep(3 * time.Second)
				if tc.cut {
					s.Ended("agent", PowerCut)
					s.Started("agent")
				}
				time.Sleep(17 * time.Second)
				s.Judge(time.Now())
				if got, _ := s.Losses("other"); got != tc.want {
					t.Errorf("%+v, want %+v", got, tc.want)
				}
				if got, _ := s.Losses("r"); got != (Losses{}) {
					t.Errorf("%+v, want nothing", got)
				}
			})
		})
	}
}

// TestReceiverThatIsNew: a batch whose scrape has ended when its receiver has just become an endpoint is of the
// configuration that did that, and not of an older one that had the receiver, too.
func TestReceiverThatIsNew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStory()
		now := s.configs[0].Rules
		short := *now.Jobs[0]
		short.ScrapeTimeout = model.Duration(2 * time.Second)
		for _, r := range []Rules{
			{Jobs: []*promconfig.ScrapeConfig{&short}, Endpoints: now.Endpoints}, {Jobs: now.Jobs},
		} {
			time.Sleep(time.Minute)
			s.Configure(r)
		}
		time.Sleep(time.Minute)
		at := time.Now()
		s.Disturbed("pod-1", at, at.Add(5*time.Second))
		time.Sleep(4 * time.Second)
		s.Configure(now)
		time.Sleep(time.Second)
		s.arrive(at, changed(report(0, 0, 0), "scrape_duration_seconds", 5)...)
		s.Judge(time.Now())
		s.check(t, "")
	})
}

// TestReceiverComesBack: what a receiver gets again hours after it was removed is forgotten. If it was not removed, it
// must not come.
func TestReceiverComesBack(t *testing.T) {
	for _, removed := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			s := newStory()
			at, with, without := time.Now(), s.configs[0].Rules, s.configs[0].Rules
			without.Endpoints = nil
			s.good(1)
			s.Gone("pod-1")
			time.Sleep(turn)
			s.end()
			time.Sleep(time.Second)
			if removed {
				s.Configure(without)
			}
			time.Sleep(2 * time.Hour)
			s.Judge(time.Now())
			s.Configure(with)
			s.arrive(at, sent{"a", 1})
			problem := "a series of no pod"
			if removed {
				problem = ""
			}
			s.check(t, problem)
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

// TestReceiverGoes: a batch of which a part has arrived is of a configuration with its receiver, also if the receiver
// is no endpoint any more at the end of the scrape.
func TestReceiverGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStory()
		s.good(1)
		time.Sleep(turn)
		at, without := s.serve(0, 2, "a", "b", "c"), s.configs[0].Rules
		s.arrive(at, sent{"up", 1}, sent{"a", 2}) // two of eight
		time.Sleep(time.Second)
		without.Endpoints = nil
		s.Configure(without)
		time.Sleep(turn)
		s.expect(t, "", 6)
	})
}
