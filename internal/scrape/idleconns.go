package scrape

import (
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	config_util "github.com/prometheus/common/config"
)

// idleTimeout is how long an idle connection is kept, as in prometheus/common.
const idleTimeout = 5 * time.Minute

type dialFunc = config_util.DialContextFunc

// maxKeptParam is how many bytes of a parameter an idle connection may hold. A request with more is encoded again.
const maxKeptParam = 512

// conn is a connection to a target and the encoded request for it. It is owned by one exchange or by idleConns.
//
// An idle conn costs about 600 bytes, with the runtime's share. The request takes 300 to 400 of them.
type conn struct {
	net.Conn
	raw     syscall.RawConn // of the same socket; nil: rawIO cannot use it
	addr    string          // host and port
	url     string          // of request, without ask.param
	ask     ask             // of request
	timeout time.Duration   // of request
	request []byte
	used    bool      // a response has begun on it
	first   [1]byte   // buffer of send and of rawIO.ask
	since   time.Time // idle since
	abort   func()    // ends reads and writes, from any goroutine; set by plainClient.send
}

// send sends the request and returns the first byte of the response.
func (c *conn) send() (first byte, err error) {
	if _, err = c.Write(c.request); err != nil {
		return 0, err
	}
	_, err = io.ReadFull(c.Conn, c.first[:])
	return c.first[0], err
}

// idleConns holds the connections that a job keeps between scrapes. It keeps one for each host and port, because
// scrapes of the same host and port never overlap. take notices if the target has closed the connection. The zero value
// is ready.
type idleConns struct {
	closeAll func() bool // reports whether put must close connections because a scrape waits for one; nil: never

	mu     sync.Mutex // guards the following
	idle   map[string]*conn
	last   string      // address of the connection that was put last
	sweep  *time.Timer // closes connections after idleTimeout; nil: none is idle
	closed bool
}

// take removes and returns the idle connection to addr. It returns nil if there is none, or if the target has
// closed it or sent bytes on it. rawIO.ask finds that out by itself.
func (s *idleConns) take(addr string) *conn {
	s.mu.Lock()
	c := s.idle[addr]
	delete(s.idle, addr)
	s.mu.Unlock()
	if c != nil && c.raw == nil && !isReusable(c.Conn) {
		_ = c.Close()
		return nil
	}
	return c
}

// put keeps c. It closes c if there is an idle connection to that address already or if closeAll returns true.
func (s *idleConns) put(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.idle[c.addr] != nil || s.closeAll != nil && s.closeAll() {
		_ = c.Close()
		return
	}
	c.since = time.Now()
	if len(c.ask.param) > maxKeptParam {
		c.url, c.request = "", nil
	}
	if s.idle == nil {
		s.idle = map[string]*conn{}
	}
	s.idle[c.addr], s.last = c, c.addr
	if s.sweep == nil {
		s.sweep = time.AfterFunc(idleTimeout, s.expire)
	}
}

// forget closes the idle connection to addr. Its last target is gone.
func (s *idleConns) forget(addr string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.idle[addr]; c != nil {
		_ = c.Close()
		delete(s.idle, addr)
	}
}

// closeOne closes one idle connection and returns false if there is none. It prefers the one that was used last.
// Targets are scraped in the same order each interval, so that connection is needed again after all others.
func (s *idleConns) closeOne() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	addr := s.last
	if s.idle[addr] == nil {
		for addr = range s.idle {
			break
		}
	}
	c := s.idle[addr]
	if c == nil {
		return false
	}
	_ = c.Close()
	delete(s.idle, addr)
	return true
}

// close closes all idle connections. From then on put closes every connection.
func (s *idleConns) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.closeOlder(0)
}

func (s *idleConns) expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closeOlder(idleTimeout)
}

// closeOlder closes connections that have been idle for age. It sets the timer for the next one.
func (s *idleConns) closeOlder(age time.Duration) {
	if s.sweep != nil {
		s.sweep.Stop()
		s.sweep = nil
	}
	next := idleTimeout
	for addr, c := range s.idle {
		idle := time.Since(c.since)
		if idle >= age {
			_ = c.Close()
			delete(s.idle, addr)
		} else {
			next = min(next, age-idle)
		}
	}
	if len(s.idle) > 0 {
		s.sweep = time.AfterFunc(next, s.expire)
	}
}
