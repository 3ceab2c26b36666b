package network_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/envoy-scraper/envoy-scraper/internal/simulate/network"
)

// mesh runs clients of net/http against servers of net/http for a while and returns what the servers saw, and when.
func mesh(t *testing.T, seed uint64) string {
	var trace bytes.Buffer
	synctest.Test(t, func(t *testing.T) {
		n := network.New(seed)
		var mu sync.Mutex
		var servers, clients sync.WaitGroup
		var listeners []net.Listener
		for i := range 5 {
			l, err := n.Host(fmt.Sprintf("10.0.1.%d", i)).Listen("tcp", ":80")
			if err != nil {
				t.Fatal(err)
			}
			listeners = append(listeners, l)
			servers.Go(func() {
				_ = http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					body, _ := io.ReadAll(r.Body)
					mu.Lock()
					fmt.Fprintln(&trace, time.Now().UnixNano(), l.Addr(), r.RemoteAddr, r.URL.Path,
						len(body))
					mu.Unlock()
					_, _ = io.WriteString(w, strings.Repeat("x", len(body)))
				}))
			})
		}
		n.Begin("slow", network.Fault{Kind: network.Slow, Rate: 5000, To: "10.0.1.3"})
		time.AfterFunc(30*time.Second, func() {
			n.Begin("cut", network.Fault{Kind: network.Reset, To: "10.0.1.2", After: 500})
		})
		time.AfterFunc(50*time.Second, func() { n.End("cut") })
		for i := range 5 {
			host := n.Host(fmt.Sprintf("10.0.2.%d", i))
			transport := &http.Transport{DialContext: host.Dial, IdleConnTimeout: time.Minute}
			clients.Go(func() {
				defer transport.CloseIdleConnections()
				client := &http.Client{Transport: transport, Timeout: 10 * time.Second}
				for turn := range 60 {
					time.Sleep(time.Second)
					url := fmt.Sprintf("http://10.0.1.%d/%d", turn%5, turn)
					body := strings.NewReader(strings.Repeat("y", 100*turn))
					resp, err := client.Post(url, "text/plain", body)
					if err != nil {
						mu.Lock()
						fmt.Fprintln(&trace, time.Now().UnixNano(), host.Addr(), err)
						mu.Unlock()
						continue
					}
					got, err := io.ReadAll(resp.Body)
					if err == nil && len(got) != 100*turn {
						t.Errorf("%s: %d bytes, want %d", url, len(got), 100*turn)
					}
					_ = resp.Body.Close()
				}
			})
		}
		clients.Wait()
		for _, l := range listeners {
			_ = l.Close()
		}
		servers.Wait()
		time.Sleep(time.Hour)
		if open := n.Open(); open != 0 {
			t.Errorf("%d sockets are left", open)
		}
	})
	return trace.String()
}

// TestHTTPRepeats: net/http works over the network, and the same seed gives the same trace, byte for byte.
func TestHTTPRepeats(t *testing.T) {
	first := mesh(t, 1)
	if lines := strings.Count(first, "\n"); lines < 290 {
		t.Errorf("%d requests, want nearly 300", lines)
	}
	if !strings.Contains(first, "connection reset by peer") {
		t.Error("no reset was seen")
	}
	if again := mesh(t, 1); again != first {
		t.Error("the same seed gave another trace")
	}
	if mesh(t, 2) == first {
		t.Error("another seed gave the same trace")
	}
}

// BenchmarkRequest is a request of 300 bytes and its answer of 10 kB over one connection, in a bubble. The timer of b
// runs outside of it.
func BenchmarkRequest(b *testing.B) {
	b.ReportAllocs()
	run := func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p := connect(t)
			done := make(chan bool)
			go func() {
				defer close(done)
				in, out := make([]byte, 4096), make([]byte, 10_000)
				for {
					if _, err := p.accepted.Read(in); err != nil {
						return
					}
					if _, err := p.accepted.Write(out); err != nil {
						return
					}
				}
			}()
			request, answer := make([]byte, 300), make([]byte, 64<<10)
			for range b.N {
				_ = p.dialed.SetDeadline(time.Now().Add(10 * time.Second))
				if _, err := p.dialed.Write(request); err != nil {
					t.Error(err)
				}
				if _, err := io.ReadFull(p.dialed, answer[:10_000]); err != nil {
					t.Error(err)
				}
			}
			_, _ = p.dialed.Close(), p.listener.Close()
			<-done
			_ = p.accepted.Close()
		})
	}
	every := func(_, _ string) (bool, error) { return true, nil }
	if !testing.RunTests(every, []testing.InternalTest{{Name: "bubble", F: run}}) {
		b.Fatal("failed")
	}
}
