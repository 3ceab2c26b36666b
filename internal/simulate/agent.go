package simulate

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/envoy-scraper/envoy-scraper/internal/agent"
	"github.com/envoy-scraper/envoy-scraper/internal/chance"
	"github.com/envoy-scraper/envoy-scraper/internal/config"
	"github.com/envoy-scraper/envoy-scraper/internal/simulate/disk"
	"github.com/envoy-scraper/envoy-scraper/internal/simulate/network"
	"github.com/envoy-scraper/envoy-scraper/internal/simulate/oracle"
	"github.com/envoy-scraper/envoy-scraper/internal/via"
	"github.com/envoy-scraper/envoy-scraper/internal/web"
)

// runner is one agent: its address, its disk, and the process that runs now.
type runner struct {
	world    *world
	n        int    // index, from 0
	file     string // path of the configuration
	revision revision
	shards   sharing // the number of agents, as this one knows it
	memory   int64   // for pages that its next process reads concurrently
	stopped  int     // faults that keep it stopped
	leftOut  bool    // it is more than the number of agents
	disk     *disk.Disk
	process  *process            // nil: none runs
	lives    int                 // starts so far, failed ones too
	failures int                 // of starts, in a row
	waiting  bool                // for the next start after a failed one
	dropped  map[dropped]float64 // samples dropped by processes that have ended
	left     []*process          // killed ones, whose goroutines have not ended yet
	slow     slowDisk
	crashes  int // power cuts so far
}

// process is one life of an agent.
type process struct {
	agent  *agent.Agent
	reg    *prometheus.Registry
	host   *network.Host
	cancel context.CancelFunc
	done   chan error
	killed atomic.Bool
	stops  atomic.Bool // it was asked to stop

	began   time.Time
	scrapes *scrapeCounters // not yet judged; nil: none were read
	backlog map[string]int  // by endpoint: samples found in the queue at the start, as counters say (judgeEndpoints)
}

// Memory for pages that a process reads concurrently, in bytes.
const (
	usualMemory = 64 << 20
	leastMemory = 1 << 20 // of --scrape.max-memory: eight pages
)

// flushDeadline is how long an agent that stops, or a removed endpoint, delivers what is queued.
const flushDeadline = 4 * time.Second

func agentAddress(n int) string { return fmt.Sprintf("10.0.1.%d", n+1) }

func newRunner(w *world, n int) *runner {
	r := &runner{
		world: w, n: n, file: filepath.Join(w.opts.Dir, fmt.Sprintf("agent-%d.yaml", n)),
		revision: w.revision, memory: usualMemory, shards: sharing{count: max(1, w.opts.Agents)},
		dropped: map[dropped]float64{},
		disk:    disk.NewWithChance(chance.Seeded(w.opts.Seed).Of(fmt.Sprint("disk ", n)).Rand()),
	}
	r.disk.Repeats = repeats
	return r
}

// write writes the file of the agent.
func (r *runner) write() error {
	text := r.revision.yaml(r.world)
	if !r.world.shardsByFlag() {
		text += r.shards.yaml()
	}
	if bad := r.world.bad; bad != nil {
		text = bad.of(text)
	}
	return os.WriteFile(r.file, []byte(text), 0o600)
}

// isOut reports whether no process of the agent is to run.
func (r *runner) isOut() bool { return r.leftOut || r.stopped > 0 }

// options returns the flags of the agent.
func (r *runner) options() config.Options {
	o := config.Options{File: r.file, Hostname: "sim", FlushDeadline: flushDeadline,
		ListenAddress: agentAddress(r.n) + ":9095"}
	if r.world.opts.Agents > 1 {
		o.ShardIndex = strconv.Itoa(r.n)
		if r.world.shardsByFlag() {
			o.ShardCount = strconv.Itoa(r.shards.count)
		}
	}
	return o
}

// configure gives the oracle the configuration of r, unless the oracle has it already: all agents load the same. asked
// is when the agent began to load it.
func (w *world) configure(r revision, cfg *config.Config, asked time.Time) {
	if w.configured == nil || *w.configured != r {
		w.configured = &r
		rules := rulesOf(cfg)
		rules.Asked = asked
		w.oracle.Configure(rules)
	}
}

// start starts a process on what the disk has.
func (r *runner) start() error {
	w := r.world
	if err := r.write(); err != nil {
		return err
	}
	opts := r.options()
	cfg, err := config.Load(opts)
	if err != nil {
		return err
	}
	r.lives++
	p := &process{reg: prometheus.NewRegistry(), host: w.network.Host(agentAddress(r.n)), done: make(chan error, 1),
		began: time.Now(), backlog: map[string]int{}}
	p.agent, err = agent.Open(agent.Settings{
		Config: cfg, Options: opts, StoragePath: "data", ScrapeMemory: r.memory, Via: via.Direct,
		ViaLimits: via.DefaultLimits(), Web: web.Config{ListenAddress: opts.ListenAddress},
	}, agent.World{
		Dial: p.host.Dial, Listen: p.host.Listen, Files: r.disk, Host: fmt.Sprint("agent-", r.n),
		Chance: chance.Seeded(w.opts.Seed).Of(fmt.Sprintf("agent %d life %d", r.n, r.lives)),
	}, w.logs.logger(&p.killed), p.reg)
	if err != nil {
		p.host.Kill()
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	r.process = p
	r.forgive()
	w.configure(r.revision, cfg, time.Now())
	w.oracle.Started(agentAddress(r.n))
	r.share()
	go func() {
		err := p.agent.Run(ctx)
		p.agent.Close()
		p.done <- err
	}()
	synctest.Wait() // all parts run: a reload holds locks over calls of the disk, on which a start would wait
	return nil
}

// rulesOf returns what the oracle has to know of a configuration.
func rulesOf(cfg *config.Config) oracle.Rules {
	rules := oracle.Rules{Jobs: cfg.Jobs, ExternalLabels: cfg.RemoteWrite.ExternalLabels}
	for _, e := range cfg.RemoteWrite.Endpoints {
		rules.Endpoints = append(rules.Endpoints, oracle.Endpoint{Receiver: receiverOf(e.Name),
			Rules: e.WriteRelabelConfigs})
	}
	return rules
}

// stop ends the process as SIGTERM does, and waits for it.
func (r *runner) stop() error {
	p := r.process
	if p == nil {
		return nil
	}
	r.process = nil
	r.world.oracle.Ended(agentAddress(r.n), oracle.Stopped)
	p.stops.Store(true)
	p.cancel()
	began := time.Now()
	err := <-p.done
	r.exit()
	if took := time.Since(began); took > 5*time.Second+r.slow.longest(began) {
		r.world.problem("agent %d took %v to stop", r.n, took)
	}
	p.addDropped(r.dropped)
	synctest.Wait()
	left := r.world.network.OpenOf(agentAddress(r.n)) - r.world.discoveryConnections(agentAddress(r.n))
	if left > 0 {
		r.world.problem("agent %d: %d sockets are left, of them connections to %q", r.n, left,
			r.world.network.PeersOf(agentAddress(r.n)))
	}
	p.host.Kill()
	return err
}

// kill ends the process as kill -9 does: its sockets and its disk are gone for it at once. Its goroutines cannot be
// killed, so they end by themselves, and nothing that they still do reaches anything. After a power cut the disk has
// also lost what was not synced.
func (r *runner) kill(how oracle.End) {
	p := r.process
	if p == nil {
		return
	}
	r.process = nil
	p.killed.Store(true)
	p.addDropped(r.dropped)
	r.world.oracle.Ended(agentAddress(r.n), how)
	if how == oracle.PowerCut {
		p.host.Vanish()
	} else {
		p.host.Kill()
	}
	r.crash(how)
	p.cancel()
	r.left = append(r.left, p)
}

// reap waits for the goroutines of killed processes.
func (r *runner) reap() {
	for _, p := range r.left {
		<-p.done
	}
	r.left = nil
}

// reload writes the file of r.revision and applies it.
func (r *runner) reload() error {
	if err := r.write(); err != nil {
		return err
	}
	if r.process == nil {
		return nil
	}
	asked := time.Now()
	r.forgive() // senders with new settings begin before Reload returns
	if err := r.process.agent.Reload(context.Background()); r.disk.Ended() {
		return nil // the process has ended meanwhile
	} else if err != nil {
		return err
	}
	cfg, err := config.Load(r.options())
	if err != nil {
		return err
	}
	r.forgive()
	r.world.configure(r.revision, cfg, asked)
	r.share()
	return nil
}

// forgive ends the pauses that receivers have asked for: the senders of a new process or configuration know nothing of
// them.
func (r *runner) forgive() {
	for _, rcv := range r.world.receivers {
		rcv.Forgive(agentAddress(r.n))
	}
}

// droppedSamples returns how many samples all processes have dropped.
func (r *runner) droppedSamples() map[dropped]float64 {
	all := maps.Clone(r.dropped)
	if r.process != nil {
		r.process.addDropped(all)
	}
	return all
}

// alreadyDelivered is the reason under which samples count that agents take for delivered by an earlier process. They
// are no loss.
const alreadyDelivered = "already_delivered"

// dropped is a counter of dropped samples. endpoint is the receiver of an endpoint.
type dropped struct{ endpoint, reason string }

// addDropped adds the counters of a process to others.
func (p *process) addDropped(to map[dropped]float64) {
	p.eachDropped(func(d dropped, n float64) { to[d] += n })
}

// eachDropped calls do for each counter of dropped samples that is not 0. What write_relabel_configs drop is not lost.
func (p *process) eachDropped(do func(d dropped, n float64)) {
	families, err := p.reg.Gather()
	if err != nil {
		panic(err)
	}
	for _, f := range families {
		delivered := f.GetName() == "envoy_scraper_remotewrite_samples_already_delivered_total"
		if f.GetName() != "envoy_scraper_remotewrite_samples_dropped_total" && !delivered {
			continue
		}
		for _, m := range f.GetMetric() {
			d := dropped{receiverOf(labelOf(m, "endpoint")), labelOf(m, "reason")}
			if delivered {
				d.reason = alreadyDelivered
			}
			if v := m.GetCounter().GetValue(); v > 0 && d.reason != "write_relabel" {
				do(d, v)
			}
		}
	}
}

func labelOf(m *dto.Metric, name string) string {
	for _, l := range m.GetLabel() {
		if l.GetName() == name {
			return l.GetValue()
		}
	}
	return ""
}
