package simulate

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/envoy-scraper/envoy-scraper/internal/simulate/oracle"
)

// options are what a run depends on. Two runs with equal options have the same trace.
type options struct {
	Seed       uint64
	Duration   time.Duration // no fault begins later; the run ends up to 50 minutes later
	Pods       int
	Series     int           // samples on each page, approximately
	Interval   time.Duration // scrape_interval
	Timeout    time.Duration // scrape_timeout
	Agents     int           // number of agents at the start, and the most; the targets are divided among them
	Kubernetes bool          // pods come from a cluster, through its API server, and not from an HTTP discovery
	Faults     int           // how many faults of the schedule happen; -1: all
	Exact      bool          // no fault of the schedule leaves open what agents must count, so counters are compared
	PushDown   bool          // agents ask sidecars to leave out what rules drop
	SmallQueue bool          // queues hold some minutes: an outage makes them drop the oldest samples

	Dir       string // for the files of the agents
	KeepTrace bool
	Schedule  []scheduledFault  // nil: drawn from the seed
	Watch     func(line string) // called with each line of the trace; nil: not called
}

// result is what a run found.
type result struct {
	options
	Problems  []string
	Trace     *trace
	Simulated time.Duration
	Scheduled int            // faults
	Happened  map[string]int // faults by kind
	Compared  oracle.Counts
	Errors    []string // the first messages of errors
	Signs     signs    // what the logs and metrics showed
}

// event is something that happens at a time.
type event struct {
	at time.Duration
	do func()
}

// run makes a world, lets its schedule happen, and returns what was wrong. Call it in a bubble of testing/synctest.
func run(o options) result {
	begun := time.Now()
	res := result{options: o}
	w, err := newWorld(o)
	if err != nil {
		res.Problems = []string{err.Error()}
		return res
	}
	w.events = w.plan(&res)
	for _, r := range w.agents {
		w.start(r)
	}
	for len(w.events) > 0 && len(w.found()) == 0 {
		next := w.events[0]
		select {
		case do := <-w.urgent:
			do()
		case <-time.After(time.Until(begun.Add(next.at))):
			w.events = w.events[1:]
			next.do()
		}
	}
	res.Problems = w.found()
	w.end()
	if len(res.Problems) == 0 { // otherwise end may have found consequences of them
		res.Problems = w.found()
	}
	res.Happened = w.happened
	res.Trace, res.Simulated, res.Compared = w.trace, time.Since(begun), w.oracle.Counts()
	res.Errors, res.Signs = w.logs.errors, w.signs
	return res
}

// Kubernetes starts a container that has ended again after a pause. A broken disk may make the start fail.
const (
	restartPause = 10 * time.Second
	mostStarts   = 60 // failed starts in a row, after which the run fails
)

// start starts a process of an agent that has none and is in service. If that fails, it schedules the next attempt
// after restartPause.
func (w *world) start(r *runner) {
	if r.process != nil || r.isOut() {
		return
	}
	err := r.start()
	if err == nil {
		r.failures = 0
		return
	}
	w.trace.add("agent %d does not start", r.n)
	if w.bad == nil {
		r.failures++
	}
	if r.failures == mostStarts {
		w.problem("agent %d does not start: %v", r.n, err)
		return
	}
	if !r.waiting {
		r.waiting = true
		w.later(restartPause, func() {
			r.waiting = false
			w.start(r)
		})
	}
}

// insert adds an event to those that are to come.
func (w *world) insert(e event) {
	n, _ := slices.BinarySearchFunc(w.events, e.at,
		func(e event, at time.Duration) int { return cmp.Compare(e.at, at) })
	w.events = slices.Insert(w.events, n, e)
}

// plan returns what happens in a run, in the order of time: faults begin and end, and the oracle judges.
func (w *world) plan(res *result) []event {
	byName := map[string]kind{}
	for _, k := range kinds() {
		byName[k.name] = k
	}
	var events []event
	add := func(at time.Duration, do func()) { events = append(events, event{at, do}) }
	faults := w.opts.Schedule
	if faults == nil {
		faults = schedule(w.opts)
	}
	res.Scheduled = len(faults)
	if w.opts.Faults >= 0 && w.opts.Faults < len(faults) {
		faults = faults[:w.opts.Faults]
	}
	for _, f := range faults {
		var end func()
		add(f.At, func() {
			w.trace.add("%v", f)
			w.happened[f.Kind]++
			if f.For > 0 {
				w.present[f.Kind]++
			}
			end = byName[f.Kind].begin(w, f, rand.New(rand.NewPCG(f.Draw, 0)))
		})
		if f.For > 0 {
			add(f.At+f.For, func() {
				w.trace.add("end of %v", f)
				w.noteLate(f)
				w.noteSigns()
				w.present[f.Kind]--
				if end != nil {
					end()
				}
			})
		}
	}
	for from := warmUp; from < w.opts.Duration; from += episode + calm {
		add(from+episode/2, w.visitor.visit)
		add(from+episode+calm-settle, w.readScrapes)
		add(from+episode+calm-settle, w.visitor.visit)
		add(from+episode+calm, w.judge)
	}
	slices.SortStableFunc(events, func(a, b event) int { return cmp.Compare(a.at, b.at) })
	return events
}

// noteLate reports to the oracle that a fault lasts longer than its schedule says: the end of an agent before has taken
// long, on a slow disk.
func (w *world) noteLate(f scheduledFault) {
	due := w.trace.start.Add(f.At + f.For)
	if now := time.Now(); now.Sub(due) > time.Second {
		w.oracle.Blind(due, now)
		w.oracle.Disturbed("", due, now.Add(w.opts.Timeout+5*time.Second))
		w.oracle.Fragile(due, now)
	}
}

// settle is the minimum age of samples that a judgement compares; younger ones may still be queued.
const settle = 2 * time.Minute

// longestAbsence is how long a receiver remembers a series without samples.
const longestAbsence = 3 * time.Hour

// judge compares everything up to some minutes ago. The time before was calm, so nothing may be left in the queues.
func (w *world) judge() {
	for _, r := range w.agents {
		r.reap()
		if r.process == nil {
			continue
		}
		for _, e := range r.process.agent.Sources().Endpoints() {
			if age := time.Since(e.OldestPending); !e.OldestPending.IsZero() && age > settle {
				w.problem("agent %d: %d samples for %s are not delivered, the oldest for %v: %s", r.n,
					e.PendingSamples, e.Name, age, e.LastError)
			}
		}
	}
	w.oracle.Judge(time.Now().Add(-settle))
	w.judgeLosses()
	w.judgeLogs()
	if w.opts.Exact {
		w.judgeRefusals()
		w.judgeScrapes()
		w.judgePages()
	}
	w.noteSigns()
}

// end lets all pods go, compares what is left, and checks that nothing is left in the agents. Then it stops them.
func (w *world) end() {
	w.calmDisks()
	time.Sleep(time.Minute)
	w.deathOfAll()
	time.Sleep(4*longestInterval + calm - settle)
	w.readScrapes()
	time.Sleep(settle)
	w.judge()
	w.visitor.wait()
	for _, r := range w.agents {
		if r.process == nil {
			continue
		}
		if n := r.process.agent.Table().Len(); n != 0 {
			w.problem("agent %d: %d series are left in the table", r.n, n)
		}
		for _, pool := range r.process.agent.Sources().Targets() {
			if n := len(pool.Targets); n != 0 {
				w.problem("agent %d: %d targets are left", r.n, n)
			}
		}
		if err := r.stop(); err != nil {
			w.problem("agent %d: %v", r.n, err)
		}
		r.reap()
		if n, locks := r.disk.OpenFiles(); n != 0 || locks != 0 {
			w.problem("agent %d: %d open files and %d locks are left", r.n, n, locks)
		}
	}
	w.close()
}
