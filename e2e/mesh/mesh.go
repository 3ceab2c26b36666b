// Package mesh simulates Istio's Bookinfo: an ingress gateway, productpage, details, three versions of reviews
// and ratings, each with the stats page that its Envoy sidecar would show. Requests walk through the mesh, so
// what one sidecar reports as the source another reports as the destination. The same seed and the same Advance
// calls give the same pages, byte for byte.
//
// Invariants: counters never fall, both reporters of a hop always agree, and a page lists its families and
// series in one order, into which new ones are inserted.
package mesh

import (
	"context"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"
)

// Config is what a test or the demo may choose.
type Config struct {
	Seed              uint64
	RequestsPerSecond float64 // through the ingress gateway
	// Still makes Run serve the pages and leave the values alone: they move by Advance only.
	Still bool
	// OneAddress makes all sidecars share 127.0.0.1 also where each could have an address of its own.
	OneAddress bool
}

// DefaultConfig is a small mesh under light load.
func DefaultConfig() Config {
	return Config{Seed: 1, RequestsPerSecond: 20}
}

const (
	history = 2 * time.Minute        // mesh time that has passed when a Mesh is new: no page starts at zero
	tick    = 100 * time.Millisecond // how often Run moves the values
)

// Mesh is the sidecars and the traffic between them.
type Mesh struct {
	cfg Config

	listeners []net.Listener // set by Listen, before Run

	// mu guards the following, and what is in the proxies.
	mu      sync.Mutex
	rng     *rand.Rand
	uptime  time.Duration
	due     float64 // requests that are due, the fraction of the next one included
	proxies []*proxy
	roles   roles
}

// New makes a mesh with two minutes of history. It listens nowhere yet.
func New(cfg Config) *Mesh {
	m := &Mesh{cfg: cfg, rng: rand.New(rand.NewPCG(cfg.Seed, 0x626f6f6b696e666f))}
	for _, s := range bookinfo() {
		m.proxies = append(m.proxies, newProxy(s))
	}
	m.roles = assignRoles(m.proxies)
	m.Advance(history)
	return m
}

// Advance lets d of mesh time pass: the requests that fall into it walk through the mesh.
func (m *Mesh) Advance(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.uptime += d
	for m.due += m.cfg.RequestsPerSecond * d.Seconds(); m.due >= 1; m.due-- {
		m.visit()
	}
	for _, p := range m.proxies {
		p.age(m.uptime, m.rng)
	}
}

// Sidecars lists the pods. Their addresses are set once Listen has returned.
func (m *Mesh) Sidecars() []Sidecar {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []Sidecar
	for _, p := range m.proxies {
		all = append(all, p.sidecar.clone())
	}
	return all
}

// AppendPage appends what the i-th sidecar's /stats/prometheus shows now.
func (m *Mesh) AppendPage(dst []byte, i int) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.proxies[i].stats.appendPage(dst)
}

// Run serves the pages, and moves their values unless the mesh is still, until ctx ends, which is not an error.
// It listens first if Listen was not called.
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

// Workloads lists the names of the workloads, as Istio's labels call them.
func (m *Mesh) Workloads() []string {
	var names []string
	for _, s := range m.Sidecars() {
		names = append(names, s.Workload)
	}
	slices.Sort(names)
	return slices.Compact(names)
}
