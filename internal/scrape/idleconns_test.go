package scrape

import (
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// closeCounter is a connection that counts how often it was closed.
type closeCounter struct {
	net.Conn
	closed atomic.Int32
}

func (d *closeCounter) Close() error {
	d.closed.Add(1)
	return nil
}

func TestIdleConnectionsExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s idleConns
		a, b := &closeCounter{}, &closeCounter{}
		s.put(&conn{Conn: a, addr: "a:1"})
		pass(idleTimeout - time.Minute)
		s.put(&conn{Conn: b, addr: "b:1"})
		pass(time.Minute)
		if a.closed.Load() != 1 || b.closed.Load() != 0 {
			t.Fatalf("a closed %d times, b %d", a.closed.Load(), b.closed.Load())
		}
		for range 10 { // a connection that is used stays open
			c := s.take("b:1")
			if c == nil || s.take("b:1") != nil {
				t.Fatal("want exactly one idle connection to b")
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

func TestWhichIdleConnectionsAreClosed(t *testing.T) {
	waiting := false
	s := idleConns{closeAll: func() bool { return waiting }}
	put := func(addr string) *closeCounter {
		d := &closeCounter{}
		s.put(&conn{Conn: d, addr: addr})
		return d
	}
	first, second, third := put("a:1"), put("a:2"), put("a:3")
	if twice := put("a:1"); twice.closed.Load() != 1 || len(s.idle) != 3 {
		t.Errorf("a second connection to one address: closed %d times, %d idle", twice.closed.Load(), len(s.idle))
	}
	if !s.closeOne() || third.closed.Load() != 1 || len(s.idle) != 2 {
		t.Errorf("closeOne must close the connection used last: closed %d times, %d idle", third.closed.Load(),
			len(s.idle))
	}
	if !s.closeOne() || first.closed.Load()+second.closed.Load() != 1 || !s.closeOne() || s.closeOne() ||
		len(s.idle) != 0 {
		t.Errorf("then closeOne must close any: closed %d and %d times, %d idle", first.closed.Load(),
			second.closed.Load(), len(s.idle))
	}
	waiting = true
	if d := put("a:4"); d.closed.Load() != 1 {
		t.Error("a connection was kept although a scrape waits for one to be closed")
	}
	waiting = false
	fifth, sixth := put("a:5"), put("a:6")
	s.forget("a:5")
	s.forget("a:5")
	if fifth.closed.Load() != 1 || s.take("a:5") != nil {
		t.Errorf("after forget: closed %d times", fifth.closed.Load())
	}
	s.close()
	if late := put("a:6"); sixth.closed.Load() != 1 || late.closed.Load() != 1 || len(s.idle) != 0 || s.sweep != nil {
		t.Errorf("after close: closed %d and %d times, %d idle", sixth.closed.Load(), late.closed.Load(), len(s.idle))
	}
}
