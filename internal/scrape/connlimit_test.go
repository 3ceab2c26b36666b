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

// TestEveryTargetKeepsItsConnection: a job keeps as many idle connections as the limit on open files allows.
func TestEveryTargetKeepsItsConnection(t *testing.T) {
	var s idleConns
	for n := range 10_000 {
		c := &closeCounter{}
		if s.put(&conn{Conn: c, addr: fmt.Sprint("a:", n)}); c.closed.Load() != 0 {
			t.Fatalf("connection %d was closed after its scrape", n)
		}
	}
}

// limitConnections sets the fetcher's limit on open connections.
func limitConnections(f *fetcher, connections int) *connLimit {
	d := newConnLimit(connections)
	f.guard.budget.connections = d
	d.add(f)
	if f.plain != nil {
		f.plain.idle.closeAll = d.hasWaiters
	}
	if t, ok := f.client.Transport.(*http.Transport); ok {
		t.DialContext = f.guard.dial
	}
	return d
}

// TestConnectionsNearTheLimitOnOpenFiles: a new connection closes an idle one, so that every target is scraped. Most
// connections within the limit are reused.
func TestConnectionsNearTheLimitOnOpenFiles(t *testing.T) {
	const targets, connections, rounds = 24, 16, 3
	for name, make := range map[string]func(testing.TB) *fetcher{"plain": plainFetcher, "net/http": netHTTPFetcher} {
		t.Run(name, func(t *testing.T) {
			f := make(t)
			d := limitConnections(f, connections)
			var wires []*rawServer
			for range targets {
				wires = append(wires, startRawServer(t, respond(okResponse)))
			}
			for range rounds {
				for _, w := range wires {
					if f.plain == nil { // net/http closes a connection concurrently with the end of its scrape
						eventually(t, "a connection that is not kept is closed",
							func() bool { held, _ := d.slots.counts(); return held < connections })
					}
					getOKPage(t, f, w.target())
					if held, _ := d.slots.counts(); held > connections {
						t.Fatalf("%d connections are open, want %d at most", held, connections)
					}
				}
			}
			dialed := 0
			for _, w := range wires {
				dialed += int(w.accepted.Load())
			}
			if most := targets + (rounds-1)*(targets-connections+2); dialed > most {
				t.Errorf("%d connections for %d scrapes, want %d at most", dialed, rounds*targets, most)
			}
			f.close()
			eventually(t, "every slot is released", func() bool { held, _ := d.slots.counts(); return held == 0 })
		})
	}
}

// TestAScrapeWaitsForAConnection: when all connections are in use, a scrape waits until its timeout. Its error names
// the limit.
func TestAScrapeWaitsForAConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newConnLimit(2)
		connect := func() (net.Conn, error) { return &closeCounter{}, nil }
		first, _ := d.dial(t.Context(), true, connect)
		_, _ = d.dial(t.Context(), true, connect)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, err := d.dial(ctx, true, connect)
		var none *connLimitError
		if !errors.As(err, &none) || reasonOf(err) != "emfile" {
			t.Errorf("%v, reason %s", err, reasonOf(err))
		}
		got := make(chan error)
		go func() {
			_, err := d.dial(t.Context(), true, connect)
			got <- err
		}()
		synctest.Wait()
		if !d.hasWaiters() {
			t.Error("no scrape waits for a connection")
		}
		_ = first.Close()
		_ = first.Close() // a second Close must not release another slot
		if err := <-got; err != nil {
			t.Errorf("after another connection was closed: %v", err)
		}
		if held, waiting := d.slots.counts(); held != 2 || waiting != 0 {
			t.Errorf("%d slots held, %d waiters", held, waiting)
		}
	})
}

// TestDialAfterEMFILEClosesAnIdleConnection: the rest of the process can hold more than a quarter of the file
// descriptors. Then dial fails with EMFILE, closes an idle connection and dials again.
func TestDialAfterEMFILEClosesAnIdleConnection(t *testing.T) {
	f := plainFetcher(t)
	d := limitConnections(f, 100)
	kept, tries := &closeCounter{}, 0
	f.plain.idle.put(&conn{Conn: kept, addr: "a:1"})
	c, err := d.dial(t.Context(), true, func() (net.Conn, error) {
		if tries++; tries == 1 {
			return nil, &net.OpError{Op: "dial", Err: syscall.EMFILE}
		}
		return &closeCounter{}, nil
	})
	if err != nil || c == nil || kept.closed.Load() != 1 {
		t.Errorf("%v; the idle connection was closed %d times", err, kept.closed.Load())
	}
	if _, err := d.dial(t.Context(), false, func() (net.Conn, error) { return nil, syscall.EMFILE }); reasonOf(
		err) != "emfile" {
		t.Errorf("a target that does not answer: %v", err)
	}
	if held, _ := d.slots.counts(); held != 1 {
		t.Errorf("%d connections are counted, want 1", held)
	}
}

// TestDialAfterEMFILEWaitsForAConnection: if no connection is idle, a target that answers waits until its timeout for
// the file descriptor of another target. It gets it even if others, which do not answer, ask in the same moment.
func TestDialAfterEMFILEWaitsForAConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const files = 2
		d, open := newConnLimit(10), 0
		connect := func() (net.Conn, error) {
			if open == files {
				return nil, syscall.EMFILE
			}
			open++
			return &closeCounter{}, nil
		}
		var hanging []net.Conn
		for range files {
			c, _ := d.dial(t.Context(), false, connect)
			hanging = append(hanging, c)
		}
		dial := func() error {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			_, err := d.dial(ctx, true, connect)
			return err
		}
		if err := dial(); reasonOf(err) != "emfile" {
			t.Errorf("no connection is closed: %v", err)
		}
		got := make(chan error)
		go func() { got <- dial() }()
		synctest.Wait()
		if _, err := d.dial(t.Context(), false, connect); reasonOf(err) != "emfile" {
			t.Errorf("a target that does not answer: %v", err)
		}
		synctest.Wait()
		open--
		_ = hanging[0].Close()
		if err := <-got; err != nil {
			t.Errorf("after a connection was closed: %v", err)
		}
		if held, waiting := d.slots.counts(); held != files || waiting != 0 {
			t.Errorf("%d slots held, %d waiters, want %d and none", held, waiting, files)
		}
	})
}

func TestConnectionsAreThreeQuartersOfTheLimitOnOpenFiles(t *testing.T) {
	for files, want := range map[int]int{1: 1, 1024: 768, 1 << 20: 3 << 18} {
		if got := maxConnections(files); got != want {
			t.Errorf("limit of %d files: %d connections, want %d", files, got, want)
		}
	}
	if n := openFiles(); n < 16 {
		t.Errorf("%d open files", n)
	}
}

// TestAFreedSlotGoesToTheWaiter: a scrape closes an idle connection and gets its slot, even if another scrape comes
// between the two steps.
func TestAFreedSlotGoesToTheWaiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newSemaphore(1)
		g.tryAcquire()
		stolen := false
		if !g.acquire(t.Context(), false, func() {
			g.release() // an idle connection is closed
			stolen = g.tryAcquire()
		}) {
			t.Error("got no slot")
		}
		if stolen {
			t.Error("another scrape took the slot")
		}
	})
}

// TestNetHTTPStopsWaitingForAConnection: net/http goes on dialing after its request has ended. The dial must leave the
// queue at the scrape's timeout, and the scrape's error must name the limit.
func TestNetHTTPStopsWaitingForAConnection(t *testing.T) {
	f := netHTTPFetcher(t)
	d := limitConnections(f, 1)
	d.slots.tryAcquire()
	target := startRawServer(t, respond(okResponse)).target()
	target.timeout = 200 * time.Millisecond
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := f.get(ctx, target, ""); reasonOf(err) != "emfile" {
		t.Errorf("%v, reason %s, want emfile", err, reasonOf(err))
	}
	eventually(t, "no scrape waits for a connection any more",
		func() bool { _, waiting := d.slots.counts(); return waiting == 0 })
}
