package receiver

import (
	"encoding/json"
	"fmt"
	"hash/maphash"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/golang/snappy"
)

// Accept says which protocols the receiver takes.
type Accept string

const (
	AcceptBoth Accept = "both"
	Accept1    Accept = "1.0" // answers 415 to 2.0, as Prometheus does by default
	Accept2    Accept = "2.0" // answers 415 to 1.0
	AcceptOld  Accept = "old" // reads 2.0 as an empty 1.0 request and answers 204, as old receivers do
)

// Accepts lists all values, for flags.
func Accepts() []string {
	return []string{string(AcceptBoth), string(Accept1), string(Accept2), string(AcceptOld)}
}

// Config says what the receiver takes and how closely it looks.
type Config struct {
	Accept Accept
	// Checks off is the null mode: decompress and count, nothing else.
	Checks bool
}

const (
	// WritePath is where requests are posted.
	WritePath = "/api/v1/write"

	maxBodyBytes = 64 << 20
	maxProblems  = 10
)

// Stats counts what has arrived since the start.
type Stats struct {
	Requests1    uint64 `json:"requests_1_0"`
	Requests2    uint64 `json:"requests_2_0"`
	Ignored      uint64 `json:"requests_ignored"` // 2.0 requests that an old receiver took for empty ones
	Unsupported  uint64 `json:"requests_415"`
	Malformed    uint64 `json:"requests_400"`
	WireBytes    uint64 `json:"wire_bytes"` // compressed bodies of accepted requests
	DecodedBytes uint64 `json:"decoded_bytes"`
	counts
	DistinctSeries  int      `json:"distinct_series"`
	ViolationsTotal uint64   `json:"violations"`
	Problems        []string `json:"problems,omitempty"` // the first few violations, as text
	FirstMillis     int64    `json:"first_request_unix_ms"`
	LastMillis      int64    `json:"last_request_unix_ms"`
}

// Page is the number of samples that were read from pages: not synthetic, no markers.
func (s Stats) Page() uint64 { return s.Samples - s.Stale - s.Synthetic }

// Receiver is the endpoint. Create it with New.
type Receiver struct {
	config Config
	seed   maphash.Seed
	pool   sync.Pool // of *scratch

	mu    sync.Mutex // guards the following
	stats Stats
	last  map[uint64]int64 // series -> timestamp of its newest sample
}

// scratch is the memory for decoding one request. It is pooled.
type scratch struct {
	body, raw []byte
	decoder   *decoder
}

func New(c Config) *Receiver {
	r := &Receiver{config: c, seed: maphash.MakeSeed(), last: map[uint64]int64{}}
	r.pool.New = func() any { return &scratch{decoder: newDecoder(c.Checks, r.seed)} }
	return r
}

// Handler serves POST /api/v1/write and GET /stats.
func (r *Receiver) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+WritePath, r.write)
	mux.HandleFunc("GET /stats", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(r.Stats())
	})
	return mux
}

// Stats is a copy of the counts.
func (r *Receiver) Stats() Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.stats
	s.DistinctSeries = len(r.last)
	s.ViolationsTotal = s.Violations.Total()
	s.Problems = slices.Clone(s.Problems)
	return s
}

type protocol int

const (
	unsupported protocol = iota
	protocol1
	protocol2
	ignored // 2.0, at a receiver that does not know it
)

// protocolOf reads the Content-Type as the receiver that is simulated would.
func (r *Receiver) protocolOf(contentType string) protocol {
	media, params, _ := strings.Cut(contentType, ";")
	if strings.TrimSpace(media) != "application/x-protobuf" {
		return unsupported
	}
	two := strings.Contains(params, "io.prometheus.write.v2.Request")
	switch {
	case r.config.Accept == AcceptOld && two:
		return ignored
	case two && r.config.Accept != Accept1:
		return protocol2
	case !two && r.config.Accept != Accept2:
		return protocol1
	}
	return unsupported
}

func (r *Receiver) write(w http.ResponseWriter, req *http.Request) {
	p := r.protocolOf(req.Header.Get("Content-Type"))
	if p == unsupported || req.Header.Get("Content-Encoding") != "snappy" {
		r.count(func(s *Stats) { s.Unsupported++ })
		http.Error(w, "unsupported content type or encoding", http.StatusUnsupportedMediaType)
		return
	}
	s := r.pool.Get().(*scratch)
	defer r.pool.Put(s)
	if err := s.read(http.MaxBytesReader(w, req.Body, maxBodyBytes), int(req.ContentLength)); err != nil {
		r.malformed(w, err)
		return
	}
	if p == ignored {
		r.count(func(s *Stats) { s.Ignored++ })
		w.WriteHeader(http.StatusNoContent)
		return
	}
	var err error
	if p == protocol2 {
		err = s.decoder.decode2(s.raw)
	} else {
		err = s.decoder.decode1(s.raw)
	}
	if err != nil {
		r.malformed(w, err)
		return
	}
	r.account(s, p)
	if p == protocol2 {
		h := w.Header()
		c := &s.decoder.counts
		h.Set("X-Prometheus-Remote-Write-Samples-Written", strconv.FormatUint(c.Samples, 10))
		h.Set("X-Prometheus-Remote-Write-Histograms-Written", strconv.FormatUint(c.Histograms, 10))
		h.Set("X-Prometheus-Remote-Write-Exemplars-Written", strconv.FormatUint(c.Exemplars, 10))
	}
	w.WriteHeader(http.StatusNoContent)
}

func (s *scratch) read(body io.Reader, size int) error {
	s.body = s.body[:0]
	if size > 0 && size <= maxBodyBytes {
		s.body = slices.Grow(s.body, size+1)
	}
	for {
		if len(s.body) == cap(s.body) {
			s.body = slices.Grow(s.body, 4096)
		}
		n, err := body.Read(s.body[len(s.body):cap(s.body)])
		s.body = s.body[:len(s.body)+n]
		if err == io.EOF {
			break
		}
		if err != nil {
			return fmt.Errorf("read body: %w", err)
		}
	}
	decoded, err := snappy.DecodedLen(s.body)
	if err != nil {
		return err
	}
	if decoded > maxBodyBytes {
		return fmt.Errorf("body of %d bytes decompressed, at most %d", decoded, maxBodyBytes)
	}
	s.raw, err = snappy.Decode(s.raw[:cap(s.raw)], s.body)
	return err
}

func (r *Receiver) count(update func(*Stats)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	update(&r.stats)
}

func (r *Receiver) malformed(w http.ResponseWriter, err error) {
	r.count(func(s *Stats) {
		s.Malformed++
		s.note(err.Error())
	})
	http.Error(w, err.Error(), http.StatusBadRequest)
}

func (s *Stats) note(problem string) {
	if problem != "" && len(s.Problems) < maxProblems && !slices.Contains(s.Problems, problem) {
		s.Problems = append(s.Problems, problem)
	}
}

// account adds a decoded request to the whole, and compares its timestamps with
// those before. Requests are taken in the order they reach this lock.
func (r *Receiver) account(s *scratch, p protocol) {
	d := s.decoder
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, pt := range d.points {
		last, known := r.last[pt.series]
		switch {
		case !known || pt.millis > last:
			r.last[pt.series] = pt.millis
		case pt.millis == last:
			d.counts.Duplicates++
			d.note("two samples of a series", "at one timestamp", "")
		default:
			d.counts.OutOfOrder++
			if d.problem == "" {
				d.note("sample older than the last of its series", fmt.Sprintf("by %d ms", last-pt.millis), "")
			}
		}
	}
	t := &r.stats
	if p == protocol2 {
		t.Requests2++
	} else {
		t.Requests1++
	}
	t.WireBytes += uint64(len(s.body))
	t.DecodedBytes += uint64(len(s.raw))
	t.counts.add(d.counts)
	t.note(d.problem)
	t.LastMillis = time.Now().UnixMilli()
	if t.FirstMillis == 0 {
		t.FirstMillis = t.LastMillis
	}
}
