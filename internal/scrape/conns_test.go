package scrape

import (
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// deaf is a connection that only knows whether it was closed.
type deaf struct {
	net.Conn
	closed atomic.Int32
}

func (d *deaf) Close() error {
	d.closed.Add(1)
	return nil
}

func TestConnectionsExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s conns
		a, b := &deaf{}, &deaf{}
		s.put(&conn{Conn: a, addr: "a:1"})
		pass(idleTimeout - time.Minute)
		s.put(&conn{Conn: b, addr: "b:1"})
		pass(time.Minute)
		if a.closed.Load() != 1 || b.closed.Load() != 0 {
			t.Fatalf("a closed %d times, b %d", a.closed.Load(), b.closed.Load())
		}
		for range 10 { // in use, it stays
			c := s.take("b:1")
			if c == nil || s.take("b:1") != nil {
				t.Fatal("b is kept once")
			}
			s.put(c)
			pass(idleTimeout - time.Minute)
		}
		if b.closed.Load() != 0 {
			t.Fatal("b was closed while in use")
		}
		pass(time.Minute)
		s.mu.Lock()
		defer s.mu.Unlock()
		if b.closed.Load() != 1 || s.sweep != nil {
			t.Errorf("b closed %d times, a timer left: %v", b.closed.Load(), s.sweep != nil)
		}
	})
}

func TestConnectionsAreBounded(t *testing.T) {
	var s conns
	for n := range maxIdleConns {
		s.put(&conn{Conn: &deaf{}, addr: fmt.Sprint("a:", n)})
	}
	more, twice := &deaf{}, &deaf{}
	s.put(&conn{Conn: more, addr: "b:1"})
	s.put(&conn{Conn: twice, addr: "a:1"})
	if more.closed.Load() != 1 || twice.closed.Load() != 1 || len(s.idle) != maxIdleConns {
		t.Errorf("closed %d and %d times, %d kept", more.closed.Load(), twice.closed.Load(), len(s.idle))
	}
	first := s.idle["a:1"].Conn.(*deaf)
	s.forget("a:1")
	s.forget("a:1")
	if first.closed.Load() != 1 || s.take("a:1") != nil {
		t.Errorf("forgotten: closed %d times", first.closed.Load())
	}
	last := s.idle["a:2"].Conn.(*deaf)
	s.close()
	late := &deaf{}
	s.put(&conn{Conn: late, addr: "a:2"})
	if last.closed.Load() != 1 || late.closed.Load() != 1 || len(s.idle) != 0 || s.sweep != nil {
		t.Errorf("after close: closed %d and %d times, %d kept", last.closed.Load(), late.closed.Load(), len(s.idle))
	}
}
