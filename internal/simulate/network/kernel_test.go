//go:build linux

package network_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/envoy-scraper/envoy-scraper/internal/simulate/network"
)

// tcp is what *net.TCPConn and *network.Conn have in common.
type tcp interface {
	net.Conn
	CloseRead() error
	CloseWrite() error
}

// kindOf returns the name of an error that callers tell apart.
func kindOf(err error) string {
	for _, kind := range []error{
		io.EOF, net.ErrClosed, os.ErrDeadlineExceeded, syscall.ECONNRESET, syscall.EPIPE, syscall.ECONNREFUSED,
		syscall.EADDRINUSE,
	} {
		if errors.Is(err, kind) {
			timeout := net.Error(nil)
			return fmt.Sprint(kind, errors.As(err, &timeout) && timeout.Timeout())
		}
	}
	return fmt.Sprint(err)
}

// observed is the outcomes of the calls of a story.
type observed struct {
	t        *testing.T
	outcomes []string
}

func (o *observed) note(what string, n int, err error) {
	o.outcomes = append(o.outcomes, fmt.Sprintf("%s: %d, %s", what, n, kindOf(err)))
}

func (o *observed) read(c tcp) {
	_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
	b := make([]byte, 100)
	n, err := c.Read(b)
	o.note("read "+string(b[:n]), n, err)
}

func (o *observed) write(c tcp, text string) {
	n, err := c.Write([]byte(text))
	o.note("write", n, err)
}

// settle writes until a write fails, which shows that the reset has arrived, and notes only that error.
func (o *observed) settle(c tcp) {
	for range 10_000 {
		if n, err := c.Write([]byte("x")); err != nil {
			o.note("write at last", n, err)
			return
		}
		if _, ok := c.(*network.Conn); ok {
			<-time.After(time.Millisecond)
		}
	}
	o.t.Error("no write failed")
}

// TestLikeTheKernel has the same stories with this network and with the machine's, and compares what the calls return.
func TestLikeTheKernel(t *testing.T) {
	for name, story := range map[string]func(o *observed, a, b tcp){
		"closed": func(o *observed, a, b tcp) {
			o.write(a, "last words")
			_ = a.Close()
			o.read(b)
			o.read(b)
			o.read(b)
			o.read(a)
			o.write(a, "x")
			o.note("close again", 0, a.Close())
			o.settle(b)
			o.write(b, "x")
			o.read(b)
		},
		"half closed": func(o *observed, a, b tcp) {
			_ = a.CloseWrite()
			o.read(b)
			o.write(b, "answer")
			o.read(a)
			o.write(a, "x")
			_ = b.Close()
			o.read(a)
		},
		"closed with unread bytes": func(o *observed, a, b tcp) {
			o.write(a, "unread")
			o.write(b, "before")
			o.read(a) // so that what a wrote has come, too
			_ = b.Close()
			o.read(a)
			o.read(a)
			o.write(a, "x")
			o.write(a, "x")
		},
		"reset found by a write": func(o *observed, a, b tcp) {
			o.write(a, "unread")
			o.write(b, "before")
			o.read(a)
			_ = b.Close()
			o.settle(a)
			o.write(a, "x")
			o.read(a)
		},
		"read side shut": func(o *observed, a, b tcp) {
			_ = a.CloseRead()
			o.read(a)
			o.write(a, "x")
			o.read(b)
			o.write(b, "thrown away")
			o.write(b, "thrown away")
		},
		"deadline": func(o *observed, a, _ tcp) {
			_ = a.SetDeadline(time.Unix(1, 0))
			n, err := a.Read(make([]byte, 1))
			o.note("read", n, err)
			o.write(a, "x")
			_ = a.SetDeadline(time.Time{})
			o.write(a, "x")
			n, err = a.Write(nil)
			o.note("empty write", n, err)
		},
		"deadline with bytes there": func(o *observed, a, b tcp) {
			o.write(a, "xy")
			_, _ = b.Read(make([]byte, 1))
			_ = b.SetReadDeadline(time.Unix(1, 0))
			n, err := b.Read(make([]byte, 1))
			o.note("read", n, err)
		},
	} {
		t.Run(name, func(t *testing.T) {
			ours, machines := &observed{t: t}, &observed{t: t}
			p := connect(t)
			story(ours, p.dialed, p.accepted)
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Skipf("no network: %v", err)
			}
			defer func() { _ = l.Close() }()
			dialed, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = dialed.Close() }()
			accepted, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = accepted.Close() }()
			story(machines, dialed.(tcp), accepted.(tcp))
			if got, want := strings.Join(ours.outcomes, "\n"), strings.Join(machines.outcomes, "\n"); got != want {
				t.Errorf("this network:\n%s\nthe machine's:\n%s", got, want)
			}
		})
	}
}

// TestErrorsReadLikeTheKernels: logs and pages show the texts.
func TestErrorsReadLikeTheKernels(t *testing.T) {
	p := connect(t)
	_, ours := p.agent.Dial(t.Context(), "tcp", podAddr+":1")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Skipf("no network: %v", err)
	}
	free := l.Addr().String()
	_ = l.Close()
	_, machines := net.Dial("tcp", free)
	if ours == nil || machines == nil {
		t.Fatal(ours, machines)
	}
	got, want := strings.Replace(ours.Error(), podAddr+":1", "X", 1), strings.Replace(machines.Error(), free, "X", 1)
	if got != want {
		t.Errorf("%q, the machine's %q", got, want)
	}
	if _, err := p.pod.Listen("tcp", ":15090"); kindOf(err) != fmt.Sprint(syscall.EADDRINUSE, false) {
		t.Errorf("second listener: %v", err)
	}
}
