// Package discovery finds what a job may scrape: Prometheus' own discovery of Kubernetes objects, static lists, files
// and HTTP endpoints, so that the labels are those that a user's rules know. It adds what an agent needs beside it: a
// configuration that cannot work is refused before anything runs, an API server that cannot be reached or refuses a
// right is said once and shown, and Synced tells when the first picture is whole.
//
// Invariants:
//   - A group, once handed to the callback of Run, is never changed: neither side may write to it.
//   - Equal discoveries of several jobs run once. What was found stays while an API server is away.
//   - Every goroutine started here has ended when Run returns, but those that Prometheus' manager ends by itself.
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
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"go.uber.org/zap"
	"go.uber.org/zap/exp/zapslog"
)

const (
	// updateInterval is how soon a change may follow another to the targets. Prometheus waits 5 s.
	updateInterval = time.Second
	// maxRest is the longest that updates wait while applying them is expensive: Prometheus' interval.
	maxRest = 5 * time.Second
	// restShare is how long updates wait for each second that applying one took: 5 % of a core at most.
	restShare = 19
)

// Manager runs the discoveries of all jobs.
type Manager struct {
	log    *zap.Logger
	slog   *slog.Logger // the same log, for Prometheus' packages
	sd     *promdiscovery.SDMetrics
	kube   kubeMetrics
	prom   *promdiscovery.Manager
	ctx    context.Context // ends with stop: Prometheus' manager wants it when it is made
	stop   context.CancelFunc
	pace   pace
	synced chan struct{}
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
	probers   sync.WaitGroup
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
	m := &Manager{log: log, sd: sd, kube: kube, pace: defaultPace(), synced: make(chan struct{}), held: map[string]bool{}, holding: make(chan struct{}, 1)}
	m.slog = slog.New(zapslog.NewHandler(log.Core()))
	m.ctx, m.stop = context.WithCancel(context.Background())
	m.prom = promdiscovery.NewManager(m.ctx, m.slog, reg, sd, promdiscovery.Name("scrape"), promdiscovery.Updatert(updateInterval))
	if m.prom == nil {
		return nil, errors.New("register discovery metrics: the metrics of Prometheus' discovery are registered already")
	}
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
	return m.Adopt(p)
}

// Adopt is Apply for jobs that were planned. Nothing else was adopted since.
func (m *Manager) Adopt(p *Plan) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.adopt(p)
	m.release()
	if m.running {
		return m.start()
	}
	return nil
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
	m.jobs = p.jobs
	m.providers = slices.DeleteFunc(p.providers, func(prov *provider) bool { return len(users[prov]) == 0 })
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

// start brings what runs in line with what is wanted. m.mu is held and Run runs.
func (m *Manager) start() error {
	for _, s := range m.servers {
		if s.started {
			s.wakeUp()
			continue
		}
		s.started = true
		ctx, cancel := context.WithCancel(m.ctx)
		s.cancel = cancel
		m.probers.Go(func() { s.run(ctx) })
	}
	wanted := map[string]promdiscovery.Configs{}
	for _, j := range m.jobs {
		configs := promdiscovery.Configs{}
		for _, prov := range j.providers {
			configs = append(configs, observed{id: prov.id, Config: prov.config, provider: prov})
		}
		wanted[j.name] = configs
	}
	return m.prom.ApplyConfig(wanted)
}

// Run discovers until ctx ends, which is not an error, and hands every change to apply: for each job all its groups,
// never from two goroutines. A manager runs once.
func (m *Manager) Run(ctx context.Context, apply func(map[string][]*targetgroup.Group)) error {
	defer m.stop()
	m.mu.Lock()
	m.running = true
	err := m.start()
	m.mu.Unlock()
	if err != nil {
		return fmt.Errorf("start discovery: %w", err)
	}
	var prom sync.WaitGroup
	prom.Go(func() { _ = m.prom.Run() }) // its error is only ctx's
	defer func() {
		m.stop()
		prom.Wait()
		m.probers.Wait()
	}()

	tick := time.NewTicker(m.pace.settleCheck)
	defer tick.Stop()
	settleTick := tick.C
	updates := m.prom.SyncCh()
	var rested <-chan time.Time
	var delivered map[string]int
	kept := map[string][]*targetgroup.Group{} // of held jobs
	synced := false
	for {
		select {
		case <-ctx.Done():
			return nil
		case groups, ok := <-updates:
			if !ok {
				updates = nil // stopped; ctx follows
				continue
			}
			began := time.Now()
			delivered = countGroups(groups)
			m.hand(groups, kept, apply)
			if rest := min(restShare*time.Since(began), maxRest); rest > updateInterval {
				updates, rested = nil, time.After(rest)
			}
		case <-rested:
			updates, rested = m.prom.SyncCh(), nil
		case <-m.holding:
			settleTick = tick.C
			m.forgetHeld(delivered)
		case <-settleTick:
			now := time.Now()
			m.handDue(now, delivered, kept, apply)
			if !synced && m.settled(now, delivered) {
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

// settled reports whether all that the discoveries found up to now was delivered.
func (m *Manager) settled(now time.Time, delivered map[string]int) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, j := range m.jobs {
		if !m.whole(j, now, delivered) {
			return false
		}
	}
	return delivered != nil || len(m.jobs) == 0
}

// whole reports whether the first picture of a job is, and came with the latest update. m.mu is held.
func (m *Manager) whole(j jobDiscovery, now time.Time, delivered map[string]int) bool {
	found, late := 0, false
	for _, prov := range j.providers {
		if !prov.settled(now, m.pace) {
			return false
		}
		found += prov.groups()
		late = late || prov.restless(now, m.pace)
	}
	n, ok := delivered[j.name]
	return late || ok && n == found
}

func countGroups(groups map[string][]*targetgroup.Group) map[string]int {
	n := make(map[string]int, len(groups))
	for job, g := range groups {
		n[job] = len(g)
	}
	return n
}
