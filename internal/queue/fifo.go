package queue

import (
	"errors"
	"math"
	"sync"
	"time"

	"go.uber.org/zap"
)

// recordOverhead is what a record costs in memory beside its bytes.
const recordOverhead = 96

// closeTimeout is how long Close waits for the disk.
const closeTimeout = 3 * time.Second

// FIFO is the queue, in memory or on disk. On disk, two goroutines of its own live until Close: one writes what
// was appended, the other syncs.
type FIFO struct {
	cfg   Config
	log   *zap.Logger
	limit int64 // of memory
	disk  *disk // nil: in memory only
	began time.Time

	mu       sync.Mutex    // guards the following, and all lanes and segments; never held over a call of the FS
	gens     []*generation // oldest first; Append goes to the last
	inFlight map[int]*lane // by reader: the lane whose group it has in flight
	memory   int64
	age      uint64
	closed   bool
	gaveUp   bool  // Close did not wait for the disk: nothing more is written, what is written is still synced
	stats    Stats // the counters only
	notices  notices
}

// generation is the lanes between two changes of their number. A generation of an earlier process has only those lanes
// that have a file.
type generation struct{ lanes []*lane }

// notices are the calls of Config.Lost and Config.Wake to make when mu is free again.
type notices struct {
	losses map[Reason]Loss
	wake   bool
}

// NewMemory returns an empty queue that is in memory only. Open requests and groups in flight are never dropped, so the
// queue may exceed its limit by them.
func NewMemory(cfg Config, lanes int) *FIFO {
	limit := min(cfg.MaxBytes, maxMemoryOnly)
	if limit <= 0 {
		limit = maxMemoryOnly
	}
	q := newFIFO(cfg, limit)
	q.gens = []*generation{newGeneration("", 1, lanes)}
	return q
}

func newFIFO(cfg Config, limit int64) *FIFO {
	if cfg.Log == nil {
		cfg.Log = zap.NewNop()
	}
	if cfg.Alloc == nil {
		cfg.Alloc = func(n int) []byte { return make([]byte, 0, n) }
	}
	return &FIFO{
		cfg: cfg, log: cfg.Log, limit: limit, began: time.Now(), inFlight: map[int]*lane{}, age: foundAges,
	}
}

// foundAges is the number of ages that are left for the requests that a start finds.
const foundAges = 1 << 40

func newGeneration(dir string, number uint32, lanes int) *generation {
	g := &generation{lanes: make([]*lane, lanes)}
	for i := range g.lanes {
		g.lanes[i] = newLane(dir, laneName{generation: number, lanes: lanes, lane: i})
	}
	return g
}

// lanes yields the lanes of all generations.
func (q *FIFO) lanes(yield func(*lane) bool) {
	for _, g := range q.gens {
		for _, l := range g.lanes {
			if !yield(l) {
				return
			}
		}
	}
}

func (q *FIFO) newest() *generation { return q.gens[len(q.gens)-1] }

// lose adds to the losses that unlock reports.
func (q *FIFO) lose(reason Reason, requests, samples int) {
	if requests == 0 && samples == 0 {
		return
	}
	if q.notices.losses == nil {
		q.notices.losses = map[Reason]Loss{}
	}
	l := q.notices.losses[reason]
	l.add(requests, samples)
	q.notices.losses[reason] = l
}

// unlock unlocks mu, then reports losses and wakes readers.
func (q *FIFO) unlock() {
	n := q.notices
	q.notices = notices{}
	q.mu.Unlock()
	if q.cfg.Lost != nil {
		for reason, l := range n.losses {
			q.cfg.Lost(reason, l)
		}
	}
	if n.wake && q.cfg.Wake != nil {
		q.cfg.Wake(noReader)
	}
}

// Append implements Queue.
func (q *FIFO) Append(lane int, r Record) (Loss, error) {
	q.mu.Lock()
	defer q.unlock()
	if q.closed {
		return Loss{}, ErrClosed
	}
	if err := r.check(); err != nil {
		return Loss{}, err
	}
	l := q.newest().lanes[lane]
	open := l.open()
	if r.First || open == nil {
		if !r.First {
			return Loss{}, errors.New("record depends on a request that is sealed")
		}
		q.seal(l)
		q.age++
		open = &request{age: q.age, due: q.dueOf(r)}
		open.Oldest, open.Newest, open.Stream = r.Oldest, r.Newest, r.Stream
		l.requests.insert(l.requests.last, open)
		if l.hidden == nil {
			l.hidden = open
		}
	}
	open.add(r)
	if l.unwritten == nil {
		l.unwritten = open
	}
	q.account(l, int64(len(r.Data))+recordOverhead)
	q.accountLayout(l, r.Layout, 1)
	if r.Layout != nil { // it is alone
		q.seal(l)
	}
	if q.disk == nil {
		q.limitMemory()
		full := q.notices.losses[QueueFull]
		delete(q.notices.losses, QueueFull)
		return full, nil
	}
	l.pending++
	q.limitMemory()
	q.limitRequests(l)
	q.disk.writer.wakeUp()
	return Loss{}, nil
}

// dueOf returns when a record's request is due.
func (q *FIFO) dueOf(r Record) time.Duration {
	if r.Due.IsZero() {
		return 0
	}
	return max(0, r.Due.Sub(q.began))
}

func (q *FIFO) account(l *lane, bytes int64) {
	q.memory += bytes
	l.memory += bytes
}

// accountLayout adds n to the number of requests in memory that have a layout. The layout counts as memory of a lane
// while one of its requests has it.
func (q *FIFO) accountLayout(l *lane, layout *Layout, n int) {
	if layout == nil {
		return
	}
	before := l.layouts[layout]
	if before == 0 {
		q.account(l, int64(layout.Len()))
	}
	if before+n > 0 {
		l.layouts[layout] = before + n
		return
	}
	delete(l.layouts, layout)
	q.account(l, -int64(layout.Len()))
}

// leaveMemory is called before the data of a request leaves memory.
func (q *FIFO) leaveMemory(l *lane, r *request) {
	q.account(l, -r.Bytes)
	q.accountLayout(l, r.layout(), -1)
}

// Seal implements Queue.
func (q *FIFO) Seal(lane int) {
	q.mu.Lock()
	defer q.unlock()
	q.seal(q.newest().lanes[lane])
}

func (q *FIFO) seal(l *lane) {
	r := l.open()
	if r == nil {
		return
	}
	r.sealed = true
	l.reveal()
	q.nowOnDisk(l, r)
}

// nowOnDisk is called when all of a request may be on disk. The data of one that is not due soon leaves memory; it is
// read back when its group is taken.
func (q *FIFO) nowOnDisk(l *lane, r *request) {
	if q.disk == nil || !r.onDisk() || r.taken {
		return
	}
	if l.held.add(r); !l.streams.isDueBy(r, time.Since(q.began)+dueSoon) {
		q.free(l, r)
	}
}

// dueSoon is the time for which the data of a request that is on disk is kept in memory until the request is due.
const dueSoon = time.Second

// Flush implements Queue.
func (q *FIFO) Flush(lane int) {
	q.mu.Lock()
	defer q.unlock()
	if lane == noReader {
		q.flush()
	} else if lanes := q.newest().lanes; lane < len(lanes) {
		q.flushLane(lanes[lane])
	}
}

// flush makes everything due that is sealed.
func (q *FIFO) flush() {
	for l := range q.lanes {
		q.flushLane(l)
	}
}

func (q *FIFO) flushLane(l *lane) {
	age := q.age
	if open := l.open(); open != nil {
		age = open.age - 1
	}
	if l.streams.flush(age) {
		q.notices.wake = true
	}
}

// laneOf returns the lane that a reader serves now: its own, or while older generations are drained, the first of the
// oldest generation that is assigned to it. If there is none, the state says why.
func (q *FIFO) laneOf(lane int) (*lane, State) {
	now, own := q.gens[0], q.newest()
	if lane >= len(own.lanes) {
		return nil, Empty // a Resize assigned its lane to other readers
	}
	if now == own {
		if l := own.lanes[lane]; l.reader == noReader {
			return l, Ready
		}
		return nil, Later
	}
	for _, l := range now.lanes {
		if l.name.lane%len(own.lanes) == lane && !l.empty() {
			if l.reader == noReader {
				return l, Ready
			}
			break // another reader has a group of it since before the Resize
		}
	}
	for l := range q.lanes {
		if !l.empty() && q.readerOf(l) == lane {
			return nil, Later
		}
	}
	return nil, Empty
}

func (q *FIFO) isNewest(l *lane) bool {
	lanes := q.newest().lanes
	return l.name.lane < len(lanes) && lanes[l.name.lane] == l
}

// readerOf returns the reader of a lane, unless another one has had a group of it since before a Resize.
func (q *FIFO) readerOf(l *lane) int { return l.name.lane % len(q.newest().lanes) }

// wakeIfOther wakes the readers if the rest of a lane is assigned to another one after a Resize.
func (q *FIFO) wakeIfOther(l *lane, by int) {
	if len(q.gens) > 1 && by != q.readerOf(l) {
		q.notices.wake = true
	}
}

// remove takes a request out of a lane.
func (q *FIFO) remove(l *lane, r *request) {
	if l.front != nil && r.age <= l.front.age {
		l.fronts--
	}
	if l.front == r {
		l.front = r.prev
	}
	if l.hidden == r {
		l.hidden = r.next
	}
	if l.unwritten == r {
		l.unwritten = r.next
	}
	if r.found {
		l.found--
	}
	l.streams.remove(r)
	l.held.remove(r)
	l.requests.remove(r)
	if r.segment != nil && r.taken {
		r.segment.taken--
	}
	if r.inMemory() {
		q.leaveMemory(l, r)
	}
	if q.disk != nil {
		l.pending -= r.records - r.written
	}
}

// Resize implements Queue.
func (q *FIFO) Resize(lanes int) {
	q.mu.Lock()
	defer q.unlock()
	old := q.newest()
	lanes = max(1, min(lanes, MaxLanes))
	if q.closed {
		return
	}
	for _, l := range old.lanes {
		q.seal(l)
		if l.streams.flush(math.MaxUint64) { // also what is read back later
			q.notices.wake = true
		}
	}
	dir := ""
	if q.disk != nil {
		dir = q.disk.dir
	}
	q.gens = append(q.gens, newGeneration(dir, old.lanes[0].name.generation+1, lanes))
	q.endGenerations()
}

// endGenerations removes the oldest generations that have drained.
func (q *FIFO) endGenerations() {
	for len(q.gens) > 1 {
		for _, l := range q.gens[0].lanes {
			if !l.empty() {
				return
			}
		}
		if q.disk != nil {
			q.disk.removeGeneration(q.gens[0])
		}
		q.gens = q.gens[1:]
		q.notices.wake = true
	}
}
