// Package discovery finds what a job may scrape: Prometheus' own discovery of Kubernetes objects, static lists, files
// and HTTP endpoints, so that the labels are those that a user's rules know. It adds what an agent needs beside it: a
// configuration that cannot work is refused before anything runs, an API server that cannot be reached or refuses a
// right is said once and shown, and Synced tells when the first picture is whole.
//
// Invariants:
//   - A group, once handed to the callback of Run, is never changed: neither side may write to it.
//   - Run hands over changes only: a group that is found again as it was is no news.
//   - Equal discoveries of several jobs run once. What was found stays while an API server is away.
//   - Every goroutine started here has ended when Run returns.
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
	promconfig "github.com/prometheus/prometheus/config"
	promdiscovery "github.com/prometheus/prometheus/discovery"
	_ "github.com/prometheus/prometheus/discovery/file" // file_sd_configs
	_ "github.com/prometheus/prometheus/discovery/http" // http_sd_configs
	"go.uber.org/zap"
	"go.uber.org/zap/exp/zapslog"
)

// Manager runs the discoveries of all jobs.
type Manager struct {
	log    *zap.Logger
	slog   *slog.Logger // the same log, for Prometheus' packages
	sd     *promdiscovery.SDMetrics
	kube   kubeMetrics
	prom   *promdiscovery.Metrics // those of Prometheus' discovery manager
	ctx    context.Context        // ends with stop; discoveries and API servers are watched until then
	stop   context.CancelFunc
	pace   pace
	synced chan struct{}
	// changed wakes Run: something is to be handed over.
	changed chan struct{}
	// holding wakes Run: there are held jobs.
	holding chan struct{}

	// wholePods keeps all labels of pods, whatever rules read. Immutable once something was applied.
	wholePods bool

	handing sync.Mutex // held, and taken before mu, from the choice of what is handed over until it is

	mu sync.Mutex // guards the following
	// running is true while Run runs; what Apply wants starts only then.
	running   bool
	nextID    uint64
	jobs      []jobDiscovery // in the order of the configuration
	providers []*provider
	servers   []*server
	held      map[string]bool // jobs whose groups are kept back, see Hold; true: what they wait for was applied
	fresh     map[string]bool // jobs that are to be handed all their groups: they are new, or their discoveries changed
	runners   sync.WaitGroup  // of discoveries and API servers
}

// jobDiscovery is a job and the discoveries that it takes its targets from.
type jobDiscovery struct {
	name      string
	providers []*provider
}

// New makes a manager; the metrics of all kinds of discovery, and its own, are registered with reg.
func New(log *zap.Logger, reg prometheus.Registerer) (*Manager, error) {
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
		log: log, sd: sd, kube: kube, prom: prom, pace: defaultPace(), synced: make(chan struct{}),
		changed: make(chan struct{}, 1), holding: make(chan struct{}, 1), held: map[string]bool{}, fresh: map[string]bool{},
	}
	m.slog = slog.New(zapslog.NewHandler(log.Core()))
	m.ctx, m.stop = context.WithCancel(context.Background())
	if err := reg.Register(newCollector(m)); err != nil {
		return nil, fmt.Errorf("register discovery metrics: %w", err)
	}
	return m, nil
}

// Apply makes the jobs' discoveries the wanted ones; equal ones keep running. A discovery that cannot be made (no such
// kubeconfig, no service account) is an error that names the job, and then nothing changes.
func (m *Manager) Apply(jobs []*promconfig.ScrapeConfig) error {
	p, err := m.Plan(jobs)
	if err != nil {
		return err
	}
	m.Adopt(p)
	return nil
}

// Adopt is Apply for jobs that were planned. Nothing else was adopted since.
func (m *Manager) Adopt(p *Plan) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.adopt(p)
	m.release()
	if m.running {
		m.start()
	}
}

// Plan finds or makes what the jobs need, starts nothing and changes nothing. The error tells every discovery that
// cannot be made, and why. A plan holds nothing open.
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

// adopt makes a plan the wanted state: what no job uses any more is left out. m.mu is held.
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

// replaceJobs makes these the jobs. Jobs whose discoveries changed will be handed all their groups. Metrics of removed
// jobs and discoveries are removed. m.mu is held.
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

// start brings what runs in line with what is wanted. m.mu is held and Run runs.
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

// heard counts an update of a discovery. news tells whether it changed a group.
func (m *Manager) heard(news bool) {
	m.prom.ReceivedUpdates.Inc()
	if news {
		m.wake()
	}
}

// wake has Run hand over what changed.
func (m *Manager) wake() {
	select {
	case m.changed <- struct{}{}:
	default:
	}
}

// Run discovers until ctx ends, which is not an error, and calls apply with what changed, by job, never from two
// goroutines. A job gets all its groups at first and whenever its discoveries change. A manager runs once.
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
	var due <-chan time.Time // when changes are handed over; nil: there are none
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

// Synced is closed the first time that every discovery of the applied jobs has delivered its first picture, or its
// server has said that there is nothing to deliver. A later Apply does not open it again: see Status for that.
func (m *Manager) Synced() <-chan struct{} { return m.synced }

// settled reports whether all that the discoveries found up to now was handed over.
func (m *Manager) settled(now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return !slices.ContainsFunc(m.jobs, func(j jobDiscovery) bool { return m.fresh[j.name] || !m.whole(j, now) })
}

// whole reports whether all discoveries of a job have delivered their first picture, and whether their changes were
// collected. m.mu is held.
func (m *Manager) whole(j jobDiscovery, now time.Time) bool {
	return !slices.ContainsFunc(j.providers, func(p *provider) bool {
		return !p.settled(now, m.pace) || p.hasChanged() && !p.restless(now, m.pace)
	})
}
