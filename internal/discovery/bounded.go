package discovery

import (
	"context"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	config_util "github.com/prometheus/common/config"
)

// maxListBytes bounds an answer of http_sd, which Prometheus' discovery holds whole, however long it is.
const maxListBytes = 64 << 20

// bounded are the options of a client none of whose answers is longer than maxListBytes. HTTP/2 is off: there, the
// client says something while it reads, which here means that the next answer begins.
func bounded() []config_util.HTTPClientOption {
	return []config_util.HTTPClientOption{config_util.WithHTTP2Disabled(), config_util.WithDialContextFunc(dialBounded)}
}

func dialBounded(ctx context.Context, network, addr string) (net.Conn, error) {
	c, err := (&net.Dialer{KeepAlive: 30 * time.Second}).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return &boundedConn{Conn: c}, nil
}

// boundedConn is a connection on which only so much is read after something was written.
type boundedConn struct {
	net.Conn
	read atomic.Int64
}

func (c *boundedConn) Read(p []byte) (int, error) {
	if c.read.Load() > maxListBytes {
		return 0, fmt.Errorf("the answer is longer than %d MiB", maxListBytes>>20)
	}
	n, err := c.Conn.Read(p)
	c.read.Add(int64(n))
	return n, err
}

func (c *boundedConn) Write(p []byte) (int, error) {
	c.read.Store(0)
	return c.Conn.Write(p)
}
