package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Path is where a sidecar shows its stats; every other path is a 404.
const Path = "/stats/prometheus"

// Stats says what was served since the beginning. A scrape counts once its
// whole page was written to the connection.
type Stats struct {
	Targets  int    `json:"targets"`
	Series   int    `json:"series"` // of each target
	PageMean int    `json:"page_mean_bytes"`
	Scrapes  uint64 `json:"scrapes"`
	Filtered uint64 `json:"filtered"` // scrapes of pages that were asked for with a filter
	Samples  uint64 `json:"samples"`
	Bytes    uint64 `json:"bytes"`
	Aborted  uint64 `json:"aborted"`  // scrapes that were cut off
	Moved    uint64 `json:"moved"`    // values changed
	Replaced uint64 `json:"replaced"` // series replaced
	// PerTarget is the number of fully served scrapes of each target, in order.
	PerTarget []uint64 `json:"per_target,omitempty"`
}

// target is one sidecar.
type target struct {
	mu   sync.Mutex // guards page: one scrape of a sidecar at a time
	page *page

	scrapes, aborted, filtered atomic.Uint64
	samples, bytes             atomic.Uint64
}

// Fleet serves the pages. Create it with New.
type Fleet struct {
	config  Config
	targets []*target
	byAddr  map[string]*target // by local address; immutable
	drain   chan struct{}      // closed: new scrapes wait for ever
	drained sync.Once

	compressors sync.Pool // of *compressor
	filters     filters
}

// New renders all pages; it listens nowhere yet.
func New(c Config) (*Fleet, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	f := &Fleet{config: c, byAddr: make(map[string]*target, c.Targets), drain: make(chan struct{}),
		filters: filters{byText: map[string]*filter{}}}
	f.compressors.New = func() any { return newCompressor() }
	var t *template
	for n := range c.Targets {
		if n%c.Replicas == 0 {
			t = newTemplate(c.firstService(n/c.Replicas), c.Series, c.Page)
		}
		tg := &target{page: newPage(t, uint64(n)+1, c.Page)}
		f.targets = append(f.targets, tg)
		f.byAddr[c.at(n).String()] = tg
	}
	return f, nil
}

type targetKey struct{}

// Run serves all targets until ctx ends. ready is called once every address listens.
func (f *Fleet) Run(ctx context.Context, ready func()) error {
	listeners, err := f.listen()
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler: http.HandlerFunc(f.serve),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, targetKey{}, f.byAddr[c.LocalAddr().String()])
		},
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       10 * time.Minute,
	}
	failed := make(chan error, len(listeners))
	for _, l := range listeners {
		go func() { failed <- server.Serve(l) }()
	}
	ready()
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	return errors.Join(err, server.Close())
}

func (f *Fleet) listen() ([]net.Listener, error) {
	var listeners []net.Listener
	for n := range f.targets {
		l, err := net.Listen("tcp", f.config.at(n).String())
		if err != nil {
			for _, l := range listeners {
				err = errors.Join(err, l.Close())
			}
			if errors.Is(err, syscall.EADDRINUSE) {
				err = fmt.Errorf("%w (another bench runs? -base=127.2.0.1:15090, for example, is out of its way)", err)
			}
			return nil, fmt.Errorf("sidecar %d of %d: %w", n+1, len(f.targets), err)
		}
		listeners = append(listeners, l)
	}
	return listeners, nil
}

func (f *Fleet) serve(w http.ResponseWriter, r *http.Request) {
	t, _ := r.Context().Value(targetKey{}).(*target)
	if t == nil || r.Method != http.MethodGet || r.URL.Path != Path {
		http.NotFound(w, r)
		return
	}
	select {
	case <-f.drain:
		<-r.Context().Done() // neither an answer nor an error until the agent gives up
		panic(http.ErrAbortHandler)
	default:
	}
	f.handle(w, r, t)
}

// handle answers a request for a target's page.
func (f *Fleet) handle(w http.ResponseWriter, r *http.Request, t *target) {
	var found *filter
	// Pages in another form are of programs that know no filter, and ignore it.
	if text := filterIn(r.URL.RawQuery); text != "" && !f.config.Page.Shuffle && !f.config.Page.Ungrouped {
		var err error
		if found, err = f.filters.get(text); err != nil {
			http.Error(w, "Invalid re2 regex", http.StatusBadRequest)
			return
		}
	}
	f.answer(w, r, t, found)
}

// answer moves the target's page on and writes it: all of it, or what a filter finds.
func (f *Fleet) answer(w http.ResponseWriter, r *http.Request, t *target, filtered *filter) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.page.advance(f.config.Moving, f.config.Churn)
	body, rows := t.page.body(time.Now()), f.config.Series
	if filtered != nil {
		s := filtered.of(t.page.t)
		body, rows = t.page.filtered(s), s.rows
		t.filtered.Add(1)
	}
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=UTF-8")
	h.Set("Server", "envoy")
	if f.config.Page.Gzip && acceptsGzip(r.Header) {
		h.Set("Content-Encoding", "gzip")
		c := f.compressors.Get().(*compressor)
		defer f.compressors.Put(c)
		body = c.compress(body)
	}
	// A page is far larger than net/http's buffer, so it goes out chunked, as Envoy's does.
	n, err := w.Write(body)
	if err == nil {
		err = http.NewResponseController(w).Flush()
	}
	t.bytes.Add(uint64(n))
	if err != nil {
		t.aborted.Add(1)
		return
	}
	t.scrapes.Add(1)
	t.samples.Add(uint64(rows))
}

// Restart begins a new process in the sidecars first, first+step, first+2*step and so on: their counters begin at zero.
func (f *Fleet) Restart(first, step int) {
	for n := first; n < len(f.targets); n += step {
		t := f.targets[n]
		t.mu.Lock()
		t.page.restart()
		t.mu.Unlock()
	}
}

// Drain lets running scrapes end and answers no new one, so that what was
// served can be compared with what arrives.
func (f *Fleet) Drain() { f.drained.Do(func() { close(f.drain) }) }

// Stats sums up; perTarget adds the scrapes of each target.
func (f *Fleet) Stats(perTarget bool) Stats {
	s := Stats{Targets: len(f.targets), Series: f.config.Series}
	pages := 0
	for _, t := range f.targets {
		t.mu.Lock() // the end of a running scrape, whose client may have all of the page
		n := t.scrapes.Load()
		s.Scrapes += n
		s.Samples += t.samples.Load()
		s.Filtered += t.filtered.Load()
		s.Bytes += t.bytes.Load()
		s.Aborted += t.aborted.Load()
		if perTarget {
			s.PerTarget = append(s.PerTarget, n)
		}
		pages += len(t.page.buf)
		s.Moved += t.page.moved
		s.Replaced += t.page.replaced
		t.mu.Unlock()
	}
	s.PageMean = pages / len(f.targets)
	return s
}

// Control is the fleet's own interface: /stats, /stats?targets=1, POST /drain, POST /restart?first=0&step=10.
func (f *Fleet) Control() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /stats", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(f.Stats(r.FormValue("targets") != ""))
	})
	mux.HandleFunc("POST /restart", func(w http.ResponseWriter, r *http.Request) {
		first, errFirst := strconv.Atoi(r.FormValue("first"))
		step, errStep := strconv.Atoi(r.FormValue("step"))
		if err := errors.Join(errFirst, errStep); err != nil || first < 0 || step < 1 {
			http.Error(w, "first and step must be numbers, 0 and 1 at least", http.StatusBadRequest)
			return
		}
		f.Restart(first, step)
	})
	mux.HandleFunc("POST /drain", func(http.ResponseWriter, *http.Request) { f.Drain() })
	return mux
}
