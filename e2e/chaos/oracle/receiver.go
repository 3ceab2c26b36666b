package oracle

import (
	"bytes"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/golang/snappy"
)

// Request is one POST that the receiver got.
type Request struct {
	At      time.Time
	Method  string
	Header  http.Header
	Bytes   int // size of the compressed body
	Status  int // status of the answer
	Message Message
	Problem error // why the body could not be decoded
}

// Receiver is a remote write endpoint for 1.0 and 2.0. It records the samples of requests that it answers with 2xx in
// its Ledger.
type Receiver struct {
	Ledger *Ledger
	URL    string

	address string
	seed    maphash.Seed

	mu        sync.Mutex // guards the fields below
	mode      Mode
	changed   chan struct{} // closed when the mode changes
	server    *http.Server  // nil: the port is closed
	keep      bool
	requests  []Request
	statuses  map[int]int
	notBefore map[uint64]time.Time // earliest time for a retry, by hash of the content
	early     int
	hanging   int
	messages  [2]int // accepted requests of 1.0 and of 2.0
	discarded int
}

// ReceiverPort is the port of the receivers.
const ReceiverPort = 15091

// NewReceiver starts a receiver that accepts every request.
func NewReceiver(at *AddressRange, host int) (*Receiver, error) {
	l, err := at.Listen(host, ReceiverPort)
	if err != nil {
		return nil, err
	}
	r := &Receiver{
		Ledger: newLedger(), URL: "http://" + l.Addr().String() + "/api/v1/write",
		address: l.Addr().String(), seed: maphash.MakeSeed(), mode: Up(), changed: make(chan struct{}),
		statuses: map[int]int{}, notBefore: map[uint64]time.Time{},
	}
	r.serve(l)
	return r, nil
}

// serve starts a server on l. The caller holds mu, or no other goroutine knows the receiver yet.
func (r *Receiver) serve(l net.Listener) {
	r.server = &http.Server{Handler: r, ReadHeaderTimeout: 10 * time.Second}
	go func(s *http.Server) { _ = s.Serve(l) }(r.server) // returns after Close
}

// Set changes the mode. Connections that a black hole holds open are closed.
func (r *Receiver) Set(m Mode) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mode = m
	close(r.changed)
	r.changed = make(chan struct{})
	switch {
	case m.refuse && r.server != nil:
		err := r.server.Close()
		r.server = nil
		return err
	case !m.refuse && r.server == nil:
		l, err := net.Listen("tcp", r.address)
		if err != nil {
			return fmt.Errorf("listen again: %w", err)
		}
		r.serve(l)
	}
	return nil
}

// Keep makes the receiver keep whole requests from now on, for Requests.
func (r *Receiver) Keep() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.keep = true
}

// Requests returns the kept requests.
func (r *Receiver) Requests() []Request {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Request(nil), r.requests...)
}

// Answers returns the number of requests by the status of their answer.
func (r *Receiver) Answers() map[int]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	counts := map[int]int{}
	for status, n := range r.statuses {
		counts[status] = n
	}
	return counts
}

// Early returns how many requests were retried earlier than Retry-After allows.
func (r *Receiver) Early() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.early
}

// Hanging returns how many requests a black hole holds open.
func (r *Receiver) Hanging() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.hanging
}

func (r *Receiver) hangs(more int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hanging += more
}

// Messages returns how many requests of 1.0 and of 2.0 were accepted.
func (r *Receiver) Messages() (one, two int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.messages[0], r.messages[1]
}

// Discarded returns how many samples were counted and not recorded because of Bulk.
func (r *Receiver) Discarded() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.discarded
}

// Close stops the receiver.
func (r *Receiver) Close() error { return r.Set(Refuse()) }

// ServeHTTP implements http.Handler.
func (r *Receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	mode, changed := r.mode, r.changed
	r.mu.Unlock()
	if mode.hole {
		r.hangs(1)
		<-changed
		r.hangs(-1)
		panic(http.ErrAbortHandler)
	}
	seen := Request{At: time.Now(), Method: req.Method, Header: req.Header.Clone()}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return // the sender closed the connection
	}
	seen.Bytes = len(body)
	if mode.bulk != "" && r.discard(w, req.Header, body, mode) {
		return
	}
	var samples []Sample
	var content uint64
	seen.Message, samples, content, seen.Problem = r.read(req.Header, body)
	if mode.delay > 0 {
		select {
		case <-changed:
		case <-time.After(mode.delay):
		}
	}
	seen.Status = mode.status
	switch {
	case seen.Problem != nil:
		seen.Status = http.StatusBadRequest
	case mode.only1 && seen.Message.V2 != nil:
		seen.Status = http.StatusUnsupportedMediaType
	case mode.judge != nil:
		seen.Status = mode.judge(seen.Message, samples)
	}
	r.note(seen, content, mode)
	if seen.Status/100 == 2 {
		r.Ledger.take(samples)
	}
	answer(w, seen, samples, mode)
}

// discard handles a 2.0 request with Bulk samples: it counts the samples and accepts the request.
func (r *Receiver) discard(w http.ResponseWriter, h http.Header, body []byte, m Mode) bool {
	v2, err := isV2(h.Get("Content-Type"))
	if err != nil || !v2 {
		return false
	}
	plain, err := snappy.Decode(nil, body)
	if err != nil || !bytes.Contains(plain, []byte(m.bulk)) {
		return false
	}
	n, err := countSamples(plain)
	if err != nil {
		return false
	}
	r.mu.Lock()
	r.discarded += n
	r.mu.Unlock()
	w.Header().Set("X-Prometheus-Remote-Write-Samples-Written", strconv.Itoa(n))
	w.Header().Set("X-Prometheus-Remote-Write-Histograms-Written", "0")
	w.Header().Set("X-Prometheus-Remote-Write-Exemplars-Written", "0")
	w.WriteHeader(http.StatusNoContent)
	return true
}

// read decodes a body. content is a hash of its samples, which identifies a retry.
func (r *Receiver) read(h http.Header, body []byte) (m Message, samples []Sample, content uint64, err error) {
	v2, err := isV2(h.Get("Content-Type"))
	if err != nil {
		return m, nil, 0, err
	}
	m, plain, err := decode(body, v2)
	if err != nil {
		return m, nil, 0, err
	}
	samples, err = m.Samples()
	return m, samples, maphash.Bytes(r.seed, plain), err
}

// note records a request in the counters.
func (r *Receiver) note(seen Request, content uint64, m Mode) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.statuses[seen.Status]++
	if seen.Status/100 == 2 {
		if seen.Message.V2 != nil {
			r.messages[1]++
		} else {
			r.messages[0]++
		}
	}
	if r.keep {
		r.requests = append(r.requests, seen)
	}
	if until, waits := r.notBefore[content]; waits && seen.At.Before(until) {
		r.early++
	}
	delete(r.notBefore, content)
	if m.retryAfter != nil && seen.Status == m.status {
		r.notBefore[content] = m.until(seen.At)
	}
}

// answer writes the answer. For a 2.0 request it includes the Written headers.
func answer(w http.ResponseWriter, seen Request, samples []Sample, m Mode) {
	if m.retryAfter != nil && seen.Status == m.status {
		w.Header().Set("Retry-After", m.retryAfter(seen.At))
	}
	for name, value := range m.header {
		w.Header().Set(name, value)
	}
	if seen.Message.V2 != nil && seen.Status/100 == 2 && !m.silent {
		w.Header().Set("X-Prometheus-Remote-Write-Samples-Written", strconv.Itoa(len(samples)))
		w.Header().Set("X-Prometheus-Remote-Write-Histograms-Written", "0")
		w.Header().Set("X-Prometheus-Remote-Write-Exemplars-Written", strconv.Itoa(exemplars(seen.Message)))
	}
	w.WriteHeader(seen.Status)
	text := m.body
	if seen.Problem != nil {
		text = seen.Problem.Error()
	}
	if seen.Status != http.StatusNoContent && text != "" {
		_, _ = io.Copy(w, bytes.NewReader([]byte(text))) // the error is ignored: the sender closed the connection
	}
}

func exemplars(m Message) int {
	n := 0
	for _, ts := range m.V2.Timeseries {
		n += len(ts.Exemplars)
	}
	return n
}

var errNoRequest = errors.New("no request arrived")

// Problems returns the decoding errors of the kept requests. It is an error too if there are no requests.
func (r *Receiver) Problems() error {
	requests := r.Requests()
	if len(requests) == 0 {
		return errNoRequest
	}
	var errs []error
	for _, req := range requests {
		if req.Problem != nil {
			errs = append(errs, req.Problem)
		}
	}
	return errors.Join(errs...)
}
