package discovery

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"maps"
	"math"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	promdiscovery "github.com/prometheus/prometheus/discovery"
	"github.com/prometheus/prometheus/discovery/kubernetes"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/envoy-scraper/envoy-scraper/internal/chance"
)

// pace holds the waiting times of discovery.
type pace struct {
	settleCheck time.Duration // how often Run checks whether the first set of groups is complete
	quiet       time.Duration // time without an update after which the first set of groups is complete
	restless    time.Duration // a discovery whose updates never pause counts as complete after this time
	grace       time.Duration // time without a first update after which there is nothing to find (files, Kubernetes)
	// between two probes of a healthy API server; the longest time between two of an unhealthy one
	probe time.Duration
	retry time.Duration // wait after the first failed probe; it doubles up to probe
	ask   time.Duration // timeout of one question

	chance chance.Source // varies waiting times between probes
}

func defaultPace() pace {
	return pace{
		settleCheck: 100 * time.Millisecond, quiet: 300 * time.Millisecond, restless: 5 * time.Second,
		grace: time.Second,
		probe: 15 * time.Second, retry: time.Second, ask: 10 * time.Second,
	}
}

// provider is one discovery, used by one or more jobs, and the groups that it found.
type provider struct {
	id     uint64
	kind   string // as in the configuration: kubernetes, static, file, http
	detail string // the role of a Kubernetes discovery, shown on pages
	config promdiscovery.Config
	inner  promdiscovery.Discoverer
	server *server // the API server of a Kubernetes discovery, else nil
	needs  []need  // objects that a Kubernetes discovery lists and watches
	reads  *reads  // labels that rules can read and that are kept; nil: all

	// owned by Manager, under its lock; nil: not started
	cancel context.CancelFunc

	mu sync.Mutex // guards the following
	// jobs are the names of the jobs that use this discovery.
	jobs    []string
	started time.Time
	first   time.Time                     // update
	last    time.Time                     // update
	listed  time.Time                     // when all namespaces were first seen to be listed; zero: not yet
	groups  map[string]*targetgroup.Group // by source; only groups that have targets
	targets int                           // of all groups
	changed map[string]struct{}           // sources of groups to hand over: new, changed or gone
	// warnings holds the last problem that the discoverer logged, by file ("": not about a file). Success deletes it.
	warnings map[string]string
	rights   rights // of a Kubernetes discovery, as its API server answered
	watches  int    // of pods that were started
}

// newProvider makes the discoverer that c describes, without starting it. The discoverer keeps the labels in r. m.mu is
// held.
func (m *Manager) newProvider(id uint64, job string, c promdiscovery.Config, r *reads) (*provider, error) {
	p := &provider{id: id, kind: c.Name(), config: c, reads: r, groups: map[string]*targetgroup.Group{},
		warnings: map[string]string{}}
	if k, ok := c.(*kubernetes.SDConfig); ok {
		p.detail = string(k.Role)
		p.needs = kubernetesNeeds(k)
	}
	log := slog.New(onceHandler{Handler: m.slog.Handler(), report: p.noteWarning}).With("discovery", p.kind, "job", job)
	var err error
	if k, ok := trimmable(c); ok && m.wholePods {
		p.inner, err = m.newPodDiscovery(log, k, everything(), p)
	} else if ok && r != nil {
		p.inner, err = m.newPodDiscovery(log, k, r, p)
	} else {
		p.inner, err = c.NewDiscoverer(promdiscovery.DiscovererOptions{
			Logger: log, Metrics: m.sd.MechanismMetrics[p.kind], SetName: job, HTTPClientOptions: bounded(m.opts.Dial),
		})
	}
	if err != nil {
		return nil, explainConfig(c, err)
	}
	return p, nil
}

// serves reports whether the discovery is the one that c describes, and keeps the labels in r.
func (p *provider) serves(c promdiscovery.Config, r *reads) bool {
	return reflect.DeepEqual(p.config, c) && (p.reads == nil || r != nil && p.reads.covers(r))
}

// run discovers until ctx ends. It calls heard after each update, with true if a group changed. A Kubernetes discovery
// starts after its API server has answered: client-go would wait up to a minute before it asks again.
func (p *provider) run(ctx context.Context, heard func(changed bool)) {
	p.mu.Lock()
	p.started = time.Now()
	p.mu.Unlock()
	if p.server != nil && !p.server.waitAnswer(ctx) {
		return
	}
	shared := newSharer()
	found := make(chan []*targetgroup.Group)
	var inner sync.WaitGroup
	inner.Go(func() { p.inner.Run(ctx, found) })
	defer inner.Wait()
	updates := (<-chan []*targetgroup.Group)(found)
	for {
		select {
		case <-ctx.Done():
			return
		case groups, ok := <-updates:
			if !ok {
				updates = nil // a static list has no further updates
				continue
			}
			if p.reads != nil {
				for i, g := range groups {
					groups[i] = trimGroup(g, p.reads)
					shared.share(groups[i])
				}
			}
			heard(p.note(groups, time.Now()))
		}
	}
}

// stop ends run. Manager's lock is held.
func (p *provider) stop() {
	if p.cancel != nil {
		p.cancel()
	}
}

// firstWatches is how many watches a start may take: a streaming list, and, where the server does not know it, a watch
// after a plain list.
const firstWatches = 2

// watchBegins counts a watch. A further watch may mean that the connection of the last one was lost, which client-go
// does not report: the API server is probed.
func (p *provider) watchBegins() {
	p.mu.Lock()
	p.watches++
	again := p.watches > firstWatches
	p.mu.Unlock()
	if again {
		p.doubtServer()
	}
}

// watchFailed makes the server watcher probe the API server now. After a 403 it asks for the rights again.
func (p *provider) watchFailed(err error) {
	if apierrors.IsForbidden(err) && p.server != nil {
		p.server.doubtRights(p)
	}
	p.doubtServer()
}

// doubtServer makes the server watcher probe an API server that counts as reachable now instead of at its next tick.
func (p *provider) doubtServer() {
	if p.server != nil && p.server.currentState() == StateOK {
		p.server.wakeUp()
	}
}

// note stores an update, and reports whether it changed a group.
func (p *provider) note(groups []*targetgroup.Group, now time.Time) (changed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.first.IsZero() {
		p.first = now
	}
	p.last = now
	delete(p.warnings, "")
	for _, g := range groups {
		if g == nil {
			continue
		}
		delete(p.warnings, fileOf(g.Source))
		changed = p.replace(g) || changed
	}
	return changed
}

// replace stores g under its source, and reports whether it differs from the stored group. p.mu is held.
func (p *provider) replace(g *targetgroup.Group) bool {
	before, ok := p.groups[g.Source]
	switch {
	case ok && len(g.Targets) > 0 && equalGroups(before, g), !ok && len(g.Targets) == 0:
		return false
	case len(g.Targets) > 0:
		p.groups[g.Source] = g
	default:
		delete(p.groups, g.Source)
	}
	if ok {
		p.targets -= len(before.Targets)
	}
	p.targets += len(g.Targets)
	if p.changed == nil {
		p.changed = map[string]struct{}{}
	}
	p.changed[g.Source] = struct{}{}
	return true
}

// hasChanged reports whether there are changes to hand over.
func (p *provider) hasChanged() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.changed) > 0
}

func (p *provider) targetCount() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.targets
}

// noteWarning stores a problem that the discoverer logged, and reports whether it differs from the last one.
func (p *provider) noteWarning(file, text string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.warnings[file] == text {
		return false
	}
	p.warnings[file] = text
	return true
}

// forgetFiles deletes the warnings about files that no longer exist. No update follows for a file that was never valid.
// p.mu is held.
func (p *provider) forgetFiles() {
	if p.kind != "file" {
		return
	}
	maps.DeleteFunc(p.warnings, func(file, _ string) bool {
		_, err := os.Stat(file)
		return file != "" && errors.Is(err, fs.ErrNotExist)
	})
}

// fileOf returns the file of a group's source: /etc/targets.yml of /etc/targets.yml:0.
func fileOf(source string) string {
	if i := strings.LastIndexByte(source, ':'); i >= 0 {
		return source[:i]
	}
	return source
}

// settled reports whether the first set of groups is complete.
func (p *provider) settled(now time.Time, pace pace) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case !p.first.IsZero():
		return min(now.Sub(p.last), p.listedFor(now)) >= pace.quiet || now.Sub(p.first) >= pace.restless
	case p.started.IsZero():
		return false
	case p.kind == "static", p.kind == "file": // without a file there is no update
		return now.Sub(p.started) >= pace.grace
	case p.server != nil:
		return p.rights.empty && now.Sub(p.rights.asked) >= pace.grace
	default:
		return false
	}
}

// listedFor returns for how long all namespaces that we may list have been listed. Before, the groups are incomplete.
// p.mu is held.
func (p *provider) listedFor(now time.Time) time.Duration {
	l, ok := p.inner.(interface{ listed() bool })
	switch {
	case !ok || p.rights.denied != "":
		return math.MaxInt64
	case !l.listed():
		return 0
	case p.listed.IsZero():
		p.listed = now
	}
	return now.Sub(p.listed)
}

// restless reports whether the first update is so long ago that a discovery counts as complete although updates keep
// coming.
func (p *provider) restless(now time.Time, pace pace) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.first.IsZero() && now.Sub(p.first) >= pace.restless
}

func (p *provider) setJobs(jobs []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.jobs = slices.Clone(jobs)
}
