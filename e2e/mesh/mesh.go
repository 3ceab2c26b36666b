// Package mesh simulates Istio's Bookinfo: an ingress gateway, productpage, details, three versions of reviews,
// ratings, and its database, each with the stats page of its Envoy sidecar. Each simulated request passes through the
// mesh (walk.go), so every request that one sidecar reports as the source, another reports as the destination. Ratings
// asks its database by TCP, details asks a service outside the mesh, and a client without a sidecar sends a little
// plaintext. The demo and tests (e2e/meshtest) scrape it.
//
// Invariants: counters never fall. Both reporters of a hop between two sidecars always agree. A page lists families and
// series in a fixed order, and new ones are inserted into it. The same seed and the same calls of Advance give the same
// pages, byte for byte.
package mesh

import (
	"context"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"
)

// Config holds what a test or the demo may choose.
type Config struct {
	Seed              uint64
	RequestsPerSecond float64 // through the ingress gateway
	Replicas          int     // pods of each workload; 0: one
	// Steady makes every tenth of a second bring the same requests, so that each counter that moves grows evenly.
	Steady bool
	// Still makes Run serve the pages without changing values. Only Advance changes them.
	Still bool
	// OneAddress makes all sidecars share 127.0.0.1, even where each could have its own address.
	OneAddress bool
}

// DefaultConfig returns a small mesh under light load.
func DefaultConfig() Config {
	return Config{Seed: 1, RequestsPerSecond: 20}
}

const (
	history = 2 * time.Minute        // simulated before New returns, so that no page starts at zero
	tick    = 100 * time.Millisecond // how often Run changes the values
)

// Mesh holds the sidecars and the traffic between them.
type Mesh struct {
	cfg Config

	listeners []net.Listener // set by Listen, before Run

	// mu guards the fields below and the contents of the proxies.
	mu      sync.Mutex
	rng     *rand.Rand
	uptime  time.Duration
	due     float64       // requests still to simulate, including the fraction of the next one
	owed    time.Duration // of a steady mesh: not simulated yet, less than a tick
	proxies []*proxy
	roles   roles
	ended   stats // what the processes counted that have ended
}

// New returns a mesh with two minutes of history. It does not listen yet.
func New(cfg Config) *Mesh {
	m := &Mesh{cfg: cfg}
	m.seed()
	for _, s := range bookinfo() {
		for n := range max(1, cfg.Replicas) {
			m.proxies = append(m.proxies, newProxy(s.replica(n)))
		}
	}
	m.roles = assignRoles(m.proxies)
	m.Advance(history)
	return m
}

// Advance simulates the requests of the next d.
func (m *Mesh) Advance(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.cfg.Steady {
		m.step(d)
		return
	}
	for m.owed += d; m.owed >= tick; m.owed -= tick {
		m.seed()
		m.step(tick)
	}
}

func (m *Mesh) seed() { m.rng = rand.New(rand.NewPCG(m.cfg.Seed, 0x626f6f6b696e666f)) }

func (m *Mesh) step(d time.Duration) {
	m.uptime += d
	for m.due += m.cfg.RequestsPerSecond * d.Seconds(); m.due >= 1; m.due-- {
		m.visit()
	}
	for _, p := range m.proxies {
		p.age(m.uptime-p.began, m.rng)
	}
}

// Sidecars returns the pods. They have addresses after Listen.
func (m *Mesh) Sidecars() []Sidecar {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []Sidecar
	for _, p := range m.proxies {
		all = append(all, p.sidecar.clone())
	}
	return all
}

// AppendPage appends the current page /stats/prometheus of the i-th sidecar.
func (m *Mesh) AppendPage(dst []byte, i int) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.proxies[i].stats.appendPage(dst)
}

// Run serves the pages until ctx ends, which is not an error, and changes their values unless the mesh is still. It
// calls Listen first if that was not done.
func (m *Mesh) Run(ctx context.Context) error {
	if m.listeners == nil {
		if err := m.Listen(); err != nil {
			return err
		}
	}
	errs := make(chan error, len(m.listeners))
	servers := m.serve(errs)
	defer func() {
		for _, s := range servers {
			s.Close()
		}
	}()

	var ticks <-chan time.Time
	if !m.cfg.Still {
		ticker := time.NewTicker(tick)
		defer ticker.Stop()
		ticks = ticker.C
	}
	last := time.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-errs:
			return err
		case now := <-ticks:
			m.Advance(now.Sub(last))
			last = now
		}
	}
}

// Workloads returns the names of the workloads as in Istio's labels.
func (m *Mesh) Workloads() []string {
	var names []string
	for _, s := range m.Sidecars() {
		names = append(names, s.Workload)
	}
	slices.Sort(names)
	return slices.Compact(names)
}
