package queue

import (
	"errors"
	"fmt"
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

	mu       sync.Mutex    // guards the following, and all lanes and segments; never held over a call of the FS
	gens     []*generation // oldest first; Append goes to the last
	inFlight map[int]*lane // by reader: the lane whose oldest request it has in flight
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

// NewMemory returns an empty queue that is in memory only. Open requests and requests in flight are never dropped, so
// the queue may exceed its limit by them, at most two per lane.
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
	return &FIFO{cfg: cfg, log: cfg.Log, limit: limit, inFlight: map[int]*lane{}}
}

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
	if len(r.Data) > maxRecordBytes {
		return Loss{}, fmt.Errorf("record of %d bytes, at most %d are possible", len(r.Data), maxRecordBytes)
	}
	l := q.newest().lanes[lane]
	open := l.open()
	if r.First || open == nil {
		if !r.First {
			return Loss{}, errors.New("record depends on a request that is sealed")
		}
		if open != nil {
			open.sealed = true
		}
		q.age++
		open = &request{age: q.age, Request: Request{Oldest: r.Oldest, Newest: r.Newest}}
		l.requests = append(l.requests, open)
	}
	open.add(r)
	q.account(l, int64(len(r.Data))+recordOverhead)
	if q.disk == nil {
		q.limitMemory()
		full := q.notices.losses[QueueFull]
		delete(q.notices.losses, QueueFull)
		return full, nil
	}
	l.pending++
	q.limitMemory()
	q.disk.writer.wakeUp()
	return Loss{}, nil
}

func (r *request) add(rec Record) {
	r.Records = append(r.Records, rec)
	r.Samples += rec.Samples
	r.Bytes += int64(len(rec.Data)) + recordOverhead
	r.Oldest, r.Newest = min(r.Oldest, rec.Oldest), max(r.Newest, rec.Newest)
}

func (q *FIFO) account(l *lane, bytes int64) {
	q.memory += bytes
	l.memory += bytes
}

// Seal implements Queue.
func (q *FIFO) Seal(lane int) {
	q.mu.Lock()
	defer q.unlock()
	q.seal(q.newest().lanes[lane])
}

func (q *FIFO) seal(l *lane) {
	if open := l.open(); open != nil {
		open.sealed = true
	}
}

// Next implements Queue.
func (q *FIFO) Next(lane int) (Request, State) {
	q.mu.Lock()
	r, state, damaged := q.next(lane)
	q.unlock()
	for _, l := range damaged {
		q.writePosition(l, false)
	}
	return r, state
}

// next implements Next. It also returns the lanes whose oldest request was lost to damage: their positions move.
func (q *FIFO) next(lane int) (r Request, state State, damaged []*lane) {
	if q.closed {
		return Request{}, Empty, nil
	}
	if l := q.inFlight[lane]; l != nil {
		return l.requests[0].Request, Ready, nil
	}
	if q.disk != nil {
		q.dropOld(time.Now())
	}
	for {
		l, state := q.laneOf(lane)
		if l == nil {
			return Request{}, state, damaged
		}
		l.reader = lane
		acked := l.acked
		r, state := q.oldestRequest(l)
		if l.acked != acked {
			damaged = append(damaged, l)
		}
		if r != nil {
			q.inFlight[lane] = l
			return r.Request, Ready, damaged
		}
		l.reader = noReader
		q.wakeIfOther(l, lane)
		if state == Later || q.closed || q.isNewest(l) {
			return Request{}, state, damaged
		}
		q.endGenerations() // all of l was damaged: the next lane may have a request
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
			break // another reader has its oldest request since before the Resize
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

// readerOf returns the reader of a lane, unless another one has had its oldest request since before a Resize.
func (q *FIFO) readerOf(l *lane) int { return l.name.lane % len(q.newest().lanes) }

// oldestRequest returns the oldest request of a lane if it is sealed, read from disk if memory does not have it.
func (q *FIFO) oldestRequest(l *lane) (*request, State) {
	for !q.closed {
		s := l.firstCold()
		if s == nil || l.front > 0 {
			if len(l.requests) == 0 || !l.requests[0].sealed {
				return nil, Empty
			}
			return l.requests[0], Ready
		}
		if !q.readCold(l, s) {
			return nil, Later
		}
	}
	return nil, Empty
}

// Ack implements Queue.
func (q *FIFO) Ack(lane int) {
	q.mu.Lock()
	l := q.inFlight[lane]
	if l == nil || q.closed {
		if l != nil {
			l.requests[0].ownData()
		}
		q.unlock()
		return
	}
	delete(q.inFlight, lane)
	l.reader = noReader
	r := q.remove(l, 0)
	r.gone = true
	write := r.segment != nil
	if write {
		r.segment.live--
		l.acked = position{r.segment.seq, r.end}
		q.removeIfDelivered(l, r.segment)
	}
	if len(q.gens) > 1 {
		q.endGenerations()
		q.wakeIfOther(l, lane)
	}
	q.unlock()
	if write {
		q.writePosition(l, false)
	}
}

// wakeIfOther wakes the readers if the rest of a lane is assigned to another one after a Resize.
func (q *FIFO) wakeIfOther(l *lane, by int) {
	if len(q.gens) > 1 && by != q.readerOf(l) {
		q.notices.wake = true
	}
}

// remove takes a request out of a lane.
func (q *FIFO) remove(l *lane, at int) *request {
	r := l.requests[at]
	copy(l.requests[at:], l.requests[at+1:])
	l.requests[len(l.requests)-1] = nil
	l.requests = l.requests[:len(l.requests)-1]
	if at < l.front {
		l.front--
	}
	q.account(l, -r.Bytes)
	if q.disk != nil {
		l.pending -= len(r.Records) - r.written
	}
	return r
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
