package cluster

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/envoy-scraper/envoy-scraper/internal/chance"
	"github.com/envoy-scraper/envoy-scraper/internal/simulate/apiserver"
	"github.com/envoy-scraper/envoy-scraper/internal/simulate/network"
	"github.com/envoy-scraper/envoy-scraper/internal/simulate/sidecar"
)

// Namespace is where all pods are.
const Namespace = "shop"

// EnvoyPort is where Envoys listen.
const EnvoyPort = 15090

// Options are what a cluster is made of.
type Options struct {
	Network *network.Network
	API     *apiserver.Server
	Seed    uint64
	Nodes   int // 0: 3
	Series  int // approximate number of series on a page; 0: 50

	Changed func(*Pod, State)         // called after a pod has reached a state; may be nil
	Served  func(*Pod, *sidecar.Page) // called after each answer of an Envoy; may be nil
	Refused func(*Pod, error)         // called for each request that a strict server refuses; may be nil
}

// State is a step in the life of a pod.
type State uint8

const (
	Pending     State = iota // it has no address
	Running                  // its Envoy answers, or is about to after a restart
	Terminating              // it has a deletionTimestamp; its Envoy still answers
	Ended                    // its process ended; the API server shows it as it was
	Failed                   // it was evicted: its process ended, and the API server says so
	Succeeded                // its process ended by itself, and the API server says so
	Lost                     // its node has no power; the API server shows it as it was
	Gone                     // the API server does not show it
)

// Cluster is nodes and pods. Safe for concurrent use.
type Cluster struct {
	options Options
	serving sync.WaitGroup // Envoys

	mu      sync.Mutex // guards the following; not held while something waits
	rnd     *rand.Rand
	pods    map[string]*Pod     // that the API server shows, by name
	free    map[string][]string // addresses by node; the last is given out next
	down    map[string]bool     // nodes without power
	starts  int
	steps   int64 // number of calls of after
	timers  map[*time.Timer]bool
	notices []func() // calls of Changed, to make when mu is free
	closed  bool
}

// New returns a cluster without pods.
func New(o Options) *Cluster {
	o.Nodes, o.Series = cmp.Or(o.Nodes, 3), cmp.Or(o.Series, 50)
	c := &Cluster{
		options: o, rnd: chance.Seeded(o.Seed).Of("cluster").Rand(), pods: map[string]*Pod{},
		free: map[string][]string{}, down: map[string]bool{}, timers: map[*time.Timer]bool{},
	}
	for i := range o.Nodes {
		for n := 250; n > 1; n-- {
			c.free[nodeName(i)] = append(c.free[nodeName(i)], fmt.Sprintf("10.1.%d.%d", i, n))
		}
	}
	return c
}

func nodeName(i int) string { return fmt.Sprintf("node-%d", i) }

// unlock unlocks mu, then calls Changed for each new state.
func (c *Cluster) unlock() {
	notices := c.notices
	c.notices = nil
	c.mu.Unlock()
	for _, notify := range notices {
		notify()
	}
}

// Pods returns the pods that the API server shows, in the order of their starts.
func (c *Cluster) Pods() []*Pod {
	c.mu.Lock()
	defer c.unlock()
	return c.sorted()
}

func (c *Cluster) sorted() []*Pod {
	return slices.SortedFunc(maps.Values(c.pods), func(a, b *Pod) int { return cmp.Compare(a.number, b.number) })
}

// after calls a function with mu held when a time between least and most has passed, unless the cluster is closed by
// then. The nanoseconds differ from call to call, so two calls seldom run at one instant. The caller holds mu.
func (c *Cluster) after(least, most time.Duration, f func()) {
	c.steps++
	wait := least + time.Duration(c.rnd.Int64N(int64((most-least)/time.Microsecond)+1))*time.Microsecond
	var timer *time.Timer
	timer = time.AfterFunc(wait+time.Duration(c.steps%1000), func() {
		c.mu.Lock()
		defer c.unlock()
		if !c.closed {
			delete(c.timers, timer)
			f()
		}
	})
	c.timers[timer] = true
}

// Start adds a pod to a workload. It runs after some seconds.
func (c *Cluster) Start(workload string) *Pod {
	c.mu.Lock()
	defer c.unlock()
	return c.start(workload)
}

func (c *Cluster) start(workload string) *Pod {
	p := c.newPod(workload, c.pickNode())
	c.begin(p)
	return p
}

// newPod returns a pod that the API server does not show yet.
func (c *Cluster) newPod(workload, node string) *Pod {
	c.starts++
	return &Pod{
		Name: fmt.Sprintf("%s-7d4b9c-%05d", workload, c.starts), Workload: workload, Node: node,
		number: c.starts, cluster: c, since: time.Now(),
	}
}

// begin shows a new pod. It runs after some seconds.
func (c *Cluster) begin(p *Pod) {
	c.pods[p.Name] = p
	c.reach(p, Pending)
	c.after(500*time.Millisecond, 4*time.Second, func() { c.run(p) })
}

// pickNode returns a node with power, if there is one.
func (c *Cluster) pickNode() string {
	first := c.rnd.IntN(c.options.Nodes)
	for i := range c.options.Nodes {
		if name := nodeName((first + i) % c.options.Nodes); !c.down[name] {
			return name
		}
	}
	return nodeName(first)
}

// reach sets the state of a pod and shows it.
func (c *Cluster) reach(p *Pod, state State) {
	p.state = state
	switch state {
	case Gone:
		delete(c.pods, p.Name)
		c.options.API.Remove(Namespace, p.Name)
	case Pending, Running, Terminating, Failed, Succeeded:
		p.shown = p.object()
		c.options.API.Put(p.shown)
	}
	if c.options.Changed != nil {
		c.notices = append(c.notices, func() { c.options.Changed(p, state) })
	}
}

// run gives a pod its address and its Envoy.
func (c *Cluster) run(p *Pod) {
	free := c.free[p.Node]
	last := len(free) - 1
	for last >= 0 && slices.Contains(p.had, free[last]) {
		last--
	}
	if p.state != Pending || c.down[p.Node] || last < 0 {
		return
	}
	ip := free[last]
	c.free[p.Node] = slices.Delete(free, last, last+1)
	c.runAt(p, ip)
}

// runAt gives a pod an address that no process has, and its Envoy.
func (c *Cluster) runAt(p *Pod, ip string) {
	p.ip = ip
	p.host = c.options.Network.Host(p.ip)
	l, err := p.host.Listen("tcp", fmt.Sprintf(":%d", EnvoyPort))
	if err != nil {
		panic(fmt.Sprintf("cluster: %s: %v", p.Name, err))
	}
	o := sidecar.Options{
		Namespace: Namespace, Pod: p.Name, Workload: p.Workload, Series: c.options.Series, Seed: c.options.Seed,
		OpenMetrics: c.rnd.IntN(8) == 0, Gzip: c.rnd.IntN(4) == 0,
	}
	if c.options.Served != nil {
		o.Served = func(page *sidecar.Page) { c.options.Served(p, page) }
	}
	if c.options.Refused != nil {
		o.Refused = func(err error) { c.options.Refused(p, err) }
	}
	envoy := sidecar.New(o)
	p.envoy = envoy
	c.serving.Go(func() { envoy.Serve(l) })
	c.reach(p, Running)
}

// end ends the process of a pod. Its address is free some time later.
func (c *Cluster) end(p *Pod) {
	c.kill(p)
	c.after(0, 2*time.Second, func() { c.release(p) })
}

// kill ends the process of a pod, which keeps its address.
func (c *Cluster) kill(p *Pod) {
	c.options.Network.End(p.restartFault())
	p.host.Kill()
	p.host = nil
}

func (c *Cluster) release(p *Pod) { c.free[p.Node] = append(c.free[p.Node], p.ip) }

// Delete ends a pod within a grace period.
func (c *Cluster) Delete(p *Pod, grace time.Duration) {
	c.mu.Lock()
	defer c.unlock()
	c.remove(p, grace)
}

func (c *Cluster) remove(p *Pod, grace time.Duration) {
	switch p.state {
	case Pending:
		c.reach(p, Gone)
	case Failed, Succeeded:
		c.forget(p, time.Second)
	case Running:
		p.deleted = time.Now().Add(grace)
		c.reach(p, Terminating)
		c.after(0, grace, func() {
			if p.state == Terminating {
				c.end(p)
				c.reach(p, Ended)
				c.forget(p, 2*time.Second)
			}
		})
	}
}

// forget removes a pod from the API server after at most most.
func (c *Cluster) forget(p *Pod, most time.Duration) {
	c.after(0, most, func() {
		if p.state != Gone {
			c.reach(p, Gone)
		}
	})
}

// Evict ends a pod at once. The API server shows it as Failed until it is deleted.
func (c *Cluster) Evict(p *Pod) { c.finish(p, Failed) }

// Complete ends a pod, as the end of a Job does. The API server shows it as Succeeded until it is deleted.
func (c *Cluster) Complete(p *Pod) { c.finish(p, Succeeded) }

func (c *Cluster) finish(p *Pod, state State) {
	c.mu.Lock()
	defer c.unlock()
	if p.state == Running || p.state == Terminating {
		c.end(p)
		c.reach(p, state)
	}
}

// Restart ends the Envoy of a pod, and begins it again after some seconds.
func (c *Cluster) Restart(p *Pod) {
	c.mu.Lock()
	defer c.unlock()
	if p.state != Running {
		return
	}
	p.restarts++
	c.options.Network.Begin(p.restartFault(), network.Fault{Kind: network.Refuse, To: p.ip})
	p.envoy.Restart()
	c.after(time.Second, 4*time.Second, func() {
		if p.state == Running {
			c.options.Network.End(p.restartFault())
			c.reach(p, Running)
		}
	})
}

// Move deletes a pod and starts another of its workload.
func (c *Cluster) Move(p *Pod, grace time.Duration) *Pod {
	c.mu.Lock()
	defer c.unlock()
	c.remove(p, grace)
	return c.start(p.Workload)
}

// nodeTimeout is the shortest time from the power loss of a node until the API server removes its pods.
const nodeTimeout = 5 * time.Minute

// Lose takes the power of a node away. It is back, without its pods, when the API server has forgotten them.
func (c *Cluster) Lose(node int) {
	c.mu.Lock()
	defer c.unlock()
	name := nodeName(node % c.options.Nodes)
	if c.down[name] {
		return
	}
	c.down[name] = true
	var lost []*Pod
	for _, p := range c.sorted() {
		if p.Node != name || p.finished() || p.state == Ended {
			continue
		}
		if p.host != nil {
			c.options.Network.End(p.restartFault())
			p.host.Vanish()
			p.host = nil
		}
		c.reach(p, Lost)
		lost = append(lost, p)
	}
	c.after(nodeTimeout, nodeTimeout+time.Minute, func() {
		c.down[name] = false
		for _, p := range lost {
			if p.ip != "" {
				c.release(p)
			}
			c.reach(p, Gone)
		}
	})
}

// Show puts all pods into the API server again, as it should show them. Call it after Rewind.
func (c *Cluster) Show() {
	c.mu.Lock()
	defer c.unlock()
	for _, shown := range c.options.API.Pods() {
		if c.pods[shown.Name] == nil {
			c.options.API.Remove(shown.Namespace, shown.Name)
		}
	}
	for _, p := range c.sorted() {
		if p.shown != nil {
			c.options.API.Put(p.shown)
		}
	}
}

// Close ends all processes. No goroutine is left when it returns.
func (c *Cluster) Close() {
	c.mu.Lock()
	c.closed = true
	for timer := range c.timers {
		timer.Stop()
	}
	for _, p := range c.sorted() {
		if p.host != nil {
			p.host.Kill()
			p.host = nil
		}
	}
	c.unlock()
	c.serving.Wait()
}
