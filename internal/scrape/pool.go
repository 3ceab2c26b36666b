package scrape

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"hash/maphash"
	"maps"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	config_util "github.com/prometheus/common/config"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"
	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/discovery"
	"github.com/envoy-scraper/envoy-scraper/internal/exposition"
	"github.com/envoy-scraper/envoy-scraper/internal/series"
	"github.com/envoy-scraper/envoy-scraper/internal/shard"
	"github.com/envoy-scraper/envoy-scraper/internal/via"
)

// Options are the settings of scraping that the command line gives.
type Options struct {
	AllowLoopback  bool                  // dial discovered loopback addresses
	OwnAddressOnly func(job string) bool // jobs that may dial a pod's own addresses only; nil: none
	PushDown       func(job string) bool // jobs whose targets are asked for filtered pages, see FilterOf; nil: none
	FixedPace      func(job string) bool // jobs whose targets are asked at every turn, see pace; nil: none
	Encoding       EncodingOptions
	ExternalLabels labels.Labels         // replicas that differ in them, or in the host's name, scrape at other times
	Sharded        bool                  // instances share the targets and scrape at the same times, see Pools.Shard
	Unsharded      func(job string) bool // jobs whose targets every instance scrapes; nil: none

	// ShardByWorkload says of which jobs one instance has all pods of a workload; nil: of none. Discovery must keep the
	// controllers of their pods, see discovery.Manager.KeepOwners.
	ShardByWorkload func(job string) bool

	Host      string                      // name of this machine; empty: the one that it has
	Dial      config_util.DialContextFunc // connects to targets and proxies; nil: by the network of the machine
	MaxMemory int64                       // for pages that are being read, in bytes; 0: 256 MiB
	Forget    func(series.SourceID)       // called after the last batch of a sequence of pages; nil: nothing is called
	Via       *via.Proxies                // reads pods through their API servers; nil: every target is read directly

	budget    budget            // New computes it from MaxMemory and the limit of open files
	transport http.RoundTripper // tests set it, instead of a network
}

var errTargetLimit = errors.New("target_limit exceeded")

// Pools holds the targets of all jobs. Apply and Update are safe while Run runs.
type Pools struct {
	env      *env
	opts     Options
	seed     uint64
	schedule *schedule

	// changing is locked during each change of jobs or targets, for seconds if all targets are relabeled. It is locked
	// before mu. Jobs, their configurations and groups, the map of shards and its phase change only while both are
	// locked, so either lock is enough to read them. Loops and departing loops change under mu alone.
	changing      sync.Mutex
	closed        bool            // Run has ended; guarded by changing
	held          map[string]bool // jobs whose next Apply waits for an Update, see Hold; guarded by changing
	phaseComputed time.Time       // when the phase was last computed, by the wall clock; guarded by changing

	// mu is locked for milliseconds at a time: pages and ends of loops wait for it.
	mu       sync.Mutex // guards the following
	jobs     map[string]*pool
	waves    waveCounts  // changes only while changing is locked, too
	shards   shard.Map   // zero: this instance has all targets
	phase    shard.Phase // of shards, in force
	lostLoop bool        // a target of this instance has no loop

	checkPhase chan struct{} // wakes runPhases
}

// pool holds the targets of one job. Pools.changing and Pools.mu guard it, as said there.
type pool struct {
	state     *jobState
	next      *jobState        // replaces state with the next Update, see Hold; nil: none
	loops     map[uint64]*loop // that are scraped, by target hash
	departing departing
	wanted    wanted // all targets of the job, also those of other instances
	limit     struct {
		sync.Mutex
		err error
	}
}

// targetLimitError returns the error with which every scrape of the job fails while the job has more targets than
// target_limit; nil: it has not.
func (p *pool) targetLimitError() error {
	p.limit.Lock()
	defer p.limit.Unlock()
	return p.limit.err
}

// New returns pools without a job. Batches go to sink.
func New(table *series.Table, sink Sink, opts Options, log *zap.Logger, reg prometheus.Registerer) *Pools {
	m := newMetrics(reg)
	e := &env{table: table, layouts: exposition.NewLayouts(table), sink: sink, log: log, metrics: m,
		forget: opts.Forget, seed: maphash.MakeSeed()}
	e.batches.New = func() any { return new(series.Batch) }
	e.scratch.New = newScratch
	e.showMemory(reg)
	if opts.MaxMemory <= 0 {
		opts.MaxMemory = defaultMaxMemory
	}
	opts.budget = budget{
		memory: newPageMemory(opts.MaxMemory, m, log), connections: newConnLimit(maxConnections(openFiles())),
		zstd: newZstdMemory(opts.MaxMemory),
	}
	showConnections(reg, opts.budget.connections)
	ps := &Pools{
		env: e, opts: opts, seed: offsetSeed(opts),
		jobs: map[string]*pool{}, waves: waveCounts{}, held: map[string]bool{}, checkPhase: make(chan struct{}, 1),
	}
	ps.schedule = newSchedule(m, log, ps.ended)
	return ps
}

func offsetSeed(opts Options) uint64 {
	host := opts.Host
	if host == "" {
		host, _ = os.Hostname() // empty if it fails
	}
	if opts.Sharded {
		host = ""
	}
	h := fnv.New64a()
	fmt.Fprintf(h, "%s%s", host, opts.ExternalLabels)
	return h.Sum64()
}

// Run scrapes until ctx ends. Scrapes that this cuts off yield nothing. At the end it closes the idle connections of
// all jobs.
func (ps *Pools) Run(ctx context.Context) error {
	var moves sync.WaitGroup
	moves.Go(func() { ps.runPhases(ctx) })
	ps.schedule.run(ctx)
	moves.Wait()
	ps.closeJobs()
	return nil
}

// closeJobs closes the connections of all jobs, waits until what loops held is released, and lets no configuration come
// into force any more.
func (ps *Pools) closeJobs() {
	ps.changing.Lock()
	defer ps.changing.Unlock()
	for _, p := range ps.jobs {
		p.dropNext()
		p.state.close()
	}
	ps.closed = true
	ps.schedule.releaser.wait()
}

// Hold marks jobs whose new rules need labels that discovery has not kept. The next Apply does not change them: they
// run their old configuration until the next Update that names them.
func (ps *Pools) Hold(jobs []string) {
	ps.changing.Lock()
	defer ps.changing.Unlock()
	clear(ps.held)
	for _, name := range jobs {
		ps.held[name] = true
	}
}

// Plan is a configuration of all jobs that Pools can run. Its owner calls Adopt or Discard, once.
type Plan struct{ states []*jobState }

// Discard closes what the plan has opened.
func (p *Plan) Discard() {
	for _, state := range p.states {
		state.close()
	}
}

// Plan opens what the jobs need, and changes nothing. Its error names every job that cannot run, and says why.
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

// Apply puts a configuration of all jobs into force. Targets of a job that did not change are not touched. Targets of a
// job that changed go on under its new rules. After an error nothing has changed.
func (ps *Pools) Apply(jobs []*promconfig.ScrapeConfig) error {
	p, err := ps.Plan(jobs)
	if err == nil {
		ps.Adopt(p)
	}
	return err
}

// Adopt is Apply for a plan.
func (ps *Pools) Adopt(plan *Plan) {
	ps.changing.Lock()
	defer ps.changing.Unlock()
	if ps.closed {
		plan.Discard()
		return
	}
	wanted := map[string]bool{}
	for _, state := range plan.states {
		wanted[state.cfg.JobName] = true
		if p, changed := ps.adopt(state); changed {
			ps.sync(p, p.wanted.everything())
		}
	}
	clear(ps.held)
	for name, p := range ps.jobs {
		if !wanted[name] {
			ps.remove(name, p)
		}
	}
	ps.adaptWaves(nil, nil)
}

// adopt makes state the configuration of its job, and returns the job's pool. It returns false if the targets stay as
// they are: the configuration is the same, or it waits for an update. The caller holds changing.
func (ps *Pools) adopt(state *jobState) (*pool, bool) {
	name := state.cfg.JobName
	state.metrics = ps.env.metrics.of(name)
	p := ps.jobs[name]
	if p != nil {
		p.dropNext()
	}
	switch {
	case p == nil:
		p = &pool{state: state, loops: map[uint64]*loop{}, departing: departing{}}
		p.wanted = newWanted(func(key uint64) bool { return ps.isOthers(p, key) })
		p.wanted.shareBy(state)
		ps.mu.Lock()
		ps.jobs[name] = p
		ps.mu.Unlock()
	case p.state.isSame(state):
		p.state.failures.reopen(state.failures) // a reload follows the rotation of the file
		p.state.filter.reloaded()
		state.close()
		return p, false
	case ps.held[name]:
		p.next = state
		return p, false
	default:
		ps.setState(p, state)
	}
	return p, true
}

// setState puts a configuration of a job into force. The caller holds changing.
func (ps *Pools) setState(p *pool, state *jobState) {
	ps.mu.Lock()
	before := p.state
	p.state = state
	p.wanted.shareBy(state)
	ps.mu.Unlock()
	if state.byWorkload != before.byWorkload && ps.isShared(p) {
		ps.env.log.Warn("what the instances share of a job has changed: until all instances have this configuration, "+
			"some targets may be scraped twice or not at all",
			zap.String("job", state.cfg.JobName), zap.Bool("by_workload", state.byWorkload))
	}
	before.close() // closes connections, which takes time
}

// Update changes the groups of jobs. It ignores unknown jobs: they were removed meanwhile. If such a job comes back,
// discovery hands over all its groups.
func (ps *Pools) Update(updates map[string]discovery.Update) {
	ps.changing.Lock()
	defer ps.changing.Unlock()
	for name, u := range updates {
		p := ps.jobs[name]
		if p == nil {
			continue
		}
		changes := p.wanted.changes(u)
		if p.next != nil {
			ps.setState(p, p.next)
			p.next = nil
			changes = append(p.wanted.everything(), changes...) // all groups are relabeled, by the new rules
		}
		ps.sync(p, changes)
	}
}

// dropNext closes the configuration that waits for an Update.
func (p *pool) dropNext() {
	if p.next != nil {
		p.next.close()
		p.next = nil
	}
}

// start gives a target its loop, which inherits from the loop before, if there is one.
func (ps *Pools) start(p *pool, t *target, found foundTarget, before *loop) {
	l := newLoop(ps.env, p.state, t)
	l.pool = p
	l.rediscovered(found)
	l.life = life{
		interval: t.interval, due: ps.first(t, ps.movedHere(p, t), time.Now()), move: ps.nextMove(p, t),
	}
	p.loops[t.hash] = l
	if before == nil || !ps.schedule.send(before, event{kind: eventReplace, successor: l}) {
		ps.schedule.send(l, event{kind: eventStart})
	}
}

// ended forgets a loop that is gone.
func (ps *Pools) ended(l *loop) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	p := l.pool
	p.departing.remove(l)
	if p.loops[l.target.hash] == l { // the schedule ended it, but the map of shards or the clock changed meanwhile
		delete(p.loops, l.target.hash)
		ps.lostLoop = true
		ps.checkPhaseNow()
	}
}

// remove ends a job and every loop of it, departing ones too. It sends no markers, as Prometheus does: the job may have
// moved to another scraper, whose samples markers would cut short. The caller holds changing.
func (ps *Pools) remove(name string, p *pool) {
	ps.mu.Lock()
	delete(ps.jobs, name)
	loops, leaving := p.loops, p.departing
	p.loops, p.departing = nil, nil
	ps.mu.Unlock()
	for _, l := range loops {
		ps.schedule.send(l, event{kind: eventStop})
	}
	for _, l := range leaving.all() {
		ps.schedule.send(l, event{kind: eventStop})
	}
	p.dropNext()
	p.state.metrics.gone.Store(true)
	p.state.close()
	ps.env.metrics.forget(name)
}

// Status returns what every job's targets are doing now, by job.
func (ps *Pools) Status() []PoolStatus { return ps.status(false, ofAnyPod) }

func ofAnyPod(Pod) bool { return true }

// status is Status or, if full, FullStatus. It lists the targets of those pods for which of returns true.
func (ps *Pools) status(full bool, of func(Pod) bool) []PoolStatus {
	jobs := ps.statusJobs(full)
	out := make([]PoolStatus, 0, len(jobs))
	for _, j := range jobs {
		j.unwanted = slices.DeleteFunc(j.unwanted, func(r *relabeled) bool { return !r.hasTargetOf(of) })
		var rules *ruleFinder
		if full {
			rules = newRuleFinder(j.cfg)
			j.describeAll()
		}
		s := j.status
		for _, list := range []*[]FoundTarget{&s.Invalid, &s.Duplicates, &s.Elsewhere} {
			*list = slices.DeleteFunc(*list, func(t FoundTarget) bool { return !of(t.Pod) })
		}
		s.Dropped, s.Errors = describe(j.cfg, j.unwanted, rules, of)
		slices.SortFunc(j.loops, func(a, b *loop) int {
			return cmp.Or(cmp.Compare(a.target.shown, b.target.shown), labels.Compare(a.target.labels, b.target.labels))
		})
		s.Targets = make([]TargetStatus, 0, len(j.loops))
		for _, l := range j.loops {
			if t := l.asStatus(); of(t.Pod) {
				s.Targets = append(s.Targets, t)
			}
		}
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b PoolStatus) int { return cmp.Compare(a.Job, b.Job) })
	return out
}

// statusJob is what Status reads of a job. All of it is immutable, or has a lock of its own.
type statusJob struct {
	cfg      *promconfig.ScrapeConfig
	loops    []*loop
	unwanted []*relabeled // groups of which not all targets are scraped
	fullJob
	status PoolStatus
}

// statusJobs copies under the lock what Status describes without it.
func (ps *Pools) statusJobs(full bool) []statusJob {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	all := make([]statusJob, 0, len(ps.jobs))
	for name, p := range ps.jobs {
		all = append(all, statusJob{
			cfg: p.state.cfg, loops: slices.Collect(maps.Values(p.loops)), unwanted: p.wanted.unwanted(),
			status: PoolStatus{Job: name, DroppedCount: p.wanted.dropped, Others: p.wanted.others},
		})
		if full {
			all[len(all)-1].collectAll(ps, p)
		}
	}
	return all
}
