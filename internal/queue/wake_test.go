package queue

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// flip damages the data of the first record of a segment.
func (fs *fakeFS) flip(t *testing.T, segment string) {
	t.Helper()
	for name, d := range fs.Names {
		if strings.Contains(name, segment) && strings.HasSuffix(name, segmentSuffix) {
			d.Content[headerSize] ^= 1
			return
		}
	}
	t.Fatalf("no segment %s", segment)
}

// TestDamagedLaneDoesNotHideTheNext: a reader that has several lanes of an older generation goes on with the next one
// when damage empties the first.
func TestDamagedLaneDoesNotHideTheNext(t *testing.T) {
	fs := newFakeFS()
	s := openStore(t, "data", fs)
	q := openQueue(t, s, "x", 4, quiet())
	sealed(t, q, 0, "zero")
	sealed(t, q, 2, "two")
	mustClose(t, q)
	fs.flip(t, "-0004-0000-")
	q = openQueue(t, s, "x", 2, quiet())
	defer q.Close()
	sealed(t, q, 1, "new")
	if r, state := nextState(q, 1); state != Later {
		t.Errorf("lane 1 gives %q (state %d) while lane 0 has older requests", text(r), state)
	}
	if r, state := nextState(q, 0); state != Ready || text(r) != "two" {
		t.Errorf("lane 0 gives %q (state %d), want two", text(r), state)
	}
	q.Ack(0)
	if r, state := nextState(q, 1); state != Ready || text(r) != "new" {
		t.Errorf("lane 1 gives %q (state %d), want new", text(r), state)
	}
	if _, state := nextState(q, 0); state != Empty {
		t.Errorf("lane 0 has state %d with nothing left", state)
	}
}

// TestReadErrorWakesTheReaderAfterAResize: the lane that could not be read is assigned to another reader before it is
// read again.
func TestReadErrorWakesTheReaderAfterAResize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := newFakeFS()
		s := openStore(t, "data", fs)
		q := openQueue(t, s, "x", 3, quiet())
		sealed(t, q, 2, "two")
		mustClose(t, q)
		woken := make(chan int, 10)
		cfg := quiet()
		cfg.Wake = func(lane int) { woken <- lane }
		q = openQueue(t, s, "x", 3, cfg)
		fs.breakWith(syscall.EIO, "read")
		if _, state := nextState(q, 2); state != Later {
			t.Errorf("lane 2 has state %d, and cannot be read", state)
		}
		fs.breakWith(nil)
		q.Resize(1)
		pass(maxBackoff)
		synctest.Wait()
		if lane := <-woken; lane != 0 {
			t.Errorf("reader %d is woken, want 0", lane)
		}
		if r, state := nextState(q, 0); state != Ready || text(r) != "two" {
			t.Errorf("lane 0 gives %q (state %d), want two", text(r), state)
		}
		mustClose(t, q)
	})
}

// breakWith makes calls fail until it is called again.
func (fs *fakeFS) breakWith(err error, calls ...string) {
	fs.Mu.Lock()
	defer fs.Mu.Unlock()
	fs.Fail = func(call, _ string, _ int) error {
		if slices.Contains(calls, call) {
			return err
		}
		return nil
	}
}

// sleepers are readers that call Next as senders do: after an Append or a Seal of their lane, after their own Ack, when
// they are woken, and when Next says, and at no other time.
type sleepers struct {
	t     *testing.T
	rnd   *rand.Rand
	q     *FIFO
	lanes int

	mu       sync.Mutex   // guards the following
	awake    map[int]bool // by reader
	inFlight map[int]bool
	got      int // samples
}

func (s *sleepers) wake(lane int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if lane >= 0 {
		s.awake[lane] = true
		return
	}
	for lane := range s.lanes {
		s.awake[lane] = true
	}
}

// run lets readers work until they sleep. Patient readers keep some requests in flight.
func (s *sleepers) run(patient bool) {
	for {
		s.mu.Lock()
		for lane, yes := range s.awake {
			if !yes {
				delete(s.awake, lane)
			}
		}
		lanes := slices.Collect(maps.Keys(s.awake))
		clear(s.awake)
		for lane := range s.inFlight {
			if !patient && !slices.Contains(lanes, lane) {
				lanes = append(lanes, lane)
			}
		}
		s.mu.Unlock()
		if len(lanes) == 0 {
			return
		}
		slices.Sort(lanes)
		for _, lane := range lanes {
			for s.look(lane, patient) {
			}
		}
	}
}

func (s *sleepers) look(lane int, patient bool) (more bool) {
	group, state, wait := s.q.Next(lane, Limit{Requests: 3, Samples: 5})
	if wait > 0 {
		time.AfterFunc(wait, func() { s.wake(lane) })
	}
	if state != Ready {
		return false
	}
	s.inFlight[lane] = true
	if patient && s.rnd.IntN(3) == 0 {
		return false // it takes a while
	}
	for _, r := range group {
		s.got += r.Samples
	}
	delete(s.inFlight, lane)
	s.q.Ack(lane)
	return true
}

// TestModelReadersThatSleep has damage, reads that fail, resizes and restarts. Nothing may wait for a reader that
// nobody wakes.
func TestModelReadersThatSleep(t *testing.T) {
	for seed := range uint64(60) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { readersThatSleep(t, seed) })
		})
	}
}

func readersThatSleep(t *testing.T, seed uint64) {
	s := &sleepers{t: t, rnd: rand.New(rand.NewPCG(seed, 2)), awake: map[int]bool{}, inFlight: map[int]bool{}}
	var reported losses
	cfg := quiet()
	cfg.MaxMemory, cfg.segment, cfg.Wake, cfg.Lost = 3000, 1000, s.wake, reported.take
	cfg.requests = []int{0, 6, 20}[seed%3]
	fs, appended := newFakeFS(), 0
	layouts := []*Layout{nil, {Data: make([]byte, 200)}, {Data: make([]byte, 20)}}
	store := openStore(t, "data", fs)
	start := func() {
		s.lanes = 1 + s.rnd.IntN(5)
		s.q = openQueue(t, store, "x", s.lanes, cfg)
		clear(s.inFlight)
		s.wake(noReader)
	}
	start()
	for range 150 {
		lane := s.rnd.IntN(s.lanes)
		switch s.rnd.IntN(12) {
		default:
			for range s.rnd.IntN(10) {
				due := time.Duration(s.rnd.IntN(3)) * time.Duration(s.rnd.IntN(60)) * time.Second
				stream := string('0' + byte(s.rnd.IntN(4)))
				waitsWith(t, s.q, lane, due, layouts[s.rnd.IntN(3)], stream+strings.Repeat("x", s.rnd.IntN(400)))
				appended++
			}
			s.wake(lane)
		case 0, 1, 2:
			s.run(true)
		case 3:
			synctest.Wait() // it is written
			fs.damage(s.rnd)
		case 4:
			fs.breakWith(syscall.EIO, "read")
			s.run(true)
			pass(time.Duration(s.rnd.IntN(10)) * time.Second)
		case 5:
			fs.breakWith(nil)
			pass(maxBackoff)
		case 6:
			s.lanes = 1 + s.rnd.IntN(5)
			s.q.Resize(s.lanes)
			s.wake(noReader)
		case 7:
			fs.breakWith(nil)
			mustClose(t, s.q)
			start()
		}
		synctest.Wait()
		s.q.checkState(t.Errorf)
	}
	fs.breakWith(nil)
	for range 5 { // nothing waits for longer than two minutes
		s.run(false)
		pass(maxBackoff)
		synctest.Wait()
	}
	if st := s.q.Stats(); st.Samples != 0 || s.got+reported.of(Damaged).Samples != appended {
		t.Errorf("%d samples wait, %d delivered, reported %+v, of %d",
			st.Samples, s.got, reported.of(Damaged), appended)
	}
	mustClose(t, s.q)
}

// damage flips a bit in the data of some record or layout on disk.
func (fs *fakeFS) damage(rnd *rand.Rand) {
	fs.Mu.Lock()
	defer fs.Mu.Unlock()
	var at []*byte
	for _, name := range slices.Sorted(maps.Keys(fs.Names)) {
		if d := fs.Names[name]; strings.HasSuffix(name, segmentSuffix) {
			c := newCursor(bytes.NewReader(d.Content), 0, int64(len(d.Content)), headerSize)
			for p, ok, _ := c.next(); ok; p, ok, _ = c.next() {
				if !p.damage {
					at = append(at, &d.Content[p.from+headerSize], &d.Content[p.to-1])
				}
			}
		}
	}
	if len(at) > 0 {
		*at[rnd.IntN(len(at))] ^= 1
	}
}
