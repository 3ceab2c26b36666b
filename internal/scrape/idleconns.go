package scrape

import (
	"io"
	"net"
	"sync"
	"time"

	config_util "github.com/prometheus/common/config"
)

// idleTimeout is how long a connection is kept without being used, as in prometheus/common.
const idleTimeout = 5 * time.Minute

type dialFunc = config_util.DialContextFunc

// conn is a connection to a target, and the request that it sends. It belongs to one exchange, or to conns.
//
// Cost: some 600 bytes with the runtime's share, 300 to 400 of them the request.
type conn struct {
	net.Conn
	addr    string // host and port
	url     string // what request asks for
	timeout time.Duration
	request []byte
	used    bool // for one answer at least
	first   [1]byte
	since   time.Time
}

// ask sends the request and returns the first byte of the answer.
func (c *conn) ask() (first byte, err error) {
	if _, err = c.Write(c.request); err != nil {
		return 0, err
	}
	_, err = io.ReadFull(c.Conn, c.first[:])
	return c.first[0], err
}

// conns are the connections that a job keeps between scrapes: one a host and port, since scrapes of one never
// overlap. Nobody watches them: that one was closed is found when it is taken. The zero value is ready.
type conns struct {
	awaited func() bool // somebody waits for a connection to be closed; nil: nobody ever does

	mu     sync.Mutex // guards the following
	idle   map[string]*conn
	last   string      // whose connection was kept last
	sweep  *time.Timer // closes what was idle for too long; nil: nothing is
	closed bool
}

// take returns the connection kept for addr, if it is fit for use, else nil.
func (s *conns) take(addr string) *conn {
	s.mu.Lock()
	c := s.idle[addr]
	delete(s.idle, addr)
	s.mu.Unlock()
	if c != nil && !quiet(c.Conn) {
		_ = c.Close()
		return nil
	}
	return c
}

// put keeps c, unless a connection is kept for its target already or somebody waits for it to be closed.
func (s *conns) put(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.idle[c.addr] != nil || s.awaited != nil && s.awaited() {
		_ = c.Close()
		return
	}
	c.since = time.Now()
	if s.idle == nil {
		s.idle = map[string]*conn{}
	}
	s.idle[c.addr], s.last = c, c.addr
	if s.sweep == nil {
		s.sweep = time.AfterFunc(idleTimeout, s.expire)
	}
}

// forget closes the connection kept for addr: its target is gone.
func (s *conns) forget(addr string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.idle[addr]; c != nil {
		_ = c.Close()
		delete(s.idle, addr)
	}
}

// closeOne closes a connection to make room for another. It takes the one used last, if it can: targets have their
// turns in a circle, so that one is needed again after all others. false: none is kept.
func (s *conns) closeOne() bool {
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

// close closes what is kept, and from now on whatever comes back.
func (s *conns) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.closeOlder(0)
}

func (s *conns) expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closeOlder(idleTimeout)
}

// closeOlder closes what was idle for age, and sees to it that the rest will be in time.
func (s *conns) closeOlder(age time.Duration) {
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
