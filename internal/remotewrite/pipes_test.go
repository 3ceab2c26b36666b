package remotewrite

import (
	"context"
	"net"
	"net/http"
	"sync"
	"syscall"
	"testing"
	"time"

	promhttp "github.com/prometheus/common/config"
)

// pipes is a network in memory, so that HTTP as it is runs under a fake clock: the listener of a server, and what a
// client dials to reach it.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once

	mu     sync.Mutex // guards the following
	dialed int        // connections asked for
	before func(ctx context.Context, address string) error
	wrap   func(client net.Conn) net.Conn
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), closed: make(chan struct{})} }

// Accept implements net.Listener.
func (l *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *pipes) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Addr implements net.Listener.
func (l *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 80} }

// failing makes dials fail; with nil they succeed again.
func (l *pipes) failing(before func(ctx context.Context, address string) error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.before = before
}

func (l *pipes) dial(ctx context.Context, _, address string) (net.Conn, error) {
	l.mu.Lock()
	l.dialed++
	before, wrap := l.before, l.wrap
	l.mu.Unlock()
	if before != nil {
		if err := before(ctx, address); err != nil {
			return nil, err
		}
	}
	client, server := net.Pipe()
	if wrap != nil {
		client = wrap(client)
	}
	select {
	case l.conns <- server:
		return client, nil
	case <-l.closed:
		return nil, syscall.ECONNREFUSED
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// serve runs a server; what it returns ends it.
func (l *pipes) serve(h http.Handler) (stop func()) {
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 24 * time.Hour}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(l)
	}()
	return func() {
		_ = srv.Close()
		<-done
	}
}

// over makes clients that dial like this.
func over(dial promhttp.DialContextFunc) clientFunc {
	return Options{Dial: dial}.newClient
}

// newHTTPFeed is a feed to a tsdb that is asked over HTTP.
func newHTTPFeed(t *testing.T, ec EndpointConfig, targets, size int) (f *feed, db *tsdb, l *pipes, stop func()) {
	db, l = newTSDB(t), newPipes()
	end := l.serve(db)
	f = newFeedVia(t, ec, over(l.dial), targets, size)
	f.run()
	return f, db, l, func() {
		f.stop()
		end()
	}
}
