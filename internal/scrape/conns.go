package scrape

import (
	"net"
	"sync"
	"time"

	config_util "github.com/prometheus/common/config"
)

// maxIdleConns bounds the connections that a job keeps open between scrapes: each costs a descriptor.
const maxIdleConns = 4096

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
	since   time.Time
}

// conns are the connections that a job keeps between scrapes: one a host and port, since scrapes of one never
// overlap. Nobody watches them: that one was closed is found when it is taken. The zero value is ready.
type conns struct {
	mu     sync.Mutex // guards the following
	idle   map[string]*conn
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

// put keeps c, or closes it if there is no room.
func (s *conns) put(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.idle[c.addr] != nil || len(s.idle) >= maxIdleConns {
		_ = c.Close()
		return
	}
	c.since = time.Now()
	if s.idle == nil {
		s.idle = map[string]*conn{}
	}
	s.idle[c.addr] = c
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
