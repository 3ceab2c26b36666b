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
	order    map[[2]int]int
	reached  int        // the epoch of what was delivered last in this life
	mu       sync.Mutex // guards the next two, until the queue is closed or idle
	lost     Loss
	deaf     bool
	dups     map[[2]int]int // in this life: requests that were delivered in an earlier one
	inFlight map[int][]int
	given    map[int]Request
	evicts   bool // failed syncs take what was written from readers, too
}

type modelRecord struct {
	lane, epoch, samples int
	delivered            bool
	excused              bool // a crash took it, or may have
	written, synced      bool // a kill, a power cut may not take it
}

func newWorld(t *testing.T, seed uint64, cfg Config, lanes int) *world {
	w := &world{t: t, rnd: rand.New(rand.NewPCG(seed, 1)), fs: newFakeFS(), cfg: cfg, lanes: lanes, open: map[int]int{}}
	w.evicts = seed/4%2 == 0
	w.cfg.Free = func(data []byte) { clear(data) }
	w.cfg.Lost = func(_ Reason, l Loss) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if !w.deaf {
			w.lost.add(l.Requests, l.Samples)
		}
	}
	w.start(lanes)
	return w
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
	w.order, w.reached, w.dups = map[[2]int]int{}, 0, map[[2]int]int{}
	w.inFlight, w.given = map[int][]int{}, map[int]Request{}
}

func (w *world) append() {
	if w.q.Stats().MemoryBytes > 2*w.cfg.MaxMemory {
		synctest.Wait() // a test is faster than any sender of scrapes
	}
	lane := w.rnd.IntN(w.lanes)
	id := len(w.records)
	first := w.open[lane] == 0 || w.rnd.IntN(3) == 0
	if first {
		w.open[lane] = id + 1
	}
	r := modelRecord{lane: lane, epoch: w.epoch, samples: 1 + w.rnd.IntN(4)}
	w.records = append(w.records, r)
	pad := bytes.Repeat([]byte{'.'}, w.rnd.IntN(6000))
	data := append(fmt.Appendf(nil, "%d %d ", id, w.open[lane]-1), pad...)
	at := time.Now().UnixMilli()
	rec := Record{Data: data, Samples: r.samples, Oldest: at, Newest: at, First: first}
	if _, err := w.q.Append(lane, rec); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) seal() {
	lane := w.rnd.IntN(w.lanes)
	w.q.Seal(lane)
	delete(w.open, lane)
}

// next takes a request, if there is one, and compares it with the model.
func (w *world) next(lane int) bool {
	w.t.Helper()
	r, ok := next(w.q, lane)
	if !ok {
		return false
	}
	again := w.inFlight[lane]
	w.inFlight[lane], w.given[lane] = nil, r
	samples := 0
	for i, rec := range r.Records {
		fields := strings.Fields(string(rec.Data[:min(40, len(rec.Data))]))
		id, err1 := strconv.Atoi(fields[0])
		begin, err2 := strconv.Atoi(fields[1])
		if err1 != nil || err2 != nil || id >= len(w.records) {
			w.t.Fatalf("lane %d gives %q", lane, rec.Data[:20])
		}
		m := &w.records[id]
		if (i == 0) != rec.First || (i == 0) != (begin == id) || m.samples != rec.Samples {
			w.t.Errorf("record %d is not whole, or not where it belongs", id)
		}
		w.inFlight[lane] = append(w.inFlight[lane], id)
		samples += rec.Samples
		if again != nil {
			continue
		}
		key := [2]int{m.epoch, m.lane}
		if id < w.order[key] {
			w.t.Errorf("record %d of lane %v came after %d", id, key, w.order[key])
		}
		w.order[key] = id
		if m.epoch < w.reached {
			w.t.Errorf("record %d of epoch %d came after epoch %d", id, m.epoch, w.reached)
		}
		w.reached = m.epoch
		if i == 0 && m.delivered {
			w.dups[key]++
		}
	}
	if samples != r.Samples {
		w.t.Errorf("request has %d samples, its records %d", r.Samples, samples)
	}
	if again != nil && fmt.Sprint(again) != fmt.Sprint(w.inFlight[lane]) {
		w.t.Errorf("lane %d gives %v, then %v", lane, again, w.inFlight[lane])
	}
	return true
}

func (w *world) ack(lane int) {
	for _, id := range w.inFlight[lane] {
		w.records[id].delivered = true
	}
	delete(w.inFlight, lane)
	w.q.Ack(lane)
	for _, rec := range w.given[lane].Records {
		clear(rec.Data) // ours now
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
		w.records[i].synced = true
	}
}

func (w *world) resize(lanes int) {
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
	}
	clear(w.open)
	for progress := true; progress; {
		progress = false
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
	switch w.rnd.IntN(12) {
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
					story(w, i)
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
		for key, n := range w.dups {
			if n > 1 {
				w.t.Errorf("%d requests of lane %v came twice over a kill", n, key)
			}
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
			kind := []error{syscall.ENOSPC, syscall.EIO, errShort}[w.rnd.IntN(3)]
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
			w.fs.mu.Lock()
			w.fs.evict = w.evicts
			w.fs.mu.Unlock()
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
	w.fs.mu.Lock()
	defer w.fs.mu.Unlock()
	w.fs.fail = fail
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
