package sidecar

import (
	"net"
	"regexp"
	"sync"
	"time"

	"github.com/envoy-scraper/envoy-scraper/internal/simulate/faultlist"
	"github.com/envoy-scraper/envoy-scraper/internal/simulate/network"
)

// Options configure an Envoy.
type Options struct {
	Namespace, Pod, Workload string      // in the labels of Istio's families
	Series                   int         // approximate number of series on the page; 0: 50
	Seed                     uint64      // with Namespace and Pod, decides all random values
	OpenMetrics              bool        // it answers in OpenMetrics if the request prefers that
	Gzip                     bool        // it compresses if the request allows that
	Served                   func(*Page) // called after each answer; may be nil
	Refused                  func(error) // called for each request that a strict server refuses; may be nil
}

// path is where the page is.
const path = "/stats/prometheus"

// Envoy is the Envoy of one pod. Safe for concurrent use.
type Envoy struct {
	options Options

	mu     sync.Mutex // guards the following; not held while something waits
	model  *model
	faults faultlist.List[Fault]
	conns  []net.Conn // in the order in which they were accepted
	spare  []*answer

	lastFilter *regexp.Regexp // of a request; nil: there was none
}

// New returns an Envoy that begins now.
func New(o Options) *Envoy {
	if o.Series == 0 {
		o.Series = 50
	}
	return &Envoy{options: o, model: newModel(o)}
}

// Restart begins the process again: its connections are closed, its counters begin at zero.
func (e *Envoy) Restart() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.model.restart()
	for _, c := range e.conns {
		_ = c.Close()
	}
}

// Grow adds peers, each with some series.
func (e *Envoy) Grow(peers int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.model.grow(peers)
}

// Shrink removes the oldest peers.
func (e *Envoy) Shrink(peers int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.model.shrink(peers)
}

// Churn replaces the oldest peers by others.
func (e *Envoy) Churn(peers int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.model.shrink(peers)
	e.model.grow(peers)
}

// Series returns the number of series on the page.
func (e *Envoy) Series() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.model.series
}

// Fault is what is wrong with the answers of an Envoy.
type Fault struct {
	Kind  Kind
	Delay time.Duration // how long an answer waits with Late
	To    string        // of Redirect: a URL
}

// Kind is the kind of a fault.
type Kind uint8

const (
	Unavailable Kind = iota + 1 // status 503
	Halfway                     // the connection closes within the page
	Hang                        // no answer until the client gives up
	Late                        // the answer comes after a delay
	OtherFormat                 // a page of HTML
	BrokenLine                  // a line that no parser accepts
	Redirect                    // status 302
	Empty                       // a page without a line
	Duplicate                   // a series twice, with different values
)

// Begin begins a fault. An earlier one of the same name ends. The fault that began last is in force.
func (e *Envoy) Begin(name string, f Fault) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.faults.Begin(name, f)
}

// End ends the fault with a name. It does nothing if there is none.
func (e *Envoy) End(name string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.faults.End(name)
}

// fault returns the fault in force. The caller holds mu.
func (e *Envoy) fault() Fault { return e.faults.Last() }

// Serve answers requests until the listener is closed. No connection or goroutine is left when it returns.
func (e *Envoy) Serve(l net.Listener) {
	var serving sync.WaitGroup
	for {
		c, err := l.Accept()
		if err != nil {
			break
		}
		e.mu.Lock()
		e.conns = append(e.conns, c)
		e.mu.Unlock()
		serving.Go(func() { e.serve(c) })
	}
	e.mu.Lock()
	for _, c := range e.conns {
		_ = c.Close()
	}
	e.mu.Unlock()
	serving.Wait()
}

// Page is the report of one answer.
type Page struct {
	Client string    // address and port
	Start  time.Time // when the request had come
	End    time.Time // when the last byte was written, or the answer ended
	Status int       // 0: there was no answer
	Fault  Kind      // 0: none
	Whole  bool      // all of the answer was written
	Bytes  int       // of the page, not compressed; an empty page in OpenMetrics has 6, "# EOF\n"

	Filtered    bool     // it was asked for with a filter
	OpenMetrics bool     // its format, else it is plain text
	Samples     []Sample // what a parser finds in the whole page, in its order; borrowed until the callback returns

	conn   *network.Conn // nil: of another network
	offset int64         // in the stream, after the last byte of the answer
}

// Read reports whether the client has read the whole answer by now.
func (p *Page) Read() bool {
	return p.Whole && (p.conn == nil || p.conn.Taken() >= p.offset)
}
