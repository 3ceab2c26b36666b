package receiver

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"

	"github.com/envoy-scraper/envoy-scraper/internal/simulate/faultlist"
)

// Series is a series that the receiver has seen.
type Series struct {
	Labels labels.Labels
	Key    string // Labels.String()

	sum     uint64 // checksum of Key; 0 for the durations of scrapes, which differ when a run is repeated
	stored  bool   // it has a last sample
	last    Sample
	request int  // number of the request that has had it last
	checked bool // valid has examined Labels
	invalid bool // valid has found them wrong
}

// Receiver is a remote write endpoint.
type Receiver struct {
	name   string
	sink   Sink
	log    func(line string) // a line for each request; nil: none
	server *http.Server
	served chan error

	mu       sync.Mutex // guards the following; locked while a request is judged, never while it waits
	faults   faultlist.List[Fault]
	pauses   map[string]pause    // by the host of the sender that was asked for it
	doubts   int                 // faults of the network that may lose answers
	doubted  time.Time           // end of the last one
	requests int                 // decoded so far
	v1       []prompb.TimeSeries // buffers for decoding
	v2       []writev2.TimeSeries
	builder  labels.ScratchBuilder
	key      []byte             // names and values of a series' labels, each after its length
	series   map[string]*Series // by that key
	counts   Counts
	problems []string
}

// pause is a time without requests, which an answer asked for with Retry-After.
type pause struct{ from, to time.Time }

// underWay is the time after an answer with Retry-After in which a request may still arrive: the sender had sent it
// before it got the answer.
const underWay = 500 * time.Millisecond

// Sink takes what a receiver stores, what it refuses because it is late (older than the last sample of the series,
// another value for its time, or the last sample once more, in a request that is rolled back), and what it refuses
// because of a fault. Besides gets the samples that are not late of a request that is rolled back; late says that it is
// because others are. from is the host that sent it.
type Sink interface {
	Accept(from string, s *Series, x Sample)
	Late(from string, s *Series, x Sample)
	Refuse(from string, s *Series, x Sample)
	Besides(from string, s *Series, x Sample, late bool)
}

// Counts say what happened to requests and samples.
type Counts struct {
	Again      int // samples that came again with the same value
	OutOfOrder int // samples that were refused because they are late
	Early      int // requests before the end of a pause that Retry-After asked for
	Refused    int // samples of answers with 400: all of a 1.0 request, of a 2.0 request those that are not stored
}

// New returns a receiver. log gets a line for each judged request: sender, protocol, samples, result; nil: no log.
func New(name string, sink Sink, log func(line string)) *Receiver {
	return &Receiver{name: name, sink: sink, log: log, series: map[string]*Series{}, pauses: map[string]pause{},
		served: make(chan error, 1)}
}

// Start answers requests to l in the background until Close.
func (r *Receiver) Start(l net.Listener) {
	r.server = &http.Server{Handler: r, ReadHeaderTimeout: time.Minute,
		ErrorLog: log.New(io.Discard, "", 0)} // of refused handshakes
	go func() { r.served <- r.server.Serve(l) }()
}

// Close ends what Start began, and cuts the connections.
func (r *Receiver) Close() error {
	err := r.server.Close()
	if served := <-r.served; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

// Begin begins a fault. An earlier one of the same name ends. The fault that began last is in force.
func (r *Receiver) Begin(name string, f Fault) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faults.Begin(name, f)
}

// End ends the fault with a name. It does nothing if there is none.
func (r *Receiver) End(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faults.End(name)
}

// Counts returns what has happened so far.
func (r *Receiver) Counts() Counts {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.counts
}

// Problems returns what was wrong with requests so far: what a correct sender never sends.
func (r *Receiver) Problems() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.problems)
}

// Forget drops series whose last sample is older than before, in Unix milliseconds. The next sample of such a series is
// judged as its first.
func (r *Receiver) Forget(before int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key, s := range r.series {
		if s.last.Time < before {
			delete(r.series, key)
		}
	}
}

// ServeHTTP implements http.Handler.
func (r *Receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	from := HostOf(req.RemoteAddr)
	fault := r.begin(from)
	if fault.CutBody {
		panic(http.ErrAbortHandler)
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		panic(http.ErrAbortHandler) // the body was cut: a plain return would answer 200
	}
	if fault.Silent {
		<-req.Context().Done()
		panic(http.ErrAbortHandler)
	}
	if fault.Delay > 0 {
		select {
		case <-time.After(fault.Delay):
		case <-req.Context().Done():
			panic(http.ErrAbortHandler)
		}
	}
	if !r.before(fault, from, w, body) {
		return
	}
	p := protocolOf(req.Header)
	if p == 0 || (fault.Only != 0 && p != fault.Only) {
		r.note("%s from %s: %d.0 is not supported", r.name, from, p)
		http.Error(w, "unsupported protocol", http.StatusUnsupportedMediaType)
		return
	}
	stored, refused, err := r.take(from, body, p, fault)
	switch {
	case fault.LoseAnswer:
		panic(http.ErrAbortHandler)
	case err != nil:
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	case p == V2:
		w.Header().Set("X-Prometheus-Remote-Write-Samples-Written", strconv.Itoa(stored))
		w.Header().Set("X-Prometheus-Remote-Write-Histograms-Written", "0")
		w.Header().Set("X-Prometheus-Remote-Write-Exemplars-Written", "0")
	}
	if refused != "" {
		http.Error(w, refused, http.StatusBadRequest)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// begin checks that a request does not come in a pause, and returns the fault that it meets.
func (r *Receiver) begin(from string) Fault {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if p, asked := r.pauses[from]; asked && now.After(p.from.Add(underWay)) && now.Before(p.to) {
		r.counts.Early++
		r.problem("a request of %s, %v before the end of a pause of %v", from, p.to.Sub(now), p.to.Sub(p.from))
	}
	return r.faults.Last()
}

// lingering is how long after a network fault requests may arrive that were sent during the fault: the longest pause
// before a packet is sent again, and some seconds.
const lingering = 130 * time.Second

// Doubt adds n to the number of network faults that may lose answers. While it is above 0, answers with Retry-After
// start no pause, since the sender may not have received them. Nor do they for some seconds after, since another
// request of the sender may have been on its way longer.
func (r *Receiver) Doubt(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.doubts += n
	if n < 0 {
		r.doubted = time.Now()
	}
}

// Forgive ends the pause of a sender that cannot know of it any more: it was started again or has new settings.
func (r *Receiver) Forgive(from string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.pauses, from)
}

// HostOf returns an address without its port, if it has one.
func HostOf(address string) string {
	if host, _, err := net.SplitHostPort(address); err == nil {
		return host
	}
	return address
}

// take judges and stores the samples of a request. It returns how many it has stored, and why others were refused. The
// error is for a body that cannot be read.
func (r *Receiver) take(from string, body []byte, p Protocol, fault Fault) (stored int, refused string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	rows, err := r.decode(body, p)
	if err != nil {
		r.problem("%v", err)
		return 0, "", err
	}
	good := make([][]Sample, len(rows))
	for i, row := range rows {
		var late []Sample
		var why string
		if fault.poisons(row.series) {
			for _, s := range row.samples {
				r.sink.Refuse(from, row.series, s)
			}
		}
		good[i], late, why = r.judge(row, fault)
		refused = cmp.Or(refused, why)
		for _, s := range late {
			r.sink.Late(from, row.series, s)
		}
	}
	for i, row := range rows {
		if p == V1 && refused != "" { // a 1.0 request is rolled back whole
			r.notStored(from, row.series, good[i])
			r.besides(from, row, fault, refused != notAllowed)
			continue
		}
		for _, s := range good[i] {
			r.store(from, row.series, s)
		}
		stored += len(good[i])
	}
	if refused != "" {
		r.counts.Refused += samplesIn(rows) - stored
	}
	if r.log != nil {
		r.note("%s from %s: %d.0, %s, stored %d, %q", r.name, from, p, digest(rows), stored, refused)
	}
	return stored, refused, nil
}

// note adds a line to the log.
func (r *Receiver) note(format string, args ...any) {
	if r.log != nil {
		r.log(fmt.Sprintf(format, args...))
	}
}

// notAllowed is the answer to a poisoned series: words that do not mean late.
const notAllowed = "label value is not allowed here"

// besides reports those of the samples of a request that is rolled back that are not late.
func (r *Receiver) besides(from string, row row, fault Fault, late bool) {
	for _, s := range row.samples {
		if fault.poisons(row.series) || !row.series.stored || s.Time > row.series.last.Time {
			r.sink.Besides(from, row.series, s, late)
		}
	}
}

// judge returns the samples of a row that are good, and why the first of the others is not.
func (r *Receiver) judge(row row, fault Fault) (good, late []Sample, why string) {
	if fault.poisons(row.series) {
		return nil, nil, notAllowed
	}
	last, known := row.series.last, row.series.stored
	good = row.samples[:0:0]
	for _, s := range row.samples {
		switch {
		case !known || s.Time > last.Time || s == last:
			good = append(good, s)
			last, known = s, true
		case s.Time == last.Time:
			r.counts.OutOfOrder++
			late = append(late, s)
			why = cmp.Or(why, "duplicate sample for timestamp")
		default:
			r.counts.OutOfOrder++
			late = append(late, s)
			why = cmp.Or(why, "out of order sample")
		}
	}
	return good, late, why
}

// samplesIn returns the number of samples of a request.
func samplesIn(rows []row) (n int) {
	for _, row := range rows {
		n += len(row.samples)
	}
	return n
}

// digest returns a text that is the same for two requests with the same samples, in whatever order of series. It leaves
// out the durations of scrapes, which differ by nanoseconds when a run is repeated.
func digest(rows []row) string {
	sum, samples := uint64(0), 0
	for _, row := range rows {
		if row.series.sum == 0 {
			samples += len(row.samples)
			continue
		}
		for _, s := range row.samples {
			var b [24]byte
			binary.LittleEndian.PutUint64(b[:], row.series.sum)
			binary.LittleEndian.PutUint64(b[8:], uint64(s.Time))
			binary.LittleEndian.PutUint64(b[16:], s.Bits)
			sum += xxhash.Sum64(b[:]) // a sum does not depend on the order
			samples++
		}
	}
	return fmt.Sprintf("%d samples %016x", samples, sum)
}

func (r *Receiver) store(from string, s *Series, sample Sample) {
	if s.stored && s.last == sample {
		r.counts.Again++
		return
	}
	s.stored, s.last = true, sample
	r.sink.Accept(from, s, sample)
}

// notStored reports those of the samples of a request that is rolled back that have come before: the sender may take
// them for lost.
func (r *Receiver) notStored(from string, s *Series, samples []Sample) {
	for _, sample := range samples {
		if s.stored && s.last == sample {
			r.sink.Late(from, s, sample)
		}
	}
}

// addToKey adds a label to the key.
func (r *Receiver) addToKey(name, value string) {
	r.key = append(binary.AppendUvarint(r.key, uint64(len(name))), name...)
	r.key = append(binary.AppendUvarint(r.key, uint64(len(value))), value...)
}

// add adds the series with the key.
func (r *Receiver) add(ls labels.Labels) *Series {
	s := &Series{Labels: ls, Key: ls.String()}
	if ls.Get("__name__") != "scrape_duration_seconds" {
		s.sum = xxhash.Sum64String(s.Key)
	}
	r.series[string(r.key)] = s
	return s
}

// maxProblems is enough to see what is wrong.
const maxProblems = 20

func (r *Receiver) problem(format string, args ...any) {
	if len(r.problems) < maxProblems {
		r.problems = append(r.problems, r.name+": "+fmt.Sprintf(format, args...))
	}
}
