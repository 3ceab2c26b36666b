package scrape

import (
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

func TestConnectionsKept(t *testing.T) {
	awaited := false
	s := conns{awaited: func() bool { return awaited }}
	put := func(addr string) *deaf {
		d := &deaf{}
		s.put(&conn{Conn: d, addr: addr})
		return d
	}
	first, second, third := put("a:1"), put("a:2"), put("a:3")
	if twice := put("a:1"); twice.closed.Load() != 1 || len(s.idle) != 3 {
		t.Errorf("a second connection to one place closed %d times, %d kept", twice.closed.Load(), len(s.idle))
	}
	if !s.closeOne() || third.closed.Load() != 1 || len(s.idle) != 2 {
		t.Errorf("to make room the one used last goes: closed %d times, %d kept", third.closed.Load(), len(s.idle))
	}
	if !s.closeOne() || first.closed.Load()+second.closed.Load() != 1 || !s.closeOne() || s.closeOne() || len(s.idle) != 0 {
		t.Errorf("then any: closed %d and %d times, %d kept", first.closed.Load(), second.closed.Load(), len(s.idle))
	}
	awaited = true
	if d := put("a:4"); d.closed.Load() != 1 {
		t.Error("a connection was kept although somebody waits for its descriptor")
	}
	awaited = false
	fifth, sixth := put("a:5"), put("a:6")
	s.forget("a:5")
	s.forget("a:5")
	if fifth.closed.Load() != 1 || s.take("a:5") != nil {
		t.Errorf("forgotten: closed %d times", fifth.closed.Load())
	}
	s.close()
	if late := put("a:6"); sixth.closed.Load() != 1 || late.closed.Load() != 1 || len(s.idle) != 0 || s.sweep != nil {
		t.Errorf("after close: closed %d and %d times, %d kept", sixth.closed.Load(), late.closed.Load(), len(s.idle))
	}
}
