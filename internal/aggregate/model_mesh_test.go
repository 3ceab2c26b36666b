package aggregate

import (
	"fmt"
	"slices"
	"time"

	"github.com/prometheus/common/model"
)

// family is what Envoy keeps and evicts as one: a counter, or a histogram with all its lines.
type family struct {
	name, code  string // code: value of the label; empty: none
	isHistogram bool
	block       int // of the agents' blocks, see simBlock
}

func families() []family {
	return []family{
		{name: "istio_requests_total", code: "200"}, {name: "istio_requests_total", code: "500"},
		{name: "istio_requests_total", code: "503"}, {name: "istio_tcp_total"},
		{name: "istio_ms", code: "200", isHistogram: true}, {name: "istio_ms", code: "500", isHistogram: true},
		{name: "envoy_cx_total", block: 1}, {name: "envoy_retry_total", code: "500", block: 1},
	}
}

// lines returns the lines of a family, without values.
func (f family) lines() []line {
	code := ""
	if f.code != "" {
		code = "code=" + f.code
	}
	if !f.isHistogram {
		return []line{{f.name, code, model.MetricTypeCounter, 0}}
	}
	h := model.MetricTypeHistogram
	return []line{{f.name + "_bucket", code + ",le=5", h, 0}, {f.name + "_bucket", code + ",le=10", h, 0},
		{f.name + "_bucket", code + ",le=+Inf", h, 0}, {f.name + "_sum", code, h, 0}, {f.name + "_count", code, h, 0}}
}

// process is an Envoy. It knows what has happened since it started.
type process struct {
	born      time.Time
	advanced  time.Time     // until when requests have happened
	flushes   time.Duration // the age at which it writes its uptime first
	clockBack time.Duration // by which the clock of its node was set back
	stats     []stats       // by family
}

// stats are the lines of a family.
type stats struct {
	life   int // differs each time that the lines begin at 0; 0: there are none
	values []float64
}

// newProcess returns an Envoy that has run for a time already.
func (w *world) newProcess(age time.Duration) *process {
	now := time.Now()
	return &process{born: now.Add(-age), advanced: now.Add(-age), flushes: time.Duration(w.random.IntN(5000)) *
		time.Millisecond, stats: make([]stats, len(families()))}
}

// happen adds the requests since the last call. With burst it adds many more, so that counters that have begun again at
// 0 pass their earlier values.
func (tg *simTarget) happen(burst bool) {
	w, p, now := tg.w, tg.process, time.Now()
	seconds := now.Sub(p.advanced).Seconds()
	p.advanced = now
	for n, f := range families() {
		s := &p.stats[n]
		if s.life == 0 && w.random.IntN(3) > 0 || w.chance(20) {
			continue // no request of this kind
		}
		requests := w.random.IntN(int(min(seconds, 60))*3 + 2)
		if burst {
			requests += w.random.IntN(400)
		}
		if requests == 0 {
			continue
		}
		if s.life == 0 {
			s.life, s.values = w.truth.newLife(), make([]float64, len(f.lines()))
		}
		for row, amount := range f.requests(w, requests) {
			s.values[row] += amount
			w.truth.total[keyOf(tg.app, f, row)] += amount
		}
	}
}

// requests returns what some requests add to the lines of a family.
func (f family) requests(w *world, n int) []float64 {
	if !f.isHistogram {
		return []float64{float64(n)}
	}
	add := make([]float64, len(f.lines()))
	for range min(n, 20) {
		each := float64(max(1, n/20))
		took := pick(w, []float64{3, 3, 7, 20})
		for i, bound := range []float64{5, 10, took} {
			if took <= bound {
				add[i] += each
			}
		}
		add[3] += took * each
		add[4] += each
	}
	return add
}

// simTarget is a pod, and what its agent does with it.
type simTarget struct {
	w       *world
	pod     string
	app     string
	process *process
	url     int // changes if it is scraped under another URL

	hasUptime  bool // on its pages
	setsClock  bool // the clock of its node is set; such a target evicts nothing
	evicted    bool // since its last good page
	isReversed bool // its pages have their families in another order
	missing    int  // how many of its next pages lack the Envoy's part
	isEmpty    bool // and show nothing else either
	partial    int  // how many of its next pages leave out lines with old timestamps

	agent *simAgent
	feed  *simSource // its pages at the agent
	gone  bool
}

// newTarget adds a pod whose Envoy has run for a time already.
func (w *world) newTarget(age time.Duration) {
	w.names++
	tg := &simTarget{w: w, pod: fmt.Sprint("pod-", w.names), app: pick(w, []string{"reviews", "cart"}),
		process: w.newProcess(age), hasUptime: w.chance(70), setsClock: w.chance(30), isReversed: w.chance(20)}
	w.targets = append(w.targets, tg)
	w.note("%s of %s begins, age %v, uptime on its page: %v", tg.pod, tg.app, age, tg.hasUptime)
	tg.happen(false)
	tg.joinAgent(pick(w, w.agents), time.Now())
}

// restart replaces the Envoy by a new one.
func (tg *simTarget) restart() {
	tg.happen(false)
	tg.process = tg.w.newProcess(0)
	tg.w.note("%s: its Envoy restarts", tg.pod)
	tg.happen(tg.w.chance(40))
}

// restartBefore replaces the Envoy by a new one, and does something when a page of that may have been read.
func (tg *simTarget) restartBefore(do func()) {
	tg.restart()
	after := min(tg.w.interval, 5*time.Second) + time.Duration(tg.w.random.Int64N(int64(tg.w.interval)))
	tg.w.plan(time.Now().Add(after), func() {
		if !tg.gone {
			do()
		}
	})
}

// evict takes lines away that come back with the next request, at 0. At most one family is evicted between two good
// pages: if nearly all were, and the page had no uptime, they would be taken for those of a new process.
func (tg *simTarget) evict() {
	n := tg.w.random.IntN(len(families()))
	if tg.setsClock || tg.evicted || tg.process.stats[n].life == 0 {
		return
	}
	tg.happen(false)
	tg.evicted, tg.process.stats[n] = true, stats{}
	tg.w.note("%s: %s %s is evicted", tg.pod, families()[n].name, families()[n].code)
	if tg.w.chance(60) {
		tg.happen(tg.w.chance(40))
	}
}

// stepNodeClock sets the clock of the node back. Envoy computes its uptime from it. It never looks as if it had just
// started, or its first page at another agent would be counted.
func (tg *simTarget) stepNodeClock() {
	by := time.Duration(tg.w.random.IntN(60)) * time.Second
	if tg.setsClock && tg.hasUptime && tg.uptime() > by+time.Minute {
		tg.process.clockBack += by
		tg.w.note("%s: the clock of its node is set back", tg.pod)
	}
}

// hide lets pages lack what the Envoy says, or all lines: Istio's agent merges the pages of Envoy and application, and
// leaves out what it cannot read.
func (tg *simTarget) hide() {
	if !tg.setsClock {
		tg.missing, tg.isEmpty = 1+tg.w.random.IntN(4), tg.w.chance(50)
		if tg.w.chance(40) { // a block comes meanwhile
			tg.missing++
			tg.w.plan(time.Now().Add(tg.w.interval+time.Duration(tg.w.random.Int64N(int64(2*tg.w.interval)))), func() {
				tg.agent.reloadAs(3)
			})
		}
		tg.w.note("%s: %d pages without the Envoy's part, empty: %v", tg.pod, tg.missing, tg.isEmpty)
	}
}

// age lets pages leave out lines with old timestamps.
func (tg *simTarget) age() {
	if !tg.setsClock {
		tg.partial = 1 + tg.w.random.IntN(3)
		tg.w.note("%s: %d pages leave out lines", tg.pod, tg.partial)
	}
}

// end takes the pod away.
func (tg *simTarget) end() {
	tg.gone = true
	tg.w.targets = slices.DeleteFunc(tg.w.targets, func(other *simTarget) bool { return other == tg })
	tg.w.note("%s is gone", tg.pod)
	tg.feed.end()
}

// flap lets discovery lose the pod, and find it again soon.
func (tg *simTarget) flap() {
	w, due := tg.w, tg.feed.due
	w.note("%s is lost, and found again", tg.pod)
	tg.feed.end()
	longest := pick(w, []time.Duration{w.interval / 4, 2 * w.interval})
	for back := time.Now().Add(time.Duration(w.random.Int64N(int64(longest)))); due.Before(back); {
		due = due.Add(w.interval)
	}
	tg.feed = tg.agent.newSource(tg, due)
}

// move lets another Envoy have the labels of the target, under another URL.
func (tg *simTarget) move() {
	tg.url++
	tg.process = tg.w.newProcess(pick(tg.w, []time.Duration{0, time.Minute}))
	tg.w.note("%s has another URL", tg.pod)
	tg.happen(false)
	tg.feed = tg.feed.successor()
}

// reread begins a new sequence of pages: the rules of the job have changed.
func (tg *simTarget) reread() {
	tg.w.note("%s is read under other rules", tg.pod)
	tg.feed = tg.feed.successor()
}

// handOver lets another agent scrape the target, from the second due time on after the last.
func (tg *simTarget) handOver() {
	w := tg.w
	to := pick(w, w.agents)
	if to == tg.agent {
		return
	}
	w.note("%s moves to agent %d", tg.pod, to.number)
	last := tg.feed.due.Add(-w.interval)
	tg.feed.leave()
	tg.joinAgent(to, last.Add(2*w.interval))
}

// uptime is what the page says: Envoy writes whole seconds, and flushes its stats every 5 s.
func (tg *simTarget) uptime() time.Duration {
	if !tg.hasUptime {
		return -1
	}
	p, written := tg.process, time.Duration(0)
	if age := time.Since(p.born); age >= p.flushes {
		written = age - (age-p.flushes)%(5*time.Second)
	}
	return max(0, written.Truncate(time.Second)-p.clockBack)
}

// simPage is what a scrape reads.
type simPage struct {
	process   *process
	uptime    time.Duration
	rows      []simRow
	isPartial bool   // lines were left out
	versions  [2]int // of the agent's blocks when it was handed over; 0: there was none
}

type simRow struct {
	line
	key    string // see keyOf
	family string // and of the first line of its family
	life   int
	block  int
}

// isBelow reports whether the next row is the next bucket of the same histogram.
func (r *simRow) isBelow(next *simRow) bool {
	return r.family == next.family && r.name == next.name && r.label != next.label
}

// page returns the page as it is now.
func (tg *simTarget) page() *simPage {
	tg.happen(false)
	p := &simPage{process: tg.process, uptime: tg.uptime()}
	all := families()
	for n := range all {
		if tg.isReversed {
			n = len(all) - 1 - n
		}
		f, s := all[n], tg.process.stats[n]
		if s.life == 0 {
			continue
		}
		for i, l := range f.lines() {
			l.value = s.values[i]
			p.rows = append(p.rows, simRow{l, keyOf(tg.app, f, i), keyOf(tg.app, f, 0), s.life, f.block})
		}
	}
	return p
}

// row returns the row of a line; nil: the page has none.
func (p *simPage) row(key string) *simRow {
	for i := range p.rows {
		if p.rows[i].key == key {
			return &p.rows[i]
		}
	}
	return nil
}

// losesMuch reports whether at least half of the lines of a page that are summed are not on the next one.
func (p *simPage) losesMuch(next *simPage) bool {
	gone, summed := 0, 0
	for _, r := range p.rows {
		if p.versions[r.block] > 0 {
			summed++
			if next.row(r.key) == nil {
				gone++
			}
		}
	}
	return gone > 0 && 2*gone >= summed
}

// keyOf names a line of a family over all pods of an app: reviews istio_ms_bucket code=200,le=5.
func keyOf(app string, f family, row int) string {
	l := f.lines()[row]
	return app + " " + l.name + " " + l.label
}
