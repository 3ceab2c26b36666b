package scrape

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// TestEveryTargetKeepsItsConnection: what bounds the connections of a job are descriptors, not a number of ours.
func TestEveryTargetKeepsItsConnection(t *testing.T) {
	var s conns
	for n := range 10_000 {
		c := &deaf{}
		if s.put(&conn{Conn: c, addr: fmt.Sprint("a:", n)}); c.closed.Load() != 0 {
			t.Fatalf("connection %d was closed after its scrape", n)
		}
	}
}

// bounded gives a fetcher descriptors for this number of connections.
func bounded(f *fetcher, connections int) *descriptors {
	d := newDescriptors(connections)
	f.guard.budget.descriptors = d
	d.add(f)
	if f.plain != nil {
		f.plain.idle.awaited = d.awaited
	}
	if t, ok := f.client.Transport.(*http.Transport); ok {
		t.DialContext = f.guard.dial
	}
	return d
}

// TestConnectionsNearTheLimitOfOpenFiles: a new connection takes the descriptor of one that is kept, so that every
// target is scraped, and most of those that fit are used again.
func TestConnectionsNearTheLimitOfOpenFiles(t *testing.T) {
	const targets, connections, rounds = 24, 16, 3
	for name, make := range map[string]func(testing.TB) *fetcher{"plain": lean, "net/http": library} {
		t.Run(name, func(t *testing.T) {
			f := make(t)
			d := bounded(f, connections)
			var wires []*wire
			for range targets {
				wires = append(wires, listen(t, always(ok)))
			}
			for range rounds {
				for _, w := range wires {
					if f.plain == nil { // net/http closes a connection beside the end of its scrape
						eventually(t, "a connection that is not kept is closed", func() bool { held, _ := d.gate.load(); return held < connections })
					}
					good(t, f, w.target())
					if held, _ := d.gate.load(); held > connections {
						t.Fatalf("%d connections are open, want %d at most", held, connections)
					}
				}
			}
			dialled := 0
			for _, w := range wires {
				dialled += int(w.accepted.Load())
			}
			if most := targets + (rounds-1)*(targets-connections+2); dialled > most {
				t.Errorf("%d connections for %d scrapes, want %d at most", dialled, rounds*targets, most)
			}
			f.close()
			eventually(t, "every descriptor is given back", func() bool { held, _ := d.gate.load(); return held == 0 })
		})
	}
}

// TestNoDescriptorLeft: when all descriptors are in use, a scrape waits within its timeout; its error names the limit.
func TestNoDescriptorLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDescriptors(2)
		connect := func() (net.Conn, error) { return &deaf{}, nil }
		first, _ := d.dial(t.Context(), true, connect)
		_, _ = d.dial(t.Context(), true, connect)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, err := d.dial(ctx, true, connect)
		var none *noDescriptorError
		if !errors.As(err, &none) || reasonOf(err) != "emfile" {
			t.Errorf("%v, reason %s", err, reasonOf(err))
		}
		got := make(chan error)
		go func() {
			_, err := d.dial(t.Context(), true, connect)
			got <- err
		}()
		synctest.Wait()
		if !d.awaited() {
			t.Error("nobody waits for a descriptor")
		}
		_ = first.Close()
		_ = first.Close() // once more gives nothing more back
		if err := <-got; err != nil {
			t.Errorf("after another connection was closed: %v", err)
		}
		if held, waiting := d.gate.load(); held != 2 || waiting != 0 {
			t.Errorf("%d held, %d wait", held, waiting)
		}
	})
}

// TestOthersHaveTheDescriptors: where the rest of the process holds more than its quarter, a connection that is kept
// makes room.
func TestOthersHaveTheDescriptors(t *testing.T) {
	f := lean(t)
	d := bounded(f, 100)
	kept, tries := &deaf{}, 0
	f.plain.idle.put(&conn{Conn: kept, addr: "a:1"})
	c, err := d.dial(t.Context(), true, func() (net.Conn, error) {
		if tries++; tries == 1 {
			return nil, &net.OpError{Op: "dial", Err: syscall.EMFILE}
		}
		return &deaf{}, nil
	})
	if err != nil || c == nil || kept.closed.Load() != 1 {
		t.Errorf("%v; the kept connection was closed %d times", err, kept.closed.Load())
	}
	if _, err := d.dial(t.Context(), true, func() (net.Conn, error) { return nil, syscall.EMFILE }); reasonOf(err) != "emfile" {
		t.Errorf("with nothing to close: %v", err)
	}
	if held, _ := d.gate.load(); held != 1 {
		t.Errorf("%d connections are counted, want 1", held)
	}
}

func TestShareOfTheLimitOfOpenFiles(t *testing.T) {
	for files, want := range map[int]int{1: 1, 1024: 768, 1 << 20: 3 << 18} {
		if got := connectionsOf(files); got != want {
			t.Errorf("of %d files %d, want %d", files, got, want)
		}
	}
	if n := openFiles(); n < 16 {
		t.Errorf("%d open files", n)
	}
}

// TestRoomIsForWhoWaits: the room that a scrape makes by closing a kept connection is its own, though another one comes
// before it has it.
func TestRoomIsForWhoWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(1)
		g.tryEnter()
		stolen := false
		if !g.enter(t.Context(), false, func() {
			g.leave() // a kept connection is closed
			stolen = g.tryEnter()
		}) {
			t.Error("did not enter")
		}
		if stolen {
			t.Error("another scrape took the room")
		}
	})
}

// TestNoDescriptorLeftWithoutAScrape: net/http dials on when its request has ended. It gives up its place in the queue all
// the same, and the scrape's error names the limit.
func TestNoDescriptorLeftWithoutAScrape(t *testing.T) {
	f := library(t)
	d := bounded(f, 1)
	d.gate.tryEnter()
	target := listen(t, always(ok)).target()
	target.timeout = 200 * time.Millisecond
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := f.get(ctx, target); reasonOf(err) != "emfile" {
		t.Errorf("%v, reason %s, want emfile", err, reasonOf(err))
	}
	eventually(t, "nobody waits for a descriptor any more", func() bool { _, waiting := d.gate.load(); return waiting == 0 })
}
