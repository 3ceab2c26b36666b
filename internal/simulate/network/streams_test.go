package network_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/envoy-scraper/envoy-scraper/internal/chance"
	"github.com/envoy-scraper/envoy-scraper/internal/simulate/network"
	"github.com/envoy-scraper/envoy-scraper/internal/simulate/onecpu"
)

// TestMain runs the tests on one processor, so that the same seed gives the same run.
func TestMain(m *testing.M) { onecpu.Main(m) }

// stream is what one connection carried.
type stream struct {
	written  int // bytes, without errors
	writeErr error
	read     int
	readErr  error // nil: io.EOF
	took     time.Duration
}

// byteAt is the byte at an offset of every stream.
func byteAt(at int) byte { return byte(at ^ at>>8 ^ at>>16) }

func (s *stream) send(c net.Conn, rnd *rand.Rand) {
	for range 40 {
		<-time.After(time.Duration(rnd.Int64N(int64(4 * time.Second))))
		b := make([]byte, 1+rnd.IntN(5000))
		for i := range b {
			b[i] = byteAt(s.written + i)
		}
		n, err := c.Write(b)
		s.written += n
		if s.writeErr = err; err != nil {
			break
		}
	}
	_ = c.(*network.Conn).CloseWrite()
}

func (s *stream) receive(t *testing.T, c net.Conn, rnd *rand.Rand) {
	began, b := time.Now(), make([]byte, 3000)
	for {
		n, err := c.Read(b[:1+rnd.IntN(len(b)-1)])
		for i, got := range b[:n] {
			if want := byteAt(s.read + i); got != want {
				t.Errorf("byte %d is %d, want %d", s.read+i, got, want)
				break
			}
		}
		s.read += n
		if err != nil {
			if err != io.EOF {
				s.readErr = err
			}
			s.took = time.Since(began)
			return
		}
		if rnd.IntN(10) == 0 {
			<-time.After(time.Duration(rnd.Int64N(int64(3 * time.Second))))
		}
	}
}

// underFaults carries streams while faults come and go, and returns what they carried.
func underFaults(t *testing.T, seed uint64) (streams []*stream) {
	synctest.Test(t, func(t *testing.T) {
		n := network.New(seed)
		rnd := chance.Seeded(seed).Of("faults").Rand()
		l, err := n.Host("10.0.1.1").Listen("tcp", ":1")
		if err != nil {
			t.Fatal(err)
		}
		clients := []*network.Host{n.Host("10.0.0.1"), n.Host("10.0.0.2")}
		var ends sync.WaitGroup
		for i := range 12 {
			c, err := clients[i%2].Dial(t.Context(), "tcp", "10.0.1.1:1")
			if err != nil {
				t.Fatal(err)
			}
			a, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			s := &stream{}
			streams = append(streams, s)
			ends.Go(func() {
				s.send(c, chance.Seeded(seed).Of(fmt.Sprint("writer ", i)).Rand())
				_, _ = io.Copy(io.Discard, c) // until the reader has closed
				_ = c.Close()
			})
			ends.Go(func() {
				s.receive(t, a, chance.Seeded(seed).Of(fmt.Sprint("reader ", i)).Rand())
				_ = a.Close()
			})
		}
		for range 10 {
			<-time.After(time.Duration(rnd.Int64N(int64(12 * time.Second))))
			name := fmt.Sprint("fault ", rnd.IntN(3))
			kinds := []network.Kind{network.BlackHole, network.BlackHole, network.Slow, network.Delay, network.Reset}
			if rnd.IntN(2) == 0 {
				n.End(name)
				continue
			}
			n.Begin(name, network.Fault{
				Kind: kinds[rnd.IntN(len(kinds))], From: []string{"", "10.0.0.1", "10.0.0.2"}[rnd.IntN(3)],
				Rate: 1000 + rnd.IntN(5000), Delay: time.Duration(rnd.IntN(3000)) * time.Millisecond,
				After: 40_000 + rnd.IntN(40_000), Toward: network.ToListener,
			})
		}
		for i := range 3 {
			n.End(fmt.Sprint("fault ", i))
		}
		if rnd.IntN(2) == 0 {
			clients[1].Cut()
		}
		ends.Wait()
		_ = l.Close()
		if open := n.Open(); open != 0 {
			t.Errorf("%d sockets are left", open)
		}
	})
	return streams
}

// TestStreamsUnderFaults: whatever happens to packets, a reader gets the first bytes of what was written, in order, and
// all of them if it sees the end of the stream. No connection hangs once the faults are over. The same seed repeats.
func TestStreamsUnderFaults(t *testing.T) {
	whole, broken := 0, map[string]int{}
	for seed := range uint64(40) {
		first := underFaults(t, seed)
		for i, s := range first {
			switch {
			case s.read > s.written:
				t.Errorf("seed %d, stream %d: read %d bytes of %d", seed, i, s.read, s.written)
			case s.readErr == nil && s.writeErr == nil && s.read == s.written:
				whole++
			case s.readErr == nil:
				t.Errorf("seed %d, stream %d ended after %d bytes of %d (%v)", seed, i, s.read, s.written, s.writeErr)
			default:
				text := s.readErr.Error()
				broken[text[strings.LastIndexByte(text, ':')+1:]]++
			}
			if s.took > 30*time.Minute {
				t.Errorf("seed %d, stream %d took %v", seed, i, s.took)
			}
		}
		for i, s := range underFaults(t, seed) {
			if f := first[i]; s.read != f.read || s.written != f.written || s.took != f.took {
				t.Errorf("seed %d, stream %d: %+v, then %+v", seed, i, *f, *s)
			}
		}
	}
	if whole < 50 || len(broken) == 0 {
		t.Errorf("%d streams came whole, others ended by %v", whole, broken)
	}
	t.Log(whole, broken)
}
