package queue

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	simdisk "github.com/envoy-scraper/envoy-scraper/internal/simulate/disk"
)

// world is a store with one queue and a simple model of it. Every record has a number. It must be delivered, reported
// as lost, or lost in a crash that may lose it.
type world struct {
	t     *testing.T
	rnd   *rand.Rand
	fs    *fakeFS
	store *Store
	q     *FIFO
	cfg   Config
	lanes int

	records  []modelRecord
	epoch    int         // the generation of lanes
	open     map[int]int // lane: the number of its open request's first record, plus 1
	order    map[[3]int]int
	reached  int        // the epoch of what was delivered last in this life
	mu       sync.Mutex // guards the next three, until the queue is closed or idle
	lost     Loss
	woken    bool // since drain last looked
	deaf     bool
	dups     int // in this life: requests that were delivered in an earlier one
	inFlight map[int][]int
	given    map[int][]Request
	layouts  []string  // what they have; modelRecord.layout is the index of one, plus 1
	recent   []*Layout // the last of them, as targets would keep them
	life     int       // the number of the process
	strict   bool      // nothing fails: groups are compared with what they have to have
	evicts   bool      // failed syncs take what was written from readers, too
}

type modelRecord struct {
	lane, epoch, samples int
	layout               int // 0: none
	stream               uint64
	life                 int
	due                  time.Time
	first, sealed        bool // sealed: of first ones
	taken                int  // the last life that had it in flight at its end; 0: none
	delivered            bool
	excused              bool // a crash took it, or may have
	written, synced      bool // a kill, a power cut may not take it
	unsyncable           bool // its process was killed while syncs failed: the next one cannot sync it
}

func newWorld(t *testing.T, seed uint64, cfg Config, lanes int) *world {
	w := &world{t: t, rnd: rand.New(rand.NewPCG(seed, 1)), fs: newFakeFS(), cfg: cfg, lanes: lanes, open: map[int]int{}}
	w.evicts = seed/4%2 == 0
	w.cfg.requests = []int{0, 0, 8, 30}[seed%4]
	w.cfg.Free = func(data []byte) { clear(data) }
	w.cfg.Lost = func(_ Reason, l Loss) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if !w.deaf {
			w.lost.add(l.Requests, l.Samples)
		}
	}
	w.cfg.Wake = func(int) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.woken = true
	}
	w.start(lanes)
	return w
}

// wasWoken reports whether readers were woken since the last call.
func (w *world) wasWoken() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	woken := w.woken
	w.woken = false
	return woken
}

// start starts a new process with what the file system has.
func (w *world) start(lanes int) {
	w.t.Helper()
	store, err := OpenStore("data", w.fs)
	if err != nil {
		w.t.Fatal(err)
	}
	q, err := store.Open("x", lanes, w.cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	w.store, w.q = store, q
	clear(w.open)
	w.lanes, w.epoch = lanes, generationOf(q)
	w.order, w.reached, w.dups = map[[3]int]int{}, 0, 0
	w.life++
	for _, ids := range w.inFlight {
		for _, id := range ids {
			w.records[id].taken = w.life
		}
	}
	for i := range w.records {
		w.records[i].due, w.records[i].sealed = time.Time{}, true
	}
	w.inFlight, w.given = map[int][]int{}, map[int][]Request{}
}

func (w *world) append() {
	if w.q.Stats().MemoryBytes > 2*w.cfg.MaxMemory {
		synctest.Wait() // a test is faster than any sender of scrapes
	}
	lane := w.rnd.IntN(w.lanes)
	id := len(w.records)
	first := w.open[lane] == 0 || w.rnd.IntN(3) == 0
	r := modelRecord{lane: lane, epoch: w.epoch, life: w.life, samples: 1 + w.rnd.IntN(4), first: first}
	if first {
		w.sealed(lane)
		w.open[lane] = id + 1
		if r.stream = uint64(w.rnd.IntN(6)); w.rnd.IntN(3) > 0 {
			r.due = time.Now().Add(time.Duration(w.rnd.IntN(20_000)) * time.Millisecond)
		}
	} else {
		r.stream = w.records[w.open[lane]-1].stream
	}
	most := 6000
	var layout *Layout
	if first && w.rnd.IntN(2) == 0 {
		most = 200
		layout, r.layout = w.layout()
		r.sealed = true
	}
	w.records = append(w.records, r)
	pad := bytes.Repeat([]byte{'.'}, w.rnd.IntN(most))
	data := append(fmt.Appendf(nil, "%d %d ", id, w.open[lane]-1), pad...)
	at := time.Now().UnixMilli()
	rec := Record{
		Data: data, Samples: r.samples, Oldest: at, Newest: at, First: first, Stream: r.stream, Due: r.due,
		Layout: layout,
	}
	if _, err := w.q.Append(lane, rec); err != nil {
		w.t.Fatal(err)
	}
	if layout != nil {
		delete(w.open, lane)
	}
}

// layout returns one of the last few layouts, a new one, or one with the same content as the last.
func (w *world) layout() (layout *Layout, number int) {
	n := len(w.layouts)
	switch i := w.rnd.IntN(12); {
	case i < 10 && n > 0:
		i %= len(w.recent)
		return w.recent[len(w.recent)-1-i], n - i
	case i < 11 && n > 0:
		w.layouts = append(w.layouts, w.layouts[n-1])
	default:
		w.layouts = append(w.layouts, fmt.Sprint("layout ", n, strings.Repeat(".", w.rnd.IntN(3000))))
	}
	layout = &Layout{Data: []byte(w.layouts[n])}
	w.recent = append(w.recent[max(0, len(w.recent)-2):], layout)
	return layout, n + 1
}

func (w *world) seal() {
	lane := w.rnd.IntN(w.lanes)
	w.q.Seal(lane)
	w.sealed(lane)
	delete(w.open, lane)
}

func (w *world) sealed(lane int) {
	if w.open[lane] > 0 {
		w.records[w.open[lane]-1].sealed = true
	}
}

func (w *world) flush() {
	w.q.Flush(noReader)
	for i := range w.records {
		if m := &w.records[i]; m.sealed {
			m.due = time.Time{}
		}
	}
}

// next takes a group, if there is one, and compares it with the model.
func (w *world) next(lane int) bool {
	w.t.Helper()
	most := Limit{Requests: w.rnd.IntN(5), Samples: w.rnd.IntN(40), Bytes: int64(w.rnd.IntN(30_000))}
	group, state, wait := w.q.Next(lane, most)
	if state != Ready {
		if wait < 0 || wait > 0 && state != Later {
			w.t.Errorf("lane %d has state %d, and Next is to be called after %v", lane, state, wait)
		}
		return false
	}
	again := w.inFlight[lane]
	w.inFlight[lane], w.given[lane] = nil, group
	for _, r := range group {
		w.nextRequest(lane, r, again != nil)
	}
	type layoutOfStream struct {
		stream uint64
		data   string
	}
	same := map[layoutOfStream]*Layout{}
	for _, r := range group {
		layout := r.Records[0].Layout
		if layout == nil {
			continue
		}
		key := layoutOfStream{r.Stream, string(layout.Data)}
		if o := same[key]; o != nil && o != layout {
			w.t.Errorf("lane %d gives a layout of a stream twice in a group", lane)
		}
		same[key] = layout
	}
	if again != nil && fmt.Sprint(again) != fmt.Sprint(w.inFlight[lane]) {
		w.t.Errorf("lane %d gives %v, then %v", lane, again, w.inFlight[lane])
	}
	if again == nil {
		w.checkGroup(lane, group, most)
	}
	return true
}

// nextRequest compares a request of a group with the model.
func (w *world) nextRequest(lane int, r Request, again bool) {
	samples := 0
	for i, rec := range r.Records {
		fields := strings.Fields(string(rec.Data[:min(40, len(rec.Data))]))
		id, err1 := strconv.Atoi(fields[0])
		begin, err2 := strconv.Atoi(fields[1])
		if err1 != nil || err2 != nil || id >= len(w.records) {
			w.t.Fatalf("lane %d gives %q", lane, rec.Data[:20])
		}
		m := &w.records[id]
		if (i == 0) != rec.First || (i == 0) != (begin == id) || m.samples != rec.Samples || m.stream != r.Stream {
			w.t.Errorf("record %d is not whole, or not where it belongs", id)
		}
		if rec.Layout == nil && m.layout > 0 ||
			rec.Layout != nil && (m.layout == 0 || string(rec.Layout.Data) != w.layouts[m.layout-1]) {
			w.t.Errorf("record %d has another layout", id)
		}
		samples += rec.Samples
		if i == 0 && !again {
			w.checkRequest(id, r)
		}
		w.inFlight[lane] = append(w.inFlight[lane], id)
	}
	if samples != r.Samples {
		w.t.Errorf("request has %d samples, its records %d", r.Samples, samples)
	}
}

// checkRequest compares the begin of a request that is given out with what was given out before.
func (w *world) checkRequest(id int, r Request) {
	m := &w.records[id]
	key := [3]int{m.epoch, m.lane, int(m.stream)}
	if id < w.order[key] {
		w.t.Errorf("record %d of lane %v came after %d", id, key, w.order[key])
	}
	w.order[key] = id
	if m.epoch < w.reached {
		w.t.Errorf("record %d of epoch %d came after epoch %d", id, m.epoch, w.reached)
	}
	w.reached = m.epoch
	if !w.strict {
		return
	}
	if m.delivered {
		w.dups++
	}
	if m.delivered && !r.MayHaveArrived || r.MayHaveArrived && m.life == w.life {
		w.t.Errorf("record %d: delivered %v, may have arrived %v", id, m.delivered, r.MayHaveArrived)
	}
	if !m.delivered && r.MayHaveArrived != (m.taken > 0) {
		w.t.Errorf("record %d: may have arrived %v, in flight when life %d began", id, r.MayHaveArrived, m.taken)
	}
	flying := map[int]bool{}
	for _, ids := range w.inFlight {
		for _, id := range ids {
			flying[id] = true
		}
	}
	for i, o := range w.records {
		switch same := o.lane == m.lane && o.epoch == m.epoch; {
		case !same || !o.first || o.delivered || o.excused || flying[i] || i == id:
		case i < id && o.stream == m.stream:
			w.t.Errorf("record %d came before %d, of the same stream", id, i)
		case o.life < w.life && m.life == w.life:
			w.t.Errorf("record %d came before %d, which the start found", id, i)
		}
	}
}

// checkGroup compares a group with the limit and the times at which its streams are due.
func (w *world) checkGroup(lane int, group []Request, most Limit) {
	samples, bytes := 0, int64(0)
	perStream := map[uint64]int{}
	for _, r := range group {
		samples, bytes = samples+r.Samples, bytes+r.Bytes
		perStream[r.Stream]++
		if n := perStream[r.Stream]; most.Requests > 0 && n > most.Requests || r.Stream == 0 && len(group) > 1 {
			w.t.Errorf("%d requests of stream %d in a group of %d, limit %+v", n, r.Stream, len(group), most)
		}
		if r.MayHaveArrived != group[0].MayHaveArrived {
			w.t.Error("some of a group may have arrived, some not")
		}
	}
	if len(group) > 1 && (!most.allows(0, bytes) || len(perStream) > 1 && !most.allows(samples, 0)) {
		w.t.Errorf("group of %d samples, %d bytes: limit %+v", samples, bytes, most)
	}
	if !w.strict || w.cfg.requests > 0 { // cold requests are due
		return
	}
	for _, id := range w.inFlight[lane] {
		m := &w.records[id]
		if !m.first || m.epoch < w.epoch {
			continue
		}
		due := false
		for _, o := range w.records {
			if o.first && o.lane == m.lane && o.epoch == m.epoch && o.stream == m.stream && !o.delivered && o.sealed {
				due = due || !o.due.After(time.Now())
			}
		}
		if !due {
			w.t.Errorf("record %d of stream %d was given out before it was due", id, m.stream)
		}
	}
}

func (w *world) ack(lane int) {
	for _, id := range w.inFlight[lane] {
		w.records[id].delivered = true
	}
	delete(w.inFlight, lane)
	w.q.Ack(lane)
	for _, r := range w.given[lane] {
		for _, rec := range r.Records {
			clear(rec.Data) // ours now
		}
	}
}

// pass lets the fake clock of synctest go on.
func pass(d time.Duration) { <-time.After(d) }

// settle lets the queue write and sync. If a call of the disk fails, Stats must say so.
func (w *world) settle(sync bool) {
	synctest.Wait()
	if w.q.Stats().DiskError != "" {
		return
	}
	for i := range w.records {
		w.records[i].written = true
	}
	if !sync {
		return
	}
	pass(w.cfg.FsyncInterval + time.Millisecond)
	synctest.Wait()
	if w.q.Stats().DiskError != "" {
		return
	}
	for i := range w.records {
		w.records[i].synced = !w.records[i].unsyncable
	}
}

func (w *world) resize(lanes int) {
	for lane := range w.open {
		w.sealed(lane)
	}
	clear(w.open)
	w.q.Resize(lanes)
	w.lanes, w.epoch = lanes, generationOf(w.q)
}

func generationOf(q *FIFO) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return int(q.newest().lanes[0].name.generation)
}

func (w *world) kill(lanes int) {
	w.q.mu.Lock()
	failing := w.q.disk.health.failing(syncing)
	w.q.mu.Unlock()
	for i := range w.records {
		w.records[i].unsyncable = w.records[i].unsyncable || failing && !w.records[i].synced
	}
	w.hear(false) // a write that fails since may drop something
	w.fs = w.die(w.fs.kill())
	w.start(lanes)
	for i := range w.records {
		if m := &w.records[i]; !m.written && !m.delivered {
			m.excused = true
		}
	}
}

func (w *world) cutPower(lanes int) {
	w.hear(false)
	w.fs = w.die(w.fs.cutPower(w.rnd))
	w.start(lanes)
	for i := range w.records {
		if m := &w.records[i]; !m.synced && !m.delivered {
			m.excused = true
		}
	}
}

// die ends the goroutines of a killed process. Its reports are ignored.
func (w *world) die(after *fakeFS) *fakeFS {
	_, _ = w.q.Close()
	w.hear(true)
	return after
}

func (w *world) hear(yes bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.deaf = !yes
}

// restart stops the process in order, and starts another.
func (w *world) restart(lanes int) {
	w.t.Helper()
	w.stop()
	w.start(lanes)
}

func (w *world) stop() {
	w.t.Helper()
	loss, err := w.q.Close()
	if err != nil {
		w.t.Error(err)
	}
	w.lost.add(loss.Requests, loss.Samples)
	if err := w.store.Close(); err != nil {
		w.t.Error(err)
	}
}

// drain delivers everything.
func (w *world) drain() {
	w.t.Helper()
	for lane := range w.lanes {
		w.q.Seal(lane)
		w.sealed(lane)
	}
	clear(w.open)
	w.flush()
	for progress := true; progress; {
		progress = w.wasWoken() // damage may end what another reader waited for
		for lane := range max(w.lanes, 8) {
			for w.next(lane) {
				w.ack(lane)
				progress = true
			}
		}
		synctest.Wait()
	}
	if s := w.q.Stats(); s.Samples != 0 || s.Requests != 0 || s.Bytes != 0 || s.MemoryBytes != 0 || s.Oldest != 0 {
		w.t.Errorf("after the last request: %+v", s)
	}
}

// missing counts samples that were not delivered.
func (w *world) missing() (samples int) {
	for i := range w.records {
		if m := &w.records[i]; !m.delivered && !m.excused {
			samples += m.samples
		}
	}
	return samples
}

func (w *world) end() {
	if _, err := w.q.Close(); err != nil {
		w.t.Error(err)
	}
}

// step does something at random that a sender or a scrape does.
func (w *world) step() {
	lane := w.rnd.IntN(w.lanes)
	switch w.rnd.IntN(14) {
	case 12:
		pass(time.Duration(w.rnd.IntN(10_000)) * time.Millisecond)
	case 13:
		if w.rnd.IntN(5) == 0 {
			w.flush()
		}
	case 0, 1, 2, 3, 4:
		w.append()
	case 5:
		w.seal()
	case 6, 7, 8:
		if w.next(lane) && w.rnd.IntN(4) > 0 {
			w.ack(lane)
		}
	case 9:
		w.settle(false)
	case 10:
		w.settle(true)
	case 11:
		for range w.rnd.IntN(30) {
			w.append()
		}
	}
}

func smallConfig() Config {
	return Config{MaxBytes: 1 << 30, MaxMemory: 40_000, FsyncInterval: time.Second, segment: 20_000}
}

// overSeeds runs a story in a world for each seed.
func overSeeds(t *testing.T, cfg Config, steps int, story func(w *world, step int), end func(w *world)) {
	for seed := range uint64(40) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, seed, cfg, 1+int(seed%4))
				for i := range steps {
					w.step()
					w.q.checkState(t.Errorf)
					story(w, i)
					w.q.checkState(t.Errorf)
					if t.Failed() {
						break
					}
				}
				w.breakDisk(nil)
				pass(maxBackoff) // whatever failed is tried again
				w.drain()
				end(w)
				w.end()
			})
		})
	}
}

func TestModelWithoutFaults(t *testing.T) {
	overSeeds(t, smallConfig(), 300, func(w *world, _ int) {
		w.strict = true
		switch w.rnd.IntN(40) {
		case 0:
			w.restart(1 + w.rnd.IntN(4))
		case 1:
			if len(w.inFlight) == 0 {
				w.resize(1 + w.rnd.IntN(4))
			}
		}
	}, func(w *world) {
		if w.missing() != 0 || w.lost != (Loss{}) {
			w.t.Errorf("%d samples missing, reported %+v", w.missing(), w.lost)
		}
	})
}

func TestModelKilled(t *testing.T) {
	overSeeds(t, smallConfig(), 300, func(w *world, _ int) {
		w.strict = true
		switch w.rnd.IntN(40) {
		case 0, 1:
		case 2:
			w.restart(1 + w.rnd.IntN(4)) // what it notes down must not be held against a process that is killed
			return
		default:
			return
		}
		if w.rnd.IntN(2) == 0 {
			w.settle(false)
		}
		if w.dups > 1 { // one was being written when it was acknowledged
			w.t.Errorf("%d requests came twice over a kill", w.dups)
		}
		w.kill(1 + w.rnd.IntN(4))
	}, func(w *world) {
		if w.missing() != 0 || w.lost != (Loss{}) {
			w.t.Errorf("%d samples missing that were written before the kill, reported %+v", w.missing(), w.lost)
		}
	})
}

func TestModelPowerCut(t *testing.T) {
	overSeeds(t, smallConfig(), 300, func(w *world, _ int) {
		if w.rnd.IntN(20) == 0 {
			w.cutPower(1 + w.rnd.IntN(4))
		}
	}, func(w *world) {
		if w.missing() != 0 {
			w.t.Errorf("%d samples missing that were synced before the power cut, reported %+v", w.missing(), w.lost)
		}
	})
}

// TestModelFullAndFailing has limits and errors of the disk; then every sample is delivered or reported as lost.
func TestModelFullAndFailing(t *testing.T) {
	cfg := smallConfig()
	cfg.MaxBytes = 100_000
	overSeeds(t, cfg, 400, func(w *world, _ int) {
		switch w.rnd.IntN(30) {
		case 0:
			kind := []error{syscall.ENOSPC, syscall.EIO, simdisk.ErrShort}[w.rnd.IntN(3)]
			calls := []string{
				"write open", "write truncate", "write sync", "write syncdir remove", "sync rename", "remove",
				"remove truncate",
			}[w.rnd.IntN(7)]
			w.breakDisk(func(call, _ string, _ int) error {
				if strings.Contains(calls, call) {
					return kind
				}
				return nil
			})
			w.fs.Mu.Lock()
			w.fs.Evict = w.evicts
			w.fs.Mu.Unlock()
		case 1, 2:
			w.breakDisk(nil)
			pass(maxBackoff)
		case 3:
			w.breakDisk(nil)
			w.restart(1 + w.rnd.IntN(4))
		}
		w.checkLimit()
	}, func(w *world) {
		// Zeros where evicted pages were are counted again at each start.
		if w.missing() > w.lost.Samples || w.missing() < w.lost.Samples && !w.evicts || w.lost.Samples == 0 {
			w.t.Errorf("%d samples missing, reported %+v", w.missing(), w.lost)
		}
	})
}

func (w *world) breakDisk(fail func(string, string, int) error) {
	w.fs.Mu.Lock()
	defer w.fs.Mu.Unlock()
	w.fs.Fail = fail
}

// checkLimit: the disk has more than the limit and one batch only if no segment can be dropped, whether or not files
// can be removed.
func (w *world) checkLimit() {
	w.t.Helper()
	w.q.mu.Lock()
	defer w.q.mu.Unlock()
	if w.fs.segmentBytes() <= w.cfg.MaxBytes+100_000 {
		return
	}
	for l := range w.q.lanes {
		if s := l.oldestDroppable(); s != nil {
			w.t.Errorf("%d bytes on disk, and %s could go", w.fs.segmentBytes(), s.name)
		}
	}
}
