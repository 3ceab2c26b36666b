package scrape

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	config_util "github.com/prometheus/common/config"
)

// pipeConn is an end of a net.Pipe, which has no descriptor, with the address of its peer.
type pipeConn struct {
	net.Conn
	peer string
}

// RemoteAddr implements net.Conn.
func (c *pipeConn) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(c.peer))
}

// pipeNetwork returns a network in memory. All names stand for the address at, and answer serves each connection.
func pipeNetwork(at string, dials *atomic.Int32, answer func(net.Conn)) config_util.DialContextFunc {
	return func(_ context.Context, network, _ string) (net.Conn, error) {
		if network != "tcp" {
			return nil, net.UnknownNetworkError(network)
		}
		dials.Add(1)
		client, server := net.Pipe()
		go answer(server)
		return &pipeConn{client, at}, nil
	}
}

// TestConnectionsWithoutDescriptor: pages are also read over connections that are no sockets, by the client for simple
// requests and by net/http. The connection is kept for the next scrape, and opened again if the target has closed it.
func TestConnectionsWithoutDescriptor(t *testing.T) {
	for name, yaml := range map[string]string{"plain": "", "net/http": "  basic_auth: {username: a, password: b}\n"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const perConn = 2 // requests
				var dials atomic.Int32
				f, err := newFetcher(job(t, yaml), Options{Dial: pipeNetwork("10.0.0.1:80", &dials, func(c net.Conn) {
					defer c.Close() //nolint:errcheck // a pipe
					for range perConn {
						buf := make([]byte, 4096)
						if _, err := c.Read(buf); err != nil {
							return
						}
						if _, err := c.Write([]byte(okResponse)); err != nil {
							return
						}
					}
				})}, false)
				if err != nil {
					t.Fatal(err)
				}
				defer f.close()
				for i := range 2 * perConn {
					s := getPage(t.Context(), f, &target{url: "http://a.test/", hostPort: "a.test:80"})
					if s.err != "" {
						t.Fatalf("scrape %d: %s", i, s.err)
					}
					time.Sleep(time.Second)
				}
				if n := dials.Load(); n != 2 {
					t.Errorf("%d connections for %d scrapes, want 2", n, 2*perConn)
				}
			})
		})
	}
}

// TestS06AnotherNetwork: on a network that resolves names by itself, a connection to a forbidden address is closed
// before anything is sent.
func TestS06AnotherNetwork(t *testing.T) {
	for name, yaml := range map[string]string{"plain": "", "net/http": "  basic_auth: {username: a, password: b}\n"} {
		t.Run(name, func(t *testing.T) {
			var dials, bytes atomic.Int32
			ended := make(chan struct{})
			f, err := newFetcher(job(t, yaml), Options{Dial: pipeNetwork("169.254.169.254:80", &dials,
				func(c net.Conn) {
					defer close(ended)
					n, _ := c.Read(make([]byte, 1))
					bytes.Add(int32(n))
				})}, false)
			if err != nil {
				t.Fatal(err)
			}
			defer f.close()
			s := getPage(t.Context(), f, &target{url: "http://a.test/", hostPort: "a.test:80"})
			if !strings.Contains(s.err, "cloud metadata") {
				t.Errorf("error %q, want the address refused", s.err)
			}
			<-ended
			if dials.Load() != 1 || bytes.Load() != 0 {
				t.Errorf("%d connections, %d bytes, want one without any", dials.Load(), bytes.Load())
			}
		})
	}
}

// TestTheNetworkAlsoReachesProxies: an address that is not checked, such as a proxy's, is dialed in the same way.
func TestTheNetworkAlsoReachesProxies(t *testing.T) {
	var dials atomic.Int32
	f, err := newFetcher(job(t, "  proxy_url: http://127.0.0.1:3128\n"), Options{Dial: pipeNetwork("127.0.0.1:3128",
		&dials, func(c net.Conn) {
			defer c.Close() //nolint:errcheck // a pipe
			_, _ = c.Read(make([]byte, 4096))
			_, _ = c.Write([]byte("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"))
		})}, false)
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	s := getPage(t.Context(), f, &target{url: "http://a.test/", hostPort: "a.test:80"})
	if !strings.Contains(s.err, "404") || dials.Load() != 1 {
		t.Errorf("error %q after %d connections, want the proxy's 404", s.err, dials.Load())
	}
}
