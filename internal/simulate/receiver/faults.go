package receiver

import (
	"hash/fnv"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Fault is what is wrong with a receiver. The zero value is a healthy receiver that knows both protocols. Faults of the
// network, such as refused connections, belong to the network.
type Fault struct {
	// Status, unless 0, is the answer to each request. Nothing is stored. With RetryAfter, the answer asks for a pause.
	Status     int
	RetryAfter time.Duration

	// Only is the only protocol that the receiver knows; requests of the other one are answered with 415. 0: it knows
	// both.
	Only Protocol

	// MaxBody is the size of a body above which the answer is 413; 0: no limit.
	MaxBody int

	// Poisoned refuses the samples of one in Poisoned series with 400, whatever their time; 0: none.
	Poisoned int

	Delay time.Duration // before each answer

	// LoseAnswer stores the request, then cuts the connection instead of answering.
	LoseAnswer bool

	// CutBody cuts the connection before the body is read.
	CutBody bool

	// Silent reads the request and never answers.
	Silent bool
}

// poisons reports whether the fault refuses the samples of a series. The series up is never refused: the
// oracle recognizes a batch by it.
func (f Fault) poisons(s *Series) bool {
	if f.Poisoned == 0 || strings.HasPrefix(s.Key, `{__name__="up"`) {
		return false
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(s.Key))
	return h.Sum32()%uint32(f.Poisoned) == 0
}

// before applies the faults that answer before the request is decoded. It returns false if it has answered.
func (r *Receiver) before(f Fault, from string, w http.ResponseWriter, body []byte) bool {
	switch {
	case f.Status != 0:
		r.note("%s from %s: %d, pause of %v", r.name, from, f.Status, f.RetryAfter)
		if f.RetryAfter > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(int(f.RetryAfter/time.Second)))
			r.mu.Lock()
			now := time.Now()
			if r.doubts == 0 && now.Sub(r.doubted) > lingering {
				r.pauses[from] = pause{now, now.Add(f.RetryAfter)}
			}
			r.mu.Unlock()
		}
		http.Error(w, "fault", f.Status)
		return false
	case f.MaxBody > 0 && len(body) > f.MaxBody:
		r.note("%s from %s: %d bytes, at most %d", r.name, from, len(body), f.MaxBody)
		http.Error(w, "body is too large", http.StatusRequestEntityTooLarge)
		return false
	}
	return true
}
