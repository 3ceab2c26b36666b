package discovery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	config_util "github.com/prometheus/common/config"
	promconfig "github.com/prometheus/prometheus/config"
	promdiscovery "github.com/prometheus/prometheus/discovery"
	_ "github.com/prometheus/prometheus/discovery/file" // file_sd_configs
	_ "github.com/prometheus/prometheus/discovery/http" // http_sd_configs
	"go.uber.org/zap"
	"go.uber.org/zap/exp/zapslog"

	"github.com/envoy-scraper/envoy-scraper/internal/chance"
)

// Dial connects to an address, as net.Dialer's DialContext does.
type Dial = config_util.DialContextFunc

// Options are the parts of the machine that discovery uses, except for files. The zero Options are the machine.
type Options struct {
	// Dial connects to API servers and to HTTP discoveries; nil: by the network of the machine. Prometheus' own
	// discovery of other roles than pod, and of pods with attach_metadata, does not use it.
	Dial   Dial
	Chance chance.Source // varies waiting times, so that instances do not ask at the same moment
}

// Manager runs the discoveries of all jobs.
type Manager struct {
	opts   Options
	log    *zap.Logger
	slog   *slog.Logger // the same log, for Prometheus' packages
	sd     *promdiscovery.SDMetrics
	kube   kubeMetrics
	prom   *promdiscovery.Metrics // of Prometheus' discovery manager
	ctx    context.Context        // of all discoveries and watchers of API servers; stop ends it
	stop   context.CancelFunc
	pace   pace
	synced chan struct{}
	// changed wakes Run: there are changes to hand over.
	changed chan struct{}
	// holding wakes Run: there are held jobs.
	holding chan struct{}

	// wholePods keeps all labels of pods, also those that no rule reads. Immutable after the first Apply.
	wholePods bool
	// keepsOwners says for which jobs the controllers of pods are kept; nil: for none. Immutable after the first Apply.
	keepsOwners func(job string) bool
	// partly lets Look go on without the namespaces that may not be listed. Immutable after the first Apply.
	partly bool

	handing sync.Mutex // held while changes are collected and handed over; taken before mu

	mu sync.Mutex // guards the following
	// running is true while Run runs. Discoveries are started only then.
	running   bool
	nextID    uint64
	jobs      []jobDiscovery // in the order of the configuration
	providers []*provider
	servers   []*server
	held      map[string]bool // jobs whose groups are kept back, see Hold; true: Adopt was called since
	fresh     map[string]bool // jobs to hand all groups to: new jobs, or their discoveries changed
	runners   sync.WaitGroup  // of discoveries and API servers
}

// jobDiscovery is a job and the discoveries that it takes its targets from.
type jobDiscovery struct {
	name      string
	providers []*provider
}

// New returns a manager. It registers the metrics of all kinds of discovery, and its own, with reg.
func New(opts Options, log *zap.Logger, reg prometheus.Registerer) (*Manager, error) {
	sd, err := promdiscovery.CreateAndRegisterSDMetrics(reg)
	if err != nil {
		return nil, fmt.Errorf("register discovery metrics: %w", err)
	}
	kube, err := newKubeMetrics(reg)
	if err != nil {
		return nil, fmt.Errorf("register discovery metrics: %w", err)
	}
	prom, err := promdiscovery.NewManagerMetrics(reg, "scrape")
	if err != nil {
		return nil, fmt.Errorf("register discovery metrics: %w", err)
	}
	m := &Manager{
		opts: opts, log: log, sd: sd, kube: kube, prom: prom, pace: defaultPace(), synced: make(chan struct{}),
		changed: make(chan struct{}, 1), holding: make(chan struct{},
			1), held: map[string]bool{}, fresh: map[string]bool{},
	}
	m.pace.chance = opts.Chance
	m.slog = slog.New(zapslog.NewHandler(log.Core()))
	m.ctx, m.stop = context.WithCancel(context.Background())
	if err := reg.Register(newCollector(m)); err != nil {
		return nil, fmt.Errorf("register discovery metrics: %w", err)
	}
	return m, nil
}

// KeepOwners keeps the controllers of pods, from which OwnerOf reads their workloads, for jobs for which of returns
// true, although no rule reads them. Hold and Plan call it. Call KeepOwners before the first Apply.
func (m *Manager) KeepOwners(of func(job string) bool) { m.keepsOwners = of }

// Apply replaces the running discoveries by those of jobs. Discoveries that are equal to running ones keep running. If
// a discovery cannot be made (no such kubeconfig, no service account), Apply changes nothing and returns an error that
// names the job.
func (m *Manager) Apply(jobs []*promconfig.ScrapeConfig) error {
	p, err := m.Plan(jobs)
	if err != nil {
		return err
	}
	m.Adopt(p)
	return nil
}

// Adopt makes a plan the wanted state. No other plan may have been adopted since p was made.
func (m *Manager) Adopt(p *Plan) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.adopt(p)
	m.release()
	if m.running {
		m.start()
	}
}

// Plan finds or makes the discoveries of jobs. It starts nothing and changes nothing. The error names every discovery
// that cannot be made, and why. A plan that is not adopted needs no cleanup.
func (m *Manager) Plan(jobs []*promconfig.ScrapeConfig) (*Plan, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := &Plan{m: m, reads: m.readsOf(jobs), providers: slices.Clone(m.providers), servers: slices.Clone(m.servers)}
	for _, job := range jobs {
		p.add(job)
	}
	if err := errors.Join(p.errs...); err != nil {
		return nil, err
	}
	return p, nil
}

// adopt makes a plan the wanted state and stops discoveries and servers that no job uses. m.mu is held.
func (m *Manager) adopt(p *Plan) {
	users := map[*provider][]string{}
	for _, j := range p.jobs {
		for _, prov := range j.providers {
			users[prov] = append(users[prov], j.name)
		}
	}
	m.replaceJobs(p.jobs)
	m.providers = slices.DeleteFunc(p.providers, func(prov *provider) bool {
		if len(users[prov]) == 0 {
			prov.stop()
			return true
		}
		return false
	})
	wanted := map[*server][]*provider{}
	for _, prov := range m.providers {
		prov.setJobs(users[prov])
		if prov.server != nil {
			wanted[prov.server] = append(wanted[prov.server], prov)
		}
	}
	m.servers = slices.DeleteFunc(p.servers, func(s *server) bool {
		if len(wanted[s]) == 0 {
			s.stop()
			return true
		}
		return false
	})
	for _, s := range m.servers {
		s.setProviders(wanted[s])
	}
}

// replaceJobs replaces the jobs, marks those whose discoveries changed as fresh, and deletes the metrics of removed
// jobs and discoveries. m.mu is held.
func (m *Manager) replaceJobs(jobs []jobDiscovery) {
	before := m.jobs
	m.jobs = jobs
	for _, old := range before {
		j, ok := m.job(old.name)
		if !ok {
			delete(m.fresh, old.name)
			m.prom.DiscoveredTargets.DeleteLabelValues(old.name)
			m.prom.LastUpdated.DeleteLabelValues(old.name)
		}
		for _, prov := range old.providers {
			if !slices.ContainsFunc(j.providers, func(p *provider) bool { return p.kind == prov.kind }) {
				m.sd.RefreshManager.DeleteLabelValues(prov.kind, old.name)
			}
		}
	}
	for _, j := range jobs {
		same := func(old jobDiscovery) bool { return old.name == j.name && slices.Equal(old.providers, j.providers) }
		if !slices.ContainsFunc(before, same) {
			m.fresh[j.name] = true
		}
	}
}

// job finds a job by its name. m.mu is held.
func (m *Manager) job(name string) (jobDiscovery, bool) {
	i := slices.IndexFunc(m.jobs, func(j jobDiscovery) bool { return j.name == name })
	if i < 0 {
		return jobDiscovery{}, false
	}
	return m.jobs[i], true
}

// start starts the discoveries and server watchers that do not run yet. m.mu is held and Run runs.
func (m *Manager) start() {
	for _, s := range m.servers {
		if s.cancel != nil {
			s.wakeUp()
			continue
		}
		ctx, cancel := context.WithCancel(m.ctx)
		s.cancel = cancel
		m.runners.Go(func() { s.run(ctx) })
	}
	for _, p := range m.providers {
		if p.cancel != nil {
			continue
		}
		ctx, cancel := context.WithCancel(m.ctx)
		p.cancel = cancel
		m.runners.Go(func() { p.run(ctx, m.heard) })
	}
	if len(m.fresh) > 0 {
		m.wake()
	}
}

// heard counts an update of a discovery and wakes Run if the update changed a group.
func (m *Manager) heard(changed bool) {
	m.prom.ReceivedUpdates.Inc()
	if changed {
		m.wake()
	}
}

// wake makes Run hand over changes.
func (m *Manager) wake() {
	select {
	case m.changed <- struct{}{}:
	default:
	}
}

// Run discovers until ctx ends, which is not an error. It calls apply with the changes by job, always from the same
// goroutine. A job gets all its groups at first and whenever its discoveries change. Run may be called once.
func (m *Manager) Run(ctx context.Context, apply func(map[string]Update)) error {
	defer func() {
		m.stop()
		m.runners.Wait()
	}()
	m.mu.Lock()
	m.running = true
	m.start()
	m.mu.Unlock()

	tick := time.NewTicker(m.pace.settleCheck)
	defer tick.Stop()
	settleTick := tick.C
	var due <-chan time.Time // when changes are handed over; nil: there are no changes
	var batch batching
	synced := false
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-m.changed:
			if due == nil {
				due = time.After(batch.next(time.Now()))
			}
		case <-due:
			due = nil
			m.hand(apply)
		case <-m.holding:
			settleTick = tick.C
		case <-settleTick:
			now := time.Now()
			m.handDue(now, apply)
			if !synced && m.settled(now) {
				close(m.synced)
				synced = true
			}
			if synced && !m.waiting() {
				settleTick = nil
			}
		}
	}
}

// Synced is closed as soon as every discovery of the applied jobs has delivered its first complete set of groups, or
// its server has answered that there are no objects. A later Apply does not reopen it: Status shows new discoveries.
func (m *Manager) Synced() <-chan struct{} { return m.synced }

// settled reports whether every job was handed its first complete set of groups.
func (m *Manager) settled(now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return !slices.ContainsFunc(m.jobs, func(j jobDiscovery) bool { return m.fresh[j.name] || !m.whole(j, now) })
}

// whole reports whether all discoveries of a job have delivered their first complete set of groups, and whether those
// groups were collected. m.mu is held.
func (m *Manager) whole(j jobDiscovery, now time.Time) bool {
	return !slices.ContainsFunc(j.providers, func(p *provider) bool {
		return !p.settled(now, m.pace) || p.hasChanged() && !p.restless(now, m.pace)
	})
}
