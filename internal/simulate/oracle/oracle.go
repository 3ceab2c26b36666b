package oracle

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/envoy-scraper/envoy-scraper/internal/simulate/receiver"
	"github.com/envoy-scraper/envoy-scraper/internal/simulate/sidecar"
)

// Oracle knows the truth and what arrived. Its methods may be called at any time.
type Oracle struct {
	mu        sync.Mutex // guards the following
	configs   []*inForce // by time
	pods      map[string]*pod
	order     []string           // names of pods, in the order of birth
	lives     map[string][]*life // of an agent, by its host; in the order of time
	receivers map[string]*arrivals
	names     []string // of receivers, sorted
	strangers map[string]bool
	judged    time.Time // Judge has seen everything before
	disturbed []span    // when scrapes of all pods may fail
	blind     []span
	fragile   []span
	quietFrom time.Time // agents run since, without a kill or stop
	problems  []string
	losses    map[string]*missing // by receiver
	counts    Counts
	elsewhere map[batchKey]*elsewhere // of the pod that is judged
	scraped   map[batchKey]*scraped   // of the pod that is judged
}

// Counts says how much the oracle has seen: Pages were served, Samples stored, Batches compared.
type Counts struct {
	Pages, Batches, Samples int
	Lost                    map[string]int // samples, by receiver
	Failed, Ended           int            // batches with up=0, and those that end a target
	Excused                 int            // pages that no batch has to follow: a process ended during the scrape
}

// life is one process of an agent.
type life struct {
	from, to time.Time // to: zero while it runs
	end      End
	scrapes  Scrapes // that Judge has seen
}

// End is how a process ends.
type End int

const (
	Stopped  End = iota // by SIGTERM
	Killed              // by kill -9
	PowerCut            // the disk loses what was not synced, too
)

// loses returns the time before the end of a process within which scrapes may be lost: the running scrape; after a
// power cut also what was not yet synced (every second).
func (e End) loses() time.Duration {
	if e == PowerCut {
		return 2500 * time.Millisecond
	}
	return time.Second
}

// pod is something that a discovery finds.
type pod struct {
	name       string
	discovered labels.Labels
	from, to   time.Time // to: zero while it lives
	pages      []*page   // by start; those that Judge has not forgotten
	disturbed  []span    // when its scrapes may fail
}

type span struct{ from, to time.Time }

// page is an answer of a sidecar.
type page struct {
	by         string // host of the agent
	start, end time.Time
	well       bool        // the answer is a page without a mistake
	read       func() bool // whether the agent has read all of it
	partial    bool        // the page has a bad line; its series count as shown although the scrape fails
	samples    []sidecar.Sample
	judged     map[string]bool // names of receivers for which it was compared
	lostBy     int             // how many receivers lack it although it was scraped
}

// good reports whether a scrape has got the page.
func (pg *page) good() bool { return pg.well && pg.read() }

// arrivals is what a receiver has stored that Judge has not seen, and the state of its targets.
type arrivals struct {
	pods map[string]*delivered
	refs map[*receiver.Series]ref
}

// ref identifies the target and the metric of a series. rev is a label that configurations give all series of a
// pod; a pod that gets another rev is another target.
type ref struct{ pod, rev, name string }

// delivered is what a receiver has of a pod.
type delivered struct {
	batches []*batch             // by time; those that Judge has not seen
	states  map[string]*liveness // by rev
}

// liveness is what an agent knows of a target after its last scrape.
type liveness struct {
	process  *life
	live     map[string]labels.Labels // scraped series that get a marker when they are gone, by text
	last     time.Time                // of the last scrape; zero: none since the process began
	ended    bool                     // its last markers have arrived
	target   *target
	complete bool                     // the last page was good
	known    map[string]labels.Labels // series of the last good page that was not empty: a series is new beside them
}

// show notes the series of a good page.
func (s *liveness) show(live map[string]labels.Labels) {
	s.live, s.complete = live, true
	if len(live) > 0 {
		s.known = live
	}
}

// batch are the samples of a target with one time.
type batch struct {
	at      int64
	rev     string
	from    string            // host of the agent
	samples map[string]uint64 // bits of the values, by series
	up      float64
	hasUp   bool
}

func (b *batch) time() time.Time { return time.UnixMilli(b.at) }

// New returns an oracle for receivers with these names.
func New(receivers ...string) *Oracle {
	o := &Oracle{pods: map[string]*pod{}, lives: map[string][]*life{}, receivers: map[string]*arrivals{},
		strangers: map[string]bool{}, losses: map[string]*missing{}, elsewhere: map[batchKey]*elsewhere{},
		scraped: map[batchKey]*scraped{}, names: slices.Sorted(slices.Values(receivers)),
		counts: Counts{Lost: map[string]int{}}}
	for _, name := range receivers {
		o.receivers[name] = &arrivals{pods: map[string]*delivered{}, refs: map[*receiver.Series]ref{}}
	}
	return o
}

// Configure says that a configuration is in force from now on.
func (o *Oracle) Configure(r Rules) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.configs = append(o.configs, &inForce{Rules: r, from: time.Now(), targets: map[string]*target{},
		sent: map[string]map[uint64]string{}})
}

// Born says that a pod can be discovered from now on. The rules must give its name to the label pod.
func (o *Oracle) Born(name string, discovered labels.Labels) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.pods[name] = &pod{name: name, discovered: discovered, from: time.Now()}
	o.order = append(o.order, name)
}

// Gone says that a pod can no longer be discovered.
func (o *Oracle) Gone(name string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if p := o.pods[name]; p != nil && p.to.IsZero() {
		p.to = time.Now()
	}
}

// Started says that a process of the agent at a host runs from now on.
func (o *Oracle) Started(host string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.lives[host] = append(o.lives[host], &life{from: time.Now()})
	o.quietFrom = time.Now()
}

// Ended says that the process of an agent has ended.
func (o *Oracle) Ended(host string, how End) {
	o.mu.Lock()
	defer o.mu.Unlock()
	all := o.lives[host]
	if n := len(all); n > 0 && all[n-1].to.IsZero() {
		all[n-1].to, all[n-1].end = time.Now(), how
	}
}

// Disturbed says that scrapes of a pod, or of all pods if the name is empty, may fail in a time.
func (o *Oracle) Disturbed(name string, from, to time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if name == "" {
		o.disturbed = append(o.disturbed, span{from, to})
	} else if p := o.pods[name]; p != nil {
		p.disturbed = append(p.disturbed, span{from, to})
	}
}

// Blind says that the discovery does not answer in a time, so targets may follow it later.
func (o *Oracle) Blind(from, to time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.blind = append(o.blind, span{from, to})
}

// Fragile says that the disk of an agent may fail in a time. What is scraped then is in memory only, so a kill loses
// it.
func (o *Oracle) Fragile(from, to time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.fragile = append(o.fragile, span{from, to})
}

// found returns the time by which targets must reflect a change of the pods. Times without discovery postpone it.
func (o *Oracle) found(changed time.Time) time.Time {
	by := changed.Add(discoveryDelay)
	for again := true; again; {
		again = false
		for _, s := range o.blind {
			if s.from.Before(by) && s.to.Add(discoveryDelay).After(by) {
				by, again = s.to.Add(discoveryDelay), true
			}
		}
	}
	return by
}

// Served records a page with which a pod has answered.
func (o *Oracle) Served(name string, p *sidecar.Page) {
	o.mu.Lock()
	defer o.mu.Unlock()
	to := o.pods[name]
	if to == nil {
		return
	}
	good := p.Whole && p.Status == 200 && p.Fault != sidecar.BrokenLine && p.Fault != sidecar.OtherFormat
	to.pages = append(to.pages, &page{
		by: receiver.HostOf(p.Client), start: p.Start, end: p.End, well: good, read: p.Read,
		partial: p.Whole && p.Fault == sidecar.BrokenLine, samples: slices.Clone(p.Samples), judged: map[string]bool{},
	})
	o.counts.Pages++
}

// Sink returns the sink of a receiver.
func (o *Oracle) Sink(name string) receiver.Sink { return sink{o, name} }

type sink struct {
	*Oracle
	name string
}

// Accept implements receiver.Sink.
func (s sink) Accept(from string, series *receiver.Series, x receiver.Sample) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.take(s.receivers[s.name], from, series, x)
}

// Late implements receiver.Sink. A sample may come late only if it has come before, whether it was stored or refused:
// after a lost answer, after a kill, or when the network delivers a request of a connection that was given up.
func (s sink) Late(from string, series *receiver.Series, x receiver.Sample) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l, it := s.lossesOf(s.name), repetition{series.Key, x.Time}
	switch {
	case x.Time < s.judged.UnixMilli() || s.receivers[s.name].has(series, x):
		count(l.repeated, it, &l.Repeated)
		return
	case l.refused[it]:
		return
	}
	s.problem("%s: %s of %s at %s is out of order and had not arrived before", s.name, series.Key, from,
		clock(time.UnixMilli(x.Time)))
}

// Refuse implements receiver.Sink.
func (s sink) Refuse(_ string, series *receiver.Series, x receiver.Sample) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l, it := s.lossesOf(s.name), repetition{series.Key, x.Time}
	l.refused[it] = true
	if x.Time < s.judged.UnixMilli() || s.receivers[s.name].has(series, x) {
		count(l.denied, it, &l.Denied)
	}
}

// has reports whether the receiver has stored a sample that Judge has not seen.
func (a *arrivals) has(series *receiver.Series, x receiver.Sample) bool {
	d := a.pods[a.refs[series].pod]
	if d == nil {
		return false
	}
	for _, b := range d.batches {
		if bits, there := b.samples[series.Key]; there && b.at == x.Time && bits == x.Bits {
			return true
		}
	}
	return false
}

func (o *Oracle) take(a *arrivals, from string, s *receiver.Series, x receiver.Sample) {
	o.counts.Samples++
	r, known := a.refs[s]
	if !known {
		r = ref{s.Labels.Get("pod"), s.Labels.Get("rev"), s.Labels.Get("__name__")}
		a.refs[s] = r
	}
	if o.pods[r.pod] == nil {
		if !o.strangers[s.Key] {
			o.strangers[s.Key] = true
			o.problem("a series of no pod: %s", s.Key)
		}
		return
	}
	d := a.pods[r.pod]
	if d == nil {
		d = &delivered{states: map[string]*liveness{}}
		a.pods[r.pod] = d
	}
	b := d.batchAt(x.Time, r.rev, from)
	b.samples[s.Key] = x.Bits
	if r.name == "up" {
		b.hasUp, b.up = true, x.Value()
	}
}

// batchAt returns the batch with a time. Most batches arrive in the order of time.
func (d *delivered) batchAt(at int64, rev, from string) *batch {
	n := len(d.batches)
	for n > 0 && d.batches[n-1].at > at {
		n--
	}
	for i := n; i > 0 && d.batches[i-1].at == at; i-- {
		if d.batches[i-1].rev == rev {
			return d.batches[i-1]
		}
	}
	b := &batch{at: at, rev: rev, from: from, samples: map[string]uint64{}}
	d.batches = slices.Insert(d.batches, n, b)
	return b
}

// Problems returns what was wrong so far.
func (o *Oracle) Problems() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.problems)
}

// Counts returns how much has been compared.
func (o *Oracle) Counts() Counts {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.counts
}

// maxProblems is enough to see what is wrong.
const maxProblems = 40

func (o *Oracle) problem(format string, args ...any) {
	if len(o.problems) < maxProblems {
		o.problems = append(o.problems, clock(time.Now())+" "+fmt.Sprintf(format, args...))
	}
}
