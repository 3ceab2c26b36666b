package mesh

import "fmt"

// replica returns the n-th pod of the sidecar's workload. The 0th is the sidecar itself.
func (s Sidecar) replica(n int) Sidecar {
	c := s.clone()
	if n > 0 {
		c.Pod = fmt.Sprintf("%s%d", s.Pod, n)
		c.UID = fmt.Sprintf("%s-%d", s.UID, n)
	}
	return c
}

// Restart ends the process of the i-th sidecar and begins another one, whose counters are at zero. A pod whose name is
// not empty takes the place of the sidecar's pod. Without a name it is the same pod: its container restarts.
func (m *Mesh) Restart(i int, pod string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.proxies[i]
	m.ended.merge(&p.stats)
	fresh := newProxy(p.sidecar)
	if fresh.began = m.uptime; pod != "" {
		fresh.sidecar.Pod = pod
	}
	fresh.age(0, m.rng)
	*p = *fresh
}

// AppendTotals appends a page with the sum of all pages, also of the processes that have ended. It is what the mesh has
// done since it began. Gauges are sums, too, and mean nothing.
func (m *Mesh) AppendTotals(dst []byte) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	var total stats
	total.merge(&m.ended)
	for _, p := range m.proxies {
		total.merge(&p.stats)
	}
	return total.appendPage(dst)
}

// merge adds the cells of other.
func (s *stats) merge(other *stats) {
	for _, f := range other.families {
		for _, c := range f.cells {
			into := s.cell(f.kind, f.name, c.labels)
			into.value += c.value
			into.sum += c.sum
			for i, n := range c.buckets {
				into.buckets[i] += n
			}
		}
	}
}
