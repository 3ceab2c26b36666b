package scrape

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// sidecar answers as Envoy does: of its stats it prints those in whose raw names the parameter filter is found.
type sidecar struct {
	stats  map[string]string // raw name -> line
	asked  []string          // filters; empty: the whole page
	answer func(filter string) (page string, status int, err error)
}

func (s *sidecar) page(filter string) string {
	var lines []string
	re := regexp.MustCompile(filter)
	for raw, line := range s.stats {
		if re.MatchString(raw) {
			lines = append(lines, line)
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}

func (s *sidecar) RoundTrip(req *http.Request) (*http.Response, error) {
	filter := req.URL.Query().Get("filter")
	s.asked = append(s.asked, filter)
	text, status, err := s.page(filter), http.StatusOK, error(nil)
	if s.answer != nil {
		text, status, err = s.answer(filter)
	}
	if err != nil {
		return nil, err
	}
	return &http.Response{
		StatusCode: status, Status: fmt.Sprint(status, " ", http.StatusText(status)),
		Header: http.Header{"Content-Type": {"text/plain; charset=UTF-8"}}, Body: io.NopCloser(strings.NewReader(text)),
	}, nil
}

// set gives the sidecar a cluster's stats, or takes them away.
func (s *sidecar) set(cluster string, there bool, value int) {
	for _, stat := range []string{"upstream_rq_total", "membership_healthy"} {
		raw := "cluster." + cluster + "." + stat
		if delete(s.stats, raw); there {
			s.stats[raw] = fmt.Sprintf("envoy_cluster_%s{envoy_cluster_name=%q} %d\n", stat, cluster, value)
		}
	}
}

// asking is pools with one target that is asked with filters, and its loop.
type asking struct {
	*rig
	envoy *sidecar
	loop  *loop
	log   *observer.ObservedLogs
}

const keepIstio = "  metrics_path: /stats/prometheus\n" +
	"  metric_relabel_configs: [{source_labels: [__name__], action: keep, " +
	"regex: 'istio_.*|envoy_cluster_membership_.*'}]\n"

func newAsking(t *testing.T, pushDown bool, yaml string) *asking {
	t.Helper()
	core, log := observer.New(zap.InfoLevel)
	table := series.NewTable()
	a := &asking{envoy: &sidecar{stats: map[string]string{}}, log: log}
	s := &sink{table: table}
	a.rig = &rig{Pools: New(table, s, Options{transport: a.envoy, PushDown: func(string) bool { return pushDown }},
		zap.New(core), nil), sink: s, table: table}
	a.envoy.stats["istiocustom.istio_requests_total.reporter.source"] = "istio_requests_total{reporter=\"source\"} 1\n"
	a.envoy.set("a", true, 1)
	a.envoy.set("b", true, 1)
	a.apply(t, job(t, yaml))
	a.discover(at("a:1"))
	for _, l := range a.jobs["envoy"].loops {
		a.loop = l
	}
	return a
}

func (a *asking) scrape(t *testing.T, n int) {
	t.Helper()
	for range n {
		a.loop.scrape(t.Context(), nil)
	}
}

// last returns the last batch without those report series that tell what was read.
func (a *asking) last() map[string]string {
	out := maps.Clone(a.sink.got[len(a.sink.got)-1].samples)
	maps.DeleteFunc(out, func(series, _ string) bool {
		return strings.Contains(series, `"scrape_duration_seconds"`) ||
			strings.Contains(series, `"scrape_samples_scraped"`)
	})
	return out
}

func (a *asking) job() *jobState { return a.jobs["envoy"].state }

// whole lists which of the requests so far were for the whole page.
func (a *asking) whole() (numbers []int) {
	for i, filter := range a.envoy.asked {
		if filter == "" {
			numbers = append(numbers, i)
		}
	}
	return numbers
}

func (a *asking) faults(reason string) float64 {
	return testutil.ToFloat64(a.env.metrics.filterFaults.WithLabelValues("envoy", reason))
}

// end releases what the loop holds, and checks that nothing is left.
func (a *asking) end(t *testing.T) {
	t.Helper()
	a.loop.release()
	if n := a.table.Len(); n > 0 {
		t.Errorf("%d series are left", n)
	}
}

func TestPagesAreFilteredButEveryFortieth(t *testing.T) {
	a := newAsking(t, true, keepIstio)
	defer a.end(t)
	a.scrape(t, 1)
	shape := a.loop.traits.shape
	a.scrape(t, 199)
	if a.loop.traits.shape != shape {
		t.Error("lines were learned again, so the target looks like another one")
	}
	whole := a.whole()
	if len(a.envoy.asked) != 200 || len(whole) < 6 || len(whole) > 7 || whole[0] != 0 || whole[1] > wholeEvery-1 {
		t.Fatalf("%d requests, whole pages %v", len(a.envoy.asked), whole)
	}
	for i := range whole[2:] {
		if whole[i+2]-whole[i+1] != wholeEvery {
			t.Errorf("whole pages %v: not every %d", whole, wholeEvery)
		}
	}
	s := a.loop.asStatus()
	if s.Filter == "" || s.WhyWhole != "" || s.Whole.Samples != 5 || s.Samples != 3 || s.Kept != 3 ||
		s.PageBytes >= s.Whole.Bytes {
		t.Errorf("status %+v", s)
	}
	if a.envoy.asked[1] != s.Filter {
		t.Errorf("asked with %q, shown %q", a.envoy.asked[1], s.Filter)
	}
}

// TestFilteredScrapesSendTheSame compares what is sent with filters and without, scrape by scrape, while series come
// and go, pages break off, and the sidecar is away for a while.
func TestFilteredScrapesSendTheSame(t *testing.T) {
	for name, rules := range map[string]string{
		"keep": keepIstio,
		"drops alone": "  metrics_path: /stats/prometheus\n  metric_relabel_configs: [" +
			"{source_labels: [__name__], regex: 'envoy_cluster_.*', action: drop}]\n",
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(20) {
				rng := rand.New(rand.NewPCG(seed, 7))
				on, off := newAsking(t, true, rules), newAsking(t, false, rules)
				var broken error
				for step := range 150 {
					cluster := string(rune('a' + rng.IntN(8)))
					there, value := rng.IntN(2) == 0, rng.IntN(100)
					if rng.IntN(20) == 0 {
						broken = errors.New("read: connection reset by peer")
					} else if rng.IntN(2) == 0 {
						broken = nil
					}
					for _, a := range []*asking{on, off} {
						if step%3 == 0 {
							a.envoy.set(cluster, there, value)
						}
						a.envoy.answer = func(filter string) (string, int, error) {
							return a.envoy.page(filter), http.StatusOK, broken
						}
						a.scrape(t, 1)
					}
					if got, want := on.last(), off.last(); !maps.Equal(got, want) {
						t.Fatalf("seed %d, step %d: sent %v, want %v", seed, step, got, want)
					}
				}
				if n := len(on.whole()); n == len(on.envoy.asked) || len(off.whole()) != len(off.envoy.asked) {
					t.Fatalf("%d of %d pages were whole with push_down", n, len(on.envoy.asked))
				}
				if lost := on.faults(faultLost); lost > 0 {
					t.Fatalf("%v series were lost", lost)
				}
			}
		})
	}
}

// TestAFilterThatLosesASeriesIsSwitchedOff has a stat of which Envoy cuts a label out of the middle of a word.
func TestAFilterThatLosesASeriesIsSwitchedOff(t *testing.T) {
	a := newAsking(t, true, keepIstio)
	defer func() { a.end(t) }()
	a.envoy.stats["cluster.c.memberlabel.ship_x"] = "envoy_cluster_membership_x 1\n"
	lost := named("envoy_cluster_membership_x")
	for n := range 60 {
		a.scrape(t, 1)
		if got := a.last()[lost]; got != "1" {
			t.Fatalf("scrape %d: %s = %q", n, lost, got)
		}
		if n == 0 {
			continue
		}
		if a.last()[named("scrape_series_added")] != "0" {
			t.Fatalf("scrape %d: a series counts as added", n)
		}
	}
	// Whole; filtered and whole again, twice; from then on whole.
	if asked := a.envoy.asked; len(asked) != 62 || asked[1] == "" || asked[2] != "" || asked[3] == "" ||
		len(a.whole()) != 60 {
		t.Errorf("asked %d times, whole %v", len(asked), a.whole())
	}
	if a.faults(faultLost) != 2 {
		t.Errorf("%v losses are counted, want 2", a.faults(faultLost))
	}
	entries := a.log.FilterField(zap.String("family", "envoy_cluster_membership_x")).All()
	if len(entries) != 1 || entries[0].ContextMap()["filter"] != a.envoy.asked[1] {
		t.Errorf("log: %v", a.log.All())
	}
	if s := a.loop.asStatus(); s.Filter != "" || !strings.Contains(s.WhyWhole, "envoy_cluster_membership_x") {
		t.Errorf("filter %q, because %q", s.Filter, s.WhyWhole)
	}
	a.apply(t, job(t, keepIstio)) // a reload of the same file
	a.scrape(t, 2)
	last := a.envoy.asked[len(a.envoy.asked)-3:]
	if !slices.ContainsFunc(last, func(f string) bool { return f != "" }) {
		t.Error("a reload does not try the filter again")
	}
}

// TestATargetThatRefusesAFilter asks targets that answer the filter badly, and the whole page well.
func TestATargetThatRefusesAFilter(t *testing.T) {
	for name, c := range map[string]struct {
		page    string
		status  int
		err     error
		refused refusal
		lost    int // scrapes that failed
	}{
		"400":           {"Invalid re2 regex", http.StatusBadRequest, nil, refusedAnswer, 0},
		"404":           {"no such path", http.StatusNotFound, nil, refusedAnswer, 0},
		"431":           {"too large", http.StatusRequestHeaderFieldsTooLarge, nil, refusedAnswer, 0},
		"empty":         {"", http.StatusOK, nil, refusedAnswer, 0},
		"no exposition": {"<html>", http.StatusOK, nil, refusedAnswer, 0},
		"503":           {"", http.StatusServiceUnavailable, nil, refusedFailed, failuresToStop},
		"broken off":    {"", 0, errors.New("read: connection reset by peer"), refusedFailed, failuresToStop},
		"no answer":     {"", 0, context.DeadlineExceeded, refusedFailed, failuresToStop},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAsking(t, true, keepIstio)
			a.envoy.answer = func(filter string) (string, int, error) {
				if filter != "" {
					return c.page, c.status, c.err
				}
				return a.envoy.page(""), http.StatusOK, nil
			}
			failed := 0
			for range 100 {
				if a.scrape(t, 1); a.last()[named("up")] != "1" {
					failed++
				}
			}
			filtered := len(a.envoy.asked) - len(a.whole())
			if failed != c.lost || a.loop.turns.refusal != c.refused || filtered != max(1, c.lost) {
				t.Errorf("%d scrapes failed, want %d; refusal %d, want %d; asked %d times with the filter",
					failed, c.lost, a.loop.turns.refusal, c.refused, filtered)
			}
			if s := a.loop.asStatus(); s.Filter != "" || s.WhyWhole != c.refused.String() {
				t.Errorf("filter %q, because %q", s.Filter, s.WhyWhole)
			}
			fault := map[refusal]string{refusedAnswer: faultRefused, refusedFailed: faultFailed}[c.refused]
			if a.faults(fault) != 1 || a.log.FilterLevelExact(zap.WarnLevel).FilterMessageSnippet("filter").Len() != 1 {
				t.Errorf("%v faults %s are counted; log: %v", a.faults(fault), fault, a.log.All())
			}
			a.envoy.answer = nil
			a.apply(t, job(t, keepIstio)) // a reload of the same file
			a.scrape(t, 3)
			if s := a.loop.asStatus(); s.Filter == "" {
				t.Errorf("after a reload pages are whole, because %s", s.WhyWhole)
			}
		})
	}
}

// TestWholePagesThatFailDoNotFailTheScrape: a page that is too large, or has a bad line, is read whole to check the
// filter. Without the check the scrape would be good.
func TestWholePagesThatFailDoNotFailTheScrape(t *testing.T) {
	for name, bad := range map[string]string{
		"too large":  strings.Repeat("envoy_server_live 1\n", 1000),
		"a bad line": "envoy_server_live\n",
	} {
		t.Run(name, func(t *testing.T) {
			a := newAsking(t, true, keepIstio+"  body_size_limit: 10KB\n")
			a.scrape(t, 1)
			a.envoy.stats["server.live"] = bad
			a.scrape(t, 100)
			for n := range a.sink.got {
				if a.sink.got[n].samples[named("up")] != "1" || len(a.sink.got[n].samples) != 8 {
					t.Fatalf("scrape %d: %v", n, a.sink.got[n].samples)
				}
			}
			if n := len(a.whole()); n < 3 || n > 4 || a.faults(faultWhole) != float64(n-1) {
				t.Errorf("%v bad whole pages are counted, and %d whole ones were read", a.faults(faultWhole), n)
			}
		})
	}
}

// TestSeriesThatVanishCostFewPages: where a series vanishes between any two scrapes, pages are filtered all the same.
func TestSeriesThatVanishCostFewPages(t *testing.T) {
	a := newAsking(t, true, keepIstio)
	defer a.end(t)
	for n := range 100 {
		a.envoy.set(fmt.Sprint("c", n), true, 1)
		a.envoy.set(fmt.Sprint("c", n-1), false, 1)
		a.scrape(t, 1)
	}
	if whole := len(a.whole()); whole > 8 || len(a.envoy.asked) > 100+whole {
		t.Errorf("%d requests for 100 scrapes, %d of them for the whole page", len(a.envoy.asked), whole)
	}
	if lost := a.faults(faultLost); lost > 0 {
		t.Errorf("%v series count as lost", lost)
	}
}

// TestATargetThatIsBadIsAskedOnce: if neither page is good, only the whole one is asked for.
func TestATargetThatIsBadIsAskedOnce(t *testing.T) {
	a := newAsking(t, true, keepIstio)
	defer a.end(t)
	a.scrape(t, 3)
	a.envoy.answer = func(string) (string, int, error) { return "", http.StatusNotFound, nil }
	a.scrape(t, 20)
	if n := len(a.envoy.asked); n != 3+2+19 {
		t.Errorf("%d requests for 23 scrapes, of which 20 failed", n)
	}
	a.envoy.answer = nil
	a.scrape(t, 2)
	if last := a.envoy.asked[len(a.envoy.asked)-2:]; last[0] != "" || last[1] == "" {
		t.Errorf("asked with %q when it was good again", last)
	}
}

// TestOwnFailuresDoNotSpeakAgainstAFilter: what this process lacks, and limits that the filter does not change.
func TestOwnFailuresDoNotSpeakAgainstAFilter(t *testing.T) {
	a := newAsking(t, true, keepIstio)
	defer a.end(t)
	a.envoy.answer = func(filter string) (string, int, error) {
		if filter != "" {
			return "", 0, syscall.EMFILE
		}
		return a.envoy.page(""), http.StatusOK, nil
	}
	a.scrape(t, 2*wholeEvery)
	if a.loop.turns.refusal != refusedNot || a.loop.turns.failures > 0 {
		t.Errorf("refusal %d after %d failures", a.loop.turns.refusal, a.loop.turns.failures)
	}
}

// TestALatePageIsNotDoubted: if most of the timeout is over, the other page may not be read in time.
func TestALatePageIsNotDoubted(t *testing.T) {
	a := newAsking(t, true, keepIstio)
	defer a.end(t)
	a.scrape(t, 1)
	a.envoy.set("a", false, 0)
	for _, c := range []struct {
		left  time.Duration
		doubt bool
	}{{2 * time.Second, false}, {4 * time.Second, true}} { // of 5 s
		ctx, cancel := context.WithTimeout(t.Context(), c.left)
		r := a.loop.readPage(ctx, time.Now(), time.Now(), true)
		if _, doubt := a.loop.doubts(ctx, r); doubt != c.doubt {
			t.Errorf("with %v left the page is doubted: %v", c.left, doubt)
		}
		a.loop.page.Abandon()
		cancel()
	}
}

func TestRefusalsAreWarnedOfOnceAMinute(t *testing.T) {
	var f jobFilter
	now := time.Unix(1e9, 0)
	for _, c := range []struct {
		after time.Duration
		warn  bool
	}{{0, true}, {0, false}, {59 * time.Second, false}, {time.Minute, true}, {time.Minute, false}} {
		if f.mayWarn(now.Add(c.after)) != c.warn {
			t.Errorf("after %v: warned %v", c.after, !c.warn)
		}
	}
}

// TestAPaceEndsWithThePage: a target that was slowed as an Envoy is asked at every turn when it has another page.
func TestAPaceEndsWithThePage(t *testing.T) {
	a := newAsking(t, false, "  metrics_path: /metrics\n")
	defer a.end(t)
	a.envoy.stats = map[string]string{"x": "x 1\n"}
	a.loop.setPace(pace{every: 4, since: 1}, time.Second)
	if a.scrape(t, 1); a.loop.pace.slowed() {
		t.Error("it is still slowed")
	}
}

// TestLossesFarApart: a series that flaps between two requests now and then does not end the filter.
func TestLossesFarApart(t *testing.T) {
	a := newAsking(t, true, keepIstio)
	defer a.end(t)
	flaps := false
	a.envoy.answer = func(filter string) (string, int, error) {
		page := a.envoy.page(filter)
		if filter != "" && flaps {
			page = strings.Replace(page, "envoy_cluster_membership_healthy{envoy_cluster_name=\"a\"} 1\n", "", 1)
			flaps = false
		}
		return page, http.StatusOK, nil
	}
	for range 5 * wholeEvery {
		flaps = a.loop.turns.whole && a.loop.turns.lost == 0
		a.scrape(t, 1)
	}
	if a.faults(faultLost) < 3 || a.job().filter.inForce() == "" {
		t.Errorf("%v losses, filter in force: %q", a.faults(faultLost), a.job().filter.inForce())
	}
}

// TestAFilterThatSavesLittle: where nearly all lines are kept, whole pages cost the sidecar less.
func TestAFilterThatSavesLittle(t *testing.T) {
	a := newAsking(t, true, keepIstio)
	defer a.end(t)
	a.envoy.set("a", false, 0)
	a.envoy.set("b", false, 0)
	a.scrape(t, wholeEvery)
	if n := len(a.whole()); n != wholeEvery-1 {
		t.Errorf("%d of %d pages were whole", n, wholeEvery)
	}
	if s := a.loop.asStatus(); s.Filter != "" || s.WhyWhole != refusedLittle.String() {
		t.Errorf("filter %q, because %q", s.Filter, s.WhyWhole)
	}
	a.envoy.set("a", true, 1)
	a.envoy.set("b", true, 1)
	a.scrape(t, 2*wholeEvery)
	if s := a.loop.asStatus(); s.Filter == "" {
		t.Errorf("there is more to leave out now, but pages are whole, because %s", s.WhyWhole)
	}
}

// TestAReloadGoesOnWithTheFilter: a setting that changes neither the series nor the page leaves the turns as they are.
func TestAReloadGoesOnWithTheFilter(t *testing.T) {
	a := newAsking(t, true, keepIstio)
	a.scrape(t, 2)
	for _, c := range []struct {
		yaml     string
		filtered bool
	}{
		{keepIstio + "  scrape_timeout: 4s\n", true},
		{strings.Replace(keepIstio, "envoy_cluster_membership_", "envoy_cluster_", 1), false}, // other rules
	} {
		a.apply(t, job(t, c.yaml))
		for _, l := range a.jobs["envoy"].loops {
			a.loop = l
		}
		a.scrape(t, 1)
		if last := a.envoy.asked[len(a.envoy.asked)-1]; (last != "") != c.filtered {
			t.Errorf("%s: asked with the filter %q", c.yaml, last)
		}
	}
}

// TestAFilterNeedsAGoodWholePageFirst: what was never read whole is not read filtered.
func TestAFilterNeedsAGoodWholePageFirst(t *testing.T) {
	a := newAsking(t, true, keepIstio)
	a.envoy.stats["server.live"] = "bad\n"
	a.scrape(t, 5)
	if n := len(a.whole()); n != 5 {
		t.Errorf("%d of 5 requests were for the whole page", n)
	}
}

// TestPagesWithoutAFilter lists jobs and targets that are never asked with one.
func TestPagesWithoutAFilter(t *testing.T) {
	for why, yaml := range map[string]string{
		"push_down is off":     "off",
		"usedonly is written":  keepIstio + "  params: {usedonly: ['']}\n",
		"sets a parameter":     keepIstio + "  relabel_configs: [{target_label: __param_x, replacement: y}]\n",
		"the path is /metrics": strings.ReplaceAll(keepIstio, "/stats/prometheus", "/metrics"),
		"port 15020": keepIstio + "  relabel_configs: [{target_label: __address__, " +
			"replacement: 'a:15020'}]\n",
		"no rule keeps or drops":    "  metrics_path: /stats/prometheus\n",
		"filter is written already": keepIstio + "  params: {filter: [istio]}\n",
	} {
		t.Run(why, func(t *testing.T) {
			on := yaml != "off"
			if !on {
				yaml = keepIstio
			}
			a := newAsking(t, on, yaml)
			a.scrape(t, 3)
			for _, filter := range a.envoy.asked {
				if filter != "" && filter != "istio" {
					t.Errorf("asked with the filter %q", filter)
				}
			}
			if s := a.loop.asStatus(); s.Filter != "" || !strings.Contains(s.WhyWhole, why) {
				t.Errorf("filter %q, because %q", s.Filter, s.WhyWhole)
			}
		})
	}
}
