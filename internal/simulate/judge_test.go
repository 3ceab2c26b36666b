package simulate

import (
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/envoy-scraper/envoy-scraper/internal/simulate/oracle"
)

// inWorld calls play in an exact world with one agent, after two minutes without faults, and returns the problems that
// it has made.
func inWorld(t *testing.T, play func(w *world)) (problems []string) {
	t.Helper()
	o := hour(4) // exact: counters, targets and pages are compared, too
	o.Pods, o.Dir, o.Schedule = 2, t.TempDir(), []scheduledFault{}
	synctest.Test(t, func(t *testing.T) {
		w, err := newWorld(o)
		if err != nil {
			t.Fatal(err)
		}
		w.start(w.agents[0])
		time.Sleep(2 * time.Minute)
		w.readScrapes()
		time.Sleep(settle)
		play(w)
		problems = w.found()
		for _, p := range slices.Clone(w.pods) {
			w.death(p)
		}
		if err := w.agents[0].stop(); err != nil {
			t.Error(err)
		}
		w.close()
	})
	return problems
}

// TestJudgements: each comparison of agents with the truth notices what differs.
func TestJudgements(t *testing.T) {
	refused := dropped{"a", "refused"}
	for name, tc := range map[string]struct {
		play    func(w *world)
		problem string // part of a problem; empty: none
	}{
		"nothing": {play: func(w *world) { w.judge() }},
		"a counter of losses that is too high": {
			problem: "counters say that 5 samples were dropped, at most 0 can be",
			play: func(w *world) {
				w.happened["receiver: 400 for some series"]++
				w.agents[0].dropped[refused] = 5
				w.judge()
			}},
		"samples that an agent takes for delivered": {play: func(w *world) {
			w.agents[0].dropped[dropped{"a", alreadyDelivered}] = 5
			w.judge()
		}},
		"a loss for no reason": {problem: "no fault is a reason", play: func(w *world) {
			w.agents[0].dropped[refused] = 5
			w.judge()
		}},
		"a loss whose reason was judged before": {problem: "no fault is a reason", play: func(w *world) {
			w.happened["receiver: 400 for some series"]++
			w.judge()
			w.agents[0].dropped[refused] = 5
			w.judge()
		}},
		"scrapes that are not counted": {problem: "counts", play: func(w *world) {
			w.agents[0].process.scrapes.done -= 5
			w.judge()
		}},
		"failures that did not happen": {problem: "failed scrapes", play: func(w *world) {
			w.agents[0].process.scrapes.failed += 5
			w.judge()
		}},
		"an error in the log": {problem: `agents log "something fails"`, play: func(w *world) {
			w.logs.logger(new(atomic.Bool)).Error("something fails")
			w.judge()
		}},
		"an error of a killed process": {play: func(w *world) {
			killed := new(atomic.Bool)
			killed.Store(true)
			w.logs.logger(killed).Error("something fails")
			w.judge()
		}},
		"a target that is gone": {problem: "is a target, but it is gone", play: func(w *world) {
			pods := w.pods
			w.pods = pods[:1]
			w.judge()
			w.pods = pods
		}},
		"a pod that is no target": {problem: "is a target of 0 agents", play: func(w *world) {
			pods := w.pods
			w.pods = append(slices.Clone(pods), &pod{name: "forgotten", envoy: pods[0].envoy})
			w.judge()
			w.pods = pods
		}},
		"a page that has grown since": {problem: "its page has", play: func(w *world) {
			w.pods[0].envoy.Grow(1)
			w.judge()
		}},
		"too many lanes": {problem: "lanes, want 0 to 0", play: func(w *world) {
			w.agents[0].revision.minLanes, w.agents[0].revision.maxLanes = 0, 0
			w.judge()
		}},
		"samples that vanish from the sum of counters": {problem: "more than scraped", play: func(w *world) {
			w.judge()
			w.agents[0].process.backlog["a"]++
			w.judge()
		}},
	} {
		t.Run(name, func(t *testing.T) {
			got := strings.Join(inWorld(t, tc.play), "\n")
			if tc.problem == "" && got != "" || !strings.Contains(got, tc.problem) {
				t.Errorf("problems %q, want %q", got, tc.problem)
			}
		})
	}
}

// TestUncounted: samples that agents take for delivered explain only losses that agents cannot know of.
func TestUncounted(t *testing.T) {
	for _, tc := range []struct {
		losses          oracle.Losses
		delivered, want int
	}{
		{oracle.Losses{Lost: 5}, 5, 5},
		{oracle.Losses{Lost: 5, Mistaken: 2}, 1, 6},
		{oracle.Losses{Lost: 5, Mistaken: 2}, 9, 5},
		{oracle.Losses{Lost: 5, Overtaken: 3}, 0, 5},
		{oracle.Losses{Lost: 5, Overtaken: 3}, 9, 2},
	} {
		if got := uncounted(tc.losses, tc.delivered); got != tc.want {
			t.Errorf("%d of %+v with %d taken for delivered, want %d", got, tc.losses, tc.delivered, tc.want)
		}
	}
}
