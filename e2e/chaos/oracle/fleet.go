package oracle

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"
)

const (
	// Metric is the name of the series on the pages.
	Metric = "chaos_scrape_number"
	// Filler is the name of series that only cause load. Ledgers do not record them.
	Filler = "chaos_filler"
	// StatsPort is the port of the targets.
	StatsPort = 15090
)

// Fleet is a set of targets that number their scrapes.
type Fleet struct {
	Targets []*Target
	series  int
	servers []*http.Server
	errs    chan error
}

// NewFleet starts n targets with the given number of series each, at the addresses first, first+1, … of the range.
func NewFleet(at *AddressRange, first, n, series int) (*Fleet, error) {
	return newFleet(at, first, n, series, (*Target).page)
}

// NewFillers starts n targets whose pages only cause load. One in fillerChurn of their series has new labels on each
// page.
func NewFillers(at *AddressRange, first, n, series int) (*Fleet, error) {
	return newFleet(at, first, n, series, (*Target).filler)
}

func newFleet(at *AddressRange, first, n, series int, page func(*Target, int) []byte) (*Fleet, error) {
	f := &Fleet{series: series, errs: make(chan error, n)}
	for i := range n {
		l, err := at.Listen(first+i, StatsPort)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("listen for target %d: %w", i, err), f.Close())
		}
		target := &Target{Address: l.Addr().String(), series: series, render: page}
		server := &http.Server{Handler: target, ReadHeaderTimeout: 10 * time.Second}
		f.Targets, f.servers = append(f.Targets, target), append(f.servers, server)
		go func() {
			if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				f.errs <- err
			}
		}()
	}
	return f, nil
}

// Addresses returns the addresses of the targets.
func (f *Fleet) Addresses() []string {
	var addresses []string
	for _, t := range f.Targets {
		addresses = append(addresses, t.Address)
	}
	return addresses
}

// Freeze makes every target answer 503 from now on, so that the set of served scrapes no longer changes.
func (f *Fleet) Freeze() {
	for _, t := range f.Targets {
		t.mu.Lock()
		t.frozen = true
		t.mu.Unlock()
	}
}

// Served returns how many scrapes all targets have served completely.
func (f *Fleet) Served() int {
	n := 0
	for _, t := range f.Targets {
		n += len(t.Served())
	}
	return n
}

// Close stops the targets and returns their errors.
func (f *Fleet) Close() error {
	for _, s := range f.servers {
		_ = s.Close()
	}
	select {
	case err := <-f.errs:
		return err
	default:
		return nil
	}
}

// Target serves a page on which every value is the number of the scrape, counted from 1. Page 3:
//
//	chaos_scrape_number{series="000"} 3
type Target struct {
	Address string
	series  int
	render  func(*Target, int) []byte

	mu     sync.Mutex // guards the fields below
	begun  int
	served []Scrape
	frozen bool
}

// Scrape is one page that was written to the kernel completely.
type Scrape struct {
	Number int
	At     time.Time // when the last byte was written
	By     string    // value of the request header By, which names the agent; empty: no header
}

// By is the request header by which a target distinguishes several agents.
const By = "X-Scraped-By"

// ServeHTTP implements http.Handler.
func (t *Target) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	t.mu.Lock()
	if t.frozen {
		t.mu.Unlock()
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	t.begun++
	number := t.begun
	t.mu.Unlock()

	page := t.render(t, number)
	w.Header().Set("Content-Type", "text/plain; charset=UTF-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(page)))
	if _, err := w.Write(page); err != nil {
		return
	}
	if err := http.NewResponseController(w).Flush(); err != nil {
		return
	}
	t.mu.Lock()
	t.served = append(t.served, Scrape{Number: number, At: time.Now(), By: r.Header.Get(By)})
	t.mu.Unlock()
}

func (t *Target) page(number int) []byte {
	page := fmt.Appendf(nil, "# TYPE %s gauge\n", Metric)
	for i := range t.series {
		page = fmt.Appendf(page, "%s{series=\"%03d\"} %d\n", Metric, i, number)
	}
	return page
}

const fillerChurn = 50

func (t *Target) filler(number int) []byte {
	page := fmt.Appendf(nil, "# TYPE %s gauge\n", Filler)
	for i := range t.series {
		born := 0
		if i%fillerChurn == 0 {
			born = number
		}
		page = fmt.Appendf(page, `%s{cluster_name="outbound|8080||filler-%d.mesh.svc.cluster.local",born="%d"} %d`+"\n",
			Filler, i, born, number)
	}
	return page
}

// Served returns the scrapes that were served completely so far.
func (t *Target) Served() []Scrape {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]Scrape(nil), t.served...)
}
