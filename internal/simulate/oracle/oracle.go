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
	podOf     func(series labels.Labels) string
	strangers map[string]bool
	judged    time.Time // Judge has seen everything before
	disturbed []span    // when scrapes of all pods may fail
	blind     []span
	hidden    []span // when the discovery may take pods away that live
	fragile   []span
	views     map[string][]view      // what agents know of each other, by host; in the order of time
	left      map[string][]time.Time // when agents left, by host
	quietFrom time.Time              // agents run since, without a kill or stop
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
	host     string
	external labels.Labels // external_labels when it started
	from, to time.Time     // to: zero while it runs
	end      End
	damaged  time.Time // samples scraped until then may be in files that were damaged; zero: none is
	scrapes  Scrapes   // that Judge has seen
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
	discovered []labels.Labels // of its ports
	before     string          // its name before its labels changed; empty: it had no other
	from, to   time.Time       // to: zero while it lives
	pages      []*page         // by start; those that Judge has not forgotten
	disturbed  []span          // when its scrapes may fail
}

type span struct{ from, to time.Time }

// page is an answer of a sidecar.
type page struct {
	by          string // host of the agent
	start, end  time.Time
	well        bool        // the answer is a page without a mistake
	read        func() bool // whether the agent has read all of it
	partial     bool        // the page has a bad line; its series count as shown although the scrape fails
	samples     []sidecar.Sample
	openMetrics bool            // its format, else it is plain text
	noBytes     bool            // not even the # EOF of OpenMetrics
	judged      map[string]bool // names of receivers for which it was compared
	lostBy      int             // how many receivers lack it although it was scraped
	filtered    bool            // it was asked for with a filter
	checked     bool            // the other page, with or without the filter, was read soon after, so it may not count
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
	held    map[holding]bool     // targets that processes had
	ends    []end                // that Judge has seen, by time
}

// holding is a target at a process.
type holding struct {
	rev string
	by  *life
}

func newDelivered() *delivered {
	return &delivered{states: map[string]*liveness{}, held: map[holding]bool{}}
}

// end is the last batch of a target, from an agent.
type end struct {
	from string
	at   time.Time
}

// liveness is what an agent knows of a target after its last scrape.
type liveness struct {
	process *life
	live    map[string]labels.Labels // scraped series that get a marker when they are gone, by text
	last    time.Time                // of the last scrape; zero: none since the process began
	ended   bool                     // its last markers have arrived
	target  *target
	unknown bool // the oracle does not know which series are live
	unsure  bool // nor after the batch that it compares

	// known are the series of the last good page that had bytes. A series is new if it is not known. As in Prometheus,
	// a page without a byte makes nothing forgotten, but one in OpenMetrics that has only # EOF does. Unlike there,
	// a page in another format makes all forgotten (docs/differences.md).
	known       map[string]labels.Labels
	knownAt     time.Time // when that page was read
	openMetrics bool      // format of that page
	complete    bool      // no scrape has failed since that page: failed ones make series known, too
}

// show notes the series of a good page. An empty one teaches nothing, unless a filter may have left out all of it.
func (s *liveness) show(pg *page, live map[string]labels.Labels) {
	if s.live = live; !pg.noBytes || pg.filtered {
		s.known, s.knownAt, s.openMetrics, s.complete = live, pg.start, pg.openMetrics, true
	}
}

// added returns how many of the series of a good page are new.
func (s *liveness) added(pg *page, live map[string]labels.Labels) int {
	if pg.openMetrics != s.openMetrics {
		return len(live)
	}
	return len(vanished(live, s.known))
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
		podOf:     func(series labels.Labels) string { return series.Get("pod") },
		strangers: map[string]bool{}, losses: map[string]*missing{}, elsewhere: map[batchKey]*elsewhere{},
		scraped: map[batchKey]*scraped{}, names: slices.Sorted(slices.Values(receivers)),
		counts: Counts{Lost: map[string]int{}}, views: map[string][]view{}, left: map[string][]time.Time{}}
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

// NameBy sets the function that returns the name of the pod of a series. Without it, that is the label pod.
func (o *Oracle) NameBy(podOf func(series labels.Labels) string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.podOf = podOf
}

// Born says that a pod can be discovered from now on, with the labels of each of its ports. Jobs may keep one port.
func (o *Oracle) Born(name string, discovered ...labels.Labels) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.add(&pod{name: name, discovered: discovered, from: time.Now()})
}

func (o *Oracle) add(p *pod) {
	o.pods[p.name] = p
	o.order = append(o.order, p.name)
}

// Renamed says that a pod has other labels from now on, which make another target of it, with another name.
func (o *Oracle) Renamed(before, name string, discovered ...labels.Labels) {
	o.mu.Lock()
	defer o.mu.Unlock()
	next := &pod{name: name, discovered: discovered, before: before, from: time.Now()}
	if p := o.pods[before]; p != nil && p.to.IsZero() {
		p.to, next.disturbed = time.Now(), slices.Clone(p.disturbed)
	}
	o.add(next)
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
	l := &life{host: host, from: time.Now()}
	if n := len(o.configs); n > 0 {
		l.external = o.configs[n-1].ExternalLabels
	}
	o.lives[host] = append(o.lives[host], l)
	o.quietFrom = time.Now()
}

// Ended says that the process of an agent has ended. A process that was stopped may be killed before it has ended, and
// then the power may go.
func (o *Oracle) Ended(host string, how End) {
	o.mu.Lock()
	defer o.mu.Unlock()
	all := o.lives[host]
	if n := len(all); n > 0 && (all[n-1].to.IsZero() || how > all[n-1].end) {
		all[n-1].to, all[n-1].end = time.Now(), how
	}
	o.setView(host, view{from: time.Now()})
}

// Damaged says that files of an agent's queues were damaged or removed, which have or get samples that are scraped
// until a time. The agent counts what it does not find. If it is killed before, only records of the same file say what
// is missing, and there may be none.
func (o *Oracle) Damaged(host string, until time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if all := o.lives[host]; len(all) > 0 {
		if l := all[len(all)-1]; until.After(l.damaged) { // other damage does not undo an earlier one that lasts
			l.damaged = until
		}
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

// Hidden says that in a time the discovery may answer with an older state, so that targets of pods that live end.
func (o *Oracle) Hidden(from, to time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.hidden = append(o.hidden, span{from, to})
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
	pg := &page{
		by: receiver.HostOf(p.Client), start: p.Start, end: p.End, well: good, read: p.Read,
		partial: p.Whole && p.Fault == sidecar.BrokenLine, samples: slices.Clone(p.Samples),
		openMetrics: p.OpenMetrics, noBytes: p.Bytes == 0, judged: map[string]bool{}, filtered: p.Filtered,
	}
	for _, before := range to.pages {
		if before.by == pg.by && before.filtered != pg.filtered && pg.start.Sub(before.start) < longestScrape {
			before.checked = true
		}
	}
	to.pages = append(to.pages, pg)
	o.judgeOwner(to, pg)
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
	if at := time.UnixMilli(x.Time); at.Before(s.judged.Add(-time.Hour)) && s.isAbsent(s.name, at, time.Now()) {
		return // a position that was not saved before the receiver was removed; nobody remembers what it had then
	}
	s.take(s.receivers[s.name], from, series, x)
}

// Late implements receiver.Sink. A sample may come late only if it has come before, whether it was stored or refused:
// after a lost answer, after a kill, or when the network delivers a request of a connection that was given up; or if
// another agent has had the target since.
func (s sink) Late(from string, series *receiver.Series, x receiver.Sample) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l, it := s.lossesOf(s.name), repetition{series.Key, x.Time}
	_, came := l.besides[it]
	switch {
	case x.Time < s.judged.UnixMilli() || s.receivers[s.name].has(series, x):
		count(l.repeated, it, &l.Repeated)
		return
	case l.refused[it], came:
		return
	}
	at := time.UnixMilli(x.Time)
	if by := s.processOf(from, at); !by.alive(time.Now()) && s.excusedBy(from, at, at) {
		return // of a killed process: the network still delivers what only its memory had
	}
	if p := s.pods[s.podOf(series.Labels)]; p != nil {
		if _, t := s.targetAt(p, at); t != nil && s.hasMoved(from, t, at, time.Now()) {
			count(l.overtaken, it, &l.Overtaken)
			return
		}
	}
	s.problem("%s: %s of %s at %s is out of order and had not arrived before", s.name, series.Key, from,
		clock(time.UnixMilli(x.Time)))
}

// Refuse implements receiver.Sink.
func (s sink) Refuse(_ string, series *receiver.Series, x receiver.Sample) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l, it := s.lossesOf(s.name), repetition{series.Key, x.Time}
	if l.refused[it] {
		count(l.again, it, &l.Again)
	}
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
		r = ref{o.podOf(s.Labels), s.Labels.Get("rev"), s.Labels.Get("__name__")}
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
		d = newDelivered()
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
	b := &batch{at: at, rev: rev, from: from, samples: make(map[string]uint64, 64)}
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
