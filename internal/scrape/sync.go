package scrape

import (
	"fmt"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/envoy-scraper/envoy-scraper/internal/discovery"
)

// An update of discovery becomes running loops in these steps:
//
//	relabelAll       makes targets of the groups that changed; it holds no lock that pages wait for
//	regroup          replaces the old groups
//	retireAll        has loops leave whose target is lost or another instance's, or whose job has other rules now
//	adaptWaves       changes in how many waves targets are scraped, if there are many more or fewer
//	predecessors     pairs each new target with a departing loop that had the same labels
//	start            starts a loop for each target that has none
//	reviewDeparting  changes how departing loops end, if the map of shards or discovery says so

// groupChange is a group that is new, changed or gone, or that new rules relabel.
type groupChange struct {
	key   groupKey
	group *targetgroup.Group // without targets: gone
}

// changes returns the groups that an update changes.
func (w *wanted) changes(u discovery.Update) []groupChange {
	changes := make([]groupChange, 0, len(u.Groups))
	named := map[groupKey]bool{}
	for _, g := range u.Groups {
		key := groupKey{g.Discovery, g.Source}
		if u.Whole && len(w.groups) > 0 {
			named[key] = true
		}
		switch before := w.groups[key]; {
		case before == nil && len(g.Targets) == 0:
		case before != nil && before.group == g.Group:
		default:
			changes = append(changes, groupChange{key, g.Group})
		}
	}
	if !u.Whole {
		return changes
	}
	for key := range w.groups {
		if !named[key] {
			changes = append(changes, groupChange{key, &targetgroup.Group{Source: key.source}})
		}
	}
	return changes
}

// everything returns all groups as changes, for new rules.
func (w *wanted) everything() []groupChange {
	changes := make([]groupChange, 0, len(w.groups))
	for key, r := range w.groups {
		changes = append(changes, groupChange{key, r.group})
	}
	return changes
}

// touched is a target whose group was added, replaced or removed.
type touched struct {
	hash   uint64
	origin origin  // of target
	target *target // nil: make it from the origin
}

// replacement is a changed group, relabeled.
type replacement struct {
	key     groupKey
	made    *relabeled // nil: the group is gone
	targets []*target  // of made.kept, in its order
}

// maxChunk is how many groups or targets change before Pools.mu is unlocked for pages that wait.
const maxChunk = 128

// inChunks calls do for 0 to n-1 while mu is locked. It unlocks mu after each maxChunk calls.
func (ps *Pools) inChunks(n int, do func(i int)) {
	for from := 0; from < n; from += maxChunk {
		ps.mu.Lock()
		for i := from; i < min(from+maxChunk, n); i++ {
			do(i)
		}
		ps.mu.Unlock()
	}
}

// sync changes the loops of a job after changes of its groups. The caller holds changing.
func (ps *Pools) sync(p *pool, changes []groupChange) {
	made := ps.relabeler(p).relabelAll(changes)
	ps.updateLoops(p, ps.regroup(p, made))
}

func (ps *Pools) relabeler(p *pool) *relabeler {
	return &relabeler{
		cfg: p.state.cfg, ownAddress: p.state.ownAddress, keyed: ps.isKeyed(p),
		viaPods: p.state.fetcher.pods != nil, onNode: p.state.onNode, node: ps.opts.Encoding.Node,
		builder: labels.NewBuilder(labels.EmptyLabels()), scratch: model.LabelSet{},
	}
}

func (r *relabeler) relabelAll(changes []groupChange) []replacement {
	all := make([]replacement, len(changes))
	for i, c := range changes {
		all[i].key = c.key
		if len(c.group.Targets) > 0 {
			all[i].made, all[i].targets = r.relabel(c.key, c.group)
		}
	}
	return all
}

// regroup replaces old groups by relabeled ones, and returns the targets of both.
func (ps *Pools) regroup(p *pool, made []replacement) []touched {
	all := make([]touched, 0, len(made))
	ps.inChunks(len(made), func(i int) {
		m := &made[i]
		if before := p.wanted.remove(m.key); before != nil {
			for _, k := range before.kept {
				all = append(all, touched{hash: k.hash})
			}
		}
		if m.made == nil {
			return
		}
		p.wanted.set(m.made)
		for n, k := range m.made.kept {
			all = append(all, touched{k.hash, origin{m.made, k.index, k.shardKey}, m.targets[n]})
		}
	})
	return all
}

// updateLoops ends and starts the loops of touched targets.
func (ps *Pools) updateLoops(p *pool, all []touched) {
	ps.checkLimit(p)
	fresh := ps.retireAll(p, all)
	ps.adaptWaves(p, fresh)
	before := ps.predecessors(p, fresh)
	ps.inChunks(len(fresh), func(i int) {
		t := fresh[i]
		ps.start(p, t, p.wanted.targets[t.hash].found(), before[i])
	})
	ps.reviewDeparting(p)
	ps.mu.Lock()
	defer ps.mu.Unlock()
	job, m := p.state.cfg.JobName, ps.env.metrics
	m.targets.WithLabelValues(job).Set(float64(len(p.loops)))
	m.others.WithLabelValues(job).Set(float64(p.wanted.others))
	m.droppedTargets.WithLabelValues(job).Set(float64(p.wanted.dropped))
	m.invalid.WithLabelValues(job).Set(float64(p.wanted.invalid))
}

// checkLimit makes all scrapes of a job fail while it has more targets than target_limit.
func (ps *Pools) checkLimit(p *pool) {
	p.limit.Lock()
	defer p.limit.Unlock()
	p.limit.err = nil
	if n, most := len(p.wanted.targets), p.state.cfg.TargetLimit; most > 0 && n > int(most) {
		p.limit.err = fmt.Errorf("%w (number of targets: %d, limit: %d)", errTargetLimit, n, most)
	}
}

// retireAll has the loops of touched targets leave that this instance does not scrape any more, or that have older
// rules. It returns the targets that need a new loop.
func (ps *Pools) retireAll(p *pool, all []touched) []*target {
	var fresh []*target
	starting := map[uint64]bool{}
	maker := ps.relabeler(p)
	ps.inChunks(len(all), func(i int) {
		hash := all[i].hash
		o, wanted := p.wanted.targets[hash]
		l := p.loops[hash]
		switch {
		case !wanted || ps.isOthers(p, p.wanted.keyOf(hash)):
			if l != nil {
				delete(p.loops, hash)
				ps.retire(p, l, eventLose)
			}
		case l != nil && l.job == p.state:
			l.rediscovered(o.found())
			ps.schedule.send(l, event{kind: eventPlanMove, move: ps.nextMove(p, l.target)})
		case !starting[hash]:
			starting[hash] = true
			if l != nil { // it stays in loops until its successor starts
				ps.retire(p, l, eventOutdate)
			}
			fresh = append(fresh, all[i].make(maker, o))
		}
	})
	return fresh
}

// make returns the target of o. The same rules made the target before, so it is never nil.
func (t *touched) make(r *relabeler, o origin) *target {
	if t.target != nil && t.origin == o {
		return t.target
	}
	made, err := r.target(o.from.group, o.index)
	if made == nil {
		panic(fmt.Sprintf("relabeling target %d of %s twice gave two results: %v", o.index, o.from.key.source, err))
	}
	return made
}
