package aggregate

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// The model test does random things to a simulated mesh and its agents, and compares every sample of an aggregate with
// what is true. It runs 200 seeds; MODEL_SEEDS sets how many, MODEL_FIRST the first. A test that fails names
// its seed and lists its last steps:
//
//	MODEL_SEEDS=10000 go test ./internal/aggregate -run TestModel
//
// Its parts: the mesh, which knows every request that happened (model_mesh_test.go); the truth, which says for each
// page what an agent must and may count (model_truth_test.go); the agents, each an Aggregates whose samples are checked
// (model_agent_test.go); and the steps, here.
const ordinarySeeds = 200

func TestModel(t *testing.T) {
	number := func(name string, otherwise int) int {
		if text := os.Getenv(name); text != "" {
			n, err := strconv.Atoi(text)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			return n
		}
		return otherwise
	}
	first, seeds := number("MODEL_FIRST", 0), number("MODEL_SEEDS", ordinarySeeds)
	happened := map[string]int{}
	for seed := first; seed < first+seeds; seed++ {
		failed := false
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, rand.New(rand.NewPCG(uint64(seed), 0)), seed%5 == 0)
			w.run()
			for what, n := range w.happened {
				happened[what] += n
			}
			if failed = t.Failed(); failed {
				t.Logf("MODEL_FIRST=%d MODEL_SEEDS=1; the last steps:\n%s", seed,
					strings.Join(w.diary[max(0, len(w.diary)-30):], "\n"))
			}
		})
		if failed {
			return
		}
	}
	if seeds >= ordinarySeeds {
		for _, step := range steps() {
			if happened[step.name] == 0 {
				t.Errorf("it never happened: %s", step.name)
			}
		}
	}
	t.Log(happened)
}

// maxIntervals is how many intervals a world lasts at most.
const maxIntervals = 60

// world is a mesh, its agents and the time.
type world struct {
	t      *testing.T
	random *rand.Rand
	calm   bool // nothing goes wrong, so that the bounds can be checked by time

	interval time.Duration
	targets  []*simTarget
	agents   []*simAgent
	queue    []planned
	names    int // given to pods so far
	truth    truth

	mu       sync.Mutex // guards the whole world; not held in call
	diary    []string
	happened map[string]int
}

// planned is something that happens at a time.
type planned struct {
	at time.Time
	do func()
}

func (w *world) plan(at time.Time, do func()) {
	// No two things happen in the same nanosecond, and none in that of a tick.
	at = at.Truncate(time.Millisecond).Add(time.Duration(1 + w.random.IntN(int(time.Millisecond)-1)))
	w.queue = append(w.queue, planned{at, do})
}

// pass lets time pass, and what is due happen.
func (w *world) pass(d time.Duration) {
	w.call(func() {
		<-time.After(d)
		synctest.Wait()
	})
}

// call calls an agent's Aggregates, whose samples are checked meanwhile.
func (w *world) call(do func()) {
	w.mu.Unlock()
	defer w.mu.Lock()
	do()
}

// longestScrape is how long a scrape takes at most.
func (w *world) longestScrape() time.Duration { return w.interval / 5 }

func (w *world) note(format string, args ...any) {
	w.diary = append(w.diary, time.Now().Format("15:04:05.000 ")+fmt.Sprintf(format, args...))
}

// chance reports true in percent of all cases.
func (w *world) chance(percent int) bool { return w.random.IntN(100) < percent }

// pick returns one element at random.
func pick[T any](w *world, from []T) T { return from[w.random.IntN(len(from))] }

func newWorld(t *testing.T, random *rand.Rand, calm bool) *world {
	w := &world{t: t, random: random, calm: calm, happened: map[string]int{}, truth: newTruth()}
	w.interval = pick(w, []time.Duration{2 * time.Second, 5 * time.Second, 10 * time.Second, 15 * time.Second})
	agents := 1
	if !calm {
		agents += w.random.IntN(2)
	}
	for n := range agents {
		w.agents = append(w.agents, newSimAgent(w, n))
	}
	for range 2 + w.random.IntN(4) {
		w.newTarget(time.Hour)
	}
	return w
}

// run does what is planned until the time is over. Then everything ends.
func (w *world) run() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range w.agents {
		a.start()
	}
	end := time.Now().Add(time.Duration(20+w.random.IntN(maxIntervals-20)) * w.interval)
	if !w.calm {
		w.plan(time.Now().Add(w.interval), w.step)
	}
	for !w.t.Failed() {
		next := 0
		for i := range w.queue {
			if w.queue[i].at.Before(w.queue[next].at) {
				next = i
			}
		}
		p := w.queue[next]
		if p.at.After(end) {
			break
		}
		w.queue = slices.Delete(w.queue, next, next+1)
		w.pass(time.Until(p.at))
		p.do()
		for _, a := range w.agents {
			a.checkTicks()
		}
		w.truth.remember(w)
	}
	for _, tg := range slices.Clone(w.targets) {
		tg.end()
	}
	if !w.t.Failed() {
		w.pass(simIdle + 3*w.interval + 24*time.Hour) // the clock of an agent may have been set back
	}
	for _, a := range w.agents {
		a.stop()
		a.checkEnd()
	}
}

// step does one thing at random, and plans the next one.
func (w *world) step() {
	all, sum := steps(), 0
	for _, s := range all {
		sum += s.weight
	}
	n := w.random.IntN(sum)
	for _, s := range all {
		if n -= s.weight; n < 0 {
			before := len(w.diary)
			s.do(w)
			if len(w.diary) > before {
				w.happened[s.name]++
			}
			break
		}
	}
	w.plan(time.Now().Add(time.Duration(w.random.Int64N(int64(2*w.interval)))), w.step)
}

type simStep struct {
	name   string
	weight int
	do     func(w *world)
}

// steps are the things that happen beside requests and scrapes.
func steps() []simStep {
	of := func(do func(tg *simTarget)) func(w *world) {
		return func(w *world) {
			if len(w.targets) > 0 {
				do(pick(w, w.targets))
			}
		}
	}
	return []simStep{
		{"restart", 12, of((*simTarget).restart)},
		{"eviction", 12, of((*simTarget).evict)},
		{"node clock", 3, of((*simTarget).stepNodeClock)},
		{"page without the Envoy's part", 6, of((*simTarget).hide)},
		{"page that leaves out lines", 4, of((*simTarget).age)},
		{"new pod", 8, func(w *world) {
			if len(w.targets) < 6 {
				w.newTarget(0)
			}
		}},
		{"pod gone", 5, of((*simTarget).end)},
		{"pod found again", 4, of((*simTarget).flap)},
		{"other URL", 4, of((*simTarget).move)},
		{"other rules", 3, of((*simTarget).reread)},
		{"handover", 5, of((*simTarget).handOver)},
		{"handover of a young process", 3, of(func(tg *simTarget) { tg.restartBefore(tg.handOver) })},
		{"young process found again", 3, of(func(tg *simTarget) { tg.restartBefore(tg.flap) })},
		{"agent restart", 3, func(w *world) { pick(w, w.agents).restart() }},
		{"agent clock", 4, func(w *world) { pick(w, w.agents).stepClock() }},
		{"reload", 6, func(w *world) { pick(w, w.agents).reload() }},
		{"idle", 1, func(w *world) { w.idle() }},
	}
}

// idle ends all targets, and waits until their aggregates are gone.
func (w *world) idle() {
	for _, tg := range slices.Clone(w.targets) {
		tg.end()
	}
	w.note("nothing for a while")
	wait := simIdle - w.interval + time.Duration(w.random.Int64N(int64(4*w.interval)))
	w.pass(wait.Truncate(time.Millisecond) + time.Duration(1+w.random.IntN(int(time.Millisecond)-1)))
	for range 2 {
		w.newTarget(0)
	}
}
