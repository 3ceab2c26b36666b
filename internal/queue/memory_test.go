package queue

import (
	"errors"
	"fmt"
	"testing"
)

func record(data string, first bool) Record {
	return Record{Data: []byte(data), Samples: 1, Oldest: 10, Newest: 20, First: first}
}

func mustAppend(t *testing.T, q *FIFO, lane int, r Record) Loss {
	t.Helper()
	loss, err := q.Append(lane, r)
	if err != nil {
		t.Fatal(err)
	}
	return loss
}

// next is Next for tests that care only whether there is a request.
func next(q *FIFO, lane int) (Request, bool) {
	r, state := nextState(q, lane)
	return r, state == Ready
}

// nextState is Next for groups of one request.
func nextState(q *FIFO, lane int) (Request, State) {
	group, state, _ := q.Next(lane, Limit{Requests: 1, Samples: 1})
	if state != Ready {
		return Request{}, state
	}
	return group[0], state
}

// text returns the data of the records, each with + and its layout if it has one.
func text(r Request) (s string) {
	for _, rec := range r.Records {
		if s += string(rec.Data); rec.Layout != nil {
			s += "+" + string(rec.Layout.Data)
		}
	}
	return s
}

func TestRequestsLeaveWholeAndInOrder(t *testing.T) {
	q := NewMemory(DefaultConfig(), 2)
	mustAppend(t, q, 0, record("a", true))
	mustAppend(t, q, 0, record("b", false))
	if _, ok := next(q, 0); ok {
		t.Error("an open request was given out")
	}
	mustAppend(t, q, 0, record("c", true)) // seals the first
	q.Seal(0)
	q.Seal(1) // nothing is open there
	for _, want := range []string{"ab", "c"} {
		for range 2 { // the same until Ack
			r, ok := next(q, 0)
			if !ok || text(r) != want || r.Samples != len(want) || r.Oldest != 10 || r.Newest != 20 {
				t.Errorf("Next = %q (%v), want %q", text(r), ok, want)
			}
		}
		q.Ack(0)
	}
	if _, ok := next(q, 0); ok {
		t.Error("an empty lane gave a request")
	}
	if s := q.Stats(); s != (Stats{MaxBytes: maxMemoryOnly, OldestLanes: s.OldestLanes}) {
		t.Errorf("stats = %+v, want nothing", s)
	}
}

func TestRecordsNeedTheirRequest(t *testing.T) {
	q := NewMemory(DefaultConfig(), 1)
	mustAppend(t, q, 0, record("a", true))
	q.Seal(0)
	if _, err := q.Append(0, record("b", false)); err == nil {
		t.Error("a record joined a sealed request")
	}
}

func TestOldestRequestsAreDroppedFirst(t *testing.T) {
	size := int64(recordOverhead + 1)
	q := NewMemory(Config{MaxBytes: 4 * size}, 2)
	for i := range 4 {
		mustAppend(t, q, i%2, record(fmt.Sprint(i), true))
		q.Seal(i % 2)
	}
	if _, ok := next(q, 0); !ok { // request 0 is in flight now
		t.Fatal("nothing in lane 0")
	}
	if loss := mustAppend(t, q, 0, record("4", true)); loss != (Loss{Requests: 1, Samples: 1}) {
		t.Errorf("loss = %+v, want one request", loss)
	}
	r, _ := next(q, 1)
	if text(r) != "3" {
		t.Errorf("lane 1 begins with %q, want 3: request 1 was the oldest not in flight", text(r))
	}
	if loss := mustAppend(t, q, 0, record("5", false)); loss.Requests != 1 { // request 2
		t.Errorf("loss = %+v, want one request", loss)
	}
	if loss := mustAppend(t, q, 0, record("6", false)); loss != (Loss{}) {
		t.Errorf("loss = %+v: what is open or in flight must stay", loss)
	}
	q.Seal(0)
	for _, want := range []string{"0", "456"} {
		if r, _ := next(q, 0); text(r) != want {
			t.Errorf("lane 0 gives %q, want %q", text(r), want)
		}
		q.Ack(0)
	}
}

func TestCloseReturnsWhatIsLost(t *testing.T) {
	q := NewMemory(Config{}, 2)
	mustAppend(t, q, 0, record("a", true))
	mustAppend(t, q, 1, record("b", true))
	mustAppend(t, q, 1, record("c", false))
	if s := q.Stats(); s.Requests != 2 || s.Samples != 3 || s.Oldest != 10 {
		t.Errorf("stats = %+v", s)
	}
	loss, err := q.Close()
	if err != nil || loss != (Loss{Requests: 2, Samples: 3}) {
		t.Errorf("Close = %+v, %v", loss, err)
	}
	if _, err := q.Append(0, record("d", true)); !errors.Is(err, ErrClosed) {
		t.Errorf("Append after Close = %v", err)
	}
	if loss, _ := q.Close(); loss != (Loss{}) {
		t.Errorf("second Close = %+v", loss)
	}
}
