package oracle

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/common/model"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"
	"github.com/prometheus/prometheus/model/value"

	"github.com/envoy-scraper/envoy-scraper/internal/simulate/receiver"
	"github.com/envoy-scraper/envoy-scraper/internal/simulate/sidecar"
)

// sent is one sample that the receiver stores.
type sent struct {
	name  string
	value float64
}

// stale is the value of a staleness marker.
var stale = math.Float64frombits(value.StaleNaN)

// story drives an oracle: pages are served, and samples arrive.
type story struct {
	*Oracle
	sink   receiver.Sink
	pod    string // whose pages are served and whose samples arrive
	series map[string]*receiver.Series
	lines  map[string]*sidecar.Series
	pass   func(time.Duration) // lets time pass
}

func newStory() *story { return newStoryAfter(0) }

// newStoryAfter returns a story whose process and pod begin some time after the configuration came in force.
func newStoryAfter(pause time.Duration) *story {
	s := &story{Oracle: New("r"), pod: "pod-1", series: map[string]*receiver.Series{},
		lines: map[string]*sidecar.Series{}}
	s.sink = s.Sink("r")
	job := &promconfig.ScrapeConfig{
		JobName: "envoy", Scheme: "http", MetricsPath: "/stats/prometheus",
		ScrapeInterval: model.Duration(10 * time.Second), ScrapeTimeout: model.Duration(5 * time.Second),
		RelabelConfigs: []*relabel.Config{rule("__meta_pod", "pod", relabel.Replace)},
		MetricRelabelConfigs: []*relabel.Config{{SourceLabels: model.LabelNames{"__name__"},
			Regex: relabel.MustNewRegexp("dropped"), Action: relabel.Drop, NameValidationScheme: model.UTF8Validation}},
	}
	s.Configure(Rules{Jobs: []*promconfig.ScrapeConfig{job}, Endpoints: []Endpoint{{Receiver: "r"}}})
	<-time.After(pause)
	s.Started("agent")
	s.Born("pod-1", labels.FromStrings("__address__", "10.0.0.1:15090", "__meta_pod", "pod-1"))
	return s
}

func rule(source, target string, action relabel.Action) *relabel.Config {
	r := relabel.DefaultRelabelConfig
	r.SourceLabels, r.TargetLabel, r.Action = model.LabelNames{model.LabelName(source)}, target, action
	r.NameValidationScheme = model.UTF8Validation
	return &r
}

// examples describes the first losses.
func (s *story) examples() []string {
	_, all := s.Losses("r")
	return all
}

// serve serves a page with series of these names, each with the value n, and returns its time.
func (s *story) serve(fault sidecar.Kind, n float64, names ...string) time.Time {
	p := &sidecar.Page{Status: 200, Fault: fault}
	if fault == sidecar.Unavailable {
		p.Status, names = 503, nil
	}
	return s.servePage(p, n, names...)
}

// servePage serves a page to which it adds series of these names, each with the value n, and returns its time.
func (s *story) servePage(p *sidecar.Page, n float64, names ...string) time.Time {
	p.Client, p.Start, p.End, p.Whole = "agent:1", time.Now(), time.Now(), true
	for _, name := range names {
		p.Bytes += len(name + " 1\n")
		if s.lines[name] == nil {
			s.lines[name] = &sidecar.Series{Name: name, Labels: labels.FromStrings("__name__", name)}
		}
		p.Samples = append(p.Samples, sidecar.Sample{Series: s.lines[name], Value: n})
	}
	s.Served(s.pod, p)
	return p.Start
}

// arrive stores samples.
func (s *story) arrive(at time.Time, samples ...sent) { s.arriveFrom("agent", at, samples...) }

// arriveFrom stores samples of an agent.
func (s *story) arriveFrom(agent string, at time.Time, samples ...sent) {
	for _, x := range samples {
		s.sink.Accept(agent, s.seriesOf(x.name), receiver.Sample{Time: at.UnixMilli(), Bits: bitsOf(x.value)})
	}
}

// seriesOf returns the series of the pod with a name.
func (s *story) seriesOf(name string) *receiver.Series {
	ls := labels.FromStrings("__name__", name, "instance", "10.0.0.1:15090", "job", "envoy", "pod", s.pod)
	if s.series[ls.String()] == nil {
		s.series[ls.String()] = &receiver.Series{Labels: ls, Key: ls.String()}
	}
	return s.series[ls.String()]
}

// report returns the samples of the report of a scrape.
func report(up, scraped, kept float64) []sent {
	return []sent{{"up", up}, {"scrape_duration_seconds", 0.01}, {"scrape_samples_scraped", scraped},
		{"scrape_samples_post_metric_relabeling", kept}, {"scrape_series_added", 0}}
}

func with(more []sent, samples ...sent) []sent { return append(samples, more...) }

// without returns the samples without the one with a name.
func without(samples []sent, name string) []sent {
	return slices.DeleteFunc(slices.Clone(samples), func(s sent) bool { return s.name == name })
}

// changed returns the samples with another value of the one with a name.
func changed(samples []sent, name string, v float64) []sent {
	return append(without(samples, name), sent{name, v})
}

// TestOracle: a correct story has no problem, and each mistake in it has one.
func TestOracle(t *testing.T) {
	for name, tc := range map[string]struct {
		edit    func(step string, samples []sent) []sent // of what arrives; nil: nothing is changed
		problem string                                   // part of a problem; empty: no problem
		lost    int
	}{
		"correct": {},
		"a value differs": {problem: ": 7, want 2", edit: func(step string, x []sent) []sent {
			return replaceIf(step == "second", x, changed(x, "a", 7))
		}},
		"a sample is missing": {lost: 1, edit: func(step string, x []sent) []sent {
			return replaceIf(step == "second", x, without(x, "a"))
		}},
		"a marker is missing": {lost: 1, edit: func(step string, x []sent) []sent {
			return replaceIf(step == "second", x, without(x, "b"))
		}},
		"a marker too many": {problem: ": NaN, want 2", edit: func(step string, x []sent) []sent {
			return replaceIf(step == "second", x, changed(x, "a", stale))
		}},
		"a marker after a failure is missing": {lost: 1, edit: func(step string, x []sent) []sent {
			return replaceIf(step == "failed", x, without(x, "a"))
		}},
		"a page does not arrive": {lost: 7, edit: func(step string, x []sent) []sent { // its marker of b, too
			return replaceIf(step == "second", x, nil)
		}},
		"a dropped series is sent": {problem: ": 2, want no sample", edit: func(step string, x []sent) []sent {
			return replaceIf(step == "second", x, with(x, sent{"dropped", 2}))
		}},
		"up without a page": {problem: "no page was served", edit: func(step string, x []sent) []sent {
			return replaceIf(step == "failed", x, changed(x, "up", 1))
		}},
		"the report is wrong": {problem: "scrape_samples_scraped", edit: func(step string, x []sent) []sent {
			return replaceIf(step == "second", x, changed(x, "scrape_samples_scraped", 1))
		}},
		"series_added of a page like the one before": {problem: "scrape_series_added",
			edit: func(step string, x []sent) []sent {
				return replaceIf(step == "again", x, changed(x, "scrape_series_added", 1))
			}},
		"the last markers are missing": {problem: "has no last markers", edit: func(step string, x []sent) []sent {
			return replaceIf(step == "end", x, nil)
		}},
		"no up": {lost: 1, edit: func(step string, x []sent) []sent {
			return replaceIf(step == "second", x, without(x, "up"))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStory()
				arrive := func(step string, at time.Time, samples []sent) {
					if tc.edit != nil {
						samples = tc.edit(step, samples)
					}
					s.arrive(at, samples...)
				}
				pass := func() { time.Sleep(10 * time.Second) }
				at := s.serve(0, 1, "a", "b", "dropped")
				arrive("first", at, with(report(1, 3, 2), sent{"a", 1}, sent{"b", 1}))
				pass()
				at = s.serve(0, 2, "a", "dropped")
				arrive("second", at, with(report(1, 2, 1), sent{"a", 2}, sent{"b", stale}))
				pass()
				at = s.serve(0, 3, "a", "dropped")
				arrive("again", at, with(report(1, 2, 1), sent{"a", 3}))
				pass()
				at = s.serve(sidecar.Unavailable, 0)
				arrive("failed", at, with(report(0, 0, 0), sent{"a", stale}))
				pass()
				at = s.serve(0, 5, "a")
				arrive("back", at, with(report(1, 1, 1), sent{"a", 5}))
				pass()
				at = s.serve(0, 6, "a")
				arrive("last", at, with(report(1, 1, 1), sent{"a", 6}))
				s.Gone("pod-1")
				pass()
				end := []sent{{"a", stale}}
				for _, r := range report(0, 0, 0) {
					end = append(end, sent{r.name, stale})
				}
				arrive("end", time.Now(), end)
				time.Sleep(5 * time.Minute)
				s.Judge(time.Now())
				problems, lost := s.Problems(), s.Counts().Lost["r"]
				first := strings.Join(problems, "\n")
				if tc.problem == "" && first != "" || !strings.Contains(first, tc.problem) {
					t.Errorf("problems %q, want %q", first, tc.problem)
				}
				if tc.lost >= 0 && lost != tc.lost {
					t.Errorf("%d samples lost, want %d: %q", lost, tc.lost, s.examples())
				}
				if tc.problem == "" && tc.lost == 0 && s.Counts().Batches != 7 {
					t.Errorf("%+v, want 7 batches", s.Counts())
				}
			})
		})
	}
}

func replaceIf(here bool, samples, instead []sent) []sent {
	if here {
		return instead
	}
	return samples
}

func bitsOf(v float64) uint64 { return exactly(v).bits }

// TestAProcessForgets: a new process of an agent sends no markers for what the one before knew, and a scrape that runs
// at a kill may be lost.
func TestAProcessForgets(t *testing.T) {
	for _, killed := range []bool{false, true} {
		t.Run(fmt.Sprint("killed ", killed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStory()
				s.arrive(s.serve(0, 1, "a", "b"), with(report(1, 2, 2), sent{"a", 1}, sent{"b", 1})...)
				time.Sleep(10 * time.Second)
				s.serve(0, 2, "a", "b") // and nothing of it arrives
				time.Sleep(100 * time.Millisecond)
				if killed {
					s.Ended("agent", Killed)
					s.Started("agent")
				}
				time.Sleep(10 * time.Second)
				s.arrive(s.serve(0, 3, "a"), with(report(1, 1, 1), sent{"a", 3})...)
				time.Sleep(2 * time.Minute)
				s.Judge(time.Now())
				want := 8 // the page of 7 samples, and a marker
				if killed {
					want = 0
				}
				if lost := s.Counts().Lost["r"]; lost != want {
					t.Errorf("%d samples lost, want %d: %q", lost, want, s.examples())
				}
			})
		})
	}
}
