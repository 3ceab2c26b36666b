package cluster

import "time"

// StartWithoutPort is Start of a pod that does not declare Envoy's port, so that discovery must not keep it.
func (c *Cluster) StartWithoutPort(workload string) *Pod {
	c.mu.Lock()
	defer c.unlock()
	p := c.newPod(workload, c.pickNode())
	p.noPort = true
	c.begin(p)
	return p
}

// Relabel changes a label of a pod.
func (c *Cluster) Relabel(p *Pod) {
	c.mu.Lock()
	defer c.unlock()
	if p.state == Running || p.state == Terminating {
		p.track++
		c.reach(p, p.state)
	}
}

// Recreate ends a pod that runs. Within two seconds a pod with the same name starts, and gets an address that no pod of
// the name had before.
func (c *Cluster) Recreate(p *Pod) {
	c.mu.Lock()
	defer c.unlock()
	if p.state != Running {
		return
	}
	c.end(p)
	c.reach(p, Ended)
	c.after(0, 2*time.Second, func() {
		c.reach(p, Gone)
		next := c.newPod(p.Workload, c.pickNode())
		next.Name, next.had, next.noPort = p.Name, append(p.had, p.ip), p.noPort
		c.begin(next)
	})
}

// TakeOver ends a pod that runs, and has another pod of its workload run at its address at once.
func (c *Cluster) TakeOver(p *Pod) {
	c.mu.Lock()
	defer c.unlock()
	if p.state != Running {
		return
	}
	c.kill(p)
	c.reach(p, Ended)
	c.forget(p, 2*time.Second)
	next := c.newPod(p.Workload, p.Node)
	c.pods[next.Name] = next
	c.reach(next, Pending)
	c.runAt(next, p.ip)
}
