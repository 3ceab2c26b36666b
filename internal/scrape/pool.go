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
	"github.com/prometheus/prometheus/model/labels"
	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/discovery"
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
	MaxMemory      int64                 // for pages that are being read, in bytes; 0: 256 MiB

	budget    budget            // what New makes of MaxMemory, and of the limit of open files
	transport http.RoundTripper // of tests, instead of a network
}

var errTargetLimit = errors.New("target_limit exceeded")

// Pools is every job's targets. New, then Run; Apply and Update at any time.
type Pools struct {
	env      *env
	opts     Options
	seed     uint64
	schedule *schedule

	// changing is locked during each change of jobs or targets, for seconds if all targets are relabeled. It is locked
	// before mu. Jobs, their configurations and groups, the map of shards and its phase change only while both are
	// locked, so holding one of the two is enough to read them.
	changing sync.Mutex
	held     map[string]bool // jobs whose next Apply waits for an Update, see Hold; guarded by changing
	looked   time.Time       // by the wall clock, when the phase was last looked at; guarded by changing

	// mu is locked for milliseconds at a time: pages and ends of targets wait for it.
	mu      sync.Mutex // guards the following
	jobs    map[string]*pool
	shards  shard.Map   // zero: this instance has all targets
	phase   shard.Phase // of shards, in force
	lost    bool        // a target has no loop, though it is this instance's
	charted chan struct{}

	releaser releaser // of what loops held
}

// pool is one job's targets. Pools.mu guards it, see there.
type pool struct {
	state  *jobState
	next   *jobState        // takes state's place with the next Update; nil: none is to
	loops  map[uint64]*loop // running, by target hash
	ending leavers          // gone, but not marked stale yet
	handed leavers          // another instance's now, which has not scraped them yet
	wanted wanted           // all targets of the job, also those of other instances
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
	opts.budget = budget{memory: newPageMemory(opts.MaxMemory, m, log), connections: newConnLimit(maxConnections(openFiles()))}
	e.showConnections(reg, opts.budget.connections)
	return &Pools{
		env: e, opts: opts, seed: offsetSeed(opts), schedule: newSchedule(m, log),
		jobs: map[string]*pool{}, held: map[string]bool{}, charted: make(chan struct{}, 1),
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
	ps.changing.Lock()
	defer ps.changing.Unlock()
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
	ps.changing.Lock()
	defer ps.changing.Unlock()
	wanted := map[string]bool{}
	for _, state := range plan.states {
		wanted[state.cfg.JobName] = true
		if p, changed := ps.adopt(state); changed {
			ps.sync(p, p.wanted.everything())
		}
	}
	clear(ps.held)
	ps.mu.Lock()
	defer ps.mu.Unlock()
	for name, p := range ps.jobs {
		if !wanted[name] {
			ps.stop(p)
			delete(ps.jobs, name)
			ps.env.metrics.forget(name)
		}
	}
}

// adopt makes state the configuration of its job, and returns the job's pool. It returns false if the targets stay as
// they are: the configuration is the same, or it waits for an update.
func (ps *Pools) adopt(state *jobState) (*pool, bool) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	name := state.cfg.JobName
	state.metrics = ps.env.metrics.of(name)
	p := ps.jobs[name]
	if p != nil {
		p.dropNext()
	}
	switch {
	case p == nil:
		p = &pool{state: state, loops: map[uint64]*loop{}, ending: leavers{}, handed: leavers{}}
		p.wanted = newWanted(func(key uint64) bool { return ps.isOthers(p, key) })
		ps.jobs[name] = p
	case p.state.whole == state.whole && p.state.ownAddress == state.ownAddress && reflect.DeepEqual(p.state.cfg.HTTPClientConfig, state.cfg.HTTPClientConfig):
		p.state.failures.reopen(state.failures) // who moves the file away reloads
		state.close()
		return p, false // text hides secrets, hence the second look
	case ps.held[name]:
		p.next = state
		return p, false
	default:
		p.state.close()
		p.state = state
	}
	return p, true
}

// Update changes the groups of jobs. Updates of unknown jobs are ignored: the job was removed meanwhile, and if it
// comes back, discovery hands over all its groups.
func (ps *Pools) Update(updates map[string]discovery.Update) {
	ps.changing.Lock()
	defer ps.changing.Unlock()
	for name, u := range updates {
		p := ps.jobs[name]
		if p == nil {
			continue
		}
		changes := p.wanted.changes(u)
		if ps.takeNext(p) { // all groups are relabeled, by the new rules
			changes = append(p.wanted.everything(), changes...)
		}
		ps.sync(p, changes)
	}
}

// takeNext puts the configuration that waited into force; false: none did.
func (ps *Pools) takeNext(p *pool) bool {
	ps.mu.Lock()
	defer ps.mu.Unlock()
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

// start gives a target its loop. If the same series came from the loop before, it inherits from that.
func (ps *Pools) start(p *pool, t *target, found foundTarget, before *loop) {
	l := newLoop(ps.env, p.state, t)
	l.rediscovered(found)
	p.loops[t.hash] = l
	onEnd := func() { ps.ended(p, l) }
	since := ps.movedHere(p, t)
	begin := func() { ps.schedule.add(l, ps.first(t, since, time.Now()), p.forced, onEnd) }
	ps.foresee(l)
	if before != nil && ps.schedule.take(before, func() { ps.releaser.add(l.inherit(before)); begin() }) {
		return
	}
	ps.schedule.mu.Lock()
	defer ps.schedule.mu.Unlock()
	begin()
}

// ended forgets a loop whose end was marked.
func (ps *Pools) ended(p *pool, l *loop) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	p.ending.remove(l)
	p.handed.remove(l)
	if p.loops[l.target.hash] == l { // its map was replaced, or the clock set, at the very instant: it is to begin anew
		delete(p.loops, l.target.hash)
		ps.lost = true
		ps.lookAgain()
	}
}

// stop ends every loop of a job, and those that wait to mark their targets stale. Nothing is marked, as in Prometheus:
// the job may have moved to another scraper, whose samples markers would cut short.
func (ps *Pools) stop(p *pool) {
	for hash, l := range p.loops {
		ps.schedule.take(l, func() { ps.releaser.add(l.release) })
		delete(p.loops, hash)
	}
	for _, l := range append(p.ending.all(), p.handed.all()...) {
		ps.schedule.take(l, func() { ps.releaser.add(l.release) })
	}
	clear(p.ending)
	clear(p.handed)
	p.dropNext()
	p.state.metrics.gone.Store(true)
	p.state.close()
}

// Status is what every job's targets are doing now, by job.
func (ps *Pools) Status() []PoolStatus {
	out, unwanted := ps.snapshot()
	for i := range out {
		s := &out[i]
		s.Dropped, s.Errors = describe(unwanted[s.Job].cfg, unwanted[s.Job].groups)
		slices.SortFunc(s.Targets, func(a, b TargetStatus) int {
			return cmp.Or(cmp.Compare(a.URL, b.URL), labels.Compare(a.Labels, b.Labels))
		})
	}
	slices.SortFunc(out, func(a, b PoolStatus) int { return cmp.Compare(a.Job, b.Job) })
	return out
}

// unwantedGroups are the groups of a job of which not all targets are scraped.
type unwantedGroups struct {
	cfg    *promconfig.ScrapeConfig
	groups []*relabeled
}

// snapshot copies under the lock what Status sorts and describes without it.
func (ps *Pools) snapshot() ([]PoolStatus, map[string]unwantedGroups) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	out := make([]PoolStatus, 0, len(ps.jobs))
	unwanted := make(map[string]unwantedGroups, len(ps.jobs))
	for name, p := range ps.jobs {
		s := PoolStatus{Job: name, DroppedCount: p.wanted.dropped, Others: p.wanted.others}
		s.Targets = slices.Grow(s.Targets, len(p.loops))
		for _, l := range p.loops {
			s.Targets = append(s.Targets, l.asStatus())
		}
		out = append(out, s)
		unwanted[name] = unwantedGroups{p.state.cfg, p.wanted.unwanted()}
	}
	return out, unwanted
}
