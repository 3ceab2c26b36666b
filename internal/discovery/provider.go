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
)

// pace is how long things take before we draw conclusions from silence.
type pace struct {
	settleCheck time.Duration // how often Run looks whether the first picture is whole
	quiet       time.Duration // without an update: the first picture of a discovery is whole
	restless    time.Duration // a discovery that never gets quiet counts as whole after that
	grace       time.Duration // without a first update: there is nothing (files), or nothing any more (Kubernetes)
	probe       time.Duration // between two questions to a healthy API server; the longest to an unhealthy one
	retry       time.Duration // the first wait after a failed question; it doubles up to probe
	ask         time.Duration // how long one question may take
}

func defaultPace() pace {
	return pace{
		settleCheck: 100 * time.Millisecond, quiet: 300 * time.Millisecond, restless: 5 * time.Second, grace: time.Second,
		probe: 15 * time.Second, retry: time.Second, ask: 10 * time.Second,
	}
}

// provider is one discovery, used by one job or more, and what it found.
type provider struct {
	id     uint64
	kind   string // as in the configuration: kubernetes, static, file, http
	detail string // for people: the role, for example
	config promdiscovery.Config
	inner  promdiscovery.Discoverer
	server *server // the API server of a Kubernetes discovery, else nil
	needs  []need  // what a Kubernetes discovery must be allowed to read
	reads  *reads  // the labels that are kept; nil: all

	// owned by Manager, under its lock; nil: not started
	cancel context.CancelFunc

	mu sync.Mutex // guards the following
	// jobs are the users of this discovery.
	jobs    []string
	started time.Time
	first   time.Time                     // of the updates
	last    time.Time                     // of the updates
	listed  time.Time                     // when that was first seen to be done; zero: not yet
	groups  map[string]*targetgroup.Group // by source; only those that have targets
	targets int                           // of all groups
	changed map[string]struct{}           // sources of groups that are to be handed over: new, changed or gone
	// warnings is what the discoverer complained of, by the file concerned ("": none), until that worked again.
	warnings map[string]string
	rights   rights // what the API server of a Kubernetes discovery allows
	watches  int    // begun
}

// newProvider makes the discoverer that c describes, without starting it. Of labels it keeps those that r has. m.mu is
// held.
func (m *Manager) newProvider(id uint64, job string, c promdiscovery.Config, r *reads) (*provider, error) {
	p := &provider{id: id, kind: c.Name(), config: c, reads: r, groups: map[string]*targetgroup.Group{}, warnings: map[string]string{}}
	if k, ok := c.(*kubernetes.SDConfig); ok {
		p.detail = string(k.Role)
		p.needs = kubernetesNeeds(k)
	}
	log := slog.New(onceHandler{Handler: m.slog.Handler(), said: p.complain}).With("discovery", p.kind, "job", job)
	var err error
	if k, ok := trimmable(c); ok && r != nil {
		p.inner, err = newPodDiscovery(log, k, r, m.kube, p)
	} else {
		p.inner, err = c.NewDiscoverer(promdiscovery.DiscovererOptions{
			Logger: log, Metrics: m.sd.MechanismMetrics[p.kind], SetName: job, HTTPClientOptions: bounded(),
		})
	}
	if err != nil {
		return nil, explainConfig(c, err)
	}
	return p, nil
}

// serves reports whether the discovery is what c describes, and keeps what r has.
func (p *provider) serves(c promdiscovery.Config, r *reads) bool {
	return reflect.DeepEqual(p.config, c) && (p.reads == nil || r != nil && p.reads.covers(r))
}

// run discovers until ctx ends. It calls heard after each update; news tells whether a group changed. A Kubernetes
// discovery starts only when its API server answers: client-go would else wait up to a minute before it asks again.
func (p *provider) run(ctx context.Context, heard func(news bool)) {
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
				updates = nil // a static list ends when it was said
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

// firstWatches are those of a start: the one that lists, and where the server has no such, the one after a list.
const firstWatches = 2

// watchBegins counts. A watch begun anew may mean that the one before was broken off, which client-go keeps to itself.
func (p *provider) watchBegins() {
	p.mu.Lock()
	p.watches++
	anew := p.watches > firstWatches
	p.mu.Unlock()
	if anew {
		p.doubtServer()
	}
}

// watchFailed has the API server asked at once what is the matter.
func (p *provider) watchFailed(err error) {
	if apierrors.IsForbidden(err) && p.server != nil {
		p.server.doubtRights(p)
	}
	p.doubtServer()
}

// doubtServer has the API server asked at once whether it is there, if that was the last that was heard of it.
func (p *provider) doubtServer() {
	if p.server != nil && p.server.currentState() == StateOK {
		p.server.wakeUp()
	}
}

// note remembers an update, and reports whether it changed a group.
func (p *provider) note(groups []*targetgroup.Group, now time.Time) (news bool) {
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
		news = p.replace(g) || news
	}
	return news
}

// replace makes g the group of its source, and reports whether that changes anything. p.mu is held.
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

// hasChanged reports whether something is still to be handed over.
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

// complain remembers what the discoverer logs as a problem, and reports whether it is news.
func (p *provider) complain(file, text string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.warnings[file] == text {
		return false
	}
	p.warnings[file] = text
	return true
}

// forgetFiles forgets what was complained of files that are gone: no update follows for one that never was any good.
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

// fileOf cuts the number from the source of a file's group: path:0.
func fileOf(source string) string {
	if i := strings.LastIndexByte(source, ':'); i >= 0 {
		return source[:i]
	}
	return source
}

// settled reports whether the first picture is whole.
func (p *provider) settled(now time.Time, pace pace) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case !p.first.IsZero():
		return min(now.Sub(p.last), p.listedFor(now)) >= pace.quiet || now.Sub(p.first) >= pace.restless
	case p.started.IsZero():
		return false
	case p.kind == "static", p.kind == "file": // files say nothing as long as there is no file
		return now.Sub(p.started) >= pace.grace
	case p.server != nil:
		return p.rights.empty && now.Sub(p.rights.asked) >= pace.grace
	default:
		return false
	}
}

// listedFor is for how long there has been no namespace that is still to be listed, as far as we may list them: what
// the others gave is no whole picture. p.mu is held.
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

// restless reports whether updates kept coming, so that counts need not agree.
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
