package scrape

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"net/http"
	"os"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"github.com/prometheus/prometheus/model/labels"
	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/exposition"
	"github.com/envoy-scraper/envoy-scraper/internal/series"
	"github.com/envoy-scraper/envoy-scraper/internal/shard"
)

// Options are what scraping takes from the command line.
type Options struct {
	AllowLoopback  bool                  // dial discovered loopback addresses
	OwnAddressOnly func(job string) bool // jobs that may dial a pod's own addresses only; nil: none
	ExternalLabels labels.Labels         // with the host's name they spread replicas of this process over the interval
	Sharded        bool                  // instances share the targets, see Pools.Shard: they scrape at the same times
	Unsharded      func(job string) bool // jobs that every instance has to itself all the same; nil: none

	transport http.RoundTripper // of tests, instead of a network
}

var errTargetLimit = errors.New("target_limit exceeded")

// Pools is every job's targets. New, then Run; Apply and Update at any time.
type Pools struct {
	env      *env
	opts     Options
	seed     uint64
	schedule *schedule

	mu    sync.Mutex // guards the following
	jobs  map[string]*pool
	found map[string][]*targetgroup.Group // as discovery said last, by job
	held  map[string]bool                 // jobs whose next Apply waits for an Update, see Hold

	shards  shard.Map   // zero: this instance has all targets
	phase   shard.Phase // of shards, in force
	looked  time.Time   // by the wall clock, when the phase was last looked at
	lost    bool        // a target has no loop, though it is this instance's
	charted chan struct{}
}

// pool is one job's targets. Guarded by Pools.mu.
type pool struct {
	state  *jobState
	next   *jobState        // takes state's place with the next Update; nil: none is to
	loops  map[uint64]*loop // running, by target hash
	ending map[string]*loop // gone, but not marked stale yet, by identity
	handed map[string]*loop // another instance's now, which has not scraped them yet, by identity
	others int              // targets of other instances
	made   made
	limit  struct {
		sync.Mutex
		err error
	}
}

func (p *pool) forced() error {
	p.limit.Lock()
	defer p.limit.Unlock()
	return p.limit.err
}

// New returns pools without a job. Batches go to sink.
func New(table *series.Table, sink Sink, opts Options, log *zap.Logger, reg prometheus.Registerer) *Pools {
	m := newMetrics(reg)
	e := &env{table: table, layouts: exposition.NewLayouts(table), sink: sink, log: log, metrics: m}
	e.batches.New = func() any { return new(series.Batch) }
	e.scratch.New = newScratch
	e.showMemory(reg)
	return &Pools{
		env: e, opts: opts, seed: offsetSeed(opts), schedule: newSchedule(m, log),
		jobs: map[string]*pool{}, found: map[string][]*targetgroup.Group{}, held: map[string]bool{}, charted: make(chan struct{}, 1),
	}
}

func offsetSeed(opts Options) uint64 {
	host, err := os.Hostname()
	if err != nil || opts.Sharded {
		host = ""
	}
	h := fnv.New64a()
	fmt.Fprintf(h, "%s%s", host, opts.ExternalLabels)
	return h.Sum64()
}

// Run scrapes until ctx ends. Scrapes that this cuts off yield nothing.
func (ps *Pools) Run(ctx context.Context) error {
	var moves sync.WaitGroup
	moves.Go(func() { ps.runMoves(ctx) })
	ps.schedule.run(ctx)
	moves.Wait()
	return nil
}

// Hold tells that what was found for these jobs lacks labels that they are about to read: what the next Apply wants of
// them comes into force with the next Update that names them, and until then they go on as they were.
func (ps *Pools) Hold(jobs []string) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	clear(ps.held)
	for _, name := range jobs {
		ps.held[name] = true
	}
}

// Plan is what Pools need for jobs that they could run. It ends with Adopt or Discard, one of them, once.
type Plan struct{ states []*jobState }

// Discard gives back what the plan holds open.
func (p *Plan) Discard() {
	for _, state := range p.states {
		state.close()
	}
}

// Plan opens what the jobs need, and changes nothing. The error tells every job that cannot run, and why.
func (ps *Pools) Plan(jobs []*promconfig.ScrapeConfig) (*Plan, error) {
	p := &Plan{states: make([]*jobState, 0, len(jobs))}
	var errs []error
	for _, cfg := range jobs {
		state, err := newJobState(cfg, ps.opts)
		if err != nil {
			errs = append(errs, fmt.Errorf("job %s: %w", cfg.JobName, err))
			continue
		}
		p.states = append(p.states, state)
	}
	if err := errors.Join(errs...); err != nil {
		p.Discard()
		return nil, err
	}
	return p, nil
}

// Apply makes jobs the wanted ones. Targets of a job that did not change keep running untouched; of one that
// did, they go on under its new rules. On an error nothing changed.
func (ps *Pools) Apply(jobs []*promconfig.ScrapeConfig) error {
	p, err := ps.Plan(jobs)
	if err == nil {
		ps.Adopt(p)
	}
	return err
}

// Adopt is Apply for jobs that were planned.
func (ps *Pools) Adopt(plan *Plan) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	wanted := map[string]bool{}
	for _, state := range plan.states {
		name := state.cfg.JobName
		wanted[name] = true
		state.metrics = ps.env.metrics.of(name)
		p := ps.jobs[name]
		if p != nil {
			p.dropNext()
		}
		switch {
		case p == nil:
			p = &pool{state: state, loops: map[uint64]*loop{}, ending: map[string]*loop{}, handed: map[string]*loop{}}
			ps.jobs[name] = p
		case p.state.whole == state.whole && p.state.ownAddress == state.ownAddress && reflect.DeepEqual(p.state.cfg.HTTPClientConfig, state.cfg.HTTPClientConfig):
			p.state.failures.reopen(state.failures) // who moves the file away reloads
			state.close()
			continue // text hides secrets, hence the second look
		case ps.held[name]:
			p.next = state
			continue
		default:
			p.state.close()
			p.state = state
		}
		ps.sync(p, true)
	}
	clear(ps.held)
	for name, p := range ps.jobs {
		if !wanted[name] {
			ps.stop(p)
			delete(ps.jobs, name)
			delete(ps.found, name)
			ps.env.metrics.forget(name)
		}
	}
}

// Update takes everything that discovery knows now, but of jobs that were not adopted, or were taken away meanwhile:
// should they come back one day, what was found until now is long gone.
func (ps *Pools) Update(found map[string][]*targetgroup.Group) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	for name, groups := range found {
		if p := ps.jobs[name]; p != nil {
			ps.found[name] = groups
			renew := p.takeNext()
			ps.sync(p, renew)
		}
	}
}

// takeNext puts the configuration that waited into force; false: none did.
func (p *pool) takeNext() bool {
	if p.next == nil {
		return false
	}
	p.state.close()
	p.state, p.next = p.next, nil
	return true
}

// dropNext forgets the configuration that waited.
func (p *pool) dropNext() {
	if p.next != nil {
		p.next.close()
		p.next = nil
	}
}

// sync makes the loops of a job those of its targets. renew replaces loops that could stay: the job changed.
func (ps *Pools) sync(p *pool, renew bool) {
	cfg := p.state.cfg
	p.made = makeTargets(cfg, ps.found[cfg.JobName], p.state.ownAddress)
	p.limit.Lock()
	p.limit.err = nil
	if n := len(p.made.targets); cfg.TargetLimit > 0 && n > int(cfg.TargetLimit) {
		p.limit.err = fmt.Errorf("%w (number of targets: %d, limit: %d)", errTargetLimit, n, cfg.TargetLimit)
	}
	p.limit.Unlock()
	theirs := ps.share(p)

	old := p.loops
	p.loops = make(map[uint64]*loop, len(p.made.targets))
	var fresh []int
	for i, t := range p.made.targets {
		if l, ok := old[t.hash]; ok && !renew {
			l.rediscovered(p.made.found[i])
			p.loops[t.hash] = l
			ps.foresee(l)
			delete(old, t.hash)
		} else {
			fresh = append(fresh, i)
		}
	}
	for _, l := range old { // gone, or about to be inherited from
		id := l.target.identity()
		if theirs[l.target.key] {
			ps.handOver(p, id, l)
			continue
		}
		if p.ending[id] == nil {
			p.ending[id] = l
		}
		ps.schedule.remove(l)
	}
	ps.reconsider(p, theirs)
	for _, i := range fresh {
		ps.start(p, p.made.targets[i], p.made.found[i])
	}
	ps.dropLost(p, theirs)
	p.made.targets, p.made.found = nil, nil // the loops have them
	m := ps.env.metrics
	m.targets.WithLabelValues(cfg.JobName).Set(float64(len(p.loops)))
	m.others.WithLabelValues(cfg.JobName).Set(float64(p.others))
	m.unwanted.WithLabelValues(cfg.JobName).Set(float64(p.made.droppedCount))
	m.invalid.WithLabelValues(cfg.JobName).Set(float64(len(p.made.errors)))
}

// start gives a target its loop. If the same series came from a loop that is ending, it inherits from it.
func (ps *Pools) start(p *pool, t *target, found foundTarget) {
	l := newLoop(ps.env, p.state, t)
	l.rediscovered(found)
	p.loops[t.hash] = l
	id := t.identity()
	onEnd := func() { ps.ended(p, id, l) }
	since := ps.movedHere(p, t)
	begin := func() { ps.schedule.add(l, ps.first(t, since, time.Now()), p.forced, onEnd) }
	ps.foresee(l)
	before := p.ending[id]
	if before == nil {
		before = p.handed[id]
	}
	if before != nil {
		delete(p.ending, id)
		delete(p.handed, id)
		if ps.schedule.take(before, func() { l.inherit(before); begin() }) {
			return
		}
	}
	ps.schedule.mu.Lock()
	defer ps.schedule.mu.Unlock()
	begin()
}

// ended forgets a loop whose end was marked.
func (ps *Pools) ended(p *pool, id string, l *loop) {
	l.job.fetcher.forget(l.target)
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if p.ending[id] == l {
		delete(p.ending, id)
	}
	if p.handed[id] == l {
		delete(p.handed, id)
	}
	if p.loops[l.target.hash] == l { // its map was replaced, or the clock set, at the very instant: it is to begin anew
		delete(p.loops, l.target.hash)
		ps.lost = true
		ps.lookAgain()
	}
}

// stop ends every loop of a job, and those that wait to mark their targets stale. Nothing is marked, as in Prometheus:
// the job may have moved to another scraper, whose samples markers would cut short.
func (ps *Pools) stop(p *pool) {
	// The schedule's lock is held when a loop is taken; giving back a large page takes longer than others should wait.
	releaseBeside := func(l *loop) func() { return func() { ps.schedule.running.Go(l.release) } }
	for hash, l := range p.loops {
		ps.schedule.take(l, releaseBeside(l))
		delete(p.loops, hash)
	}
	for _, leaving := range []map[string]*loop{p.ending, p.handed} {
		for id, l := range leaving {
			ps.schedule.take(l, releaseBeside(l))
			delete(leaving, id)
		}
	}
	p.dropNext()
	p.state.metrics.gone.Store(true)
	p.state.close()
}

// Status is what every job's targets are doing now, by job.
func (ps *Pools) Status() []PoolStatus {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	out := make([]PoolStatus, 0, len(ps.jobs))
	for name, p := range ps.jobs {
		s := PoolStatus{Job: name, Dropped: p.made.droppedStatus(p.state.cfg), DroppedCount: p.made.droppedCount, Errors: p.made.errors, Others: p.others}
		for _, l := range p.loops {
			s.Targets = append(s.Targets, l.asStatus())
		}
		slices.SortFunc(s.Targets, func(a, b TargetStatus) int {
			return cmp.Or(cmp.Compare(a.URL, b.URL), labels.Compare(a.Labels, b.Labels))
		})
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b PoolStatus) int { return cmp.Compare(a.Job, b.Job) })
	return out
}
