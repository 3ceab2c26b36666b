package network_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/nettest"

	"github.com/envoy-scraper/envoy-scraper/internal/simulate/network"
)

const (
	agentAddr = "10.0.0.1"
	podAddr   = "10.0.1.7"
)

// pair is a connection between two hosts.
type pair struct {
	net              *network.Network
	agent, pod       *network.Host
	dialed, accepted *network.Conn
	listener         net.Listener
}

func connect(t *testing.T) *pair {
	t.Helper()
	p := &pair{net: network.New(3)} // after a black hole, this seed sends a request again before a FIN
	p.agent, p.pod = p.net.Host(agentAddr), p.net.Host(podAddr)
	var err error
	if p.listener, err = p.pod.Listen("tcp", ":15090"); err != nil {
		t.Fatal(err)
	}
	p.dialed, p.accepted = p.dial(t)
	return p
}

func (p *pair) dial(t *testing.T) (dialed, accepted *network.Conn) {
	t.Helper()
	c, err := p.agent.Dial(t.Context(), "tcp", podAddr+":15090")
	if err != nil {
		t.Fatal(err)
	}
	a, err := p.listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return c.(*network.Conn), a.(*network.Conn)
}

// TestConn has the tests that every net.Conn must pass. They run by the real clock.
func TestConn(t *testing.T) {
	nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
		p := connect(t)
		return p.dialed, p.accepted, func() {
			_, _, _ = p.dialed.Close(), p.accepted.Close(), p.listener.Close()
			if n := p.net.Open(); n != 0 {
				t.Errorf("%d sockets are left", n)
			}
		}, nil
	})
}

func mustWrite(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if n, err := c.Write([]byte(text)); n != len(text) || err != nil {
		t.Fatalf("wrote %d bytes: %v", n, err)
	}
}

// readsAll reads until an error, which must be want.
func readsAll(t *testing.T, c net.Conn, text string, want error) {
	t.Helper()
	var got bytes.Buffer
	_, err := got.ReadFrom(c)
	if want == io.EOF {
		want = nil
	}
	if got.String() != text || !errors.Is(err, want) || want == nil && err != nil {
		t.Errorf("read %q, %v; want %q, %v", got.String(), err, text, want)
	}
}

// pass lets time pass.
func pass(d time.Duration) { <-time.After(d) }

func fails(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
}

func TestEndsOfConnections(t *testing.T) {
	for name, test := range map[string]func(t *testing.T, p *pair){
		"closed after the last byte": func(t *testing.T, p *pair) {
			mustWrite(t, p.accepted, "page")
			_ = p.accepted.Close()
			readsAll(t, p.dialed, "page", io.EOF)
		},
		"half closed": func(t *testing.T, p *pair) {
			mustWrite(t, p.dialed, "request")
			_ = p.dialed.CloseWrite()
			readsAll(t, p.accepted, "request", io.EOF)
			mustWrite(t, p.accepted, "answer")
			_ = p.accepted.Close()
			readsAll(t, p.dialed, "answer", io.EOF)
			_, err := p.dialed.Write([]byte("more"))
			fails(t, "write after CloseWrite", err, syscall.EPIPE)
		},
		"reading ended": func(t *testing.T, p *pair) {
			_ = p.dialed.CloseRead()
			readsAll(t, p.dialed, "", io.EOF)
			mustWrite(t, p.accepted, strings.Repeat("x", 1<<20)) // more than the window
		},
		"written to a closed peer": func(t *testing.T, p *pair) {
			_ = p.accepted.Close()
			mustWrite(t, p.dialed, "request")
			if p.dialed.Sent() != 7 || p.dialed.Taken() != 0 {
				t.Errorf("sent %d, taken %d", p.dialed.Sent(), p.dialed.Taken())
			}
			pass(time.Second)
			_, err := p.dialed.Write([]byte("more"))
			fails(t, "second write", err, syscall.EPIPE)
			readsAll(t, p.dialed, "", io.EOF)
		},
		"closed with unread bytes": func(t *testing.T, p *pair) {
			mustWrite(t, p.dialed, "request")
			pass(time.Second)
			_ = p.accepted.Close()
			readsAll(t, p.dialed, "", syscall.ECONNRESET)
			_, err := p.dialed.Write([]byte("more"))
			fails(t, "write", err, syscall.EPIPE)
		},
		"closed with bytes under way": func(t *testing.T, p *pair) {
			mustWrite(t, p.dialed, "request")
			_ = p.accepted.Close()
			readsAll(t, p.dialed, "", io.EOF)
			pass(time.Second)
			_, err := p.dialed.Write([]byte("more"))
			fails(t, "write", err, syscall.EPIPE)
		},
		"cut": func(t *testing.T, p *pair) {
			p.pod.Cut()
			readsAll(t, p.dialed, "", syscall.ECONNRESET)
			readsAll(t, p.accepted, "", syscall.ECONNRESET)
			dialed, accepted := p.dial(t) // the listener is still there
			_, _ = dialed.Close(), accepted.Close()
		},
		"killed": func(t *testing.T, p *pair) {
			mustWrite(t, p.accepted, "half a p")
			p.pod.Kill()
			readsAll(t, p.dialed, "half a p", io.EOF)
			readsAll(t, p.accepted, "", net.ErrClosed)
			_, err := p.pod.Dial(t.Context(), "tcp", agentAddr+":1")
			fails(t, "dial of the dead", err, net.ErrClosed)
			_, err = p.listener.Accept()
			fails(t, "accept of the dead", err, net.ErrClosed)
			_, err = p.agent.Dial(t.Context(), "tcp", podAddr+":15090")
			fails(t, "dial to the dead", err, syscall.EHOSTUNREACH)
			p.net.Host(podAddr)
			_, err = p.agent.Dial(t.Context(), "tcp", podAddr+":15090")
			fails(t, "dial to the next", err, syscall.ECONNREFUSED)
		},
		"power lost, nothing sent": func(t *testing.T, p *pair) {
			p.pod.Vanish()
			began := time.Now()
			readsAll(t, p.dialed, "", syscall.ETIMEDOUT)
			if took := time.Since(began); took < 2*time.Minute || took > 3*time.Minute {
				t.Errorf("timed out after %v", took)
			}
		},
		"power lost, then another host": func(t *testing.T, p *pair) {
			p.pod.Vanish()
			mustWrite(t, p.dialed, "request")
			pass(time.Minute)
			p.net.Host(podAddr)
			began := time.Now()
			readsAll(t, p.dialed, "", syscall.ECONNRESET)
			if took := time.Since(began); took > time.Second {
				t.Errorf("reset after %v", took)
			}
		},
		"sent after another host has the address": func(t *testing.T, p *pair) {
			p.pod.Vanish()
			p.net.Host(podAddr)
			mustWrite(t, p.dialed, "request")
			readsAll(t, p.dialed, "", syscall.ECONNRESET)
		},
		"deadline": func(t *testing.T, p *pair) {
			began := time.Now()
			_ = p.dialed.SetReadDeadline(began.Add(time.Minute))
			_, err := p.dialed.Read(make([]byte, 1))
			var timeout net.Error
			if !errors.As(err, &timeout) || !timeout.Timeout() || !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("read: %v", err)
			}
			if took := time.Since(began); took != time.Minute {
				t.Errorf("failed after %v", took)
			}
			_ = p.dialed.SetReadDeadline(time.Time{})
			mustWrite(t, p.accepted, "x")
			if _, err := p.dialed.Read(make([]byte, 1)); err != nil {
				t.Error(err)
			}
		},
		"full window": func(t *testing.T, p *pair) {
			_ = p.dialed.SetWriteDeadline(time.Now().Add(time.Minute))
			n, err := p.dialed.Write(make([]byte, 1<<20))
			if n != 64<<10 || !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("wrote %d bytes: %v", n, err)
			}
			if p.dialed.Sent() != 64<<10 || p.dialed.Taken() != 0 {
				t.Errorf("sent %d, taken %d", p.dialed.Sent(), p.dialed.Taken())
			}
			_, _ = p.accepted.Read(make([]byte, 100))
			if p.dialed.Taken() != 100 {
				t.Errorf("taken %d", p.dialed.Taken())
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := connect(t)
				test(t, p)
				_, _, _ = p.dialed.Close(), p.accepted.Close(), p.listener.Close()
				if n := p.net.Open(); n != 0 {
					t.Errorf("%d sockets are left", n)
				}
			})
		})
	}
}

func TestDials(t *testing.T) {
	type want struct {
		err     error
		atLeast time.Duration
		atMost  time.Duration
	}
	for name, tc := range map[string]struct {
		addr    string
		timeout time.Duration
		before  func(p *pair)
		want    want
	}{
		"answered":    {addr: podAddr + ":15090", want: want{atLeast: 100 * time.Microsecond, atMost: time.Second}},
		"closed port": {addr: podAddr + ":15091", want: want{err: syscall.ECONNREFUSED, atMost: time.Second}},
		"no host":     {addr: "10.0.9.9:1", want: want{syscall.EHOSTUNREACH, 3 * time.Second, 4 * time.Second}},
		"timeout": {addr: "10.0.9.9:1", timeout: time.Second,
			want: want{os.ErrDeadlineExceeded, time.Second, time.Second}},
		"refused": {addr: podAddr + ":15090", before: func(p *pair) {
			p.net.Begin("x", network.Fault{Kind: network.Refuse, To: podAddr})
		}, want: want{err: syscall.ECONNREFUSED, atMost: time.Second}},
		"refused on another port": {addr: podAddr + ":15090", before: func(p *pair) {
			p.net.Begin("x", network.Fault{Kind: network.Refuse, To: podAddr + ":15091"})
		}, want: want{atMost: time.Second}},
		"refused to another host": {addr: podAddr + ":15090", before: func(p *pair) {
			p.net.Begin("x", network.Fault{Kind: network.Refuse, From: "10.0.0.2"})
		}, want: want{atMost: time.Second}},
		"black hole": {addr: podAddr + ":15090", before: func(p *pair) {
			p.net.Begin("x", network.Fault{Kind: network.BlackHole})
		}, want: want{syscall.ETIMEDOUT, 127 * time.Second, 128 * time.Second}},
		"black hole that ends": {addr: podAddr + ":15090", before: func(p *pair) {
			p.net.Begin("x", network.Fault{Kind: network.BlackHole})
			time.AfterFunc(10*time.Second, func() { p.net.End("x") })
		}, want: want{nil, 15 * time.Second, 16 * time.Second}},
		"delay": {addr: podAddr + ":15090", before: func(p *pair) {
			p.net.Begin("x", network.Fault{Kind: network.Delay, Delay: time.Second})
		}, want: want{nil, 2 * time.Second, 3 * time.Second}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := connect(t)
				if tc.before != nil {
					tc.before(p)
				}
				ctx := t.Context()
				if tc.timeout > 0 {
					var cancel func()
					ctx, cancel = context.WithTimeout(ctx, tc.timeout)
					defer cancel()
				}
				began := time.Now()
				c, err := p.agent.Dial(ctx, "tcp", tc.addr)
				took := time.Since(began)
				var timeout net.Error
				if tc.want.err == os.ErrDeadlineExceeded {
					if !errors.As(err, &timeout) || !timeout.Timeout() {
						t.Errorf("error %v, want a timeout", err)
					}
				} else if !errors.Is(err, tc.want.err) || (err == nil) != (c != nil) {
					t.Errorf("error %v, want %v", err, tc.want.err)
				}
				if took < tc.want.atLeast || took > tc.want.atMost {
					t.Errorf("took %v, want %v to %v", took, tc.want.atLeast, tc.want.atMost)
				}
			})
		})
	}
}

func TestFaultsOfConnections(t *testing.T) {
	for name, test := range map[string]func(t *testing.T, p *pair){
		"reset before the first byte of an answer": func(t *testing.T, p *pair) {
			p.net.Begin("x", network.Fault{Kind: network.Reset, Toward: network.ToDialer})
			mustWrite(t, p.dialed, "request")
			mustWrite(t, p.accepted, "answer")
			readsAll(t, p.dialed, "", syscall.ECONNRESET)
			readsAll(t, p.accepted, "request", syscall.ECONNRESET)
		},
		"reset after some bytes of the request": func(t *testing.T, p *pair) {
			p.net.Begin("x", network.Fault{Kind: network.Reset, Toward: network.ToListener, After: 10})
			mustWrite(t, p.accepted, strings.Repeat("x", 100))
			mustWrite(t, p.dialed, "0123")
			mustWrite(t, p.dialed, "456789abc")
			readsAll(t, p.accepted, "0123456789", syscall.ECONNRESET)
			readsAll(t, p.dialed, strings.Repeat("x", 100), syscall.ECONNRESET)
		},
		"reset of a new connection": func(t *testing.T, p *pair) {
			p.net.Begin("x", network.Fault{Kind: network.Reset, After: 2})
			dialed, accepted := p.dial(t)
			mustWrite(t, dialed, "0123")
			readsAll(t, accepted, "01", syscall.ECONNRESET)
			_, _ = dialed.Close(), accepted.Close()
		},
		"reset that ended": func(t *testing.T, p *pair) {
			p.net.Begin("x", network.Fault{Kind: network.Reset, After: 2})
			p.net.End("x")
			mustWrite(t, p.dialed, "0123")
			_ = p.dialed.Close()
			readsAll(t, p.accepted, "0123", io.EOF)
		},
		"slow": func(t *testing.T, p *pair) {
			p.net.Begin("x", network.Fault{Kind: network.Slow, Rate: 1000, Toward: network.ToDialer})
			began := time.Now()
			mustWrite(t, p.accepted, strings.Repeat("x", 10_000))
			_ = p.accepted.Close()
			first := make([]byte, 1000)
			n, _ := p.dialed.Read(first)
			if took := time.Since(began); n > 200 || took > time.Second {
				t.Errorf("%d bytes came together, after %v", n, took)
			}
			readsAll(t, p.dialed, strings.Repeat("x", 10_000-n), io.EOF)
			if took := time.Since(began).Round(100 * time.Millisecond); took != 10*time.Second {
				t.Errorf("10,000 bytes took %v", took)
			}
		},
		"black hole that ends": func(t *testing.T, p *pair) {
			mustWrite(t, p.dialed, "0")
			p.net.Begin("x", network.Fault{Kind: network.BlackHole, To: podAddr})
			mustWrite(t, p.dialed, "1")
			_ = p.dialed.CloseWrite()
			_ = p.accepted.SetReadDeadline(time.Now().Add(time.Minute))
			_, err := p.accepted.Read(make([]byte, 1))
			fails(t, "read", err, os.ErrDeadlineExceeded)
			_ = p.accepted.SetReadDeadline(time.Time{})
			began := time.Now()
			p.net.End("x")
			readsAll(t, p.accepted, "01", io.EOF)
			if took := time.Since(began); took > 2*time.Minute {
				t.Errorf("what was lost came %v later", took)
			}
		},
		"black hole that stays": func(t *testing.T, p *pair) {
			p.net.Begin("x", network.Fault{Kind: network.BlackHole, To: podAddr})
			mustWrite(t, p.dialed, "1")
			began := time.Now()
			readsAll(t, p.accepted, "", syscall.ETIMEDOUT)
			readsAll(t, p.dialed, "", syscall.ETIMEDOUT)
			if took := time.Since(began); took < 15*time.Minute || took > 16*time.Minute {
				t.Errorf("timed out after %v", took)
			}
		},
		"closed in a black hole": func(t *testing.T, p *pair) {
			p.net.Begin("x", network.Fault{Kind: network.BlackHole, To: podAddr})
			mustWrite(t, p.dialed, "request")
			_ = p.accepted.Close()
			pass(time.Minute)
			p.net.End("x")
			readsAll(t, p.dialed, "", syscall.ECONNRESET) // the answer to the request
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := connect(t)
				test(t, p)
				_, _, _ = p.dialed.Close(), p.accepted.Close(), p.listener.Close()
				if n := p.net.Open(); n != 0 {
					t.Errorf("%d sockets are left", n)
				}
			})
		})
	}
}

// TestNoTwoArrivalsAtOnce: messages that are sent at once arrive one after the other.
func TestNoTwoArrivalsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := connect(t)
		const conns = 500
		times := make(chan time.Time, conns)
		var dialed []*network.Conn
		for range conns {
			d, a := p.dial(t)
			dialed = append(dialed, d)
			go func() {
				_, _ = a.Read(make([]byte, 1))
				times <- time.Now()
				_ = a.Close()
			}()
		}
		for _, d := range dialed {
			mustWrite(t, d, "x")
		}
		var seen []time.Time
		for range conns {
			at := <-times
			if slices.Contains(seen, at) {
				t.Errorf("two messages arrive at %v", at)
			}
			seen = append(seen, at)
		}
		for _, d := range dialed {
			_ = d.Close()
		}
		_, _, _ = p.dialed.Close(), p.accepted.Close(), p.listener.Close()
	})
}

// TestLatencies: they depend on the seed and the pair of hosts, not on the direction.
func TestLatencies(t *testing.T) {
	roundTrip := func(seed uint64, from, to string) (took time.Duration) {
		synctest.Test(t, func(t *testing.T) {
			n := network.New(seed)
			l, err := n.Host(to).Listen("tcp", ":1")
			if err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			c, err := n.Host(from).Dial(t.Context(), "tcp", to+":1")
			if err != nil {
				t.Fatal(err)
			}
			took = time.Since(began).Truncate(time.Microsecond)
			_, _ = c.Close(), l.Close()
		})
		return took
	}
	first := roundTrip(1, "10.0.0.1", "10.0.0.2")
	if again := roundTrip(1, "10.0.0.2", "10.0.0.1"); again != first {
		t.Errorf("%v there, %v back", first, again)
	}
	for _, other := range []time.Duration{roundTrip(2, "10.0.0.1", "10.0.0.2"), roundTrip(1, "10.0.0.1", "10.0.0.3")} {
		if other == first {
			t.Errorf("another seed or pair has the same latency, %v", first)
		}
	}
}
