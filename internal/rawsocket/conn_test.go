package rawsocket_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/envoy-scraper/envoy-scraper/internal/rawsocket"
)

// pair returns both ends of a TCP connection.
func pair(t *testing.T) (near, far *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	a, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = c.Close(), a.Close() })
	return c.(*net.TCPConn), a.(*net.TCPConn)
}

// TestWrapCarriesBytes: more bytes than the sockets have room for come whole and in order, both ways at once, and the
// end of the stream is io.EOF.
func TestWrapCarriesBytes(t *testing.T) {
	plain, far := pair(t)
	near := rawsocket.Wrap(plain)
	if runtime.GOOS == "linux" && near == net.Conn(plain) {
		t.Fatal("the connection is as it was")
	}
	sent := make([]byte, 20<<20)
	for i := range sent {
		sent[i] = byte(i ^ i>>8 ^ i>>16)
	}
	echoed := make(chan error, 1)
	go func() {
		_, err := io.Copy(far, far)
		echoed <- errors.Join(err, far.CloseWrite())
	}()
	written := make(chan error, 1)
	go func() {
		n, err := near.Write(sent)
		if n != len(sent) {
			err = errors.Join(err, io.ErrShortWrite)
		}
		written <- errors.Join(err, plain.CloseWrite())
	}()
	got, err := io.ReadAll(near)
	if err := errors.Join(err, <-written, <-echoed); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, sent) {
		t.Errorf("%d bytes came, which differ from the %d sent", len(got), len(sent))
	}
}

// TestWrapFailsAsConnsDo: each error is the one that a connection of package net returns.
func TestWrapFailsAsConnsDo(t *testing.T) {
	reset := func(t *testing.T, far *net.TCPConn) {
		t.Helper()
		if err := errors.Join(far.SetLinger(0), far.Close()); err != nil { // a reset instead of the end
			t.Fatal(err)
		}
	}
	tests := []struct {
		name string
		do   func(t *testing.T, near net.Conn, far *net.TCPConn) error
		is   error
	}{
		{"read past its deadline", func(_ *testing.T, near net.Conn, _ *net.TCPConn) error {
			_ = near.SetDeadline(time.Unix(1, 0))
			_, err := near.Read(make([]byte, 1))
			return err
		}, os.ErrDeadlineExceeded},
		{"write past its deadline", func(_ *testing.T, near net.Conn, _ *net.TCPConn) error {
			_ = near.SetDeadline(time.Unix(1, 0))
			_, err := near.Write(make([]byte, 1))
			return err
		}, os.ErrDeadlineExceeded},
		{"read of a closed connection", func(_ *testing.T, near net.Conn, _ *net.TCPConn) error {
			_ = near.Close()
			_, err := near.Read(make([]byte, 1))
			return err
		}, net.ErrClosed},
		{"write to a closed connection", func(_ *testing.T, near net.Conn, _ *net.TCPConn) error {
			_ = near.Close()
			_, err := near.Write(make([]byte, 1))
			return err
		}, net.ErrClosed},
		{"read after a reset", func(t *testing.T, near net.Conn, far *net.TCPConn) error {
			reset(t, far)
			_, err := near.Read(make([]byte, 1))
			return err
		}, syscall.ECONNRESET},
		{"write after a reset", func(t *testing.T, near net.Conn, far *net.TCPConn) error {
			reset(t, far)
			_, _ = near.Read(make([]byte, 1)) // the reset has come
			_, err := near.Write(make([]byte, 1))
			return err
		}, syscall.EPIPE},
		{"close while a read waits", func(_ *testing.T, near net.Conn, _ *net.TCPConn) error {
			go func() { _ = near.Close() }()
			_, err := near.Read(make([]byte, 1))
			return err
		}, net.ErrClosed},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			plain, far := pair(t)
			want := test.do(t, plain, far)
			wrapped, far := pair(t)
			got := test.do(t, rawsocket.Wrap(wrapped), far)
			var wantOp, gotOp *net.OpError
			if !errors.As(want, &wantOp) || !errors.As(got, &gotOp) {
				t.Fatalf("%v, want %v", got, want)
			}
			if gotOp.Op != wantOp.Op || gotOp.Net != wantOp.Net || gotOp.Err.Error() != wantOp.Err.Error() ||
				gotOp.Timeout() != wantOp.Timeout() || !errors.Is(got, test.is) {
				t.Errorf("%v, want %v", got, want)
			}
		})
	}
}

// TestWrapWithoutSocket: what has no socket stays as it is.
func TestWrapWithoutSocket(t *testing.T) {
	a, b := net.Pipe()
	defer func() { _, _ = a.Close(), b.Close() }()
	if rawsocket.Wrap(a) != a {
		t.Error("a pipe is wrapped")
	}
}
