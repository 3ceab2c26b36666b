package discovery

import (
	"context"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	config_util "github.com/prometheus/common/config"
)

// maxListBytes limits a response of http_sd, which Prometheus' discovery reads into memory without a limit.
const maxListBytes = 64 << 20

// bounded returns options for an HTTP client whose responses are limited to maxListBytes. HTTP/2 is off: its client
// writes while it reads, and boundedConn takes a write as the start of the next request. It connects by dial; nil: by
// the network of the machine.
func bounded(dial Dial) []config_util.HTTPClientOption {
	if dial == nil {
		dial = (&net.Dialer{KeepAlive: 30 * time.Second}).DialContext
	}
	dialBounded := func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &boundedConn{Conn: c}, nil
	}
	return []config_util.HTTPClientOption{config_util.WithHTTP2Disabled(), config_util.WithDialContextFunc(dialBounded)}
}

// boundedConn is a connection that allows reading maxListBytes after each write.
type boundedConn struct {
	net.Conn
	read atomic.Int64
}

func (c *boundedConn) Read(p []byte) (int, error) {
	if c.read.Load() > maxListBytes {
		return 0, fmt.Errorf("the response is longer than %d MiB", maxListBytes>>20)
	}
	n, err := c.Conn.Read(p)
	c.read.Add(int64(n))
	return n, err
}

func (c *boundedConn) Write(p []byte) (int, error) {
	c.read.Store(0)
	return c.Conn.Write(p)
}
